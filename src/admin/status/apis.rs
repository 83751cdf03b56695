//! What each API was used for, since the start.

use serde::Serialize;

use crate::bedrock::Api;
use crate::limits::usd;
use crate::telemetry::{Metrics, OTHER, UsageSum};

/// One API that clients have used.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct ApiUsage {
    /// `other` for requests that are of none.
    api: &'static str,
    requests: u64,
    /// Of these, failed through no fault of the client.
    failed: u64,
    /// Of these, ended by the client's own mistake, limit or disconnect.
    client_errors: u64,
    /// Tokens of each kind.
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    /// The cost of the tokens with a known price.
    cost_usd: f64,
}

/// The APIs with requests, in their order; last, what is of none.
pub(super) fn api_usage(metrics: &Metrics) -> Vec<ApiUsage> {
    let sums = metrics.request_counters.by_api();
    let usage = |api: Option<Api>| {
        let sum: &UsageSum = sums.get(&api)?;
        Some(ApiUsage {
            api: api.map_or(OTHER, Api::name),
            requests: sum.requests,
            failed: sum.failed,
            client_errors: sum.client_errors,
            input: sum.input,
            output: sum.output,
            cache_read: sum.cache_read,
            cache_write: sum.cache_write,
            cost_usd: usd(sum.cost),
        })
    };
    Api::ALL.into_iter().map(Some).chain([None]).filter_map(usage).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bedrock::{Operation, Usage};
    use crate::telemetry::{Outcome, RequestLabels, RequestUsage};

    #[test]
    fn the_usage_of_an_api_is_summed_over_its_operations() {
        let metrics = Metrics::new();
        let usage = Usage { input: 5, output: 10, ..Usage::default() };
        let ended = |operation, outcome, cost: Option<u64>| {
            let label = metrics.labels.id("m");
            let labels = RequestLabels { operation, requested: label, client: label, outcome };
            let spent = cost.map(|cost| RequestUsage { model: label, usage, cost: Some(cost) });
            metrics.request_counters.count(&labels, spent.as_ref());
        };
        ended(None, Outcome::BadRequest, None);
        ended(Some(Operation::CreateMessage), Outcome::Success, Some(250_000_000));
        ended(Some(Operation::CountMessageTokens), Outcome::Throttled, None);
        ended(Some(Operation::Converse), Outcome::ClientGone, None);
        let shown = api_usage(&metrics);
        let of_messages = ApiUsage {
            api: "messages",
            requests: 2,
            failed: 1,
            input: 5,
            output: 10,
            cost_usd: 0.25,
            ..ApiUsage::default()
        };
        assert_eq!(shown[1], of_messages);
        let names: Vec<_> = shown.iter().map(|it| it.api).collect();
        assert_eq!(names, ["bedrock", "messages", "other"]);
        assert_eq!((shown[0].client_errors, shown[2].client_errors), (1, 1));
    }
}
