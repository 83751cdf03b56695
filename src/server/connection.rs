//! One connection of a client: HTTP/1.1 or HTTP/2, told apart by its first bytes, and ended when it
//! does what it does for too long.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Open, Overdue, Patience, Watchdog};
use super::socket::Socket;
use super::streams::Streams;
use super::{Answer, AnyBody, parting};
use crate::bedrock::{ErrorKind, WireError};
use crate::config;
use crate::pipeline::Live;
use crate::telemetry::Metrics;

/// Streams that a client may reset before they were looked at, as HTTP/2's library counts them.
const MAX_PENDING_RESETS: usize = 20;

/// Bytes of an answer that may wait for the window of an HTTP/2 stream.
const MAX_UNSENT: usize = 64 * 1024;

/// How connections are spoken to, and within which limits.
#[derive(Clone, Debug)]
pub(super) struct Protocols {
    builder: Builder<Streams>,
    limits: Arc<config::Server>,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
}

impl Protocols {
    pub(super) fn new(live: &Arc<Live>, config: &config::Server) -> Protocols {
        let mut builder = Builder::new(Streams { live: Arc::clone(live) });
        builder
            .http1()
            .timer(TokioTimer::new())
            // Kept by `activity`, which tells a head that is slow from one that has not begun.
            .header_read_timeout(None)
            .max_buf_size(config.max_header_bytes)
            .max_headers(config.max_headers);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(config.max_concurrent_streams)
            .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_send_buf_size(MAX_UNSENT)
            .keep_alive_interval(Duration::from_secs(30));
        let metrics = Arc::clone(&live.load().metrics);
        Protocols { builder, limits: Arc::new(config.clone()), live: Arc::clone(live), metrics }
    }

    fn patience(&self) -> Patience {
        Patience {
            header_read: self.limits.header_read_timeout,
            keep_alive: self.limits.keep_alive_timeout,
            max_resets: self.limits.max_resets,
        }
    }

    fn ended(&self, reason: &str) {
        self.metrics.connections_ended.with_label_values(&[reason]).inc();
    }
}

/// Serves one connection to its end. Once `closing`, it takes no further requests and ends when
/// those it has are answered.
pub(super) async fn serve<A: Answer>(
    socket: TcpStream,
    peer: SocketAddr,
    protocols: Protocols,
    answer: A,
    closing: CancellationToken,
) {
    // Frames of a stream are small and must not wait for one another.
    let _ = socket.set_nodelay(true);
    speak(socket, peer, protocols, answer, closing).await;
}

/// Serves HTTP on any transport.
async fn speak<I, A>(
    io: I,
    peer: SocketAddr,
    protocols: Protocols,
    answer: A,
    closing: CancellationToken,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Answer,
{
    let activity = Activity::new(protocols.patience());
    let (socket, home) = Socket::new(io, Arc::clone(&activity));
    let last_words = {
        let (asking, live) = (Arc::clone(&activity), Arc::clone(&protocols.live));
        let metrics = Arc::clone(&protocols.metrics);
        let service = service_fn(move |request: Request<Incoming>| {
            let open = asking.asked(live.load().config.server.request_timeout);
            let metrics = Arc::clone(&metrics);
            let answered = AssertUnwindSafe(answer(request, peer)).catch_unwind();
            async move {
                let response = answered.await.unwrap_or_else(|_| panicked(&metrics));
                Ok::<_, Infallible>(response.map(|body| Tracked::new(body, open)))
            }
        });
        let connection = protocols.builder.serve_connection(TokioIo::new(socket), service);
        let mut connection = pin!(connection);
        let mut watchdog = Watchdog::new(Arc::clone(&activity));
        let mut is_leaving = false;
        loop {
            let event = tokio::select! {
                // The connection first: what it does decides what the watchdog sees.
                biased;
                ended = connection.as_mut() => Event::Ended(ended),
                overdue = poll_fn(|cx| watchdog.poll(cx)) => Event::Overdue(overdue),
                () = closing.cancelled(), if !is_leaving => Event::Closing,
            };
            match event {
                Event::Ended(ended) => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "connection ended");
                    }
                    break activity.refusal().map(|status| {
                        protocols.ended("malformed");
                        parting::refusal(status, &protocols.limits)
                    });
                }
                Event::Overdue(what) => {
                    tracing::debug!(%peer, ?what, "connection overdue");
                    if let Some(reason) = what.reason() {
                        protocols.ended(reason);
                    }
                    match what {
                        Overdue::Idle | Overdue::Resets => {}
                        Overdue::Head if activity.is_within_head() => {
                            break Some(parting::too_slow(protocols.limits.header_read_timeout));
                        }
                        Overdue::Head | Overdue::Stalled | Overdue::Leaving => break None,
                    }
                }
                Event::Closing => {}
            }
            is_leaving = true;
            activity.leaves();
            connection.as_mut().graceful_shutdown();
        }
    };
    let io = home.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let (Some(io), Some(words)) = (io, last_words) {
        parting::say(io, words).await;
    }
}

enum Event<T> {
    Ended(T),
    Overdue(Overdue),
    Closing,
}

/// The answer to a request that something outside the pipeline panicked on.
fn panicked(metrics: &Metrics) -> Response<AnyBody> {
    metrics.panics.inc();
    tracing::error!("a request failed by a panic");
    let error = WireError::new(ErrorKind::InternalServer, "the gateway failed on this request");
    error.into_response().map(|body| Either::Right(Full::new(body)))
}

pin_project! {
    /// The body of an answer, whose request is open as long as it lives.
    struct Tracked {
        #[pin]
        body: AnyBody,
        open: Open,
    }
}

impl Tracked {
    fn new(body: AnyBody, mut open: Open) -> Tracked {
        if body.is_end_stream() {
            open.answered();
        }
        Tracked { body, open }
    }
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = <AnyBody as Body>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut this = self.project();
        let polled = this.body.as_mut().poll_frame(cx);
        let has_ended = match &polled {
            Poll::Ready(Some(Ok(_))) => this.body.is_end_stream(),
            Poll::Ready(Some(Err(_)) | None) => true,
            Poll::Pending => false,
        };
        if has_ended {
            this.open.answered();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
