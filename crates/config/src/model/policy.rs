//! What one client may do and spend, what models cost, and where the sums are kept.
//!
//! Money is a whole number of nano-dollars, prices a whole number of pico-dollars for one token, so
//! that sums are exact. The file has dollars, and dollars for a million tokens.

use std::path::PathBuf;
use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;
#[cfg(test)]
use serde::Serialize;
use serde::{Deserialize, Deserializer};
use smart_default::SmartDefault;

use super::Priority;
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

/// US dollars in the file, `PER_DOLLAR` units of money here.
struct Dollars<const PER_DOLLAR: u32>;

/// Nano-dollars of an amount.
type Amount = Dollars<1_000_000_000>;

/// Pico-dollars for one token of a price in dollars for a million.
type TokenPrice = Dollars<1_000_000>;

impl<const PER_DOLLAR: u32> Dollars<PER_DOLLAR> {
    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        // The schema bounds the number, and so the product.
        f64::deserialize(deserializer).map(|usd| (usd * f64::from(PER_DOLLAR)).round() as u64)
    }

    fn deserialize_option<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u64>, D::Error> {
        let usd = Option::<f64>::deserialize(deserializer)?;
        Ok(usd.map(|usd| (usd * f64::from(PER_DOLLAR)).round() as u64))
    }
}

/// Prices of the models that match, in USD for a million tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["input", "output"])))]
pub struct Price {
    /// An exact id, or a valid glob.
    #[serde(skip)]
    pub models: String,
    /// Fresh input.
    #[serde(deserialize_with = "TokenPrice::deserialize")]
    #[cfg_attr(test, schemars(with = "f64", range(min = 0.0, max = 1_000_000.0), example = 3.0))]
    pub input: u64,
    /// Output.
    #[serde(deserialize_with = "TokenPrice::deserialize")]
    #[cfg_attr(test, schemars(with = "f64", range(min = 0.0, max = 1_000_000.0), example = 15.0))]
    pub output: u64,
    /// Input read from a prompt cache. Default: as fresh input.
    #[serde(deserialize_with = "TokenPrice::deserialize_option")]
    #[cfg_attr(test, schemars(with = "Option<f64>", range(min = 0.0, max = 1_000_000.0)))]
    pub cache_read: Option<u64>,
    /// Input written to a prompt cache. Default: as fresh input.
    #[serde(deserialize_with = "TokenPrice::deserialize_option")]
    #[cfg_attr(test, schemars(with = "Option<f64>", range(min = 0.0, max = 1_000_000.0)))]
    pub cache_write: Option<u64>,
    /// Input written to a prompt cache for an hour. Default: twice fresh input, or as `cache_write` if
    /// that is more.
    #[serde(deserialize_with = "TokenPrice::deserialize_option")]
    #[cfg_attr(test, schemars(with = "Option<f64>", range(min = 0.0, max = 1_000_000.0)))]
    pub cache_write_1h: Option<u64>,
}

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
