//! HTTP/2 towards an upstream: connections that requests share, as many on each as it takes.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use super::connect::BoxError;

/// The body of a request.
#[derive(Debug)]
pub(super) enum Payload {
    /// There as a whole.
    Whole(Full<Bytes>),
    /// To come, perhaps while it is answered.
    Coming(UnsyncBoxBody<Bytes, BoxError>),
}

impl Payload {
    pub(super) fn coming<B>(body: B) -> Payload
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Payload::Coming(body.map_err(Into::into).boxed_unsync())
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Payload::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Payload::Coming(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Payload::Whole(body) => body.is_end_stream(),
            Payload::Coming(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Payload::Whole(body) => body.size_hint(),
            Payload::Coming(body) => body.size_hint(),
        }
    }
}

/// A connection, and what is known of it.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Payload>,
    opened: Instant,
    /// Streams that are open on it.
    streams: AtomicUsize,
    /// The most that the upstream takes, as far as it said so.
    max_streams: Arc<AtomicUsize>,
    /// When the last stream ended.
    last_used: Mutex<Instant>,
}

impl Connection {
    /// Speaks HTTP/2 on `io`, which was just opened.
    pub(super) async fn new<I>(io: I) -> Result<Connection, hyper::Error>
    where
        I: Read + Write + Unpin + Send + 'static,
    {
        let mut builder = Builder::new(TokioExecutor::new());
        let (sender, connection) = builder.timer(TokioTimer::new()).handshake(io).await?;
        let max_streams = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
        let told = Arc::clone(&max_streams);
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let ended = poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                told.store(connection.current_max_send_streams(), Ordering::Relaxed);
                polled
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        let now = Instant::now();
        let (streams, last_used) = (AtomicUsize::new(0), Mutex::new(now));
        Ok(Connection { sender, opened: now, streams, max_streams, last_used })
    }

    /// Room for one more request, if there is any.
    pub(super) fn stream(self: &Arc<Self>) -> Option<Stream> {
        if self.sender.is_closed() {
            return None;
        }
        let most = self.max_streams.load(Ordering::Relaxed);
        let taken = self.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < most).then_some(open + 1)
        });
        taken.ok().map(|_| Stream(Arc::clone(self)))
    }

    /// Whether it is to be kept: it is open and in use, or was so within `idle`.
    pub(super) fn is_wanted(&self, now: Instant, idle: Duration) -> bool {
        let last_used = *self.last_used.lock().unwrap_or_else(PoisonError::into_inner);
        let is_in_use = self.streams.load(Ordering::Relaxed) > 0;
        !self.sender.is_closed() && (is_in_use || now.duration_since(last_used) < idle)
    }
}

/// The place of one request on a connection, free again when dropped.
#[derive(Debug)]
pub(super) struct Stream(Arc<Connection>);

impl Stream {
    /// When its connection was opened.
    pub(super) fn opened(&self) -> Instant {
        self.0.opened
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let mut sender = self.0.sender.clone();
        sender.ready().await?;
        sender.send_request(request.map(|body| Payload::Whole(Full::new(body)))).await
    }

    /// Sends a request whose body can't be had a second time, and waits for the head of its answer.
    ///
    /// # Errors
    /// With the request, if nothing of it was sent.
    pub(super) async fn try_send(
        &self,
        request: Request<Payload>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Payload>>> {
        self.0.sender.clone().try_send_request(request).await
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let now = Instant::now();
        *self.0.last_used.lock().unwrap_or_else(PoisonError::into_inner) = now;
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
