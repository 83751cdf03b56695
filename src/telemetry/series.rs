//! How long requests take, by operation and requested model: two histograms for each pair.
//!
//! Both are one record, and what most requests count in stands at its start, so that of many
//! models, of which few are in any cache, each request has one more line to fetch. A pattern keeps
//! the records of its operations, which are looked up by label but once; a reload makes it anew.
//!
//! A record is made when it is first counted in: nobody sees one that was not used.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, Bucket, Metric, MetricFamily, MetricType};
use smallvec::SmallVec;

use super::labels::{Labels, Number};
use super::tally::{desc, family, pairs};
use super::{Metrics, OTHER};
use crate::bedrock::Operation;

/// Seconds; from a cached embedding to a model that thinks for a quarter of an hour.
pub(super) const LATENCY: [f64; 21] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0,
    120.0, 180.0, 300.0, 600.0, 900.0,
];

/// A label for the requested model, and the times of the requests that have it.
#[derive(Debug)]
#[repr(C)]
pub struct Pattern {
    /// In the record itself, as far as it fits.
    label: SmallVec<[u8; 64]>,
    number: Number,
    /// One for each operation, and one for what is none.
    times: [OnceLock<Arc<Times>>; Operation::ALL.len() + 1],
}

impl Pattern {
    /// The pattern with this label.
    pub fn new(label: &str) -> Pattern {
        let label = SmallVec::from_slice(label.as_bytes());
        Pattern { label, number: Number::default(), times: Default::default() }
    }

    /// The bytes of the label.
    pub fn label(&self) -> &[u8] {
        &self.label
    }

    /// The number of its label.
    pub fn number(&self, metrics: &Metrics) -> u32 {
        self.number.of(|| String::from_utf8_lossy(&self.label), &metrics.labels)
    }

    /// Notes how long a request took in all, and, if its answer began, until it did.
    pub fn observe(
        &self,
        metrics: &Metrics,
        operation: Option<Operation>,
        duration: Duration,
        first_byte: Option<Duration>,
    ) {
        let number = operation.map_or(Operation::ALL.len(), |operation| operation as usize);
        let Some(kept) = self.times.get(number) else { return };
        let times = kept.get_or_init(|| metrics.times.of(operation, self.number(metrics)));
        times.observe(Of::Duration, duration);
        if let Some(first_byte) = first_byte {
            times.observe(Of::FirstByte, first_byte);
        }
    }
}

/// What a histogram is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    Duration,
    FirstByte,
}

/// The histograms of one operation and model.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct Times {
    /// Nanoseconds.
    sums: [AtomicU64; 2],
    /// Those within each bound and above the one before; the last are above all bounds.
    counts: [[AtomicU64; 2]; LATENCY.len() + 1],
}

impl Times {
    fn observe(&self, of: Of, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = LATENCY.iter().position(|bound| seconds <= *bound).unwrap_or(LATENCY.len());
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let (Some(sum), Some([duration, first_byte])) =
            (self.sums.get(of as usize), self.counts.get(place))
        {
            sum.fetch_add(nanos, Ordering::Relaxed);
            let count = match of {
                Of::Duration => duration,
                Of::FirstByte => first_byte,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The histogram as it is told; `None` if it has nothing. One that is counted in meanwhile may
    /// have the request in its sum and not yet in its count.
    fn told(&self, of: Of) -> Option<proto::Histogram> {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(LATENCY.len());
        let bounds = LATENCY.iter().map(Some).chain([None]);
        for (bound, [duration, first_byte]) in bounds.zip(&self.counts) {
            let here = match of {
                Of::Duration => duration,
                Of::FirstByte => first_byte,
            };
            count += here.load(Ordering::Relaxed);
            if let Some(bound) = bound {
                let mut bucket = Bucket::default();
                bucket.set_cumulative_count(count);
                bucket.set_upper_bound(*bound);
                buckets.push(bucket);
            }
        }
        let nanos = self.sums.get(of as usize)?.load(Ordering::Relaxed);
        let mut histogram = proto::Histogram::default();
        histogram.set_sample_count(count);
        histogram.set_sample_sum(Duration::from_nanos(nanos).as_secs_f64());
        histogram.set_bucket(buckets);
        (count > 0).then_some(histogram)
    }
}

/// The times of operations and models, the latter by the number of their label.
type Known = HashMap<(Option<Operation>, u32), Arc<Times>>;

/// The times of all operations and models.
#[derive(Debug)]
pub(super) struct AllTimes {
    labels: Arc<Labels>,
    known: Mutex<Known>,
}

impl AllTimes {
    pub(super) fn new(labels: Arc<Labels>) -> AllTimes {
        AllTimes { labels, known: Mutex::default() }
    }

    fn of(&self, operation: Option<Operation>, pattern: u32) -> Arc<Times> {
        Arc::clone(self.known().entry((operation, pattern)).or_default())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The family of one of the two histograms.
#[derive(Clone, Debug)]
pub(super) struct Told {
    times: Arc<AllTimes>,
    desc: Desc,
    of: Of,
}

impl Told {
    pub(super) fn new(
        times: &Arc<AllTimes>,
        of: Of,
        name: &str,
        help: &str,
    ) -> Result<Told, prometheus::Error> {
        let desc = desc(name, help, &["operation", "model"])?;
        Ok(Told { times: Arc::clone(times), desc, of })
    }
}

impl Collector for Told {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let texts = self.times.labels.texts();
        let known = self.times.known();
        let samples = known.iter().filter_map(|((operation, pattern), times)| {
            let operation = operation.map_or(OTHER, Operation::name);
            let model = texts.get(*pattern as usize).map_or(OTHER, AsRef::as_ref);
            let mut metric =
                Metric::from_label(pairs(&[("model", model), ("operation", operation)]));
            metric.set_histogram(times.told(self.of)?);
            Some(metric)
        });
        vec![family(&self.desc, MetricType::HISTOGRAM, samples.collect())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_series_of_its_own_once_it_is_used() {
        let metrics = Metrics::new();
        let [one, again] = ["m", "m"].map(Pattern::new);
        let lines = || {
            let text = metrics.encode().unwrap();
            let counts = text.lines().filter(|line| line.contains("seconds_count{"));
            counts.map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(lines().is_empty());
        for operation in Operation::ALL {
            one.observe(&metrics, Some(operation), Duration::from_secs(1), None);
        }
        assert_eq!(lines().len(), Operation::ALL.len(), "none of an answer that did not begin");
        // As after a reload, which makes the pattern anew.
        let (took, began) = (Duration::from_secs(1000), Duration::from_millis(500));
        again.observe(&metrics, Some(Operation::Converse), took, Some(began));
        let of_converse: Vec<String> =
            lines().into_iter().filter(|line| line.contains("\"Converse\"")).collect();
        let line = |name: &str, count: u32| {
            format!("sluice_{name}_seconds_count{{model=\"m\",operation=\"Converse\"}} {count}")
        };
        assert_eq!(of_converse, [line("request_duration", 2), line("time_to_first_byte", 1)]);
        let text = metrics.encode().unwrap();
        for (name, value) in [
            ("request_duration_seconds_sum", "1001"),
            ("time_to_first_byte_seconds_sum", "0.5"),
            ("request_duration_seconds_bucket", "1"),
            ("time_to_first_byte_seconds_bucket", "1"),
        ] {
            let of_converse = "{model=\"m\",operation=\"Converse\"";
            let bound = if name.ends_with("bucket") { ",le=\"900\"" } else { "" };
            let line = format!("sluice_{name}{of_converse}{bound}}} {value}\n");
            assert!(text.contains(&line), "{line}");
        }
    }
}
