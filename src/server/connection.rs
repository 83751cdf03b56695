//! One connection of a client: TLS where it is spoken, then HTTP/1.1 or HTTP/2, told apart by the
//! first bytes, and ended when it does what it does for too long.
//!
//! When the gateway is about to stop, a connection is told before it is closed: HTTP/1.1 by
//! `connection: close` on its next answer, HTTP/2 by a GOAWAY. So no request is lost with a
//! connection that was closed while it was on its way.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
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

use super::activity::{Activity, Overdue, Patience, Watchdog};
use super::answer::Tracked;
use super::ending::Ending;
use super::guests::Guest;
use super::listener::Slot;
use super::opening::{Opened, Version, glance, open};
use super::socket::{Reset, Socket};
use super::streams::Streams;
use super::tls::Acceptor;
use super::{Answer, AnyBody, parting};
use crate::auth::Peer;
use crate::bedrock::{ErrorKind, WireError};
use crate::config;
use crate::pipeline::SharedGateway;
use crate::system::time::timeout_at;
use crate::telemetry::Metrics;

/// Streams that a client may reset before they were looked at, as HTTP/2's library counts them.
const MAX_PENDING_RESETS: usize = 20;

/// Header fields that HTTP/1.1's library takes if it is told nothing.
const LIBRARY_MAX_HEADERS: usize = 100;

/// Bytes of an answer that may wait for the window of an HTTP/2 stream.
const MAX_UNSENT: usize = 32 * 1024;

/// Bytes of request bodies that a client may send ahead, on one HTTP/2 stream and on all of a
/// connection: what is not read yet is buffered.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;

/// How connections are spoken to, and within which limits.
#[derive(Clone, Debug)]
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
    limits: Arc<config::Server>,
    live: Arc<SharedGateway>,
    metrics: Arc<Metrics>,
}

impl Protocols {
    pub(super) fn new(live: &Arc<SharedGateway>) -> Protocols {
        let gateway = live.load();
        let config = &gateway.config.server;
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // Kept by `activity`, which tells a head that is slow from one that has not begun.
            .header_read_timeout(None)
            .max_buf_size(config.max_header_bytes);
        // What is told to it is filled in for each request.
        if config.max_headers != LIBRARY_MAX_HEADERS {
            http1.max_headers(config.max_headers);
        }
        let mut http2 = http2::Builder::new(Streams { live: Arc::clone(live) });
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
            live: Arc::clone(live),
            metrics: Arc::clone(&gateway.metrics),
        }
    }

    fn patience(&self) -> Patience {
        Patience {
            header_read: self.limits.header_read_timeout,
            keep_alive: self.limits.keep_alive_timeout,
            max_resets: self.limits.max_resets,
            max_head: self.limits.max_header_bytes,
        }
    }

    fn ended(&self, reason: &str) {
        self.metrics.connections_ended.with_label_values(&[reason]).inc();
    }
}

/// Serves one connection to its end, with which its slot is free again. When the gateway stops it
/// ends when the requests it has are answered.
///
/// A connection may be open for long, and there may be many: each part of its life is a future of
/// its own on the heap, so that none has room for the largest of all.
pub(super) async fn serve<A: Answer>(
    socket: TcpStream,
    address: SocketAddr,
    tls: Option<Acceptor>,
    protocols: Protocols,
    answer: A,
    ending: Ending,
    slot: Slot,
) {
    let guest = slot.guest().cloned();
    let attended = attend(socket, address, tls, protocols, answer, ending, guest.as_deref());
    match &guest {
        None => attended.await,
        Some(guest) => tokio::select! {
            biased;
            () = guest.leaves() => {}
            () = Box::pin(attended) => {}
        },
    }
}

async fn attend<A: Answer>(
    socket: TcpStream,
    address: SocketAddr,
    tls: Option<Acceptor>,
    protocols: Protocols,
    answer: A,
    ending: Ending,
    guest: Option<&Guest>,
) {
    // Frames of a stream are small and must not wait for one another.
    let _ = socket.set_nodelay(true);
    let is_late = ending.has_begun();
    let Some(acceptor) = tls else {
        let stream = Stream::Left(socket);
        return talk(stream, address.into(), &protocols, answer, (ending, is_late), guest).await;
    };
    let made = tokio::select! {
        biased;
        made = Box::pin(acceptor.accept(socket)) => made,
        () = ending.last_call() => return,
    };
    match made {
        Ok((stream, certificate)) => {
            let (stream, peer) = (Stream::Right(Box::new(stream)), Peer { address, certificate });
            Box::pin(talk(stream, peer, &protocols, answer, (ending, is_late), guest)).await;
        }
        Err(error) => tracing::debug!(peer = %address, %error, "connection ended"),
    }
}

/// What HTTP is spoken over. One type, so that what speaks it is built once.
type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

impl Reset for Stream {
    fn reset_on_close(&self, does: bool) -> io::Result<()> {
        match self {
            Either::Left(socket) => socket.reset_on_close(does),
            Either::Right(tls) => tls.get_ref().0.reset_on_close(does),
        }
    }
}

