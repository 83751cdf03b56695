//! What a model is told, in a form that can be compared: as a conversation means it, and as a body of Converse has
//! it.

use sluice_bridge::conversation::{
    AnswerFormat, Block, BlockKind, CacheTtl, Conversation, Media, MediaSource, Role, Thinking,
    ToolChoice,
};
use sluice_bridge::{AnswerContext, Source};

use crate::talk::{Call, Choice, Part, Said, Takes, Talk, Tuning};

/// The bytes of each image and of each document.
pub(crate) const BYTES: &str = "AAEC";

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    system: Vec<String>,
    messages: Vec<(bool, Vec<String>)>,
    tools: Vec<String>,
    choice: String,
    parallel: Option<bool>,
    max_tokens: Option<u64>,
    temperature: Option<f64>,
    top_k: Option<f64>,
    stop: Vec<String>,
    effort: Option<String>,
    thinks: bool,
    tier: Option<String>,
    schema: Option<String>,
}

/// The schema of the answer, with its keys in the order in which they are written.
pub(crate) const SCHEMA: &str = r#"{"additionalProperties":false,"properties":{"a":{"type":"number"},"z":{"type":"string"}},"required":["z","a"],"type":"object"}"#;

/// What of a conversation the model must be told.
pub(crate) fn meant(talk: &Talk, source: Source, takes: Takes) -> Told {
    let mut told = Told {
        max_tokens: Some(talk.max_tokens.into()),
        stop: talk.stop.clone(),
        parallel: talk.parallel.filter(|is_parallel| !is_parallel),
        tier: talk.tier.map(str::to_owned),
        schema: talk.has_schema.then(|| SCHEMA.to_owned()),
        choice: match talk.choice {
            Choice::Unsaid | Choice::Auto => "auto".to_owned(),
            Choice::Any => "any".to_owned(),
            Choice::First => format!("tool {}", talk.tools[0].name),
            Choice::None => "none".to_owned(),
        },
        ..Told::default()
    };
    match talk.tuning {
        Tuning::Nothing => {}
        Tuning::Sampling { temperature, top_k } => {
            told.temperature = Some(temperature);
            told.top_k = (top_k > 0).then_some(top_k.into());
        }
        Tuning::Effort(effort) => {
            told.effort = Some(effort.to_owned());
            told.thinks = matches!(source, Source::ChatCompletions | Source::Responses);
        }
    }
    let point = |cache: &str| match (cache, takes.is_claude) {
        ("1h", true) => "cache 1h".to_owned(),
        _ => "cache 5m".to_owned(),
    };
    for Said { text, cache } in &talk.system {
        told.system.push(format!("text {text}"));
        told.system.extend(cache.map(point));
    }
    for tool in &talk.tools {
        let strict = if tool.is_strict && takes.is_strict { " strict" } else { "" };
        let cache = tool.cache.filter(|_| takes.is_claude).map(point).unwrap_or_default();
        told.tools.push(format!("{} {}{strict} {cache}", tool.name, tool.description));
    }
    told.messages.push((true, talk.question.iter().flat_map(parts).collect()));
    for exchange in &talk.exchanges {
        let mut said = Vec::new();
        if takes.is_claude {
            let thought = exchange.thought.as_ref();
            said.extend(thought.map(|(text, signature)| format!("thought {text} {signature}")));
            if exchange.is_redacted {
                said.push(format!("redacted {BYTES}"));
            }
        }
        said.extend(exchange.text.as_ref().map(|text| format!("text {text}")));
        let uses = exchange.calls.iter();
        said.extend(uses.map(|Call { id, name, input, .. }| format!("use {id} {name} {input}")));
        told.messages.push((false, said));
        let mut results: Vec<(String, Vec<String>)> = Vec::new();
        for call in &exchange.calls {
            let failed = if call.has_failed { " failed" } else { "" };
            let head = format!("result {}{failed}", call.id);
            results.push((head, call.result.iter().map(part).collect()));
        }
        let mut reply: Vec<String> = exchange.reply.iter().map(part).collect();
        // These models take nothing beside results: it is in the last.
        if !takes.is_claude
            && let Some((_, last)) = results.last_mut()
        {
            last.append(&mut reply);
        }
        let mut heard: Vec<String> =
            results.into_iter().map(|(head, parts)| format!("{head} {parts:?}")).collect();
        heard.append(&mut reply);
        told.messages.push((true, heard));
    }
    told
}

