//! Serves one client connection: TLS if the listener has it, then HTTP/1.1 or HTTP/2, detected by the
//! first bytes, within the limits of [`timeouts`](super::timeouts).
//!
//! A shutdown is announced before the connection is closed: over HTTP/1.1 by `connection: close` on the
//! next response, over HTTP/2 by a GOAWAY. So no request is lost because it was sent while its connection
//! was being closed.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::Response;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::detect::{Preread, Version, peek_version, read_version};
use super::final_response;
use super::h2_executor::H2Executor;
use super::handler::{AnyBody, Handler, full};
use super::shutdown::Shutdown;
use super::slots::{Evictable, Slot};
use super::socket::{Reset, Socket};
use super::timeouts::{CloseReason, ConnectionLimits, ConnectionTracker, TimeoutTimer};
use super::tls::Acceptor;
use super::tracked_body::TrackedBody;
use crate::auth::Peer;
use crate::bedrock::{ErrorKind, WireError};
use crate::config;
use crate::pipeline::SharedGateway;
use crate::system::time::timeout_at;
use crate::telemetry::Metrics;

/// Streams that a client may reset before they are accepted, as h2 counts them.
const MAX_PENDING_RESETS: usize = 20;

/// hyper's default for the most header fields of an HTTP/1.1 request.
const HYPER_MAX_HEADERS: usize = 100;

/// Bytes of a response that may wait for the window of an HTTP/2 stream.
const MAX_UNSENT: usize = 32 * 1024;

/// The receive windows of HTTP/2: bytes of request bodies that a client may send before they are read,
/// on one stream and on all of a connection. They are buffered.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;

/// What all connections of a listener share: hyper's settings, limits and metrics.
#[derive(Clone, Debug)]
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<H2Executor>,
    limits: Arc<config::Server>,
    shared_gateway: Arc<SharedGateway>,
    metrics: Arc<Metrics>,
}

impl Protocols {
    pub(super) fn new(shared_gateway: &Arc<SharedGateway>) -> Protocols {
        let gateway = shared_gateway.load();
        let config = &gateway.config.server;
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // `timeouts` has this limit, which distinguishes a slow head from an idle connection.
            .header_read_timeout(None)
            .max_buf_size(config.max_header_bytes);
        // With a setting of its own hyper allocates the fields anew for each request.
        if config.max_headers != HYPER_MAX_HEADERS {
            http1.max_headers(config.max_headers);
        }
        let mut http2 =
            http2::Builder::new(H2Executor { shared_gateway: Arc::clone(shared_gateway) });
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(config.max_concurrent_streams)
            .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_send_buf_size(MAX_UNSENT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(Duration::from_secs(30));
        Protocols {
            http1,
            http2,
            limits: Arc::new(config.clone()),
            shared_gateway: Arc::clone(shared_gateway),
            metrics: Arc::clone(&gateway.metrics),
        }
    }

    fn connection_limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            header_read: self.limits.header_read_timeout,
            keep_alive: self.limits.keep_alive_timeout,
            max_resets: self.limits.max_resets,
            max_head: self.limits.max_header_bytes,
        }
    }

    fn count_end(&self, reason: &str) {
        self.metrics.connections_ended.with_label_values(&[reason]).inc();
    }
}

/// Serves one connection to its end, and then frees its slot. During a shutdown it ends when its
/// requests are answered.
///
/// Connections may be long and many: each phase is a future of its own on the heap, so that none reserves
/// memory for the largest of all.
pub(super) async fn serve<A: Handler>(
    socket: TcpStream,
    address: SocketAddr,
    tls: Option<Acceptor>,
    protocols: Protocols,
    handler: A,
    shutdown: Shutdown,
    slot: Slot,
) {
    let evictable = slot.evictable().cloned();
    let served =
        serve_stream(socket, address, tls, protocols, handler, shutdown, evictable.as_deref());
    match &evictable {
        None => served.await,
        Some(evictable) => tokio::select! {
            biased;
            () = evictable.evicted() => {}
            () = Box::pin(served) => {}
        },
    }
}

