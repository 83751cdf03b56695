//! How long requests take, by operation and requested model: two histograms for each pair. The API that
//! they are labelled with follows from the operation.
//!
//! Both histograms share one record, whose first cache line holds what most requests count. With
//! many models few records are in any cache, so this saves each request a cache miss. A
//! [`ModelLatency`] keeps the records of its operations, so that they are looked up by label only
//! once. A reload creates it anew.
//!
//! A record is created when something is first counted in it: unused series are not exported.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, Bucket, Metric, MetricFamily, MetricType};
use smallvec::SmallVec;

use super::labels::{LabelId, Labels};
use super::operation_names::Names;
use super::request_counters::{desc, family, pairs};
use super::{Metrics, OTHER};
use crate::bedrock::Operation;

/// Bucket bounds in seconds, from a cached embedding to a model that thinks for a quarter of an
/// hour.
pub(super) const LATENCY_BUCKETS: [f64; 21] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0,
    120.0, 180.0, 300.0, 600.0, 900.0,
];

/// A label for the requested model, and the latencies of the requests that have it.
#[derive(Debug)]
#[repr(C)]
pub struct ModelLatency {
    /// Stored inline as far as it fits.
    label: SmallVec<[u8; 64]>,
    label_id: LabelId,
    /// One for each operation, and one for requests that are not an operation.
    histograms: [OnceLock<Arc<Histograms>>; Operation::ALL.len() + 1],
}

impl ModelLatency {
    /// Creates one with this label.
    pub fn new(label: &str) -> ModelLatency {
        let label = SmallVec::from_slice(label.as_bytes());
        ModelLatency { label, label_id: LabelId::default(), histograms: Default::default() }
    }

    /// The bytes of the label.
    pub fn label(&self) -> &[u8] {
        &self.label
    }

    /// The id of the label.
    pub fn label_id(&self, metrics: &Metrics) -> u32 {
        self.label_id.get(|| String::from_utf8_lossy(&self.label), &metrics.labels)
    }

    /// Records how long a request took in all, and the time to the head of its answer if it had
    /// one.
    pub fn observe(
        &self,
        metrics: &Metrics,
        operation: Option<Operation>,
        duration: Duration,
        first_byte: Option<Duration>,
    ) {
        let index = operation.map_or(Operation::ALL.len(), |operation| operation as usize);
        let Some(cached) = self.histograms.get(index) else { return };
        let histograms =
            cached.get_or_init(|| metrics.latency.get(operation, self.label_id(metrics)));
        histograms.observe(Measure::Duration, duration);
        if let Some(first_byte) = first_byte {
            histograms.observe(Measure::FirstByte, first_byte);
        }
    }
}

/// What a histogram measures.
#[derive(Clone, Copy, Debug)]
pub(super) enum Measure {
    Duration,
    FirstByte,
}

/// The histograms of one operation and model.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct Histograms {
    /// Nanoseconds.
    sums: [AtomicU64; 2],
    /// Observations within each bound and above the one before; the last are above all bounds.
    counts: [[AtomicU64; 2]; LATENCY_BUCKETS.len() + 1],
}

