//! Images, documents and search results among the blocks of a message.

use std::borrow::Cow;

use sluice_bedrock::json::{Scanner, Type};

use super::cache::cache_control;
use super::content::required;
use super::read::{Place, Read, elements, flag, kind, members, text, unknown};
use crate::conversation::{At, BlockKind, CacheTtl, Json, Media, MediaSource};
use crate::json::Object;
use crate::report::Report;

/// Reads an image.
pub(super) fn image<'a>(
    scanner: &mut Scanner<'a>,
    at: At,
    report: &mut Report<'_>,
    cache: &mut Option<CacheTtl>,
) -> Read<Option<BlockKind<'a>>> {
    let mut media = None;
    members(scanner, Place::of(at, ""), report, |key, scanner, report| match key {
        "type" => Ok(()),
        "source" => {
            media = source(scanner, Place::of(at, "source"), report, image_format)?;
            Ok(())
        }
        "transformations" => transformations(scanner, at, report),
        "cache_control" => cache_control(scanner, at, report, cache),
        key => unknown(scanner, Place::of(at, key), report),
    })?;
    Ok(required(media, at, "source", report).map(BlockKind::Image))
}

/// What is to happen with an image that is too large. Models scale it down.
fn transformations(scanner: &mut Scanner<'_>, at: At, report: &mut Report<'_>) -> Read {
    let place = Place::of(at, "transformations");
    members(scanner, place, report, |key, scanner, report| {
        let place = place.member(key);
        match (key, scanner.peek()?) {
            ("oversized_image", Type::String) if scanner.clone().string()? == "downsize" => Ok(()),
            _ => unknown(scanner, place, report),
        }
    })
}

/// Reads a document.
pub(super) fn document<'a>(
    scanner: &mut Scanner<'a>,
    at: At,
    report: &mut Report<'_>,
    cache: &mut Option<CacheTtl>,
) -> Read<Option<BlockKind<'a>>> {
    let (mut media, mut name, mut context, mut cites) = (None, None, None, false);
    members(scanner, Place::of(at, ""), report, |key, scanner, report| {
        match key {
            "type" => {}
            "source" => {
                media = source(scanner, Place::of(at, "source"), report, document_format)?;
            }
            "title" => name = text(scanner, Place::of(at, "title"), report)?,
            "context" => context = text(scanner, Place::of(at, "context"), report)?,
            "citations" => cites = enabled(scanner, Place::of(at, "citations"), report)?,
            "cache_control" => cache_control(scanner, at, report, cache)?,
            key => unknown(scanner, Place::of(at, key), report)?,
        }
        Ok(())
    })?;
    let media = required(media, at, "source", report);
    Ok(media.map(|media| BlockKind::Document { media, name, context, cites }))
}

/// Reads a search result: Converse has the same block by another name.
pub(super) fn search_result<'a>(
    scanner: &mut Scanner<'a>,
    at: At,
    report: &mut Report<'_>,
    cache: &mut Option<CacheTtl>,
) -> Read<Option<BlockKind<'a>>> {
    let (mut source, mut title, mut texts, mut cites) = (None, None, Vec::new(), false);
    members(scanner, Place::of(at, ""), report, |key, scanner, report| {
        match key {
            "type" => {}
            "source" => source = text(scanner, Place::of(at, "source"), report)?,
            "title" => title = text(scanner, Place::of(at, "title"), report)?,
            "content" => texts = text_blocks(scanner, Place::of(at, "content"), report)?,
            "citations" => cites = enabled(scanner, Place::of(at, "citations"), report)?,
            "cache_control" => cache_control(scanner, at, report, cache)?,
            key => unknown(scanner, Place::of(at, key), report)?,
        }
        Ok(())
    })?;
    let source = required(source, at, "source", report);
    let title = required(title, at, "title", report);
    let Some((source, title)) = source.zip(title) else { return Ok(None) };
    let mut json = Vec::new();
    {
        let mut object = Object::new(&mut json);
        object.str("source", &source);
        object.str("title", &title);
        let mut array = object.array("content");
        for text in &texts {
            array.object().str("text", text);
        }
        drop(array);
        if cites {
            object.object("citations").bool("enabled", true);
        }
    }
    let value = Json(Cow::Owned(String::from_utf8(json).unwrap_or_default()));
    Ok(Some(BlockKind::Other { name: Cow::Borrowed("searchResult"), value }))
}

/// Reads `{"enabled": ..}`.
fn enabled(scanner: &mut Scanner<'_>, place: Place<'_>, report: &mut Report<'_>) -> Read<bool> {
    let mut is_enabled = false;
    members(scanner, place, report, |key, scanner, report| match key {
        "enabled" => {
            is_enabled = flag(scanner, place.member("enabled"), report)?.unwrap_or(false);
            Ok(())
        }
        key => unknown(scanner, place.member(key), report),
    })?;
    Ok(is_enabled)
}