async fn serve_stream<A: Handler>(
    socket: TcpStream,
    address: SocketAddr,
    tls: Option<Acceptor>,
    protocols: Protocols,
    handler: A,
    shutdown: Shutdown,
    evictable: Option<&Evictable>,
) {
    // The small frames of a stream must not wait for one another.
    let _ = socket.set_nodelay(true);
    let is_late = shutdown.has_begun();
    let Some(acceptor) = tls else {
        let stream = Stream::Left(socket);
        let shutdown = (shutdown, is_late);
        return serve_http(stream, address.into(), &protocols, handler, shutdown, evictable).await;
    };
    let handshake = tokio::select! {
        biased;
        handshake = Box::pin(acceptor.accept(socket)) => handshake,
        () = shutdown.closing_idle() => return,
    };
    match handshake {
        Ok((stream, certificate)) => {
            let (stream, peer) = (Stream::Right(Box::new(stream)), Peer { address, certificate });
            let shutdown = (shutdown, is_late);
            Box::pin(serve_http(stream, peer, &protocols, handler, shutdown, evictable)).await;
        }
        Err(error) => tracing::debug!(peer = %address, %error, "connection ended"),
    }
}

/// A connection with or without TLS. One type, so that the code that speaks HTTP is compiled once.
type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

impl Reset for Stream {
    fn reset_on_close(&self, does: bool) -> io::Result<()> {
        match self {
            Either::Left(socket) => socket.reset_on_close(does),
            Either::Right(tls) => tls.get_ref().0.reset_on_close(does),
        }
    }
}

/// Detects the version of HTTP and serves it.
async fn serve_http<A: Handler>(
    mut stream: Stream,
    peer: Peer,
    protocols: &Protocols,
    handler: A,
    (shutdown, is_late): (Shutdown, bool),
    evictable: Option<&Evictable>,
) {
    let opened_at = Instant::now();
    // A connection without a byte is not worth a slot.
    let detect = async {
        if let Stream::Left(socket) = &stream
            && let Some(version) = peek_version(socket).await?
        {
            return Ok(Some((version, Preread::default())));
        }
        read_version(&mut stream).await
    };
    let detect = timeout_at(opened_at + protocols.limits.header_read_timeout, detect);
    let detected = tokio::select! {
        biased;
        detected = detect => detected,
        () = shutdown.closing_idle() => return,
    };
    let (version, preread) = match detected {
        Ok(Ok(Some(detected))) => detected,
        Ok(Ok(None) | Err(_)) => return,
        Err(_) => return protocols.count_end("header_timeout"),
    };
    let is_http2 = version == Version::Http2;
    let load = protocols.shared_gateway.load().in_flight.clone();
    let limits = protocols.connection_limits();
    let tracker = ConnectionTracker::new(limits, load, is_http2, opened_at);
    if let Some(evictable) = evictable {
        evictable.set_tracker(&tracker);
    }
    let (socket, home) = Socket::new(stream, preread, Arc::clone(&tracker));
    let address = peer.address;
    let service = {
        let shutdown = shutdown.clone();
        let (tracker, shared_gateway) =
            (Arc::clone(&tracker), Arc::clone(&protocols.shared_gateway));
        let metrics = Arc::clone(&protocols.metrics);
        service_fn(move |mut request: Request<Incoming>| {
            let open = tracker.request_started(&shared_gateway.load().config.server);
            let is_unclear = tracker.has_repeated_length();
            let version = request.version();
            if is_unclear {
                // hyper has dropped the second one, and the pipeline is to see it.
                let length = request.headers().get(CONTENT_LENGTH).cloned();
                let length = length.unwrap_or(HeaderValue::from_static("0"));
                request.headers_mut().append(CONTENT_LENGTH, length);
            }
            let handled = AssertUnwindSafe(handler(request, peer.clone())).catch_unwind();
            let (shutdown, metrics) = (shutdown.clone(), Arc::clone(&metrics));
            async move {
                let mut response = handled.await.unwrap_or_else(|_| panicked(&metrics));
                if is_unclear || !is_http2 && shutdown.has_begun() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(TrackedBody::track(response, open, version))
            }
        })
    };
    let socket = TokioIo::new(socket);
    let context = DriveContext {
        address,
        protocols,
        tracker: &tracker,
        shutdown: &shutdown,
        is_http2,
        is_late,
    };
    let end = match version {
        Version::Http1 => {
            let connection = protocols.http1.serve_connection(socket, service);
            drive(Box::pin(connection), context).await
        }
        Version::Http2 => {
            let connection = protocols.http2.serve_connection(socket, service);
            drive(Box::pin(connection), context).await
        }
    };
    let Some(io) = home.lock().take() else { return };
    if tracker.is_truncated() {
        // A socket that is closed already needs no reset.
        let _ = io.reset_on_close(true);
    }
    match end {
        End::Close => {}
        End::Refused => Box::pin(final_response::close(io)).await,
        End::HeadTimeout => {
            let error = final_response::head_timeout(protocols.limits.header_read_timeout);
            Box::pin(final_response::send(io, error)).await;
        }
    }
}

