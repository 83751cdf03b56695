//! What clients may spend in a UTC day and month.
//!
//! A request reserves the most that it can cost. When its [`BudgetReservation`] is dropped, the real
//! cost takes the place of that, once, on every path. A client is admitted while what it has spent
//! and reserved is below its budget, so all its requests together go beyond it by less than the last
//! one's cost. A request of unbounded cost reserves more than any budget has: it is admitted while
//! something is left, and no other is admitted until it ends. Should a request cost more than it has
//! reserved, the client's later ones reserve more by that ratio until the next day. Money is
//! nano-dollars.

mod ledger;
mod sync;

use std::sync::Arc;
use std::time::SystemTime;

pub use ledger::BudgetLedgers;
pub use sync::BudgetSync;

use crate::config;
use crate::storage::sums::{Kind, Period};
use ledger::{BudgetLedger, ReservedAmount};

const NANO: f64 = 1e9;

/// The refusal of a request for its client's budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverBudget {
    /// The budget is spent.
    #[error(
        "The {} budget of this client is used up: {} of {} USD; it resets at {}.",
        .period.kind.name(), usd(*.spent), usd(*.limit),
        humantime::format_rfc3339_seconds(.period.end())
    )]
    UsedUp {
        /// The day or month.
        period: Period,
        /// Nano-dollars spent in it.
        spent: u64,
        /// Nano-dollars that may be.
        limit: u64,
    },
    /// What is left of it is reserved by requests in flight.
    #[error(
        "Too many requests, please wait before trying again. What is left of this client's {} budget is held by its requests under way.",
        .0.name()
    )]
    Held(Kind),
}

impl OverBudget {
    /// The budget's key in the config.
    pub fn policy(&self) -> &'static str {
        match self {
            OverBudget::UsedUp { period: Period { kind, .. }, .. } | OverBudget::Held(kind) => {
                match kind {
                    Kind::Daily => "daily_budget_usd",
                    Kind::Monthly => "monthly_budget_usd",
                }
            }
        }
    }
}

/// What one client may spend and has spent.
#[derive(Debug)]
pub struct ClientBudget {
    ledger: Arc<BudgetLedger>,
    daily: Option<u64>,
    monthly: Option<u64>,
    soft_limit: f64,
}

impl ClientBudget {
    /// The budget of a client, if it has one. What it has spent is in `ledgers`.
    pub(super) fn of(
        client: &config::ClientConfig,
        ledgers: &BudgetLedgers,
        now: SystemTime,
    ) -> Option<Arc<ClientBudget>> {
        let config::Budget { daily, monthly, soft_limit } = *client.budget.as_ref()?;
        let ledger = ledgers.of(&client.name.as_str().into(), now);
        Some(Arc::new(ClientBudget { ledger, daily, monthly, soft_limit }))
    }

    /// Reserves the most that a request can cost.
    ///
    /// # Errors
    /// When a budget is used up, or what is left of it is reserved.
    pub fn reserve(self: &Arc<ClientBudget>, most: u64) -> Result<BudgetReservation, OverBudget> {
        let held = self.ledger.reserve(&self.limits(), most, SystemTime::now())?;
        Ok(BudgetReservation { account: Arc::clone(self), most, held, cost: 0, paid: 0 })
    }

    /// The share of each budget that is spent.
    pub fn used(&self) -> impl Iterator<Item = (Kind, f64)> {
        self.standings(SystemTime::now()).map(|it| (it.period.kind, it.share()))
    }

    /// What is spent of each budget.
    pub fn standings(&self, now: SystemTime) -> impl Iterator<Item = Standing> {
        let limits = self.limits().into_iter().zip(self.ledger.spent(now));
        limits.filter_map(move |((kind, limit), spent)| {
            Some(Standing { period: Period::at(kind, now), spent, limit: limit? })
        })
    }

    /// Nano-dollars left of the budget that is closest to its end, of those beyond the soft limit.
    pub fn little_left(&self) -> Option<u64> {
        let spent = self.ledger.spent(SystemTime::now());
        let limits = self.limits().into_iter().zip(spent);
        let beyond = limits.filter_map(|((_, limit), spent)| {
            let limit = limit?;
            (share(spent, limit) >= self.soft_limit).then(|| limit.saturating_sub(spent))
        });
        beyond.min()
    }

