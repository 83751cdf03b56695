//! Calls of tools and their results: each call is answered in the next message, and nothing else is.

use std::collections::HashSet;

use serde_json::Value;

use super::blocks::{Message, blocks, list_of, messages};
use super::conversation::blank;
use super::of_model;
use crate::answer::Invalid;
use crate::validation::Model;

/// Families whose models take nothing beside the results of tools in a message.
const ALONE: [&str; 6] = ["amazon.nova", "meta.llama", "mistral.", "cohere.", "ai21.", "writer."];

pub(super) fn check(body: &Value, model: &Model) -> Result<(), Invalid> {
    let messages = messages(body);
    let mut seen: HashSet<&str> = HashSet::new();
    // The calls of the message before, in their order.
    let mut open: Vec<&str> = Vec::new();
    for message in &messages {
        check_results(message, &open, model)?;
        open = ids(message, "toolUse");
        check_calls(message, &open)?;
        if let Some(again) = open.iter().find(|id| !seen.insert(id)).filter(|_| model.is_claude()) {
            return Err(of_model(format!(
                "messages.{}: `tool_use` ids must be unique: {again}",
                message.at
            )));
        }
    }
    match open.is_empty() {
        true => Ok(()),
        false => Err(unanswered(messages.len(), &open)),
    }
}

/// The ids of the client's tools, not of those that the service runs.
fn ids<'a>(message: &Message<'a>, kind: &'static str) -> Vec<&'a str> {
    let own =
        message.of_kind(kind).filter(|block| block.value.get("type").is_none_or(Value::is_null));
    own.map(|block| block.text_of("toolUseId")).collect()
}

fn check_calls(message: &Message<'_>, ids: &[&str]) -> Result<(), Invalid> {
    let at = message.at;
    let twice: Vec<&str> = repeated(ids);
    if !twice.is_empty() {
        return Err(Invalid::new(format!(
            "The toolUse blocks at messages.{at}.content contain duplicate Ids: {}",
            twice.join(", ")
        )));
    }
    for call in message.of_kind("toolUse") {
        if !call.value.get("input").is_some_and(Value::is_object) {
            return Err(not_an_object(&format!("messages.{at}.content.{}.toolUse.input", call.at)));
        }
    }
    Ok(())
}

fn check_results(message: &Message<'_>, open: &[&str], model: &Model) -> Result<(), Invalid> {
    let at = message.at;
    let results = ids(message, "toolResult");
    let missing: Vec<&str> = open.iter().copied().filter(|id| !results.contains(id)).collect();
    if !missing.is_empty() {
        return Err(unanswered(at, &missing));
    }
    let twice = repeated(&results);
    if !twice.is_empty() {
        return Err(Invalid::new(format!(
            "The toolResult blocks at messages.{at}.content contain duplicate Ids: {}",
            twice.join(", ")
        )));
    }
    if results.len() > open.len() {
        return Err(Invalid::new(format!(
            "The number of toolResult blocks at messages.{at}.content exceeds the number of \
             toolUse blocks of previous turn."
        )));
    }
    for result in message.of_kind("toolResult") {
        check_result(&format!("messages.{at}.content.{}.toolResult", result.at), result.value)?;
    }
    if results.is_empty() {
        return Ok(());
    }
    let is_other = |kind: &str| !matches!(kind, "toolResult" | "cachePoint");
    if ALONE.iter().any(|family| model.is_of(family))
        && message.blocks().any(|block| is_other(block.kind))
    {
        return Err(Invalid::new(format!(
            "messages.{at}.content: Conversation blocks and tool result blocks cannot be provided \
             in the same turn."
        )));
    }
    let mut kinds = message.blocks().map(|block| block.kind).skip_while(|kind| !is_other(kind));
    match kinds.any(|kind| kind == "toolResult") && model.is_claude() {
        true => Err(of_model(format!(
            "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately \
             after: {}. Results of tools come before all other blocks of a message.",
            results.join(", ")
        ))),
        false => Ok(()),
    }
}

fn check_result(path: &str, result: &Value) -> Result<(), Invalid> {
    let content = list_of(result, "content");
    if content.is_empty() && result.get("status").and_then(Value::as_str) == Some("error") {
        return Err(Invalid::new(format!(
            "The content field at {path} cannot be empty when status value is error."
        )));
    }
    for block in blocks(content) {
        let path = format!("{path}.content.{}", block.at);
        match block.kind {
            "json" if !block.value.is_object() => {
                return Err(not_an_object(&format!("{path}.json")));
            }
            "text" if block.value.as_str().is_some_and(|text| text.trim().is_empty()) => {
                return Err(blank("ToolResultContentBlock", &path));
            }
            _ => {}
        }
    }
    Ok(())
}

fn unanswered(at: usize, ids: &[&str]) -> Invalid {
    Invalid::new(format!(
        "Expected toolResult blocks at messages.{at}.content for the following Ids: {}",
        ids.join(", ")
    ))
}

fn not_an_object(path: &str) -> Invalid {
    Invalid::new(format!(
        "The format of the value at {path} is invalid. Provide a json object for the field and \
         try again."
    ))
}

fn repeated<'a>(ids: &[&'a str]) -> Vec<&'a str> {
    let mut seen = HashSet::new();
    ids.iter().copied().filter(|id| !seen.insert(*id)).collect()
}
