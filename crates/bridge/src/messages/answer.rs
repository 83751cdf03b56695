//! Whole answers, written as a Message: its blocks, why it ended, its tokens in Anthropic's terms.

use sluice_bedrock::Usage;

use super::citations;
use crate::answer::{Answer, Content, StopReason};
use crate::json::{Array, Object};
use crate::translation::{AnswerContext, Stamp};

/// Writes an answer.
pub(crate) fn write_answer(answer: &Answer<'_>, context: &AnswerContext, stamp: &Stamp) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let mut message = Object::new(&mut out);
    message.str("id", &message_id(stamp));
    message.str("type", "message");
    message.str("role", "assistant");
    message.str("model", &context.echo.model);
    {
        let mut content = message.array("content");
        answer.content.iter().for_each(|part| write_part(part, &mut content));
    }
    write_stop(answer.stop, answer.stop_sequence.as_deref(), &mut message);
    {
        let mut usage = message.object("usage");
        write_counts(&answer.usage, &mut usage);
        write_cache_creation(&answer.usage, &mut usage);
        write_thinking_tokens(answer.reasoning_tokens, &mut usage);
        if let Some(tier) = answer.tier.as_deref().and_then(tier_name) {
            usage.str("service_tier", tier);
        }
    }
    drop(message);
    out
}

/// The id of a message, made from that of its request.
pub(super) fn message_id(stamp: &Stamp) -> String {
    format!("msg_{}", stamp.request_id)
}

fn write_part(part: &Content<'_>, content: &mut Array<'_>) {
    match part {
        // A client that sends the answer back would be refused for a text without a character.
        Content::Text(text) if text.is_empty() => {}
        Content::Text(text) => write_text(text, &[], content),
        Content::CitedText { text, citations } => write_text(text, citations, content),
        Content::ToolUse { id, name, input } => {
            let mut block = content.object();
            block.str("type", "tool_use");
            block.str("id", id);
            block.str("name", name);
            block.raw("input", &input.0);
        }
        Content::Reasoning { text, signature } => {
            let mut block = content.object();
            block.str("type", "thinking");
            block.str("thinking", text);
            block.str("signature", signature.as_deref().unwrap_or_default());
        }
        Content::RedactedReasoning(data) => write_redacted(data, &mut content.object()),
    }
}

fn write_text(text: &str, cited: &[crate::conversation::Json<'_>], content: &mut Array<'_>) {
    let mut block = content.object();
    block.str("type", "text");
    block.str("text", text);
    let mut written = Vec::new();
    let mut list = Array::new(&mut written);
    for citation in cited {
        let mut one = Vec::new();
        if citations::write(citation, &mut one).is_some() {
            list.element().extend_from_slice(&one);
        }
    }
    let is_empty = list.is_empty();
    drop(list);
    if !is_empty {
        block.key("citations").extend_from_slice(&written);
    }
}

/// A block of thinking that only the model can read.
pub(super) fn write_redacted(data: &str, block: &mut Object<'_>) {
    block.str("type", "redacted_thinking");
    block.str("data", data);
}

/// Why an answer ended: of a `Message`, and of the `delta` of a stream's last event but one.
pub(super) fn write_stop(reason: StopReason, sequence: Option<&str>, object: &mut Object<'_>) {
    object.str("stop_reason", stop_reason(reason));
    object.str_or_null("stop_sequence", sequence);
    let explanation = match reason {
        StopReason::GuardrailIntervened => "A guardrail of Amazon Bedrock has intervened.",
        StopReason::ContentFiltered => "The answer was held back by a filter of Amazon Bedrock.",
        _ => return,
    };
    let mut details = object.object("stop_details");
    details.str("type", "refusal");
    details.raw("category", "null");
    details.str("explanation", explanation);
}

fn stop_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::EndTurn => "end_turn",
        StopReason::ToolUse => "tool_use",
        StopReason::MaxTokens => "max_tokens",
        StopReason::StopSequence => "stop_sequence",
        StopReason::ContextWindowExceeded => "model_context_window_exceeded",
        StopReason::PauseTurn => "pause_turn",
        StopReason::Refusal | StopReason::GuardrailIntervened | StopReason::ContentFiltered => {
            "refusal"
        }
    }
}

/// The counts that a whole answer and a stream have alike. The input is what came from no cache.
pub(super) fn write_counts(counts: &Usage, usage: &mut Object<'_>) {
    usage.number("input_tokens", counts.input);
    usage.number("cache_creation_input_tokens", counts.cache_write);
    usage.number("cache_read_input_tokens", counts.cache_read);
    usage.number("output_tokens", counts.output);
}

/// What was written to the cache, by how long it stays.
pub(super) fn write_cache_creation(counts: &Usage, usage: &mut Object<'_>) {
    let mut creation = usage.object("cache_creation");
    let five_minutes = counts.cache_write.saturating_sub(counts.cache_write_1h);
    creation.number("ephemeral_5m_input_tokens", five_minutes);
    creation.number("ephemeral_1h_input_tokens", counts.cache_write_1h);
}

/// The tokens of thinking, if they are known.
pub(super) fn write_thinking_tokens(tokens: Option<u64>, usage: &mut Object<'_>) {
    if let Some(tokens) = tokens {
        usage.object("output_tokens_details").number("thinking_tokens", tokens);
    }
}

/// Anthropic's name of a tier, if it has one for it.
fn tier_name(tier: &str) -> Option<&'static str> {
    match tier {
        "default" | "standard" => Some("standard"),
        "priority" => Some("priority"),
        _ => None,
    }
}

/// The model's answer as it begins.
pub(super) fn write_start(model: &str, id: &str, message: &mut Object<'_>) {
    message.str("id", id);
    message.str("type", "message");
    message.str("role", "assistant");
    message.str("model", model);
    message.raw("content", "[]");
    message.raw("stop_reason", "null");
    message.raw("stop_sequence", "null");
    let mut usage = message.object("usage");
    write_counts(&Usage::default(), &mut usage);
    write_cache_creation(&Usage::default(), &mut usage);
}

#[cfg(test)]
mod tests;