    fn limits(&self) -> [(Kind, Option<u64>); 2] {
        [(Kind::Daily, self.daily), (Kind::Monthly, self.monthly)]
    }
}

/// What is spent of one budget, in nano-dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The day or month.
    pub period: Period,
    /// Spent in it.
    pub spent: u64,
    /// What may be spent.
    pub limit: u64,
}

impl Standing {
    /// The share that is spent.
    pub fn share(&self) -> f64 {
        share(self.spent, self.limit)
    }
}

/// The most that one request may cost. When it is dropped, the client is charged the real cost.
#[derive(Debug)]
pub struct BudgetReservation {
    account: Arc<ClientBudget>,
    most: u64,
    held: ReservedAmount,
    cost: u64,
    /// The part of the cost that is charged already.
    paid: u64,
}

impl BudgetReservation {
    /// Sets the cost, in nano-dollars.
    pub fn costs(&mut self, cost: u64) {
        self.cost = cost;
    }

    /// Charges `cost` now, and reserves the most that a request can cost once more.
    ///
    /// # Errors
    /// When a budget is used up, or what is left of it is reserved.
    pub fn renew(&mut self, cost: u64) -> Result<(), OverBudget> {
        self.paid = self.paid.saturating_add(cost);
        self.cost = self.cost.max(self.paid);
        let (account, now) = (&self.account, SystemTime::now());
        account.ledger.settle(std::mem::take(&mut self.held), cost, now);
        self.held = account.ledger.reserve(&account.limits(), self.most, now)?;
        Ok(())
    }

    /// Sets what a request has cost so far whose cost is unbounded.
    ///
    /// # Errors
    /// When that, with what is spent and what others have reserved, uses up a budget.
    pub fn has_cost(&mut self, cost: u64) -> Result<(), OverBudget> {
        self.cost = cost;
        let account = &self.account;
        account.ledger.raise(&account.limits(), &mut self.held, cost, SystemTime::now())
    }
}

impl Drop for BudgetReservation {
    fn drop(&mut self) {
        let BudgetReservation { account, held, cost, paid, .. } = self;
        let cost = &cost.saturating_sub(*paid);
        if account.ledger.settle(*held, *cost, SystemTime::now()) {
            tracing::warn!(
                client = account.ledger.client(),
                cost_usd = usd(*cost),
                held_usd = usd(held.amount),
                "a request cost more than was reserved of its client's budget: until the next day, \
                 reservations are larger by that ratio"
            );
        }
    }
}

/// Nano-dollars as dollars.
pub fn usd(nanos: u64) -> f64 {
    nanos as f64 / NANO
}

fn share(spent: u64, limit: u64) -> f64 {
    spent as f64 / limit.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(budget: Option<config::Budget>) -> config::ClientConfig {
        config::ClientConfig { name: "a".to_owned(), budget, ..config::ClientConfig::default() }
    }

    fn daily(limit: u64) -> Option<config::Budget> {
        Some(config::Budget { daily: Some(limit), monthly: None, soft_limit: 0.8 })
    }

    #[test]
    fn a_hold_becomes_its_cost_and_a_reload_forgets_nothing() {
        let ledgers = BudgetLedgers::default();
        let account = |budget| ClientBudget::of(&client(budget), &ledgers, SystemTime::now());
        assert!(account(None).is_none());
        let renewed = account;
        let account = account(daily(100)).unwrap();
        let mut hold = account.reserve(90).unwrap();
        let other = account.reserve(90).unwrap();
        assert_eq!(account.reserve(1).unwrap_err(), OverBudget::Held(Kind::Daily));
        hold.costs(7);
        hold.costs(79);
        drop((hold, other));
        assert_eq!(account.little_left(), None);
        let mut hold = account.reserve(10).unwrap();
        hold.costs(1);
        drop(hold);
        assert_eq!(account.little_left(), Some(20));

        let refused = renewed(daily(50)).unwrap().reserve(1).unwrap_err();
        assert_eq!(refused.policy(), "daily_budget_usd");
        assert!(refused.to_string().contains("used up: 0.00000008 of 0.00000005 USD; it resets"));
    }
}
