//! What the model of a target is known for, and how it is called: facts, surfaces, the prefix of paths.

use std::sync::Arc;

use sluice_bedrock::ModelId;
use sluice_catalogue::{Endpoint, ModelFacts, Surfaces};

use super::model::{Config, Target};

/// Where the mantle endpoint serves OpenAI's APIs for a model of which nothing else is known.
const MANTLE_PREFIX: &str = "/v1";

/// Where Bedrock Runtime serves OpenAI's APIs.
const RUNTIME_PREFIX: &str = "/openai/v1";

/// Where both endpoints serve Anthropic's API.
pub const ANTHROPIC_PREFIX: &str = "/anthropic/v1";

impl Config {
    /// What the catalogue knows of the model of one of the targets, at the target's endpoint and in its region.
    pub fn facts_of(&self, target: &Target) -> Option<Arc<ModelFacts>> {
        let model = ModelId::new(target.base_model.as_ref().unwrap_or(&target.model)).ok()?;
        self.known_models.facts_at(target.service, &model, &target.region)
    }

    /// The ways to call one of the targets.
    pub fn surfaces_of(&self, target: &Target) -> Surfaces {
        target.surfaces_by(self.facts_of(target).as_deref())
    }
}

impl Target {
    /// The ways to call it: those that the config names, else those that its model is known for.
    pub fn surfaces_by(&self, known: Option<&ModelFacts>) -> Surfaces {
        let known = || known.map(|facts| facts.surfaces.iter().copied().collect());
        let known = || known().filter(|surfaces: &Surfaces| !surfaces.is_empty());
        let unknown = || Surfaces::of_unknown_model(self.service);
        self.surfaces.or_else(known).unwrap_or_else(unknown)
    }

    /// What the upstream's paths of OpenAI's APIs begin with for its model.
    pub fn path_prefix_by<'a>(&'a self, known: Option<&'a ModelFacts>) -> &'a str {
        match self.service {
            Endpoint::Runtime => RUNTIME_PREFIX,
            Endpoint::Mantle => {
                let known = || known.and_then(|facts| facts.path_prefix.as_deref());
                self.path_prefix.as_deref().or_else(known).unwrap_or(MANTLE_PREFIX)
            }
        }
    }
}
