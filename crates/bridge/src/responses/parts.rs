//! The parts of messages and of tools' outputs: texts, images and files.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::conversation::{At, Block, BlockKind, CacheTtl, Media, MediaSource};
use crate::fields::{self, Members};
use crate::report::Report;

/// Reads `content` or `output`: a string, or a list of parts.
pub(super) fn read_content<'a>(
    value: &'a RawValue,
    at: At,
    blocks: &mut Vec<Block<'a>>,
    report: &mut Report<'_>,
) {
    if let Some(text) = fields::text(value) {
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
        read_part(part, at, blocks, report);
    }
}

fn read_part<'a>(
    value: &'a RawValue,
    at: At,
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
    if let Some(ttl) = read_cache_point(&part, at, report) {
        blocks.push(Block { at, kind: BlockKind::CachePoint(ttl) });
    }
}

/// Names the members of a part that mean nothing here, and refuses those that are not known.
fn check_members(part: &Members<'_>, own: &[&str], report: &mut Report<'_>) {
    for (name, value) in part.iter().filter(|(_, value)| !fields::is_null(value)) {
        match name {
            "type" | "prompt_cache_breakpoint" | "cache_control" => {}
            "detail" if fields::text(value).as_deref() == Some("auto") => {}
            // How closely OpenAI's models look at it.
            "detail" if own.contains(&"detail") => report.dropped("input.detail"),
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
    let text = part.get(name).and_then(fields::text);
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
    let media = match DataUrl::of(&url) {
        Some(data) => {
            let Some(format) = data.mime.strip_prefix("image/") else {
                refuse(at, &format!("is no image but `{}`", data.mime), report);
                return None;
            };
            let format = if format == "jpg" { "jpeg" } else { format };
            Media { format: Cow::Owned(format.to_owned()), source: base64(url.clone(), data.start) }
        }
        None => remote(url, at, report)?,
    };
    Some(BlockKind::Image(media))
}

fn read_file<'a>(part: &Members<'a>, at: At, report: &mut Report<'_>) -> Option<BlockKind<'a>> {
    let name = part.get("filename").and_then(fields::text);
    let media = if let Some(data) = part.get("file_data").and_then(fields::text) {
        let (mime, start) = DataUrl::of(&data).map_or((None, 0), |it| (Some(it.mime), it.start));
        let Some(format) = document_format(mime.as_deref(), name.as_deref()) else {
            let what = "must name its kind: by the mime type of its data URL, or by the ending of \
                        its `filename`";
            refuse(at, what, report);
            return None;
        };
        Media { format: Cow::Borrowed(format), source: base64(data, start) }
    } else if let Some(url) = part.get("file_url").and_then(fields::text) {
        let name = name.as_deref().or(Some(url.split(['?', '#']).next().unwrap_or_default()));
        let format = document_format(None, name).unwrap_or_default();
        Media { format: Cow::Borrowed(format), ..remote(url, at, report)? }
    } else {
        refuse(at, no_file("file_data", part), report);
        return None;
    };
    Some(BlockKind::Document { media, name, context: None, cites: false })
}

fn read_audio<'a>(part: &Members<'a>, at: At, report: &mut Report<'_>) -> Option<BlockKind<'a>> {
    let audio = part.get("input_audio").and_then(fields::members).unwrap_or_default();
    let data = audio.get("data").and_then(fields::text);
    let format = audio.get("format").and_then(fields::text);
    let (Some(data), Some(format)) = (data, format) else {
        refuse(at, "must have `data` and `format` in `input_audio`", report);
        return None;
    };
    Some(BlockKind::Audio(Media { format, source: MediaSource::Base64(data) }))
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
    let scheme = url.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let source = match scheme.as_str() {
        "https" | "http" => MediaSource::Url(url),
        "s3" => MediaSource::S3 { uri: url, owner: None },
        _ => {
            refuse(at, "must be a data URL with base64, or an address", report);
            return None;
        }
    };
    let format = match &source {
        MediaSource::S3 { uri, .. } => ending(uri).to_ascii_lowercase(),
        _ => String::new(),
    };
    let format = if format == "jpg" { "jpeg".to_owned() } else { format };
    Some(Media { format: Cow::Owned(format), source })
}

/// A data URL with base64.
struct DataUrl {
    mime: String,
    /// Where the data begin.
    start: usize,
}

impl DataUrl {
    fn of(url: &str) -> Option<DataUrl> {
        let scheme = url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:"))?;
        // A head is short; what has no comma there is no data URL.
        let head = url.as_bytes().get(scheme.len()..).unwrap_or_default();
        let comma = memchr::memchr(b',', head.get(..head.len().min(200)).unwrap_or_default())?;
        let head = url.get(scheme.len()..scheme.len() + comma)?;
        let (mime, parameters) = head.split_once(';')?;
        let is_base64 = parameters.split(';').any(|it| it.trim().eq_ignore_ascii_case("base64"));
        let start = scheme.len() + comma + 1;
        is_base64.then(|| DataUrl { mime: mime.trim().to_ascii_lowercase(), start })
    }
}

/// The base64 that begins there, without a copy where the text is borrowed.
fn base64(text: Cow<'_, str>, start: usize) -> MediaSource<'_> {
    MediaSource::Base64(match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(start..).unwrap_or_default()),
        Cow::Owned(mut text) => {
            text.drain(..start.min(text.len()));
            Cow::Owned(text)
        }
    })
}

fn ending(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, ending)| ending)
}

/// The name of a document's format in Converse.
fn document_format(mime: Option<&str>, name: Option<&str>) -> Option<&'static str> {
    let by_mime = mime.and_then(|mime| {
        Some(match mime {
            "application/pdf" => "pdf",
            "text/csv" => "csv",
            "application/msword" => "doc",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
            "application/vnd.ms-excel" => "xls",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
            "text/html" => "html",
            "text/plain" => "txt",
            "text/markdown" => "md",
            _ => return None,
        })
    });
    let by_name = || {
        const FORMATS: [&str; 9] =
            ["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"];
        let ending = ending(name?);
        FORMATS.into_iter().find(|format| format.eq_ignore_ascii_case(ending))
    };
    by_mime.or_else(by_name)
}

/// The point up to which the prompt is to be cached: OpenAI's member, or the one that other clients send.
fn read_cache_point(part: &Members<'_>, at: At, report: &mut Report<'_>) -> Option<CacheTtl> {
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
        (_, None) | (false, Some("5m")) => Some(CacheTtl::FiveMinutes),
        // OpenAI's is the least time.
        (true, Some("30m")) | (false, Some("1h")) => Some(CacheTtl::Hour),
        (true, Some(_)) => {
            let why = "is longer than a prompt is cached on Bedrock; use `30m`";
            report.unsupported("prompt_cache_breakpoint.ttl", false, why);
            Some(CacheTtl::Hour)
        }
        (false, Some(_)) => {
            refuse(at, "must have a `ttl` of `5m` or `1h` in `cache_control`", report);
            None
        }
    }
}

fn refuse(at: At, what: &str, report: &mut Report<'_>) {
    let param = at.param();
    let message = format!("`{param}` {what}");
    report.refuse(Some(param), false, message);
}
