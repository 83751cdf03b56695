//! When a request is sent again without anybody noticing: once, on a connection of its own, if
//! the one of the pool that it was put on turns out to be dead.
//!
//! A server may close a connection that is kept for the next request just when that comes. The
//! request failed then before the upstream had a part in it, so it counts as no attempt. Three
//! things tell this from a failure of the upstream: the connection was there before the request, no
//! byte of an answer came, and it all happened within the time that opening one may take.

use std::time::Duration;

use tokio::time::Instant;

use super::{SendError, http1};

/// Whether a request sent at `began` failed now with `error` because its connection was dead, which
/// shows within `limit`.
pub(super) fn was_dead(error: &SendError, began: Instant, limit: Duration) -> bool {
    let is_dead = match error {
        SendError::Http1 { error, was_kept, was_answered } => {
            *was_kept && !was_answered && matches!(error, http1::Error::Io(_) | http1::Error::Ended)
        }
        // The streams of an HTTP/2 connection share its reads, and their heads come whole.
        SendError::Http2 { error, opened } => {
            *opened < began && !(error.is_parse() || error.is_user() || error.is_timeout())
        }
        SendError::Unusable(_) | SendError::Connect(_) => false,
    };
    is_dead && began.elapsed() <= limit
}
