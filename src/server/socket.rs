//! A client's socket as the HTTP library has it: what passes is noted, what the library answers by
//! itself is held back, and the socket comes home when the library is done with it.
//!
//! An answer by HTTP/1.0 without a length ends where its connection does. Until all of it is written,
//! the system is told to reset the connection when it is closed, by whoever and for whatever reason,
//! the end of the process included. So no failure looks like an end.
//!
//! To a head that is not HTTP, or too large, the library answers with a status and nothing else. No
//! hook lets it say more; but what it writes while no request is open can only be that.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;
use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::activity::Activity;

/// Where a socket comes back to.
pub(super) type Home<I> = Arc<Mutex<Option<I>>>;

/// What may be reset when it is closed.
pub(super) trait Reset {
    /// Whether a close resets the connection, in place of ending it.
    fn reset_on_close(&self, does: bool) -> io::Result<()>;
}

impl Reset for TcpStream {
    fn reset_on_close(&self, does: bool) -> io::Result<()> {
        Ok(set_socket_linger(self, does.then_some(Duration::ZERO))?)
    }
}

/// A socket in the library's hands.
#[derive(Debug)]
pub(super) struct Socket<I> {
    /// `None` once it went home, in `drop`.
    io: Option<I>,
    home: Home<I>,
    activity: Arc<Activity>,
    /// Whether a close resets the connection.
    resets: bool,
    /// Whether the library holds bytes that the socket did not take.
    is_behind: bool,
}

impl<I> Socket<I> {
    pub(super) fn new(io: I, activity: Arc<Activity>) -> (Socket<I>, Home<I>) {
        let home = Home::default();
        let into = Arc::clone(&home);
        (Socket { io: Some(io), home: into, activity, resets: false, is_behind: false }, home)
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

    /// Bytes are about to be written. If they are of an answer that ends with the connection, a close
    /// must not look like its end from now on.
    fn writes(&mut self)
    where
        I: Reset,
    {
        if !self.resets && self.activity.is_close_delimited() {
            self.set_resets(true);
        }
    }

    /// Of `offered` bytes some were written, or the socket takes none now.
    fn wrote(&mut self, wrote: &Poll<io::Result<usize>>, offered: usize) {
        self.is_behind = !matches!(wrote, Poll::Ready(Ok(count)) if *count >= offered);
        if wrote.is_ready() {
            self.activity.wrote();
        }
    }

    fn set_resets(&mut self, does: bool)
    where
        I: Reset,
    {
        if let Some(io) = &self.io
            && io.reset_on_close(does).is_ok()
        {
            self.resets = does;
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

impl<I: AsyncWrite + Reset + Unpin> AsyncWrite for Socket<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.holds_back(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        self.writes();
        let wrote = self.poll_io(|io| io.poll_write(cx, buf));
        self.wrote(&wrote, buf.len());
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
        self.writes();
        let wrote = self.poll_io(|io| io.poll_write_vectored(cx, bufs));
        self.wrote(&wrote, bufs.iter().map(|buf| buf.len()).sum());
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
        if self.resets && (self.is_behind || !self.activity.is_whole()) {
            // It is closed without a word, and so reset.
            return Poll::Ready(Ok(()));
        }
        let shut = self.poll_io(|io| io.poll_shutdown(cx));
        if self.resets && matches!(shut, Poll::Ready(Ok(()))) {
            self.set_resets(false);
        }
        shut
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::time::Instant;

    use super::super::activity::{Delimited, Patience};
    use super::*;
    use crate::config::{Config, Env};
    use crate::quota::InFlightLimit;

    /// A socket that takes so many bytes.
    #[derive(Debug)]
    struct Narrow {
        takes: usize,
        resets: AtomicBool,
    }

    impl Reset for Narrow {
        fn reset_on_close(&self, does: bool) -> io::Result<()> {
            self.resets.store(does, Ordering::Relaxed);
            Ok(())
        }
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = buf.len().min(self.takes);
            self.takes -= count;
            if count == 0 { Poll::Pending } else { Poll::Ready(Ok(count)) }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Whether a close resets the connection, after so much of an answer of ten bytes was taken.
    fn resets(delimited: Delimited, takes: usize, is_whole: bool) -> bool {
        let second = Duration::from_secs(1);
        let patience =
            Patience { header_read: second, keep_alive: second, max_resets: 1, max_head: 100 };
        let env = Env::from_iter([("A", "")]);
        let config = Config::from_toml("", "config.toml", &env).unwrap().config;
        let load = InFlightLimit::new(&config.server);
        let activity = Activity::new(patience, load, false, Instant::now());
        let mut open = activity.asked(&config.server);
        open.begins(None, delimited);
        let narrow = Narrow { takes, resets: AtomicBool::new(false) };
        let (mut socket, home) = Socket::new(narrow, activity);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        if is_whole {
            open.answered();
        }
        let _ = Pin::new(&mut socket).poll_write(cx, b"ten bytes.");
        let _ = Pin::new(&mut socket).poll_shutdown(cx);
        drop(socket);
        let io = home.lock().unwrap().take().unwrap();
        io.resets.into_inner()
    }

    #[test]
    fn an_answer_that_ends_with_its_connection_is_reset_until_it_is_written() {
        for (delimited, takes, is_whole, wanted) in [
            (Delimited::Close, 10, true, false),
            (Delimited::Close, 10, false, true),
            (Delimited::Close, 4, true, true),
            (Delimited::Close, 0, true, true),
            (Delimited::Length, 10, true, false),
            (Delimited::Chunked, 4, false, false),
        ] {
            let reset = resets(delimited, takes, is_whole);
            assert_eq!(reset, wanted, "{delimited:?} {takes} {is_whole}");
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
