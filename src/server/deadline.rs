//! How long a request may take at most, and the deadline of the HTTP/2 stream that a task serves.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::config;

/// How long after its limit a response may still end with a clear error, and how long a connection may
/// take to shut down.
pub(super) const GRACE: Duration = Duration::from_millis(500);

tokio::task_local! {
    /// When the stream of this task ends at the latest.
    pub(super) static STREAM_DEADLINE: Cell<Instant>;
}

/// The longest time that any request may take, with the grace. The pipeline keeps the limit of each
/// request.
pub(super) fn max_request_time(config: &config::Server) -> Duration {
    config.request_timeout.max(config.bidirectional_timeout) + GRACE
}

/// Sets the deadline of the stream that this task serves, if it serves one.
pub(super) fn set_stream_deadline(deadline: Instant) {
    // HTTP/1.1 has no streams; the limits of its connections are in `timeouts`.
    let _ = STREAM_DEADLINE.try_with(|it| it.set(deadline));
}
