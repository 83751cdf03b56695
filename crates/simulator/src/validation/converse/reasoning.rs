//! Thoughts in a conversation: Claude takes back only what it has signed, and no other model takes
//! signatures or thoughts that were sealed.

use serde_json::Value;

use super::blocks::{Message, messages};
use super::{of_model, unsupported};
use crate::answer::Invalid;
use crate::thoughts;
use crate::validation::Model;

pub(super) fn check(body: &Value, model: &Model) -> Result<(), Invalid> {
    let messages = messages(body);
    messages.iter().try_for_each(|message| match model.is_claude() {
        true => check_of_claude(message, model),
        false => check_of_others(message, model),
    })
}

fn check_of_claude(message: &Message<'_>, model: &Model) -> Result<(), Invalid> {
    for block in message.of_kind("reasoningContent") {
        let path = format!("messages.{}.content.{}", message.at, block.at);
        if !model.takes("thinking") {
            return Err(unsupported("reasoningContent"));
        }
        if let Some(sealed) = block.value.get("redactedContent").and_then(Value::as_str) {
            if thoughts::is_sealed(sealed) {
                continue;
            }
            return Err(of_model(format!("{path}: Invalid `data` in `redacted_thinking` block")));
        }
        let thought = block.value.get("reasoningText").unwrap_or(&Value::Null);
        let text = thought.get("text").and_then(Value::as_str).unwrap_or_default();
        let Some(signature) = thought.get("signature").and_then(Value::as_str) else {
            return Err(of_model(format!("{path}.thinking.signature: Field required")));
        };
        if !thoughts::is_signed(text, signature) {
            return Err(of_model(format!("{path}: Invalid `signature` in `thinking` block")));
        }
    }
    let last = message.blocks().next_back();
    match last.is_some_and(|block| block.kind == "reasoningContent") {
        true => Err(of_model(format!(
            "messages.{}: The final block in an assistant message cannot be `thinking`.",
            message.at
        ))),
        false => Ok(()),
    }
}

fn check_of_others(message: &Message<'_>, model: &Model) -> Result<(), Invalid> {
    if !model.is_known() {
        return Ok(());
    }
    for block in message.of_kind("reasoningContent") {
        if model.is_of("deepseek.r1") {
            return Err(Invalid::new(
                "User messages cannot contain reasoning content. Please remove the reasoning \
                 content and try again.",
            ));
        }
        if !model.takes("thinking") {
            return Err(unsupported("reasoningContent"));
        }
        if block.value.get("redactedContent").is_some_and(|it| !it.is_null()) {
            return Err(unsupported("reasoningContent.redactedContent"));
        }
        if block.value.pointer("/reasoningText/signature").is_some_and(|it| !it.is_null()) {
            return Err(unsupported("reasoningContent.reasoningText.signature"));
        }
    }
    Ok(())
}
