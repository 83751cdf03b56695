//! The parts of messages and of tools' outputs: texts, images and files.

use std::borrow::Cow;

use crate::conversation::{At, Block, BlockKind, CacheTtl, Media, MediaSource};
use crate::fields;
use crate::media::{self, MediaKind};
use crate::report::Report;
use crate::value::{Members, Value};

/// Reads `content` or `output`: a string, or a list of parts.
pub(super) fn read_content<'a>(
    value: Value<'a>,
    at: At,
    usual_ttl: CacheTtl,
    blocks: &mut Vec<Block<'a>>,
    report: &mut Report<'_>,
) {
    if let Some(text) = fields::prompt_text(value) {
        blocks.push(Block { at, kind: BlockKind::Text(text) });
        return;
    }
    let Some(parts) = fields::elements(value) else {
        let param = at.param();
        let message = format!("the content of `{param}` must be a string or a list of parts");
        report.refuse(Some(param), false, message);
        return;
    };
    for (index, part) in parts.into_iter().enumerate() {
        let at = At { part: u32::try_from(index).ok(), ..at };
        read_part(part, at, usual_ttl, blocks, report);
    }
}

fn read_part<'a>(
    value: Value<'a>,
    at: At,
    usual_ttl: CacheTtl,
    blocks: &mut Vec<Block<'a>>,
    report: &mut Report<'_>,
) {
    let Some(part) = fields::members(value) else {
        return refuse(at, "must be an object", report);
    };
    let kind = part.get("type").and_then(fields::text);
    let read = match kind.as_deref() {
        Some("input_text" | "output_text" | "text" | "summary_text" | "reasoning_text") => {
            check_members(&part, &["text"], report);
            read_text(&part, "text", at, report)
        }
        Some("refusal") => {
            check_members(&part, &["refusal"], report);
            read_text(&part, "refusal", at, report)
        }
        Some("input_image") => {
            check_members(&part, &["image_url", "file_id", "detail"], report);
            read_image(&part, at, report)
        }
        Some("input_file") => {
            let names = ["file_data", "file_url", "file_id", "filename", "detail"];
            check_members(&part, &names, report);
            read_file(&part, at, report)
        }
        Some("input_audio") => {
            check_members(&part, &["input_audio"], report);
            read_audio(&part, at, report)
        }
        Some(kind) => return refuse(at, &format!("has the unknown type `{kind}`"), report),
        None => return refuse(at, "must have a `type`", report),
    };
    let Some(kind) = read else { return };
    blocks.push(Block { at, kind });
    if let Some(ttl) = read_cache_point(&part, at, usual_ttl, report) {
        blocks.push(Block { at, kind: BlockKind::CachePoint(ttl) });
    }
}

/// Names the members of a part that mean nothing here, and refuses those that are not known.
fn check_members(part: &Members<'_>, own: &[&str], report: &mut Report<'_>) {
    for (name, value) in part.given() {
        match name {
            "type" | "prompt_cache_breakpoint" | "cache_control" => {}
            // Models on Bedrock look at images as they are.
            "detail"
                if matches!(fields::text(value).as_deref(), Some("auto" | "high" | "original")) => {
            }
            "detail" if own.contains(&"detail") => {
                let why =
                    "of a part is not served by models on Bedrock with this value; leave it out";
                report.unsupported("input.detail", false, why);
            }
            // What the model's service said of an earlier answer.
            "annotations" | "logprobs" => {
                if value.get() != "[]" {
                    report.dropped(format!("input.{name}"));
                }
            }
            name if own.contains(&name) => {}
            name => {
                let why = "of a part is not known; leave it out";
                report.unsupported(&format!("input.{name}"), false, why);
            }
        }
    }
}

fn read_text<'a>(
    part: &Members<'a>,
    name: &str,
    at: At,
    report: &mut Report<'_>,
) -> Option<BlockKind<'a>> {
    let text = part.get(name).and_then(fields::prompt_text);
    if text.is_none() {
        refuse(at, &format!("must have a string in `{name}`"), report);
    }
    text.map(BlockKind::Text)
}

fn read_image<'a>(part: &Members<'a>, at: At, report: &mut Report<'_>) -> Option<BlockKind<'a>> {
    let Some(url) = part.get("image_url").and_then(fields::text) else {
        refuse(at, no_file("image_url", part), report);
        return None;
    };
    let media = match media::data_url(&url) {
        Some((mime, data)) => {
            let Some((MediaKind::Image, format)) = media::of_mime(&mime) else {
                refuse(at, "must be a PNG, JPEG, GIF or WebP image", report);
                return None;
            };
            Media { format: Cow::Borrowed(format), source: MediaSource::Base64(data) }
        }
        None => remote(url, at, report)?,
    };
    Some(BlockKind::Image(media))
}

