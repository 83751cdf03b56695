//! The chunks of InvokeModel's stream as server-sent events of Messages.
//!
//! A chunk holds an event of Claude's as it would have been sent, in base64. It is decoded once and goes on as it
//! is, but for the last one's metrics, which are Bedrock's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use sluice_bedrock::dialect::{self, DialectError};
use sluice_bedrock::event_stream::{Frame, Kind};
use sluice_bedrock::json::{JsonError, Scanner, Type};
use sluice_bedrock::{Dialect, ErrorKind};

use crate::answer::AnswerError;
use crate::json::write_str;

/// The member with Bedrock's own counts.
const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// Turns one stream into server-sent events.
#[derive(Debug, Default)]
pub struct ToSse {
    has_stopped: bool,
    has_failed: bool,
    /// The event of a chunk.
    event: Vec<u8>,
}

impl ToSse {
    /// A stream that has not begun.
    pub fn new() -> ToSse {
        ToSse::default()
    }

    /// Appends to `out` what the client gets for a frame.
    ///
    /// # Errors
    /// If the frame can't be read, or is or holds an error. Nothing may follow but [`ToSse::fail`].
    pub fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), AnswerError> {
        match frame.kind() {
            Kind::Event("chunk") => self.chunk(frame.payload, out),
            // Events that are not known are none of Claude's.
            Kind::Event(_) | Kind::Other => Ok(()),
            Kind::Exception(name) => Err(exception(name, texts(frame.payload).message)),
            Kind::Error(code) => {
                let message = frame.header(":error-message").unwrap_or_default();
                Err(exception(code, message.to_owned()))
            }
        }
    }

    /// Says that the upstream's stream has ended.
    ///
    /// # Errors
    /// If the event that ends an answer has not come.
    pub fn finish(&self) -> Result<(), AnswerError> {
        if self.has_stopped { Ok(()) } else { Err(AnswerError::Incomplete) }
    }

    /// Whether the event that ends an answer has come.
    pub fn has_stopped(&self) -> bool {
        self.has_stopped
    }

    /// Ends the stream with an error event.
    pub fn fail(&mut self, error: &DialectError, request_id: &str, out: &mut Vec<u8>) {
        if !self.has_stopped && !std::mem::replace(&mut self.has_failed, true) {
            write_event("error", &error.body(Dialect::Anthropic, request_id), out);
        }
    }

    fn chunk(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), AnswerError> {
        const UNREADABLE: AnswerError = AnswerError::Unreadable("a chunk is not what it should be");
        if self.has_stopped {
            return Ok(());
        }
        self.event.clear();
        let data = data(payload).ok_or(UNREADABLE)?;
        STANDARD.decode_vec(data, &mut self.event).map_err(|_| UNREADABLE)?;
        let kind = kind(&self.event).ok_or(UNREADABLE)?;
        let (start, end) = (kind.start, kind.end);
        match self.event.get(kind).unwrap_or_default() {
            b"error" => {
                let Texts { name, message } = texts(&self.event);
                return Err(exception(&name, message));
            }
            b"message_stop" => self.has_stopped = true,
            _ => {}
        }
        let without_metrics = match memmem::find(&self.event, METRICS.as_bytes()) {
            Some(_) => Some(without_metrics(&self.event).map_err(|_| UNREADABLE)?),
            None => None,
        };
        let name = self.event.get(start..end).unwrap_or_default();
        let name = std::str::from_utf8(name).map_err(|_| UNREADABLE)?;
        write_event(name, without_metrics.as_ref().unwrap_or(&self.event), out);
        Ok(())
    }
}

/// What an error says.
#[derive(Debug, Default)]
struct Texts {
    name: String,
    message: String,
}

/// The texts of an exception, which has its message at the top, or of an error event, which has them within
/// `error`. What can't be read is left out.
fn texts(json: &[u8]) -> Texts {
    let mut texts = Texts::default();
    let _ = Scanner::new(json).object(|key, scanner| match (key, scanner.peek()?) {
        ("message" | "Message", Type::String) => {
            texts.message = scanner.string()?.into_owned();
            Ok(())
        }
        ("error", Type::Object) => scanner.object(|key, scanner| {
            let text = match (key, scanner.peek()?) {
                ("type", Type::String) => &mut texts.name,
                ("message", Type::String) => &mut texts.message,
                _ => return Ok(()),
            };
            *text = scanner.string()?.into_owned();
            Ok(())
        }),
        _ => Ok(()),
    });
    texts
}

fn exception(name: &str, message: String) -> AnswerError {
    let kind = ErrorKind::from_name(name).or_else(|| dialect::kind_of(name));
    let message = match message {
        message if message.is_empty() => "the upstream's stream broke".to_owned(),
        message => message,
    };
    AnswerError::Exception { kind: kind.unwrap_or(ErrorKind::InternalServer), message }
}

fn write_event(name: &str, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend(name.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')));
    out.extend_from_slice(b"\ndata: ");
    let start = out.len();
    out.extend_from_slice(data);
    // A break of the line would end the field. In JSON it can only be space between values.
    if memchr::memchr2(b'\n', b'\r', data).is_some() {
        let written = out.iter_mut().skip(start);
        written.filter(|byte| matches!(**byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    }
    out.extend_from_slice(b"\n\n");
}

/// The base64 in the payload of a chunk, which is first in it as Bedrock writes it.
fn data(payload: &[u8]) -> Option<std::borrow::Cow<'_, [u8]>> {
    use std::borrow::Cow;
    if let Some(rest) = payload.strip_prefix(b"{\"bytes\":\"")
        && let Some(end) = memchr::memchr2(b'"', b'\\', rest)
        && rest.get(end) == Some(&b'"')
    {
        return rest.get(..end).map(Cow::Borrowed);
    }
    let mut data = None;
    let read = Scanner::new(payload).object(|key, scanner| {
        if key == "bytes" && scanner.peek()? == Type::String {
            data = Some(match scanner.string()? {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            });
        }
        Ok(())
    });
    read.ok()?;
    data
}

/// Where the `type` of an event stands in it, without its quotes.
fn kind(event: &[u8]) -> Option<std::ops::Range<usize>> {
    const FIRST: &[u8] = b"{\"type\":\"";
    if let Some(rest) = event.strip_prefix(FIRST) {
        let end = memchr::memchr(b'"', rest)?;
        return Some(FIRST.len()..FIRST.len() + end);
    }
    let mut kind = None;
    let read = Scanner::new(event).object(|key, scanner| {
        if key == "type" && scanner.peek()? == Type::String {
            let (_, place) = scanner.value()?;
            kind = Some(place.start + 1..place.end.saturating_sub(1));
        }
        Ok(())
    });
    read.ok()?;
    kind
}

fn without_metrics(event: &[u8]) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::with_capacity(event.len());
    out.push(b'{');
    Scanner::new(event).object(|key, scanner| {
        let (value, _) = scanner.value()?;
        if key != METRICS {
            if out.len() > 1 {
                out.push(b',');
            }
            write_str(&mut out, key);
            out.push(b':');
            out.extend_from_slice(value);
        }
        Ok(())
    })?;
    out.push(b'}');
    Ok(out)
}
