//! What the catalogue says of a model, and AWS contradicts.
//!
//! Features count as the target has them: those that its config names, else the catalogue's.

use toml::Value;

use super::finding::{Finding, Severity};
use super::wire::Model;
use crate::bedrock::{Features, ModelId};
use crate::catalogue::{Catalogue, Mode, ModelFacts};
use crate::config::Target;

/// The modalities of AWS that are features of requests. Only of images does AWS say for certain that a
/// model does not read them: it names other media in some places and not in others.
const MODALITIES: [(&str, Features, bool); 3] = [
    ("IMAGE", Features::VISION, true),
    ("VIDEO", Features::VIDEO, false),
    ("SPEECH", Features::AUDIO, false),
];

/// What is to be said of the facts about a target's model.
pub(super) fn findings(target: &Target, model: &Model, catalogue: &Catalogue) -> Vec<Finding> {
    let Ok(id) = ModelId::new(&model.model_id) else { return Vec::new() };
    let facts = catalogue.facts(&id, &target.region);
    let facts = facts.as_deref();
    let mut findings = Vec::new();
    findings.extend(features(target, facts, model));
    findings.extend(retirement(target, &id, facts, model));
    let is_chat = facts.is_some_and(|facts| facts.mode == Some(Mode::Chat));
    if is_chat && model.response_streaming_supported == Some(false) {
        let message = format!("AWS says that '{id}' cannot stream: streamed requests fail there");
        findings.push(note(target, message));
    }
    findings
}

fn note(target: &Target, message: String) -> Finding {
    Finding::of_target(Severity::Note, "catalogue", &target.name, "model", message)
}

fn features(target: &Target, facts: Option<&ModelFacts>, model: &Model) -> Option<Finding> {
    let is_chat = facts.is_none_or(|facts| facts.mode == Some(Mode::Chat));
    let known = target.features.or_else(|| facts.and_then(ModelFacts::features))?;
    if !is_chat || model.input_modalities.is_empty() {
        return None;
    }
    let mut right = known;
    let mut said = Vec::new();
    for (name, feature, is_certain) in MODALITIES {
        let reads = model.input_modalities.iter().any(|modality| modality == name);
        let word = Features::NAMES.iter().find(|(_, it)| *it == feature).map_or(name, |it| it.0);
        if reads && !known.contains(feature) {
            right = [right, feature].into_iter().collect();
            said.push(format!("reads {word}"));
        } else if !reads && is_certain && known.contains(feature) {
            right = right.without(feature);
            said.push(format!("does not read {word}"));
        }
    }
    if said.is_empty() {
        return None;
    }
    let whose = if target.features.is_some() { "the config" } else { "the catalogue" };
    let message = format!(
        "AWS says that '{}' {}, which {whose} has otherwise",
        model.model_id,
        said.join(" and ")
    );
    let names = Features::NAMES.iter().filter(|(_, feature)| right.contains(*feature));
    let names: Vec<Value> = names.map(|(name, _)| Value::from(*name)).collect();
    let finding =
        Finding::of_target(Severity::Warning, "catalogue", &target.name, "features", message);
    Some(finding.with("features", names))
}

fn retirement(
    target: &Target,
    id: &ModelId,
    facts: Option<&ModelFacts>,
    model: &Model,
) -> Option<Finding> {
    let by_aws = model.model_lifecycle.end_of_life_time;
    let known = facts.and_then(|it| it.lifecycle.as_ref()).map(|it| it.retires_on);
    let message = match (by_aws, known) {
        (Some(by_aws), Some(known)) if by_aws != known => {
            format!("AWS retires '{id}' on {by_aws}; the catalogue says {known}")
        }
        (Some(by_aws), None) => {
            format!("AWS retires '{id}' on {by_aws}; the catalogue has no end of it")
        }
        _ => return None,
    };
    Some(note(target, message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(target: &Target, model: serde_json::Value) -> Vec<Finding> {
        findings(target, &serde_json::from_value(model).unwrap(), &Catalogue::shipped())
    }

    fn target(model: &str) -> Target {
        Target { name: "a".to_owned(), model: model.to_owned(), ..Target::default() }
    }

    #[test]
    fn modalities_that_the_catalogue_has_otherwise_are_told_with_the_line_to_paste() {
        let id = "amazon.nova-micro-v1:0";
        let model = json!({ "modelId": id, "inputModalities": ["TEXT", "IMAGE"] });
        let found = said(&target(id), model.clone());
        assert_eq!(found.len(), 1, "{found:?}");
        let message = "AWS says that 'amazon.nova-micro-v1:0' reads images, which the \
                       catalogue has otherwise";
        assert_eq!(found[0].message, message);
        let (key, value) = &found[0].paste[0];
        assert_eq!(
            (*key, value.as_array().unwrap().contains(&"images".into())),
            ("features", true)
        );
        // Pasted, there is nothing more to say.
        let features = toml::from_str::<Target>(&format!("features = {value}")).unwrap().features;
        assert_eq!(said(&Target { features, ..target(id) }, model), []);
        let without = json!({ "modelId": id, "inputModalities": ["TEXT"] });
        let found = said(&Target { features, ..target(id) }, without.clone());
        assert!(found[0].message.contains("does not read images, which the config has otherwise"));
        assert_eq!(said(&target(id), without), []);
    }

    #[test]
    fn another_day_of_retirement_and_a_model_that_cannot_stream_are_told() {
        let id = "anthropic.claude-opus-4-1-20250805-v1:0";
        let model = |end: &str, streams| {
            json!({
                "modelId": id,
                "modelLifecycle": { "status": "LEGACY", "endOfLifeTime": end },
                "responseStreamingSupported": streams,
            })
        };
        assert_eq!(said(&target(id), model("2027-01-08T00:00:00Z", true)), []);
        let found = said(&target(id), model("2027-02-08T00:00:00Z", false));
        let messages: Vec<&str> = found.iter().map(|it| it.message.as_str()).collect();
        assert!(messages[0].contains("on 2027-02-08; the catalogue says 2027-01-08"));
        assert!(messages[1].contains("cannot stream"), "{messages:?}");
    }
}
