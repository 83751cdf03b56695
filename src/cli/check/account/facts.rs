//! What the catalogue says of a model, and AWS contradicts. A row for the file of `catalogue.file` corrects it.
//!
//! Features count as the target has them: those that its config names, else the catalogue's.

use std::collections::BTreeSet;

use serde_json::json;
use toml::Value;

use super::finding::{Finding, Severity};
use super::snapshot::Snapshot;
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
pub(super) fn findings(
    target: &Target,
    model: &Model,
    snapshot: &Snapshot,
    catalogue: &Catalogue,
) -> Vec<Finding> {
    let Ok(id) = ModelId::new(&model.model_id) else { return Vec::new() };
    let facts = catalogue.facts(&id, &target.region);
    let facts = facts.as_deref();
    let mut findings = Vec::new();
    findings.extend(features(target, facts, model));
    findings.extend(retirement(target, &id, facts, model));
    findings.extend(facts.and_then(|facts| ways(target, facts, model)));
    findings.extend(facts.and_then(|facts| profiles(target, facts, model, snapshot)));
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
    let (mut right, mut flags) = (known, serde_json::Map::new());
    let mut said = Vec::new();
    for (name, feature, is_certain) in MODALITIES {
        let reads = model.input_modalities.iter().any(|modality| modality == name);
        let word = Features::NAMES.iter().find(|(_, it)| *it == feature).map_or(name, |it| it.0);
        if reads && !known.contains(feature) {
            right = [right, feature].into_iter().collect();
            flags.insert(word.to_owned(), true.into());
            said.push(format!("reads {word}"));
        } else if !reads && is_certain && known.contains(feature) {
            right = right.without(feature);
            flags.insert(word.to_owned(), false.into());
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
    let finding = finding.with("features", names);
    Some(match target.features {
        None => finding.correcting(&model.model_id, json!({ "features": flags })),
        Some(_) => finding,
    })
}

/// Whether the model's bare id can be called.
fn ways(target: &Target, facts: &ModelFacts, model: &Model) -> Option<Finding> {
    let types = &model.inference_types_supported;
    let (known, by_aws) = (facts.on_demand?, types.iter().any(|it| it == "ON_DEMAND"));
    if known == by_aws || types.is_empty() {
        return None;
    }
    let id = &model.model_id;
    let message = match by_aws {
        true => format!("AWS says that '{id}' can be called by its own id; the catalogue does not"),
        false => format!("AWS says that '{id}' cannot be called by its own id; the catalogue does"),
    };
    Some(note(target, message).correcting(id, json!({ "on_demand": by_aws })))
}

/// Profiles that the catalogue does not have. Those that are not in the list may be in another region's.
fn profiles(
    target: &Target,
    facts: &ModelFacts,
    model: &Model,
    snapshot: &Snapshot,
) -> Option<Finding> {
    let id = &model.model_id;
    let by_aws = snapshot.profiles_of(id).filter_map(|profile| {
        let geography = profile.strip_suffix(id.as_str())?.strip_suffix('.')?;
        ModelId::new(profile).ok()?.geography().map(|_| geography.to_owned())
    });
    let known: BTreeSet<String> = facts.profiles.iter().cloned().collect();
    let missing: BTreeSet<String> = by_aws.filter(|it| !known.contains(it)).collect();
    if !facts.is_listed || missing.is_empty() {
        return None;
    }
    let named: Vec<String> =
        missing.iter().map(|geography| format!("'{geography}.{id}'")).collect();
    let message = format!("AWS has {}; the catalogue does not", named.join(" and "));
    let all: Vec<&String> = known.union(&missing).collect();
    Some(note(target, message).correcting(id, json!({ "profiles": all })))
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
    let row = json!({ "retires": by_aws });
    Some(note(target, message).correcting(id.as_str(), row))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(target: &Target, model: serde_json::Value) -> Vec<Finding> {
        let model = serde_json::from_value(model).unwrap();
        findings(target, &model, &Snapshot::default(), &Catalogue::shipped())
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
    fn another_way_to_call_a_model_and_profiles_are_told_with_a_row_that_corrects_the_catalogue() {
        let id = "anthropic.claude-sonnet-4-5-20250929-v1:0";
        let model = json!({ "modelId": id, "inferenceTypesSupported": ["ON_DEMAND"] });
        let model: Model = serde_json::from_value(model).unwrap();
        let arn = format!("arn:aws:bedrock:us-east-1::foundation-model/{id}");
        let profile = |geography: &str| {
            let id = format!("{geography}.{id}");
            json!({ "inferenceProfileId": id, "models": [{ "modelArn": arn }] })
        };
        let profiles = json!([profile("us"), profile("ca"), profile("nowhere")]);
        let snapshot = Snapshot {
            profiles: Some(serde_json::from_value(profiles).unwrap()),
            ..Snapshot::default()
        };
        let text = json!({ "format": 1, "date": "2026-11-28", "runtime": {
            id: { "on_demand": false, "profiles": ["us", "eu"] } } });
        let catalogue = Catalogue::shipped().with_file("own.json", &text.to_string()).unwrap();
        let found = findings(&target(id), &model, &snapshot, &catalogue);
        let messages: Vec<&str> = found.iter().map(|it| it.message.as_str()).collect();
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert!(messages[0].ends_with("can be called by its own id; the catalogue does not"));
        assert_eq!(messages[1], format!("AWS has 'ca.{id}'; the catalogue does not"));
        // With the rows in its file the catalogue agrees.
        let today = crate::bedrock::Date::default();
        let file = super::super::finding::corrections_of(&found, today).unwrap();
        assert_eq!(file["runtime"][id]["profiles"], json!(["ca", "eu", "us"]));
        let corrected = catalogue.with_file("more.json", &file.to_string()).unwrap();
        assert_eq!(findings(&target(id), &model, &snapshot, &corrected), []);
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
