//! Series of a metric that are looked up once and kept with what they are about. To look one up
//! takes a hash of all its labels, and most of a request's labels are the same each time.
//!
//! A series is made when it is first counted, as without this: nobody sees one that was not used.

use std::sync::OnceLock;

use prometheus::{Histogram, HistogramVec};

use super::{Metrics, OTHER};
use crate::bedrock::Operation;

/// A label for the requested model, and the times of the requests that have it.
#[derive(Debug)]
pub struct Pattern {
    label: Box<str>,
    /// One for each operation, and one for what is none.
    times: [Times; Operation::ALL.len() + 1],
}

/// Series of one operation.
#[derive(Debug, Default)]
struct Times {
    first_byte: OnceLock<Histogram>,
    duration: OnceLock<Histogram>,
}

impl Pattern {
    /// The pattern with this label.
    pub fn new(label: &str) -> Pattern {
        Pattern { label: label.into(), times: Default::default() }
    }

    /// The label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Notes how many seconds a request took in all, and, if its answer began, until it did.
    pub fn observe(
        &self,
        metrics: &Metrics,
        operation: Option<Operation>,
        duration: f64,
        first_byte: Option<f64>,
    ) {
        let number = operation.map_or(Operation::ALL.len(), |operation| operation as usize);
        let Some(times) = self.times.get(number) else { return };
        let labels = [operation.map_or(OTHER, Operation::name), &self.label];
        let series = |kept: &OnceLock<Histogram>, family: &HistogramVec, seconds| {
            kept.get_or_init(|| family.with_label_values(&labels)).observe(seconds);
        };
        series(&times.duration, &metrics.request_duration, duration);
        if let Some(first_byte) = first_byte {
            series(&times.first_byte, &metrics.time_to_first_byte, first_byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Exposition;

    #[test]
    fn each_operation_has_series_of_its_own_once_it_is_used() {
        let metrics = Metrics::new().unwrap();
        let [one, again] = ["m", "m"].map(Pattern::new);
        let lines = || {
            let (text, _) = metrics.encode(Exposition::Text).unwrap();
            let counts = text.lines().filter(|line| line.contains("seconds_count{"));
            counts.map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(lines().is_empty());
        for operation in Operation::ALL {
            one.observe(&metrics, Some(operation), 1.0, None);
        }
        assert_eq!(lines().len(), Operation::ALL.len(), "none of an answer that did not begin");
        // As after a reload, which makes the pattern anew.
        again.observe(&metrics, Some(Operation::Converse), 1.0, Some(0.5));
        let of_converse: Vec<String> =
            lines().into_iter().filter(|line| line.contains("\"Converse\"")).collect();
        let line = |name: &str, count: u32| {
            format!("sluice_{name}_seconds_count{{model=\"m\",operation=\"Converse\"}} {count}")
        };
        assert_eq!(of_converse, [line("request_duration", 2), line("time_to_first_byte", 1)]);
    }
}
