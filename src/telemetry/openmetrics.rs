//! Metric families as OpenMetrics 1.0, which the `prometheus` crate does not write itself.
//!
//! It differs from Prometheus' older text in what this file is about: a counter's family has no
//! `_total` and its samples always do, a family may name its unit, bounds of buckets are written as
//! floating-point numbers, and the end is marked, so that a text that broke off is not taken for a
//! whole one. Exemplars, times of creation and native histograms are not in the families that the
//! crate gathers, so they are not here.
//!
//! Source: <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>.

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

/// The content type of what [`encode`] writes.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Units that a family's name may end with. The specification has no list; these are the base units
/// that Prometheus recommends and the gateway uses.
const UNITS: [&str; 3] = ["seconds", "bytes", "ratio"];

/// The families as text.
///
/// # Errors
/// When a family is neither a counter nor a gauge nor a histogram.
pub(super) fn encode(families: &[MetricFamily]) -> Result<String, prometheus::Error> {
    let mut text = Text(String::with_capacity(64 * 1024));
    for family in families {
        text.family(family)?;
    }
    text.0.push_str("# EOF\n");
    Ok(text.0)
}

/// The name of a family: that of its samples, of a counter without `_total`.
fn name_of(family: &MetricFamily) -> &str {
    let name = family.name();
    match family.get_field_type() {
        MetricType::COUNTER => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    }
}

struct Text(String);

impl Text {
    fn family(&mut self, family: &MetricFamily) -> Result<(), prometheus::Error> {
        let (name, kind) = (name_of(family), family.get_field_type());
        let kind_name = match kind {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            MetricType::SUMMARY | MetricType::UNTYPED => {
                return Err(prometheus::Error::Msg(format!("{name} is of no kind that is known")));
            }
        };
        self.about("TYPE", name, kind_name);
        let has_unit =
            |unit: &&&str| name.strip_suffix(**unit).is_some_and(|before| before.ends_with('_'));
        if let Some(unit) = UNITS.iter().find(has_unit) {
            self.about("UNIT", name, unit);
        }
        self.about("HELP", name, family.help());
        for metric in family.get_metric() {
            match kind {
                MetricType::COUNTER => {
                    self.sample(name, "_total", metric, None, metric.get_counter().value());
                }
                MetricType::GAUGE => {
                    self.sample(name, "", metric, None, metric.get_gauge().value());
                }
                _ => self.histogram(name, metric),
            }
        }
        Ok(())
    }

    fn about(&mut self, what: &str, name: &str, text: &str) {
        self.all(["# ", what, " ", name, " "]);
        self.escaped(text);
        self.0.push('\n');
    }

    fn histogram(&mut self, name: &str, metric: &Metric) {
        let histogram = metric.get_histogram();
        let count = histogram.get_sample_count() as f64;
        for bucket in histogram.get_bucket() {
            let bound = bucket.upper_bound();
            if bound.is_finite() {
                let bound =
                    if bound.fract() == 0.0 { format!("{bound:.1}") } else { bound.to_string() };
                let within = bucket.cumulative_count() as f64;
                self.sample(name, "_bucket", metric, Some(("le", &bound)), within);
            }
        }
        self.sample(name, "_bucket", metric, Some(("le", "+Inf")), count);
        self.sample(name, "_sum", metric, None, histogram.get_sample_sum());
        self.sample(name, "_count", metric, None, count);
    }

    fn sample(
        &mut self,
        name: &str,
        suffix: &str,
        metric: &Metric,
        bound: Option<(&str, &str)>,
        value: f64,
    ) {
        self.all([name, suffix]);
        let labels = metric.get_label().iter().map(|it: &LabelPair| (it.name(), it.value()));
        let mut before = '{';
        for (label, value) in labels.chain(bound) {
            self.0.push(before);
            self.all([label, "=\""]);
            self.escaped(value);
            self.0.push('"');
            before = ',';
        }
        if before == ',' {
            self.0.push('}');
        }
        self.0.push(' ');
        match value {
            f64::INFINITY => self.0.push_str("+Inf"),
            f64::NEG_INFINITY => self.0.push_str("-Inf"),
            _ => self.0.push_str(&value.to_string()),
        }
        self.0.push('\n');
    }

    fn all<const N: usize>(&mut self, parts: [&str; N]) {
        self.0.extend(parts);
    }

    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                other => self.0.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::core::Collector;
    use prometheus::{CounterVec, Gauge, Histogram, HistogramOpts, IntCounter, Opts};

    use super::*;

    fn text_of(collector: &impl Collector) -> String {
        encode(&collector.collect()).unwrap()
    }

    #[test]
    fn a_counters_family_is_named_without_total_and_its_samples_with_it() {
        for name in ["sluice_things_total", "sluice_things"] {
            let counter = IntCounter::new(name, "Things.").unwrap();
            counter.inc_by(3);
            assert_eq!(
                text_of(&counter),
                "# TYPE sluice_things counter\n# HELP sluice_things Things.\n\
                 sluice_things_total 3\n# EOF\n"
            );
        }
    }

    #[test]
    fn a_unit_is_told_where_the_name_ends_with_it() {
        let told = |name: &str| {
            let text = text_of(&Gauge::new(name, "Help.").unwrap());
            text.lines().find_map(|line| line.strip_prefix("# UNIT ").map(str::to_owned))
        };
        assert_eq!(told("wait_seconds").as_deref(), Some("wait_seconds seconds"));
        assert_eq!(told("seconds_waited"), None);
        assert_eq!(told("milliseconds"), None);
    }

    #[test]
    fn buckets_have_bounds_that_are_floating_point_numbers_and_end_with_infinity() {
        let opts = HistogramOpts::new("wait_seconds", "Wait.").buckets(vec![0.000_05, 0.5, 20.0]);
        let histogram = Histogram::with_opts(opts).unwrap();
        [0.1, 3.0, 100.0].into_iter().for_each(|it| histogram.observe(it));
        assert_eq!(
            text_of(&histogram),
            "# TYPE wait_seconds histogram\n# UNIT wait_seconds seconds\n# HELP wait_seconds Wait.\n\
             wait_seconds_bucket{le=\"0.00005\"} 0\nwait_seconds_bucket{le=\"0.5\"} 1\n\
             wait_seconds_bucket{le=\"20.0\"} 2\nwait_seconds_bucket{le=\"+Inf\"} 3\n\
             wait_seconds_sum 103.1\nwait_seconds_count 3\n# EOF\n"
        );
    }

    #[test]
    fn what_would_end_a_value_is_escaped() {
        let counters =
            CounterVec::new(Opts::new("c_total", "A \\ and a \"quote\".\nNext."), &["x", "y"]);
        let counters = counters.unwrap();
        counters.with_label_values(&["a\"b\\c\nd", "ü"]).inc_by(0.25);
        assert_eq!(
            text_of(&counters),
            "# TYPE c counter\n# HELP c A \\\\ and a \\\"quote\\\".\\nNext.\n\
             c_total{x=\"a\\\"b\\\\c\\nd\",y=\"ü\"} 0.25\n# EOF\n"
        );
    }

    #[test]
    fn numbers_that_are_none_have_their_names() {
        let gauge = Gauge::new("g", "Help.").unwrap();
        for (value, written) in [
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
            (-1.5, "-1.5"),
        ] {
            gauge.set(value);
            assert_eq!(
                text_of(&gauge),
                format!("# TYPE g gauge\n# HELP g Help.\ng {written}\n# EOF\n")
            );
        }
    }
}
