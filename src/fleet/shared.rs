//! What the handle, the leases and the sync task of a replica share, and the traits by which the fleet calls
//! those that use it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::event::FleetEvent;
use super::ledger::{LeaseGrant, LeaseRequest};
use super::status::SharedStatus;
use crate::config::SharedState;
use crate::storage::redis::Server;
use crate::telemetry::Metrics;

/// A holder of leases. It numbers its kinds of units itself.
pub trait LeaseHolder: Send + Sync + fmt::Debug {
    /// Adds its requests, each with its kind. False when it holds nothing and needs no further sync.
    fn requests(&self, now: Instant, requests: &mut Vec<(usize, LeaseRequest)>) -> bool;

    /// Applies the answer to its request of this kind.
    fn granted(&self, kind: usize, grant: &LeaseGrant, now: Instant);

    /// The status has changed, which may free capacity for waiting requests.
    fn status_changed(&self);

    /// The lease that it holds.
    fn lease(&self) -> Option<&Lease>;
}

/// Learns what other replicas experience at a target.
pub trait FleetListener: Send + Sync + fmt::Debug {
    /// The target cools down for `pause`, after so many throttles in a row; `is_quota` if a lack of quota is
    /// the reason.
    fn cooled(&self, pause: Duration, throttles: u32, is_quota: bool);

    /// The target works again.
    fn recovered(&self);

    /// Another replica probes the target.
    fn probe_started(&self);

    /// An operator has reset the target.
    fn reset(&self);
}

/// A cooldown that runs somewhere in the fleet.
pub(super) struct RunningCooldown {
    pub(super) until: Instant,
    pub(super) throttles: u32,
    pub(super) is_quota: bool,
    /// Whether this replica has begun it.
    pub(super) is_own: bool,
}

impl RunningCooldown {
    pub(super) fn to_event(&self, target: &str, now: Instant) -> FleetEvent {
        FleetEvent::Cooled {
            target: target.to_owned(),
            pause: self.until.saturating_duration_since(now),
            throttles: self.throttles,
            is_quota: self.is_quota,
        }
    }
}

/// What handle and sync task share.
pub(super) struct Shared {
    pub(super) config: SharedState,
    pub(super) server: Server,
    /// The random name of this replica.
    pub(super) replica: String,
    pub(super) status: Arc<SharedStatus>,
    /// The holders that take part in the next sync.
    pub(super) active: Mutex<Vec<Weak<dyn LeaseHolder>>>,
    /// Notified when the first holder becomes active.
    pub(super) activated: Notify,
    pub(super) leases: AtomicU64,
    /// Notified when a sync is wanted before its time.
    pub(super) early_sync: Notify,
    pub(super) listeners: DashMap<String, Vec<Weak<dyn FleetListener>>>,
    pub(super) cooldowns: DashMap<String, RunningCooldown>,
    pub(super) outbox: mpsc::Sender<FleetEvent>,
    pub(super) inbox: Mutex<Option<mpsc::Receiver<FleetEvent>>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) task: OnceLock<AbortOnDropHandle<()>>,
}

/// A lease of what all replicas know by one name.
pub struct Lease {
    shared: Arc<Shared>,
    name: String,
    holder: String,
    is_active: AtomicBool,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Lease {
    pub(super) fn new(shared: Arc<Shared>, name: &str) -> Lease {
        let number = shared.leases.fetch_add(1, Ordering::Relaxed);
        let holder = format!("{}.{number}", shared.replica);
        Lease { shared, name: name.to_owned(), holder, is_active: AtomicBool::new(false) }
    }

    /// The status of the replica.
    pub fn status(&self) -> &Arc<SharedStatus> {
        &self.shared.status
    }

    /// The name of the ledger's entry for this kind of units.
    pub fn entry(&self, kind: &str) -> String {
        format!("{}:{kind}", self.name)
    }

    /// The name of the holder in the ledger.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Includes its holder in the next sync; if `is_urgent`, that sync comes early.
    pub fn request_sync(&self, is_urgent: bool, holder: impl FnOnce() -> Arc<dyn LeaseHolder>) {
        if !self.is_active.swap(true, Ordering::AcqRel) {
            let holder = Arc::downgrade(&holder());
            let mut active = self.shared.active.lock();
            active.push(holder);
            if active.len() == 1 {
                self.shared.activated.notify_one();
            }
        }
        if is_urgent {
            self.shared.early_sync.notify_one();
        }
    }

    /// Its holder needs no further sync.
    pub(super) fn deactivate(&self) {
        self.is_active.store(false, Ordering::Release);
    }
}
