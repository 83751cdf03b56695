//! Frames of `application/vnd.amazon.eventstream`: read in place from relayed bytes, and written
//! for what the gateway or the simulator must say itself.
//!
//! A frame is total length and headers length (u32, big-endian), a CRC-32 of these 8 bytes,
//! headers, payload, and a CRC-32 of all before it. The reader looks and never copies. Of bytes that
//! are passed on it leaves the checks to the client's SDK; what is translated is verified here, checksums
//! and headers, since no SDK sees it ([`Frame::read_verified`]).

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;

/// The content type of an event stream.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// Largest frame the format allows, in bytes: 16 MiB of payload, 128 KiB of headers, 16 of frame.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024 + 128 * 1024 + 16;

/// Most bytes of a frame's headers.
const MAX_HEADER_BYTES: usize = 128 * 1024;

/// Most headers of a frame that is verified. Bedrock's have three.
const MAX_HEADERS: usize = 32;

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
    /// Their headers break off, are no text where they should be, have a name twice, or are too many.
    #[error("the headers of a frame are malformed")]
    Headers,
}

impl<'a> Frame<'a> {
    /// Reads the frame at the start of `bytes` if both its checksums are right and all its headers can be read;
    /// `Ok(None)` when more bytes are needed. The lengths and their checksum are verified as soon as they are
    /// there, so that nothing is awaited for a wrong length.
    ///
    /// # Errors
    /// If they are no frame, one that was changed on its way, or one whose headers some readers take for others.
    pub fn read_verified(bytes: &'a [u8]) -> Result<Option<Frame<'a>>, FrameError> {
        let Some(prelude) = bytes.get(..PRELUDE) else {
            // What is too short or too long is refused before all of the prelude is there.
            frame_len(bytes)?;
            return Ok(None);
        };
        let frame = Frame::read(bytes)?;
        verify(prelude)?;
        let (len, headers_len) = (be_u32(prelude.get(..4)), be_u32(prelude.get(4..8)));
        let (len, headers_len) = len.zip(headers_len).ok_or(NotAFrame)?;
        let most = (len as usize).saturating_sub(PRELUDE + TRAILER).min(MAX_HEADER_BYTES);
        if headers_len as usize > most {
            return Err(NotAFrame.into());
        }
        let Some(frame) = frame else { return Ok(None) };
        verify(bytes.get(..frame.len).ok_or(NotAFrame)?)?;
        frame.check_headers()?;
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
        while let Some((header, after)) = RawHeader::split_from(rest) {
            if header.is_text && header.name == name.as_bytes() {
                return std::str::from_utf8(header.value).ok();
            }
            rest = after;
        }
        None
    }

    /// Checks that every reader of the headers reads the same: they are whole, what is text is UTF-8, and no name
    /// is there twice.
    fn check_headers(&self) -> Result<(), FrameError> {
        let is_text = |bytes| std::str::from_utf8(bytes).is_ok();
        let mut names: [&[u8]; MAX_HEADERS] = [&[]; MAX_HEADERS];
        let (mut count, mut rest) = (0, self.headers);
        while !rest.is_empty() {
            let (header, after) = RawHeader::split_from(rest).ok_or(FrameError::Headers)?;
            let is_twice = names.iter().take(count).any(|name| *name == header.name);
            let place = names.get_mut(count).filter(|_| !is_twice).ok_or(FrameError::Headers)?;
            if !is_text(header.name) || header.is_text && !is_text(header.value) {
                return Err(FrameError::Headers);
            }
            *place = header.name;
            (count, rest) = (count + 1, after);
        }
        Ok(())
    }
}

/// One header as it stands in a frame.
struct RawHeader<'a> {
    name: &'a [u8],
    /// Its value, without the length in front of it.
    value: &'a [u8],
    /// Whether its type is that of strings.
    is_text: bool,
}

impl<'a> RawHeader<'a> {
    /// Reads the header at the start of `bytes`, and returns it with the bytes behind it. Returns `None` if the header
    /// is cut off.
    fn split_from(bytes: &'a [u8]) -> Option<(RawHeader<'a>, &'a [u8])> {
        let (&name_len, after) = bytes.split_first()?;
        let (name, after) = after.split_at_checked(name_len as usize)?;
        let (&kind, after) = after.split_first()?;
        // Types 0 and 1 are booleans without a value; 6 and 7 carry their own length.
        let (len, after) = match kind {
            0 | 1 => (0, after),
            2 => (1, after),
            3 => (2, after),
            4 => (4, after),
            5 | 8 => (8, after),
            6 | 7 => {
                let (len, after) = after.split_first_chunk::<2>()?;
                (u16::from_be_bytes(*len) as usize, after)
            }
            9 => (16, after),
            _ => return None,
        };
        let (value, after) = after.split_at_checked(len)?;
        Some((RawHeader { name, value, is_text: kind == 7 }, after))
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

    /// A frame with these headers and the right checksums.
    fn with_headers(headers: &[u8]) -> Vec<u8> {
        let len = |len: usize| u32::try_from(len).unwrap().to_be_bytes();
        let mut frame = [len(PRELUDE + TRAILER + headers.len()), len(headers.len())].concat();
        frame.extend(crc32fast::hash(&frame).to_be_bytes());
        frame.extend_from_slice(headers);
        frame.extend(crc32fast::hash(&frame).to_be_bytes());
        frame
    }

    #[test]
    fn headers_that_some_readers_take_for_others_are_refused() {
        let (name, one) = (&b"\x01a\x07\0\x02hi"[..], &b"\x01b\x02\x09"[..]);
        let refused = |headers: &[u8]| Frame::read_verified(&with_headers(headers)).unwrap_err();
        for right in [&[], name, one, &[name, one].concat()] {
            assert!(Frame::read_verified(&with_headers(right)).unwrap().is_some(), "{right:?}");
        }
        let many: Vec<u8> = (0..=MAX_HEADERS as u8).flat_map(|name| [1, name, 0]).collect();
        for wrong in [
            &name[..name.len() - 1],
            b"\x01a",
            b"\x01a\x0a",
            b"\x01a\x07\0\x09hi",
            b"\x01a\x07\0\x01\xff",
            b"\x01\xff\0",
            &[name, one, b"\x01a\x07\0\0"].concat(),
            &many,
        ] {
            assert_eq!(refused(wrong), FrameError::Headers, "{wrong:?}");
        }
        let long = |name: u8| [&[1, name, 6, 0xff, 0xff][..], &[0; 65_535]].concat();
        assert!(Frame::read_verified(&with_headers(&long(b'a'))).is_ok());
        let both = [long(b'a'), long(b'b')].concat();
        assert_eq!(refused(&both), FrameError::NotAFrame(NotAFrame));
    }

    #[test]
    fn headers_longer_than_their_frame_are_found_before_it_is_there() {
        let mut start = [100_u32.to_be_bytes(), 85_u32.to_be_bytes()].concat();
        start.extend(crc32fast::hash(&start).to_be_bytes());
        let not_a_frame = Frame::read_verified(&start).unwrap_err();
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
