//! This replica's status in the fleet, shared with all holders of leases.

use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

/// The state of the link to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Not connected yet, and not known to be unreachable.
    Connecting,
    /// The ledger grants leases.
    Connected,
    /// The ledger is unreachable since then: each replica has a static share of each quota.
    Degraded(Instant),
    /// The ledger is back, and replicas report what they used meanwhile. Until all have had the time to,
    /// each still has its static share. Unreachable since then.
    Resyncing(Instant),
}

/// A replica's status in the fleet.
#[derive(Clone, Debug)]
pub struct FleetStatus {
    /// The link to the ledger.
    pub link: LinkState,
    /// Whether the ledger was ever reached.
    pub ever_connected: bool,
    /// The number of replicas, this one included.
    pub replicas: u32,
    /// The pause between two syncs.
    pub sync_interval: Duration,
    /// The largest share of a quota that may be held.
    pub max_lease: f64,
    /// After this time without use a lease is given back.
    pub lease_idle: Duration,
}

impl FleetStatus {
    /// Since when the replica has static shares instead of leases.
    pub fn degraded_since(&self) -> Option<Instant> {
        match self.link {
            LinkState::Degraded(since) | LinkState::Resyncing(since) => Some(since),
            LinkState::Connecting | LinkState::Connected => None,
        }
    }
}

/// The current status, read without a lock.
pub type SharedStatus = ArcSwap<FleetStatus>;
