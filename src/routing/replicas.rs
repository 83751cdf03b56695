//! What replicas share about a target: cooldowns of inference and of CountTokens, and denied operations.
//!
//! Each of these has a name of its own in the fleet, its [`Topic`]. A target publishes its changes under that
//! name, and a [`TopicListener`] applies those of other replicas.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::MutexGuard;
use tokio::time::Instant;

use super::cooldown::{Cooldown, State};
use super::demand::QuotaDemand;
use super::target::{Target, shared_name};
use crate::bedrock::Operation;
use crate::fleet::{FleetEvent, FleetListener};
use crate::telemetry::OTHER;

/// How long a replica leaves a target to the probe of another that has not reported its outcome.
const PROBE_HOLD: Duration = Duration::from_secs(5);

/// How much later than the replica that was throttled the others probe the target: at least, and with each
/// replica, so that usually one of them is first.
const PROBE_DELAY: Duration = Duration::from_millis(150);
const PROBE_SPREAD: Duration = Duration::from_millis(50);
const MAX_PROBE_SPREAD: Duration = Duration::from_secs(2);

/// What an event about a target is about.
#[derive(Clone, Copy, Debug)]
enum Topic {
    /// The cooldown of inference.
    Inference,
    /// The cooldown of CountTokens.
    CountTokens,
    /// Whether the target denies an operation.
    Access(Operation),
}

impl Target {
    /// The name that all replicas know it by.
    pub fn shared_name(&self) -> String {
        shared_name(&self.name, &self.endpoint.region, &self.model)
    }

    /// Applies what other replicas experience at it. Called once, when the target is built.
    pub fn listen(self: &Arc<Self>) {
        let Some(fleet) = &self.fleet else { return };
        let mut topics = vec![Topic::Inference, Topic::CountTokens];
        if &*self.name != OTHER {
            let routed = Operation::ALL.into_iter().filter(|operation| operation.is_routed());
            topics.extend(routed.map(Topic::Access));
        }
        let listeners: Box<[_]> = topics
            .into_iter()
            .map(|topic| {
                let target = Arc::downgrade(self);
                let listener: Arc<dyn FleetListener> = Arc::new(TopicListener { target, topic });
                fleet.listen(&self.topic_name(topic), Arc::downgrade(&listener));
                listener
            })
            .collect();
        let _first = self.listeners.set(listeners);
    }

    /// Publishes a change of the cooldown that counts for this demand.
    pub(super) fn publish(&self, demand: QuotaDemand, event: impl FnOnce(String) -> FleetEvent) {
        let is_count_tokens = demand.is_count_tokens();
        let topic = if is_count_tokens { Topic::CountTokens } else { Topic::Inference };
        self.publish_on(topic, event);
    }

    /// Publishes the cooldown that has just begun.
    pub(super) fn publish_cooldown(&self, demand: QuotaDemand, now: Instant) {
        if self.fleet.is_none() {
            return;
        }
        let (state, throttles, is_quota) = {
            let cooldown = self.cooldown_for(demand);
            (cooldown.state(now), cooldown.throttles(), cooldown.is_out_of_quota())
        };
        if let State::Cooling(until) = state {
            let pause = until.saturating_duration_since(now);
            self.publish(demand, |target| FleetEvent::Cooled {
                target,
                pause,
                throttles,
                is_quota,
            });
        }
    }

    /// Publishes a change of an operation's access.
    pub(super) fn publish_access(
        &self,
        operation: Operation,
        event: impl FnOnce(String) -> FleetEvent,
    ) {
        self.publish_on(Topic::Access(operation), event);
    }

    /// Publishes a reset of both cooldowns.
    pub(super) fn publish_reset(&self) {
        for topic in [Topic::Inference, Topic::CountTokens] {
            self.publish_on(topic, |target| FleetEvent::TargetReset { target });
        }
    }

    fn publish_on(&self, topic: Topic, event: impl FnOnce(String) -> FleetEvent) {
        if let Some(fleet) = &self.fleet {
            fleet.publish(event(self.topic_name(topic)));
        }
    }

    /// The name of a topic. All versions that run in one fleet must agree on it.
    fn topic_name(&self, topic: Topic) -> String {
        let name = self.shared_name();
        match topic {
            Topic::Inference => name,
            Topic::CountTokens => format!("{name}|count-tokens"),
            Topic::Access(operation) => format!("{name}|{}", operation.name()),
        }
    }

    /// How much later than another replica this one probes after a cooldown of `pause`.
    fn probe_delay(&self, pause: Duration) -> Duration {
        let replicas = self.fleet.as_ref().map_or(1, |fleet| fleet.status().replicas);
        let spread = (PROBE_SPREAD * replicas).min(MAX_PROBE_SPREAD).mul_f64(fastrand::f64());
        // Short pauses are not made much longer.
        (PROBE_DELAY + spread).min(pause / 2)
    }
}

/// Applies to a target what other replicas publish about one topic.
#[derive(Debug)]
struct TopicListener {
    target: Weak<Target>,
    topic: Topic,
}

impl TopicListener {
    /// The cooldown that the topic is about, if it is about one.
    fn cooldown<'a>(&self, target: &'a Target) -> Option<MutexGuard<'a, Cooldown>> {
        match self.topic {
            Topic::Inference => Some(target.cooldown()),
            Topic::CountTokens => Some(target.count_tokens_cooldown()),
            Topic::Access(_) => None,
        }
    }
}

impl FleetListener for TopicListener {
    fn cooled(&self, pause: Duration, throttles: u32, is_quota: bool) {
        let Some(target) = self.target.upgrade() else { return };
        let now = Instant::now();
        if let Topic::Access(operation) = self.topic {
            target.denied_elsewhere(operation, pause, now);
            return;
        }
        let delay = target.probe_delay(pause);
        if let Some(mut cooldown) = self.cooldown(&target) {
            cooldown.cooled_elsewhere(now, pause, delay, throttles, is_quota);
        }
        target.signal().notify();
    }

    fn recovered(&self) {
        let Some(target) = self.target.upgrade() else { return };
        if let Topic::Access(operation) = self.topic {
            target.forget_denial(operation);
            return;
        }
        let is_changed = self
            .cooldown(&target)
            .is_some_and(|mut cooldown| cooldown.recovered_elsewhere(Instant::now()));
        if is_changed {
            target.signal().notify();
        }
    }

    fn probe_started(&self) {
        let Some(target) = self.target.upgrade() else { return };
        let Some(mut cooldown) = self.cooldown(&target) else { return };
        cooldown.probed_elsewhere(Instant::now(), PROBE_HOLD);
        drop(cooldown);
        target.signal().notify();
    }

    fn reset(&self) {
        let Some(target) = self.target.upgrade() else { return };
        match self.topic {
            Topic::Inference => target.reset(),
            Topic::CountTokens => {
                target.count_tokens_cooldown().reset();
                target.signal().notify();
            }
            Topic::Access(operation) => target.forget_denial(operation),
        }
    }
}
