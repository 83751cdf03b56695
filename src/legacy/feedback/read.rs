//! Reading a model's answer: where its JSON is, and what of it makes an item.
//!
//! A model wraps its JSON in prose or a Markdown fence, writes `"High"` for `"high"` and `90` for
//! `0.9`. None of that is a reason to lose a finding, so each field that can't be read gets its
//! default, and only an answer without any items to find is unreadable.

use std::collections::HashSet;

use serde::de::DeserializeSeed;
use serde_json::{Map, Value};

use super::super::json::Shape;
use super::super::text::first_chars;
use super::{
    Item, Kind, MAX_DESCRIPTION, MAX_EXAMPLE, MAX_QUESTIONS, MAX_REFS, MAX_SUGGESTION, Risk, new_id,
};

/// Most bytes of an answer that is read.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// Most items of an answer that are looked at.
pub const MAX_ITEMS: usize = 100;

/// The member that holds the items.
const ITEMS: &str = "feedback_items";
/// Most characters of an id or a category, which no contract bounds.
const MAX_NAME: usize = 100;
/// Most characters of a question, which no contract bounds either.
const MAX_QUESTION: usize = 500;
/// Number of the checklist's last topic.
const LAST_REF: f64 = 20.0;
const DEFAULT_CATEGORY: &str = "Investigation Process";
const DEFAULT_CONFIDENCE: f64 = 0.8;

/// Why an answer has no items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The answer is longer than [`MAX_ANSWER_BYTES`].
    #[error("the model's answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
    /// There is no JSON with items in it.
    #[error("the model's answer holds no JSON object with {ITEMS}")]
    NoItems,
}

/// Reads the items of a model's answer. They may stand in plain JSON, in a Markdown fence or in
/// the outermost braces of a text, as an object with `feedback_items` or as a bare array.
///
/// # Errors
/// The answer is too long or holds no items. A list of none is no error.
pub fn read(answer: &str) -> Result<Vec<Item>, Unreadable> {
    if answer.len() > MAX_ANSWER_BYTES {
        return Err(Unreadable::TooLong);
    }
    let values = std::iter::once(answer.trim())
        .chain(fenced(answer))
        .chain(between(answer, '{', '}'))
        .find_map(list)
        // `[ ]` in prose is a box to tick and not an answer.
        .or_else(|| between(answer, '[', ']').and_then(list).filter(|list| !list.is_empty()))
        .ok_or(Unreadable::NoItems)?;
    let mut items: Vec<Item> = values.iter().filter_map(item).collect();
    // Clients accept and reject items by their id, so two of the same would be one to them.
    let mut seen = HashSet::new();
    for item in &mut items {
        if !seen.insert(item.id.clone()) {
            item.id = new_id();
        }
    }
    Ok(items)
}

/// What stands inside the Markdown fences of a text, in order. A fence that is never closed ends
/// with the text.
fn fenced(text: &str) -> impl Iterator<Item = &str> {
    let inside = text.split("```").skip(1).step_by(2);
    inside.map(|inside| inside.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).trim())
}

/// From the first opening bracket to the last closing one.
fn between(text: &str, open: char, close: char) -> Option<&str> {
    text.get(text.find(open)?..=text.rfind(close)?)
}

/// The first items of the list that a JSON text holds, if it holds one.
fn list(text: &str) -> Option<Vec<Value>> {
    let mut json = serde_json::Deserializer::from_str(text);
    let answer = ANSWER.deserialize(&mut json).ok()?;
    json.end().ok()?;
    match answer {
        Value::Object(mut members) => match members.remove(ITEMS)? {
            Value::Array(items) => Some(items),
            _ => None,
        },
        // `[1]` in prose is a footnote and not an answer.
        Value::Array(items) if items.is_empty() || items.iter().any(Value::is_object) => {
            Some(items)
        }
        _ => None,
    }
}

/// Most elements of a list within an item that are looked at.
const MAX_ELEMENTS: usize = 100;

/// A text, of which [`text`] takes the first characters, or a number.
const SCALAR: Shape<'_> = Shape::text(usize::MAX);

