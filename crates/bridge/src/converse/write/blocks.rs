//! Blocks of messages as Converse has them, as far as the model takes them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::conversation::{At, Block, BlockKind, CacheTtl, Json, Media, MediaSource, Role};
use crate::json::{Array, Object};
use crate::messages::citations::text_of;

use super::messages::Writer;
use super::target::Target;

const IMAGE_FORMATS: &[&str] = &["png", "jpeg", "gif", "webp"];
const DOCUMENT_FORMATS: &[&str] =
    &["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"];
const AUDIO_FORMATS: &[&str] = &[
    "mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg",
    "mpga", "pcm", "webm",
];
const VIDEO_FORMATS: &[&str] =
    &["mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"];

/// Writes a block of a message; `beside`: what a result of a tool takes up of its message.
pub(super) fn write<'c>(
    block: &'c Block<'_>,
    beside: &[&Block<'_>],
    role: Role,
    content: &mut Array<'_>,
    writer: &mut Writer<'_, 'c>,
    target: &mut Target<'_, '_>,
) {
    let at = block.at;
    match &block.kind {
        BlockKind::CachePoint(ttl) => target.cache_point(content, *ttl),
        BlockKind::Text(text) => content.object().text("text", text),
        _ if role == Role::System => {
            target.invalid(at, "a system message has texts alone");
        }
        BlockKind::ToolUse { id, name, input } => {
            tool_use(at, id, name, input, content, writer, target);
        }
        BlockKind::ToolResult { id, content: parts, is_error } => {
            let cache_point =
                tool_result(at, id, (parts, beside), *is_error, content, writer, target);
            if let Some(ttl) = cache_point {
                target.cache_point(content, ttl);
            }
        }
        BlockKind::Reasoning { text, signature } => {
            let mut element = content.object();
            let mut reasoning = element.object("reasoningContent");
            let mut reasoning_text = reasoning.object("reasoningText");
            reasoning_text.str("text", text);
            if let Some(signature) = signature {
                reasoning_text.str("signature", signature);
            }
        }
        BlockKind::RedactedReasoning(data) => {
            let mut element = content.object();
            element.object("reasoningContent").str("redactedContent", data);
        }
        BlockKind::Json(json) => content.object().str("text", &json.0),
        BlockKind::Image(_)
        | BlockKind::Document { .. }
        | BlockKind::Audio(_)
        | BlockKind::Video(_)
        | BlockKind::Other { .. } => media_or_other(block, content, &mut writer.documents, target),
    }
}

fn tool_use<'c>(
    at: At,
    id: &'c str,
    name: &'c str,
    input: &Json<'_>,
    content: &mut Array<'_>,
    writer: &mut Writer<'_, 'c>,
    target: &mut Target<'_, '_>,
) {
    let Some(target_id) = writer.ids.open(id, name) else {
        target.invalid(at, &format!("the id `{id}` of a tool's use is there twice in one message"));
        return;
    };
    let input = input.0.trim();
    let input = if input.is_empty() { "{}" } else { input };
    if writer.tells_in_texts {
        content.object().str("text", &format!("I use the tool `{name}` with the input: {input}"));
        return;
    }
    if !input.starts_with('{') {
        target.invalid(at, "the input of a tool's use must be a JSON object");
        return;
    }
    let mut element = content.object();
    let mut tool_use = element.object("toolUse");
    tool_use.str("toolUseId", &target_id);
    tool_use.str("name", writer.names.at_target(name));
    tool_use.raw("input", input);
}

/// Writes a result. Returns the cache point of its parts: Converse has it after the result.
fn tool_result<'c>(
    at: At,
    id: &'c str,
    (parts, beside): (&[Block<'_>], &[&Block<'_>]),
    is_error: bool,
    content: &mut Array<'_>,
    writer: &mut Writer<'_, 'c>,
    target: &mut Target<'_, '_>,
) -> Option<CacheTtl> {
    let mut all = parts.iter().chain(beside.iter().copied());
    let cache_point = all.clone().rev().find_map(|part| match part.kind {
        BlockKind::CachePoint(ttl) => Some(ttl),
        _ => None,
    });
    let Some(open) = writer.ids.close(id) else {
        let what = format!("the message before this one has no use of a tool with the id `{id}`");
        target.invalid(at, &what);
        return cache_point;
    };
    if writer.tells_in_texts {
        let outcome = if is_error { "The tool failed" } else { "The tool's result" };
        content.object().str("text", &format!("{outcome} (`{}`):", open.tool));
        all.for_each(|part| result_part(part, content, writer, target, true));
        return cache_point;
    }
    let mut element = content.object();
    let mut result = element.object("toolResult");
    result.str("toolUseId", &open.target);
    {
        let mut content = result.array("content");
        all.by_ref().for_each(|part| result_part(part, &mut content, writer, target, false));
        // Bedrock takes no failure without a content.
        if is_error && content.is_empty() {
            content.object().str("text", "The tool failed.");
        }
    }
    if is_error {
        result.str("status", "error");
    }
    cache_point
}

