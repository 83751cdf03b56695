//! What the events of a stream of OpenAI's and Anthropic's APIs mean: token counts, errors, and the end.
//!
//! Most events carry a few characters of text. Of these nothing is parsed: a search for a key tells them from the
//! few that matter. Source: the SDKs of both; AWS's pages on Chat Completions, Responses and Messages.

use std::sync::LazyLock;

use http::HeaderMap;
use memchr::memmem::Finder;

use super::{DONE, Event};
use crate::api::Api;
use crate::error::{ErrorKind, Reported, read_dialect};
use crate::json::{JsonError, Scanner, Type};
use crate::usage::{Counts, Usage};

/// A rough average of English text.
const BYTES_PER_TOKEN: u64 = 4;

/// Keys with their quotes, which no text can contain: a quote within it has a backslash before it.
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"error\""));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"usage\""));
static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"delta\""));

/// Reads the events of one stream.
#[derive(Debug)]
pub struct StreamReader {
    api: Api,
    counts: Counts,
    initial_usage: Option<Usage>,
    usage: Option<Usage>,
    /// How many events had new output.
    deltas: u64,
    /// Bytes of the output in them.
    text_bytes: u64,
    has_stopped: bool,
    has_failed: bool,
}

/// Whether the SDKs of an API can read an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// They can, or do not see it.
    Usual,
    /// It is an error in the form of the API, which they raise.
    Error,
    /// It is an error in another form, which they may overlook.
    ForeignError,
    /// Its data are no JSON object.
    Unreadable,
}

/// What an event is in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An event with new output, or anything else that needs no look.
    Usual,
    /// `message_start`, with the counts of the input.
    MessageStart,
    /// `message_delta`, with the counts so far.
    MessageDelta,
    /// The last event of a response, with all of it.
    ResponseEnd,
    /// The same, of a response that has failed.
    ResponseFailed,
    /// The last event of another stream.
    Stop,
    /// An error.
    Error,
}

impl StreamReader {
    /// A reader at the start of a stream of this API.
    pub fn new(api: Api) -> StreamReader {
        StreamReader {
            api,
            counts: Counts::new(api),
            initial_usage: None,
            usage: None,
            deltas: 0,
            text_bytes: 0,
            has_stopped: false,
            has_failed: false,
        }
    }

    /// Reads the next event. One that is unreadable ends nothing, whatever its name.
    pub fn read(&mut self, event: &Event<'_>) -> Form {
        let Some(data) = event.data.as_deref() else { return Form::Usual };
        let kind = kind(self.api, event.name, data);
        let form = form(self.api, kind, event.name, data);
        if form != Form::Unreadable {
            self.note(kind);
        }
        match kind {
            Kind::Usual => self.usual(data),
            Kind::MessageStart => {
                self.within("message", data);
                self.initial_usage = self.counts.usage();
            }
            Kind::MessageDelta => {
                if self.counts.answer(&mut Scanner::new(data)).is_ok() {
                    self.usage = self.counts.usage();
                }
            }
            Kind::ResponseEnd | Kind::ResponseFailed => {
                self.within("response", data);
                self.usage = self.counts.usage();
            }
            Kind::Stop | Kind::Error => {}
        }
        form
    }

    /// Reads the first bytes of an event that is too long to be read whole. Only its name counts.
    pub fn read_long_start(&mut self, start: &[u8]) {
        if let Some(name) = Event::read(start).name {
            self.note(kind(self.api, Some(name), &[]));
        }
        self.deltas += 1;
    }

    fn note(&mut self, kind: Kind) {
        self.has_stopped |= matches!(kind, Kind::Stop | Kind::ResponseEnd | Kind::ResponseFailed);
        self.has_failed |= matches!(kind, Kind::Error | Kind::ResponseFailed);
    }

    /// Whether an event is the chunk of Chat Completions that has the usage and no part of an answer.
    pub fn is_only_usage(&self, event: &Event<'_>) -> bool {
        let Some(data) = event.data.as_deref() else { return false };
        if self.api != Api::ChatCompletions || !has_value(&USAGE, data) {
            return false;
        }
        let (mut has_usage, mut has_no_choice) = (false, false);
        let read = Scanner::new(data).object(|key, scanner| {
            match key {
                "usage" => has_usage = scanner.peek()? == Type::Object,
                "choices" if scanner.peek()? == Type::Array => {
                    has_no_choice = true;
                    scanner.array(|_| {
                        has_no_choice = false;
                        Ok(())
                    })?;
                }
                _ => {}
            }
            Ok(())
        });
        read.is_ok() && has_usage && has_no_choice
    }

