//! An HTTP/1.1 client connection: one request after the other, each driven by the task that sends it.
//!
//! There is no task and no channel between a request and its socket, and a waiting connection has no
//! buffer: bytes are read on the stack and kept at their own length, so an idle stream holds next to no
//! memory. Everything read is bounded: heads and chunk-size lines by their length, bodies by what
//! their reader takes.

mod field_names;
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

pub use framing::{ChunkError, Decoder, Framing, Next};
pub use head::{Head, HeadError, read as read_head};

/// Bytes of one read of unknown length.
const READ: usize = 16 * 1024;

/// Most bytes of one read where the framing promises as many.
const MAX_READ: usize = 64 * 1024;

/// Bodies up to this length, in bytes, are written together with their head.
const SMALL_BODY: usize = 16 * 1024;

/// Why there is no response, or no more of one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The connection closed before the end of the message.
    #[error("connection closed before message completed")]
    Ended,
    /// The head of the response is invalid.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The framing of the body is invalid.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
}

/// A connection to an upstream, with the request and response in progress.
#[derive(Debug)]
pub struct Connection<I> {
    io: I,
    /// Whether a proxy forwards the requests, and so needs absolute URIs in them.
    absolute_form: bool,
    outgoing: Outgoing,
    /// Received bytes that are not consumed yet.
    unread: Bytes,
    /// Whether any byte has come since the request began.
    has_received: bool,
    body: Decoder,
    keeps_alive: bool,
    /// Interim responses to the request, and the bytes of all heads.
    interim: usize,
    heads: usize,
}

/// The part of a request that is still to be written.
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
    /// A new connection, to the upstream or to a proxy that forwards requests.
    pub fn new(io: I, absolute_form: bool) -> Connection<I> {
        Connection {
            io,
            absolute_form,
            outgoing: Outgoing::sent(),
            unread: Bytes::new(),
            has_received: false,
            body: Decoder::new(Framing::Length(0)),
            keeps_alive: true,
            interim: 0,
            heads: 0,
        }
    }

    /// Whether an idle connection is still good: the upstream has neither closed it nor sent anything.
    pub fn is_alive(&mut self) -> bool {
        let mut space = [MaybeUninit::uninit(); 1];
        let mut buffer = ReadBuf::uninit(&mut space);
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.io).poll_read(&mut cx, &mut buffer).is_pending()
    }

    /// Whether the response has ended and another request may follow.
    pub fn is_reusable(&self) -> bool {
        self.keeps_alive
            && self.body.has_ended()
            && self.unread.is_empty()
            && self.outgoing.is_flushed
    }

    /// Whether any byte of a response has come.
    pub fn has_received(&self) -> bool {
        self.has_received
    }

    /// Takes a request, which [`Connection::head`] then sends.
    pub fn start(&mut self, head: &request::Parts, body: Bytes) {
        let is_small = body.len() <= SMALL_BODY;
        let extra = if is_small { body.len() } else { 0 };
        let mut bytes = head::write(head, body.len(), self.absolute_form, extra);
        let body = if is_small {
            bytes.extend_from_slice(&body);
            Bytes::new()
        } else {
            body
        };
        self.outgoing = Outgoing { head: bytes.into(), body, is_flushed: false };
        self.has_received = false;
        (self.interim, self.heads) = (0, 0);
    }

    /// Sends the request and reads the head of the response. A response may come before all of the
    /// request is written; the rest is written while its body is read.
    ///
    /// # Errors
    /// The connection failed or the response is invalid. The connection can't be used again then.
    pub async fn head(&mut self, method: &Method) -> Result<Head, Error> {
        poll_fn(|cx| self.poll_head(cx, method)).await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, method: &Method) -> Poll<Result<Head, Error>> {
        // A server that refuses a request may respond and close before it has read all of it: then
        // writing fails although there is a response.
        let write_error = match self.poll_write(cx) {
            Poll::Ready(Err(error)) => Some(error),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        };
        loop {
            if let Some(head) = self.take_head(method)? {
                return Poll::Ready(Ok(head));
            }
            match self.poll_fill(cx, 0) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(write_error.map_or(Error::Ended, Error::Io)));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {
                    return write_error
                        .map_or(Poll::Pending, |error| Poll::Ready(Err(error.into())));
                }
            }
        }
    }

    /// The head of the response, once it is complete. Skips interim responses, up to a bound.
    fn take_head(&mut self, method: &Method) -> Result<Option<Head>, HeadError> {
        while !self.unread.is_empty() {
            let Some(head) = head::read(&self.unread, method)? else { return Ok(None) };
            self.unread.advance(head.len);
            self.heads += head.len;
            // An interim response that announces a close counts, too.
            self.keeps_alive &= head.keeps_alive;
            if !head.status.is_informational() {
                // A response that comes before the request is sent may belong to something else.
                self.keeps_alive &= self.outgoing.is_flushed;
                self.body = Decoder::new(head.framing);
                return Ok(Some(head));
            }
            self.interim += 1;
            if self.interim > head::MAX_INTERIM || self.heads > head::MAX_HEADS {
                return Err(HeadError::Interim);
            }
        }
        Ok(None)
    }

    /// Reads the next part of the body; `None` is its end.
    ///
    /// # Errors
    /// The connection failed or ended early, or the framing is invalid.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if !self.outgoing.is_flushed && matches!(self.poll_write(cx), Poll::Ready(Err(_))) {
            // The response counts even if the rest of the request can't be sent.
            self.outgoing = Outgoing::sent();
            self.keeps_alive = false;
        }
        loop {
            match self.body.next(&mut self.unread) {
                Ok(Next::Data(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(Next::End) => return Poll::Ready(None),
                Ok(Next::Incomplete) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
            match ready!(self.poll_fill(cx, self.body.promised())) {
                Ok(0) if self.body.ends_with_connection() => return Poll::Ready(None),
                Ok(0) => return Poll::Ready(Some(Err(Error::Ended))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// Whether the body has ended.
    pub fn has_ended(&self) -> bool {
        self.body.has_ended()
    }

    /// Whether the body ends where the connection does.
    pub fn is_close_delimited(&self) -> bool {
        self.body.ends_with_connection()
    }

    /// Bytes left of the body, if known.
    pub fn remaining(&self) -> Option<u64> {
        self.body.remaining()
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
            // Frees the written bytes.
            *out = Outgoing::sent();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads more; the framing promises `promised` bytes. Returns how many came, zero at the end of the
    /// connection.
    fn poll_fill(&mut self, cx: &mut Context<'_>, promised: u64) -> Poll<io::Result<usize>> {
        let count = if self.unread.is_empty() && promised > READ as u64 {
            let room = usize::try_from(promised).unwrap_or(MAX_READ).min(MAX_READ);
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
        self.has_received |= count > 0;
        Poll::Ready(Ok(count))
    }
}

#[cfg(test)]
mod tests;
