//! This replica's handle to the fleet: leases for quotas, listeners for targets, events to publish.
//!
//! Calls here take effect at once and never wait for Redis.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, Weak};

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::connection::FleetError;
use super::event::FleetEvent;
use super::shared::{FleetListener, Lease, Shared};
use super::status::{FleetStatus, LinkState, SharedStatus};
use super::sync_task;
use crate::config::SharedState;
use crate::storage::redis::Server;
use crate::telemetry::Metrics;

/// Events that wait to be published. Beyond these they are dropped: other replicas then experience the same
/// themselves, or read the cooldown after their next sync.
const MAX_EVENTS: usize = 1024;

/// This replica's handle to the fleet. Clones are the same.
#[derive(Clone)]
pub struct Fleet(Arc<Shared>);

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("replica", &self.0.replica).finish_non_exhaustive()
    }
}

impl Fleet {
    /// A replica that is not connected. Connects to nothing before [`Fleet::start`].
    ///
    /// # Errors
    /// When an address of Redis is invalid.
    pub fn new(config: &SharedState, metrics: &Arc<Metrics>) -> Result<Fleet, FleetError> {
        let (outbox, inbox) = mpsc::channel(MAX_EVENTS);
        let status = FleetStatus {
            link: LinkState::Connecting,
            ever_connected: false,
            replicas: config.replicas,
            sync_interval: config.exchange_interval,
            max_lease: config.max_lease,
            lease_idle: config.lease_idle,
        };
        Ok(Fleet(Arc::new(Shared {
            server: Server::new(&config.redis, config.timeout)?,
            config: config.clone(),
            replica: Uuid::new_v4().simple().to_string(),
            status: Arc::new(SharedStatus::from_pointee(status)),
            active: Mutex::default(),
            leases: AtomicU64::new(0),
            activated: Notify::new(),
            early_sync: Notify::new(),
            listeners: DashMap::new(),
            cooldowns: DashMap::new(),
            outbox,
            inbox: Mutex::new(Some(inbox)),
            metrics: Arc::clone(metrics),
            task: OnceLock::new(),
        })))
    }

    /// Starts the sync task. Must be called within a tokio runtime.
    pub fn start(&self) {
        let inbox = self.0.inbox.lock().take();
        if let Some(inbox) = inbox {
            let task = tokio::spawn(sync_task::run(Arc::clone(&self.0), inbox));
            let _first = self.0.task.set(AbortOnDropHandle::new(task));
        }
    }

    /// The status of this replica.
    pub fn status(&self) -> Arc<FleetStatus> {
        self.0.status.load_full()
    }

    /// A lease of the quota that all replicas know by this name.
    pub fn lease(&self, name: &str) -> Lease {
        Lease::new(Arc::clone(&self.0), name)
    }

    /// Informs `listener` of what other replicas experience at the target that all know by this name, and of
    /// a cooldown that runs already.
    pub fn listen(&self, target: &str, listener: Weak<dyn FleetListener>) {
        let now = Instant::now();
        let running = self.0.cooldowns.get(target).filter(|cooldown| cooldown.until > now);
        if let (Some(cooldown), Some(listener)) = (running, listener.upgrade()) {
            let pause = cooldown.until.saturating_duration_since(now);
            listener.cooled(pause, cooldown.throttles, cooldown.is_quota);
        }
        let mut listeners = self.0.listeners.entry(target.to_owned()).or_default();
        listeners.retain(|known| known.strong_count() > 0);
        listeners.push(listener);
    }

    /// Publishes an event to the other replicas. Does not wait.
    pub fn publish(&self, event: FleetEvent) {
        let _full = self.0.outbox.try_send(event);
    }
}
