//! The tokens and the cost of each model that has answered, since the start.

use serde::Serialize;

use crate::limits::usd;
use crate::telemetry::{Metrics, OTHER};

/// The number of models shown: those with the highest cost, then the most tokens.
const MAX_MODELS: usize = 100;

/// One model that has answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct ModelUsage {
    model: String,
    /// Answers that reported their usage.
    answers: u64,
    /// Tokens of each kind.
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    /// The cost of the tokens with a known price.
    cost_usd: f64,
}

/// The models, the dearest first.
pub(super) fn model_usage(metrics: &Metrics) -> Vec<ModelUsage> {
    let names = metrics.labels.texts();
    let mut sums: Vec<_> = metrics.request_counters.by_model().into_iter().collect();
    sums.sort_by_key(|(label, sum)| (std::cmp::Reverse((sum.cost, sum.tokens())), *label));
    sums.truncate(MAX_MODELS);
    let usage = |(label, sum): (u32, crate::telemetry::UsageSum)| ModelUsage {
        model: names.get(label as usize).map_or(OTHER, AsRef::as_ref).to_owned(),
        answers: sum.requests,
        input: sum.input,
        output: sum.output,
        cache_read: sum.cache_read,
        cache_write: sum.cache_write,
        cost_usd: usd(sum.cost),
    };
    sums.into_iter().map(usage).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bedrock::{Operation, Usage};
    use crate::telemetry::{Outcome, RequestLabels, RequestUsage};

    #[test]
    fn the_usage_of_a_model_is_summed_over_its_clients_and_outcomes() {
        let metrics = Metrics::new();
        let usage =
            Usage { input: 5, output: 10, cache_read: 15, cache_write: 20, ..Usage::default() };
        let ended = |client, outcome, answered: Option<(&str, u64)>| {
            let [client, requested] = [client, "asked"].map(|name| metrics.labels.id(name));
            let labels =
                RequestLabels { operation: Some(Operation::Converse), requested, client, outcome };
            let spent = answered.map(|(model, cost)| RequestUsage {
                model: metrics.labels.id(model),
                usage,
                cost: Some(cost),
            });
            metrics.request_counters.count(&labels, spent.as_ref());
        };
        ended("a", Outcome::Success, Some(("cheap", 1_000_000)));
        ended("a", Outcome::Success, Some(("dear", 250_000_000)));
        ended("b", Outcome::ClientGone, Some(("dear", 250_000_000)));
        ended("b", Outcome::Throttled, None);
        let usage = model_usage(&metrics);
        let dear = ModelUsage {
            model: "dear".to_owned(),
            answers: 2,
            input: 10,
            output: 20,
            cache_read: 30,
            cache_write: 40,
            cost_usd: 0.5,
        };
        assert_eq!(usage[0], dear);
        assert_eq!((usage.len(), &*usage[1].model), (2, "cheap"));
    }
}
