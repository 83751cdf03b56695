//! Detects HTTP/1.1 requests that have more than one `content-length`.
//!
//! hyper merges two equal lengths and hides the second. A proxy before the gateway, or the upstream, may
//! not, so such a request must be refused. This follows the bytes as hyper reads them, from one head to
//! the next: past a body by its length, or by its chunks. Bytes that it can't follow are left to hyper,
//! which refuses them and ends the connection.

use memchr::memchr;

/// Most bytes that are kept of a chunk-size line: enough for the digits of any size.
const MAX_SIZE_LINE: usize = 64;

/// Scans the bytes of a connection.
#[derive(Debug, Default)]
pub(super) struct LengthScanner {
    state: State,
    /// The beginning of an incomplete line.
    line: Vec<u8>,
    head: Head,
    /// Complete heads so far.
    heads: u64,
    /// The number of the first head with a repeated length. The connection ends with it.
    repeated: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a request, where empty lines are skipped.
    #[default]
    Before,
    /// In a head.
    Head,
    /// In a body: the bytes left.
    Body(u64),
    /// In a chunk: the bytes left, with the line end.
    Chunk(u64),
    /// At the line of a chunk's size.
    Size,
    /// After the last chunk.
    Trailers,
    /// The bytes can't be followed, or no request follows.
    Lost,
}

/// The framing fields of a head.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    length: Option<u64>,
    lengths: usize,
    is_chunked: bool,
}

impl LengthScanner {
    /// Whether the request with this number, from 1, has its length more than once, or follows one
    /// that does.
    pub(super) fn is_repeated(&self, request: u64) -> bool {
        self.repeated.is_some_and(|first| request >= first)
    }

    /// Follows what was read. A line that is longer than `longest` is no longer followed.
    pub(super) fn pass(&mut self, mut bytes: &[u8], longest: usize) {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Lost => return,
                State::Body(left) => {
                    let (rest, left) = skip(bytes, left);
                    self.state = if left == 0 { State::Before } else { State::Body(left) };
                    rest
                }
                State::Chunk(left) => {
                    let (rest, left) = skip(bytes, left);
                    self.state = if left == 0 { State::Size } else { State::Chunk(left) };
                    rest
                }
                State::Before | State::Head | State::Size | State::Trailers => {
                    let Some(end) = memchr(b'\n', bytes) else {
                        let first = self.line.first().or(bytes.first()).copied();
                        let most = self.most(first, longest);
                        let room = most.saturating_sub(self.line.len()).min(bytes.len());
                        self.line.extend_from_slice(bytes.get(..room).unwrap_or_default());
                        let is_needed = match self.state {
                            State::Size => self.line.iter().all(u8::is_ascii_hexdigit),
                            _ => most == longest,
                        };
                        if is_needed && room < bytes.len() {
                            self.lose();
                        }
                        return;
                    };
                    let (here, rest) = bytes.split_at(end);
                    if self.line.is_empty() {
                        self.end_line(here);
                    } else {
                        let mut line = std::mem::take(&mut self.line);
                        line.extend_from_slice(here);
                        self.end_line(&line);
                    }
                    rest.get(1..).unwrap_or_default()
                }
            };
        }
    }

    fn end_line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.state = match self.state {
            State::Before if line.is_empty() => State::Before,
            State::Before => State::Head,
            State::Head if line.is_empty() => self.end_head(),
            State::Head => {
                self.head.hear(line);
                State::Head
            }
            State::Size => match size(line) {
                Some(0) => State::Trailers,
                Some(size) => size.checked_add(2).map_or(State::Lost, State::Chunk),
                None => State::Lost,
            },
            State::Trailers if line.is_empty() => State::Before,
            other => other,
        };
    }

    fn end_head(&mut self) -> State {
        let head = std::mem::take(&mut self.head);
        self.heads += 1;
        // A length beside chunks does not count, and its connection ends with it.
        if head.is_chunked {
            return if head.lengths > 0 { State::Lost } else { State::Size };
        }
        if head.lengths > 1 {
            self.repeated = Some(self.heads);
            return State::Lost;
        }
        match (head.lengths, head.length) {
            (0, _) | (_, Some(0)) => State::Before,
            (_, Some(length)) => State::Body(length),
            (_, None) => State::Lost,
        }
    }

    /// The most bytes that are kept of a line without an end, by its first: of most lines it only
    /// matters that they are not empty.
    fn most(&self, first: Option<u8>, longest: usize) -> usize {
        match self.state {
            State::Head if first.is_some_and(may_matter) => longest,
            State::Size => MAX_SIZE_LINE,
            _ => 2,
        }
    }

    fn lose(&mut self) {
        (self.state, self.line) = (State::Lost, Vec::new());
    }
}