    /// Whether the event has come that ends the stream.
    pub fn has_stopped(&self) -> bool {
        self.has_stopped
    }

    /// Whether an error has come.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// How many tokens of output have come, about: one for each event with output, and more where these are longer
    /// than that.
    pub fn output_so_far(&self) -> u64 {
        self.deltas.max(self.text_bytes / BYTES_PER_TOKEN)
    }

    /// The counts at the start of a stream of Messages: its input, and little output.
    pub fn initial_usage(&self) -> Option<Usage> {
        self.initial_usage
    }

    /// The counts of the stream so far; `None` until an event has those of the output.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Reads an event that most are like: it adds to the output, and may have the usage in Chat Completions.
    fn usual(&mut self, data: &[u8]) {
        if let Some(at) = DELTA.find(data) {
            let value = data.get(at + DELTA.needle().len()..).unwrap_or_default();
            self.deltas += 1;
            self.text_bytes += value_of(value).map_or(0, output_bytes) as u64;
        }
        if self.api == Api::ChatCompletions && has_value(&USAGE, data) {
            let mut counts = Counts::new(self.api);
            if counts.answer(&mut Scanner::new(data)).is_ok() {
                self.usage = counts.usage().or(self.usage);
            }
        }
    }

    /// Reads the counts of an answer that is a member of the data.
    fn within(&mut self, member: &str, data: &[u8]) {
        // Of data that are no JSON, what was read before the mistake counts.
        let _ = Scanner::new(data).object(|key, scanner| {
            if key == member { self.counts.answer(scanner) } else { Ok(()) }
        });
    }
}

/// The error that an event reports, if it reports one.
pub fn reported_error(api: Api, event: &Event<'_>) -> Option<Reported> {
    let data = event.data.as_deref()?;
    match kind(api, event.name, data) {
        Kind::Error => {
            let mut reported = read_dialect(&HeaderMap::new(), data);
            if reported.name.is_none() && event.name != Some("error") {
                reported.name = event.name.map(str::to_owned);
            }
            Some(reported)
        }
        Kind::ResponseFailed => {
            let mut error: &[u8] = b"{}";
            let _ = Scanner::new(data).object(|key, scanner| match key {
                "response" => scanner.object(|key, scanner| {
                    if key == "error" {
                        error = scanner.value()?.0;
                    }
                    Ok(())
                }),
                _ => Ok(()),
            });
            // It has its code and its message side by side, as an error event does.
            Some(read_dialect(&HeaderMap::new(), error))
        }
        _ => None,
    }
}

/// Whether the data of an event are no JSON object, so that no SDK can read it.
pub fn is_unreadable(api: Api, event: &Event<'_>) -> bool {
    let Some(data) = event.data.as_deref() else { return false };
    form(api, kind(api, event.name, data), event.name, data) == Form::Unreadable
}

fn form(api: Api, kind: Kind, name: Option<&str>, data: &[u8]) -> Form {
    let is_done = api == Api::ChatCompletions && kind == Kind::Stop;
    // By the standard an event without data is none.
    if is_done || data.is_empty() || matches!(api, Api::Bedrock | Api::Models | Api::Embeddings) {
        return Form::Usual;
    }
    let is_object = |scanner: &mut Scanner<'_>| {
        let is_object = scanner.peek()? == Type::Object;
        scanner.skip()?;
        scanner.end().map(|()| is_object)
    };
    match kind {
        _ if !is_object(&mut Scanner::new(data)).unwrap_or(false) => Form::Unreadable,
        Kind::Error if is_own_error(api, name, data) => Form::Error,
        Kind::Error => Form::ForeignError,
        Kind::ResponseFailed => Form::Error,
        _ => Form::Usual,
    }
}

/// Whether an error event has the form that the SDKs of its API raise.
fn is_own_error(api: Api, name: Option<&str>, data: &[u8]) -> bool {
    let (mut is_error, mut has_error, mut has_message) = (false, false, false);
    let read = Scanner::new(data).object(|key, scanner| match (key, scanner.peek()?) {
        ("type", Type::String) => {
            is_error = scanner.string()? == "error";
            Ok(())
        }
        ("message", kind) => {
            has_message = kind == Type::String;
            Ok(())
        }
        ("error", Type::Object) => scanner.object(|key, scanner| {
            if key == "message" {
                has_error = scanner.peek()? == Type::String;
            }
            Ok(())
        }),
        _ => Ok(()),
    });
    read.is_ok()
        && match api {
            Api::ChatCompletions => has_error,
            // The SDKs of Anthropic look at the name alone.
            Api::Messages => name == Some("error") && is_error && has_error,
            Api::Responses => {
                matches!(name, None | Some("error")) && is_error && (has_error || has_message)
            }
            Api::Bedrock | Api::Models | Api::Embeddings => true,
        }
}

