//! The APIs of OpenAI and Anthropic: whether each is served, below which prefixes, what is stored, and which
//! requests are translated.

use std::collections::BTreeMap;

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
