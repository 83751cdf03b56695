//! What counts for one model: a row after all layers are merged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sluice_bedrock::Features;

use super::Endpoint;
use super::feature;
use super::file::{Mode, RawTokenCounter, Row};
use super::lifecycle::Lifecycle;
use super::price::Prices;
use super::surface::Surface;

/// An effort for an answer, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names of the API")]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

/// What counts the tokens of a model's requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenCounter {
    /// Where it is called.
    pub endpoint: Endpoint,
    /// The model that is named.
    pub model: String,
}

/// Facts of one model. What is not known is `None`, empty or absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelFacts {
    /// What the model does.
    pub mode: Option<Mode>,
    /// First-party names that stand for it.
    pub names: Vec<String>,
    /// Geographies that have an inference profile of it.
    pub profiles: Vec<String>,
    /// Whether its bare id can be called.
    pub on_demand: Option<bool>,
    /// The ways to call it.
    pub surfaces: Vec<Surface>,
    /// Where the mantle endpoint has its OpenAI surfaces.
    pub path_prefix: Option<String>,
    /// Largest input, in tokens.
    pub max_input_tokens: Option<u32>,
    /// Largest answer, in tokens.
    pub max_output_tokens: Option<u32>,
    /// Fewest tokens of a cached prefix.
    pub min_cache_tokens: Option<u32>,
    /// Numbers of one embedding.
    pub embedding_dimensions: Option<u32>,
    /// All features that are known to be there or not, by [`super::FEATURE_NAMES`].
    pub all_features: BTreeMap<String, bool>,
    /// The efforts that it takes, ascending.
    pub effort_levels: Vec<Effort>,
    /// Quota tokens that one output token costs.
    pub burndown: Option<u32>,
    /// What counts the tokens of its requests.
    pub count_tokens_with: Option<TokenCounter>,
    /// When it ends, if that is announced.
    pub lifecycle: Option<Lifecycle>,
    /// List prices.
    pub prices: Prices,
    /// Whether a row is of this very model, and not only a glob that matches it.
    pub is_listed: bool,
    features: Option<Features>,
}

impl ModelFacts {
    /// The most output tokens an answer can have: none for a model that writes no text, `unknown` if no
    /// layer says it.
    pub fn most_output(&self, unknown: u64) -> u64 {
        match self.mode {
            Some(Mode::Chat) | None => self.max_output_tokens.map_or(unknown, u64::from),
            Some(_) => 0,
        }
    }

    /// The features that the model takes, of those that requests are routed by. `None` if the model is not
    /// listed, and no glob says anything of them.
    pub fn features(&self) -> Option<Features> {
        self.features.or(self.is_listed.then(Features::default))
    }

    /// Whether it has a feature, by [`super::FEATURE_NAMES`]; `None` if that is not known.
    pub fn has(&self, feature: &str) -> Option<bool> {
        self.all_features.get(feature).copied()
    }

    /// Whether it takes `temperature`, `top_p` and `top_k`; true if that is not known.
    pub(super) fn takes_sampling(&self) -> bool {
        self.has("sampling").unwrap_or(true)
    }
}

impl ModelFacts {
    /// The facts of a merged row; `is_listed` if a row is of this very model.
    pub(super) fn of(row: Row, is_listed: bool) -> ModelFacts {
        let flags = row.features.unwrap_or_default();
        let all_features: BTreeMap<String, bool> =
            flags.into_iter().filter_map(|(name, has)| Some((name, has?))).collect();
        let has = all_features.iter().filter(|(_, has)| **has).map(|(name, _)| name.as_str());
        let is_routed = |name: &String| Features::by_name(name).is_some();
        let features = all_features.keys().any(is_routed).then(|| feature::routed(has));
        let lifecycle = row.retires.map(|retires_on| Lifecycle {
            legacy_on: row.legacy,
            retires_on,
            successor: row.successor,
        });
        ModelFacts {
            mode: row.mode,
            names: row.names.unwrap_or_default(),
            profiles: row.profiles.unwrap_or_default(),
            on_demand: row.on_demand,
            surfaces: row.surfaces.unwrap_or_default(),
            path_prefix: row.path_prefix,
            max_input_tokens: row.max_input_tokens,
            max_output_tokens: row.max_output_tokens,
            min_cache_tokens: row.min_cache_tokens,
            embedding_dimensions: row.embedding_dimensions,
            all_features,
            effort_levels: row.effort_levels.unwrap_or_default(),
            burndown: row.burndown,
            count_tokens_with: row.count_tokens_with.and_then(RawTokenCounter::counter),
            lifecycle,
            prices: row.prices.map(Prices::from).unwrap_or_default(),
            is_listed,
            features,
        }
    }
}
