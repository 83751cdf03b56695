//! A client's socket as hyper gets it: notes the bytes that pass, and hands the socket back when hyper is
//! done with it.
//!
//! An HTTP/1.0 response without a length ends with its connection. Until all of it is written, the
//! socket is set to reset the connection when it is closed, by whatever cause, the end of the process
//! included. So a truncated response never looks complete.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::detect::Preread;
use super::timeouts::ConnectionTracker;

/// Where a [`Socket`] puts its stream when hyper drops it.
pub(super) type Home<I> = Arc<Mutex<Option<I>>>;

/// A stream that can be reset when it is closed.
pub(super) trait Reset {
    /// Sets whether a close resets the connection instead of ending it.
    fn reset_on_close(&self, does: bool) -> io::Result<()>;
}

impl Reset for TcpStream {
    fn reset_on_close(&self, does: bool) -> io::Result<()> {
        Ok(set_socket_linger(self, does.then_some(Duration::ZERO))?)
    }
}

/// A client's stream in hyper's hands.
#[derive(Debug)]
pub(super) struct Socket<I> {
    /// `None` once it was handed back, in `drop`.
    io: Option<I>,
    home: Home<I>,
    /// Bytes that were read before hyper got the socket.
    preread: Preread,
    tracker: Arc<ConnectionTracker>,
    /// Whether a close resets the connection.
    resets: bool,
    /// Whether hyper holds bytes that the socket did not take.
    is_behind: bool,
}

impl<I> Socket<I> {
    pub(super) fn new(
        io: I,
        preread: Preread,
        tracker: Arc<ConnectionTracker>,
    ) -> (Socket<I>, Home<I>) {
        let home = Home::default();
        let into = Arc::clone(&home);
        let socket =
            Socket { io: Some(io), home: into, preread, tracker, resets: false, is_behind: false };
        (socket, home)
    }

    /// Notes that bytes are about to be written. If their response ends with the connection, a close must
    /// not look like its end from now on.
    fn before_write(&mut self)
    where
        I: Reset,
    {
        if !self.resets && self.tracker.is_close_delimited() {
            self.set_resets(true);
        }
    }

    /// Notes the result of writing `offered` bytes.
    fn after_write(&mut self, wrote: &Poll<io::Result<usize>>, offered: usize) {
        self.is_behind = !matches!(wrote, Poll::Ready(Ok(count)) if *count >= offered);
        if wrote.is_ready() {
            self.tracker.wrote();
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

impl<I> Drop for Socket<I> {
    fn drop(&mut self) {
        *self.home.lock() = self.io.take();
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Socket<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let limit = self.tracker.read_limit();
        let read = if self.preread.read(buf, limit.unwrap_or(usize::MAX)) {
            Poll::Ready(Ok(()))
        } else {
            self.poll_io(|io| match limit {
                Some(limit) if limit < buf.remaining() => {
                    Pin::new(&mut io.take(limit as u64)).poll_read(cx, buf)
                }
                _ => io.poll_read(cx, buf),
            })
        };
        let new = buf.filled().get(before..).unwrap_or_default();
        if !new.is_empty() {
            self.tracker.read(new);
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
        self.before_write();
        let wrote = self.poll_io(|io| io.poll_write(cx, buf));
        self.after_write(&wrote, buf.len());
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.before_write();
        let wrote = self.poll_io(|io| io.poll_write_vectored(cx, bufs));
        self.after_write(&wrote, bufs.iter().map(|buf| buf.len()).sum());
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_io(|io| io.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.resets && (self.is_behind || !self.tracker.is_complete()) {
            // Without a shutdown the close resets the connection.
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

    use super::super::timeouts::{BodyEnd, ConnectionLimits};
    use super::*;
    use crate::config::{Config, Env};
    use crate::quota::InFlightLimit;

    /// A socket that takes this many bytes.
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

    /// Whether a close resets the connection after the socket took this much of a response of ten bytes.
    fn resets(body_end: BodyEnd, takes: usize, is_complete: bool) -> bool {
        let second = Duration::from_secs(1);
        let limits = ConnectionLimits {
            header_read: second,
            keep_alive: second,
            max_resets: 1,
            max_head: 100,
        };
        let env = Env::from_iter([("A", "")]);
        let config = Config::from_toml("", "config.toml", &env).unwrap().config;
        let load = InFlightLimit::new(&config.server);
        let tracker = ConnectionTracker::new(limits, load, false, Instant::now());
        let mut open = tracker.request_started(&config.server);
        open.response_started(None, body_end);
        let narrow = Narrow { takes, resets: AtomicBool::new(false) };
        let (mut socket, home) = Socket::new(narrow, Preread::default(), tracker);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        if is_complete {
            open.completed();
        }
        let _ = Pin::new(&mut socket).poll_write(cx, b"ten bytes.");
        let _ = Pin::new(&mut socket).poll_shutdown(cx);
        drop(socket);
        let io = home.lock().take().unwrap();
        io.resets.into_inner()
    }

    #[test]
    fn a_close_resets_the_connection_until_a_close_delimited_response_is_written() {
        for (body_end, takes, is_complete, wanted) in [
            (BodyEnd::Close, 10, true, false),
            (BodyEnd::Close, 10, false, true),
            (BodyEnd::Close, 4, true, true),
            (BodyEnd::Close, 0, true, true),
            (BodyEnd::Length, 10, true, false),
            (BodyEnd::Chunked, 4, false, false),
        ] {
            let reset = resets(body_end, takes, is_complete);
            assert_eq!(reset, wanted, "{body_end:?} {takes} {is_complete}");
        }
    }
}
