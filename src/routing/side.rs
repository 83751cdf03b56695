//! The state of a target for the operations beside inference, of which CountTokens is the one with a model.
//!
//! Bedrock throttles and fails them apart from inference: neither state says anything of the other. An
//! operator drains and resets both. Replicas know this state by a name of its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::cooldown::{Cooldown, Policy};
use super::pool::Pool;
use crate::fleet::{Fleet, FleetListener};

/// How long a replica leaves a target to the probe of another that has not told how it went.
pub(super) const PROBE_HOLD: Duration = Duration::from_secs(5);

/// How much later than the replica that met a throttle the others try the target again: at least, and
/// for each replica, so that one of them is mostly the first.
const PROBE_AFTER: Duration = Duration::from_millis(150);
const PROBE_SPREAD: Duration = Duration::from_millis(50);
const MAX_PROBE_SPREAD: Duration = Duration::from_secs(2);

/// The cooldown of one target's side operations.
#[derive(Debug)]
pub(super) struct Side {
    cooldown: Mutex<Cooldown>,
    pool: Arc<Pool>,
    fleet: Option<Fleet>,
}

impl Side {
    pub(super) fn new(policy: Policy, pool: Arc<Pool>, fleet: Option<Fleet>) -> Arc<Side> {
        Arc::new(Side { cooldown: Mutex::new(Cooldown::new(policy)), pool, fleet })
    }

    pub(super) fn cooldown(&self) -> MutexGuard<'_, Cooldown> {
        // Transitions are whole before the lock is let go, so a poisoned state is a valid one.
        self.cooldown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name that all replicas know it by, of the name of its target.
    pub(super) fn shared_name(target: &str) -> String {
        format!("{target}|count-tokens")
    }

    /// Lets it hear what other replicas meet.
    pub(super) fn follow(self: &Arc<Self>, target: &str) {
        if let Some(fleet) = &self.fleet {
            let follower: Weak<Side> = Arc::downgrade(self);
            fleet.listen(&Side::shared_name(target), follower);
        }
    }
}

impl FleetListener for Side {
    fn cooled(&self, pause: Duration, throttles: u32, is_quota: bool) {
        let after = probe_after(self.fleet.as_ref(), pause);
        self.cooldown().cooled_elsewhere(Instant::now(), pause, after, throttles, is_quota);
        self.pool.signal().notify();
    }

    fn recovered(&self) {
        if self.cooldown().recovered_elsewhere(Instant::now()) {
            self.pool.signal().notify();
        }
    }

    fn probe_started(&self) {
        self.cooldown().probed_elsewhere(Instant::now(), PROBE_HOLD);
        self.pool.signal().notify();
    }

    fn reset(&self) {
        self.cooldown().reset();
        self.pool.signal().notify();
    }
}

/// How much later than another replica this one tries again what that one found out for `pause`.
pub(super) fn probe_after(fleet: Option<&Fleet>, pause: Duration) -> Duration {
    let replicas = fleet.map_or(1, |fleet| fleet.status().replicas);
    let spread = (PROBE_SPREAD * replicas).min(MAX_PROBE_SPREAD).mul_f64(fastrand::f64());
    // Short pauses are not made much longer.
    (PROBE_AFTER + spread).min(pause / 2)
}
