//! The last words on a connection that the HTTP library has done with: an error in Bedrock's form,
//! and the patience to let the client read it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::bedrock::{ErrorKind, WireError};
use crate::config;
use crate::system::time::timeout;

/// Time for the client to take the last words. What it still sends is read and thrown away, since
/// a socket that is closed with unread bytes takes the last words back.
const LINGER: Duration = Duration::from_secs(1);

/// What is said to a head that the library refused with `status`.
pub(super) fn refusal(status: StatusCode, limits: &config::Server) -> WireError {
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => WireError::new(
            ErrorKind::HeaderTooLarge,
            format!(
                "the request head is larger than {} bytes or has more than {} header fields",
                limits.max_header_bytes, limits.max_headers
            ),
        ),
        StatusCode::URI_TOO_LONG => {
            WireError::new(ErrorKind::UriTooLong, "the path of the request is too long")
        }
        _ => WireError::new(ErrorKind::Validation, "the request is not valid HTTP"),
    }
}

/// What is said to a head that did not come within `limit`.
pub(super) fn too_slow(limit: Duration) -> WireError {
    let limit = humantime::format_duration(limit);
    let message = format!("the request head did not arrive within {limit}");
    WireError::new(ErrorKind::RequestTimeout, message)
}

/// Says it and closes the connection. Takes no longer than [`LINGER`].
pub(super) async fn say<I: AsyncRead + AsyncWrite + Unpin>(mut io: I, error: WireError) {
    let (head, body) = error.into_response().into_parts();
    let words = http1(head.status, &head.headers, &body);
    let saying = async {
        io.write_all(&words).await?;
        io.shutdown().await?;
        let mut unread = [0; 4096];
        while io.read(&mut unread).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Whether it was heard or not, the connection ends here.
    let _ = timeout(LINGER, saying).await;
}

/// A response as HTTP/1.1 has it on the wire, and the last on its connection.
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
