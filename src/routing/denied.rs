//! A target's access as requests meet it, and as replicas tell each other of it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::access::{Denial, Standing, Verdict};
use super::target::Target;
use crate::bedrock::{Extras, Operation};
use crate::fleet::{FleetEvent, FleetListener};
use crate::telemetry::OTHER;

impl Target {
    /// The denial for which requests keep away from an operation now.
    pub fn denial(&self, operation: Option<Operation>) -> Option<Denial> {
        let operation = operation.filter(|_| !self.access.is_clean())?;
        // Most targets have denied nothing, and then the clock is not asked.
        let now = Instant::now();
        self.access.with(|access| access.denial(operation, now).cloned())
    }

    /// Whether a request may try an operation: not as long as requests keep away from it, and one at a
    /// time afterwards.
    pub fn may_try(&self, operation: Option<Operation>, now: Instant) -> bool {
        let Some(operation) = operation.filter(|_| !self.access.is_clean()) else { return true };
        self.access.with(|access| access.enter(operation, now))
    }

    /// What is known of operations that were denied.
    pub fn denials(&self) -> Vec<Standing> {
        if self.access.is_clean() {
            return Vec::new();
        }
        self.access.with(|access| access.standings().to_vec())
    }

    /// A request of `client` with these `extras` was denied an operation; if that is confirmed,
    /// requests keep away from it for `pause`.
    pub fn denied(
        &self,
        operation: Operation,
        denial: Denial,
        by: (u64, Extras),
        pause: Duration,
    ) -> Verdict {
        if &*self.name == OTHER {
            // There is no other target for a model that clients choose freely, nor an end of them.
            return Verdict::Suspected;
        }
        let now = Instant::now();
        let verdict = self.access.with(|access| access.denied(operation, denial, by, now, pause));
        if let Verdict::Confirmed(pause) = verdict {
            let (throttles, is_quota) = (0, false);
            self.tell_of(operation, |target| FleetEvent::Cooled {
                target,
                pause,
                throttles,
                is_quota,
            });
        }
        verdict
    }

    /// An operation was answered, so that it is not denied.
    pub(super) fn answered_to(&self, operation: Option<Operation>) {
        let Some(operation) = operation.filter(|_| !self.access.is_clean()) else { return };
        if self.access.with(|access| access.answered(operation)) {
            tracing::info!(target_name = %self.name, operation = operation.name(), "target recovered");
            self.tell_of(operation, |target| FleetEvent::Recovered { target });
        }
    }

    /// Forgets what was denied.
    pub(super) fn forget_denials(&self) {
        for standing in self.denials() {
            self.access.with(|access| access.answered(standing.operation));
        }
    }

    /// Has the other replicas forget it, too.
    pub(super) fn forget_denials_elsewhere(&self) {
        for standing in self.denials().iter().filter(|standing| standing.until.is_some()) {
            self.tell_of(standing.operation, |target| FleetEvent::Recovered { target });
        }
    }

    /// Lets it hear which operations other replicas were denied.
    pub(super) fn follow_denials(self: &Arc<Self>) {
        let Some(fleet) = self.fleet.as_ref().filter(|_| &*self.name != OTHER) else { return };
        let follower =
            |operation| Arc::new(OfOperation { target: Arc::downgrade(self), operation });
        let all = Operation::ALL.into_iter().filter(|operation| operation.is_routed());
        for follower in self.followers.get_or_init(|| all.map(follower).collect()) {
            let name = self.name_of(follower.operation);
            let follower: Weak<OfOperation> = Arc::downgrade(follower);
            fleet.listen(&name, follower);
        }
    }

    /// The name that all replicas know one of its operations by.
    fn name_of(&self, operation: Operation) -> String {
        format!("{}|{}", self.shared_name(), operation.name())
    }

    fn tell_of(&self, operation: Operation, notice: impl FnOnce(String) -> FleetEvent) {
        if let Some(fleet) = &self.fleet {
            fleet.publish(notice(self.name_of(operation)));
        }
    }
}

/// Hears for a target whether other replicas were denied one operation.
#[derive(Debug)]
pub(super) struct OfOperation {
    target: Weak<Target>,
    operation: Operation,
}

impl OfOperation {
    fn forget(&self) {
        if let Some(target) = self.target.upgrade() {
            target.access.with(|access| access.answered(self.operation));
        }
    }
}

impl FleetListener for OfOperation {
    fn cooled(&self, pause: Duration, _: u32, _: bool) {
        let Some(target) = self.target.upgrade() else { return };
        let now = Instant::now();
        target.access.with(|access| access.denied_elsewhere(self.operation, now, pause));
    }

    fn recovered(&self) {
        self.forget();
    }

    fn probe_started(&self) {}

    fn reset(&self) {
        self.forget();
    }
}
