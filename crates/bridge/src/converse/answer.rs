//! Answers of Converse: read for the hub, and written for Converse's own clients.

use std::borrow::Cow;

use serde_json::value::RawValue;
use sluice_bedrock::Usage;

use crate::answer::{Answer, AnswerError, Content, StopReason};
use crate::conversation::Json;
use crate::fields;
use crate::json::{Array, Object};
use crate::translation::AnswerContext;

use super::json_answer::object_in;
use super::shapes::{AdditionalFields, Block, Body, Text, as_written};
use super::stop;

/// Reads an answer of Converse.
pub(crate) fn read_answer<'a>(
    body: &'a [u8],
    context: &AnswerContext,
) -> Result<Answer<'a>, AnswerError> {
    let text = std::str::from_utf8(body).map_err(|_| AnswerError::Unreadable("it is not UTF-8"))?;
    let read: Body<'a> = serde_json::from_str(text)
        .map_err(|_| AnswerError::Unreadable("it is not an answer of Converse"))?;
    let mut stop = stop::of(&read.stop_reason.0)?;
    let usage = Usage::from_body(body).unwrap_or_default();
    let mut content = Vec::with_capacity(read.output.message.content.len());
    let mut has_answer = false;
    for block in read.output.message.content {
        let part = content_of(block, context)?;
        if let Content::ToolUse { name, input, .. } = &part
            && context.answer_tool.as_deref() == Some(name.as_ref())
        {
            // Texts before it only announce it.
            content.retain(|part| !matches!(part, Content::Text(_)));
            content.push(Content::Text(input.0.clone()));
            has_answer = true;
        } else if !(has_answer && matches!(part, Content::Text(_))) {
            content.push(part);
        }
    }
    let has_tools = content.iter().any(|part| matches!(part, Content::ToolUse { .. }));
    stop = match (stop, has_tools) {
        // Some models end so although they wait for a tool.
        (StopReason::EndTurn, true) => StopReason::ToolUse,
        (StopReason::ToolUse, false) if has_answer => StopReason::EndTurn,
        (stop, _) => stop,
    };
    if content.is_empty() && stop == StopReason::EndTurn && usage.output == 0 {
        return Err(AnswerError::Unreadable("it is empty"));
    }
    // A text in place of the tool that takes the answer may still be it.
    let must_be_json = context.must_be_json || context.answer_tool.is_some() && !has_answer;
    if must_be_json && stop::is_whole_text(stop) {
        check_json(&mut content)?;
    }
    rename(&mut content, context);
    let fields = read.additional_model_response_fields;
    let told = fields.map(AdditionalFields::of).unwrap_or_default();
    let of_converse = [
        ("additionalModelResponseFields", fields),
        ("metrics", read.metrics),
        ("trace", read.trace),
        ("performanceConfig", read.performance_config),
    ];
    Ok(Answer {
        content,
        stop,
        stop_sequence: told.stop_sequence,
        usage,
        reasoning_tokens: told.reasoning_tokens,
        tier: read.service_tier.and_then(|tier| tier.name).map(|Text(name)| name),
        of_converse: as_written(of_converse),
    })
}

/// A block, with the name of a tool at the target.
fn content_of<'a>(block: Block<'a>, context: &AnswerContext) -> Result<Content<'a>, AnswerError> {
    if let Some(Text(text)) = block.text {
        return Ok(Content::Text(text));
    }
    if let Some(tool) = block.tool_use {
        let input = tool.input.map_or("{}", RawValue::get);
        if !input.starts_with('{') && context.source != crate::Source::Converse {
            return Err(AnswerError::Unreadable("the input of a tool is no JSON object"));
        }
        return Ok(Content::ToolUse {
            id: tool.tool_use_id.0,
            name: tool.name.0,
            input: Json(Cow::Borrowed(input)),
        });
    }
    if let Some(reasoning) = block.reasoning_content {
        return match (reasoning.reasoning_text, reasoning.redacted_content) {
            (Some(reasoning), _) => Ok(Content::Reasoning {
                text: reasoning.text.map_or(Cow::Borrowed(""), |Text(text)| text),
                signature: reasoning.signature.map(|Text(signature)| signature),
            }),
            (None, Some(Text(data))) => Ok(Content::RedactedReasoning(data)),
            (None, None) => Err(AnswerError::Unreadable("a block of thinking is empty")),
        };
    }
    if let Some(cited) = block.citations_content {
        let mut text = Cow::Borrowed("");
        for Text(part) in cited.content.into_iter().filter_map(|part| part.text) {
            match text.is_empty() {
                true => text = part,
                false => text.to_mut().push_str(&part),
            }
        }
        let citations = cited.citations.into_iter().map(|it| fields::json(it.into())).collect();
        return Ok(Content::CitedText { text, citations });
    }
    Err(AnswerError::Unreadable("it has a kind of content that can't be translated"))
}

