//! Counts of the last hour, in steps of ten seconds.
//!
//! The counts come from totals that are counted with the metrics, so that both agree. What is no count,
//! such as the length of the queue, is sampled every second, and a step has its peak.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::limits::usd;
use crate::pipeline::{Gateway, SharedGateway};
use crate::telemetry::dashboard_totals::DashboardTotals;
use crate::telemetry::{Metrics, OTHER, UsageSum};

/// The length of a step.
pub(super) const STEP: Duration = Duration::from_secs(10);

/// Time between two samples of the queue, and the samples of a step.
const SAMPLE: Duration = Duration::from_secs(1);
const SAMPLES: u64 = STEP.as_secs() / SAMPLE.as_secs();

/// Steps of an hour.
const STEPS: usize = 360;

/// Steps of a minute.
const MINUTE: usize = 6;

/// Clients whose requests a step keeps by client: those with the most.
const CLIENTS_OF_STEP: usize = 20;

/// Clients whose requests are shown over the hour: those with the most.
const CLIENTS_SHOWN: usize = 6;

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Counts {
    /// Requests that ended.
    requests: u64,
    /// Requests that failed through no fault of their client.
    failed: u64,
    /// Requests that the client's own mistake, limit or disconnect ended.
    client_errors: u64,
    /// Requests that were refused for want of quota.
    refused: u64,
    /// Moves from one target to another.
    fallbacks: u64,
    /// Attempts that the upstream throttled.
    throttles: u64,
    /// Complete answers of models.
    answered: u64,
    /// Those of the model of the first choice.
    first_choice: u64,
}

impl Counts {
    /// The totals now.
    pub(super) fn now(totals: &DashboardTotals) -> Counts {
        Counts {
            requests: totals.requests(),
            failed: totals.failed(),
            client_errors: totals.client_errors(),
            refused: totals.refused(),
            fallbacks: totals.fallbacks(),
            throttles: totals.throttles(),
            answered: totals.answered(),
            first_choice: totals.first_choice(),
        }
    }

    fn since(self, before: Counts) -> Counts {
        let since = |now: u64, before: u64| now.saturating_sub(before);
        Counts {
            requests: since(self.requests, before.requests),
            failed: since(self.failed, before.failed),
            client_errors: since(self.client_errors, before.client_errors),
            refused: since(self.refused, before.refused),
            fallbacks: since(self.fallbacks, before.fallbacks),
            throttles: since(self.throttles, before.throttles),
            answered: since(self.answered, before.answered),
            first_choice: since(self.first_choice, before.first_choice),
        }
    }
}

/// The queue, and its peak within a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct QueueSample {
    /// Requests in the queue.
    waiting: i64,
    /// Milliseconds that the oldest of them has waited.
    oldest_wait_ms: u64,
}

