//! The body of an upstream's answer, by either version of HTTP.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::http1;
use super::http2::Stream;
use super::pool::{Http1, Place};

/// A body that comes as it is asked for. When it has ended, its connection is free for the next
/// request; when it is dropped before that, the connection is closed, or its stream reset.
#[derive(Debug)]
pub struct Body(Inner);

#[derive(Debug)]
enum Inner {
    /// `None` once the connection went back to its place.
    Http1(Option<Box<Http1>>, Arc<Place>),
    /// With the place of its request among the connection's streams, if that is counted.
    Http2 { body: Incoming, _stream: Option<Stream> },
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// By HTTP/1.1.
    #[error(transparent)]
    Http1(#[from] http1::Error),
    /// By HTTP/2.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

impl Body {
    /// What follows a head on its connection, which belongs to `place`.
    pub(super) fn http1(connection: Box<Http1>, place: Arc<Place>) -> Body {
        let mut body = Body(Inner::Http1(Some(connection), place));
        body.give_back();
        body
    }

    pub(super) fn http2(body: Incoming, stream: Option<Stream>) -> Body {
        Body(Inner::Http2 { body, _stream: stream })
    }

    /// Whether the end of the connection is that of the body, so that nothing tells a whole one from
    /// one that was cut off.
    pub(super) fn is_close_delimited(&self) -> bool {
        match &self.0 {
            Inner::Http1(connection, _) => {
                connection.as_ref().is_some_and(|connection| connection.is_close_delimited())
            }
            Inner::Http2 { .. } => false,
        }
    }

    /// Gives the connection back as soon as nothing more of the body is to come.
    fn give_back(&mut self) {
        if let Inner::Http1(held, place) = &mut self.0
            && let Some(connection) = held.take_if(|connection| connection.has_ended())
        {
            place.take_back(connection);
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
                let data = ready!(connection.poll_data(cx));
                self.give_back();
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
                connection.left().map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            Inner::Http2 { body, .. } => body.size_hint(),
        }
    }
}