impl Histograms {
    fn observe(&self, measure: Measure, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = LATENCY_BUCKETS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(LATENCY_BUCKETS.len());
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let (Some(sum), Some([duration, first_byte])) =
            (self.sums.get(measure as usize), self.counts.get(bucket))
        {
            sum.fetch_add(nanos, Ordering::Relaxed);
            let count = match measure {
                Measure::Duration => duration,
                Measure::FirstByte => first_byte,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The histogram for export; `None` if it is empty. An observation made meanwhile may be in the
    /// sum and not yet in the count.
    fn export(&self, measure: Measure) -> Option<proto::Histogram> {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(LATENCY_BUCKETS.len());
        let bounds = LATENCY_BUCKETS.iter().map(Some).chain([None]);
        for (bound, [duration, first_byte]) in bounds.zip(&self.counts) {
            let here = match measure {
                Measure::Duration => duration,
                Measure::FirstByte => first_byte,
            };
            count += here.load(Ordering::Relaxed);
            if let Some(bound) = bound {
                let mut bucket = Bucket::default();
                bucket.set_cumulative_count(count);
                bucket.set_upper_bound(*bound);
                buckets.push(bucket);
            }
        }
        let nanos = self.sums.get(measure as usize)?.load(Ordering::Relaxed);
        let mut histogram = proto::Histogram::default();
        histogram.set_sample_count(count);
        histogram.set_sample_sum(Duration::from_nanos(nanos).as_secs_f64());
        histogram.set_bucket(buckets);
        (count > 0).then_some(histogram)
    }
}

/// The histograms of all operations and models, by operation and the model's label id.
#[derive(Debug)]
pub(super) struct LatencyHistograms {
    labels: Arc<Labels>,
    histograms: Mutex<HistogramMap>,
}

type HistogramMap = HashMap<(Option<Operation>, u32), Arc<Histograms>>;

impl LatencyHistograms {
    pub(super) fn new(labels: Arc<Labels>) -> LatencyHistograms {
        LatencyHistograms { labels, histograms: Mutex::default() }
    }

    fn get(&self, operation: Option<Operation>, model: u32) -> Arc<Histograms> {
        Arc::clone(self.histograms.lock().entry((operation, model)).or_default())
    }
}

/// Exports one of the two histograms as a metric family.
#[derive(Clone, Debug)]
pub(super) struct HistogramFamily {
    latency: Arc<LatencyHistograms>,
    desc: Desc,
    measure: Measure,
}

impl HistogramFamily {
    pub(super) fn new(
        latency: &Arc<LatencyHistograms>,
        measure: Measure,
        name: &str,
        help: &str,
    ) -> Result<HistogramFamily, prometheus::Error> {
        let desc = desc(name, help, &["api", "operation", "model"])?;
        Ok(HistogramFamily { latency: Arc::clone(latency), desc, measure })
    }
}

impl Collector for HistogramFamily {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let texts = self.latency.labels.texts();
        let histograms = self.latency.histograms.lock();
        let samples = histograms.iter().filter_map(|((operation, model), histograms)| {
            let Names { api, operation } = Names::in_metrics(*operation);
            let model = texts.get(*model as usize).map_or(OTHER, AsRef::as_ref);
            let labels = [("api", api), ("model", model), ("operation", operation)];
            let mut metric = Metric::from_label(pairs(&labels));
            metric.set_histogram(histograms.export(self.measure)?);
            Some(metric)
        });
        vec![family(&self.desc, MetricType::HISTOGRAM, samples.collect())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_its_own_series_once_it_is_used() {
        let metrics = Metrics::new();
        let [first, reloaded] = ["m", "m"].map(ModelLatency::new);
        let lines = || {
            let text = metrics.encode().unwrap();
            let counts = text.lines().filter(|line| line.contains("seconds_count{"));
            counts.map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(lines().is_empty());
        for operation in Operation::ALL {
            first.observe(&metrics, Some(operation), Duration::from_secs(1), None);
        }
        assert_eq!(lines().len(), Operation::ALL.len(), "no series for answers that did not begin");
        // A reload creates the pattern anew.
        let (took, began) = (Duration::from_secs(1000), Duration::from_millis(500));
        reloaded.observe(&metrics, Some(Operation::Converse), took, Some(began));
        let of_converse: Vec<String> =
            lines().into_iter().filter(|line| line.contains("\"Converse\"")).collect();
        let line = |name: &str, count: u32| {
            format!(
                "sluice_{name}_seconds_count{{api=\"bedrock\",model=\"m\",operation=\"Converse\"}} {count}"
            )
        };
        assert_eq!(of_converse, [line("request_duration", 2), line("time_to_first_byte", 1)]);
        let text = metrics.encode().unwrap();
        for (name, value) in [
            ("request_duration_seconds_sum", "1001"),
            ("time_to_first_byte_seconds_sum", "0.5"),
            ("request_duration_seconds_bucket", "1"),
            ("time_to_first_byte_seconds_bucket", "1"),
        ] {
            let of_converse = "{api=\"bedrock\",model=\"m\",operation=\"Converse\"";
            let bound = if name.ends_with("bucket") { ",le=\"900\"" } else { "" };
            let line = format!("sluice_{name}{of_converse}{bound}}} {value}\n");
            assert!(text.contains(&line), "{line}");
        }
    }
}