fn kind(api: Api, name: Option<&str>, data: &[u8]) -> Kind {
    match api {
        Api::Bedrock | Api::Models | Api::Embeddings => return Kind::Usual,
        Api::ChatCompletions if data.trim_ascii() == DONE.as_bytes() => return Kind::Stop,
        Api::ChatCompletions => {}
        Api::Responses | Api::Messages => {
            let read;
            let name = match name {
                Some(name) => name,
                None => {
                    read = type_of(data);
                    read.as_deref().unwrap_or_default()
                }
            };
            let kind = match name {
                "message_start" => Kind::MessageStart,
                "message_delta" => Kind::MessageDelta,
                "message_stop" => Kind::Stop,
                "response.completed" | "response.incomplete" | "response.cancelled" => {
                    Kind::ResponseEnd
                }
                "response.failed" => Kind::ResponseFailed,
                "error" => Kind::Error,
                name if name.starts_with("response.") || name.starts_with("content_block_") => {
                    Kind::Usual
                }
                _ => return other(Some(name), data),
            };
            return kind;
        }
    }
    other(name, data)
}

/// An event whose name says nothing, or that has none: SDKs take it for an error if its data have one.
fn other(name: Option<&str>, data: &[u8]) -> Kind {
    let is_error = match name {
        Some("error") => true,
        Some(name) if ErrorKind::from_name(name).is_some() => true,
        _ => has_value(&ERROR, data) && has_error(data),
    };
    if is_error { Kind::Error } else { Kind::Usual }
}

/// Whether data have an error at their top.
fn has_error(data: &[u8]) -> bool {
    let mut found = false;
    let read = Scanner::new(data).object(|key, scanner| {
        if key == "error" {
            let is_whole = matches!(scanner.peek()?, Type::Object | Type::String);
            found = is_whole && !matches!(scanner.value()?.0, b"{}" | b"\"\"");
        }
        Ok(())
    });
    read.is_ok() && found
}

/// The type that the data name at their top: most begin with it.
fn type_of(data: &[u8]) -> Option<String> {
    let mut found = None;
    let mut read = |text: &str| found = Some(text.to_owned());
    if let Some(rest) = data.strip_prefix(br#"{"type":""#)
        && let Some(text) = memchr::memchr(b'"', rest).and_then(|end| rest.get(..end))
        && let Ok(text) = std::str::from_utf8(text)
        && !text.contains('\\')
    {
        read(text);
        return found;
    }
    let _ = Scanner::new(data).object(|key, scanner| {
        if key == "type" && scanner.peek()? == Type::String {
            read(&scanner.string()?);
        }
        Ok(())
    });
    found
}

/// Whether a key stands anywhere in the data with a value that is not null.
fn has_value(key: &Finder<'_>, data: &[u8]) -> bool {
    let mut found = key.find_iter(data);
    found.any(|at| {
        let value = data.get(at + key.needle().len()..).and_then(value_of);
        value.is_some_and(|value| !value.starts_with(b"null"))
    })
}

/// What follows a key: its value, and all that comes after it. `None` if it is no key.
fn value_of(rest: &[u8]) -> Option<&[u8]> {
    rest.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start)
}

/// How many bytes of output a delta has: a text, or an object of texts and calls of tools.
fn output_bytes(value: &[u8]) -> usize {
    /// The bytes of a part of a call around its arguments, about.
    const CALL: usize = 45;
    let mut scanner = Scanner::new(value);
    let mut bytes = 0;
    let mut read = |scanner: &mut Scanner<'_>| -> Result<(), JsonError> {
        match scanner.peek()? {
            Type::String => bytes += scanner.value()?.0.len().saturating_sub(2),
            Type::Array => bytes += scanner.value()?.0.len().saturating_sub(CALL),
            Type::Object | Type::Scalar => {}
        }
        Ok(())
    };
    // The client gets a delta that is no JSON, and decides about it.
    let _ = match scanner.peek() {
        Ok(Type::Object) => scanner.object(|key, scanner| match key {
            "type" | "role" | "signature" | "stop_reason" => Ok(()),
            _ => read(scanner),
        }),
        _ => read(&mut scanner),
    };
    bytes
}

#[cfg(test)]
mod tests;
