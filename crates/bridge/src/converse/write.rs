//! A conversation as a body of Converse, adapted to its model.
//!
//! First it is planned what the model gets of tools, thinking and the form of the answer, since these stand
//! against one another; then the body is written in one pass, in the order of the prompt.

use crate::conversation::{Block, BlockKind, Conversation, MediaSource};
use crate::json::Object;
use crate::model::Model;
use crate::report::Report;
use crate::request_metadata::{FORM, MAX_PAIRS, is_legal};
use crate::source::Source;
use crate::translation::AnswerContext;

use self::format::{FormatPlan, JSON_INSTRUCTION};
use self::names::ToolNames;
use self::target::Target;
use self::thinking::ThinkingPlan;
use self::tools::ToolPlan;
use super::params::Field;

mod blocks;
mod fields;
mod format;
mod inference;
mod messages;
mod names;
mod schema;
mod target;
mod thinking;
mod tools;

/// Writes a conversation as a body of Converse, adapted to the model.
pub(crate) fn write_request(
    source: Source,
    conversation: &Conversation<'_>,
    model: &Model,
    answer: &mut AnswerContext,
    report: &mut Report<'_>,
) -> Vec<u8> {
    let target = &mut Target::new(source, model, report);
    let names = ToolNames::of(conversation);
    let tools = ToolPlan::new(conversation, target);
    let mut thinking = ThinkingPlan::new(conversation, tools.is_forced(), target);
    let format = FormatPlan::new(conversation, tools.is_forced(), thinking.thinks, target);
    let answer_tool = match &format {
        FormatPlan::Tool { name, .. } => Some(name.clone()),
        _ => None,
    };
    if answer_tool.is_some() {
        thinking = ThinkingPlan::new(conversation, true, target);
    }
    let mut out = Vec::with_capacity(expected_len(conversation));
    let mut body = Object::new(&mut out);
    let is_only_tool = FormatPlan::is_only_tool(conversation);
    tools.write(&mut body, &format, is_only_tool, &names, target);
    write_system(conversation, matches!(format, FormatPlan::Instructed), &mut body, target);
    messages::write(conversation, &mut body, tools.tells_in_texts, &names, target);
    let top_k = inference::write(conversation, &thinking, &mut body, target);
    let own_choice = tools.own_choice(answer_tool.is_some());
    fields::write(conversation, &thinking, own_choice.as_deref(), top_k, &mut body, target);
    write_response_fields(conversation, &thinking, &mut body, target);
    if let Some(guardrail) = &conversation.guardrail {
        body.raw("guardrailConfig", &guardrail.0);
    }
    write_metadata(conversation, &mut body, target);
    if let Some(tier) = conversation.service_tier {
        body.object("serviceTier").str("type", tier);
    }
    format.write(&mut body);
    for (name, value) in &conversation.of_converse {
        body.raw(name, &value.0);
    }
    drop(body);
    answer.renamed_tools = names.into_pairs();
    answer.answer_tool = answer_tool;
    answer.must_be_json = matches!(format, FormatPlan::Instructed);
    out
}

/// The system texts, and the one that asks for JSON: behind the others, so that their cached prefix stays.
fn write_system(
    conversation: &Conversation<'_>,
    asks_for_json: bool,
    body: &mut Object<'_>,
    target: &mut Target<'_, '_>,
) {
    let is_sent = |block: &&Block<'_>| match &block.kind {
        BlockKind::Text(text) => !text.is_blank(),
        BlockKind::CachePoint(_) => false,
        _ => true,
    };
    let first = conversation.system.iter().find(is_sent);
    if let Some(first) = first
        && !target.model.takes_system
    {
        target.refuse_block(first.at, "system texts");
        return;
    }
    if first.is_none() && !asks_for_json {
        return;
    }
    let mut system = body.array("system");
    for block in &conversation.system {
        match &block.kind {
            BlockKind::Text(text) if text.is_blank() => {}
            BlockKind::Text(text) => system.object().text("text", text),
            BlockKind::CachePoint(ttl) => target.cache_point(&mut system, *ttl),
            BlockKind::Other { name, value } if name == "guardContent" => {
                system.object().raw(name, &value.0);
            }
            _ => target.invalid(block.at, "a system message has texts alone"),
        }
    }
    if asks_for_json {
        system.object().str("text", JSON_INSTRUCTION);
    }
}

/// Asks Claude for what its answer has and Converse's has not: which text stopped it, and how many tokens it
/// thought.
fn write_response_fields(
    conversation: &Conversation<'_>,
    thinking: &ThinkingPlan,
    body: &mut Object<'_>,
    target: &Target<'_, '_>,
) {
    // A client of Converse asks itself for what it wants to have.
    let is_wanted = target.model.is_claude() && target.source != Source::Converse;
    let names_stop = !conversation.stop_sequences.is_empty();
    let thinks = thinking.thinks || target.model.thinks_by_default;
    if !is_wanted || !(names_stop || thinks) {
        return;
    }
    let mut paths = body.array("additionalModelResponseFieldPaths");
    if names_stop {
        paths.str("/stop_sequence");
    }
    if thinks {
        paths.str("/usage/output_tokens_details");
    }
}

fn write_metadata(
    conversation: &Conversation<'_>,
    body: &mut Object<'_>,
    target: &mut Target<'_, '_>,
) {
    let metadata = &conversation.metadata;
    if metadata.is_empty() {
        return;
    }
    if metadata.len() > MAX_PAIRS || !metadata.iter().all(is_legal) {
        let name = Field::Metadata.name(target.source);
        target.report.unsupported(name, false, FORM);
        return;
    }
    let mut pairs = body.object("requestMetadata");
    metadata.iter().for_each(|(key, value)| pairs.str(key, value));
}

/// Room for the body, so that texts of megabytes are not moved while they are written.
fn expected_len(conversation: &Conversation<'_>) -> usize {
    fn len(block: &Block<'_>) -> usize {
        64 + match &block.kind {
            BlockKind::Text(text) => text.json_len(),
            BlockKind::Image(media)
            | BlockKind::Audio(media)
            | BlockKind::Video(media)
            | BlockKind::Document { media, .. } => match &media.source {
                MediaSource::Base64(data) => data.len() + 64,
                MediaSource::Text(text) => text.len() + text.len() / 2,
                _ => 128,
            },
            BlockKind::ToolUse { input, .. } => input.0.len() + 128,
            BlockKind::ToolResult { content, .. } => content.iter().map(len).sum(),
            BlockKind::Reasoning { text, signature } => {
                text.len() + signature.as_ref().map_or(0, |it| it.len())
            }
            BlockKind::Json(json) | BlockKind::Other { value: json, .. } => json.0.len(),
            BlockKind::RedactedReasoning(data) => data.len(),
            BlockKind::CachePoint(_) => 0,
        }
    }
    let tools = conversation.tools.iter().map(|tool| {
        128 + tool.description.len() + tool.schema.as_ref().map_or(0, |schema| schema.0.len())
    });
    let blocks = conversation.turns.iter().flat_map(|turn| &turn.blocks);
    512 + tools.sum::<usize>()
        + conversation.system.iter().map(len).sum::<usize>()
        + blocks.map(len).sum::<usize>()
}