/// A scalar, or a list of scalars.
const FIELD: Shape<'_> = Shape { elements: Some((&SCALAR, MAX_ELEMENTS)), ..SCALAR };

const ITEM: Shape<'_> = Shape {
    members: &[
        ("id", FIELD),
        ("type", FIELD),
        ("category", FIELD),
        ("description", FIELD),
        ("suggestion", FIELD),
        ("example", FIELD),
        ("questions", FIELD),
        ("hawkeye_refs", FIELD),
        ("risk_level", FIELD),
        ("confidence", FIELD),
    ],
    ..Shape::text(0)
};

const LIST: Shape<'_> = Shape { elements: Some((&ITEM, MAX_ITEMS)), ..Shape::text(0) };

/// An object with items, or their list alone.
const ANSWER: Shape<'_> = Shape { members: &[(ITEMS, LIST)], ..LIST };

/// The item that an object makes; none if it describes nothing.
fn item(value: &Value) -> Option<Item> {
    let fields = value.as_object()?;
    let text = |name, most| fields.get(name).and_then(|value| text(value, most));
    Some(Item {
        description: text("description", MAX_DESCRIPTION)?,
        id: id(fields).unwrap_or_else(new_id),
        kind: kind(fields),
        category: text("category", MAX_NAME).unwrap_or_else(|| DEFAULT_CATEGORY.to_owned()),
        suggestion: text("suggestion", MAX_SUGGESTION).unwrap_or_default(),
        example: text("example", MAX_EXAMPLE).unwrap_or_default(),
        questions: questions(fields),
        hawkeye_refs: refs(fields),
        risk_level: risk(fields),
        confidence: confidence(fields),
    })
}

/// A text without the blanks around it, cut to its first characters; none if nothing is left.
fn text(value: &Value, most: usize) -> Option<String> {
    let text = first_chars(value.as_str()?.trim(), most).trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

fn id(fields: &Map<String, Value>) -> Option<String> {
    match fields.get("id")? {
        Value::Number(number) => Some(number.to_string()),
        value => text(value, MAX_NAME),
    }
}

fn kind(fields: &Map<String, Value>) -> Kind {
    match word(fields, "type").as_str() {
        "critical" => Kind::Critical,
        "important" => Kind::Important,
        _ => Kind::default(),
    }
}

fn risk(fields: &Map<String, Value>) -> Risk {
    match word(fields, "risk_level").as_str() {
        "high" => Risk::High,
        "medium" => Risk::Medium,
        _ => Risk::default(),
    }
}

fn word(fields: &Map<String, Value>, name: &str) -> String {
    let text = fields.get(name).and_then(Value::as_str).unwrap_or_default();
    first_chars(text.trim(), MAX_NAME).to_lowercase()
}

fn questions(fields: &Map<String, Value>) -> Vec<String> {
    let questions = one_or_more(fields.get("questions"));
    questions.iter().filter_map(|value| text(value, MAX_QUESTION)).take(MAX_QUESTIONS).collect()
}

fn refs(fields: &Map<String, Value>) -> Vec<u8> {
    let mut refs = Vec::new();
    for value in one_or_more(fields.get("hawkeye_refs")) {
        let number = number(value).filter(|n| n.fract() == 0.0 && (1.0..=LAST_REF).contains(n));
        if let Some(number) = number.map(|n| n as u8)
            && !refs.contains(&number)
        {
            refs.push(number);
            if refs.len() == MAX_REFS {
                break;
            }
        }
    }
    refs
}

/// The elements of an array, or the one value that stands in the place of an array.
fn one_or_more(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::Array(values)) => values,
        Some(value) => std::slice::from_ref(value),
        None => &[],
    }
}

fn confidence(fields: &Map<String, Value>) -> f64 {
    match fields.get("confidence").and_then(number) {
        Some(percent) if percent > 1.0 && percent <= 100.0 => percent / 100.0,
        Some(share) => share.clamp(0.0, 1.0),
        None => DEFAULT_CONFIDENCE,
    }
}

/// A number, also one that stands in a string.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    };
    number.filter(|number: &f64| number.is_finite())
}