/// What is left to do when hyper is done with a connection.
enum End {
    /// Nothing but to close it.
    Close,
    /// hyper has refused a head that is not HTTP, or is too large, with a status of its own. The client
    /// gets time to read that.
    Refused,
    /// The client gets a response to the head that did not arrive in time.
    HeadTimeout,
}

/// What [`drive`] needs to know of a connection.
struct DriveContext<'a> {
    address: SocketAddr,
    protocols: &'a Protocols,
    tracker: &'a Arc<ConnectionTracker>,
    shutdown: &'a Shutdown,
    is_http2: bool,
    is_late: bool,
}

/// Drives a connection until it ends, or until a limit or the shutdown ends it.
async fn drive<C>(mut connection: Pin<Box<C>>, context: DriveContext<'_>) -> End
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let DriveContext { address, protocols, tracker, shutdown, is_http2, is_late } = context;
    let mut timer = TimeoutTimer::new(Arc::clone(tracker));
    let mut is_shutting_down = false;
    loop {
        let event = tokio::select! {
            // The connection comes first, so that it reads what has arrived before it shuts down, and
            // the timer sees what it did.
            biased;
            ended = connection.as_mut() => Event::Ended(ended),
            reason = poll_fn(|cx| timer.poll(cx)) => Event::Timeout(reason),
            () = shutdown_signal(shutdown, is_http2, is_late), if !is_shutting_down => {
                Event::Shutdown
            }
        };
        match event {
            Event::Ended(Ok(())) => return End::Close,
            Event::Ended(Err(error)) => {
                tracing::debug!(peer = %address, %error, "connection ended");
                if is_http2 || !error.is_parse() {
                    return End::Close;
                }
                protocols.count_end("malformed");
                return End::Refused;
            }
            Event::Timeout(reason) => {
                tracing::debug!(peer = %address, ?reason, "connection closed");
                if let Some(reason) = reason.label() {
                    protocols.count_end(reason);
                }
                match reason {
                    CloseReason::IdleTimeout | CloseReason::TooManyResets => {
                        tracker.shutting_down();
                    }
                    CloseReason::HeaderTimeout if tracker.is_reading_head() => {
                        return End::HeadTimeout;
                    }
                    CloseReason::HeaderTimeout
                    | CloseReason::Stalled
                    | CloseReason::ShutdownTimeout
                    | CloseReason::Overloaded => return End::Close,
                }
            }
            Event::Shutdown => {}
        }
        is_shutting_down = true;
        connection.as_mut().graceful_shutdown();
    }
}

enum Event<T> {
    Ended(T),
    Timeout(CloseReason),
    Shutdown,
}

/// The response to a request on which code outside the pipeline panicked.
fn panicked(metrics: &Metrics) -> Response<AnyBody> {
    metrics.panics.inc();
    tracing::error!("a request panicked");
    let error = WireError::new(ErrorKind::InternalServer, "the gateway failed on this request");
    error.into_response().map(full)
}

/// Waits until the connection must take no further requests. Over HTTP/2 that is when the shutdown
/// begins, or for a connection that was opened later, when the listeners close. Over HTTP/1.1 it is when
/// idle connections close, since nothing can be announced to an idle client.
async fn shutdown_signal(shutdown: &Shutdown, is_http2: bool, is_late: bool) {
    match (is_http2, is_late) {
        (true, false) => shutdown.begun().await,
        (true, true) => shutdown.closing().await,
        (false, _) => shutdown.closing_idle().await,
    }
}
