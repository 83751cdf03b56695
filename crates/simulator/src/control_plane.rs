//! Calls of the control plane that list and describe the models and inference profiles of an account:
//! those of the catalogue, with what the settings of the account change.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::account::{AccountModel, AccountSettings};
use super::reply::Failure;
use sluice_bedrock::account::AccountOperation;
use sluice_bedrock::{ErrorKind, Features, ModelId, Operation, region};
use sluice_catalogue::{Catalogue, Endpoint};

/// Entries of one page, unless the request says otherwise.
const PAGE: usize = 100;
/// Most entries of one page. Source: the service model.
const MAX_PAGE: usize = 1_000;

/// The model behind an application inference profile of an account that names none.
const BEHIND_APPLICATION_PROFILES: &str = "anthropic.claude-3-haiku-20240307-v1:0";

/// When all profiles were made.
const CREATED: &str = "2025-01-01T00:00:00Z";

/// The region of a request that names none.
pub(super) const USUAL_REGION: &str = "us-east-1";

/// An account in a region, as its calls see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    /// The account.
    pub(super) account: &'a AccountSettings,
    /// The region that the request is signed for.
    pub(super) region: &'a str,
}

impl View<'_> {
    /// Answers a call of the control plane.
    pub(super) fn answer(
        &self,
        operation: Operation,
        identifier: Option<&str>,
        query: &str,
    ) -> Result<Value, Failure> {
        let action = format!("bedrock:{}", operation.name());
        self.permits(&action)?;
        let found = match (operation, identifier) {
            (Operation::ListFoundationModels, _) => Some(self.models(query)),
            (Operation::ListInferenceProfiles, _) => Some(self.profiles(query)),
            (Operation::GetFoundationModel, Some(identifier)) => {
                let id = identifier.rsplit('/').next().unwrap_or(identifier);
                self.known(id).map(|model| json!({ "modelDetails": model }))
            }
            (Operation::GetInferenceProfile, Some(identifier)) => self.profile(identifier),
            _ => None,
        };
        found.ok_or_else(not_found)
    }

    /// Answers GetFoundationModelAvailability.
    pub(super) fn availability(&self, id: &str) -> Result<Value, Failure> {
        self.permits(AccountOperation::GetFoundationModelAvailability.action())?;
        self.known(id).ok_or_else(not_found)?;
        let model = self.settings(id);
        let stated = |lacks: bool| if lacks { "NOT_AVAILABLE" } else { "AVAILABLE" };
        Ok(json!({
            "modelId": id,
            "agreementAvailability": { "status": stated(model.not_enabled || model.no_agreement) },
            "authorizationStatus": if model.not_enabled { "NOT_AUTHORIZED" } else { "AUTHORIZED" },
            "entitlementAvailability": stated(model.not_enabled),
            "regionAvailability": "AVAILABLE",
        }))
    }

    fn permits(&self, action: &str) -> Result<(), Failure> {
        if !self.account.denies(action) {
            return Ok(());
        }
        let message = format!(
            "User: arn:aws:iam::{}:user/simulated is not authorized to perform: {action} on \
             resource: * because no identity-based policy allows the {action} action",
            self.account.account_id
        );
        Err(Failure::new(ErrorKind::AccessDenied, message))
    }

    fn models(&self, query: &str) -> Value {
        let provider = parameter(query, "byProvider").map(str::to_ascii_lowercase);
        let all: Vec<Value> = self
            .model_ids()
            .filter(|id| provider.as_deref().is_none_or(|it| id.split('.').next() == Some(it)))
            .filter_map(|id| self.known(&id))
            .collect();
        json!({ "modelSummaries": all })
    }

    fn profiles(&self, query: &str) -> Value {
        let kind = parameter(query, "type").unwrap_or("SYSTEM_DEFINED");
        let number = |name| parameter(query, name).and_then(|text| text.parse::<usize>().ok());
        let wanted = number("maxResults").unwrap_or(PAGE);
        let (skip, most) =
            (number("nextToken").unwrap_or(0), self.account.page(Some(wanted), MAX_PAGE));
        let all: Vec<Value> = match kind {
            "APPLICATION" => {
                let ids = self.account.application_profiles.keys();
                ids.filter_map(|id| self.profile(&self.application_arn(id))).collect()
            }
            _ => self
                .system_profiles()
                .iter()
                .map(|(id, model)| self.system_profile(id, model))
                .collect(),
        };
        let mut rest = all.into_iter().skip(skip);
        let page: Vec<Value> = rest.by_ref().take(most).collect();
        let mut answer = json!({ "inferenceProfileSummaries": page });
        if let (Some(_), Some(members)) = (rest.next(), answer.as_object_mut()) {
            members.insert("nextToken".to_owned(), Value::from((skip + most).to_string()));
        }
        answer
    }

    /// The ids of all models that there are or were, in their order.
    fn model_ids(&self) -> impl Iterator<Item = String> {
        let listed = catalogue_ids().filter(|(_, geography)| geography.is_none());
        let mut ids: Vec<String> = listed.map(|(id, _)| id).collect();
        ids.extend(self.account.models.keys().cloned());
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter()
    }

    fn settings(&self, id: &str) -> AccountModel {
        self.account.models.get(id).cloned().unwrap_or_default()
    }

    /// A model as the list shows it; `None` if the account has no model with this id.
    fn known(&self, id: &str) -> Option<Value> {
        let settings = self.settings(id);
        let is_listed = self.account.models.contains_key(id)
            || catalogue_ids().any(|(known, geography)| known == id && geography.is_none());
        (is_listed && !settings.absent).then(|| self.model(id, &settings))
    }

    fn model(&self, id: &str, settings: &AccountModel) -> Value {
        let provider = id.split('.').next().unwrap_or_default();
        let AccountModel { legacy, legacy_time, end_of_life_time, .. } = settings;
        let mut lifecycle = json!({ "status": if *legacy { "LEGACY" } else { "ACTIVE" } });
        for (name, time) in [("legacyTime", legacy_time), ("endOfLifeTime", end_of_life_time)] {
            if let (Some(time), Some(members)) = (time, lifecycle.as_object_mut()) {
                members.insert(name.to_owned(), Value::from(time.as_str()));
            }
        }
        let facts = ModelId::new(id).ok().and_then(|id| Catalogue::shipped().facts(&id, ""));
        let is_known_so = || facts.as_ref().is_some_and(|it| it.on_demand == Some(false));
        let is_profile_only = settings.profile_only.unwrap_or_else(is_known_so);
        let types = if is_profile_only { "INFERENCE_PROFILE" } else { "ON_DEMAND" };
        let features = || facts.as_ref().and_then(|facts| facts.features()).unwrap_or_default();
        let inputs = settings.input_modalities.clone().unwrap_or_else(|| inputs(features()));
        let text = || vec!["TEXT".to_owned()];
        json!({
            "modelArn": format!("arn:aws:bedrock:{}::foundation-model/{id}", self.region),
            "modelId": id,
            "modelName": settings.name.clone().unwrap_or_else(|| title(id)),
            "providerName": settings.provider.as_deref().unwrap_or(provider),
            "inputModalities": inputs,
            "outputModalities": settings.output_modalities.clone().unwrap_or_else(text),
            "responseStreamingSupported": !settings.no_streaming,
            "customizationsSupported": [],
            "inferenceTypesSupported": [types],
            "modelLifecycle": lifecycle,
        })
    }

    /// The system-defined profiles that can be called in the region, each with its model.
    fn system_profiles(&self) -> BTreeMap<String, String> {
        let is_set = |model: &str| {
            self.account.models.get(model).is_some_and(|it| it.absent || it.profiles.is_some())
        };
        let listed = catalogue_ids()
            .filter_map(|(id, model)| Some((id, model?)))
            .filter(|(_, model)| !is_set(model));
        let own = self.account.models.iter().filter(|(_, it)| !it.absent).flat_map(|(id, it)| {
            let geographies = it.profiles.iter().flatten();
            geographies.map(move |geography| (format!("{geography}.{id}"), id.clone()))
        });
        listed.chain(own).filter(|(id, _)| self.is_called_here(id)).collect()
    }

    fn is_called_here(&self, profile: &str) -> bool {
        let geography = profile.split('.').next().unwrap_or_default();
        !region::is_elsewhere(geography, self.region)
    }

    /// A profile by its id or its ARN.
    fn profile(&self, identifier: &str) -> Option<Value> {
        let id = identifier.rsplit('/').next()?;
        if !identifier.contains(":application-inference-profile/") {
            return self.system_profiles().get(id).map(|model| self.system_profile(id, model));
        }
        let profiles = &self.account.application_profiles;
        let behind = match profiles.get(id) {
            Some(behind) => behind.as_str(),
            None if profiles.is_empty() => BEHIND_APPLICATION_PROFILES,
            None => return None,
        };
        let arns = match ModelId::new(behind).ok()?.geography() {
            Some(geography) => self.arns_of(geography, behind.split_once('.')?.1),
            None => vec![self.arn_of(behind, self.region)],
        };
        Some(described(id, "APPLICATION", identifier, &arns))
    }

    fn system_profile(&self, id: &str, model: &str) -> Value {
        let account = &self.account.account_id;
        let arn = format!("arn:aws:bedrock:{}:{account}:inference-profile/{id}", self.region);
        let geography = id.split('.').next().unwrap_or_default();
        described(id, "SYSTEM_DEFINED", &arn, &self.arns_of(geography, model))
    }

    fn application_arn(&self, id: &str) -> String {
        let (region, account) = (self.region, &self.account.account_id);
        format!("arn:aws:bedrock:{region}:{account}:application-inference-profile/{id}")
    }

    /// The models behind a system-defined profile: the region's, and another region's or, of a
    /// global one, that of no region.
    fn arns_of(&self, geography: &str, model: &str) -> Vec<String> {
        let other = match (geography, self.region) {
            ("global", _) => "",
            ("us", "us-east-1") => "us-west-2",
            ("us", _) => "us-east-1",
            ("eu", "eu-west-1") => "eu-central-1",
            ("eu", _) => "eu-west-1",
            (_, "ap-northeast-1") => "ap-southeast-2",
            _ => "ap-northeast-1",
        };
        vec![self.arn_of(model, self.region), self.arn_of(model, other)]
    }

    fn arn_of(&self, model: &str, region: &str) -> String {
        format!("arn:aws:bedrock:{region}::foundation-model/{model}")
    }
}

