//! Reads the answers of calls, and writes the client's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::ops::Range;

use super::{Call, Encoding};
use crate::answer::AnswerError;
use crate::fields;
use crate::json::{Array, Object};
use crate::value::{Members, Value};

/// The vectors of one call, as JSON in the client's encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallAnswer {
    /// Which of the request's texts it is of.
    pub inputs: Range<usize>,
    vectors: Vec<String>,
    /// Tokens of the call's texts.
    pub tokens: u64,
}

impl Call {
    /// Reads the answer of this call. `tokens` is the count in its header
    /// `x-amzn-bedrock-input-token-count`; without that, the count in the body is taken.
    ///
    /// # Errors
    /// If it has not a vector of numbers for each text.
    pub fn read_answer(&self, body: &[u8], tokens: Option<u64>) -> Result<CallAnswer, AnswerError> {
        let unreadable =
            || AnswerError::Unreadable("its embeddings are not what the model promises");
        let members = fields::body(body).map_err(|_| unreadable())?;
        let found = vectors(&members).ok_or_else(unreadable)?;
        if found.len() != self.inputs.len() {
            return Err(AnswerError::Unreadable("it has not one embedding for each text"));
        }
        let encoded = found.into_iter().map(|vector| encode(vector, self.encoding));
        let vectors: Option<Vec<String>> = encoded.collect();
        Ok(CallAnswer {
            inputs: self.inputs.clone(),
            vectors: vectors.ok_or_else(unreadable)?,
            tokens: tokens.or_else(|| counted(&members)).unwrap_or(0),
        })
    }
}

/// The vectors in an answer of Titan (`embedding`), Cohere (`embeddings`: a list, or lists by their type) or
/// Nova (`embeddings`: objects).
fn vectors<'a>(members: &Members<'a>) -> Option<Vec<Value<'a>>> {
    if let Some(vector) = members.get("embedding") {
        return Some(vec![vector]);
    }
    let found = members.get("embeddings");
    // Titan has lists by their type under a name of its own.
    let by_type =
        members.get("embeddingsByType").and_then(|value| fields::members(value)?.get("float"));
    if let (None, Some(vector)) = (found, by_type) {
        return Some(vec![vector]);
    }
    let found = found?;
    if fields::is_object(found) {
        return fields::elements(fields::members(found)?.get("float")?);
    }
    let elements = fields::elements(found)?.into_iter();
    let of = |element: Value<'a>| match fields::is_object(element) {
        true => fields::members(element)?.get("embedding"),
        false => Some(element),
    };
    elements.map(of).collect()
}

/// The count of tokens in a body: Titan's, or Cohere's.
fn counted(members: &Members<'_>) -> Option<u64> {
    if let Some(count) = members.get("inputTextTokenCount") {
        return fields::count(count);
    }
    let units = fields::members(members.get("meta")?)?.get("billed_units")?;
    fields::count(fields::members(units)?.get("input_tokens")?)
}

/// A list of numbers as the client wants it; `None` if it is none, is empty, or has numbers that 32 bits do not
/// hold.
fn encode(vector: Value<'_>, encoding: Encoding) -> Option<String> {
    let inner = vector.get().strip_prefix('[')?.strip_suffix(']')?;
    // The text is valid JSON, and what is valid and reads as a number is one.
    let numbers = inner.split(',').map(|number| {
        let text = number.trim();
        text.parse::<f32>().ok().filter(|it| it.is_finite()).map(|it| (text, it))
    });
    match encoding {
        Encoding::Float => {
            let mut out = Vec::with_capacity(vector.get().len());
            let mut list = Array::new(&mut out);
            for number in numbers {
                list.raw(number?.0);
            }
            drop(list);
            String::from_utf8(out).ok()
        }
        Encoding::Base64 => {
            let mut bytes = Vec::with_capacity(vector.get().len() / 2);
            for number in numbers {
                bytes.extend_from_slice(&number?.1.to_le_bytes());
            }
            Some(format!("\"{}\"", STANDARD.encode(bytes)))
        }
    }
}

/// Writes the client's answer from those of all calls, in whatever order they came. `model` is the one that the
/// client named.
pub fn write_answer(model: &str, mut answers: Vec<CallAnswer>) -> Vec<u8> {
    answers.sort_by_key(|answer| answer.inputs.start);
    let length: usize = answers.iter().flat_map(|it| &it.vectors).map(|it| it.len() + 64).sum();
    let mut out = Vec::with_capacity(length + 256);
    let mut body = Object::new(&mut out);
    body.str("object", "list");
    let mut data = body.array("data");
    let vectors = answers.iter().flat_map(|answer| answer.inputs.clone().zip(&answer.vectors));
    for (index, vector) in vectors {
        let mut item = data.object();
        item.str("object", "embedding");
        item.number("index", index as u64);
        item.raw("embedding", vector);
    }
    drop(data);
    body.str("model", model);
    let tokens = answers.iter().fold(0_u64, |sum, answer| sum.saturating_add(answer.tokens));
    let mut usage = body.object("usage");
    usage.number("prompt_tokens", tokens);
    usage.number("total_tokens", tokens);
    drop(usage);
    drop(body);
    out
}
