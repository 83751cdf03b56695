//! What a model takes, as the catalogue has it. A model that it does not list takes everything.

use std::sync::Arc;

use sluice_bedrock::{Family, ModelId};
use sluice_catalogue::{Catalogue, Effort, ModelFacts};

use crate::State;

/// A model of Bedrock Runtime.
#[derive(Debug, Clone)]
pub(in super::super) struct Model {
    /// The id without ARN and geography; empty for what does not tell it.
    base: String,
    family: Family,
    /// What the catalogue says, if it lists the model itself.
    facts: Option<Arc<ModelFacts>>,
}

impl Model {
    /// The model that an id stands for; for an application profile the one that it was made of, if the
    /// account tells it.
    pub(in super::super) fn of(shared: &State, id: &ModelId) -> Model {
        let account = shared.account.get();
        let last = id.as_str().rsplit_once('/').map(|(_, last)| last);
        let behind = last.and_then(|last| account.application_profiles.get(last));
        let behind = behind.and_then(|model| ModelId::new(model).ok());
        Model::with_id(behind.as_ref().unwrap_or(id))
    }

    /// The model with this id.
    pub(in super::super) fn with_id(id: &ModelId) -> Model {
        let facts = Catalogue::shipped().facts(id, "").filter(|facts| facts.is_listed);
        Model { base: id.base().unwrap_or_default().to_owned(), family: id.family(), facts }
    }

    /// Whether it is one of Anthropic's.
    pub(in super::super) fn is_claude(&self) -> bool {
        self.family == Family::Anthropic
    }

    /// Whether it is one of Amazon's Nova models.
    pub(in super::super) fn is_nova(&self) -> bool {
        self.family == Family::Nova
    }

    /// Whether its id begins so.
    pub(in super::super) fn is_of(&self, beginning: &str) -> bool {
        self.base.starts_with(beginning)
    }

    /// Whether it is listed.
    pub(in super::super) fn is_known(&self) -> bool {
        self.facts.is_some()
    }

    /// Whether it takes what this feature is about: true as well if nothing is known of the model.
    pub(in super::super) fn takes(&self, feature: &str) -> bool {
        self.facts.as_ref().is_none_or(|facts| facts.has(feature) == Some(true))
    }

    /// Whether the catalogue says that it has a feature.
    pub(in super::super) fn has(&self, feature: &str) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.has(feature) == Some(true))
    }

    /// Whether the catalogue says that it lacks a feature.
    pub(in super::super) fn lacks(&self, feature: &str) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.has(feature) == Some(false))
    }

    /// Whether it takes an effort of this name; true if its efforts are not known.
    pub(super) fn takes_effort(&self, name: &str) -> bool {
        let efforts: &[Effort] = self.facts.as_ref().map_or(&[], |facts| &facts.effort_levels);
        let is_it = |effort: &Effort| {
            serde_json::to_value(effort).ok().is_some_and(|known| known.as_str() == Some(name))
        };
        (efforts.is_empty() && !self.is_known()) || efforts.iter().any(is_it)
    }
}
