//! Decodes the body of a response, which ends after its length, after its last chunk, or with the
//! connection (RFC 9112, sections 6 and 7).

use bytes::{Buf, Bytes};

/// Longest chunk-size line, with its extensions, in bytes.
const MAX_SIZE_LINE: usize = 4096;

/// Most bytes of trailers, and most trailer fields.
const MAX_TRAILERS: usize = 16 * 1024;
const MAX_TRAILER_FIELDS: usize = 32;

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes.
    Length(u64),
    /// Chunks, the last of which is empty.
    Chunked,
    /// All bytes until the connection ends.
    Close,
}

/// The next part of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Bytes of the body, at least one.
    Data(Bytes),
    /// More bytes must come first.
    Incomplete,
    /// The body has ended.
    End,
}

/// Why chunks are invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunks of the upstream's answer are malformed: {0}")]
pub struct ChunkError(&'static str);

/// Extracts one body from the received bytes.
#[derive(Debug)]
pub struct Decoder(State);

#[derive(Debug)]
enum State {
    /// In a body of known length: the bytes left.
    Length(u64),
    /// Before the size of a chunk.
    Size,
    /// In a chunk: the bytes left.
    Chunk(u64),
    /// Before the line end after a chunk.
    ChunkEnd,
    /// After the last chunk.
    Trailers,
    Close,
    End,
}

impl Decoder {
    /// A decoder for this framing.
    pub fn new(framing: Framing) -> Decoder {
        Decoder(match framing {
            Framing::Length(0) => State::End,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
            Framing::Close => State::Close,
        })
    }

    /// Takes the next part of the body out of `unread`. Drops trailers, since Bedrock sends none.
    ///
    /// # Errors
    /// The chunks are malformed, or their sizes or trailers are too long.
    pub fn next(&mut self, unread: &mut Bytes) -> Result<Next, ChunkError> {
        loop {
            match &mut self.0 {
                State::End => return Ok(Next::End),
                _ if unread.is_empty() => {
                    // An empty slice would keep the buffer that it was cut from.
                    *unread = Bytes::new();
                    return Ok(Next::Incomplete);
                }
                State::Close => return Ok(Next::Data(std::mem::take(unread))),
                State::Length(left) => {
                    let data = take(unread, left);
                    if *left == 0 {
                        self.0 = State::End;
                    }
                    return Ok(Next::Data(data));
                }
                State::Chunk(left) => {
                    let data = take(unread, left);
                    if *left == 0 {
                        self.0 = State::ChunkEnd;
                    }
                    return Ok(Next::Data(data));
                }
                State::Size => match read_size(unread)? {
                    None => return Ok(Next::Incomplete),
                    Some(0) => self.0 = State::Trailers,
                    Some(size) => self.0 = State::Chunk(size),
                },
                State::ChunkEnd => match unread.get(..2) {
                    Some(b"\r\n") => {
                        unread.advance(2);
                        self.0 = State::Size;
                    }
                    None if unread.starts_with(b"\r") => return Ok(Next::Incomplete),
                    _ => return Err(ChunkError("a chunk is longer than its size")),
                },
                State::Trailers => match skip_trailers(unread)? {
                    true => self.0 = State::End,
                    false => return Ok(Next::Incomplete),
                },
            }
        }
    }

    /// Whether the body has ended.
    pub fn has_ended(&self) -> bool {
        matches!(self.0, State::End)
    }

    /// Whether the end of the connection is the end of the body.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.0, State::Close)
    }

    /// How many bytes the framing promises, of the body or of the chunk.
    pub fn promised(&self) -> u64 {
        match self.0 {
            State::Length(left) | State::Chunk(left) => left,
            _ => 0,
        }
    }

    /// Bytes left of the body, if known.
    pub fn remaining(&self) -> Option<u64> {
        match self.0 {
            State::Length(left) => Some(left),
            State::End => Some(0),
            _ => None,
        }
    }
}

/// Takes up to `left` bytes out of `unread`, and subtracts them from `left`.
fn take(unread: &mut Bytes, left: &mut u64) -> Bytes {
    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(unread.len());
    *left -= here as u64;
    if here == unread.len() { std::mem::take(unread) } else { unread.split_to(here) }
}

/// The size of a chunk, once its line is complete.
fn read_size(unread: &mut Bytes) -> Result<Option<u64>, ChunkError> {
    if !unread.first().is_some_and(u8::is_ascii_hexdigit) {
        return Err(ChunkError("a size is missing"));
    }
    match httparse::parse_chunk_size(unread) {
        Ok(httparse::Status::Complete((len, size))) if len <= MAX_SIZE_LINE => {
            unread.advance(len);
            Ok(Some(size))
        }
        Ok(httparse::Status::Partial) if unread.len() <= MAX_SIZE_LINE => Ok(None),
        Ok(_) => Err(ChunkError("the line of a size is too long")),
        Err(_) => Err(ChunkError("a size is no number")),
    }
}

