//! The keys of `[apis]`.

#[cfg(test)]
use schemars::JsonSchema;
use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;
use smart_default::SmartDefault;

use crate::model::{OnUnsupported, StoreResponses};
use crate::secret::Secret;
#[cfg(test)]
use crate::tests::names::{PathPrefix, ShortText};

/// The APIs of OpenAI and Anthropic that are served beside Bedrock's own.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub(crate) struct RawApis {
    /// OpenAI's Chat Completions: `/chat/completions` below each prefix.
    pub(crate) chat_completions: RawOpenAiApi,
    /// OpenAI's Responses: `/responses` below each prefix.
    pub(crate) responses: RawResponses,
    /// Anthropic's Messages: `/messages` below each prefix.
    pub(crate) messages: RawMessages,
    /// OpenAI's Embeddings: `/embeddings` below each prefix.
    pub(crate) embeddings: RawEmbeddings,
    /// The list of models: `/models` below each prefix.
    pub(crate) models: RawModels,
    /// What happens to a request with a parameter that its translation for another API can't carry: it is
    /// refused, or the parameter is left out and the answer names it.
    pub(crate) on_unsupported: OnUnsupported,
    /// Parameters that are left out in any case.
    #[cfg_attr(test, schemars(with = "Vec<ShortText>", length(max = 100)))]
    #[cfg_attr(test, schemars(example = ["logit_bias", "seed"]))]
    pub(crate) drop_parameters: Vec<String>,
    /// Parameters that are refused in any case.
    #[cfg_attr(test, schemars(with = "Vec<ShortText>", length(max = 100)))]
    #[cfg_attr(test, schemars(example = ["logprobs"]))]
    pub(crate) refuse_parameters: Vec<String>,
}

/// An API of OpenAI.
#[derive(Clone, Debug, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub(crate) struct RawOpenAiApi {
    /// Whether it is served.
    #[default = true]
    pub(crate) enabled: bool,
    /// What its paths begin with.
    #[cfg_attr(test, schemars(with = "Vec<PathPrefix>", length(min = 1, max = 16)))]
    #[default(owned(&["/openai/v1", "/v1"]))]
    pub(crate) prefixes: Vec<String>,
}

/// OpenAI's Responses.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub(crate) struct RawResponses {
    #[serde(flatten)]
    pub(crate) api: RawOpenAiApi,
    /// Whether upstreams may store responses: where all targets of the route are in one region, always or
    /// never.
    pub(crate) store: StoreResponses,
    /// What seals the ids of stored responses, by reference; at least 32 bytes. With it they outlive a restart
    /// and are known to all replicas. Default: a random key of the process.
    pub(crate) id_key: Option<Secret>,
}

/// OpenAI's Embeddings.
#[derive(Clone, Debug, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub(crate) struct RawEmbeddings {
    #[serde(flatten)]
    pub(crate) api: RawOpenAiApi,
    /// Calls that one request makes at a time, of a model that takes one text or a few.
    #[default = 8]
    #[cfg_attr(test, schemars(range(min = 1, max = 256)))]
    pub(crate) max_concurrent_calls: usize,
}

/// Anthropic's Messages.
#[derive(Clone, Debug, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub(crate) struct RawMessages {
    /// Whether it is served.
    #[default = true]
    pub(crate) enabled: bool,
    /// What its paths begin with.
    #[cfg_attr(test, schemars(with = "Vec<PathPrefix>", length(min = 1, max = 16)))]
    #[default(owned(&["/anthropic/v1", "/v1"]))]
    pub(crate) prefixes: Vec<String>,
}

/// The list of models.
#[derive(Clone, Debug, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub(crate) struct RawModels {
    /// Whether it is served.
    #[default = true]
    pub(crate) enabled: bool,
    /// What its paths begin with.
    #[cfg_attr(test, schemars(with = "Vec<PathPrefix>", length(min = 1, max = 16)))]
    #[default(owned(&["/openai/v1", "/anthropic/v1", "/v1"]))]
    pub(crate) prefixes: Vec<String>,
}

fn owned(prefixes: &[&str]) -> Vec<String> {
    prefixes.iter().map(|&prefix| prefix.to_owned()).collect()
}