fn result_part(
    part: &Block<'_>,
    content: &mut Array<'_>,
    writer: &mut Writer<'_, '_>,
    target: &mut Target<'_, '_>,
    in_texts: bool,
) {
    match &part.kind {
        BlockKind::CachePoint(_) => {}
        BlockKind::Text(text) if text.is_blank() => {}
        BlockKind::Text(text) => content.object().text("text", text),
        // Converse takes objects alone.
        BlockKind::Json(json) if !in_texts && json.0.trim_start().starts_with('{') => {
            content.object().raw("json", &json.0);
        }
        BlockKind::Json(json) => content.object().str("text", &json.0),
        BlockKind::Image(_) if !in_texts && !target.model.takes_tool_result_images => {
            target.refuse_block(part.at, "images in results of tools");
        }
        BlockKind::Audio(_) if !in_texts => {
            target.refuse_block(part.at, "audio in results of tools");
        }
        BlockKind::Other { name, .. } if name == "guardContent" && !in_texts => {
            target.refuse_block(part.at, "`guardContent` beside results of tools");
        }
        BlockKind::Image(_)
        | BlockKind::Document { .. }
        | BlockKind::Video(_)
        | BlockKind::Other { .. } => media_or_other(part, content, &mut writer.documents, target),
        _ => target.invalid(part.at, "a result of a tool can't have this kind of content"),
    }
}

fn media_or_other(
    block: &Block<'_>,
    content: &mut Array<'_>,
    documents: &mut Documents,
    target: &mut Target<'_, '_>,
) {
    let (at, model) = (block.at, target.model);
    match &block.kind {
        BlockKind::Image(media) => {
            if !model.takes_images {
                target.refuse_block(at, "images");
            }
            self::media(at, "image", media, IMAGE_FORMATS, content, target);
        }
        BlockKind::Audio(media) => {
            if !model.takes_audio {
                target.refuse_block(at, "audio");
            }
            self::media(at, "audio", media, AUDIO_FORMATS, content, target);
        }
        BlockKind::Video(media) => {
            if !model.takes_video {
                target.refuse_block(at, "video");
            }
            self::media(at, "video", media, VIDEO_FORMATS, content, target);
        }
        BlockKind::Document { media, name, context, cites } => {
            if !model.takes_documents {
                target.refuse_block(at, "documents");
            }
            if *cites && !model.is_claude() {
                target.refuse_block(at, "citations of documents");
            }
            check_format(at, media, DOCUMENT_FORMATS, target);
            let mut element = content.object();
            let mut document = element.object("document");
            document.str("format", &media.format);
            document.str("name", &documents.name(name.as_deref()));
            document_source(at, media, *cites, &mut document, target);
            if let Some(context) = context {
                document.str("context", context);
            }
            if *cites {
                document.object("citations").bool("enabled", true);
            }
        }
        // What a text cites is told to Claude alone.
        BlockKind::Other { name, value } if name == "citationsContent" && !model.is_claude() => {
            target.report.dropped("messages.citations");
            let text = text_of(value);
            if !text.trim().is_empty() {
                content.object().str("text", &text);
            }
        }
        BlockKind::Other { name, value } => {
            // What is guarded is the guardrail's matter, not the model's.
            if !model.is_claude() && name != "guardContent" {
                target.refuse_block(at, &format!("`{name}`"));
            }
            content.object().raw(name, &value.0);
        }
        _ => {}
    }
}

