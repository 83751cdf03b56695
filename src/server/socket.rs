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
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::activity::Activity;

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
    // Where the status stands in "HTTP/1.1 400"; what follows another one is not looked at.
    let status = StatusCode::from_bytes(bytes.get(9..12)?).ok()?;
    if !matches!(status.as_u16(), 400 | 414 | 431) {
        return None;
    }
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let is_bare = |line: &str| {
        let name = line.split(':').next().unwrap_or_default();
        ["connection", "date"].iter().any(|known| name.eq_ignore_ascii_case(known))
            || line.eq_ignore_ascii_case("content-length: 0")
    };
    head.split("\r\n").skip(1).all(is_bare).then_some(status)
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
        let room = self.activity.room();
        let read = self.poll_io(|io| match room {
            Some(room) if room < buf.remaining() => {
                Pin::new(&mut io.take(room as u64)).poll_read(cx, buf)
            }
            _ => io.poll_read(cx, buf),
        });
        let new = buf.filled().get(before..).unwrap_or_default();
        if !new.is_empty() {
            self.activity.read(new);
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
