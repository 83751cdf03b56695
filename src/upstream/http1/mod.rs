//! HTTP/1.1 towards an upstream: one request after the other on a connection, each driven by the
//! task that asks, so that neither task nor channel lies between a request and its socket.
//!
//! A connection has no buffer while it waits: what comes is read on the stack and kept at its own
//! length. So an open stream that is silent holds next to nothing. What is read is bounded: heads
//! and the lines of chunks by length, bodies by what their reader takes.

mod framing;
mod head;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

pub use framing::{BadChunk, Decoder, Framing, Next};
pub use head::{BadHead, Head, read as read_head};

/// Read at once, in bytes, where nobody knows how much will come.
const READ: usize = 16 * 1024;

/// Read at once, in bytes, where so much is certain to come.
const MAX_READ: usize = 64 * 1024;

/// Bodies up to this length, in bytes, are written in one piece with their head.
const SMALL_BODY: usize = 16 * 1024;

/// Why there is no answer, or no more of one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The connection ended where more had to come.
    #[error("connection closed before message completed")]
    Ended,
    /// The answer's head is none.
    #[error(transparent)]
    Head(#[from] BadHead),
    /// The answer's body is none.
    #[error(transparent)]
    Chunk(#[from] BadChunk),
}

/// A connection to an upstream, with the exchange that is under way on it.
#[derive(Debug)]
pub(super) struct Connection<I> {
    io: I,
    /// Whether a proxy reads the requests, and so needs whole URIs in them.
    is_passed_on: bool,
    outgoing: Outgoing,
    /// What has come and nobody has taken.
    unread: Bytes,
    /// Whether anything came since the request began.
    was_answered: bool,
    body: Decoder,
    keeps_alive: bool,
    /// Interim answers to the request, and the bytes of all heads.
    interim: usize,
    heads: usize,
}

/// What is still to be written of a request.
#[derive(Debug)]
struct Outgoing {
    head: Bytes,
    body: Bytes,
    is_flushed: bool,
}

impl Outgoing {
    fn sent() -> Outgoing {
        Outgoing { head: Bytes::new(), body: Bytes::new(), is_flushed: true }
    }

    fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }

    fn was_written(&mut self, mut count: usize) {
        let of_head = count.min(self.head.len());
        self.head.advance(of_head);
        count -= of_head;
        self.body.advance(count.min(self.body.len()));
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Connection<I> {
    /// A connection that was just opened, to the upstream or to a proxy that passes requests on.
    pub(super) fn new(io: I, is_passed_on: bool) -> Connection<I> {
        Connection {
            io,
            is_passed_on,
            outgoing: Outgoing::sent(),
            unread: Bytes::new(),
            was_answered: false,
            body: Decoder::new(Framing::Length(0)),
            keeps_alive: true,
            interim: 0,
            heads: 0,
        }
    }

    /// Whether nothing has come on a connection that waits for its next request: neither an end nor
    /// what nobody asked for.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut space = [MaybeUninit::uninit(); 1];
        let mut buffer = ReadBuf::uninit(&mut space);
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.io).poll_read(&mut cx, &mut buffer).is_pending()
    }

    /// Whether the exchange is over and another may follow.
    pub(super) fn is_reusable(&self) -> bool {
        self.keeps_alive
            && self.body.has_ended()
            && self.unread.is_empty()
            && self.outgoing.is_flushed
    }

    /// Whether anything of an answer has come.
    pub(super) fn was_answered(&self) -> bool {
        self.was_answered
    }

    /// Takes a request, which [`Connection::head`] then sends.
    pub(super) fn begin(&mut self, head: &request::Parts, body: Bytes) {
        let is_small = body.len() <= SMALL_BODY;
        let extra = if is_small { body.len() } else { 0 };
        let mut bytes = head::write(head, body.len(), self.is_passed_on, extra);
        let body = if is_small {
            bytes.extend_from_slice(&body);
            Bytes::new()
        } else {
            body
        };
        self.outgoing = Outgoing { head: bytes.into(), body, is_flushed: false };
        self.was_answered = false;
        (self.interim, self.heads) = (0, 0);
    }

    /// Sends the request and reads the head of its answer. An answer may come before all of the
    /// request is written; the rest goes out while its body is read.
    ///
    /// # Errors
    /// The connection failed or what came is no answer. It is of no more use then.
    pub(super) async fn head(&mut self, method: &Method) -> Result<Head, Error> {
        poll_fn(|cx| self.poll_head(cx, method)).await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, method: &Method) -> Poll<Result<Head, Error>> {
        // Who refuses a request may say so and close before it has read all of it, so that writing
        // fails while the answer is there.
        let unwritten = match self.poll_write(cx) {
            Poll::Ready(Err(error)) => Some(error),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        };
        loop {
            if let Some(head) = self.take_head(method)? {
                return Poll::Ready(Ok(head));
            }
            match self.poll_more(cx, 0) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(unwritten.map_or(Error::Ended, Error::Io)));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {
                    return unwritten.map_or(Poll::Pending, |error| Poll::Ready(Err(error.into())));
                }
            }
        }
    }

    /// The head of the answer, if it is there; interim ones are skipped, as many as are bearable.
    fn take_head(&mut self, method: &Method) -> Result<Option<Head>, BadHead> {
        while !self.unread.is_empty() {
            let Some(head) = head::read(&self.unread, method)? else { return Ok(None) };
            self.unread.advance(head.len);
            self.heads += head.len;
            // One that is not the last to follow, be it interim or not, is followed by nobody's.
            self.keeps_alive &= head.keeps_alive;
            if !head.status.is_informational() {
                // Who answers before it has the request may have answered something else.
                self.keeps_alive &= self.outgoing.is_flushed;
                self.body = Decoder::new(head.framing);
                return Ok(Some(head));
            }
            self.interim += 1;
            if self.interim > head::MAX_INTERIM || self.heads > head::MAX_HEADS {
                return Err(BadHead::Interim);
            }
        }
        Ok(None)
    }

    /// Reads what is next of the answer's body.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if !self.outgoing.is_flushed && matches!(self.poll_write(cx), Poll::Ready(Err(_))) {
            // The answer counts; what was not sent of its request, nobody waits for.
            self.outgoing = Outgoing::sent();
            self.keeps_alive = false;
        }
        loop {
            match self.body.next(&mut self.unread) {
                Ok(Next::Data(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(Next::End) => return Poll::Ready(None),
                Ok(Next::Wait) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
            match ready!(self.poll_more(cx, self.body.expects())) {
                Ok(0) if self.body.ends_with_connection() => return Poll::Ready(None),
                Ok(0) => return Poll::Ready(Some(Err(Error::Ended))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// Whether the answer's body is known to have ended.
    pub(super) fn has_ended(&self) -> bool {
        self.body.has_ended()
    }

    /// Whether the answer's body ends where the connection does.
    pub(super) fn is_close_delimited(&self) -> bool {
        self.body.ends_with_connection()
    }

    /// How long the rest of the answer's body is, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.body.left()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let out = &mut self.outgoing;
        while !out.is_empty() {
            let io = Pin::new(&mut self.io);
            let wrote = if out.head.is_empty() {
                io.poll_write(cx, &out.body)
            } else if out.body.is_empty() || !io.is_write_vectored() {
                io.poll_write(cx, &out.head)
            } else {
                io.poll_write_vectored(cx, &[IoSlice::new(&out.head), IoSlice::new(&out.body)])
            };
            match ready!(wrote)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => out.was_written(count),
            }
        }
        if !out.is_flushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            // Its bytes are of no more use.
            *out = Outgoing::sent();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads more, of which `expected` bytes are certain to come. Returns how many came; none is
    /// the end.
    fn poll_more(&mut self, cx: &mut Context<'_>, expected: u64) -> Poll<io::Result<usize>> {
        let count = if self.unread.is_empty() && expected > READ as u64 {
            let room = usize::try_from(expected).unwrap_or(MAX_READ).min(MAX_READ);
            let mut buffer = BytesMut::with_capacity(room);
            let count = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut buffer))?;
            self.unread = buffer.freeze();
            count
        } else {
            let mut space = [const { MaybeUninit::uninit() }; READ];
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            let new = buffer.filled();
            if self.unread.is_empty() {
                self.unread = Bytes::copy_from_slice(new);
            } else {
                self.unread = [&self.unread, new].concat().into();
            }
            new.len()
        };
        self.was_answered |= count > 0;
        Poll::Ready(Ok(count))
    }
}

#[cfg(test)]
mod tests;
