//! The refusal of a request that is beyond one of its client's limits.

use std::time::Duration;

use tokio::time::Instant;

/// A client has used up one of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this client's limit {limit} is used up")]
pub struct LimitExceeded {
    /// The limit's key in the config.
    pub limit: &'static str,
    /// Time until there is room again.
    pub retry_after: Duration,
}

impl LimitExceeded {
    /// The refusal by a limit that has room again at `room_at`.
    pub(super) fn until(limit: &'static str, room_at: Instant, now: Instant) -> LimitExceeded {
        LimitExceeded { limit, retry_after: room_at - now }
    }
}
