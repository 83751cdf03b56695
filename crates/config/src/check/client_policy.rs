//! What clients may do and spend, what models cost, and where the sums are kept.

use super::Checker;
use crate::document::KeyPath;
use crate::files;
use crate::model::{
    Budget, BudgetStore, ClientPolicy, Guardrails, JobsBackend, Price, PriceTier, RedisKind,
};
use crate::raw::{RawClient, RawConfig, RawState};

impl Checker<'_> {
    pub(super) fn client_policy(&mut self, at: &KeyPath, raw: &RawClient) -> ClientPolicy {
        let guardrails = match (&raw.guardrail, &raw.allowed_guardrails) {
            (Some(forced), None) => Guardrails::Forced(forced.clone()),
            (Some(forced), Some(_)) => {
                let message = "cannot stand beside guardrail, which allows one alone";
                self.problem(&at.key("allowed_guardrails"), message);
                Guardrails::Forced(forced.clone())
            }
            (None, Some(allowed)) => Guardrails::Allowed(allowed.clone()),
            (None, None) => Guardrails::Any,
        };
        ClientPolicy { guardrails, ..raw.policy.clone() }
    }

    pub(super) fn budget(&mut self, at: &KeyPath, raw: &Budget) -> Option<Budget> {
        if raw.daily.is_none() && raw.monthly.is_none() {
            if self.document.mentions(&at.key("budget_soft_limit")) {
                let message = "needs 'daily_budget_usd' or 'monthly_budget_usd' beside it";
                self.problem(&at.key("budget_soft_limit"), message);
            }
            return None;
        }
        for (key, budget) in [("daily_budget_usd", raw.daily), ("monthly_budget_usd", raw.monthly)]
        {
            if budget == Some(0) {
                self.problem(&at.key(key), "must be at least 0.000000001");
            }
        }
        Some(raw.clone())
    }

    /// The prices in the order of the document.
    pub(super) fn prices(&mut self, raw: &RawConfig) -> Vec<Price> {
        let names = self.names("prices").filter_map(|name| Some((name, raw.prices.get(name)?)));
        let prices: Vec<Price> =
            names.map(|(models, raw)| Price { models: models.to_owned(), ..raw.clone() }).collect();
        for price in &prices {
            self.rates(price);
        }
        prices
    }

    /// Each entry of a price is for something else, and a tier has a price for short prompts.
    fn rates(&mut self, price: &Price) {
        let at = KeyPath::from(["prices", price.models.as_str()]);
        let mut seen = vec![(PriceTier::Standard, None)];
        for (position, rate) in price.rates.iter().enumerate() {
            let at = at.key("rates").index(position);
            if seen.contains(&(rate.tier, rate.above)) {
                self.problem(&at, "has the tier and length of another price of this model");
            }
            seen.push((rate.tier, rate.above));
        }
        for (position, rate) in price.rates.iter().enumerate() {
            if !seen.contains(&(rate.tier, None)) {
                let at = at.key("rates").index(position);
                self.problem(&at, "needs an entry of its tier without 'above'");
            }
        }
    }

    pub(super) fn budget_store(&mut self, raw: &RawState, jobs: &JobsBackend) -> BudgetStore {
        let at = KeyPath::from(["state"]);
        self.needs_beside(&at, "redis_prefix", "redis_url");
        // Budgets are kept by one server.
        let redis_url = raw.redis_url.as_ref();
        let redis_url = redis_url.filter(|_| raw.redis_kind == RedisKind::Standalone);
        match (&raw.budget_path, redis_url, jobs) {
            (Some(_), Some(_), _) => {
                self.problem(&at.key("budget_path"), "cannot stand beside redis_url");
                BudgetStore::Memory
            }
            (Some(path), None, _) => BudgetStore::Sqlite { path: files::resolve(self.base, path) },
            (None, Some(url), _) => {
                self.one_redis(&at.key("redis_url"), url);
                BudgetStore::Redis { url: url.clone(), prefix: raw.redis_prefix.clone() }
            }
            (None, None, JobsBackend::Redis { url, prefix }) => {
                BudgetStore::Redis { url: url.clone(), prefix: prefix.clone() }
            }
            (None, None, _) => BudgetStore::Memory,
        }
    }
}