/// Reads the source of an image or a document. `format` knows the media types and says which it takes.
fn source<'a>(
    scanner: &mut Scanner<'a>,
    place: Place<'_>,
    report: &mut Report<'_>,
    format: fn(&str) -> Result<&'static str, &'static str>,
) -> Read<Option<Media<'a>>> {
    let (mut media_type, mut data, mut url, mut texts) = (None, None, None, None);
    let kind = match scanner.peek()? {
        Type::Object => kind(scanner)?,
        _ => None,
    };
    let is_file = kind.as_deref() == Some("file");
    members(scanner, place, report, |key, scanner, report| {
        match key {
            "type" => {}
            "media_type" => media_type = text(scanner, place.member(key), report)?,
            "data" => data = text(scanner, place.member(key), report)?,
            "url" => url = text(scanner, place.member(key), report)?,
            "content" => texts = Some(part_texts(scanner, place.member(key), report)?),
            "file_id" if is_file => {}
            key => unknown(scanner, place.member(key), report)?,
        }
        Ok(())
    })?;
    let media =
        |format: &'static str, source| Some(Media { format: Cow::Borrowed(format), source });
    let is_document = format(PDF).is_ok();
    let found = match (kind.as_deref(), data, url, texts) {
        (Some("base64"), Some(data), _, _) => match format(media_type.as_deref().unwrap_or("")) {
            Ok(format) => media(format, MediaSource::Base64(data)),
            Err(why) => {
                place.member("media_type").refuse(report, why);
                None
            }
        },
        (Some("url"), _, Some(url), _) => {
            media(if is_document { "pdf" } else { "" }, MediaSource::Url(url))
        }
        (Some("text"), Some(data), _, _) if is_document => media("txt", MediaSource::Text(data)),
        (Some("content"), _, _, Some(texts)) if is_document => {
            media("txt", MediaSource::Texts(texts))
        }
        (Some("file"), ..) => {
            let why = "is a file at Anthropic, which Bedrock can't read: send its bytes";
            place.refuse(report, why);
            None
        }
        (Some("base64" | "text"), None, ..) => {
            place.member("data").refuse(report, "is required");
            None
        }
        (Some("url"), _, None, _) => {
            place.member("url").refuse(report, "is required");
            None
        }
        _ => {
            let why = match is_document {
                true => "must be `base64`, `text`, `content` or `url`",
                false => "must be `base64` or `url`",
            };
            place.member("type").refuse(report, why);
            None
        }
    };
    Ok(found)
}

const PDF: &str = "application/pdf";

fn image_format(media_type: &str) -> Result<&'static str, &'static str> {
    Ok(match media_type {
        "image/jpeg" => "jpeg",
        "image/png" => "png",
        "image/gif" => "gif",
        "image/webp" => "webp",
        _ => return Err("must be `image/jpeg`, `image/png`, `image/gif` or `image/webp`"),
    })
}

fn document_format(media_type: &str) -> Result<&'static str, &'static str> {
    match media_type {
        PDF => Ok("pdf"),
        _ => Err("must be `application/pdf`; a plain text has a source of type `text`"),
    }
}

/// The parts of a document: a text, or a list of text blocks.
fn part_texts<'a>(
    scanner: &mut Scanner<'a>,
    place: Place<'_>,
    report: &mut Report<'_>,
) -> Read<Vec<Cow<'a, str>>> {
    match scanner.peek()? {
        Type::String => Ok(vec![scanner.string()?]),
        _ => text_blocks(scanner, place, report),
    }
}

/// A list of text blocks and nothing else.
fn text_blocks<'a>(
    scanner: &mut Scanner<'a>,
    place: Place<'_>,
    report: &mut Report<'_>,
) -> Read<Vec<Cow<'a, str>>> {
    let mut texts = Vec::new();
    elements(scanner, place, report, |_, scanner, report| {
        let is_text = scanner.peek()? == Type::Object && kind(scanner)?.as_deref() == Some("text");
        if !is_text {
            place.refuse_here(report, "may hold only blocks of type `text`");
            return scanner.skip();
        }
        let mut found = None;
        members(scanner, place, report, |key, scanner, report| {
            match key {
                "type" => {}
                "text" => found = text(scanner, place.member("text"), report)?,
                key => unknown(scanner, place.member(key), report)?,
            }
            Ok(())
        })?;
        match found {
            Some(text) => texts.push(text),
            None => place.member("text").refuse(report, "is required"),
        }
        Ok(())
    })?;
    Ok(texts)
}
