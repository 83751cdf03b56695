//! Writes whole answers, and what they share with streams: the reason of the end, the usage, the tier.

use sluice_bedrock::Usage;

use crate::answer::{Answer, Content, StopReason};
use crate::json::{Object, write_escaped, write_str};
use crate::translation::{AnswerContext, Stamp};

/// Writes a `chat.completion`.
pub(crate) fn write_answer(answer: &Answer<'_>, context: &AnswerContext, stamp: &Stamp) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let mut body = Object::new(&mut out);
    write_head(&mut body, "chat.completion", &context.echo.model, stamp);
    {
        let mut choices = body.array("choices");
        let mut choice = choices.object();
        choice.number("index", 0);
        write_message(choice.object("message"), &answer.content);
        choice.raw("logprobs", "null");
        let has_tools = answer.content.iter().any(|it| matches!(it, Content::ToolUse { .. }));
        choice.str("finish_reason", finish_reason(answer.stop, has_tools));
    }
    write_usage(&mut body, &answer.usage, answer.reasoning_tokens);
    write_tier(&mut body, answer.tier.as_deref());
    drop(body);
    out
}

/// Writes the members with which answers and chunks begin.
pub(super) fn write_head(body: &mut Object<'_>, kind: &str, model: &str, stamp: &Stamp) {
    let id = body.key("id");
    id.extend_from_slice(b"\"chatcmpl-");
    write_escaped(id, &stamp.request_id);
    id.push(b'"');
    body.str("object", kind);
    body.number("created", stamp.created);
    body.str("model", model);
}

fn write_message(mut message: Object<'_>, content: &[Content<'_>]) {
    message.str("role", "assistant");
    write_text(&mut message, content);
    message.raw("refusal", "null");
    write_reasoning(&mut message, content);
    let mut uses = content.iter().filter_map(|part| match part {
        Content::ToolUse { id, name, input } => Some((id, name, input)),
        _ => None,
    });
    let Some(first) = uses.next() else { return };
    let mut calls = message.array("tool_calls");
    for (id, name, input) in std::iter::once(first).chain(uses) {
        let mut call = calls.object();
        call.str("id", id);
        call.str("type", "function");
        let mut function = call.object("function");
        function.str("name", name);
        function.str("arguments", &input.0);
    }
}

/// All texts as one. An answer of uses of tools alone has none.
fn write_text(message: &mut Object<'_>, content: &[Content<'_>]) {
    let texts = content.iter().filter_map(|part| match part {
        // Nobody asks for citations here: OpenAI's name addresses on the web.
        Content::Text(text) | Content::CitedText { text, .. } => Some(text),
        _ => None,
    });
    let has_tools = content.iter().any(|part| matches!(part, Content::ToolUse { .. }));
    if has_tools && texts.clone().all(|text| text.is_empty()) {
        return message.raw("content", "null");
    }
    let out = message.key("content");
    out.push(b'"');
    texts.for_each(|text| write_escaped(out, text));
    out.push(b'"');
}

/// The thinking as a text for people, and as blocks that clients send back: with the signatures, without which
/// Claude refuses them.
fn write_reasoning(message: &mut Object<'_>, content: &[Content<'_>]) {
    let is_thinking = |part: &Content<'_>| {
        matches!(part, Content::Reasoning { .. } | Content::RedactedReasoning(_))
    };
    if !content.iter().any(is_thinking) {
        return;
    }
    let texts = content.iter().filter_map(|part| match part {
        Content::Reasoning { text, .. } => Some(text),
        _ => None,
    });
    if texts.clone().any(|text| !text.is_empty()) {
        let out = message.key("reasoning_content");
        out.push(b'"');
        texts.for_each(|text| write_escaped(out, text));
        out.push(b'"');
    }
    let mut blocks = message.array("thinking_blocks");
    for part in content {
        match part {
            Content::Reasoning { text, signature } => {
                let mut block = blocks.object();
                block.str("type", "thinking");
                block.str("thinking", text);
                if let Some(signature) = signature {
                    block.str("signature", signature);
                }
            }
            Content::RedactedReasoning(data) => {
                let mut block = blocks.object();
                block.str("type", "redacted_thinking");
                block.str("data", data);
            }
            _ => {}
        }
    }
}

/// Why the answer ended, in OpenAI's terms. One that was cut off is `length`, whatever it was doing; clients run
/// tools only at `tool_calls`.
pub(super) fn finish_reason(stop: StopReason, has_tools: bool) -> &'static str {
    match stop {
        StopReason::MaxTokens | StopReason::ContextWindowExceeded => "length",
        StopReason::GuardrailIntervened | StopReason::ContentFiltered | StopReason::Refusal => {
            "content_filter"
        }
        StopReason::ToolUse | StopReason::EndTurn if has_tools => "tool_calls",
        StopReason::ToolUse
        | StopReason::EndTurn
        | StopReason::StopSequence
        | StopReason::PauseTurn => "stop",
    }
}

/// Writes the usage: OpenAI counts what was read from a cache or written to one as part of the prompt.
pub(super) fn write_usage(body: &mut Object<'_>, tokens: &Usage, reasoning: Option<u64>) {
    let mut usage = body.object("usage");
    let input = tokens.whole_input();
    usage.number("prompt_tokens", input);
    usage.number("completion_tokens", tokens.output);
    usage.number("total_tokens", input.saturating_add(tokens.output));
    {
        let mut details = usage.object("prompt_tokens_details");
        details.number("cached_tokens", tokens.cache_read);
        details.number("cache_write_tokens", tokens.cache_write);
    }
    if let Some(reasoning) = reasoning {
        usage.object("completion_tokens_details").number("reasoning_tokens", reasoning);
    }
}

/// Writes the tier that served the request, by OpenAI's name: capacity that was paid ahead is `scale` there.
pub(super) fn write_tier(body: &mut Object<'_>, tier: Option<&str>) {
    let name = match tier {
        Some("default" | "standard") => "default",
        Some("flex") => "flex",
        Some("priority") => "priority",
        Some("reserved") => "scale",
        _ => return,
    };
    write_str(body.key("service_tier"), name);
}
