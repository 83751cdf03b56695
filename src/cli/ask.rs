//! How commands ask over HTTP: by HTTP/1.1, with a connection for each request.
//!
//! Enough for a person at a terminal, and far less code in the binary than a client with a pool.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// Why an answer is not usable.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What is asked over: in the clear, or by TLS.
pub(super) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Asks over a connection that serves for nothing else. The request has its `host`, and for a URI
/// just the path.
///
/// # Errors
/// When the connection broke, or what came is not HTTP.
pub(super) async fn ask(
    stream: Stream,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, BoxError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Why a connection has ended is known to itself alone; the request only learns that it has.
    let ended = tokio::spawn(connection);
    match sender.send_request(request).await {
        Ok(response) => Ok(response),
        Err(error) => match ended.await? {
            Ok(()) => Err(error.into()),
            Err(reason) => Err(reason.into()),
        },
    }
}
