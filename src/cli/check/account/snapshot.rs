//! What is known of an account in a region. A part that could not be read is `None`, and nothing is
//! concluded from it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::wire::{Availability, Model, Profile};
use crate::bedrock::ModelId;

/// An account in a region.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// The models of the region.
    pub(super) models: Option<Vec<Model>>,
    /// The system-defined inference profiles.
    pub(super) profiles: Option<Vec<Profile>>,
    /// The profiles that were asked for by their ARN; `None` if there is no such profile.
    pub(super) described: BTreeMap<String, Option<Profile>>,
    /// Whether the account may use a model, by its base id; `None` if there is no such model.
    pub(super) availability: BTreeMap<String, Option<Availability>>,
    /// The quotas of Bedrock.
    pub(super) quotas: Option<Vec<Quota>>,
    /// The parts that could not be read.
    pub(super) skipped: Vec<Skipped>,
}

/// A quota of an account.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quota {
    /// The name by Service Quotas.
    pub(super) name: String,
    /// The value of the account.
    pub(super) value: f64,
    /// The value that accounts have by default, if it could be read.
    pub(super) default: Option<f64>,
}

/// A part that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in super::super) struct Skipped {
    /// What was not compared, such as `quotas`.
    pub(in super::super) part: &'static str,
    /// The action of IAM that the credentials lack, if that is why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in super::super) action: Option<&'static str>,
    /// Why, in a clause.
    pub(in super::super) reason: String,
    /// Whether the check fails for it: the account could not be asked.
    #[serde(rename = "failed")]
    pub(in super::super) is_failure: bool,
}

impl Snapshot {
    /// A model of the region, by its base id.
    pub(super) fn model(&self, id: &str) -> Option<&Model> {
        self.models.as_ref()?.iter().find(|model| model.model_id == id)
    }

    /// A system-defined profile, by its id.
    pub(super) fn profile(&self, id: &str) -> Option<&Profile> {
        self.profiles.as_ref()?.iter().find(|profile| profile.inference_profile_id == id)
    }

    /// The ids of the system-defined profiles of a model.
    pub(super) fn profiles_of<'s>(&'s self, base: &'s str) -> impl Iterator<Item = &'s str> {
        let profiles = self.profiles.iter().flatten();
        let of_model = profiles.filter(move |profile| profile.base().as_deref() == Some(base));
        of_model.map(|profile| profile.inference_profile_id.as_str())
    }

    /// The number of the account, which the ARNs of profiles have in them.
    pub(super) fn account_id(&self) -> Option<&str> {
        let described = self.described.values().flatten();
        let mut all = self.profiles.iter().flatten().chain(described);
        all.find_map(|profile| {
            let id = profile.inference_profile_arn.split(':').nth(4)?;
            (id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit())).then_some(id)
        })
    }
}

/// The id at the end of an ARN of an inference profile that is described by GetInferenceProfile: one of
/// the account's own, which does not tell the model behind it.
pub(super) fn is_application_profile(model: &ModelId) -> bool {
    model.as_str().contains(":application-inference-profile/")
}
