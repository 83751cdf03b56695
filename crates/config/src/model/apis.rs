//! The APIs of OpenAI and Anthropic: whether each is served, below which prefixes, what is stored, and which
//! requests are translated.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_bedrock::{Api, ModelId};
use sluice_catalogue::Surface;
use smart_default::SmartDefault;

use super::{Config, Target};
use crate::secret::Secret;

/// The APIs that are served beside Bedrock's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Apis {
    /// OpenAI's Chat Completions.
    pub chat_completions: ApiSettings,
    /// OpenAI's Responses.
    pub responses: ResponsesSettings,
    /// Anthropic's Messages.
    pub messages: ApiSettings,
    /// OpenAI's Embeddings.
    pub embeddings: EmbeddingsSettings,
    /// The list of models.
    pub models: ApiSettings,
    /// What is fetched from addresses in requests.
    pub remote_media: RemoteMediaSettings,
    /// What translated requests ask of prompt caches.
    pub prompt_caching: PromptCaching,
    /// Parameters that AWS's records of a translated request show.
    pub request_metadata: Vec<RecordedParameter>,
    /// What becomes of parameters that a translation can't carry.
    pub unsupported: UnsupportedParameters,
}

/// What becomes of parameters that a translation can't carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnsupportedParameters {
    /// Of those that `exceptions` does not name.
    pub default: OnUnsupported,
    /// Of these, by their names in the client's API.
    pub exceptions: BTreeMap<String, OnUnsupported>,
}

/// What becomes of a parameter that a translation can't carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnUnsupported {
    /// The request is refused, with the parameter's name.
    #[default]
    Refuse,
    /// The parameter is left out, and the answer names it.
    Drop,
}

/// Which requests are translated for targets that do not take them as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Translate {
    /// None.
    Never,
    /// Those of OpenAI's and Anthropic's APIs.
    #[default]
    Apis,
    /// These, and Converse requests and InvokeModel requests for Claude that fall to a target of another
    /// family.
    Families,
}

impl Translate {
    /// That of a route with this setting.
    pub(crate) fn of(setting: Option<bool>) -> Translate {
        match setting {
            None => Translate::Apis,
            Some(true) => Translate::Families,
            Some(false) => Translate::Never,
        }
    }
}

/// How one API is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiSettings {
    /// Whether it is.
    pub enabled: bool,
    /// What its paths begin with, each like `/openai/v1`: no slash at the end. At least one.
    pub prefixes: Vec<String>,
}

/// How Responses is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponsesSettings {
    /// Whether it is served, and where.
    pub api: ApiSettings,
    /// Whether upstreams may store responses, where a route says nothing else.
    pub store: StoreResponses,
    /// What seals the ids of stored responses, at least 32 bytes. `None`: a random key of the process.
    pub id_key: Option<Secret>,
}

/// How Embeddings is served.
#[derive(Clone, Debug, PartialEq, Eq, SmartDefault)]
pub struct EmbeddingsSettings {
    /// Whether it is served, and where.
    pub api: ApiSettings,
    /// Most calls of the model that one request makes at a time; at least one.
    #[default(8)]
    pub max_concurrent_calls: usize,
}

/// What translated requests ask of prompt caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub struct PromptCaching {
    /// Whether cache points are added to requests without any, behind the tools, the system texts and the messages
    /// before the newest of the user.
    pub add_points: bool,
    /// How long prompts stay cached at least, where the model can do it: `1h` lets each cache point last an hour.
    pub min_ttl: CacheTtl,
}

/// How long a prompt stays cached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub enum CacheTtl {
    /// Five minutes.
    #[default]
    #[serde(rename = "5m")]
    FiveMinutes,
    /// An hour.
    #[serde(rename = "1h")]
    Hour,
}

/// A parameter that AWS's records of a request may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RecordedParameter {
    /// The pairs of `metadata`; in Messages its `user_id`.
    Metadata,
    /// `safety_identifier` of OpenAI's APIs.
    SafetyIdentifier,
    /// `user` of OpenAI's APIs.
    User,
}

impl RecordedParameter {
    /// The client's name of it.
    pub fn name(self) -> &'static str {
        match self {
            RecordedParameter::Metadata => "metadata",
            RecordedParameter::SafetyIdentifier => "safety_identifier",
            RecordedParameter::User => "user",
        }
    }
}

/// What is fetched from addresses in requests, for models that take bytes alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteMediaSettings {
    /// Hosts from which may be fetched, in lower case: names, `*.` and the end of a name, or `*`. Empty: nothing is
    /// fetched.
    pub hosts: Vec<String>,
    /// Their ports.
    pub ports: Vec<u16>,
    /// Addresses that they may have although they are not public.
    pub allow_addresses: Vec<IpNet>,
    /// Longest file, in bytes.
    pub max_size: usize,
    /// Most addresses of one request.
    pub max_per_request: usize,
    /// How long one file may take.
    pub timeout: Duration,
    /// Files that are fetched at once; at least one.
    pub max_concurrent: usize,
}

impl RemoteMediaSettings {
    /// Whether may be fetched from the host with this name, in lower case, or this IP address.
    pub fn allows_host(&self, name: &str) -> bool {
        self.hosts.iter().any(|host| match host.strip_prefix('*') {
            Some("") => true,
            // With its dot.
            Some(end) => name.len() > end.len() && name.ends_with(end),
            None => host == name,
        })
    }
}

/// Whether upstreams may store responses. A stored one can be read and continued only where it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StoreResponses {
    /// Where all targets of the route that have the API are in one region.
    #[default]
    Auto,
    /// Always, unless the request says otherwise.
    Allow,
    /// Never: requests are sent with `store` off, and stored responses can't be named.
    Never,
}

impl Apis {
    /// How an API is served; `None` for Bedrock's own, which always is.
    pub fn settings(&self, api: Api) -> Option<&ApiSettings> {
        match api {
            Api::Bedrock => None,
            Api::ChatCompletions => Some(&self.chat_completions),
            Api::Responses => Some(&self.responses.api),
            Api::Messages => Some(&self.messages),
            Api::Models => Some(&self.models),
            Api::Embeddings => Some(&self.embeddings.api),
        }
    }
}

impl Config {
    /// Whether upstreams may store the responses of a route with this setting and these targets.
    pub fn stores_responses<'t>(
        &self,
        setting: StoreResponses,
        targets: impl IntoIterator<Item = &'t Target>,
    ) -> bool {
        match setting {
            StoreResponses::Allow => true,
            StoreResponses::Never => false,
            StoreResponses::Auto => {
                let targets = targets.into_iter();
                let mut able =
                    targets.filter(|it| self.surfaces_of(it).contains(Surface::Responses));
                let Some(first) = able.next() else { return false };
                !is_of_all_regions(first)
                    && able.all(|it| it.region == first.region && !is_of_all_regions(it))
            }
        }
    }
}

/// Whether a target's model may answer in any region, and so store there.
fn is_of_all_regions(target: &Target) -> bool {
    let model = ModelId::new(&target.model).ok();
    model.is_some_and(|model| model.geography() == Some("global"))
}
