//! The last bytes on a connection that hyper has finished with: the response to a request head that did
//! not arrive in time, and a lingering close, so that the client can read what was sent.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::bedrock::{ErrorKind, WireError};
use crate::system::time::timeout;

/// Time for the client to read the last response.
const LINGER: Duration = Duration::from_secs(1);

/// The response to a head that did not arrive within `limit`.
pub(super) fn head_timeout(limit: Duration) -> WireError {
    let limit = humantime::format_duration(limit);
    let message = format!("the request head did not arrive within {limit}");
    WireError::new(ErrorKind::RequestTimeout, message)
}

/// Sends a response and closes the connection, within [`LINGER`].
pub(super) async fn send<I: AsyncRead + AsyncWrite + Unpin>(mut io: I, error: WireError) {
    let (head, body) = error.into_response().into_parts();
    let response = http1(head.status, &head.headers, &body);
    let sending = async {
        io.write_all(&response).await?;
        io.shutdown().await?;
        drain(&mut io).await
    };
    // The connection is closed in any case.
    let _ = timeout(LINGER, sending).await;
}

/// Closes a connection on which a response was sent and whose write side is shut down, within
/// [`LINGER`].
pub(super) async fn close<I: AsyncRead + Unpin>(mut io: I) {
    let _ = timeout(LINGER, drain(&mut io)).await;
}

/// Discards what the client still sends: closing a socket with unread bytes resets the connection, and
/// the client may lose the response.
async fn drain<I: AsyncRead + Unpin>(io: &mut I) -> io::Result<()> {
    let mut unread = [0; 4096];
    while io.read(&mut unread).await? > 0 {}
    Ok(())
}

/// An HTTP/1.1 response on the wire, the last one of its connection.
fn http1(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    let length = body.len();
    let rest = format!("content-length: {length}\r\nconnection: close\r\n\r\n");
    bytes.extend_from_slice(rest.as_bytes());
    bytes.extend_from_slice(body);
    bytes
}
