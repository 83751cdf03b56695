//! What a request of OpenAI's or Anthropic's API says of the call in its body, where native operations have it in
//! the path, or lack it; and where it stands there.

use std::ops::Range;

use super::Peek;
use crate::json::{JsonError, Scanner, Type};

/// The parameters of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// The model. Of several the last counts; `None` if there is none, or the last is no text.
    pub model: Option<String>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// Whether a stream of Chat Completions is to tell its usage at the end.
    pub include_usage: bool,
    /// Whether the answer is to be JSON, by a schema or by none: of OpenAI's APIs.
    pub asks_for_json: bool,
    /// Whether the upstream is to store the answer: of Responses, unless the request says otherwise.
    pub store: bool,
    /// Whether the request itself says so.
    pub names_store: bool,
    /// Whether the answer is to be made after the request has ended.
    pub background: bool,
    /// The stored response that the request continues.
    pub previous_response_id: Option<String>,
    /// Whether it continues a conversation that the upstream keeps.
    pub has_conversation: bool,
    /// The position of the first item of the input that only names what the upstream has stored.
    pub item_reference: Option<usize>,
}

/// A member that [`change`](super::change) may replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Model,
    Store,
    PreviousResponseId,
    /// `stream_options` that is null.
    NoStreamOptions,
    /// The start of a `stream_options` without `include_usage`, behind its bracket. Whether it has other members.
    StreamOptions {
        has_members: bool,
    },
    /// An `include_usage` in a `stream_options`, that is false or null.
    IncludeUsage,
    /// A `stream_options` that needs no change, or that the upstream will refuse.
    KeptStreamOptions,
}

/// Where the members of a body stand that may be replaced, or new ones inserted.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// Behind the bracket that opens the body, and whether it has members.
    pub(super) start: Option<(usize, bool)>,
    pub(super) members: smallvec::SmallVec<[(Member, Range<usize>); 2]>,
}

impl Peek {
    /// Reads a body with its model in it; `read` gets each member that not all APIs have.
    pub(super) fn api_body<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        read: fn(&mut Self, &str, &mut Scanner<'a>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        let is_object = scanner.peek()? == Type::Object;
        let start = scanner.position() + 1;
        let mut has_members = false;
        scanner.object(|key, scanner| {
            has_members = true;
            match key {
                "model" => {
                    self.parameters.model = self.replaceable_text(Member::Model, scanner)?;
                    Ok(())
                }
                "stream" => {
                    self.parameters.stream = flag(scanner)? == Some(true);
                    Ok(())
                }
                key => read(self, key, scanner),
            }
        })?;
        self.places.start = is_object.then_some((start, has_members));
        Ok(())
    }

    /// Reads a text and notes its place; `None` if it is no text.
    fn replaceable_text(
        &mut self,
        member: Member,
        scanner: &mut Scanner<'_>,
    ) -> Result<Option<String>, JsonError> {
        let is_text = scanner.peek()? == Type::String;
        let start = scanner.position();
        let text = if is_text {
            scanner.string().ok().map(|text| text.into_owned())
        } else {
            scanner.skip()?;
            None
        };
        self.places.members.push((member, start..scanner.position()));
        Ok(text)
    }

    /// Reads whether the answer is to be stored, if that is not `by_default`.
    pub(super) fn store(
        &mut self,
        by_default: bool,
        scanner: &mut Scanner<'_>,
    ) -> Result<(), JsonError> {
        let (text, place) = scanner.value()?;
        let named = bool_of(text);
        self.parameters.store = named.unwrap_or(by_default);
        self.parameters.names_store = named.is_some();
        self.places.members.push((Member::Store, place));
        Ok(())
    }

    pub(super) fn previous_response(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let id = self.replaceable_text(Member::PreviousResponseId, scanner)?;
        self.extent.is_open |= id.is_some();
        self.parameters.previous_response_id = id;
        Ok(())
    }

    /// Reads the options of a stream of Chat Completions.
    pub(super) fn stream_options(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        self.parameters.include_usage = false;
        if scanner.peek()? != Type::Object {
            let (text, place) = scanner.value()?;
            let is_null = text == b"null";
            let member = if is_null { Member::NoStreamOptions } else { Member::KeptStreamOptions };
            self.places.members.push((member, place));
            return Ok(());
        }
        let start = scanner.position() + 1;
        let (mut has_members, mut tells) = (false, false);
        scanner.object(|key, scanner| {
            has_members = true;
            if key == "include_usage" {
                tells = true;
                let (text, place) = scanner.value()?;
                self.parameters.include_usage = bool_of(text) == Some(true);
                let is_off = matches!(text, b"false" | b"null");
                let member = if is_off { Member::IncludeUsage } else { Member::KeptStreamOptions };
                self.places.members.push((member, place));
            }
            Ok(())
        })?;
        if !tells {
            let member = Member::StreamOptions { has_members };
            self.places.members.push((member, start..start));
        }
        Ok(())
    }
}

/// Reads `true` or `false`; `None` for every other value.
pub(super) fn flag(scanner: &mut Scanner<'_>) -> Result<Option<bool>, JsonError> {
    Ok(bool_of(scanner.value()?.0))
}

fn bool_of(text: &[u8]) -> Option<bool> {
    match text {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}