impl QueueSample {
    fn now(gateway: &Gateway) -> QueueSample {
        let oldest = gateway.queue_limits.oldest_wait(Instant::now()).unwrap_or_default();
        QueueSample {
            waiting: gateway.metrics.queue_waiting.get(),
            oldest_wait_ms: u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn peak(self, other: QueueSample) -> QueueSample {
        QueueSample {
            waiting: self.waiting.max(other.waiting),
            oldest_wait_ms: self.oldest_wait_ms.max(other.oldest_wait_ms),
        }
    }
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Step {
    #[serde(flatten)]
    counts: Counts,
    #[serde(flatten)]
    queue: QueueSample,
    /// The cost of the answers that ended, as far as their prices are known.
    cost_usd: f64,
    /// The busiest clients, by label id.
    #[serde(skip)]
    clients: Vec<(u32, RecentUse)>,
}

/// What a client has used in a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RecentUse {
    /// Requests that ended.
    pub(super) requests: u64,
    /// Their tokens of all kinds.
    pub(super) tokens: u64,
}

impl RecentUse {
    fn of(sum: &UsageSum) -> RecentUse {
        RecentUse { requests: sum.requests, tokens: sum.tokens() }
    }

    fn since(self, before: RecentUse) -> RecentUse {
        RecentUse {
            requests: self.requests.saturating_sub(before.requests),
            tokens: self.tokens.saturating_sub(before.tokens),
        }
    }

    fn add(&mut self, other: RecentUse) {
        self.requests += other.requests;
        self.tokens += other.tokens;
    }
}

/// What the clients have used in the last minute, by label id.
#[derive(Debug, Default)]
pub(super) struct Recent(HashMap<u32, RecentUse>);

impl Recent {
    pub(super) fn of(&self, client: u32) -> RecentUse {
        self.0.get(&client).copied().unwrap_or_default()
    }
}

/// The requests of one client in each step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct ClientSteps {
    name: String,
    requests: Vec<u64>,
}

/// The steps of the last hour, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<Steps>);

#[derive(Debug, Default)]
struct Steps {
    /// The number of steps since the start.
    count: u64,
    kept: VecDeque<Step>,
    before: Counts,
    before_cost: u64,
    before_clients: HashMap<u32, RecentUse>,
}

impl History {
    /// Adds a step every ten seconds. Never returns.
    pub(super) async fn follow(&self, shared_gateway: &SharedGateway) {
        let mut samples = interval(SAMPLE);
        samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick comes at once.
        samples.tick().await;
        loop {
            let mut peak = QueueSample::default();
            for _ in 0..SAMPLES {
                samples.tick().await;
                peak = peak.peak(QueueSample::now(&shared_gateway.load()));
            }
            let metrics = Arc::clone(&shared_gateway.load().metrics);
            self.step(&metrics, peak);
        }
    }

    fn step(&self, metrics: &Metrics, queue: QueueSample) {
        let now = Counts::now(&metrics.totals);
        let sums = metrics.request_counters.by_client();
        let cost = sums.values().map(|sum| sum.cost).sum::<u64>();
        let clients: HashMap<u32, RecentUse> =
            sums.iter().map(|(client, sum)| (*client, RecentUse::of(sum))).collect();
        let mut steps = self.0.lock();
        let before = |client| steps.before_clients.get(client).copied().unwrap_or_default();
        let mut busy: Vec<(u32, RecentUse)> = clients
            .iter()
            .map(|(client, used)| (*client, used.since(before(client))))
            .filter(|(_, used)| used.requests > 0)
            .collect();
        busy.sort_by_key(|(client, used)| (std::cmp::Reverse(used.requests), *client));
        busy.truncate(CLIENTS_OF_STEP);
        let step = Step {
            counts: now.since(steps.before),
            queue,
            cost_usd: usd(cost.saturating_sub(steps.before_cost)),
            clients: busy,
        };
        (steps.before, steps.before_cost, steps.before_clients) = (now, cost, clients);
        if steps.kept.len() >= STEPS {
            steps.kept.pop_front();
        }
        steps.kept.push_back(step);
        steps.count += 1;
    }

    /// The number of steps since the start.
    pub(super) fn count(&self) -> u64 {
        self.0.lock().count
    }

    /// The steps, the oldest first.
    pub(super) fn all(&self) -> Vec<Step> {
        self.0.lock().kept.iter().cloned().collect()
    }

    /// What the clients have used in the last minute.
    pub(super) fn last_minute(&self) -> Recent {
        Recent(sum_clients(self.0.lock().kept.iter().rev().take(MINUTE)))
    }

