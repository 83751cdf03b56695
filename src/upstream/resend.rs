//! Decides when a request is sent once more because its pooled connection was stale.
//!
//! A server may close an idle connection just when the next request is sent on it. The upstream has
//! then done nothing for the request, so it does not count as an attempt. Three conditions tell this
//! from a failure of the upstream: the connection was reused, no byte of a response came, and the
//! request failed within the time that opening a connection may take.

use std::time::Duration;

use tokio::time::Instant;

use super::{SendError, http1};

/// Whether `error` means that a request that began at `began` met a stale connection. That shows
/// within `limit`.
pub(super) fn is_stale_connection(error: &SendError, began: Instant, limit: Duration) -> bool {
    let is_stale = match error {
        SendError::Http1 { error, reused, has_received } => {
            *reused && !has_received && matches!(error, http1::Error::Io(_) | http1::Error::Ended)
        }
        // Streams share the reads of an HTTP/2 connection, and their heads come whole.
        SendError::Http2 { error, opened_at } => {
            *opened_at < began && !(error.is_parse() || error.is_user() || error.is_timeout())
        }
        SendError::Request(_) | SendError::Connect(_) => false,
    };
    is_stale && began.elapsed() <= limit
}
