//! The usage of each client since the start, summed over the metric families.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::telemetry::Metrics;
use crate::telemetry::access_log::SUCCESS;
use crate::telemetry::dashboard_totals::each_sample;

/// The number of clients shown: those with the most requests.
const MAX_CLIENTS: usize = 100;

/// Totals of one client.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Client {
    name: String,
    requests: f64,
    /// Requests that did not get a complete answer.
    failed: f64,
    /// Tokens of each kind.
    input: f64,
    output: f64,
    cache_read: f64,
    cache_write: f64,
    /// The cost of the tokens with a known price.
    cost_usd: f64,
}

/// The totals of the clients with the most requests, in falling order of requests.
pub(super) fn clients(metrics: &Metrics) -> Vec<Client> {
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    each_sample(&metrics.requests, |labels, count| {
        let client = clients.entry(labels.get("client").to_owned()).or_default();
        client.requests += count;
        client.failed += if labels.get("outcome") == SUCCESS { 0.0 } else { count };
    });
    each_sample(&metrics.tokens, |labels, count| {
        let client = clients.entry(labels.get("client").to_owned()).or_default();
        *match labels.get("kind") {
            "input" => &mut client.input,
            "output" => &mut client.output,
            "cache_read" => &mut client.cache_read,
            _ => &mut client.cache_write,
        } += count;
    });
    each_sample(&metrics.cost, |labels, cost| {
        clients.entry(labels.get("client").to_owned()).or_default().cost_usd += cost;
    });
    let named = clients.into_iter().map(|(name, client)| Client { name, ..client });
    let mut clients: Vec<Client> = named.collect();
    clients.sort_by(|a, b| b.requests.total_cmp(&a.requests));
    clients.truncate(MAX_CLIENTS);
    clients
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bedrock::{Operation, Usage};
    use crate::telemetry::{Outcome, RequestLabels, RequestUsage};

    #[test]
    fn the_usage_of_a_client_is_summed_over_its_series() {
        let metrics = Metrics::new();
        let model = metrics.labels.id("m");
        let ended = |client, outcome, spent: Option<&RequestUsage>| {
            let client = metrics.labels.id(client);
            let operation = Some(Operation::Converse);
            metrics
                .request_counters
                .count(&RequestLabels { operation, requested: model, client, outcome }, spent);
        };
        ended("a", Outcome::Success, None);
        let usage =
            Usage { input: 5, output: 10, cache_read: 15, cache_write: 20, cache_write_1h: 0 };
        let spent = RequestUsage { model, usage, cost: Some(250_000_000) };
        for _ in 0..2 {
            ended("b", Outcome::Success, Some(&spent));
        }
        for _ in 0..3 {
            ended("b", Outcome::Throttled, None);
        }
        let b = Client {
            name: "b".to_owned(),
            requests: 5.0,
            failed: 3.0,
            input: 10.0,
            output: 20.0,
            cache_read: 30.0,
            cache_write: 40.0,
            cost_usd: 0.5,
        };
        let a = Client { name: "a".to_owned(), requests: 1.0, ..Client::default() };
        assert_eq!(clients(&metrics), [b, a]);
    }
}
