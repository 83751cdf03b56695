//! One connection of a client: TLS where it is spoken, then HTTP/1.1 or HTTP/2, told apart by the
//! first bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Answer;
use super::opening::{Version, open};
use super::tls::Acceptor;
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

/// Serves one connection to its end. Once `closing`, it takes no further requests and ends when
/// those it has are answered.
pub(super) async fn serve<A: Answer>(
    socket: TcpStream,
    address: SocketAddr,
    tls: Option<Acceptor>,
    protocols: Protocols,
    answer: A,
    closing: CancellationToken,
) {
    // Frames of a stream are small and must not wait for one another.
    let _ = socket.set_nodelay(true);
    let Some(acceptor) = tls else {
        return talk(socket, address.into(), &protocols, answer, closing).await;
    };
    let made = tokio::select! {
        made = acceptor.accept(socket) => made,
        () = closing.cancelled() => return,
    };
    match made {
        Ok((stream, certificate)) => {
            talk(stream, Peer { address, certificate }, &protocols, answer, closing).await;
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
    closing: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Answer,
{
    let address = peer.address;
    // A connection that says nothing is not worth a slot.
    let opened = tokio::select! {
        opened = timeout(protocols.first_bytes, open(stream)) => opened,
        () = closing.cancelled() => return,
    };
    let Ok(Ok(Some((version, stream)))) = opened else { return };
    let builder = match version {
        Version::Http1 => &protocols.http1,
        Version::Http2 => &protocols.http2,
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let answered = answer(request, peer.clone());
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %address, %error, "connection ended");
    }
}
