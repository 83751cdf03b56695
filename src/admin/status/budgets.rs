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

/// The budgets near their end that are not shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct LeftOut {
    /// Those that are used up.
    used_up: usize,
    /// The others.
    nearly_used_up: usize,
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

/// The budgets of all clients that are near their end, the most spent first, and those left out.
pub(super) fn nearly_spent(
    gateway: &Gateway,
    now: SystemTime,
) -> (Vec<NearlySpent>, Option<LeftOut>) {
    let mut found: Vec<NearlySpent> = Vec::new();
    for client in gateway.clients.all() {
        let near = standings(client, now).filter(|budget| budget.used >= NEARLY_SPENT);
        found.extend(near.map(|budget| NearlySpent { client: client.name.to_string(), budget }));
    }
    most_spent(found)
}

fn most_spent(mut found: Vec<NearlySpent>) -> (Vec<NearlySpent>, Option<LeftOut>) {
    found.sort_by(|a, b| {
        b.budget.used.total_cmp(&a.budget.used).then_with(|| a.client.cmp(&b.client))
    });
    let others = found.get(MAX_SHOWN..).unwrap_or_default();
    let used_up = others.iter().filter(|it| it.budget.used >= 1.0).count();
    let left_out = LeftOut { used_up, nearly_used_up: others.len() - used_up };
    found.truncate(MAX_SHOWN);
    (found, Some(left_out).filter(|it| *it != LeftOut::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets(count: usize, used: impl Fn(usize) -> f64) -> Vec<NearlySpent> {
        let budget = |number| NearlySpent {
            client: format!("team-{number:03}"),
            budget: Budget {
                period: "daily",
                spent_usd: used(number),
                limit_usd: 1.0,
                used: used(number),
                resets: 0,
            },
        };
        (0..count).map(budget).collect()
    }

    #[test]
    fn budgets_that_are_left_out_are_counted() {
        let (shown, left_out) = most_spent(budgets(MAX_SHOWN, |_| 1.0));
        assert_eq!((shown.len(), left_out), (MAX_SHOWN, None));
        // 25 are used up, and 5 nearly.
        let (shown, left_out) =
            most_spent(budgets(30, |number| if number < 25 { 1.0 } else { 0.9 }));
        assert!(shown.iter().all(|it| it.budget.used >= 1.0), "{shown:?}");
        assert_eq!(left_out, Some(LeftOut { used_up: 5, nearly_used_up: 5 }));
    }
}
