//! A client's socket as the HTTP library has it: what passes is noted, what the library answers by
//! itself is held back, and the socket comes home when the library is done with it.
//!
//! To a head that is not HTTP, or too large, the library answers with a status and nothing else. No
//! hook lets it say more; but what it writes while no request is open can only be that.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;

/// What every client's HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks, as far as it has been heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// So many bytes of HTTP/2's beginning.
    Unknown(usize),
    /// HTTP/1.1, or something that is nothing.
    Http1,
    Http2,
}

impl Default for Spoken {
    fn default() -> Spoken {
        Spoken::Unknown(0)
    }
}

impl Spoken {
    /// Hears the next bytes.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        let Spoken::Unknown(heard) = *self else { return };
        let left = PREFACE.get(heard..).unwrap_or_default();
        let count = left.len().min(bytes.len());
        *self = match (left.get(..count), bytes.get(..count)) {
            (Some(wanted), Some(said)) if wanted != said => Spoken::Http1,
            _ if count == left.len() => Spoken::Http2,
            _ => Spoken::Unknown(heard + count),
        };
    }
}

/// Where a socket comes back to.
pub(super) type Home<I> = Arc<Mutex<Option<I>>>;

/// A socket in the library's hands.
#[derive(Debug)]
pub(super) struct Socket<I> {
    /// `None` once it went home, in `drop`.
    io: Option<I>,
    home: Home<I>,
    activity: Arc<Activity>,
}

impl<I> Socket<I> {
    pub(super) fn new(io: I, activity: Arc<Activity>) -> (Socket<I>, Home<I>) {
        let home = Home::default();
        (Socket { io: Some(io), home: Arc::clone(&home), activity }, home)
    }

    /// Whether this is held back: the whole of an answer that only the library can have written.
    fn holds_back(&self, bytes: &[u8]) -> bool {
        if !bytes.starts_with(b"HTTP/1.") || !self.activity.has_nothing_to_say() {
            return false;
        }
        match bare_refusal(bytes) {
            Some(status) => {
                self.activity.refused(status);
                true
            }
            None => false,
        }
    }

    fn poll_io<T>(
        &mut self,
        poll: impl FnOnce(Pin<&mut I>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>>
    where
        I: Unpin,
    {
        match &mut self.io {
            Some(io) => poll(Pin::new(io)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

/// The status of a head without a body, and without a header that a gateway would add.
fn bare_refusal(bytes: &[u8]) -> Option<StatusCode> {
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let is_bare = |line: &str| {
        let name = line.split(':').next().unwrap_or_default();
        ["connection", "date"].iter().any(|known| name.eq_ignore_ascii_case(known))
            || line.eq_ignore_ascii_case("content-length: 0")
    };
    (matches!(status, 400 | 414 | 431) && lines.all(is_bare))
        .then(|| StatusCode::from_u16(status).ok())
        .flatten()
}

impl<I> Drop for Socket<I> {
    fn drop(&mut self) {
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = self.io.take();
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Socket<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.poll_io(|io| io.poll_read(cx, buf));
        if let Some(bytes) = buf.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            self.activity.read(bytes);
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Socket<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.holds_back(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let wrote = self.poll_io(|io| io.poll_write(cx, buf));
        if wrote.is_ready() {
            self.activity.wrote();
        }
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut some = bufs.iter().filter(|buf| !buf.is_empty());
        if let (Some(only), None) = (some.next(), some.next())
            && self.holds_back(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        let wrote = self.poll_io(|io| io.poll_write_vectored(cx, bufs));
        if wrote.is_ready() {
            self.activity.wrote();
        }
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_io(|io| io.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was held back is still to be said in other words.
        if self.activity.refusal().is_some() {
            return Poll::Ready(Ok(()));
        }
        self.poll_io(|io| io.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_heard_in_any_pieces() {
        for size in 1..=PREFACE.len() {
            let mut spoken = Spoken::default();
            for piece in PREFACE.chunks(size) {
                assert!(matches!(spoken, Spoken::Unknown(_)), "{size}");
                spoken.hear(piece);
            }
            assert_eq!(spoken, Spoken::Http2, "{size}");
            spoken.hear(b"POST");
            assert_eq!(spoken, Spoken::Http2);
        }
        for (said, wanted) in [
            ("", Spoken::Unknown(0)),
            ("P", Spoken::Unknown(1)),
            ("POST /", Spoken::Http1),
            ("PRI * HTTP/1.1\r\n", Spoken::Http1),
            ("GET /", Spoken::Http1),
        ] {
            let mut spoken = Spoken::default();
            spoken.hear(said.as_bytes());
            assert_eq!(spoken, wanted, "{said}");
        }
    }

    #[test]
    fn only_the_librarys_own_answers_are_held_back() {
        let bare = "connection: close\r\ncontent-length: 0\r\ndate: Tue, 24 Nov 2026 00:00:00 GMT";
        let status = |head: &str| bare_refusal(head.as_bytes()).map(|status| status.as_u16());
        assert_eq!(status(&format!("HTTP/1.1 400 Bad Request\r\n{bare}\r\n\r\n")), Some(400));
        assert_eq!(status(&format!("HTTP/1.1 431 Too Large\r\n{bare}\r\n\r\n")), Some(431));
        for other in [
            format!("HTTP/1.1 200 OK\r\n{bare}\r\n\r\n"),
            format!("HTTP/1.1 400 Bad Request\r\n{bare}\r\n\r\nmore"),
            format!("HTTP/1.1 400 Bad Request\r\n{bare}\r\nx-amzn-errortype: X\r\n\r\n"),
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 7\r\n\r\n".to_owned(),
            "HTTP/1.1 100 Continue\r\n\r\n".to_owned(),
            "HTTP/1.1".to_owned(),
            String::new(),
        ] {
            assert_eq!(status(&other), None, "{other}");
        }
    }
}