fn read_file<'a>(part: &Members<'a>, at: At, report: &mut Report<'_>) -> Option<BlockKind<'a>> {
    let name = part.get("filename").and_then(fields::text);
    let by_name = || name.as_deref().and_then(media::of_name);
    let (kind, media) = if let Some(data) = part.get("file_data").and_then(fields::text) {
        let (found, data) = match media::data_url(&data) {
            Some((mime, data)) => (media::of_mime(&mime).or_else(by_name), data),
            None => (by_name(), data),
        };
        let Some((kind, format)) = found else {
            let what = "must say its type, one that Converse takes: by the media type of its data \
                        URL, or by the ending of its `filename`";
            refuse(at, what, report);
            return None;
        };
        (kind, Media { format: Cow::Borrowed(format), source: MediaSource::Base64(data) })
    } else if let Some(url) = part.get("file_url").and_then(fields::text) {
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let found = by_name().or_else(|| media::of_name(path));
        let kind = found.map_or(MediaKind::Document, |(kind, _)| kind);
        (kind, remote(url, at, report)?)
    } else {
        refuse(at, no_file("file_data", part), report);
        return None;
    };
    Some(match kind {
        MediaKind::Image => BlockKind::Image(media),
        MediaKind::Document => BlockKind::Document { media, name, context: None, cites: false },
        MediaKind::Audio => BlockKind::Audio(media),
        MediaKind::Video => BlockKind::Video(media),
    })
}

fn read_audio<'a>(part: &Members<'a>, at: At, report: &mut Report<'_>) -> Option<BlockKind<'a>> {
    let audio = part.get("input_audio").and_then(fields::members).unwrap_or_default();
    let data = audio.get("data").and_then(fields::text);
    let format = audio.get("format").and_then(fields::text);
    match (data, format.as_deref().and_then(media::of_name)) {
        (Some(data), Some((MediaKind::Audio, format))) => {
            let source = MediaSource::Base64(data);
            Some(BlockKind::Audio(Media { format: Cow::Borrowed(format), source }))
        }
        _ => {
            refuse(at, "must have `data` and a known `format` in `input_audio`", report);
            None
        }
    }
}

fn no_file(wanted: &str, part: &Members<'_>) -> &'static str {
    match (part.get("file_id").is_some(), wanted) {
        (true, _) => "names a file by `file_id`, and no files are stored here; send its data",
        (false, "image_url") => "must have an `image_url`",
        (false, _) => "must have `file_data` or `file_url`",
    }
}

/// A file that must be fetched, or is in S3.
fn remote<'a>(url: Cow<'a, str>, at: At, report: &mut Report<'_>) -> Option<Media<'a>> {
    if url.starts_with("https://") {
        return Some(Media { format: Cow::Borrowed(""), source: MediaSource::Url(url) });
    }
    let format = media::of_name(&url).filter(|_| url.starts_with("s3://"));
    match format {
        Some((_, format)) => {
            let source = MediaSource::S3 { uri: url, owner: None };
            Some(Media { format: Cow::Borrowed(format), source })
        }
        None => {
            let what = "must be a data URL in base64, an https:// address, or an s3:// URI with \
                        an ending that tells its type";
            refuse(at, what, report);
            None
        }
    }
}

/// The point up to which the prompt is to be cached: OpenAI's member, or the one that other clients send.
fn read_cache_point(
    part: &Members<'_>,
    at: At,
    usual: CacheTtl,
    report: &mut Report<'_>,
) -> Option<CacheTtl> {
    let (value, is_openai) = match part.get("prompt_cache_breakpoint") {
        Some(value) => (value, true),
        None => (part.get("cache_control")?, false),
    };
    let Some(point) = fields::members(value) else {
        refuse(at, "must have an object for its point of caching", report);
        return None;
    };
    let ttl = point.get("ttl").and_then(fields::text);
    match (is_openai, ttl.as_deref()) {
        (true, None) => Some(usual),
        (true, Some(ttl)) => Some(openai_ttl("prompt_cache_breakpoint.ttl", ttl, report)),
        (false, None | Some("5m")) => Some(CacheTtl::FiveMinutes),
        (false, Some("1h")) => Some(CacheTtl::Hour),
        (false, Some(_)) => {
            refuse(at, "must have a `ttl` of `5m` or `1h` in `cache_control`", report);
            None
        }
    }
}

/// OpenAI's lifetimes are the least: an hour is the shortest that keeps 30 minutes.
pub(super) fn openai_ttl(name: &str, ttl: &str, report: &mut Report<'_>) -> CacheTtl {
    if ttl != "30m" {
        let why = "is longer than a prompt is cached on Bedrock; use `30m`";
        report.unsupported(name, false, why);
    }
    CacheTtl::Hour
}

fn refuse(at: At, what: &str, report: &mut Report<'_>) {
    let param = at.param();
    let message = format!("`{param}` {what}");
    report.refuse(Some(param), false, message);
}
