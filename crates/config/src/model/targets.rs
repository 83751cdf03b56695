//! Targets, and the quotas that they share.

use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_bedrock::Features;
use sluice_catalogue::Surfaces;
use smart_default::SmartDefault;

use crate::credentials::Credentials;
use crate::endpoint::Endpoint;
#[cfg(test)]
use crate::tests::names::{EndpointNames, FeatureNames, SurfaceNames};
use crate::units::{NonZeroDuration, TextForm as _};

/// One place that can answer: a model in a region, called with one set of credentials.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["model"])))]
pub struct Target {
    /// Key of the target's table in the file; unique. Used in routes, metrics and logs.
    #[serde(skip)]
    pub name: String,
    /// Model id, inference profile or ARN, not percent-encoded.
    #[cfg_attr(test, schemars(example = "us.anthropic.claude-sonnet-5-5"))]
    #[cfg_attr(test, schemars(extend("format" = "model-id")))]
    pub model: String,
    /// The retired model that the file names and whose place `model` takes.
    #[serde(skip)]
    pub replaces: Option<String>,
    /// Model behind an opaque ARN; limits, price and family come from it.
    #[cfg_attr(test, schemars(example = "anthropic.claude-sonnet-5-5"))]
    #[cfg_attr(test, schemars(extend("format" = "model-id")))]
    pub base_model: Option<String>,
    /// Where the model is called: Bedrock Runtime, or Bedrock's endpoint for the APIs of OpenAI and
    /// Anthropic, which takes base ids alone and has quotas of its own.
    #[serde(rename = "endpoint")]
    #[cfg_attr(test, schemars(with = "EndpointNames"))]
    pub service: sluice_catalogue::Endpoint,
    /// The ways to call it. Default: those that the catalogue has for the model.
    #[cfg_attr(test, schemars(with = "Option<Vec<SurfaceNames>>", length(min = 1)))]
    #[cfg_attr(test, schemars(example = ["chat_completions", "responses"]))]
    pub surfaces: Option<Surfaces>,
    /// What the paths of OpenAI's APIs begin with at the mantle endpoint. Default: what the catalogue
    /// has for the model, else `/v1`.
    #[cfg_attr(test, schemars(example = "/openai/v1", extend("format" = "path-prefix")))]
    pub path_prefix: Option<String>,
    /// Name for people. Default: the table's name.
    #[serde(rename = "name")]
    #[cfg_attr(test, schemars(example = "Claude Sonnet 5.5"))]
    pub display_name: Option<String>,
    /// AWS region that requests are signed for.
    #[serde(skip)]
    pub region: String,
    /// Where requests are sent.
    #[serde(skip)]
    #[default(Endpoint::stand_in())]
    pub endpoint: Endpoint,
    /// Whose credentials are used. Default: those of `upstream`.
    #[serde(flatten)]
    pub credentials: Credentials,
    /// Cooldown after a throttle, times the number of consecutive throttles.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(60))]
    pub cooldown: Duration,
    /// Cap on the output tokens a request may ask for. Default: the model's own.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub max_output_tokens: Option<u32>,
    /// Output tokens that a request without a maximum is counted with at its start, at most; less
    /// where the target's answers to such requests are shorter. Default: the one of `upstream`.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub assumed_max_output_tokens: Option<u32>,
    /// What requests may use here. Default: what the model is known for.
    #[cfg_attr(test, schemars(with = "Option<Vec<FeatureNames>>", example = ["images", "tools"]))]
    pub features: Option<Features>,
    /// The target's quota of requests in a minute. Default: it is learned.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub rpm: Option<u32>,
    /// The target's quota of tokens in a minute. Default: it is learned.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_i64)))]
    pub tpm: Option<u64>,
    /// The target's quota of input tokens in a minute, where input and output are counted apart;
    /// instead of `tpm`. Default: it is learned.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_i64)))]
    pub input_tpm: Option<u64>,
    /// The target's quota of output tokens in a minute, where input and output are counted apart;
    /// instead of `tpm`. Default: it is learned.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_i64)))]
    pub output_tpm: Option<u64>,
    /// The target's quota of tokens in a UTC day. Default: none is counted.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_000_i64)))]
    pub tpd: Option<u64>,
    /// Input tokens in a minute of capacity that is reserved for the service tier `reserved`. What
    /// exceeds it counts on the target's other quotas.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_i64)))]
    pub reserved_input_tpm: Option<u64>,
    /// Output tokens in a minute of that capacity.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_i64)))]
    pub reserved_output_tpm: Option<u64>,
    /// Index into [`Config::quotas`](super::Config::quotas) of the quota that the target shares with others. Excludes
    /// quotas of the target's own.
    #[serde(skip)]
    pub quota: Option<usize>,
    /// Index into [`Config::quotas`](super::Config::quotas) of a quota of tokens a day that the target draws on besides.
    #[serde(skip)]
    pub daily_quota: Option<usize>,
    /// Quota tokens that one output token takes. Default: what is known of the model.
    #[cfg_attr(test, schemars(range(min = 1, max = 100)))]
    pub output_burndown: Option<u32>,
    /// What a request takes of the quota of tokens at its start: its input as estimated, or the most
    /// that it can have.
    pub reserve: Reserve,
    /// Time from the end of the request to the head of the answer.
    #[serde(skip)]
    pub first_byte_timeout: Duration,
    /// Longest silence between two frames of a stream.
    #[serde(skip)]
    pub idle_timeout: Duration,
}

/// What a request takes of a quota of tokens at its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reserve {
    /// Input as estimated from what the target has taught, and the maximum of output.
    #[default]
    Estimate,
    /// The most input that the request can have, and the maximum of output.
    Maximum,
}

/// One Bedrock quota that several targets draw on: those of one model, region and account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Quota {
    /// Key of the quota's table in the file; unique. Used in metrics and logs.
    #[serde(skip)]
    pub name: String,
    /// Requests in a minute. Default: it is learned.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub rpm: Option<u32>,
    /// Tokens in a minute. Default: it is learned.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_i64)))]
    pub tpm: Option<u64>,
    /// Input tokens in a minute, where input and output are counted apart; instead of `tpm`.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_i64)))]
    pub input_tpm: Option<u64>,
    /// Output tokens in a minute, where input and output are counted apart; instead of `tpm`.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_i64)))]
    pub output_tpm: Option<u64>,
    /// Tokens in a UTC day. Default: none is counted.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_000_i64)))]
    pub tpd: Option<u64>,
}
