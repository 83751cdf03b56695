//! The body of an upstream's response, over HTTP/1.1 or HTTP/2.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::http1;
use super::http2::Stream;
use super::pool::{HostPool, Http1};

/// The body of a response, read as it is polled. At its end the connection goes back to the pool;
/// dropping it earlier closes the connection, or resets the stream.
#[derive(Debug)]
pub struct Body(Inner);

#[derive(Debug)]
enum Inner {
    /// `None` once the connection is back in the pool.
    Http1(Option<Box<Http1>>, Arc<HostPool>),
    Http2 {
        body: Incoming,
        _stream: Stream,
    },
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Over HTTP/1.1.
    #[error(transparent)]
    Http1(#[from] http1::Error),
    /// Over HTTP/2.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

impl Body {
    /// The body that follows a head on its connection, which belongs to `host`.
    pub(super) fn http1(connection: Box<Http1>, host: Arc<HostPool>) -> Body {
        let mut body = Body(Inner::Http1(Some(connection), host));
        body.check_in_at_end();
        body
    }

    pub(super) fn http2(body: Incoming, stream: Stream) -> Body {
        Body(Inner::Http2 { body, _stream: stream })
    }

    /// Whether the body ends where its connection does, so that a truncated body looks complete.
    pub(super) fn is_close_delimited(&self) -> bool {
        match &self.0 {
            Inner::Http1(connection, _) => {
                connection.as_ref().is_some_and(|connection| connection.http.is_close_delimited())
            }
            Inner::Http2 { .. } => false,
        }
    }

    /// Returns the connection to the pool once the body has ended.
    fn check_in_at_end(&mut self) {
        if let Inner::Http1(held, host) = &mut self.0
            && let Some(connection) = held.take_if(|connection| connection.http.has_ended())
        {
            host.check_in(connection);
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Inner::Http1(None, _) => Poll::Ready(None),
            Inner::Http1(Some(connection), _) => {
                let data = ready!(connection.http.poll_data(cx));
                self.check_in_at_end();
                Poll::Ready(data.map(|data| data.map(Frame::data).map_err(Into::into)))
            }
            Inner::Http2 { body, .. } => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Http1(connection, _) => connection.is_none(),
            Inner::Http2 { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Http1(None, _) => SizeHint::with_exact(0),
            Inner::Http1(Some(connection), _) => {
                connection.http.remaining().map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            Inner::Http2 { body, .. } => body.size_hint(),
        }
    }
}
