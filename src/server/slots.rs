//! The slots of connections: a bound for the API's, and for those of the admin port a bound at which a
//! new connection evicts another, so that health and metrics can always be reached.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::timeouts::ConnectionTracker;

/// The slot of one connection, free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
    evictable: Option<EvictableSlot>,
    open: IntGauge,
}

impl Slot {
    /// A slot that `open` counts; an evictable one at the admin port.
    pub(super) fn new(
        permit: OwnedSemaphorePermit,
        evictable: Option<EvictableSlot>,
        open: IntGauge,
    ) -> Slot {
        open.inc();
        Slot { _permit: permit, evictable, open }
    }

    /// The connection, if it can be evicted.
    pub(super) fn evictable(&self) -> Option<&Arc<Evictable>> {
        self.evictable.as_ref().map(EvictableSlot::connection)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// Slots of which a new connection may take that of another one.
#[derive(Debug)]
pub(super) struct EvictableSlots {
    max: usize,
    open: Mutex<Vec<Arc<Evictable>>>,
}

/// A connection that can be evicted.
#[derive(Debug)]
pub(super) struct Evictable {
    opened_at: Instant,
    /// Set once its version of HTTP is known.
    tracker: OnceLock<Arc<ConnectionTracker>>,
    evicted: CancellationToken,
}

/// The slot of an evictable connection, free again when dropped.
#[derive(Debug)]
pub(super) struct EvictableSlot {
    connection: Arc<Evictable>,
    slots: Arc<EvictableSlots>,
}

impl EvictableSlots {
    /// At most `max` slots.
    pub(super) fn new(max: usize) -> EvictableSlots {
        EvictableSlots { max: max.max(1), open: Mutex::default() }
    }

    /// A slot for a new connection, which may evict another one.
    pub(super) fn enter(self: &Arc<Self>) -> EvictableSlot {
        let connection = Arc::new(Evictable {
            opened_at: Instant::now(),
            tracker: OnceLock::new(),
            evicted: CancellationToken::new(),
        });
        let mut open = self.open.lock();
        while open.len() >= self.max && evict(&mut open) {}
        open.push(Arc::clone(&connection));
        drop(open);
        EvictableSlot { connection, slots: Arc::clone(self) }
    }

    /// Evicts the connection of the lowest rank; false if there is no connection.
    pub(super) fn evict(&self) -> bool {
        evict(&mut self.open.lock())
    }
}

fn evict(open: &mut Vec<Arc<Evictable>>) -> bool {
    let found = open.iter().enumerate().min_by_key(|(_, it)| it.rank());
    let Some(index) = found.map(|(index, _)| index) else { return false };
    open.remove(index).evicted.cancel();
    true
}

impl Evictable {
    /// Connections with a request rank above idle ones, and of those the one that was used last.
    fn rank(&self) -> (bool, Instant) {
        match self.tracker.get() {
            Some(tracker) => tracker.eviction_rank(),
            None => (false, self.opened_at),
        }
    }

    /// Ranks the connection by its requests from now on.
    pub(super) fn set_tracker(&self, tracker: &Arc<ConnectionTracker>) {
        let _ = self.tracker.set(Arc::clone(tracker));
    }

    /// Waits until the connection is evicted.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl EvictableSlot {
    /// The connection in it.
    pub(super) fn connection(&self) -> &Arc<Evictable> {
        &self.connection
    }
}

impl Drop for EvictableSlot {
    fn drop(&mut self) {
        self.slots.open.lock().retain(|it| !Arc::ptr_eq(it, &self.connection));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::super::timeouts::ConnectionLimits;
    use super::*;
    use crate::config::{Config, Env};
    use crate::quota::InFlightLimit;

    fn tracker() -> Arc<ConnectionTracker> {
        let second = Duration::from_secs(1);
        let limits = ConnectionLimits {
            header_read: second,
            keep_alive: second,
            max_resets: 1,
            max_head: 8192,
        };
        let env = Env::from_iter([("A", "")]);
        let config = Config::from_toml("", "config.toml", &env).unwrap().config;
        let load = InFlightLimit::new(&config.server);
        ConnectionTracker::new(limits, load, false, Instant::now())
    }

    fn is_evicted(slot: &EvictableSlot) -> bool {
        slot.connection().evicted().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_was_idle_longest_is_evicted() {
        let slots = Arc::new(EvictableSlots::new(3));
        let config = crate::config::Config::from_toml("", "", &Default::default()).unwrap().config;
        let mut held = Vec::new();
        for _ in 0..3 {
            let slot = slots.enter();
            slot.connection().set_tracker(&tracker());
            held.push(slot);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // The first has a request under way, the second had the last one.
        let busy = held[0].connection().tracker.get().unwrap().request_started(&config.server);
        drop(held[1].connection().tracker.get().unwrap().request_started(&config.server));
        let fourth = slots.enter();
        assert!(is_evicted(&held[2]));
        assert!(!is_evicted(&held[0]) && !is_evicted(&held[1]) && !is_evicted(&fourth));
        // A slot that is left is free for all.
        drop(held.remove(1));
        let fifth = slots.enter();
        assert!(!is_evicted(&held[0]) && !is_evicted(&fourth) && !is_evicted(&fifth));
        assert!(slots.evict() && slots.evict());
        assert!(!is_evicted(&held[0]), "a connection with a request goes last");
        assert!(slots.evict() && is_evicted(&held[0]));
        assert!(!slots.evict());
        drop(busy);
    }
}
