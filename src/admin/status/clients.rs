//! The use of each client: now, and since the start.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::budgets::{Budget, standings};
use super::history::{Recent, RecentUse};
use crate::limits::usd;
use crate::pipeline::Gateway;
use crate::telemetry::{OTHER, UsageSum};

/// The number of clients shown: those with the most requests in the last minute, then since the start.
const MAX_CLIENTS: usize = 100;

/// One client.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Client {
    name: String,
    /// Requests that ended in the last minute, and their tokens of all kinds.
    requests_last_minute: u64,
    tokens_last_minute: u64,
    /// Requests in flight; left out for callers that the config does not name.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<u32>,
    /// Requests in the queue.
    waiting: usize,
    /// What is spent of its budgets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    budgets: Vec<Budget>,
    /// Requests that ended since the start.
    requests: u64,
    /// Requests that failed through no fault of the client.
    failed: u64,
    /// Requests that its own mistake, limit or disconnect ended.
    client_errors: u64,
    /// Tokens of each kind.
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    /// The cost of the tokens with a known price.
    cost_usd: f64,
}

/// The clients with the most requests, the busiest of the last minute first.
pub(super) fn clients(gateway: &Gateway, recent: &Recent) -> Vec<Client> {
    let metrics = &gateway.metrics;
    let names = metrics.labels.texts();
    let waiting = gateway.queue_limits.waiting_by_client();
    // The label of those that the config does not name is that of `None`.
    let by_name = waiting.into_iter().map(|(name, count)| (name.unwrap_or_else(other), count));
    let mut waiting: HashMap<Arc<str>, usize> = by_name.collect();
    let mut found: Vec<(Arc<str>, UsageSum, RecentUse)> = Vec::new();
    for (label, sum) in metrics.request_counters.by_client() {
        let name = names.get(label as usize).map_or_else(other, Arc::clone);
        found.push((name, sum, recent.of(label)));
    }
    // A client whose first requests still wait has no count yet.
    if !waiting.is_empty() {
        let known: HashSet<Arc<str>> = found.iter().map(|(name, ..)| Arc::clone(name)).collect();
        let new = waiting.keys().filter(|name| !known.contains(*name));
        found.extend(new.map(|name| (Arc::clone(name), UsageSum::default(), RecentUse::default())));
    }
    let key = |it: &(Arc<str>, UsageSum, RecentUse)| {
        std::cmp::Reverse((it.2.requests, it.1.requests, std::cmp::Reverse(Arc::clone(&it.0))))
    };
    found.sort_by_cached_key(key);
    found.truncate(MAX_CLIENTS);
    let now = SystemTime::now();
    let client = |(name, sum, recent): (Arc<str>, UsageSum, RecentUse)| {
        let record = gateway.clients.get(&name);
        Client {
            requests_last_minute: recent.requests,
            tokens_last_minute: recent.tokens,
            in_flight: record.map(|record| record.in_flight()),
            waiting: waiting.remove(&name).unwrap_or_default(),
            budgets: record.map(|record| standings(record, now).collect()).unwrap_or_default(),
            name: name.to_string(),
            requests: sum.requests,
            failed: sum.failed,
            client_errors: sum.client_errors,
            input: sum.input,
            output: sum.output,
            cache_read: sum.cache_read,
            cache_write: sum.cache_write,
            cost_usd: usd(sum.cost),
        }
    };
    found.into_iter().map(client).collect()
}

fn other() -> Arc<str> {
    OTHER.into()
}
