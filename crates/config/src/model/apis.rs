//! The APIs of OpenAI and Anthropic: whether each is served, below which prefixes, and what is stored.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_bedrock::{Api, ModelId};
use sluice_catalogue::Surface;

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
    /// The list of models.
    pub models: ApiSettings,
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
