//! `/admin/models`: what is known of models, and where each value came from.
//!
//! The query filters: `name`, `surface` and `feature`. Targets come first; they also show what their
//! answers have taught.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use crate::config::{FactSource, KnownFact, KnownModel, ModelFilter};
use crate::pipeline::Gateway;

#[derive(Serialize)]
struct Report<'a> {
    /// The files that facts come from, the lowest first.
    catalogue: Vec<LayerEntry<'a>>,
    models: Vec<KnownModel>,
}

#[derive(Serialize)]
struct LayerEntry<'a> {
    name: &'a str,
    date: String,
    rows: usize,
}

pub(super) fn answer(gateway: &Gateway, query: Option<&str>) -> Response<Bytes> {
    let mut models = gateway.config.list_models(&filter(query.unwrap_or_default()));
    for model in &mut models {
        add_learned(gateway, model);
    }
    let layers = gateway.config.known_models.layers().iter();
    let catalogue = layers.map(|layer| LayerEntry {
        name: layer.name(),
        date: layer.date().to_string(),
        rows: layer.len(),
    });
    match serde_json::to_value(Report { catalogue: catalogue.collect(), models }) {
        Ok(report) => super::json(StatusCode::OK, &report),
        Err(error) => super::failed(&error),
    }
}

/// Adds what a target's answers have taught.
fn add_learned(gateway: &Gateway, model: &mut KnownModel) {
    let Some(name) = &model.target else { return };
    let targets = gateway.router.targets();
    let Some(target) = targets.iter().find(|target| &*target.name == name.as_str()) else { return };
    let from = FactSource::Learned { learned_by: name.clone() };
    let learned = [
        ("bytes_per_token", Some(json!(target.estimator.bytes_per_token()))),
        ("max_output_tokens", target.named_output().map(|limit| json!(limit))),
        ("max_input_tokens", target.named_input().map(|limit| json!(limit))),
    ];
    for (field, value) in learned {
        let Some(value) = value else { continue };
        let fact = KnownFact { value, from: from.clone() };
        // What the config or the catalogue says counts first.
        model.facts.entry(field.to_owned()).or_insert(fact);
    }
}

fn filter(query: &str) -> ModelFilter {
    let of = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()?;
        let text = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
        (!text.is_empty()).then_some(text)
    };
    ModelFilter { name: of("name"), surface: of("surface"), feature: of("feature") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_filters() {
        let all = filter("name=claude%2Dsonnet&surface=converse&feature=");
        assert_eq!(all.name.as_deref(), Some("claude-sonnet"));
        assert_eq!(all.surface.as_deref(), Some("converse"));
        assert_eq!(all.feature, None);
        assert_eq!(filter(""), ModelFilter::default());
    }
}
