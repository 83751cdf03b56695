//! Blocks of Converse's messages, system texts and results of tools.

use std::fmt;

use crate::conversation::{At, Block, BlockKind, CacheTtl, Json, Media, MediaSource};
use crate::fields;
use crate::report::Report;
use crate::value::{Members, Value};

use super::{array, object, only, text_block, wrong};

/// Reads a list of blocks; `at` is the place of one by its index.
pub(super) fn read<'a>(
    list: Value<'a>,
    param: impl fmt::Display,
    at: &dyn Fn(u32) -> At,
    report: &mut Report<'_>,
) -> Vec<Block<'a>> {
    let elements = array(list, param, report);
    let mut blocks = Vec::with_capacity(elements.len());
    for (index, element) in (0_u32..).zip(elements) {
        let at = at(index);
        let Some(members) = object(element, at, report) else { break };
        let mut told = members.given();
        match (told.next(), told.next()) {
            (Some((name, value)), None) => blocks.extend(block(name, value, at, report)),
            _ => wrong(at.param(), "an object with one member", report),
        }
    }
    blocks
}

/// How long a cache point stays.
pub(super) fn ttl(point: Value<'_>) -> Option<CacheTtl> {
    let ttl = fields::members(point)?.get("ttl").and_then(fields::text);
    Some(if ttl.as_deref() == Some("1h") { CacheTtl::Hour } else { CacheTtl::FiveMinutes })
}

fn block<'a>(name: &str, value: Value<'a>, at: At, report: &mut Report<'_>) -> Option<Block<'a>> {
    let param = || format!("{}.{name}", at.param());
    let kind = match name {
        "text" => {
            let text = fields::prompt_text(value);
            if text.is_none() {
                wrong(param(), "a text", report);
            }
            return text.map(|text| text_block(at, text));
        }
        "cachePoint" => BlockKind::CachePoint(ttl(value)?),
        "json" => BlockKind::Json(fields::json(value)),
        "image" => BlockKind::Image(media(value, &param(), &["format", "source"], report)?),
        "audio" => BlockKind::Audio(media(value, &param(), &["format", "source"], report)?),
        "video" => BlockKind::Video(media(value, &param(), &["format", "source"], report)?),
        "document" => document(value, &param(), report)?,
        "toolUse" => tool_use(value, &param(), report)?,
        "toolResult" => tool_result(value, at, &param(), report)?,
        "reasoningContent" => reasoning(value, &param(), report)?,
        // As it was written: `guardContent`, `searchResult`, and whatever comes.
        name => BlockKind::Other { name: name.to_owned().into(), value: fields::json(value) },
    };
    Some(Block { at, kind })
}

fn media<'a>(
    value: Value<'a>,
    param: &str,
    known: &[&str],
    report: &mut Report<'_>,
) -> Option<Media<'a>> {
    let members = object(value, param, report)?;
    only(&members, known, param, report);
    let source = members.get("source").and_then(fields::members).as_ref().and_then(source);
    let Some(source) = source else {
        let param = format!("{param}.source");
        wrong(param, "an object with `bytes`, `s3Location` or, of a document, a text", report);
        return None;
    };
    let is_text = matches!(source, MediaSource::Text(_) | MediaSource::Texts(_));
    let format = match members.get("format").and_then(fields::text) {
        Some(format) => format,
        None if is_text => "txt".into(),
        None => {
            wrong(format!("{param}.format"), "a text", report);
            return None;
        }
    };
    Some(Media { format, source })
}

fn source<'a>(members: &Members<'a>) -> Option<MediaSource<'a>> {
    let text = |name| members.get(name).and_then(fields::text);
    if let Some(bytes) = text("bytes") {
        return Some(MediaSource::Base64(bytes));
    }
    if let Some(text) = text("text") {
        return Some(MediaSource::Text(text));
    }
    if let Some(content) = members.get("content").and_then(fields::elements) {
        let text = |part| fields::members(part)?.get("text").and_then(fields::text);
        return content.into_iter().map(text).collect::<Option<_>>().map(MediaSource::Texts);
    }
    let location = members.get("s3Location").and_then(fields::members)?;
    Some(MediaSource::S3 {
        uri: location.get("uri").and_then(fields::text)?,
        owner: location.get("bucketOwner").and_then(fields::text),
    })
}