fn not_found() -> Failure {
    Failure::new(ErrorKind::ResourceNotFound, "Could not resolve the provided identifier.")
}

fn described(id: &str, kind: &str, arn: &str, models: &[String]) -> Value {
    let models: Vec<Value> = models.iter().map(|arn| json!({ "modelArn": arn })).collect();
    json!({
        "inferenceProfileId": id,
        "inferenceProfileName": id,
        "inferenceProfileArn": arn,
        "description": format!("Routes requests to {} models.", models.len()),
        "models": models,
        "status": "ACTIVE",
        "type": kind,
        "createdAt": CREATED,
        "updatedAt": CREATED,
    })
}

/// What a model with these features reads, as modalities.
fn inputs(features: Features) -> Vec<String> {
    let further =
        [(Features::VISION, "IMAGE"), (Features::VIDEO, "VIDEO"), (Features::AUDIO, "SPEECH")];
    let further = further.into_iter().filter(|(feature, _)| features.contains(*feature));
    std::iter::once("TEXT").chain(further.map(|(_, name)| name)).map(str::to_owned).collect()
}

/// A name for people, made of the id: `Claude Haiku 4.5` of `anthropic.claude-haiku-4-5-20251001-v1:0`.
fn title(id: &str) -> String {
    let model = id.split_once('.').map_or(id, |(_, model)| model);
    let model = model.split(':').next().unwrap_or(model);
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let mut title = String::new();
    let mut was_number = false;
    for word in model.split('-').filter(|word| *word != "v1") {
        let is_date = is_number(word) && word.len() == 8;
        if is_date {
            continue;
        }
        if !title.is_empty() {
            title.push(if was_number && is_number(word) { '.' } else { ' ' });
        }
        let mut letters = word.chars();
        title.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        title.push_str(letters.as_str());
        was_number = is_number(word);
    }
    title
}

