//! Cache points: how many, after what, and in which order of lifetimes.

use serde_json::Value;

use super::blocks::{blocks, list_of, messages};
use super::of_model;
use crate::answer::Invalid;
use crate::validation::Model;

/// The most cache points of a request.
const MAX_POINTS: usize = 4;

pub(super) fn check(body: &Value, model: &Model) -> Result<(), Invalid> {
    let tools = body.get("toolConfig").map(|config| list_of(config, "tools")).unwrap_or_default();
    let mut lists = vec![
        ("toolConfig.tools".to_owned(), kinds(tools)),
        ("system".to_owned(), kinds(list_of(body, "system"))),
    ];
    for message in messages(body) {
        let kinds = message.blocks().map(|block| (block.kind, block.value)).collect();
        lists.push((format!("messages.{}.content", message.at), kinds));
    }
    let mut points = 0;
    let mut short_before = false;
    for (path, blocks) in &lists {
        let mut before = None;
        for (at, (kind, value)) in blocks.iter().enumerate() {
            if *kind == "cachePoint" {
                points += 1;
                check_place(&format!("{path}.{at}"), before, model)?;
                let is_long = value.get("ttl").and_then(Value::as_str) == Some("1h");
                if is_long && short_before {
                    return Err(of_model(format!(
                        "{path}.{at}.cache_control.ttl: a ttl='1h' cache_control block must not \
                         come after a ttl='5m' cache_control block. Note that blocks are processed \
                         in the following order: `tools`, `system`, `messages`."
                    )));
                }
                short_before |= !is_long;
            }
            before = Some(*kind);
        }
    }
    match points > MAX_POINTS {
        true => Err(of_model(format!(
            "A maximum of {MAX_POINTS} blocks with cache_control may be provided. Found {points}."
        ))),
        false => Ok(()),
    }
}

fn kinds(list: &[Value]) -> Vec<(&str, &Value)> {
    blocks(list).map(|block| (block.kind, block.value)).collect()
}

fn check_place(path: &str, before: Option<&str>, model: &Model) -> Result<(), Invalid> {
    // Other families cache by themselves, without points.
    let takes = model.takes("prompt_caching")
        && (!model.is_known() || model.is_claude() || model.is_nova());
    // Nova caches its system texts and messages only.
    if !takes || model.is_nova() && path.starts_with("toolConfig") {
        return Err(Invalid::new(
            "You invoked an unsupported model or your request did not allow prompt caching. See \
             the documentation for more information.",
        ));
    }
    match before {
        None | Some("cachePoint") => Err(Invalid::new(format!(
            "The cachePoint block at {path} has no block before it to be cached. Put it after a \
             block and try again."
        ))),
        Some("reasoningContent") => Err(of_model(format!(
            "{path}: cache_control cannot be set for `thinking` and `redacted_thinking` blocks"
        ))),
        Some(_) => Ok(()),
    }
}
