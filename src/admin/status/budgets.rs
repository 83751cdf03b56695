//! What the clients have spent of their budgets.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::limits::{ClientRecord, usd};
use crate::pipeline::Gateway;

/// The share from which a budget is near its end.
const NEARLY_SPENT: f64 = 0.8;

/// The number of budgets near their end that are shown: those with the highest share.
const MAX_SHOWN: usize = 20;

/// One budget of one client.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Budget {
    /// `daily` or `monthly`.
    period: &'static str,
    spent_usd: f64,
    limit_usd: f64,
    /// The share that is spent; above 1 if the last request went beyond the budget.
    used: f64,
    /// When it begins anew, in seconds since the Unix epoch.
    resets: u64,
}

/// A budget that is near its end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct NearlySpent {
    client: String,
    #[serde(flatten)]
    budget: Budget,
}

/// The budgets of a client.
pub(super) fn standings(client: &ClientRecord, now: SystemTime) -> impl Iterator<Item = Budget> {
    let standings = client.account().into_iter().flat_map(move |it| it.standings(now));
    standings.map(|standing| Budget {
        period: standing.period.kind.name(),
        spent_usd: usd(standing.spent),
        limit_usd: usd(standing.limit),
        used: standing.share(),
        resets: standing.period.end().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
    })
}

/// The budgets of all clients that are near their end, the most spent first.
pub(super) fn nearly_spent(gateway: &Gateway, now: SystemTime) -> Vec<NearlySpent> {
    let mut found: Vec<NearlySpent> = Vec::new();
    for client in gateway.clients.all() {
        let near = standings(client, now).filter(|budget| budget.used >= NEARLY_SPENT);
        found.extend(near.map(|budget| NearlySpent { client: client.name.to_string(), budget }));
    }
    found.sort_by(|a, b| {
        b.budget.used.total_cmp(&a.budget.used).then_with(|| a.client.cmp(&b.client))
    });
    found.truncate(MAX_SHOWN);
    found
}
