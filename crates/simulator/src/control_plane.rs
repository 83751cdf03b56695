//! Calls of the control plane that list and describe foundation models and inference profiles: those
//! of the catalogue, in us-east-1.

use serde_json::{Value, json};

use sluice_bedrock::{ModelId, Operation};
use sluice_catalogue::{Catalogue, Endpoint};

/// Entries of one page, unless the request says otherwise.
const PAGE: usize = 100;

/// The model behind an application inference profile, which the catalogue can't know.
const BEHIND_APPLICATION_PROFILES: &str = "anthropic.claude-3-haiku-20240307-v1:0";

/// When all profiles were made.
const CREATED: &str = "2025-01-01T00:00:00Z";

/// Answers a call; `None` if there is no model or profile of this identifier.
pub(super) fn answer(operation: Operation, identifier: Option<&str>, query: &str) -> Option<Value> {
    match (operation, identifier) {
        (Operation::ListFoundationModels, _) => Some(models(query)),
        (Operation::ListInferenceProfiles, _) => Some(profiles(query)),
        (Operation::GetFoundationModel, Some(identifier)) => {
            let id = identifier.rsplit('/').next()?;
            let is_known = ids().any(|(known, geography)| known == id && geography.is_none());
            is_known.then(|| json!({ "modelDetails": model(id) }))
        }
        (Operation::GetInferenceProfile, Some(identifier)) => profile(identifier),
        _ => None,
    }
}

fn models(query: &str) -> Value {
    let provider = parameter(query, "byProvider").map(str::to_ascii_lowercase);
    let all: Vec<Value> = ids()
        .filter(|(_, geography)| geography.is_none())
        .filter(|(id, _)| provider.as_deref().is_none_or(|it| id.split('.').next() == Some(it)))
        .map(|(id, _)| model(&id))
        .collect();
    json!({ "modelSummaries": all })
}

fn profiles(query: &str) -> Value {
    let are_wanted = parameter(query, "type").is_none_or(|kind| kind == "SYSTEM_DEFINED");
    let number = |name| parameter(query, name).and_then(|text| text.parse::<usize>().ok());
    let (skip, most) = (number("nextToken").unwrap_or(0), number("maxResults").unwrap_or(PAGE));
    let of_system = ids().filter(|(_, geography)| are_wanted && geography.is_some());
    let mut rest = of_system.skip(skip).filter_map(|(id, _)| profile(&id));
    let page: Vec<Value> = rest.by_ref().take(most).collect();
    let mut answer = json!({ "inferenceProfileSummaries": page });
    if let (Some(_), Some(members)) = (rest.next(), answer.as_object_mut()) {
        members.insert("nextToken".to_owned(), Value::from((skip + page.len()).to_string()));
    }
    answer
}

fn model(id: &str) -> Value {
    let provider = id.split('.').next();
    json!({
        "modelArn": format!("arn:aws:bedrock:us-east-1::foundation-model/{id}"),
        "modelId": id,
        "modelName": id,
        "providerName": provider,
        "inputModalities": ["TEXT"],
        "outputModalities": ["TEXT"],
        "responseStreamingSupported": true,
        "customizationsSupported": [],
        "inferenceTypesSupported": ["ON_DEMAND"],
        "modelLifecycle": { "status": "ACTIVE" },
    })
}

/// A profile by its id or its ARN.
fn profile(identifier: &str) -> Option<Value> {
    let is_of_application = identifier.contains(":application-inference-profile/");
    let id = identifier.rsplit('/').next()?;
    let model = match is_of_application {
        true => BEHIND_APPLICATION_PROFILES.to_owned(),
        false => ids().find(|(known, geography)| *known == id && geography.is_some())?.1?,
    };
    let (kind, arn) = match is_of_application {
        true => ("APPLICATION", identifier.to_owned()),
        false => (
            "SYSTEM_DEFINED",
            format!("arn:aws:bedrock:us-east-1:123456789012:inference-profile/{id}"),
        ),
    };
    Some(json!({
        "inferenceProfileId": id,
        "inferenceProfileName": id,
        "inferenceProfileArn": arn,
        "description": format!("Routes requests to {model}."),
        "models": [{ "modelArn": format!("arn:aws:bedrock:us-east-1::foundation-model/{model}") }],
        "status": "ACTIVE",
        "type": kind,
        "createdAt": CREATED,
        "updatedAt": CREATED,
    }))
}

/// The ids of the catalogue in their order; of a profile with the model behind it.
fn ids() -> impl Iterator<Item = (String, Option<String>)> {
    Catalogue::shipped().ids_with_profiles(Endpoint::Runtime).into_iter().map(|id| {
        let is_profile = ModelId::new(&id).is_ok_and(|id| id.geography().is_some());
        let behind = is_profile.then(|| id.split_once('.').map(|(_, model)| model)).flatten();
        let behind = behind.map(str::to_owned);
        (id, behind)
    })
}

/// A parameter of a query, as it stands.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_come_in_pages() {
        let page = |query: &str| answer(Operation::ListInferenceProfiles, None, query).unwrap();
        let whole = page("maxResults=1000");
        let all = whole["inferenceProfileSummaries"].as_array().unwrap();
        assert!(all.len() > 10 && whole["nextToken"].is_null());
        let (mut seen, mut token) = (0, "0".to_owned());
        loop {
            let one = page(&format!("maxResults=7&nextToken={token}"));
            seen += one["inferenceProfileSummaries"].as_array().unwrap().len();
            let Some(next) = one["nextToken"].as_str() else { break };
            next.clone_into(&mut token);
        }
        assert_eq!(seen, all.len());
        assert_eq!(page("type=APPLICATION")["inferenceProfileSummaries"], json!([]));
    }

    #[test]
    fn every_listed_model_is_described() {
        let get = |operation, id: &str| answer(operation, Some(id), "");
        let profile = get(Operation::GetInferenceProfile, "us.amazon.nova-lite-v1:0").unwrap();
        let arn = profile["inferenceProfileArn"].as_str().unwrap();
        assert_eq!(get(Operation::GetInferenceProfile, arn).unwrap(), profile);
        let behind = profile["models"][0]["modelArn"].as_str().unwrap();
        assert!(get(Operation::GetFoundationModel, behind).is_some(), "{behind}");
        let own = "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc";
        assert_eq!(get(Operation::GetInferenceProfile, own).unwrap()["type"], "APPLICATION");
        for unknown in ["us.nobody.model", "amazon.nova-lite-v1:0"] {
            assert_eq!(get(Operation::GetInferenceProfile, unknown), None, "{unknown}");
        }
        assert_eq!(get(Operation::GetFoundationModel, "us.amazon.nova-lite-v1:0"), None);
    }
}
