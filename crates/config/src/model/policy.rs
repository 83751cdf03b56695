//! What one client may do and spend, and where the sums are kept.
//!
//! Money is a whole number of nano-dollars. The file has dollars.

use std::path::PathBuf;
use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;
use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;
use smart_default::SmartDefault;

use super::Priority;
use super::money::Amount;
use crate::secret::Secret;
#[cfg(test)]
use crate::tests::names::{ModelPattern, OperationNames};
use crate::units::{AnyDuration, Optional, Size};
use sluice_bedrock::Operation;

/// What a client may ask for. What is `None` is as for everyone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct ClientPolicy {
    /// Models it may use, exact ids or globs; for the model asked for and the one that is called.
    /// Default: all.
    #[cfg_attr(test, schemars(with = "Option<Vec<ModelPattern>>", length(min = 1, max = 1000)))]
    #[cfg_attr(test, schemars(example = ["us.anthropic.claude-haiku-*"]))]
    pub allowed_models: Option<Vec<String>>,
    /// Operations it may call. Default: all.
    #[cfg_attr(test, schemars(with = "Option<Vec<OperationNames>>", length(min = 1)))]
    #[cfg_attr(test, schemars(example = ["Converse", "ConverseStream"]))]
    pub allowed_operations: Option<Vec<Operation>>,
    /// Whether upstreams may store its responses and the gateway may keep them, and it may name stored ones.
    /// Default: true.
    pub stored_responses: Option<bool>,
    /// Requests in a minute. Default: the rate of `limits`.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub rpm: Option<u32>,
    /// Tokens in a minute, input and output. Default: those of `limits`.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_i64)))]
    pub tpm: Option<u64>,
    /// Requests open at once. Default: those of `limits`.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub max_concurrent: Option<u32>,
    /// Highest priority that it may ask for. Default: the one of `queue`.
    pub max_priority: Option<Priority>,
    /// How long its requests wait for the model that they ask for before another model answers.
    /// Default: that of the route.
    #[serde(with = "Optional::<AnyDuration>")]
    pub wait_before_fallback: Option<Duration>,
    /// The guardrails of its requests.
    #[serde(skip)]
    pub guardrails: Guardrails,
    /// Largest request body. Default: the one of `server`.
    #[serde(with = "Optional::<Size>")]
    pub max_body: Option<usize>,
}

impl ClientPolicy {
    /// Whether upstreams may store the client's responses, and it may name stored ones.
    pub fn has_stored_responses(&self) -> bool {
        self.stored_responses.unwrap_or(true)
    }
}

/// The guardrails that a client's requests may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Guardrails {
    /// Any, or none.
    #[default]
    Any,
    /// This one, which the gateway names where the client does not.
    Forced(Guardrail),
    /// Those with these ids or ARNs, or none. At least one.
    Allowed(Vec<String>),
}

/// One version of a guardrail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["identifier", "version"])))]
pub struct Guardrail {
    /// Its id or ARN.
    #[cfg_attr(test, schemars(example = &"gr-0123456789", extend("format" = "guardrail-id")))]
    pub identifier: String,
    /// Its version: a number, or `DRAFT`.
    #[cfg_attr(test, schemars(example = &"1", extend("format" = "guardrail-version")))]
    pub version: String,
}

/// What a client may spend.
#[derive(Clone, Debug, PartialEq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Budget {
    /// USD that it may spend in a UTC day.
    #[serde(rename = "daily_budget_usd", deserialize_with = "Amount::deserialize_option")]
    #[cfg_attr(test, schemars(with = "Option<f64>", range(min = 0.0, max = 1_000_000_000.0)))]
    pub daily: Option<u64>,
    /// USD that it may spend in a UTC month.
    #[serde(rename = "monthly_budget_usd", deserialize_with = "Amount::deserialize_option")]
    #[cfg_attr(test, schemars(with = "Option<f64>", range(min = 0.0, max = 1_000_000_000.0)))]
    pub monthly: Option<u64>,
    /// Share of a budget from which on answers show what is left.
    #[serde(rename = "budget_soft_limit")]
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    #[default = 0.8]
    pub soft_limit: f64,
}

// The share is never NaN.
impl Eq for Budget {}

/// A store for what clients have spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetStore {
    /// The process, which forgets it at its end.
    Memory,
    /// A database file, for the processes of one machine.
    Sqlite {
        /// The file. Relative to the working directory, unless it is absolute.
        path: PathBuf,
    },
    /// Redis, for any number of processes.
    Redis {
        /// A `redis://` or `rediss://` URL; may hold a password.
        url: Secret,
        /// What the names of its keys start with: letters, digits, `-` and `_`.
        prefix: String,
    },
}
