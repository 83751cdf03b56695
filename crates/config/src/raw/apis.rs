//! The keys of `[apis]`.

#[cfg(test)]
use schemars::JsonSchema;
use std::time::Duration;

use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;
use smart_default::SmartDefault;

use crate::model::{OnUnsupported, PromptCaching, RecordedParameter, StoreResponses};
use crate::secret::Secret;
#[cfg(test)]
use crate::tests::names::{PathPrefix, ShortText};
use crate::units::{NonZeroDuration, Size, TextForm as _};

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
    /// Images and documents at https addresses, which are fetched for models that take bytes alone.
    pub(crate) remote_media: RawRemoteMedia,
    /// What translated requests ask of prompt caches.
    pub(crate) prompt_caching: PromptCaching,
    /// Parameters of translated requests that become pairs of `requestMetadata`, which AWS shows in CloudTrail, logs
    /// of invocations and bills.
    #[cfg_attr(test, schemars(length(max = 3), example = ["metadata"]))]
    pub(crate) request_metadata: Vec<RecordedParameter>,
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

/// Images and documents at https addresses.
#[derive(Clone, Debug, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub(crate) struct RawRemoteMedia {
    /// Hosts from which they are fetched: names, `*.` and the end of a name, or `*` for every host. Default: none,
    /// and requests with such addresses are refused where they must be translated.
    #[cfg_attr(test, schemars(with = "Vec<ShortText>", length(max = 1000)))]
    #[cfg_attr(test, schemars(example = ["images.example.com", "*.cdn.example.com"]))]
    pub(crate) hosts: Vec<String>,
    /// Ports of these hosts.
    #[cfg_attr(test, schemars(length(min = 1, max = 16), inner(range(min = 1, max = 65535))))]
    #[default(vec![443])]
    pub(crate) ports: Vec<u16>,
    /// Blocks of IP addresses that hosts may have although they are not public, such as that of an own server of
    /// images.
    #[cfg_attr(test, schemars(with = "Vec<ShortText>", length(max = 100)))]
    #[cfg_attr(test, schemars(example = ["10.20.0.0/16"]))]
    pub(crate) allow_addresses: Vec<String>,
    /// Longest file.
    #[serde(with = "Size")]
    #[default = 5_000_000]
    pub(crate) max_size: usize,
    /// Most addresses of one request.
    #[default = 20]
    #[cfg_attr(test, schemars(range(min = 1, max = 100)))]
    pub(crate) max_per_request: usize,
    /// How long one file may take, with its redirections.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(10))]
    pub(crate) timeout: Duration,
    /// Files that are fetched at once, for all requests.
    #[default = 32]
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000)))]
    pub(crate) max_concurrent: usize,
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
