//! Changes of a body that leave every other byte as it is.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::Peek;
use super::api::Member;

/// What is to be different in a body. A key that stands several times is changed at each place. Only members of
/// the body's own object count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes<'a> {
    /// The model, for an API that has it in the body.
    pub model: Option<&'a str>,
    /// The largest cap on output tokens. Each cap above it is lowered to it; a body without a cap gets none.
    pub cap: Option<u32>,
    /// Whether a stream of Chat Completions must tell its usage. Options of a stream that are no object are kept, for
    /// the upstream to refuse.
    pub include_usage: bool,
    /// Whether the upstream is to store the answer, for an API that has this.
    pub store: Option<bool>,
    /// The stored response that the request continues, for an API that has this.
    pub previous_response_id: Option<&'a str>,
}

/// A text in place of bytes of the body.
struct Edit {
    place: Range<usize>,
    text: Cow<'static, str>,
}

/// Changes a body that [`peek`](super::peek) has read. A member that is not there is inserted at the start.
/// `None`: nothing changes, so that the body can go out as it came.
pub fn change(body: &[u8], peek: &Peek, changes: &Changes<'_>) -> Option<Bytes> {
    let mut edits: SmallVec<[Edit; 4]> = SmallVec::new();
    let mut inserted = String::new();
    if let Some(limit) = changes.cap {
        let too_high = peek.caps.iter().filter(|(cap, _)| *cap > u64::from(limit));
        edits.extend(
            too_high
                .map(|(_, place)| Edit { place: place.clone(), text: limit.to_string().into() }),
        );
    }
    let values = [
        ("model", Member::Model, changes.model.map(quoted)),
        ("store", Member::Store, changes.store.map(|store| store.to_string())),
        (
            "previous_response_id",
            Member::PreviousResponseId,
            changes.previous_response_id.map(quoted),
        ),
    ];
    for (key, member, value) in values {
        let Some(value) = value else { continue };
        let mut is_there = false;
        for (_, place) in peek.places.members.iter().filter(|(found, _)| *found == member) {
            is_there = true;
            if body.get(place.clone()) != Some(value.as_bytes()) {
                edits.push(Edit { place: place.clone(), text: value.clone().into() });
            }
        }
        if !is_there {
            insert(&mut inserted, key, &value);
        }
    }
    if changes.include_usage {
        let mut is_there = false;
        for (member, place) in &peek.places.members {
            let text = match member {
                Member::Model | Member::Store | Member::PreviousResponseId => continue,
                Member::NoStreamOptions => r#"{"include_usage":true}"#,
                Member::StreamOptions { has_members: true } => r#""include_usage":true,"#,
                Member::StreamOptions { has_members: false } => r#""include_usage":true"#,
                Member::IncludeUsage => "true",
                Member::KeptStreamOptions => "",
            };
            is_there = true;
            if !text.is_empty() {
                edits.push(Edit { place: place.clone(), text: text.into() });
            }
        }
        if !is_there {
            insert(&mut inserted, "stream_options", r#"{"include_usage":true}"#);
        }
    }
    if let (false, Some((start, has_members))) = (inserted.is_empty(), peek.places.start) {
        if has_members {
            inserted.push(',');
        }
        edits.push(Edit { place: start..start, text: inserted.into() });
    }
    apply(body, &mut edits)
}

/// Lowers every cap above `cap` to it, as [`change`] does, which is for bodies of every API.
pub fn clamp(body: &[u8], peek: &Peek, cap: u32) -> Option<Bytes> {
    change(body, peek, &Changes { cap: Some(cap), ..Changes::default() })
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn insert(inserted: &mut String, key: &str, value: &str) {
    if !inserted.is_empty() {
        inserted.push(',');
    }
    inserted.extend(["\"", key, "\":", value]);
}

fn apply(body: &[u8], edits: &mut [Edit]) -> Option<Bytes> {
    if edits.is_empty() {
        return None;
    }
    edits.sort_by_key(|edit| edit.place.start);
    let added: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut changed = BytesMut::with_capacity(body.len() + added);
    let mut copied = 0;
    for edit in edits {
        changed.extend_from_slice(body.get(copied..edit.place.start)?);
        changed.extend_from_slice(edit.text.as_bytes());
        copied = edit.place.end;
    }
    changed.extend_from_slice(body.get(copied..)?);
    Some(changed.freeze())
}

#[cfg(test)]
mod tests;
