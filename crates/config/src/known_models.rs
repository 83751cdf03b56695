//! What is known of models under one config: the catalogue's facts, and the targets' own settings on top.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use sluice_bedrock::ModelId;
use sluice_catalogue::{Endpoint, ExplainedFact, Origin};

use super::model::{Config, Target};

/// One value, and where it came from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KnownFact {
    /// The value.
    pub value: Value,
    /// Where it came from.
    pub from: FactSource,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum FactSource {
    /// A row of the catalogue.
    Catalogue(Origin),
    /// The settings of a target.
    Target {
        /// The name of the target.
        target: String,
    },
    /// The answers that a target gave.
    Learned {
        /// The name of the target.
        learned_by: String,
    },
}

/// A model of the catalogue, or of a target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KnownModel {
    /// The id.
    pub model: String,
    /// Where it is called.
    pub endpoint: Endpoint,
    /// The target whose model it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The target's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What is known, by field.
    pub facts: BTreeMap<String, KnownFact>,
}

/// Which models are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFilter {
    /// A part of the id, of a first-party name or of a target's name.
    pub name: Option<String>,
    /// A surface that it has.
    pub surface: Option<String>,
    /// A feature that it takes.
    pub feature: Option<String>,
}

impl Config {
    /// The models of its targets, in the config's order, and then those of the catalogue.
    pub fn list_models(&self, filter: &ModelFilter) -> Vec<KnownModel> {
        let of_targets = self.targets.iter().filter_map(|target| self.model_of(target));
        let of_catalogue = Endpoint::ALL.into_iter().flat_map(|endpoint| {
            let ids = self.known_models.ids(endpoint).into_iter();
            ids.filter_map(move |id| {
                let model = ModelId::new(&id).ok()?;
                let facts =
                    facts(self.known_models.explain(endpoint, &model, &self.upstream.region));
                Some(KnownModel { model: id, endpoint, target: None, region: None, facts })
            })
        });
        of_targets.chain(of_catalogue).filter(|model| model.is_wanted(filter)).collect()
    }

    fn model_of(&self, target: &Target) -> Option<KnownModel> {
        let model = ModelId::new(target.base_model.as_ref().unwrap_or(&target.model)).ok()?;
        let explained = self.known_models.explain(target.service, &model, &target.region);
        let mut facts = facts(explained);
        let mut set = |field: &str, value: Option<Value>| {
            let from = FactSource::Target { target: target.name.clone() };
            if let Some(value) = value {
                facts.insert(field.to_owned(), KnownFact { value, from });
            }
        };
        set("max_output_tokens", target.max_output_tokens.map(Value::from));
        set("burndown", target.output_burndown.map(Value::from));
        set("surfaces", target.surfaces.map(|surfaces| json!(surfaces)));
        set("path_prefix", target.path_prefix.clone().map(Value::from));
        if let Some(features) = target.features {
            for (name, feature) in sluice_bedrock::Features::NAMES {
                set(&format!("features.{name}"), Some(json!(features.contains(feature))));
            }
        }
        Some(KnownModel {
            model: target.model.clone(),
            endpoint: target.service,
            target: Some(target.name.clone()),
            region: Some(target.region.clone()),
            facts,
        })
    }
}

impl KnownModel {
    fn is_wanted(&self, filter: &ModelFilter) -> bool {
        let names = || self.texts("names");
        let has_name = |part: &String| {
            let part = part.as_str();
            self.model.contains(part)
                || self.target.as_ref().is_some_and(|target| target.contains(part))
                || names().any(|name| name.contains(part))
        };
        let has_surface = |surface: &String| self.texts("surfaces").any(|it| it == surface);
        let has_feature = |feature: &String| {
            self.value(&format!("features.{feature}")) == Some(&Value::Bool(true))
        };
        filter.name.as_ref().is_none_or(has_name)
            && filter.surface.as_ref().is_none_or(has_surface)
            && filter.feature.as_ref().is_none_or(has_feature)
    }

    /// The value of a field.
    pub fn value(&self, field: &str) -> Option<&Value> {
        self.facts.get(field).map(|fact| &fact.value)
    }

    /// The texts of a field that is a list of them.
    pub fn texts(&self, field: &str) -> impl Iterator<Item = &str> {
        let list = self.value(field).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str)
    }
}

fn facts(explained: Vec<ExplainedFact>) -> BTreeMap<String, KnownFact> {
    let facts = explained.into_iter().map(|ExplainedFact { field, value, origin }| {
        (field, KnownFact { value, from: FactSource::Catalogue(origin) })
    });
    facts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Env;

    fn listed(text: &str, filter: &ModelFilter) -> Vec<KnownModel> {
        let loaded = Config::from_toml(text, "config.toml", &Env::default()).unwrap();
        loaded.config.list_models(filter)
    }

    #[test]
    fn a_targets_own_settings_count_before_the_catalogue() {
        let text = "[targets.a]\nmodel = 'us.anthropic.claude-sonnet-4-6'\nmax_output_tokens = 100\n\
                    features = ['tools']\n";
        let filter = ModelFilter { name: Some("a".to_owned()), ..ModelFilter::default() };
        let all = listed(text, &filter);
        let first = all.first().unwrap();
        assert_eq!(first.target.as_deref(), Some("a"));
        assert_eq!(first.value("max_output_tokens"), Some(&json!(100)));
        let own = FactSource::Target { target: "a".to_owned() };
        assert_eq!(first.facts["max_output_tokens"].from, own);
        assert_eq!(first.value("features.images"), Some(&json!(false)));
        assert!(matches!(first.facts["max_input_tokens"].from, FactSource::Catalogue(_)));
    }

    #[test]
    fn models_are_found_by_name_surface_and_feature() {
        let of = |name: &str, surface: &str, feature: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let filter =
                ModelFilter { name: some(name), surface: some(surface), feature: some(feature) };
            listed("", &filter)
        };
        let sonnet = of("claude-sonnet-4-5-20250929", "", "");
        assert_eq!(sonnet.len(), 1, "{sonnet:?}");
        let (video, responses) = (of("", "", "video"), of("", "responses", ""));
        assert!(!video.is_empty() && !responses.is_empty());
        assert!(responses.iter().all(|it| it.texts("surfaces").any(|it| it == "responses")));
        assert!(of("claude", "", "video").is_empty());
    }
}
