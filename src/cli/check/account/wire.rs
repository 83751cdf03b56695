//! What the calls about an account answer, as far as the check reads it. What is missing in an answer is
//! not known.
//!
//! Sources: the service models of `bedrock` (2023-04-20) and `service-quotas` (2019-06-24).

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Deserializer};

use crate::bedrock::{Date, ModelId};

/// The answer of ListFoundationModels.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Models {
    pub(super) model_summaries: Vec<Model>,
}

/// A foundation model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Model {
    pub(super) model_id: String,
    pub(super) model_name: Option<String>,
    pub(super) provider_name: Option<String>,
    /// `TEXT`, `IMAGE`, `VIDEO`, `SPEECH`...
    pub(super) input_modalities: Vec<String>,
    pub(super) output_modalities: Vec<String>,
    pub(super) response_streaming_supported: Option<bool>,
    /// `ON_DEMAND`, `PROVISIONED`, `INFERENCE_PROFILE`.
    pub(super) inference_types_supported: Vec<String>,
    pub(super) model_lifecycle: ModelLifecycle,
}

/// When AWS offers a model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ModelLifecycle {
    /// `ACTIVE` or `LEGACY`.
    pub(super) status: Option<String>,
    #[serde(deserialize_with = "day")]
    pub(super) legacy_time: Option<Date>,
    #[serde(deserialize_with = "day")]
    pub(super) end_of_life_time: Option<Date>,
}

/// A page of ListInferenceProfiles.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Profiles {
    #[serde(default)]
    pub(super) inference_profile_summaries: Vec<Profile>,
    pub(super) next_token: Option<String>,
}

/// An inference profile.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Profile {
    pub(super) inference_profile_id: String,
    pub(super) inference_profile_arn: String,
    pub(super) models: Vec<ProfileModel>,
}

/// A model behind an inference profile.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ProfileModel {
    pub(super) model_arn: String,
}

impl Profile {
    /// The id of the model behind it.
    pub(super) fn base(&self) -> Option<String> {
        let arn = &self.models.first()?.model_arn;
        ModelId::new(arn).ok()?.base().map(str::to_owned)
    }

    /// Whether it is global: a model behind it is of no region.
    pub(super) fn is_global(&self) -> bool {
        self.models.iter().any(|model| model.model_arn.split(':').nth(3) == Some(""))
    }
}

/// The answer of GetFoundationModelAvailability.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Availability {
    pub(super) agreement_availability: Agreement,
    /// `AUTHORIZED` or `NOT_AUTHORIZED`.
    pub(super) authorization_status: Option<String>,
    /// `AVAILABLE` or `NOT_AVAILABLE`.
    pub(super) entitlement_availability: Option<String>,
    /// `AVAILABLE` or `NOT_AVAILABLE`.
    pub(super) region_availability: Option<String>,
}

/// Whether the account has agreed to the terms of a model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Agreement {
    /// `AVAILABLE`, `PENDING`, `NOT_AVAILABLE` or `ERROR`.
    pub(super) status: Option<String>,
}

/// A page of ListServiceQuotas and ListAWSDefaultServiceQuotas.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Quotas {
    #[serde(default)]
    pub(super) quotas: Vec<ListedQuota>,
    pub(super) next_token: Option<String>,
}

/// A quota of either list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedQuota {
    pub(super) quota_name: String,
    pub(super) value: f64,
}

/// A day from a time such as `2026-03-01T00:00:00Z`, or from seconds since the Unix epoch.
fn day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Date>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Time {
        Text(String),
        Seconds(f64),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Option::<Time>::deserialize(deserializer)? {
        Some(Time::Text(text)) => text.get(..10).and_then(Date::parse),
        Some(Time::Seconds(seconds)) => Duration::try_from_secs_f64(seconds)
            .ok()
            .and_then(|since| UNIX_EPOCH.checked_add(since))
            .map(Date::of),
        Some(Time::Other(_)) | None => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_is_read_in_both_forms_of_aws() {
        for time in [json!("2026-03-01T10:00:00Z"), json!(1_772_323_200.5)] {
            let model = json!({ "modelId": "m", "modelLifecycle": { "endOfLifeTime": time } });
            let model: Model = serde_json::from_value(model).unwrap();
            let day = model.model_lifecycle.end_of_life_time.unwrap();
            assert_eq!(day.to_string(), "2026-03-01");
        }
        for odd in [json!("soon"), json!(-1), json!(1e300), json!(null), json!([])] {
            let model = json!({ "modelLifecycle": { "endOfLifeTime": odd } });
            let model: Model = serde_json::from_value(model).unwrap();
            assert_eq!(model.model_lifecycle.end_of_life_time, None);
        }
    }

    #[test]
    fn the_model_behind_a_profile_and_its_reach_follow_from_its_arns() {
        let profile = |arns: &[&str]| {
            let models: Vec<_> = arns.iter().map(|arn| json!({ "modelArn": arn })).collect();
            serde_json::from_value::<Profile>(json!({ "models": models })).unwrap()
        };
        let here = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0";
        let nowhere = "arn:aws:bedrock:::foundation-model/amazon.nova-lite-v1:0";
        let global = profile(&[here, nowhere]);
        assert_eq!(global.base().as_deref(), Some("amazon.nova-lite-v1:0"));
        assert!(global.is_global() && !profile(&[here]).is_global());
        assert_eq!(profile(&[]).base(), None);
    }
}
