//! Denied operations of a target in use: what requests ask and report.

use std::time::Duration;

use tokio::time::Instant;

use super::access::{Denial, DeniedOperation, Verdict};
use super::target::Target;
use crate::bedrock::{Extras, Operation};
use crate::fleet::FleetEvent;
use crate::telemetry::OTHER;

impl Target {
    /// The denial for which requests avoid an operation now.
    pub fn denial(&self, operation: Option<Operation>) -> Option<Denial> {
        let operation = operation.filter(|_| !self.access.is_clean())?;
        // Most targets deny nothing; for those the clock is not read.
        let now = Instant::now();
        self.access.with(|access| access.denial(operation, now).cloned())
    }

    /// Whether a request may try an operation: not while requests avoid it, and one at a time afterwards.
    pub fn may_try(&self, operation: Option<Operation>, now: Instant) -> bool {
        let Some(operation) = operation.filter(|_| !self.access.is_clean()) else { return true };
        self.access.with(|access| access.try_operation(operation, now))
    }

    /// The operations that were denied.
    pub fn denials(&self) -> Vec<DeniedOperation> {
        if self.access.is_clean() {
            return Vec::new();
        }
        self.access.with(|access| access.operations().to_vec())
    }

    /// Records that a request of this client, with these extras, was denied an operation. If that is confirmed,
    /// requests avoid the operation for `pause`.
    pub fn denied(
        &self,
        operation: Operation,
        denial: Denial,
        by: (u64, Extras),
        pause: Duration,
    ) -> Verdict {
        if &*self.name == OTHER {
            // A model without a route has no other target, and clients may name any number of such models.
            return Verdict::Suspected;
        }
        let now = Instant::now();
        let verdict = self.access.with(|access| access.denied(operation, denial, by, now, pause));
        if let Verdict::Confirmed(pause) = verdict {
            let (throttles, is_quota) = (0, false);
            self.publish_access(operation, |target| FleetEvent::Cooled {
                target,
                pause,
                throttles,
                is_quota,
            });
        }
        verdict
    }

    /// An operation has succeeded, so it is not denied.
    pub(super) fn record_success(&self, operation: Option<Operation>) {
        let Some(operation) = operation.filter(|_| !self.access.is_clean()) else { return };
        if self.access.with(|access| access.record_success(operation)) {
            tracing::info!(target_name = %self.name, operation = operation.name(), "target recovered");
            self.publish_access(operation, |target| FleetEvent::Recovered { target });
        }
    }

    /// Forgets all denials.
    pub(super) fn forget_denials(&self) {
        for denied in self.denials() {
            self.forget_denial(denied.operation);
        }
    }

    /// Forgets that an operation was denied.
    pub(super) fn forget_denial(&self, operation: Operation) {
        self.access.with(|access| access.record_success(operation));
    }

    /// Has the other replicas forget the denials.
    pub(super) fn publish_forgotten_denials(&self) {
        for denied in self.denials().iter().filter(|denied| denied.until.is_some()) {
            self.publish_access(denied.operation, |target| FleetEvent::Recovered { target });
        }
    }

    /// Another replica has confirmed that an operation is denied.
    pub(super) fn denied_elsewhere(&self, operation: Operation, pause: Duration, now: Instant) {
        self.access.with(|access| access.denied_elsewhere(operation, now, pause));
    }
}