/// Speaks HTTP over whatever the connection is made of.
async fn talk<A: Answer>(
    stream: Stream,
    peer: Peer,
    protocols: &Protocols,
    answer: A,
    (ending, is_late): (Ending, bool),
    guest: Option<&Guest>,
) {
    let began = Instant::now();
    // A connection that says nothing is not worth a slot.
    let first_bytes = async {
        if let Stream::Left(socket) = &stream
            && let Some(version) = glance(socket).await?
        {
            return Ok(Some((version, Opened::untouched(stream))));
        }
        open(stream).await
    };
    let first_bytes = timeout_at(began + protocols.limits.header_read_timeout, first_bytes);
    let opened = tokio::select! {
        biased;
        opened = first_bytes => opened,
        () = ending.last_call() => return,
    };
    let (version, stream) = match opened {
        Ok(Ok(Some(opened))) => opened,
        Ok(Ok(None) | Err(_)) => return,
        Err(_) => return protocols.ended("header_timeout"),
    };
    let is_http2 = version == Version::Http2;
    let load = protocols.live.load().in_flight.clone();
    let activity = Activity::new(protocols.patience(), load, is_http2, began);
    if let Some(guest) = guest {
        guest.does(&activity);
    }
    let (socket, home) = Socket::new(stream, Arc::clone(&activity));
    let address = peer.address;
    let service = {
        let end = ending.clone();
        let (asking, live) = (Arc::clone(&activity), Arc::clone(&protocols.live));
        let metrics = Arc::clone(&protocols.metrics);
        service_fn(move |mut request: Request<Incoming>| {
            let open = asking.asked(&live.load().config.server);
            let is_unclear = asking.repeats_length();
            let version = request.version();
            if is_unclear {
                // The library has left out the second; who judges the request is to see it.
                let length = request.headers().get(CONTENT_LENGTH).cloned();
                let length = length.unwrap_or(HeaderValue::from_static("0"));
                request.headers_mut().append(CONTENT_LENGTH, length);
            }
            let answered = AssertUnwindSafe(answer(request, peer.clone())).catch_unwind();
            let (ending, metrics) = (end.clone(), Arc::clone(&metrics));
            async move {
                let mut response = answered.await.unwrap_or_else(|_| panicked(&metrics));
                if is_unclear || !is_http2 && ending.has_begun() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(Tracked::answer(response, open, version))
            }
        })
    };
    let socket = TokioIo::new(socket);
    let led = Led { address, protocols, activity: &activity, ending: &ending, is_http2, is_late };
    let last_words = match version {
        Version::Http1 => {
            let connection = protocols.http1.serve_connection(socket, service);
            lead(Box::pin(connection), led).await
        }
        Version::Http2 => {
            let connection = protocols.http2.serve_connection(socket, service);
            lead(Box::pin(connection), led).await
        }
    };
    let io = home.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(io) = io.as_ref().filter(|_| activity.is_cut_short()) {
        // A socket that is gone already needs no reset.
        let _ = io.reset_on_close(true);
    }
    if let (Some(io), Some(words)) = (io, last_words) {
        Box::pin(parting::say(io, words)).await;
    }
}

/// What there is to know of a connection that is led to its end.
struct Led<'a> {
    address: SocketAddr,
    protocols: &'a Protocols,
    activity: &'a Arc<Activity>,
    ending: &'a Ending,
    is_http2: bool,
    is_late: bool,
}

/// Leads a connection to its end: its own, the gateway's, or that of the patience with it. Returns
/// what is still to be said on it.
async fn lead<C>(mut connection: Pin<Box<C>>, led: Led<'_>) -> Option<WireError>
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let Led { address, protocols, activity, ending, is_http2, is_late } = led;
    let mut watchdog = Watchdog::new(Arc::clone(activity));
    let mut is_told = false;
    loop {
        let event = tokio::select! {
            // First, so that what has arrived is read before the connection is told, and what
            // it does is seen by the watchdog.
            biased;
            ended = connection.as_mut() => Event::Ended(ended),
            overdue = poll_fn(|cx| watchdog.poll(cx)) => Event::Overdue(overdue),
            () = leave(ending, is_http2, is_late), if !is_told => Event::Stopping,
        };
        match event {
            Event::Ended(ended) => {
                if let Err(error) = ended {
                    tracing::debug!(peer = %address, %error, "connection ended");
                }
                return activity.refusal().map(|status| {
                    protocols.ended("malformed");
                    parting::refusal(status, &protocols.limits)
                });
            }
            Event::Overdue(what) => {
                tracing::debug!(peer = %address, ?what, "connection overdue");
                if let Some(reason) = what.reason() {
                    protocols.ended(reason);
                }
                match what {
                    Overdue::Idle | Overdue::Resets => activity.leaves(),
                    Overdue::Head if activity.is_within_head() => {
                        return Some(parting::too_slow(protocols.limits.header_read_timeout));
                    }
                    Overdue::Head | Overdue::Stalled | Overdue::Leaving | Overdue::Overloaded => {
                        return None;
                    }
                }
            }
            Event::Stopping => {}
        }
        is_told = true;
        connection.as_mut().graceful_shutdown();
    }
}

enum Event<T> {
    Ended(T),
    Overdue(Overdue),
    Stopping,
}

/// The answer to a request that something outside the pipeline panicked on.
fn panicked(metrics: &Metrics) -> Response<AnyBody> {
    metrics.panics.inc();
    tracing::error!("a request panicked");
    let error = WireError::new(ErrorKind::InternalServer, "the gateway failed on this request");
    error.into_response().map(super::whole)
}

/// When the connection takes no further requests. By HTTP/2 that is as soon as the gateway is about
/// to stop, or, for a client that came later all the same, when its listeners close. By HTTP/1.1 it
/// is at the last call, since an idle client can't be told.
async fn leave(ending: &Ending, is_http2: bool, is_late: bool) {
    match (is_http2, is_late) {
        (true, false) => ending.begun().await,
        (true, true) => ending.closing().await,
        (false, _) => ending.last_call().await,
    }
}
