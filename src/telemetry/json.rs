//! A writer of flat JSON objects, for log lines.
//!
//! A log line has two dozen short members, which rarely need escaping. Written this way it costs a
//! third of a serializer's time, and each request writes one.

use std::cell::Cell;
use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::bedrock::sigv4::amz_date::amz_date;

/// The name of a member as it is written behind another member: `,"name":`. [`key!`](key) makes it, so that a
/// name is copied in one piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key(pub(super) &'static str);

/// The [`Key`] of a name, which must need no escaping.
macro_rules! key {
    ($name:literal) => {
        $crate::telemetry::json::Key(concat!(",\"", $name, "\":"))
    };
}
pub(super) use key;

/// A JSON object being written.
#[derive(Debug)]
pub(super) struct Object(Vec<u8>);

thread_local! {
    /// The memory of the last object of this thread.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Most memory that a thread keeps for its next object, in bytes.
const MAX_SPARE: usize = 4096;

/// Keeps the memory of an object for the next one of this thread.
pub(super) fn reuse(mut text: Vec<u8>) {
    text.clear();
    if text.capacity() <= MAX_SPARE {
        SPARE.set(text);
    }
}

impl Object {
    /// Starts an object.
    pub(super) fn new() -> Object {
        let mut text = SPARE.take();
        text.push(b'{');
        Object(text)
    }

    /// Starts a member.
    #[inline]
    fn name(&mut self, Key(text): Key) {
        let comma = usize::from(self.0.last() == Some(&b'{'));
        self.0.extend_from_slice(text.as_bytes().get(comma..).unwrap_or_default());
    }

    /// Adds a text that needs no escaping.
    #[inline]
    pub(super) fn plain(&mut self, name: Key, text: &str) -> &mut Object {
        self.name(name);
        self.0.push(b'"');
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(b'"');
        self
    }

    /// Adds a text.
    #[inline]
    pub(super) fn text(&mut self, name: Key, text: &str) -> &mut Object {
        // Without an early exit, the loop is vectorized.
        let needs_escape = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
        if !text.bytes().fold(false, |found, byte| found | needs_escape(byte)) {
            return self.plain(name, text);
        }
        self.name(name);
        // Writing to memory can't fail.
        let _ = serde_json::to_writer(&mut self.0, text);
        self
    }

    /// Adds a text if there is one.
    pub(super) fn some_text(&mut self, name: Key, text: Option<&str>) -> &mut Object {
        if let Some(text) = text {
            self.text(name, text);
        }
        self
    }

    /// Adds a text or null.
    pub(super) fn text_or_null(&mut self, name: Key, text: Option<&str>) -> &mut Object {
        match text {
            Some(text) => self.text(name, text),
            None => self.null(name),
        }
    }

    /// Adds a text that needs no escaping, if there is one.
    pub(super) fn some_plain(&mut self, name: Key, text: Option<&str>) -> &mut Object {
        if let Some(text) = text {
            self.plain(name, text);
        }
        self
    }

    /// Adds the text of a value if there is one. It must need no escaping.
    pub(super) fn some_value(&mut self, name: Key, value: Option<impl Display>) -> &mut Object {
        if let Some(value) = value {
            self.name(name);
            let _ = write!(self.0, "\"{value}\"");
        }
        self
    }

    /// Adds an integer.
    #[inline]
    pub(super) fn number(&mut self, name: Key, number: u64) -> &mut Object {
        self.name(name);
        self.digits(number);
        self
    }

    /// Adds an integer if there is one.
    pub(super) fn some_number(&mut self, name: Key, number: Option<u64>) -> &mut Object {
        if let Some(number) = number {
            self.number(name, number);
        }
        self
    }

    /// Adds an integer or null.
    pub(super) fn number_or_null(&mut self, name: Key, number: Option<u64>) -> &mut Object {
        match number {
            Some(number) => self.number(name, number),
            None => self.null(name),
        }
    }

    /// Adds a real number or null.
    pub(super) fn real_or_null(&mut self, name: Key, real: Option<f64>) -> &mut Object {
        match real {
            Some(real) => {
                self.name(name);
                let _ = serde_json::to_writer(&mut self.0, &real);
                self
            }
            None => self.null(name),
        }
    }

    /// Adds a boolean.
    pub(super) fn flag(&mut self, name: Key, flag: bool) -> &mut Object {
        self.name(name);
        self.0.extend_from_slice(if flag { b"true" } else { b"false" });
        self
    }

    /// Adds a time in UTC, to the millisecond: `2026-11-24T15:04:05.678Z`.
    pub(super) fn time(&mut self, name: Key, time: SystemTime) -> &mut Object {
        self.name(name);
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let date = amz_date(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        let millis = since.subsec_millis();
        let digit = |place: u32| b'0' + u8::try_from(millis / place % 10).unwrap_or(0);
        self.0.push(b'"');
        self.0.extend_from_slice(&date.rfc3339());
        self.0.extend_from_slice(&[b'.', digit(100), digit(10), digit(1), b'Z', b'"']);
        self
    }

    /// Adds an address with its port.
    pub(super) fn address(&mut self, name: Key, address: SocketAddr) -> &mut Object {
        self.name(name);
        let SocketAddr::V4(address) = address else {
            let _ = write!(self.0, "\"{address}\"");
            return self;
        };
        let mut before = b'"';
        for octet in address.ip().octets() {
            self.0.push(before);
            self.digits(octet.into());
            before = b'.';
        }
        self.0.push(b':');
        self.digits(address.port().into());
        self.0.push(b'"');
        self
    }

    /// Adds a nested object.
    pub(super) fn object(&mut self, name: Key, write: impl FnOnce(&mut Object)) -> &mut Object {
        self.name(name);
        self.within(write);
        self
    }

    /// Adds a list of objects.
    pub(super) fn objects<T>(
        &mut self,
        name: Key,
        items: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Object, T),
    ) -> &mut Object {
        self.name(name);
        self.0.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.0.push(b',');
            }
            self.within(|object| write(object, item));
        }
        self.0.push(b']');
        self
    }

    /// Finishes the object.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }

    fn within(&mut self, write: impl FnOnce(&mut Object)) {
        self.0.push(b'{');
        write(self);
        self.0.push(b'}');
    }

    fn null(&mut self, name: Key) -> &mut Object {
        self.name(name);
        self.0.extend_from_slice(b"null");
        self
    }

    #[inline]
    fn digits(&mut self, number: u64) {
        // Most numbers have one digit.
        if let (true, Ok(digit)) = (number < 10, u8::try_from(number)) {
            self.0.push(b'0' + digit);
            return;
        }
        self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    proptest! {
        #[test]
        fn written_values_are_read_back(
            text: String,
            number: u64,
            real in proptest::option::of((0..1_000_000_u32).prop_map(|it| f64::from(it) / 64.0)),
            flag: bool,
            ip: IpAddr,
            port: u16,
            items in proptest::collection::vec("\\PC{0,8}", 0..4),
        ) {
            let mut object = Object::new();
            object
                .object(key!("empty"), |_| {})
                .text(key!("text"), &text)
                .some_text(key!("none"), None)
                .some_plain(key!("plain"), Some("text"))
                .some_value(key!("value"), Some(number))
                .text_or_null(key!("null"), None)
                .number(key!("number"), number)
                .real_or_null(key!("real"), real)
                .flag(key!("flag"), flag)
                .address(key!("address"), SocketAddr::new(ip, port))
                .objects(key!("items"), &items, |object, item| { object.text(key!("item"), item); })
                .object(key!("within"), |object| { object.number(key!("a"), 1).number(key!("b"), 2); });
            let read: Value = serde_json::from_slice(&object.finish()).unwrap();
            prop_assert_eq!(read, json!({
                "empty": {},
                "text": text,
                "plain": "text",
                "value": number.to_string(),
                "null": null,
                "number": number,
                "real": real,
                "flag": flag,
                "address": SocketAddr::new(ip, port).to_string(),
                "items": items.iter().map(|item| json!({ "item": item })).collect::<Vec<_>>(),
                "within": { "a": 1, "b": 2 },
            }));
        }
    }

    #[test]
    fn a_time_has_milliseconds() {
        let written = |millis| {
            let mut object = Object::new();
            object.time(key!("time"), UNIX_EPOCH + Duration::from_millis(millis));
            String::from_utf8(object.finish()).unwrap()
        };
        assert_eq!(written(1_709_251_199_042), r#"{"time":"2024-02-29T23:59:59.042Z"}"#);
        assert_eq!(written(0), r#"{"time":"1970-01-01T00:00:00.000Z"}"#);
    }
}
