//! Running totals for the status page, and in-process reads of counter families.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::Collector;
use prometheus::proto::Metric;

use super::{Choice, Outcome};

/// Totals over whole families, counted beside them: a family may have a sample for every client,
/// too many to add up every second.
#[derive(Debug, Default)]
pub struct DashboardTotals {
    requests: AtomicU64,
    failed: AtomicU64,
    client_errors: AtomicU64,
    refused: AtomicU64,
    fallbacks: AtomicU64,
    throttles: AtomicU64,
    first_choice: AtomicU64,
    other_choice: AtomicU64,
}

impl DashboardTotals {
    /// Counts a finished request by its outcome.
    pub fn request(&self, outcome: Outcome) {
        count(&self.requests);
        if outcome.is_failure() {
            count(&self.failed);
        } else if outcome != Outcome::Success {
            count(&self.client_errors);
        }
        if matches!(outcome, Outcome::Throttled | Outcome::QueueFull) {
            count(&self.refused);
        }
    }

    /// Counts a finished attempt by its outcome.
    pub fn attempt(&self, outcome: &str) {
        if matches!(outcome, "throttled" | "exhausted") {
            count(&self.throttles);
        }
    }

    /// Counts a move from one target to another.
    pub fn fallback(&self) {
        count(&self.fallbacks);
    }

    /// Counts a complete answer by whose it is.
    pub(super) fn answer(&self, choice: Choice) {
        count(match choice {
            Choice::First => &self.first_choice,
            Choice::Other => &self.other_choice,
        });
    }

    /// Complete answers of models.
    pub fn answered(&self) -> u64 {
        self.first_choice() + self.other_choice.load(Ordering::Relaxed)
    }

    /// Complete answers of the model of the first choice.
    pub fn first_choice(&self) -> u64 {
        self.first_choice.load(Ordering::Relaxed)
    }

    /// Finished requests.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests that failed through no fault of their client.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Requests that the client's own mistake, limit or disconnect ended.
    pub fn client_errors(&self) -> u64 {
        self.client_errors.load(Ordering::Relaxed)
    }

    /// Requests refused for lack of quota.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Moves from one target to another.
    pub fn fallbacks(&self) -> u64 {
        self.fallbacks.load(Ordering::Relaxed)
    }

    /// Throttles by upstreams.
    pub fn throttles(&self) -> u64 {
        self.throttles.load(Ordering::Relaxed)
    }
}

fn count(total: &AtomicU64) {
    total.fetch_add(1, Ordering::Relaxed);
}

/// Visits every sample of a family of counters.
pub fn each_sample(family: &impl Collector, mut visit: impl FnMut(SampleLabels<'_>, f64)) {
    for family in family.collect() {
        for metric in family.get_metric() {
            visit(SampleLabels(metric), metric.get_counter().get_value());
        }
    }
}

/// Visits every sample of a family of gauges.
pub fn each_gauge(family: &impl Collector, mut visit: impl FnMut(SampleLabels<'_>, f64)) {
    for family in family.collect() {
        for metric in family.get_metric() {
            visit(SampleLabels(metric), metric.get_gauge().get_value());
        }
    }
}

/// The labels of a sample.
#[derive(Clone, Copy, Debug)]
pub struct SampleLabels<'a>(&'a Metric);

impl<'a> SampleLabels<'a> {
    /// The value of a label; empty if the sample does not have it.
    pub fn get(self, name: &str) -> &'a str {
        let found = self.0.get_label().iter().find(|label| label.name() == name);
        found.map_or("", |label| label.value())
    }
}
