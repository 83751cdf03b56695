//! Calls of the tools that a request offers.

use super::made::made;
use super::{Part, PartKind};
use crate::answer::tokens;
use crate::asked::{Asked, Tool, ToolChoice};

/// Most calls of one answer.
pub(super) const MAX_CALLS: u64 = 64;

/// The calls that a request asks for: one if its choice of tools forces one, and as many as
/// `sim:tool_calls` says.
pub(super) fn calls(asked: &Asked, number: u64) -> Vec<Part> {
    let text = &asked.prompt.last_text;
    let wanted = match &asked.choice {
        ToolChoice::Off => 0,
        choice => {
            let asked_for = asked.prompt.directive("tool_calls").unwrap_or(0);
            let asked_for = if asked.ends_with_result { 0 } else { asked_for };
            asked_for.max(u64::from(choice.is_forced()))
        }
    };
    let wanted = wanted.min(if asked.one_call { 1 } else { MAX_CALLS });
    let fits = |tool: &&Tool| match &asked.choice {
        ToolChoice::Named(name) => tool.name == *name && !tool.is_deferred,
        _ => !tool.is_deferred,
    };
    let tools: Vec<&Tool> = asked.tools.iter().filter(fits).collect();
    let wanted = usize::try_from(wanted).unwrap_or(0);
    let called = tools.into_iter().cycle().take(wanted).zip(0..);
    let call = |(tool, at): (&Tool, u64)| {
        let said = match tool.takes_text {
            true => text.clone(),
            false => made(&tool.schema, text, 0).to_string(),
        };
        let tokens = tokens(&said).max(1);
        let number = number.saturating_mul(MAX_CALLS) + at;
        Part::new(call_of(tool, number), said, tokens)
    };
    called.map(call).collect()
}

/// A call of this tool.
pub(super) fn call_of(tool: &Tool, number: u64) -> PartKind {
    PartKind::Call {
        name: tool.name.clone(),
        number,
        namespace: tool.namespace.clone(),
        takes_text: tool.takes_text,
    }
}
