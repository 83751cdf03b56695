//! The samples of a metric family, for who wants to see them here, and the sums of some.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::Collector;
use prometheus::proto::Metric;

use super::access_log::SUCCESS;

/// Sums over families, counted beside them: a family may have as many samples as there are
/// clients, too many to add up again and again.
#[derive(Debug, Default)]
pub struct Sums {
    requests: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    fallbacks: AtomicU64,
    throttles: AtomicU64,
}

impl Sums {
    /// Counts a request that ended so.
    pub fn request(&self, outcome: &str) {
        count(&self.requests);
        if outcome != SUCCESS {
            count(&self.failed);
        }
        if matches!(outcome, "throttled" | "queue_full") {
            count(&self.refused);
        }
    }

    /// Counts an attempt that came to this.
    pub fn attempt(&self, outcome: &str) {
        if matches!(outcome, "throttled" | "exhausted") {
            count(&self.throttles);
        }
    }

    /// Counts a move from one target to another.
    pub fn fallback(&self) {
        count(&self.fallbacks);
    }

    /// Requests that ended.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Those that were not answered whole.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Those that were refused for want of quota.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Moves from one target to another.
    pub fn fallbacks(&self) -> u64 {
        self.fallbacks.load(Ordering::Relaxed)
    }

    /// Throttles of upstreams.
    pub fn throttles(&self) -> u64 {
        self.throttles.load(Ordering::Relaxed)
    }
}

fn count(sum: &AtomicU64) {
    sum.fetch_add(1, Ordering::Relaxed);
}

/// Shows every sample of a family of counters.
pub fn each(family: &impl Collector, mut show: impl FnMut(Labels<'_>, f64)) {
    for family in family.collect() {
        for metric in family.get_metric() {
            show(Labels(metric), metric.get_counter().get_value());
        }
    }
}

/// The labels of a sample.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a>(&'a Metric);

impl<'a> Labels<'a> {
    /// The value of a label; empty if there is none.
    pub fn get(self, name: &str) -> &'a str {
        let found = self.0.get_label().iter().find(|label| label.name() == name);
        found.map_or("", |label| label.value())
    }
}
