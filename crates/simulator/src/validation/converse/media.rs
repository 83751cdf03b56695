//! Images, documents, audio and video: whether the model takes them, and their number, size and names.

use serde_json::Value;

use super::blocks::{Block, blocks, list_of, messages};
use super::{of_model, unsupported};
use crate::answer::Invalid;
use crate::validation::{Model, shape};

/// The most images of a request.
const MAX_IMAGES: usize = 20;
/// The most documents of a request.
const MAX_DOCUMENTS: usize = 5;
/// The largest image, in bytes: 3.75 MB.
const MAX_IMAGE_BYTES: usize = 3_932_160;
/// The largest document, in bytes: 4.5 MB.
const MAX_DOCUMENT_BYTES: usize = 4_718_592;

/// How the formats of images begin, in base64.
const BEGINNINGS: [(&str, &str); 4] =
    [("png", "iVBORw0KG"), ("jpeg", "/9j/"), ("gif", "R0lGOD"), ("webp", "UklGR")];

#[derive(Default)]
struct Seen<'a> {
    images: usize,
    documents: Vec<&'a str>,
}

pub(super) fn check(body: &Value, model: &Model) -> Result<(), Invalid> {
    let mut seen = Seen::default();
    for message in messages(body) {
        let path = format!("messages.{}.content", message.at);
        for block in message.blocks() {
            check_block(&format!("{path}.{}", block.at), block, model, &mut seen)?;
            if block.kind != "toolResult" {
                continue;
            }
            for inner in blocks(list_of(block.value, "content")) {
                let path = format!("{path}.{}.toolResult.content.{}", block.at, inner.at);
                if inner.kind == "image" && !model.takes("tool_result_images") {
                    return Err(unsupported("toolResult.content.image"));
                }
                check_block(&path, inner, model, &mut seen)?;
            }
        }
        let has = |kind| message.of_kind(kind).next().is_some();
        if has("document") && !has("text") {
            return Err(Invalid::new(format!(
                "The content field in the Message object at messages.{} has a document and no \
                 text. Add a text block with a prompt and try again.",
                message.at
            )));
        }
    }
    if seen.images > MAX_IMAGES {
        return Err(too_many("image", MAX_IMAGES));
    }
    if seen.documents.len() > MAX_DOCUMENTS {
        return Err(too_many("document", MAX_DOCUMENTS));
    }
    Ok(())
}

fn check_block<'a>(
    path: &str,
    block: Block<'a>,
    model: &Model,
    seen: &mut Seen<'a>,
) -> Result<(), Invalid> {
    let (kind, feature) = match block.kind {
        kind @ "image" => (kind, "images"),
        kind @ "document" => (kind, "documents"),
        kind @ ("video" | "audio") => (kind, kind),
        // Only Claude cites what it was given.
        kind @ "searchResult" if model.is_known() && !model.is_claude() => {
            return Err(unsupported(kind));
        }
        _ => return Ok(()),
    };
    if !model.takes(feature) {
        return Err(unsupported(kind));
    }
    match kind {
        "image" => {
            seen.images += 1;
            check_image(path, block)
        }
        "document" => {
            check_document(path, block, &seen.documents)?;
            seen.documents.push(block.text_of("name"));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn check_image(path: &str, image: Block<'_>) -> Result<(), Invalid> {
    let bytes = image.value.pointer("/source/bytes").and_then(Value::as_str).unwrap_or_default();
    let length = shape::decoded_length(bytes).unwrap_or_default();
    if length > MAX_IMAGE_BYTES {
        return Err(of_model(format!(
            "{path}.image.source.base64: image exceeds 5 MB maximum: {} bytes > 5242880 bytes",
            bytes.len()
        )));
    }
    let said = image.text_of("format");
    let is = BEGINNINGS.iter().find(|(_, beginning)| bytes.starts_with(beginning));
    match is.filter(|(name, _)| *name != said) {
        Some((name, _)) => Err(of_model(format!(
            "{path}.image.source.base64.data: Image does not match the provided media type \
             image/{said}: it is image/{name}"
        ))),
        None => Ok(()),
    }
}

fn check_document(path: &str, document: Block<'_>, names: &[&str]) -> Result<(), Invalid> {
    let name = document.text_of("name");
    if !is_file_name(name) {
        return Err(Invalid::new(
            "The document file name can only contain alphanumeric characters, whitespace \
             characters, hyphens, parentheses, and square brackets. The name can't contain more \
             than one consecutive whitespace character. Check that the file name conforms to these \
             restrictions and retry your request.",
        ));
    }
    if names.contains(&name) {
        return Err(Invalid::new(
            "Messages can't contain duplicate document names. Rename the document and retry your \
             request.",
        ));
    }
    let source = document.value.get("source").unwrap_or(&Value::Null);
    let is_file =
        ["bytes", "s3Location"].iter().any(|it| source.get(*it).is_some_and(|it| !it.is_null()));
    let is_cited = document.value.pointer("/citations/enabled") == Some(&Value::Bool(true));
    if !is_file && !is_cited {
        return Err(Invalid::new(format!(
            "DocumentSource object at {path}.document.source must set one of the following keys: \
             bytes, s3Location."
        )));
    }
    if is_file && document.text_of("format").is_empty() {
        return Err(Invalid::new(format!(
            "The format field in the DocumentBlock object at {path}.document is missing. Add it \
             and try again."
        )));
    }
    let bytes = source.get("bytes").and_then(Value::as_str).unwrap_or_default();
    let length = shape::decoded_length(bytes).unwrap_or_default();
    // What is read as pages may be larger.
    if length > MAX_DOCUMENT_BYTES && document.text_of("format") != "pdf" {
        return Err(Invalid::new(format!(
            "The document at {path} has {length} bytes. The maximum is {MAX_DOCUMENT_BYTES}."
        )));
    }
    Ok(())
}

/// Letters, digits, single whitespace, hyphens, brackets; underscores pass, too, though no page says so.
fn is_file_name(name: &str) -> bool {
    let fits =
        |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || "-_()[]".contains(c);
    let spaces = |pair: (char, char)| pair.0.is_ascii_whitespace() && pair.1.is_ascii_whitespace();
    name.chars().all(fits) && !name.chars().zip(name.chars().skip(1)).any(spaces)
}

fn too_many(what: &str, most: usize) -> Invalid {
    Invalid::new(format!(
        "too many {what} blocks in the request. The maximum number of {what} blocks is {most}."
    ))
}