fn document<'a>(value: Value<'a>, param: &str, report: &mut Report<'_>) -> Option<BlockKind<'a>> {
    let known = ["format", "source", "name", "context", "citations"];
    let media = media(value, param, &known, report)?;
    let members = fields::members(value)?;
    let citations = members.get("citations").and_then(fields::members);
    let cites = citations.and_then(|it| it.get("enabled")).and_then(fields::boolean);
    Some(BlockKind::Document {
        media,
        name: members.get("name").and_then(fields::text),
        context: members.get("context").and_then(fields::text),
        cites: cites.unwrap_or(false),
    })
}

fn tool_use<'a>(value: Value<'a>, param: &str, report: &mut Report<'_>) -> Option<BlockKind<'a>> {
    let members = object(value, param, report)?;
    only(&members, &["toolUseId", "name", "input"], param, report);
    let text = |name| members.get(name).and_then(fields::text);
    match (text("toolUseId"), text("name"), members.get("input")) {
        (Some(id), Some(name), Some(input)) => {
            Some(BlockKind::ToolUse { id, name, input: fields::json(input) })
        }
        (Some(id), Some(name), None) => {
            Some(BlockKind::ToolUse { id, name, input: Json("{}".into()) })
        }
        _ => {
            wrong(param, "an object with `toolUseId`, `name` and `input`", report);
            None
        }
    }
}

fn tool_result<'a>(
    value: Value<'a>,
    at: At,
    param: &str,
    report: &mut Report<'_>,
) -> Option<BlockKind<'a>> {
    let members = object(value, param, report)?;
    only(&members, &["toolUseId", "content", "status"], param, report);
    let Some(id) = members.get("toolUseId").and_then(fields::text) else {
        wrong(format!("{param}.toolUseId"), "a text", report);
        return None;
    };
    let content = match members.get("content") {
        Some(content) => parts(content, at, &format!("{param}.content"), report),
        None => Vec::new(),
    };
    let status = members.get("status").and_then(fields::text);
    Some(BlockKind::ToolResult { id, content, is_error: status.as_deref() == Some("error") })
}

/// The parts of a result. A result within a result is none of them, so that nothing nests further.
fn parts<'a>(content: Value<'a>, at: At, param: &str, report: &mut Report<'_>) -> Vec<Block<'a>> {
    let mut blocks = Vec::new();
    for element in array(content, param, report) {
        let Some(members) = object(element, param, report) else { break };
        let mut told = members.given();
        match (told.next(), told.next()) {
            (Some(("toolResult" | "toolUse", _)), _) => {
                wrong(param, "a list of texts, JSON, images and documents", report);
            }
            (Some((name, value)), None) => blocks.extend(block(name, value, at, report)),
            _ => wrong(param, "a list of objects with one member each", report),
        }
    }
    blocks
}

fn reasoning<'a>(value: Value<'a>, param: &str, report: &mut Report<'_>) -> Option<BlockKind<'a>> {
    let members = object(value, param, report)?;
    if let Some(data) = members.get("redactedContent").and_then(fields::text) {
        return Some(BlockKind::RedactedReasoning(data));
    }
    let told = members.get("reasoningText").and_then(fields::members);
    let text = told.as_ref().and_then(|told| told.get("text")).and_then(fields::text);
    let Some(text) = text else {
        wrong(param, "an object with `reasoningText` or `redactedContent`", report);
        return None;
    };
    let signature = told.and_then(|told| told.get("signature")).and_then(fields::text);
    Some(BlockKind::Reasoning { text, signature })
}
