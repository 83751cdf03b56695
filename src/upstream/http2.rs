//! HTTP/2 connections to upstreams, which requests share up to the number of streams that the upstream
//! allows.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
use parking_lot::Mutex;
use tokio::time::Instant;

use super::connect::{BoxError, GaugeGuard};

/// The body of a request.
#[derive(Debug)]
pub(super) enum Payload {
    /// Complete.
    Full(Full<Bytes>),
    /// Still to come, perhaps while the response does.
    Streaming(UnsyncBoxBody<Bytes, BoxError>),
}

impl Payload {
    pub(super) fn streaming<B>(body: B) -> Payload
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Payload::Streaming(body.map_err(Into::into).boxed_unsync())
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
            Payload::Full(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Payload::Streaming(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Payload::Full(body) => body.is_end_stream(),
            Payload::Streaming(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Payload::Full(body) => body.size_hint(),
            Payload::Streaming(body) => body.size_hint(),
        }
    }
}

/// A shared connection and the state that decides about its use.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Payload>,
    opened_at: Instant,
    /// Open streams.
    streams: AtomicUsize,
    /// Most streams, by the upstream's last SETTINGS.
    max_streams: Arc<AtomicUsize>,
    /// When the last stream ended.
    last_used: Mutex<Instant>,
}

impl Connection {
    /// Starts HTTP/2 on `io`. `open` counts the connection until it is closed.
    pub(super) async fn new<I>(io: I, open: GaugeGuard) -> Result<Connection, hyper::Error>
    where
        I: Read + Write + Unpin + Send + 'static,
    {
        let mut builder = Builder::new(TokioExecutor::new());
        let (sender, connection) = builder.timer(TokioTimer::new()).handshake(io).await?;
        let max_streams = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
        let current = Arc::clone(&max_streams);
        tokio::spawn(async move {
            let _open = open;
            let mut connection = pin!(connection);
            let ended = poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                current.store(connection.current_max_send_streams(), Ordering::Relaxed);
                polled
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        let now = Instant::now();
        let (streams, last_used) = (AtomicUsize::new(0), Mutex::new(now));
        Ok(Connection { sender, opened_at: now, streams, max_streams, last_used })
    }

    /// A stream for one more request, unless the connection is closed or full.
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

    /// Whether the connection is open, and in use or used within the last `idle`.
    pub(super) fn should_keep(&self, now: Instant, idle: Duration) -> bool {
        let last_used = *self.last_used.lock();
        let is_in_use = self.streams.load(Ordering::Relaxed) > 0;
        !self.sender.is_closed() && (is_in_use || now.duration_since(last_used) < idle)
    }
}

/// A stream that is reserved on a connection until it is dropped.
#[derive(Debug)]
pub(super) struct Stream(Arc<Connection>);

impl Stream {
    /// When its connection was opened.
    pub(super) fn opened_at(&self) -> Instant {
        self.0.opened_at
    }

    /// Sends a request and waits for the head of the response.
    pub(super) async fn send(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let mut sender = self.0.sender.clone();
        sender.ready().await?;
        sender.send_request(request.map(|body| Payload::Full(Full::new(body)))).await
    }

    /// Sends a request whose body can be read only once, and waits for the head of the response.
    ///
    /// # Errors
    /// Returns the request if nothing of it was sent.
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
        *self.0.last_used.lock() = now;
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
