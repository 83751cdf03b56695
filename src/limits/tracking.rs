//! The bound on the clients whose use is tracked at once, shared by all tables of clients.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The key that all clients beyond the bound share.
pub(super) const OVERFLOW: &str = "overflow";

/// Shortest time between two sweeps of a full table. A sweep looks at every entry.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Limits how often a full table is swept for clients that can be dropped.
#[derive(Debug, Default)]
pub(super) struct SweepTimer(Mutex<Option<Instant>>);

impl SweepTimer {
    /// Whether a sweep is due. If it is, the next one is due an interval later.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock();
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= SWEEP_INTERVAL);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}
