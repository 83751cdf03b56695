//! Which targets answered in place of which others, and why, since the start.

use serde::Serialize;

use crate::telemetry::Metrics;
use crate::telemetry::dashboard_totals::each_sample;

/// The number of entries shown: those with the highest counts.
const MAX_SHOWN: usize = 30;

/// Requests that went from one target to another for one reason, as in `sluice_fallbacks_total`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct FallbackCount {
    from: String,
    to: String,
    reason: String,
    count: u64,
}

/// The most frequent fallbacks.
pub(super) fn fallback_counts(metrics: &Metrics) -> Vec<FallbackCount> {
    let mut counts = Vec::new();
    each_sample(&metrics.fallbacks, |labels, count| {
        let text = |name| labels.get(name).to_owned();
        counts.push(FallbackCount {
            from: text("from"),
            to: text("to"),
            reason: text("reason"),
            count: count as u64,
        });
    });
    counts.sort_by(|a, b| {
        let names = |it: &FallbackCount| (it.from.clone(), it.to.clone(), it.reason.clone());
        b.count.cmp(&a.count).then_with(|| names(a).cmp(&names(b)))
    });
    counts.truncate(MAX_SHOWN);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_fallbacks_are_shown() {
        let metrics = Metrics::new();
        for number in 0..MAX_SHOWN + 5 {
            let to = number.to_string();
            let labels = ["a", &*to, "no_quota"];
            metrics.fallbacks.with_label_values(&labels).inc_by(number as u64 + 1);
        }
        let counts = fallback_counts(&metrics);
        assert_eq!(counts.len(), MAX_SHOWN);
        let first = FallbackCount {
            from: "a".to_owned(),
            to: "34".to_owned(),
            reason: "no_quota".to_owned(),
            count: 35,
        };
        assert_eq!(counts[0], first);
    }
}
