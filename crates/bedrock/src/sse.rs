//! Server-sent events: the form in which the APIs of OpenAI and Anthropic stream. Read from relayed bytes, and
//! written for what the gateway or the simulator must say itself.
//!
//! [`Splitter`] divides a stream into its events as the bytes come, in whatever chunks, and copies only an event
//! that is split over chunks. [`Event::read`] looks into one, and [`StreamReader`] knows what those of an API mean.
//! Source: the HTML standard, section "Server-sent events".

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2};

pub use self::reader::{Form, StreamReader, is_unreadable, reported_error};

mod reader;

/// The content type of a stream of events.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// The data of the event that ends a stream of Chat Completions.
pub const DONE: &str = "[DONE]";

/// The mark with which a stream may begin.
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// An event with this name, if it has one, and these data. A line break in the data begins a line of its own,
/// so that it can't begin another field.
pub fn event(name: Option<&str>, data: &str) -> Bytes {
    let mut text = String::with_capacity(data.len() + name.map_or(0, str::len) + 16);
    if let Some(name) = name {
        text.push_str("event: ");
        text.extend(name.chars().filter(|c| !matches!(c, '\n' | '\r')));
        text.push('\n');
    }
    for line in data.split(['\n', '\r']) {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    Bytes::from(text)
}

/// What a reader sees of one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// The value of the last `event` field; `None` if there is none, or if it is empty or no UTF-8.
    pub name: Option<&'a str>,
    /// The values of the `data` fields, with a line feed between two. `None`: the event has no such field, and
    /// clients do not see it, like one that has only a comment.
    pub data: Option<Cow<'a, [u8]>>,
}

impl<'a> Event<'a> {
    /// Reads the bytes of one event, as [`Piece::Event`] has them. Other fields and comments are left out.
    pub fn read(raw: &'a [u8]) -> Event<'a> {
        let mut event = Event::default();
        let mut rest = raw;
        while !rest.is_empty() {
            let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            let (field, value) = match memchr(b':', line) {
                Some(colon) => {
                    let value = line.get(colon + 1..).unwrap_or_default();
                    let field = line.get(..colon).unwrap_or_default();
                    (field, value.strip_prefix(b" ").unwrap_or(value))
                }
                None => (line, &[][..]),
            };
            match field {
                b"data" => event.add_data(value),
                b"event" => {
                    event.name = std::str::from_utf8(value).ok().filter(|name| !name.is_empty());
                }
                _ => {}
            }
        }
        event
    }

    fn add_data(&mut self, value: &'a [u8]) {
        self.data = Some(match self.data.take() {
            None => Cow::Borrowed(value),
            Some(data) => {
                let mut data = data.into_owned();
                data.push(b'\n');
                data.extend_from_slice(value);
                Cow::Owned(data)
            }
        });
    }
}

/// A part of a stream. All parts together are the stream, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// One event with the blank line that ends it.
    Event(Bytes),
    /// The first bytes of an event that is longer than the maximum. [`Event::read`] may find its name there, and
    /// not its data. The rest of it is unread.
    LongStart(Bytes),
    /// Bytes that are not read: the rest of an event that is too long, the byte order mark of the stream, or the
    /// line feed of an end of line whose carriage return has ended the event before.
    Unread(Bytes),
}

/// Divides a stream into events. It holds no more bytes than the longest event that it is to read and one chunk.
#[derive(Debug)]
pub struct Splitter {
    max: usize,
    /// The bytes so far of an event that is not all there.
    partial: BytesMut,
    /// How much of the byte order mark the stream has begun with; `None` once something else came.
    mark: Option<usize>,
    /// Whether the next byte is the first of a line.
    is_line_start: bool,
    /// Whether the last byte was a carriage return, so that a line feed would belong to it.
    follows_cr: bool,
    /// Whether the current event is longer than the maximum.
    is_too_long: bool,
}

impl Splitter {
    /// A splitter at the start of a stream. Events of more than `max` bytes are not read.
    pub fn new(max: usize) -> Splitter {
        Splitter {
            max,
            partial: BytesMut::new(),
            mark: Some(0),
            is_line_start: true,
            follows_cr: false,
            is_too_long: false,
        }
    }

    /// Takes the next piece from the start of a chunk. `None`: the chunk is used up, and what is left of it is
    /// held until the rest of its event comes.
    pub fn next(&mut self, chunk: &mut Bytes) -> Option<Piece> {
        if let Some(mark) = self.read_mark(chunk) {
            return Some(Piece::Unread(mark));
        }
        let first = *chunk.first()?;
        if self.follows_cr && first == b'\n' && !self.is_within_event() {
            self.follows_cr = false;
            return Some(Piece::Unread(chunk.split_to(1)));
        }
        let end = self.end_of_event(chunk);
        let taken = chunk.split_to(end.unwrap_or(chunk.len()));
        if self.is_too_long {
            self.is_too_long = end.is_none();
            return Some(Piece::Unread(taken));
        }
        let is_too_long = self.partial.len().saturating_add(taken.len()) > self.max;
        if !is_too_long && end.is_none() {
            self.partial.extend_from_slice(&taken);
            return None;
        }
        self.is_too_long = end.is_none();
        let piece = if self.partial.is_empty() {
            taken
        } else {
            self.partial.extend_from_slice(&taken);
            self.partial.split().freeze()
        };
        Some(if is_too_long { Piece::LongStart(piece) } else { Piece::Event(piece) })
    }

    /// Whether the bytes so far end within an event.
    pub fn is_within_event(&self) -> bool {
        self.is_too_long || !self.partial.is_empty()
    }

    /// How many bytes are held of an event that is not all there.
    pub fn held_bytes(&self) -> usize {
        self.partial.len()
    }

    /// The bytes that are held of an event that is not all there. A client that reads them discards them, too.
    pub fn take_partial(&mut self) -> Bytes {
        self.partial.split().freeze()
    }

    /// Reads the byte order mark, if the stream begins with one, and returns it when it is whole.
    fn read_mark(&mut self, chunk: &mut Bytes) -> Option<Bytes> {
        while let Some(read) = self.mark {
            let first = chunk.first()?;
            if BYTE_ORDER_MARK.get(read) != Some(first) {
                self.mark = None;
                // The start of a line that looked like a mark.
                self.is_line_start = read == 0;
                return None;
            }
            self.partial.extend_from_slice(&chunk.split_to(1));
            let is_whole = read + 1 == BYTE_ORDER_MARK.len();
            self.mark = (!is_whole).then_some(read + 1);
            if is_whole {
                return Some(self.take_partial());
            }
        }
        None
    }

    /// Reads on to the end of the current event and returns how many bytes that takes, if it is there.
    fn end_of_event(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            if self.follows_cr && rest.first() == Some(&b'\n') {
                self.follows_cr = false;
                at += 1;
                continue;
            }
            let Some(found) = memchr2(b'\n', b'\r', rest) else {
                if !rest.is_empty() {
                    (self.is_line_start, self.follows_cr) = (false, false);
                }
                return None;
            };
            let is_blank = self.is_line_start && found == 0;
            let is_cr = rest.get(found) == Some(&b'\r');
            let is_crlf = is_cr && rest.get(found + 1) == Some(&b'\n');
            at += found + if is_crlf { 2 } else { 1 };
            (self.is_line_start, self.follows_cr) = (true, is_cr && !is_crlf);
            if is_blank {
                return Some(at);
            }
        }
    }
}

#[cfg(test)]
mod tests;
