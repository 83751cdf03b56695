//! The order of a conversation: whose turn it is, and that each turn says something.

use serde_json::Value;

use super::blocks::{Message, blocks, list_of, messages};
use super::of_model;
use crate::answer::Invalid;
use crate::validation::Model;

/// Kinds of blocks that only the user may send.
const OF_USER: [&str; 7] =
    ["image", "document", "video", "audio", "toolResult", "guardContent", "searchResult"];
/// Kinds of blocks that only the model writes.
const OF_MODEL: [&str; 3] = ["toolUse", "reasoningContent", "citationsContent"];
/// Kinds of blocks that a system message between others may have.
const OF_SYSTEM: [&str; 4] = ["text", "cachePoint", "toolAddition", "toolRemoval"];

pub(super) fn check(body: &Value, model: &Model) -> Result<(), Invalid> {
    check_system(body, model)?;
    let messages = messages(body);
    let Some(first) = messages.first() else {
        return Err(Invalid::new(
            "The messages field of the request is empty or not well formed. Add a message with a \
             role and content to the request and try again.",
        ));
    };
    if first.role != "user" {
        return Err(Invalid::new(
            "A conversation must start with a user message. Try again with a conversation that \
             starts with a user message.",
        ));
    }
    for (message, next) in messages.iter().zip(messages.iter().skip(1).map(Some).chain([None])) {
        if next.is_some_and(|next| next.role == message.role) {
            return Err(Invalid::new(
                "A conversation must alternate between user and assistant roles. Make sure the \
                 conversation alternates between user and assistant roles and try again.",
            ));
        }
        check_message(message, model)?;
    }
    match messages.last() {
        Some(last) if last.role == "assistant" => check_prefill(last, model),
        _ => Ok(()),
    }
}

fn check_system(body: &Value, model: &Model) -> Result<(), Invalid> {
    let system = list_of(body, "system");
    if !system.is_empty() && model.lacks("system") {
        return Err(Invalid::new(
            "This model doesn't support system messages. Try again without a system message or \
             use a model that supports system messages.",
        ));
    }
    let is_blank = |text: &Value| text.as_str().is_some_and(|text| text.trim().is_empty());
    match blocks(system).find(|block| block.kind == "text" && is_blank(block.value)) {
        Some(blank) => Err(self::blank("SystemContentBlock", &format!("system.{}", blank.at))),
        None => Ok(()),
    }
}

fn check_message(message: &Message<'_>, model: &Model) -> Result<(), Invalid> {
    let at = message.at;
    if message.is_empty() {
        return Err(Invalid::new(format!(
            "The content field in the Message object at messages.{at} is empty. Add a ContentBlock \
             object to the content field and try again."
        )));
    }
    if message.role == "system" && !model.takes("mid_conversation_system") {
        return Err(Invalid::new(format!(
            "This model doesn't support the role system at messages.{at}. Put system content into \
             the system field and try again."
        )));
    }
    for block in message.blocks() {
        let kind = block.kind;
        let is_of_server = block.value.get("type").is_some();
        let is_allowed = match message.role {
            "user" => {
                !OF_MODEL.contains(&kind) && (kind == "text" || !OF_SYSTEM.contains(&kind))
                    || kind == "cachePoint"
            }
            "assistant" => {
                (!OF_USER.contains(&kind) || kind == "toolResult" && is_of_server)
                    && !matches!(kind, "toolAddition" | "toolRemoval")
            }
            _ => OF_SYSTEM.contains(&kind),
        };
        if !is_allowed && kind == "reasoningContent" {
            return Err(Invalid::new(
                "User messages cannot contain reasoning content. Please remove the reasoning \
                 content and try again.",
            ));
        }
        if !is_allowed {
            return Err(Invalid::new(format!(
                "messages.{at}.content.{}: {kind} blocks can't be provided in a message with the \
                 role {}.",
                block.at, message.role
            )));
        }
        if kind == "text" && block.value.as_str().is_some_and(|text| text.trim().is_empty()) {
            return Err(blank("ContentBlock", &format!("messages.{at}.content.{}", block.at)));
        }
    }
    Ok(())
}

pub(super) fn blank(object: &str, path: &str) -> Invalid {
    Invalid::new(format!(
        "The text field in the {object} object at {path} is blank. Add text to the text field, \
         and try again."
    ))
}

/// An answer that the request begins for the model.
fn check_prefill(last: &Message<'_>, model: &Model) -> Result<(), Invalid> {
    // Calls without results are refused for that.
    if last.of_kind("toolUse").next().is_some() || !model.is_known() {
        return Ok(());
    }
    if model.is_claude() {
        // Of the models from before adaptive thinking all take it, whatever the catalogue lists.
        let refuses = model.has("adaptive_thinking") || model.has("thinking_always_on");
        if refuses && !model.has("assistant_prefill") {
            return Err(of_model(
                "This model does not support assistant message prefill. The conversation must end \
                 with a user message.",
            ));
        }
        let text = last.blocks().next_back().and_then(|block| block.value.as_str());
        if text.is_some_and(|text| text.ends_with(char::is_whitespace)) {
            return Err(of_model(
                "messages: final assistant content cannot end with trailing whitespace",
            ));
        }
        return Ok(());
    }
    if model.is_nova() || model.has("assistant_prefill") {
        return Ok(());
    }
    Err(Invalid::new(
        "A conversation must end with a user message. Try again with a conversation that ends \
         with a user message.",
    ))
}
