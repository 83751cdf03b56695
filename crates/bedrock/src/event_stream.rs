//! Frames of `application/vnd.amazon.eventstream`: read in place from relayed bytes, and written
//! for what the gateway or the simulator must say itself.
//!
//! A frame is total length and headers length (u32, big-endian), a CRC-32 of these 8 bytes,
//! headers, payload, and a CRC-32 of all before it. The reader looks and never copies. Of bytes that
//! are passed on it leaves the checksums to the client's SDK; what is translated is verified here,
//! since its checksums end here ([`Frame::read_verified`]).

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;

/// The content type of an event stream.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// Largest frame the format allows, in bytes: 16 MiB of payload, 128 KiB of headers, 16 of frame.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024 + 128 * 1024 + 16;

const PRELUDE: usize = 12;
const TRAILER: usize = 4;

/// One frame, borrowed from the bytes it was read from.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    headers: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    /// Bytes of the whole frame.
    pub len: usize,
}

/// The kind of a frame, by its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// An event of this type (`chunk`, `messageStart`, `metadata`...).
    Event(&'a str),
    /// A modelled exception (`throttlingException`...).
    Exception(&'a str),
    /// An unmodelled error, by its code.
    Error(&'a str),
    /// None of these.
    Other,
}

/// Bytes that are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an event-stream frame")]
pub struct NotAFrame;

/// Why bytes are no frame that can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// They are no frame.
    #[error(transparent)]
    NotAFrame(#[from] NotAFrame),
    /// They were changed on their way.
    #[error("the checksum of a frame is wrong")]
    Checksum,
}

impl<'a> Frame<'a> {
    /// Reads the frame at the start of `bytes` if both its checksums are right; `Ok(None)` when more bytes
    /// are needed. The first checksum is verified as soon as it is there, so that nothing is awaited for a
    /// wrong length.
    ///
    /// # Errors
    /// If they are no frame, or one that was changed on its way.
    pub fn read_verified(bytes: &'a [u8]) -> Result<Option<Frame<'a>>, FrameError> {
        let Some(prelude) = bytes.get(..PRELUDE) else {
            // What is too short or too long is refused before all of the prelude is there.
            frame_len(bytes)?;
            return Ok(None);
        };
        let Some(frame) = Frame::read(bytes)? else {
            verify(prelude)?;
            return Ok(None);
        };
        verify(prelude)?;
        verify(bytes.get(..frame.len).ok_or(NotAFrame)?)?;
        Ok(Some(frame))
    }

    /// Reads the frame at the start of `bytes`; `Ok(None)` when more bytes are needed.
    pub fn read(bytes: &'a [u8]) -> Result<Option<Frame<'a>>, NotAFrame> {
        let Some(len) = frame_len(bytes)? else { return Ok(None) };
        let Some(frame) = bytes.get(..len) else { return Ok(None) };
        let headers_len = be_u32(frame.get(4..8)).ok_or(NotAFrame)? as usize;
        let body = frame.get(PRELUDE..len - TRAILER).ok_or(NotAFrame)?;
        let (headers, payload) = body.split_at_checked(headers_len).ok_or(NotAFrame)?;
        Ok(Some(Frame { headers, payload, len }))
    }

    /// What the frame is, by its `:message-type` header.
    pub fn kind(&self) -> Kind<'a> {
        let text = |name| self.header(name).unwrap_or_default();
        match self.header(":message-type") {
            Some("event") => Kind::Event(text(":event-type")),
            Some("exception") => Kind::Exception(text(":exception-type")),
            Some("error") => Kind::Error(text(":error-code")),
            _ => Kind::Other,
        }
    }

    /// The value of a string header.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut rest = self.headers;
        while let Some((&name_len, after)) = rest.split_first() {
            let (found, after) = after.split_at_checked(name_len as usize)?;
            let (&kind, after) = after.split_first()?;
            // Types 0 and 1 are booleans without a value; 6 and 7 carry their own length.
            let value_len = match kind {
                0 | 1 => 0,
                2 => 1,
                3 => 2,
                4 => 4,
                5 | 8 => 8,
                6 | 7 => {
                    let len = after.first_chunk::<2>()?;
                    2 + u16::from_be_bytes(*len) as usize
                }
                9 => 16,
                _ => return None,
            };
            let (value, after) = after.split_at_checked(value_len)?;
            if kind == 7 && found == name.as_bytes() {
                return std::str::from_utf8(value.get(2..)?).ok();
            }
            rest = after;
        }
        None
    }
}

/// The length of the frame that starts here; `Ok(None)` when its first four bytes are not there.
pub fn frame_len(bytes: &[u8]) -> Result<Option<usize>, NotAFrame> {
    let Some(len) = be_u32(bytes.get(..4)) else { return Ok(None) };
    let len = len as usize;
    if (PRELUDE + TRAILER..=MAX_FRAME_BYTES).contains(&len) {
        Ok(Some(len))
    } else {
        Err(NotAFrame)
    }
}

/// Writes an event frame with a JSON payload.
pub fn event(event_type: &str, payload: impl Into<Bytes>) -> Bytes {
    write("event", ":event-type", event_type, payload.into())
}

/// Writes an exception frame with a JSON payload; the type is camel case
/// (`throttlingException`).
pub fn exception(exception_type: &str, payload: impl Into<Bytes>) -> Bytes {
    write("exception", ":exception-type", exception_type, payload.into())
}

fn write(message_type: &str, name: &'static str, value: &str, payload: Bytes) -> Bytes {
    let string = |text: &str| HeaderValue::String(text.to_owned().into());
    let message = Message::new(payload)
        .add_header(Header::new(name, string(value)))
        .add_header(Header::new(":content-type", string("application/json")))
        .add_header(Header::new(":message-type", string(message_type)));
    let mut frame = Vec::new();
    // Fails only for a payload above 16 MiB, which no caller has: an empty frame ends the stream.
    if write_message_to(&message, &mut frame).is_err() {
        frame.clear();
    }
    frame.into()
}

/// Compares the checksum at the end with that of all before it.
fn verify(bytes: &[u8]) -> Result<(), FrameError> {
    let (checked, checksum) = bytes.split_last_chunk::<TRAILER>().ok_or(NotAFrame)?;
    match crc32fast::hash(checked) == u32::from_be_bytes(*checksum) {
        true => Ok(()),
        false => Err(FrameError::Checksum),
    }
}

fn be_u32(bytes: Option<&[u8]>) -> Option<u32> {
    bytes.and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vectors() -> Vec<serde_json::Value> {
        serde_json::from_str(include_str!("../vectors/eventstream.json")).unwrap()
    }

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn reads_the_vectors() {
        for vector in vectors() {
            let bytes = unhex(vector["hex"].as_str().unwrap());
            let frame = Frame::read(&bytes).unwrap().unwrap();
            assert_eq!(frame.len, bytes.len());
            assert_eq!(Frame::read_verified(&bytes).unwrap().unwrap().payload, frame.payload);
            assert_eq!(frame.payload, vector["payload"].as_str().unwrap().as_bytes());
            for (name, value) in vector["headers"].as_object().unwrap() {
                assert_eq!(frame.header(name), value.as_str(), "{name}");
            }
        }
    }

    #[test]
    fn writes_the_vectors_byte_for_byte() {
        for vector in vectors() {
            let bytes = unhex(vector["hex"].as_str().unwrap());
            let payload = vector["payload"].as_str().unwrap().to_owned();
            let written = match Frame::read(&bytes).unwrap().unwrap().kind() {
                Kind::Event(name) => event(name, payload),
                Kind::Exception(name) => exception(name, payload),
                other => panic!("{other:?}"),
            };
            assert_eq!(written, bytes, "{}", vector["name"]);
        }
    }

    #[test]
    fn a_frame_that_is_not_all_there_asks_for_more() {
        let whole = event("chunk", "{}");
        for cut in 0..whole.len() {
            assert!(Frame::read(&whole[..cut]).unwrap().is_none(), "{cut}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let whole = event("contentBlockDelta", r#"{"delta":{"text":"seven"}}"#);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // Whatever follows it.
            bytes.extend_from_slice(&whole);
            assert!(Frame::read_verified(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_wrong_length_is_found_before_its_bytes_are_there() {
        let mut start = event("chunk", "{}").to_vec();
        start[1] = 1;
        for len in 0..PRELUDE {
            assert!(Frame::read_verified(&start[..len]).unwrap().is_none(), "{len}");
        }
        assert_eq!(Frame::read_verified(&start[..PRELUDE]).unwrap_err(), FrameError::Checksum);
        let not_a_frame = Frame::read_verified(&[0, 0, 0, 1]).unwrap_err();
        assert_eq!(not_a_frame, FrameError::NotAFrame(NotAFrame));
    }

    #[test]
    fn text_is_no_frame() {
        assert_eq!(Frame::read(b"{\"message\": \"hello\"}").unwrap_err(), NotAFrame);
        assert_eq!(Frame::read(&[0, 0, 0, 1]).unwrap_err(), NotAFrame);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some(frame)) = Frame::read(&bytes) {
                frame.kind();
            }
            let _ = Frame::read_verified(&bytes);
        }

        #[test]
        fn any_flipped_byte_in_the_headers_is_read_without_panic(at in 12usize..80, to: u8) {
            let mut bytes = event("chunk", "{}").to_vec();
            if let Some(byte) = bytes.get_mut(at) { *byte = to; }
            if let Ok(Some(frame)) = Frame::read(&bytes) {
                frame.kind();
            }
        }
    }
}