impl Head {
    fn hear(&mut self, line: &[u8]) {
        if !line.first().copied().is_some_and(may_matter) {
            return;
        }
        let Some((name, value)) = memchr(b':', line).and_then(|at| line.split_at_checked(at))
        else {
            return;
        };
        if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            self.length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.is_chunked = true;
        }
    }
}

/// Whether a field of interest may begin so; nearly all are others.
fn may_matter(first: u8) -> bool {
    matches!(first, b'c' | b'C' | b't' | b'T')
}

/// What is left of `bytes` and of `count` when as many as there are have been skipped.
fn skip(bytes: &[u8], count: u64) -> (&[u8], u64) {
    let here = usize::try_from(count).unwrap_or(usize::MAX).min(bytes.len());
    (bytes.get(here..).unwrap_or_default(), count - here as u64)
}

/// The size that the line of a chunk begins with.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let digits = std::str::from_utf8(line.get(..digits)?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: &str = "POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello";
    const CHUNKED: &str = "POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
         5;x=y\r\nhello\r\nA\r\n0123456\r\n\r\r\n0\r\nx: 1\r\n\r\n";
    const NONE: &str = "\r\nGET / HTTP/1.1\r\nhost: h\r\n\r\n";
    const TWICE: &str =
        "POST /a HTTP/1.1\r\nContent-Length: 5\r\nhost: h\r\ncontent-LENGTH:5 \r\n\r\nhello";

    fn first(text: &str, cuts: &[usize]) -> Option<u64> {
        let (mut lengths, mut rest) = (LengthScanner::default(), text.as_bytes());
        for &cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at(cut.clamp(1, rest.len()));
            lengths.pass(piece, 65_536);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        lengths.repeated
    }

    #[test]
    fn a_length_that_is_told_twice_is_seen() {
        assert_eq!(first(TWICE, &[1000]), Some(1));
        assert_eq!(first(PLAIN, &[1000]), None);
        let same = TWICE.replace("\r\n", "\n");
        assert_eq!(first(&same, &[1000]), Some(1), "bare line feeds end lines, too");
        let in_a_body =
            format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{TWICE}", TWICE.len());
        assert_eq!(first(&in_a_body, &[7]), None, "what a body says does not count");
        let beside = "POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\
                      content-length: 5\r\n\r\n";
        assert_eq!(first(beside, &[1000]), None, "beside chunks it does not count");
    }

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let after = |start: &str, byte: u8| {
            let mut lengths = LengthScanner::default();
            lengths.pass(start.as_bytes(), 1000);
            for _ in 0..1000 {
                lengths.pass(&[byte; 100], 1000);
            }
            (lengths.line.len(), lengths.state)
        };
        let head = "POST / HTTP/1.1\r\n";
        assert_eq!(after("", b'x'), (2, State::Before));
        assert_eq!(after(&format!("{head}x: "), b'y'), (2, State::Head));
        assert_eq!(after(&format!("{head}cookie: "), b'y'), (0, State::Lost));
        let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
        assert_eq!(after(&chunked, b'0'), (0, State::Lost));
        assert_eq!(after(&format!("{chunked}5;"), b'x'), (MAX_SIZE_LINE, State::Size));
    }

    proptest! {
        #[test]
        fn wherever_it_stands_and_however_it_is_cut(
            before in prop::collection::vec(prop::sample::select(vec![PLAIN, CHUNKED, NONE]), 0..6),
            cuts in prop::collection::vec(1usize..50, 1..20),
        ) {
            let text = [before.concat(), TWICE.to_owned()].concat();
            prop_assert_eq!(first(&text, &cuts), Some(before.len() as u64 + 1));
            prop_assert_eq!(first(&[before.concat(), PLAIN.to_owned()].concat(), &cuts), None);
        }
    }
}