/// The ids of the catalogue in their order; of a profile with the model behind it.
fn catalogue_ids() -> impl Iterator<Item = (String, Option<String>)> {
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

    fn asked(operation: Operation, identifier: Option<&str>, query: &str) -> Option<Value> {
        let account = AccountSettings::default();
        let view = View { account: &account, region: USUAL_REGION };
        view.answer(operation, identifier, query).ok()
    }

    #[test]
    fn profiles_come_in_pages() {
        let page = |query: &str| asked(Operation::ListInferenceProfiles, None, query).unwrap();
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
        let get = |operation, id: &str| asked(operation, Some(id), "");
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

    #[test]
    fn an_account_has_its_own_models_profiles_and_permissions() {
        let model = "anthropic.claude-new-9";
        let account: AccountSettings = serde_json::from_value(json!({
            "models": {
                model: { "profile_only": true, "profiles": ["us", "global"], "not_enabled": true },
                "amazon.nova-lite-v1:0": { "absent": true },
            },
            "application_profiles": { "abc": "global.anthropic.claude-new-9" },
            "denied_actions": ["bedrock:ListFoundationModels"],
        }))
        .unwrap();
        let view = View { account: &account, region: "us-west-2" };
        let get = |operation, id: &str| view.answer(operation, Some(id), "");
        let described = get(Operation::GetFoundationModel, model).unwrap();
        assert_eq!(
            described["modelDetails"]["inferenceTypesSupported"],
            json!(["INFERENCE_PROFILE"])
        );
        assert_eq!(view.availability(model).unwrap()["authorizationStatus"], "NOT_AUTHORIZED");
        assert!(get(Operation::GetFoundationModel, "amazon.nova-lite-v1:0").is_err());
        for (profile, is_there) in [
            (format!("us.{model}"), true),
            (format!("global.{model}"), true),
            (format!("eu.{model}"), false),
            ("us.amazon.nova-lite-v1:0".to_owned(), false),
        ] {
            let found = get(Operation::GetInferenceProfile, &profile);
            assert_eq!(found.is_ok(), is_there, "{profile}");
        }
        let arn = view.application_arn("abc");
        let models = &get(Operation::GetInferenceProfile, &arn).unwrap()["models"];
        let of_no_region = "arn:aws:bedrock:::foundation-model/anthropic.claude-new-9";
        assert_eq!(models[1]["modelArn"], of_no_region);
        assert!(get(Operation::GetInferenceProfile, &view.application_arn("other")).is_err());
        let denied = view.answer(Operation::ListFoundationModels, None, "").unwrap_err();
        assert_eq!(denied.name, "AccessDeniedException");
        assert!(denied.message.contains("bedrock:ListFoundationModels"));
    }

    #[test]
    fn names_are_made_of_ids() {
        for (id, name) in [
            ("anthropic.claude-haiku-4-5-20251001-v1:0", "Claude Haiku 4.5"),
            ("anthropic.claude-3-5-sonnet-20241022-v2:0", "Claude 3.5 Sonnet V2"),
            ("amazon.nova-2-lite-v1:0", "Nova 2 Lite"),
        ] {
            assert_eq!(title(id), name, "{id}");
        }
    }
}