/// Skips the trailers. Returns whether they are complete.
fn skip_trailers(unread: &mut Bytes) -> Result<bool, ChunkError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    match httparse::parse_headers(unread, &mut fields) {
        Ok(httparse::Status::Complete((len, _))) if len <= MAX_TRAILERS => {
            unread.advance(len);
            Ok(true)
        }
        Ok(httparse::Status::Partial) if unread.len() <= MAX_TRAILERS => Ok(false),
        Ok(_) => Err(ChunkError("its trailers are too long")),
        Err(_) => Err(ChunkError("its trailers are no headers")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `bytes` in the pieces that `cuts` make, and joins what is unread with the next piece, as a
    /// connection does. Returns the body, whether it ended, and the bytes after it.
    fn decode(
        framing: Framing,
        bytes: &[u8],
        cuts: &[usize],
    ) -> Result<(Vec<u8>, bool, Bytes), ChunkError> {
        let (mut decoder, mut body, mut unread) = (Decoder::new(framing), Vec::new(), Bytes::new());
        let mut rest = bytes;
        let mut cuts = cuts.iter();
        loop {
            match decoder.next(&mut unread)? {
                Next::Data(data) => {
                    assert!(!data.is_empty());
                    body.extend_from_slice(&data);
                }
                Next::End => {
                    assert!(decoder.has_ended());
                    return Ok((body, true, [&unread, rest].concat().into()));
                }
                Next::Incomplete if rest.is_empty() => return Ok((body, false, unread)),
                Next::Incomplete => {
                    let here = cuts.next().map_or(rest.len(), |&cut| cut.clamp(1, rest.len()));
                    let (piece, after) = rest.split_at(here);
                    unread = [&unread, piece].concat().into();
                    rest = after;
                }
            }
        }
    }

    fn chunked(text: &str) -> Result<(Vec<u8>, bool, Bytes), ChunkError> {
        decode(Framing::Chunked, text.as_bytes(), &[])
    }

    #[test]
    fn chunks_are_joined_and_bytes_after_the_body_stay_unread() {
        let (body, ended, rest) =
            chunked("5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\nnext").unwrap();
        assert_eq!((body.as_slice(), ended, &rest[..]), (&b"hello world"[..], true, &b"next"[..]));
        let (body, ended, rest) = chunked("A\r\n0123456789\r\n0\r\nx: 1\r\ny: 2\r\n\r\n").unwrap();
        assert_eq!((body.len(), ended, rest.len()), (10, true, 0), "trailers are left out");
        for cut_off in ["5\r\nhel", "5\r\nhello", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n", "5", ""]
        {
            assert!(!chunked(cut_off).unwrap().1, "{cut_off:?} has not ended");
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for bad in [
            "hello",
            "\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "3\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "-1\r\n",
            "11111111111111111\r\n",
            "5\r\nhello\r\n0\r\nnot a trailer\r\n\r\n",
        ] {
            assert!(chunked(bad).is_err(), "{bad:?}");
        }
        assert!(chunked(&format!("5;{}", "x".repeat(MAX_SIZE_LINE))).is_err());
        assert!(chunked(&format!("0\r\nx: {}", "x".repeat(MAX_TRAILERS))).is_err());
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_however_its_bytes_are_split(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            cuts in prop::collection::vec(1usize..30, 0..60),
        ) {
            let body = chunks.concat();
            let mut framed = Vec::new();
            for chunk in &chunks {
                framed.extend(format!("{:x}\r\n", chunk.len()).bytes());
                framed.extend(chunk);
                framed.extend(b"\r\n");
            }
            framed.extend(b"0\r\n\r\nnext");
            let (got, ended, rest) = decode(Framing::Chunked, &framed, &cuts).unwrap();
            prop_assert_eq!((&got, ended, &rest[..]), (&body, true, &b"next"[..]));
            let plain = [&body[..], b"next"].concat();
            let length = Framing::Length(body.len() as u64);
            let (got, ended, rest) = decode(length, &plain, &cuts).unwrap();
            prop_assert_eq!((&got, ended, &rest[..]), (&body, true, &b"next"[..]));
            let (got, ended, _) = decode(Framing::Close, &plain, &cuts).unwrap();
            prop_assert_eq!((&got, ended), (&plain, false));
        }
    }
}