/// A part, and the cache point behind it.
fn parts(one: &Part) -> Vec<String> {
    let cached = matches!(one, Part::Text(Said { cache: Some(_), .. }));
    std::iter::once(part(one)).chain(cached.then(|| "cache 5m".to_owned())).collect()
}

fn part(part: &Part) -> String {
    match part {
        Part::Text(said) => format!("text {}", said.text),
        Part::Image => format!("image png {BYTES}"),
        Part::Document => format!("document pdf {BYTES}"),
    }
}

/// What a body of Converse tells, with the client's names of tools.
pub(crate) fn read(conversation: &Conversation<'_>, answer: &AnswerContext) -> Told {
    let name = |name: &str| answer.client_tool_name(name).to_owned();
    let tools = conversation.tools.iter().map(|tool| {
        let strict = if tool.strict == Some(true) { " strict" } else { "" };
        let cache = tool.cache_point.map(point).unwrap_or_default();
        format!("{} {}{strict} {cache}", name(&tool.name), tool.description)
    });
    let messages = conversation.turns.iter().map(|turn| {
        let blocks = turn.blocks.iter().map(|it| block(it, &name)).collect();
        (turn.role == Role::User, blocks)
    });
    Told {
        system: conversation.system.iter().map(|it| block(it, &name)).collect(),
        messages: messages.collect(),
        tools: tools.collect(),
        choice: match &conversation.tool_choice {
            None | Some(ToolChoice::Auto) => "auto".to_owned(),
            Some(ToolChoice::Any) => "any".to_owned(),
            Some(ToolChoice::Tool(tool)) => format!("tool {}", name(tool)),
            Some(ToolChoice::None) => "none".to_owned(),
            Some(other) => format!("{other:?}"),
        },
        parallel: conversation.parallel_tools,
        max_tokens: conversation.max_tokens,
        temperature: conversation.temperature.as_ref().map(|number| number.parse().unwrap()),
        top_k: conversation.top_k.as_ref().map(|number| number.parse().unwrap()),
        stop: conversation.stop_sequences.iter().map(ToString::to_string).collect(),
        effort: conversation.effort.map(|effort| format!("{effort:?}").to_lowercase()),
        thinks: conversation.thinking == Some(Thinking::Adaptive),
        tier: conversation.service_tier.map(str::to_owned),
        schema: conversation.format.as_ref().map(|format| match format {
            AnswerFormat::JsonSchema { schema, .. } => schema.0.to_string(),
            AnswerFormat::JsonObject => "any".to_owned(),
        }),
    }
}

fn point(ttl: CacheTtl) -> String {
    match ttl {
        CacheTtl::Hour => "cache 1h".to_owned(),
        CacheTtl::FiveMinutes => "cache 5m".to_owned(),
    }
}

fn block(block: &Block<'_>, name: &dyn Fn(&str) -> String) -> String {
    match &block.kind {
        BlockKind::Text(text) => format!("text {text}"),
        BlockKind::CachePoint(ttl) => point(*ttl),
        BlockKind::Image(media) => format!("image {}", bytes(media)),
        BlockKind::Document { media, .. } => format!("document {}", bytes(media)),
        BlockKind::ToolUse { id, name: tool, input } => {
            format!("use {id} {} {}", name(tool), input.0)
        }
        BlockKind::ToolResult { id, content, is_error } => {
            let parts: Vec<String> = content.iter().map(|part| self::block(part, name)).collect();
            format!("result {id}{} {parts:?}", if *is_error { " failed" } else { "" })
        }
        BlockKind::Reasoning { text, signature } => {
            format!("thought {text} {}", signature.as_deref().unwrap_or_default())
        }
        BlockKind::RedactedReasoning(data) => format!("redacted {data}"),
        other => format!("{other:?}"),
    }
}

fn bytes(media: &Media<'_>) -> String {
    match &media.source {
        MediaSource::Base64(data) => format!("{} {data}", media.format),
        other => format!("{} {other:?}", media.format),
    }
}
