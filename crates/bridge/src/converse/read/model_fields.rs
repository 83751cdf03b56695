//! `additionalModelRequestFields`: what a client says in the words of one family of models, as far as others can
//! understand it. The rest is kept for Claude, and refused by its name for others.

use std::borrow::Cow;

use crate::conversation::{Conversation, Thinking, ThinkingDisplay, ToolChoice};
use crate::fields;
use crate::report::Report;
use crate::value::Value;

use super::{array, effort, object, wrong};

const PARAM: &str = "additionalModelRequestFields";

/// Reads the fields.
pub(super) fn read<'a>(
    value: Value<'a>,
    conversation: &mut Conversation<'a>,
    report: &mut Report<'_>,
) {
    let Some(members) = object(value, PARAM, report) else { return };
    for (name, value) in members {
        if fields::is_null(value) {
            continue;
        }
        let param = format!("{PARAM}.{name}");
        match name.as_ref() {
            "thinking" => thinking(value, conversation, report),
            "reasoningConfig" => nova(value, conversation, report),
            "reasoning_effort" => {
                conversation.effort = effort(value, &param, report);
                conversation.thinking.get_or_insert(Thinking::Adaptive);
            }
            "output_config" => output(value, &param, conversation, report),
            "tool_choice" => choice(value, &param, conversation, report),
            "top_k" => top_k(value, &param, conversation, report),
            "inferenceConfig" => {
                let Some(members) = object(value, &param, report) else { continue };
                if let Some(other) = members.beside(&["topK"]) {
                    super::unknown(&format!("{param}.{other}"), report);
                }
                if let Some(value) = members.get("topK") {
                    top_k(value, &format!("{param}.topK"), conversation, report);
                }
            }
            "anthropic_beta" => {
                for beta in array(value, &param, report) {
                    match fields::text(beta) {
                        Some(beta) => conversation.betas.push(beta),
                        None => wrong(&*param, "an array of texts", report),
                    }
                }
            }
            _ => conversation.of_claude.push((name, fields::json(value))),
        }
    }
}

fn thinking(value: Value<'_>, conversation: &mut Conversation<'_>, report: &mut Report<'_>) {
    let param = format!("{PARAM}.thinking");
    let Some(members) = object(value, &param, report) else { return };
    if let Some(other) = members.beside(&["type", "budget_tokens", "display"]) {
        super::unknown(&format!("{param}.{other}"), report);
    }
    let budget = members.get("budget_tokens").and_then(fields::count);
    conversation.thinking = match (members.get("type").and_then(fields::text).as_deref(), budget) {
        (Some("disabled"), _) => Some(Thinking::Off),
        (Some("adaptive"), _) => Some(Thinking::Adaptive),
        (Some("enabled"), Some(budget)) => Some(Thinking::Budget(budget)),
        _ => {
            let what = "`disabled`, `adaptive`, or `enabled` with `budget_tokens`";
            wrong(format!("{param}.type"), what, report);
            None
        }
    };
    let display = members.get("display").and_then(fields::text);
    conversation.thinking_display = match display.as_deref() {
        Some("summarized") => Some(ThinkingDisplay::Summarized),
        Some("omitted") => Some(ThinkingDisplay::Omitted),
        Some(_) => {
            wrong(format!("{param}.display"), "`summarized` or `omitted`", report);
            None
        }
        None => None,
    };
}

fn nova(value: Value<'_>, conversation: &mut Conversation<'_>, report: &mut Report<'_>) {
    let param = format!("{PARAM}.reasoningConfig");
    let Some(members) = object(value, &param, report) else { return };
    if let Some(other) = members.beside(&["type", "maxReasoningEffort"]) {
        super::unknown(&format!("{param}.{other}"), report);
    }
    match members.get("type").and_then(fields::text).as_deref() {
        Some("disabled") => conversation.thinking = Some(Thinking::Off),
        Some("enabled") => {
            conversation.thinking = Some(Thinking::Adaptive);
            if let Some(value) = members.get("maxReasoningEffort") {
                let param = format!("{param}.maxReasoningEffort");
                conversation.effort = effort(value, &param, report);
            }
        }
        _ => wrong(format!("{param}.type"), "`enabled` or `disabled`", report),
    }
}

fn output<'a>(
    value: Value<'a>,
    param: &str,
    conversation: &mut Conversation<'a>,
    report: &mut Report<'_>,
) {
    let Some(members) = object(value, param, report) else { return };
    if let Some(other) = members.beside(&["effort"]) {
        super::unknown(&format!("{param}.{other}"), report);
    }
    if let Some(value) = members.get("effort") {
        conversation.effort = effort(value, &format!("{param}.effort"), report);
    }
}

/// Claude's own choice of tools, for what Converse's has not.
fn choice(
    value: Value<'_>,
    param: &str,
    conversation: &mut Conversation<'_>,
    report: &mut Report<'_>,
) {
    let Some(members) = object(value, param, report) else { return };
    if let Some(other) = members.beside(&["type", "disable_parallel_tool_use"]) {
        super::unknown(&format!("{param}.{other}"), report);
    }
    match members.get("type").and_then(fields::text).as_deref() {
        Some("none") => conversation.tool_choice = Some(ToolChoice::None),
        Some("auto") => {
            conversation.tool_choice.get_or_insert(ToolChoice::Auto);
        }
        Some("any") => {
            conversation.tool_choice.get_or_insert(ToolChoice::Any);
        }
        None => {}
        Some(_) => wrong(format!("{param}.type"), "`none`, `auto` or `any`", report),
    }
    let disables = members.get("disable_parallel_tool_use").and_then(fields::boolean);
    conversation.parallel_tools = disables.map(|disables| !disables);
}

fn top_k<'a>(
    value: Value<'a>,
    param: &str,
    conversation: &mut Conversation<'a>,
    report: &mut Report<'_>,
) {
    match fields::number(value) {
        Some(_) => conversation.top_k = Some(Cow::Borrowed(value.get())),
        None => wrong(param, "a number", report),
    }
}
