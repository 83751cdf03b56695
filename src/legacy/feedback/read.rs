//! Reading a model's answer: where its JSON is, and what of it makes an item.
//!
//! A model wraps its JSON in prose or a Markdown fence, writes `"High"` for `"high"` and `90` for
//! `0.9`. None of that is a reason to lose a finding, so each field that can't be read gets its
//! default, and only an answer without any items to find is unreadable.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::super::json::{Skip, Text, any_value, scalars};
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
    let mut items: Vec<Item> = values.iter().take(MAX_ITEMS).filter_map(item).collect();
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
    let list = Answer.deserialize(&mut json).ok()?;
    json.end().ok()?;
    list
}

/// Reads a JSON value that holds a list of items, as far as it is looked at.
#[derive(Clone, Copy)]
struct Answer;

impl<'de> DeserializeSeed<'de> for Answer {
    type Value = Option<Vec<Value>>;

    any_value!();
}

impl<'de> Visitor<'de> for Answer {
    type Value = Option<Vec<Value>>;

    scalars!(None, None, |_, _| None);

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut list = None;
        while let Some(key) = members.next_key_seed(Text { most: MAX_NAME })? {
            if key.as_deref() == Some(ITEMS) {
                list = members.next_value_seed(List)?.map(|(items, _)| items);
            } else {
                members.next_value_seed(Skip)?;
            }
        }
        Ok(list)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<Self::Value, A::Error> {
        // `[1]` in prose is a footnote and not an answer.
        let list = List.visit_seq(values)?;
        Ok(list.and_then(|(items, has_object)| (has_object || items.is_empty()).then_some(items)))
    }
}

/// Reads the first items of a list, and whether any of all is an object; `None` for what is no
/// list.
#[derive(Clone, Copy)]
struct List;

impl<'de> DeserializeSeed<'de> for List {
    type Value = Option<(Vec<Value>, bool)>;

    any_value!();
}

impl<'de> Visitor<'de> for List {
    type Value = Option<(Vec<Value>, bool)>;

    scalars!(None, None, |_, _| None);

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self::Value, A::Error> {
        let (mut items, mut has_object) = (Vec::new(), false);
        while let Some(value) = values.next_element_seed(Fields)? {
            has_object |= value.is_object();
            if items.len() < MAX_ITEMS {
                items.push(value);
            }
        }
        Ok(Some((items, has_object)))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        Skip.visit_map(members)?;
        Ok(None)
    }
}

/// The members of an item that are read.
const FIELDS: [&str; 10] = [
    "id",
    "type",
    "category",
    "description",
    "suggestion",
    "example",
    "questions",
    "hawkeye_refs",
    "risk_level",
    "confidence",
];

/// Most elements of a list within an item that are looked at.
const MAX_ELEMENTS: usize = 100;

/// Reads an item's members, without others; null for what is no object.
#[derive(Clone, Copy)]
struct Fields;

impl<'de> DeserializeSeed<'de> for Fields {
    type Value = Value;

    any_value!();
}

impl<'de> Visitor<'de> for Fields {
    type Value = Value;

    scalars!(Value::Null, Value::Null, |_, _| Value::Null);

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = members.next_key_seed(Text { most: MAX_NAME })? {
            match key.filter(|key| FIELDS.contains(&key.as_str())) {
                Some(key) => {
                    let value = members.next_value_seed(Field { takes_list: true })?;
                    fields.insert(key, value);
                }
                None => members.next_value_seed(Skip)?,
            }
        }
        Ok(Value::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<Value, A::Error> {
        Skip.visit_seq(values)?;
        Ok(Value::Null)
    }
}

/// Reads a text, without the blanks around it and cut, a number, or a list of these; null for what
/// is none of them.
#[derive(Clone, Copy)]
struct Field {
    takes_list: bool,
}

impl<'de> DeserializeSeed<'de> for Field {
    type Value = Value;

    any_value!();
}

impl<'de> Visitor<'de> for Field {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(first_chars(text.trim(), MAX_DESCRIPTION).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while self.takes_list && elements.len() < MAX_ELEMENTS {
            match values.next_element_seed(Field { takes_list: false })? {
                Some(element) => elements.push(element),
                None => return Ok(elements.into()),
            }
        }
        Skip.visit_seq(values)?;
        Ok(if self.takes_list { elements.into() } else { Value::Null })
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Value, A::Error> {
        Skip.visit_map(members)?;
        Ok(Value::Null)
    }
}

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
