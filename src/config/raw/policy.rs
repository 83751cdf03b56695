//! The policy and budget keys of `[[clients]]`, `[prices]` and `[state]` as the file says them.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::{OperationName, Priority};
use crate::config::units::SizeText;

/// What a client may do and spend.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(in crate::config) struct RawPolicy {
    /// Models it may use, exact ids or globs; for the model asked for and the one that is called.
    /// Default: all.
    #[cfg_attr(test, schemars(example = ["anthropic.claude-3-haiku-*"]))]
    pub(in crate::config) allowed_models: Option<Vec<String>>,
    /// Operations it may call. Default: all.
    #[cfg_attr(test, schemars(example = ["Converse", "ConverseStream"]))]
    pub(in crate::config) allowed_operations: Option<Vec<OperationName>>,
    /// Requests in a minute. Default: the rate of `limits`.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub(in crate::config) rpm: Option<u32>,
    /// Tokens in a minute, input and output. Default: those of `limits`.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_i64)))]
    pub(in crate::config) tpm: Option<u64>,
    /// Requests open at once. Default: those of `limits`.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(in crate::config) max_concurrent: Option<u32>,
    /// Highest priority that it may ask for. Default: the one of `queue`.
    pub(in crate::config) max_priority: Option<Priority>,
    /// A guardrail that all its requests have. Another one is refused.
    pub(in crate::config) guardrail: Option<RawGuardrail>,
    /// Ids or ARNs of the guardrails that its requests may name. Default: any.
    #[cfg_attr(test, schemars(example = ["gr-0123456789"]))]
    pub(in crate::config) allowed_guardrails: Option<Vec<String>>,
    /// Largest request body. Default: the one of `server`.
    pub(in crate::config) max_body: Option<SizeText>,
    /// USD that it may spend in a UTC day.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1_000_000_000.0)))]
    pub(in crate::config) daily_budget_usd: Option<f64>,
    /// USD that it may spend in a UTC month.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1_000_000_000.0)))]
    pub(in crate::config) monthly_budget_usd: Option<f64>,
    /// Share of a budget from which on answers tell what is left.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    pub(in crate::config) budget_soft_limit: f64,
}

impl Default for RawPolicy {
    fn default() -> Self {
        Self {
            allowed_models: None,
            allowed_operations: None,
            rpm: None,
            tpm: None,
            max_concurrent: None,
            max_priority: None,
            guardrail: None,
            allowed_guardrails: None,
            max_body: None,
            daily_budget_usd: None,
            monthly_budget_usd: None,
            budget_soft_limit: 0.8,
        }
    }
}

/// A guardrail that all requests of a client have.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[cfg_attr(test, schemars(extend("required" = ["identifier", "version"])))]
pub(in crate::config) struct RawGuardrail {
    /// Its id or ARN.
    #[serde(default)]
    #[cfg_attr(test, schemars(example = &"gr-0123456789"))]
    pub(in crate::config) identifier: String,
    /// Its version: a number, or `DRAFT`.
    #[serde(default)]
    #[cfg_attr(test, schemars(example = &"1"))]
    pub(in crate::config) version: String,
}

/// Prices of the models that match, in USD for a million tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[cfg_attr(test, schemars(extend("required" = ["input", "output"])))]
pub(in crate::config) struct RawPrice {
    /// Fresh input.
    #[serde(default)]
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1_000_000.0), example = 3.0))]
    pub(in crate::config) input: f64,
    /// Output.
    #[serde(default)]
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1_000_000.0), example = 15.0))]
    pub(in crate::config) output: f64,
    /// Input read from a prompt cache. Default: as fresh input.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1_000_000.0)))]
    pub(in crate::config) cache_read: Option<f64>,
    /// Input written to a prompt cache. Default: as fresh input.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1_000_000.0)))]
    pub(in crate::config) cache_write: Option<f64>,
    /// Input written to a prompt cache for an hour. Default: twice fresh input, or as `cache_write` if
    /// that is more.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1_000_000.0)))]
    pub(in crate::config) cache_write_1h: Option<f64>,
}
