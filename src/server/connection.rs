//! One connection of a client: HTTP/1.1 or HTTP/2, told apart by its first bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Answer;
use crate::config;

/// How connections are spoken to, and within which limits.
#[derive(Clone, Debug)]
pub(super) struct Protocols {
    builder: Builder<TokioExecutor>,
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
        Protocols { builder, first_bytes: config.header_read_timeout }
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
    // A connection that says nothing is not worth a slot.
    let spoke = tokio::select! {
        spoke = timeout(protocols.first_bytes, socket.readable()) => matches!(spoke, Ok(Ok(()))),
        () = closing.cancelled() => false,
    };
    if !spoke {
        return;
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let answered = answer(request, peer);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut connection = pin!(protocols.builder.serve_connection(TokioIo::new(socket), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
