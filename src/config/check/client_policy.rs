//! What clients may do and spend, what models cost, and where the sums are kept.

use super::Checker;
use crate::config::document::KeyPath;
use crate::config::files;
use crate::config::glob::Glob;
use crate::config::model::{
    Budget, BudgetStore, ClientPolicy, Guardrails, JobsBackend, Price, RedisKind,
};
use crate::config::raw::{RawClient, RawConfig, RawState};

/// Most patterns of a list, so that looking through one costs little.
const MAX_PATTERNS: usize = 1000;

/// Most tables of prices.
const MAX_PRICES: usize = 1000;

impl Checker<'_> {
    pub(super) fn client_policy(&mut self, at: &KeyPath, raw: &RawClient) -> ClientPolicy {
        if let Some(models) = &raw.policy.allowed_models {
            self.globs(&at.key("allowed_models"), models);
        }
        if raw.policy.allowed_operations.as_ref().is_some_and(Vec::is_empty) {
            self.problem(&at.key("allowed_operations"), "must not be empty");
        }
        ClientPolicy { guardrails: self.guardrails(at, raw), ..raw.policy.clone() }
    }

    fn globs(&mut self, at: &KeyPath, patterns: &[String]) {
        self.must_not_be_empty(at, patterns);
        if patterns.len() > MAX_PATTERNS {
            self.problem(at, format!("at most {MAX_PATTERNS} models, not {}", patterns.len()));
        }
        for (index, pattern) in patterns.iter().enumerate() {
            self.glob(&at.index(index), pattern);
        }
    }

    fn glob(&mut self, at: &KeyPath, pattern: &str) {
        if pattern.trim().is_empty() {
            self.problem(at, "a model must not be empty");
        } else if let Err(error) = Glob::new(pattern) {
            self.problem(at, format!("'{pattern}' is not a glob: {error}"));
        }
    }

    fn guardrails(&mut self, at: &KeyPath, raw: &RawClient) -> Guardrails {
        let allowed_at = at.key("allowed_guardrails");
        if let Some(guardrail) = &raw.guardrail {
            if raw.allowed_guardrails.is_some() {
                self.problem(&allowed_at, "cannot stand beside guardrail, which allows one alone");
            }
            let at = at.key("guardrail");
            self.guardrail_id(&at.key("identifier"), &guardrail.identifier);
            let version = guardrail.version.as_str();
            let is_number = version.len() <= 8 && version.bytes().all(|it| it.is_ascii_digit());
            let is_given = self.document.get(&at.key("version")).is_some();
            if is_given && version != "DRAFT" && (version.is_empty() || !is_number) {
                self.problem(&at.key("version"), "must be a number or \"DRAFT\"");
            }
            return Guardrails::Forced(guardrail.clone());
        }
        let Some(allowed) = &raw.allowed_guardrails else { return Guardrails::Any };
        self.must_not_be_empty(&allowed_at, allowed);
        for (index, identifier) in allowed.iter().enumerate() {
            self.guardrail_id(&allowed_at.index(index), identifier);
        }
        Guardrails::Allowed(allowed.clone())
    }

    fn guardrail_id(&mut self, at: &KeyPath, text: &str) {
        let fits = |c: char| c.is_ascii_alphanumeric() || ":/_-".contains(c);
        let is_given = self.document.get(at).is_some();
        if is_given && (text.is_empty() || text.len() > 2048 || !text.chars().all(fits)) {
            self.problem(at, "a guardrail is an id or an ARN: letters, digits and ':/_-'");
        }
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
        if raw.prices.len() > MAX_PRICES {
            let message = format!("at most {MAX_PRICES} prices, not {}", raw.prices.len());
            self.problem(&["prices"].into(), message);
        }
        let names = self.names("prices").filter_map(|name| Some((name, raw.prices.get(name)?)));
        names
            .map(|(models, raw)| {
                self.glob(&["prices", models].into(), models);
                Price { models: models.to_owned(), ..raw.clone() }
            })
            .collect()
    }

    pub(super) fn budget_store(&mut self, raw: &RawState, jobs: &JobsBackend) -> BudgetStore {
        let at = KeyPath::from(["state"]);
        self.redis_prefix(&at.key("redis_prefix"), &raw.redis_prefix);
        if raw.redis_url.is_none() && self.document.mentions(&at.key("redis_prefix")) {
            self.problem(&at.key("redis_prefix"), "needs 'redis_url' beside it");
        }
        // Budgets are kept by one server.
        let redis_url = raw.redis_url.as_ref();
        let redis_url = redis_url.filter(|_| raw.redis_kind == RedisKind::Standalone);
        match (&raw.budget_path, redis_url, jobs) {
            (Some(_), Some(_), _) => {
                self.problem(&at.key("budget_path"), "cannot stand beside redis_url");
                BudgetStore::Memory
            }
            (Some(path), None, _) => {
                if path.trim().is_empty() {
                    self.problem(&at.key("budget_path"), "must not be empty");
                }
                BudgetStore::Sqlite { path: files::resolve(self.base, path) }
            }
            (None, Some(url), _) => {
                let url = url.read(self.env, self.base).unwrap_or_else(|why| {
                    self.problem(&at.key("redis_url"), why);
                    "".into()
                });
                BudgetStore::Redis { url, prefix: raw.redis_prefix.clone() }
            }
            (None, None, JobsBackend::Redis { url, prefix }) => {
                BudgetStore::Redis { url: url.clone(), prefix: prefix.clone() }
            }
            (None, None, _) => BudgetStore::Memory,
        }
    }
}