    /// The clients with the most requests of the hour, with the requests of each step.
    pub(super) fn clients(&self, metrics: &Metrics) -> Vec<ClientSteps> {
        let names = metrics.labels.texts();
        let steps = self.0.lock();
        let mut sums: Vec<(u32, RecentUse)> = sum_clients(steps.kept.iter()).into_iter().collect();
        sums.sort_by_key(|(client, used)| (std::cmp::Reverse(used.requests), *client));
        sums.truncate(CLIENTS_SHOWN);
        let shown = sums.into_iter().map(|(client, _)| {
            let requests = |step: &Step| {
                let found = step.clients.iter().find(|(known, _)| *known == client);
                found.map_or(0, |(_, used)| used.requests)
            };
            ClientSteps {
                name: names.get(client as usize).map_or(OTHER, AsRef::as_ref).to_owned(),
                requests: steps.kept.iter().map(requests).collect(),
            }
        });
        shown.collect()
    }
}

fn sum_clients<'a>(steps: impl Iterator<Item = &'a Step>) -> HashMap<u32, RecentUse> {
    let mut sums = HashMap::<u32, RecentUse>::new();
    for (client, used) in steps.flat_map(|step| &step.clients) {
        sums.entry(*client).or_default().add(*used);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Outcome, RequestLabels};

    fn ended(metrics: &Metrics, client: &str, outcome: Outcome) {
        let client = metrics.labels.id(client);
        let labels = RequestLabels { operation: None, requested: metrics.other, client, outcome };
        metrics.request_counters.count(&labels, None);
        metrics.totals.request(outcome);
    }

    fn requests(history: &History) -> Vec<u64> {
        history.all().iter().map(|step| step.counts.requests).collect()
    }

    #[test]
    fn a_step_counts_since_the_previous_step_and_an_hour_is_kept() {
        let (history, metrics) = (History::default(), Metrics::new());
        let step = |ends: usize| {
            (0..ends).for_each(|_| ended(&metrics, "a", Outcome::Success));
            history.step(&metrics, QueueSample::default());
        };
        step(5);
        step(2);
        assert_eq!(requests(&history), [5, 2]);
        (0..STEPS).for_each(|_| step(0));
        assert_eq!(requests(&history), vec![0; STEPS]);
        assert_eq!(history.count(), STEPS as u64 + 2);
    }

    #[test]
    fn failures_and_the_clients_own_errors_are_counted_separately() {
        let totals = DashboardTotals::default();
        let outcomes = [
            (Outcome::Success, 3),
            (Outcome::Throttled, 2),
            (Outcome::StreamBroken, 1),
            (Outcome::ClientGone, 4),
        ];
        for (outcome, times) in outcomes {
            (0..times).for_each(|_| totals.request(outcome));
        }
        for outcome in ["throttled", "exhausted", "success"] {
            totals.attempt(outcome);
        }
        totals.fallback();
        let wanted = Counts {
            requests: 10,
            failed: 3,
            client_errors: 4,
            refused: 2,
            fallbacks: 1,
            throttles: 2,
            ..Counts::default()
        };
        assert_eq!(Counts::now(&totals), wanted);
    }

    #[test]
    fn the_requests_of_a_client_are_known_for_each_step_and_for_the_last_minute() {
        let (history, metrics) = (History::default(), Metrics::new());
        for (a, b) in [(1, 0), (2, 3), (0, 1), (0, 0), (0, 0), (0, 0), (0, 4)] {
            (0..a).for_each(|_| ended(&metrics, "a", Outcome::Success));
            (0..b).for_each(|_| ended(&metrics, "b", Outcome::Success));
            history.step(&metrics, QueueSample::default());
        }
        let steps = |name: &str, requests: [u64; 7]| ClientSteps {
            name: name.to_owned(),
            requests: requests.to_vec(),
        };
        let wanted = [steps("b", [0, 3, 1, 0, 0, 0, 4]), steps("a", [1, 2, 0, 0, 0, 0, 0])];
        assert_eq!(history.clients(&metrics), wanted);
        let recent = history.last_minute();
        assert_eq!(recent.of(metrics.labels.id("a")).requests, 2);
        assert_eq!(recent.of(metrics.labels.id("b")).requests, 8);
    }

    #[test]
    fn the_clients_of_the_hour_are_bounded() {
        let (history, metrics) = (History::default(), Metrics::new());
        for client in 0..100 {
            ended(&metrics, &format!("client-{client}"), Outcome::Success);
        }
        history.step(&metrics, QueueSample::default());
        assert_eq!(history.all()[0].clients.len(), CLIENTS_OF_STEP);
        assert_eq!(history.clients(&metrics).len(), CLIENTS_SHOWN);
    }

    #[test]
    fn a_step_has_the_peak_of_the_queue() {
        let samples = [(1, 500), (3, 200), (0, 0)];
        let samples =
            samples.map(|(waiting, oldest_wait_ms)| QueueSample { waiting, oldest_wait_ms });
        let peak = samples.into_iter().fold(QueueSample::default(), QueueSample::peak);
        assert_eq!(peak, QueueSample { waiting: 3, oldest_wait_ms: 500 });
    }
}
