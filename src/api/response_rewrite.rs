//! Puts sealed ids into the bodies and events of responses, in place of the upstream's own.
//!
//! The ids stand in `id` and `previous_response_id` of a response. Everything else stays byte for byte.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use smallvec::SmallVec;

use crate::bedrock::json::{JsonError, Scanner, Type};

#[cfg(test)]
mod tests;

/// The member that holds the response in an event.
const RESPONSE: &str = "response";

/// An id of the upstream, and its place in the text, with its quotes.
type Found = (String, Range<usize>);

/// The body of a response with the ids that `seal` gives; `None` if it has no id of a response, such as a
/// list or an error.
///
/// # Errors
/// The first error of `seal`.
pub fn rewrite_body<E>(
    body: &[u8],
    seal: impl FnMut(&str) -> Result<String, E>,
) -> Result<Option<Bytes>, E> {
    replace(body, ids_of_body(body).unwrap_or_default(), seal)
}

/// The data of an event with the ids that `seal` gives; `None` if it has no response with an id, as most
/// events.
///
/// # Errors
/// The first error of `seal`.
pub fn rewrite_event<E>(
    data: &[u8],
    seal: impl FnMut(&str) -> Result<String, E>,
) -> Result<Option<Bytes>, E> {
    if !may_have_response(data) {
        return Ok(None);
    }
    replace(data, ids_of_event(data).unwrap_or_default(), seal)
}

/// Whether an event may have a response: it is not a mere piece of one. A key may be written with escapes.
fn may_have_response(data: &[u8]) -> bool {
    let has = |wanted: &[u8]| memchr::memmem::find(data, wanted).is_some();
    has(b"\"response\"") || has(b"\\u")
}

fn ids_of_body(body: &[u8]) -> Result<SmallVec<[Found; 2]>, JsonError> {
    let mut found = SmallVec::new();
    let mut is_response = true;
    let mut scanner = Scanner::new(body);
    scanner.object(|key, scanner| {
        if key == "object" && scanner.peek()? == Type::String {
            // `response`, or `response.deleted`: the id of a deleted response is one, too.
            let object = scanner.string()?;
            is_response = object.split('.').next() == Some(RESPONSE);
            return Ok(());
        }
        collect(key, scanner, &mut found)
    })?;
    scanner.end()?;
    Ok(if is_response { found } else { SmallVec::new() })
}

fn ids_of_event(data: &[u8]) -> Result<SmallVec<[Found; 2]>, JsonError> {
    let mut found = SmallVec::new();
    let mut scanner = Scanner::new(data);
    scanner.object(|key, scanner| match key {
        RESPONSE => scanner.object(|key, scanner| collect(key, scanner, &mut found)),
        _ => Ok(()),
    })?;
    scanner.end()?;
    Ok(found)
}

/// Notes the value of a member that is the id of a response.
fn collect(
    key: &str,
    scanner: &mut Scanner<'_>,
    found: &mut SmallVec<[Found; 2]>,
) -> Result<(), JsonError> {
    if !matches!(key, "id" | "previous_response_id") || scanner.peek()? != Type::String {
        return Ok(());
    }
    let start = scanner.position();
    let id = scanner.string()?.into_owned();
    found.push((id, start..scanner.position()));
    Ok(())
}

fn replace<E>(
    text: &[u8],
    found: SmallVec<[Found; 2]>,
    mut seal: impl FnMut(&str) -> Result<String, E>,
) -> Result<Option<Bytes>, E> {
    if found.is_empty() {
        return Ok(None);
    }
    let mut replaced = BytesMut::with_capacity(text.len() + found.len() * 256);
    let mut copied = 0;
    for (id, place) in found {
        replaced.extend_from_slice(text.get(copied..place.start).unwrap_or_default());
        replaced.extend_from_slice(Value::String(seal(&id)?).to_string().as_bytes());
        copied = place.end;
    }
    replaced.extend_from_slice(text.get(copied..).unwrap_or_default());
    Ok(Some(replaced.freeze()))
}
