//! One connection of a client: TLS where it is spoken, then HTTP/1.1 or HTTP/2, told apart by the
//! first bytes.
//!
//! When the gateway is about to stop, a connection is told before it is closed: HTTP/1.1 by
//! `connection: close` on its next answer, HTTP/2 by a GOAWAY. So no request is lost with a
//! connection that was closed while it was on its way.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use http::Response;
use http::header::{CONNECTION, HeaderValue};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ending::Ending;
use super::opening::{Version, open};
use super::tls::Acceptor;
use super::{Answer, AnyBody};
use crate::clients::Peer;
use crate::config;

/// How connections are spoken to, and within which limits.
#[derive(Clone, Debug)]
pub(super) struct Protocols {
    http1: Builder<TokioExecutor>,
    http2: Builder<TokioExecutor>,
    first_bytes: Duration,
}

impl Protocols {
    pub(super) fn new(config: &config::Server) -> Protocols {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_read_timeout)
            .max_buf_size(config.max_header_bytes)
            .max_headers(config.max_headers);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(config.max_concurrent_streams)
            .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(Duration::from_secs(30));
        Protocols {
            http1: builder.clone().http1_only(),
            http2: builder.http2_only(),
            first_bytes: config.header_read_timeout,
        }
    }
}

/// Serves one connection to its end. When the gateway stops it ends when the requests it has are
/// answered.
pub(super) async fn serve<A: Answer>(
    socket: TcpStream,
    address: SocketAddr,
    tls: Option<Acceptor>,
    protocols: Protocols,
    answer: A,
    ending: Ending,
) {
    // Frames of a stream are small and must not wait for one another.
    let _ = socket.set_nodelay(true);
    let is_late = ending.has_begun();
    let Some(acceptor) = tls else {
        return talk(socket, address.into(), &protocols, answer, ending, is_late).await;
    };
    let made = tokio::select! {
        biased;
        made = acceptor.accept(socket) => made,
        () = ending.last_call() => return,
    };
    match made {
        Ok((stream, certificate)) => {
            let peer = Peer { address, certificate };
            talk(stream, peer, &protocols, answer, ending, is_late).await;
        }
        Err(error) => tracing::debug!(peer = %address, %error, "connection ended"),
    }
}

/// Speaks HTTP over whatever the connection is made of.
async fn talk<S, A>(
    stream: S,
    peer: Peer,
    protocols: &Protocols,
    answer: A,
    ending: Ending,
    is_late: bool,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Answer,
{
    let address = peer.address;
    // A connection that says nothing is not worth a slot.
    let opened = tokio::select! {
        biased;
        opened = timeout(protocols.first_bytes, open(stream)) => opened,
        () = ending.last_call() => return,
    };
    let Ok(Ok(Some((version, stream)))) = opened else { return };
    let (builder, is_http2) = match version {
        Version::Http1 => (&protocols.http1, false),
        Version::Http2 => (&protocols.http2, true),
    };
    let end = ending.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let answered = answer(request, peer.clone());
        let ending = end.clone();
        async move {
            let mut response: Response<AnyBody> = answered.await;
            if !is_http2 && ending.has_begun() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        // First, so that what has arrived is read before the connection is told.
        biased;
        ended = connection.as_mut() => ended,
        () = leave(&ending, is_http2, is_late) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %address, %error, "connection ended");
    }
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
