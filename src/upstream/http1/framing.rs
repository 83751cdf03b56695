//! Where the body of an answer ends: after so many bytes, after its last chunk, or with its
//! connection (RFC 9112, sections 6 and 7).

use bytes::{Buf, Bytes};

/// Longest line of a chunk's size, with its extensions, in bytes.
const MAX_SIZE_LINE: usize = 4096;

/// Longest trailers, in bytes, and the most of them.
const MAX_TRAILERS: usize = 16 * 1024;
const MAX_TRAILER_FIELDS: usize = 32;

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// It has so many bytes.
    Length(u64),
    /// It comes in chunks, the last of which is empty.
    Chunked,
    /// It ends with its connection.
    Close,
}

/// What is next in a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Bytes of the body, at least one.
    Data(Bytes),
    /// It can't be told before more has come.
    Wait,
    /// The body has ended.
    End,
}

/// What frames a body is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunks of the upstream's answer are malformed: {0}")]
pub struct BadChunk(&'static str);

/// Takes the bytes of one body out of what comes.
#[derive(Debug)]
pub struct Decoder(State);

#[derive(Debug)]
enum State {
    /// Within a body of known length: what is left of it.
    Length(u64),
    /// Before the size of a chunk.
    Size,
    /// Within a chunk: what is left of it.
    Chunk(u64),
    /// After a chunk's bytes.
    ChunkEnd,
    /// After the last chunk.
    Trailers,
    Close,
    End,
}

impl Decoder {
    /// Of a body that is framed so.
    pub fn new(framing: Framing) -> Decoder {
        Decoder(match framing {
            Framing::Length(0) => State::End,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
            Framing::Close => State::Close,
        })
    }

    /// Takes what is next out of `unread`. Trailers are none of Bedrock's and are left out.
    ///
    /// # Errors
    /// The chunks are malformed, or their sizes or trailers are too long.
    pub fn next(&mut self, unread: &mut Bytes) -> Result<Next, BadChunk> {
        loop {
            match &mut self.0 {
                State::End => return Ok(Next::End),
                _ if unread.is_empty() => {
                    // An empty part would keep what it was cut from.
                    *unread = Bytes::new();
                    return Ok(Next::Wait);
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
                    None => return Ok(Next::Wait),
                    Some(0) => self.0 = State::Trailers,
                    Some(size) => self.0 = State::Chunk(size),
                },
                State::ChunkEnd => match unread.get(..2) {
                    Some(b"\r\n") => {
                        unread.advance(2);
                        self.0 = State::Size;
                    }
                    None if unread.starts_with(b"\r") => return Ok(Next::Wait),
                    _ => return Err(BadChunk("a chunk is longer than its size")),
                },
                State::Trailers => match skip_trailers(unread)? {
                    true => self.0 = State::End,
                    false => return Ok(Next::Wait),
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

    /// How many bytes are certain to come, of the body or of its chunk.
    pub fn expects(&self) -> u64 {
        match self.0 {
            State::Length(left) | State::Chunk(left) => left,
            _ => 0,
        }
    }

    /// How long the rest of the body is, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.0 {
            State::Length(left) => Some(left),
            State::End => Some(0),
            _ => None,
        }
    }
}

/// As much of `unread` as is within `left`, which is less by it then.
fn take(unread: &mut Bytes, left: &mut u64) -> Bytes {
    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(unread.len());
    *left -= here as u64;
    if here == unread.len() { std::mem::take(unread) } else { unread.split_to(here) }
}

/// The size of a chunk, once its line is there.
fn read_size(unread: &mut Bytes) -> Result<Option<u64>, BadChunk> {
    if !unread.first().is_some_and(u8::is_ascii_hexdigit) {
        return Err(BadChunk("a size is missing"));
    }
    match httparse::parse_chunk_size(unread) {
        Ok(httparse::Status::Complete((len, size))) if len <= MAX_SIZE_LINE => {
            unread.advance(len);
            Ok(Some(size))
        }
        Ok(httparse::Status::Partial) if unread.len() <= MAX_SIZE_LINE => Ok(None),
        Ok(_) => Err(BadChunk("the line of a size is too long")),
        Err(_) => Err(BadChunk("a size is no number")),
    }
}

/// Whether the trailers have been skipped to their end.
fn skip_trailers(unread: &mut Bytes) -> Result<bool, BadChunk> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    match httparse::parse_headers(unread, &mut fields) {
        Ok(httparse::Status::Complete((len, _))) if len <= MAX_TRAILERS => {
            unread.advance(len);
            Ok(true)
        }
        Ok(httparse::Status::Partial) if unread.len() <= MAX_TRAILERS => Ok(false),
        Ok(_) => Err(BadChunk("its trailers are too long")),
        Err(_) => Err(BadChunk("its trailers are no headers")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `bytes` in the pieces that `cuts` make, as a connection does: what could not be told
    /// is joined with what comes next. Returns the body, whether it ended, and what is left over.
    fn decode(
        framing: Framing,
        bytes: &[u8],
        cuts: &[usize],
    ) -> Result<(Vec<u8>, bool, Bytes), BadChunk> {
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
                Next::Wait if rest.is_empty() => return Ok((body, false, unread)),
                Next::Wait => {
                    let here = cuts.next().map_or(rest.len(), |&cut| cut.clamp(1, rest.len()));
                    let (piece, after) = rest.split_at(here);
                    unread = [&unread, piece].concat().into();
                    rest = after;
                }
            }
        }
    }

    fn chunked(text: &str) -> Result<(Vec<u8>, bool, Bytes), BadChunk> {
        decode(Framing::Chunked, text.as_bytes(), &[])
    }

    #[test]
    fn chunks_are_joined_and_what_follows_is_left() {
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
        fn however_it_is_cut(
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
