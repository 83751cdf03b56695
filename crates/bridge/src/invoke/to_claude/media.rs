//! Images and PDFs at addresses, in the body of Messages: InvokeModel takes bytes alone.

use std::ops::Range;

use sluice_bedrock::json::{JsonError, Scanner, Type};

use crate::conversation::At;
use crate::json::Object;
use crate::remote_media::{FetchedMedia, RemoteKind, RemoteMedia};

/// The `source` of an image or a PDF that names an address.
struct Source {
    media: RemoteMedia,
    /// Where the value of `source` stands in the body.
    place: Range<usize>,
}

/// The images and PDFs that must be fetched, each address once for each kind. A body that is no JSON has none.
pub fn remote_media(body: &[u8]) -> Vec<RemoteMedia> {
    let mut all: Vec<RemoteMedia> = Vec::new();
    for Source { media, .. } in sources(body) {
        if !all.iter().any(|it| it.url == media.url && it.kind == media.kind) {
            all.push(media);
        }
    }
    all
}

/// The body with the bytes of what was fetched in the place of each address. All else keeps its bytes.
pub fn with_media(body: &[u8], fetched: &[FetchedMedia]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    for Source { media, place } in sources(body) {
        let is_it = |it: &&FetchedMedia| it.url == media.url && it.kind == media.kind;
        let Some(fetched) = fetched.iter().find(is_it) else { continue };
        out.extend_from_slice(body.get(at..place.start).unwrap_or_default());
        let mut source = Object::new(&mut out);
        source.str("type", "base64");
        let media_type = match fetched.kind {
            RemoteKind::Image => format!("image/{}", fetched.format),
            RemoteKind::Document | RemoteKind::Pdf => format!("application/{}", fetched.format),
        };
        source.str("media_type", &media_type);
        source.str("data", &fetched.base64);
        drop(source);
        at = place.end;
    }
    out.extend_from_slice(body.get(at..).unwrap_or_default());
    out
}

/// Those in the body, in their order. What follows a mistake in the JSON is not read: the body is refused for it.
fn sources(body: &[u8]) -> Vec<Source> {
    let mut found = Vec::new();
    let _ = Scanner::new(body).object(|key, scanner| match key {
        "messages" => messages(scanner, &mut found),
        _ => Ok(()),
    });
    found
}

fn messages(scanner: &mut Scanner<'_>, found: &mut Vec<Source>) -> Result<(), JsonError> {
    let mut index = 0;
    scanner.array(|scanner| {
        let at = At { list: "messages", index: Some(index), part: None };
        index += 1;
        scanner.object(|key, scanner| match key {
            "content" => content(scanner, at, found),
            _ => Ok(()),
        })
    })
}

/// The blocks of a message; those in the result of a tool are named by that.
fn content(scanner: &mut Scanner<'_>, at: At, found: &mut Vec<Source>) -> Result<(), JsonError> {
    let mut part = 0;
    scanner.array(|scanner| {
        let at = At { part: at.part.or(Some(part)), ..at };
        part += 1;
        block(scanner, at, found)
    })
}

fn block(scanner: &mut Scanner<'_>, at: At, found: &mut Vec<Source>) -> Result<(), JsonError> {
    let (mut kind, mut address) = (None, None);
    scanner.object(|key, scanner| {
        match (key, scanner.peek()?) {
            ("type", Type::String) => {
                kind = match scanner.string()?.as_ref() {
                    "image" => Some(RemoteKind::Image),
                    "document" => Some(RemoteKind::Pdf),
                    _ => None,
                };
            }
            ("source", Type::Object) => address = source(scanner)?,
            ("content", Type::Array) => content(scanner, at, found)?,
            _ => {}
        }
        Ok(())
    })?;
    if let (Some(kind), Some((url, place))) = (kind, address) {
        found.push(Source { media: RemoteMedia { param: at.param(), url, kind }, place });
    }
    Ok(())
}

/// The address in a source that has one, and the place of the source.
fn source(scanner: &mut Scanner<'_>) -> Result<Option<(String, Range<usize>)>, JsonError> {
    let start = scanner.position();
    let (mut is_address, mut url) = (false, None);
    scanner.object(|key, scanner| {
        match (key, scanner.peek()?) {
            ("type", Type::String) => is_address = scanner.string()? == "url",
            ("url", Type::String) => url = Some(scanner.string()?.into_owned()),
            _ => {}
        }
        Ok(())
    })?;
    let place = start..scanner.position();
    Ok(url.filter(|_| is_address).map(|url| (url, place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_the_place_of_addresses_and_nothing_else_changes() {
        let body = r#"{ "model":"m", "messages": [
            {"content":"https://x/a","role":"user"},
            {"role":"user","content":[ {"source": {"url":"https:\/\/x\/a","type":"url"}, "type":"image"},
                {"type":"document","source":{"type":"url","url":"https://x/b"},"title":"t"},
                {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA"}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"u","content":[
                {"type":"image","source":{"type":"url","url":"https://x/a"}}]}]}],"max_tokens":5}"#;
        let listed: Vec<_> = remote_media(body.as_bytes())
            .into_iter()
            .map(|it| (it.param, it.url, it.kind))
            .collect();
        let of = |param: &str, url: &str, kind| (param.to_owned(), url.to_owned(), kind);
        assert_eq!(
            listed,
            [
                of("messages[1].content[0]", "https://x/a", RemoteKind::Image),
                of("messages[1].content[1]", "https://x/b", RemoteKind::Pdf),
            ]
        );
        let fetched = |url: &str, kind, format, base64: &str| FetchedMedia {
            url: url.to_owned(),
            kind,
            format,
            base64: base64.to_owned(),
        };
        let all = [
            fetched("https://x/a", RemoteKind::Image, "jpeg", "/9j+"),
            fetched("https://x/b", RemoteKind::Pdf, "pdf", "JVBE"),
        ];
        let image = r#"{"type":"base64","media_type":"image/jpeg","data":"/9j+"}"#;
        let pdf = r#"{"type":"base64","media_type":"application/pdf","data":"JVBE"}"#;
        let expected = body
            .replace(r#"{"url":"https:\/\/x\/a","type":"url"}"#, image)
            .replace(r#"{"type":"url","url":"https://x/b"}"#, pdf)
            .replace(r#"{"type":"url","url":"https://x/a"}"#, image);
        assert_eq!(String::from_utf8(with_media(body.as_bytes(), &all)).unwrap(), expected);
        assert_eq!(with_media(body.as_bytes(), &[]), body.as_bytes());
        assert!(remote_media(b"{\"messages\":[{]").is_empty());
    }
}