/// Puts the JSON object that is asked for in the place of the texts.
fn check_json(content: &mut Vec<Content<'_>>) -> Result<(), AnswerError> {
    let mut text = String::new();
    for part in content.iter() {
        if let Content::Text(part) | Content::CitedText { text: part, .. } = part {
            text.push_str(part);
        }
    }
    let object = object_in(&text).ok_or(AnswerError::NotJson)?.to_owned();
    content.retain(|part| !matches!(part, Content::Text(_) | Content::CitedText { .. }));
    content.push(Content::Text(Cow::Owned(object)));
    Ok(())
}

fn rename(content: &mut [Content<'_>], context: &AnswerContext) {
    if context.renamed_tools.is_empty() {
        return;
    }
    for part in content {
        if let Content::ToolUse { name, .. } = part {
            *name = Cow::Owned(context.client_tool_name(name).to_owned());
        }
    }
}

/// Writes an answer of Converse.
pub(crate) fn write_answer(answer: &Answer<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let mut body = Object::new(&mut out);
    {
        let mut output = body.object("output");
        let mut message = output.object("message");
        message.str("role", "assistant");
        let mut content = message.array("content");
        answer.content.iter().for_each(|part| write_content(part, &mut content));
    }
    body.str("stopReason", stop::name(answer.stop));
    write_usage(&answer.usage, &mut body);
    write_rest(answer.tier.as_deref(), &answer.of_converse, &mut body);
    drop(body);
    out
}

fn write_content(part: &Content<'_>, content: &mut Array<'_>) {
    let mut element = content.object();
    match part {
        Content::Text(text) => element.str("text", text),
        Content::CitedText { text, citations } => {
            let mut cited = element.object("citationsContent");
            cited.array("content").object().str("text", text);
            let mut list = cited.array("citations");
            citations.iter().for_each(|citation| list.raw(&citation.0));
        }
        Content::ToolUse { id, name, input } => {
            let mut tool_use = element.object("toolUse");
            tool_use.str("toolUseId", id);
            tool_use.str("name", name);
            tool_use.raw("input", &input.0);
        }
        Content::Reasoning { text, signature } => {
            let mut reasoning = element.object("reasoningContent");
            let mut reasoning_text = reasoning.object("reasoningText");
            reasoning_text.str("text", text);
            if let Some(signature) = signature {
                reasoning_text.str("signature", signature);
            }
        }
        Content::RedactedReasoning(data) => {
            element.object("reasoningContent").str("redactedContent", data);
        }
    }
}

/// Writes `usage`, as the tokens were counted.
pub(super) fn write_usage(usage: &Usage, body: &mut Object<'_>) {
    let mut object = body.object("usage");
    object.number("inputTokens", usage.input);
    object.number("outputTokens", usage.output);
    object.number("totalTokens", usage.whole_input().saturating_add(usage.output));
    object.number("cacheReadInputTokens", usage.cache_read);
    object.number("cacheWriteInputTokens", usage.cache_write);
    if usage.cache_write == 0 {
        return;
    }
    let mut details = object.array("cacheDetails");
    let short = usage.cache_write.saturating_sub(usage.cache_write_1h);
    for (ttl, tokens) in [("5m", short), ("1h", usage.cache_write_1h)] {
        if tokens > 0 {
            let mut detail = details.object();
            detail.str("ttl", ttl);
            detail.number("inputTokens", tokens);
        }
    }
}

/// Writes the members behind the usage. SDKs expect the metrics.
pub(super) fn write_rest(
    tier: Option<&str>,
    of_converse: &[(&'static str, Json<'_>)],
    body: &mut Object<'_>,
) {
    if !of_converse.iter().any(|(name, _)| *name == "metrics") {
        body.raw("metrics", r#"{"latencyMs":0}"#);
    }
    of_converse.iter().for_each(|(name, value)| body.raw(name, &value.0));
    if let Some(tier) = tier {
        body.object("serviceTier").str("type", tier);
    }
}
