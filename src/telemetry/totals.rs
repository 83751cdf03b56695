//! Sums over metric families, for who wants totals and not samples.

use prometheus::core::Collector;
use prometheus::proto::Metric;

/// The sum of the samples of a family of counters that `counts` accepts by their labels.
pub fn total(family: &impl Collector, counts: impl Fn(Labels<'_>) -> bool) -> f64 {
    let mut sum = 0.0;
    each(family, |labels, value| {
        if counts(labels) {
            sum += value;
        }
    });
    sum
}

/// Shows every sample of a family of counters.
pub fn each(family: &impl Collector, mut show: impl FnMut(Labels<'_>, f64)) {
    for family in family.collect() {
        for metric in family.get_metric() {
            show(Labels(metric), metric.get_counter().value());
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
