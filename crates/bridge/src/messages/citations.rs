//! Citations: of Anthropic's API in requests, and of Converse in answers, each in the form of the other.

use std::borrow::Cow;

use sluice_bedrock::json::{Scanner, Type};

use super::read::{Place, Read, ahead, count, elements, members, null, text, unknown};
use crate::conversation::{BlockKind, Json};
use crate::json::{Array, Object};
use crate::report::Report;

/// The form of a place in a source: its name in Anthropic's API and in Converse's, and of each number within it.
struct Form {
    anthropic: &'static str,
    converse: &'static str,
    index: (&'static str, &'static str),
    start: &'static str,
    end: &'static str,
}

const FORMS: [Form; 4] = [
    Form {
        anthropic: "char_location",
        converse: "documentChar",
        index: ("document_index", "documentIndex"),
        start: "start_char_index",
        end: "end_char_index",
    },
    Form {
        anthropic: "page_location",
        converse: "documentPage",
        index: ("document_index", "documentIndex"),
        start: "start_page_number",
        end: "end_page_number",
    },
    Form {
        anthropic: "content_block_location",
        converse: "documentChunk",
        index: ("document_index", "documentIndex"),
        start: "start_block_index",
        end: "end_block_index",
    },
    Form {
        anthropic: "search_result_location",
        converse: "searchResultLocation",
        index: ("search_result_index", "searchResultIndex"),
        start: "start_block_index",
        end: "end_block_index",
    },
];

/// A citation, in no API's form.
#[derive(Debug, Default)]
struct Citation<'a> {
    title: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    text: Cow<'a, str>,
    index: u64,
    start: u64,
    end: u64,
}

/// Reads what a text of an earlier answer cites: a list of Converse's citations, as JSON. `None` if it cites
/// nothing.
pub(super) fn read(
    scanner: &mut Scanner<'_>,
    place: Place<'_>,
    report: &mut Report<'_>,
) -> Read<Option<Vec<u8>>> {
    let mut json = Vec::new();
    let mut array = Array::new(&mut json);
    elements(scanner, place, report, |_, scanner, report| {
        let kind = ahead(scanner, "type")?;
        let form = FORMS.iter().find(|form| kind.as_deref() == Some(form.anthropic));
        let Some(form) = form else {
            place.refuse_here(
                report,
                "has a citation of a type that can't be carried to this model",
            );
            return scanner.skip();
        };
        let citation = read_one(scanner, place, form, report)?;
        let mut object = array.object();
        if let Some(title) = &citation.title {
            object.str("title", title);
        }
        if let Some(source) = &citation.source {
            object.str("source", source);
        }
        object.array("sourceContent").object().str("text", &citation.text);
        let mut location = object.object("location");
        let mut location = location.object(form.converse);
        location.number(form.index.1, citation.index);
        location.number("start", citation.start);
        location.number("end", citation.end);
        Ok(())
    })?;
    let is_empty = array.is_empty();
    drop(array);
    Ok((!is_empty).then_some(json))
}

fn read_one<'a>(
    scanner: &mut Scanner<'a>,
    place: Place<'_>,
    form: &Form,
    report: &mut Report<'_>,
) -> Read<Citation<'a>> {
    let mut citation = Citation::default();
    members(scanner, place, report, |key, scanner, report| {
        let place = place.member(key);
        match key {
            "type" => {}
            "cited_text" => citation.text = text(scanner, place, report)?.unwrap_or_default(),
            "document_title" | "title" => citation.title = text(scanner, place, report)?,
            "source" => citation.source = text(scanner, place, report)?,
            key if key == form.index.0 => {
                citation.index = count(scanner, place, report)?.unwrap_or(0);
            }
            key if key == form.start => {
                citation.start = count(scanner, place, report)?.unwrap_or(0);
            }
            key if key == form.end => citation.end = count(scanner, place, report)?.unwrap_or(0),
            _ => unknown(scanner, place, report)?,
        }
        Ok(())
    })?;
    Ok(citation)
}

/// A text with the citations that [`read`] gave.
pub(super) fn cited_text<'a>(text: &str, citations: &[u8]) -> BlockKind<'a> {
    let mut json = Vec::with_capacity(text.len() + citations.len() + 64);
    {
        let mut object = Object::new(&mut json);
        object.array("content").object().str("text", text);
        object.key("citations").extend_from_slice(citations);
    }
    let value = Json(Cow::Owned(String::from_utf8(json).unwrap_or_default()));
    BlockKind::Other { name: Cow::Borrowed("citationsContent"), value }
}

/// The text of a `citationsContent` of Converse, without what it cites.
pub(crate) fn text_of(cited: &Json<'_>) -> String {
    let mut texts = String::new();
    // What can't be read has no text.
    let _ = Scanner::new(cited.0.as_bytes()).object(|key, scanner| match key {
        "content" => scanner.array(|scanner| {
            scanner.object(|key, scanner| {
                if key == "text" && scanner.peek()? == Type::String {
                    texts.push_str(&scanner.string()?);
                }
                Ok(())
            })
        }),
        _ => Ok(()),
    });
    texts
}

/// Writes a citation of Converse in Anthropic's form. `None`: it is of a kind that Anthropic's API has not, or not
/// readable, and nothing was written.
pub(super) fn write(citation: &Json<'_>, out: &mut Vec<u8>) -> Option<()> {
    let mut found = Citation::default();
    let mut form = None;
    let mut texts = String::new();
    let mut scanner = Scanner::new(citation.0.as_bytes());
    let read = scanner.object(|key, scanner| match key {
        _ if null(scanner)? => Ok(()),
        "title" => {
            found.title = Some(scanner.string()?);
            Ok(())
        }
        "source" => {
            found.source = Some(scanner.string()?);
            Ok(())
        }
        "sourceContent" => scanner.array(|scanner| {
            scanner.object(|key, scanner| {
                if key == "text" {
                    texts.push_str(&scanner.string()?);
                }
                Ok(())
            })
        }),
        "location" => scanner.object(|key, scanner| {
            form = FORMS.iter().find(|form| form.converse == key);
            let Some(form) = form else { return Ok(()) };
            scanner.object(|key, scanner| {
                let slot = match key {
                    "start" => &mut found.start,
                    "end" => &mut found.end,
                    key if key == form.index.1 => &mut found.index,
                    _ => return Ok(()),
                };
                *slot = scanner.count()?.map_or(0, |(count, _)| count);
                Ok(())
            })
        }),
        _ => Ok(()),
    });
    read.ok()?;
    let form = form?;
    let mut object = Object::new(out);
    object.str("type", form.anthropic);
    object.str("cited_text", &texts);
    object.number(form.index.0, found.index);
    let title = found.title.as_deref();
    if form.index.0 == "document_index" {
        object.str_or_null("document_title", title);
    } else {
        object.str("source", found.source.as_deref().unwrap_or_default());
        object.str_or_null("title", title);
    }
    object.number(form.start, found.start);
    object.number(form.end, found.end);
    Some(())
}