fn check_format(at: At, media: &Media<'_>, formats: &[&str], target: &mut Target<'_, '_>) {
    // Of what was not fetched the format is not known, and it is refused for that.
    let is_remote = matches!(media.source, MediaSource::Url(_));
    if !is_remote && !formats.contains(&media.format.as_ref()) {
        let what = format!("the format `{}` is not one of {}", media.format, formats.join(", "));
        target.invalid(at, &what);
    }
}

fn media(
    at: At,
    kind: &str,
    media: &Media<'_>,
    formats: &[&str],
    content: &mut Array<'_>,
    target: &mut Target<'_, '_>,
) {
    check_format(at, media, formats, target);
    let mut element = content.object();
    let mut object = element.object(kind);
    object.str("format", &media.format);
    let mut source = object.object("source");
    match &media.source {
        MediaSource::Base64(data) => source.str("bytes", data),
        MediaSource::S3 { .. } | MediaSource::Url(_) => {
            stored(at, &media.source, &mut source, target)
        }
        MediaSource::Text(_) | MediaSource::Texts(_) => {
            target.invalid(at, "only a document can be a text");
        }
    }
}

fn document_source(
    at: At,
    media: &Media<'_>,
    cites: bool,
    document: &mut Object<'_>,
    target: &mut Target<'_, '_>,
) {
    let mut source = document.object("source");
    match &media.source {
        MediaSource::Base64(data) => source.str("bytes", data),
        // Citations count its characters; else every model takes bytes.
        MediaSource::Text(text) if cites => source.str("text", text),
        MediaSource::Text(text) => source.str("bytes", &STANDARD.encode(text.as_bytes())),
        MediaSource::Texts(texts) if cites => {
            let mut content = source.array("content");
            texts.iter().for_each(|text| content.object().str("text", text));
        }
        MediaSource::Texts(texts) => source.str("bytes", &STANDARD.encode(texts.join("\n"))),
        MediaSource::S3 { .. } | MediaSource::Url(_) => {
            stored(at, &media.source, &mut source, target)
        }
    }
}

fn stored(at: At, source: &MediaSource<'_>, object: &mut Object<'_>, target: &mut Target<'_, '_>) {
    match source {
        MediaSource::S3 { uri, owner } => {
            let mut location = object.object("s3Location");
            location.str("uri", uri);
            if let Some(owner) = owner {
                location.str("bucketOwner", owner);
            }
        }
        _ => target
            .invalid(at, "an address is not fetched here: send the bytes themselves, in base64"),
    }
}

/// Names of documents. They depend on nothing but the documents of the request and their order, so that the
/// prompt stays the same from turn to turn.
#[derive(Debug, Default)]
pub(super) struct Documents {
    /// With the last number behind each.
    names: HashMap<String, u32>,
    count: u32,
}

impl Documents {
    /// A legal name that no other document of the request has.
    fn name(&mut self, given: Option<&str>) -> String {
        const MAX_LEN: usize = 190;
        self.count += 1;
        let mut name = String::new();
        for char in given.unwrap_or_default().trim().chars() {
            if name.len() >= MAX_LEN {
                break;
            }
            match char {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '(' | ')' | '[' | ']' => name.push(char),
                char if char.is_whitespace() => {
                    if !name.ends_with(' ') {
                        name.push(' ');
                    }
                }
                _ => name.push('-'),
            }
        }
        let name = name.trim();
        let is_told = name.bytes().any(|byte| byte.is_ascii_alphanumeric());
        let base = if is_told { name.to_owned() } else { format!("document-{}", self.count) };
        let mut unique = base.clone();
        let mut number = self.names.get(&base).copied().unwrap_or(0);
        while self.names.contains_key(&unique) {
            number += 1;
            unique = format!("{base}-{}", number + 1);
        }
        self.names.insert(base, number);
        self.names.entry(unique.clone()).or_insert(0);
        unique
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_legal_names_that_stay_the_same() {
        let mut documents = Documents::default();
        let mut name = |given| documents.name(given);
        assert_eq!(name(Some("report.v2  final.pdf")), "report-v2 final-pdf");
        assert_eq!(name(None), "document-2");
        assert_eq!(name(Some("???")), "document-3");
        assert_eq!(name(Some("report.v2 final.pdf")), "report-v2 final-pdf-2");
        assert_eq!(name(Some(&"x".repeat(300))).len(), 190);
    }
}
