//! When AWS retires a model, and which model can take its requests from that day on.
//!
//! Days are in UTC and count for all regions. A model answers until the day before it is retired. A successor
//! takes whatever the model takes: it is of the same provider and family, and lacks no feature. AWS itself
//! may recommend a newer one.

use serde::Serialize;
use sluice_bedrock::{Date, Features, ModelId, region};

use super::Endpoint;
use super::catalogue::Catalogue;

/// Longest chain of successors that are retired themselves.
const MAX_CHAIN: usize = 8;

/// The days of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lifecycle {
    /// Since when AWS calls it legacy, if that is known: new accounts may not get it.
    pub legacy_on: Option<Date>,
    /// The first day on which it does not answer.
    pub retires_on: Date,
    /// The base id of the model that can take its requests.
    pub successor: Option<String>,
}

/// Why no model takes the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSuccessor {
    /// The table names none.
    #[error("no successor is known")]
    Unknown,
    /// The successor takes other requests than the model.
    #[error("its successor does not take the same requests")]
    Differs,
    /// AWS has no profile of the successor where the model is called.
    #[error("its successor has no inference profile there")]
    Elsewhere,
    /// The id is that of the account's own resource.
    #[error("its ARN is of the account's own resource")]
    Opaque,
}

impl Catalogue {
    /// The days of a model, by its base id; `None` if AWS has not announced any, or none is known.
    pub fn lifecycle(&self, model: &ModelId) -> Option<Lifecycle> {
        self.facts(model, "")?.lifecycle.clone()
    }

    /// The id of the model that takes the place of `model` on a day, where `model` is called in `region`.
    ///
    /// A profile is replaced by the profile of the same geography, a foundation model by the profile of the
    /// geography that its region is in, since newer models are served by profiles only. So requests stay in
    /// their geography. A successor that is retired on this day itself is replaced by its own.
    ///
    /// # Errors
    /// When no model can take the place.
    pub fn successor(
        &self,
        model: &ModelId,
        region: &str,
        day: Date,
    ) -> Result<ModelId, NoSuccessor> {
        let base = model.base().ok_or(NoSuccessor::Opaque)?;
        let mut next = ModelId::new(base).map_err(|_| NoSuccessor::Opaque)?;
        for step in 0..MAX_CHAIN {
            let lifecycle = self.lifecycle(&next).filter(|it| step == 0 || it.retires_on <= day);
            let Some(lifecycle) = lifecycle else { break };
            let successor = lifecycle.successor.ok_or(NoSuccessor::Unknown)?;
            next = ModelId::new(&successor).map_err(|_| NoSuccessor::Unknown)?;
        }
        if next.as_str() == base {
            return Err(NoSuccessor::Unknown);
        }
        if !self.takes_all_of(&next, model) {
            return Err(NoSuccessor::Differs);
        }
        let id = self.served_as(next.as_str(), model, region).ok_or(NoSuccessor::Elsewhere)?;
        let id = match model.arn_resource().filter(|_| model.geography().is_some()) {
            Some(resource) => model.as_str().replacen(resource, &id, 1),
            None => id,
        };
        ModelId::new(&id).map_err(|_| NoSuccessor::Unknown)
    }

    /// The id by which a successor is called instead of `model`.
    fn served_as(&self, successor: &str, model: &ModelId, region: &str) -> Option<String> {
        let profile = |geography: &str| {
            let id = format!("{geography}.{successor}");
            self.is_listed(&id).then_some(id)
        };
        if let Some(geography) = model.geography() {
            return profile(geography);
        }
        let region = model.arn_place().map_or(region, |(_, region)| region);
        let nearest = region::geographies(region).iter().find_map(|geography| profile(geography));
        let has_profiles = || {
            let facts = ModelId::new(successor).ok().and_then(|id| self.facts(&id, ""));
            facts.is_some_and(|facts| !facts.profiles.is_empty())
        };
        nearest.or_else(|| (!has_profiles()).then(|| successor.to_owned()))
    }

    /// Whether a model takes every request that another takes.
    fn takes_all_of(&self, successor: &ModelId, model: &ModelId) -> bool {
        let provider =
            |id: &ModelId| id.base().and_then(|base| base.split('.').next().map(str::to_owned));
        let facts = |id: &ModelId| self.facts_at(Endpoint::Runtime, id, "");
        let (Some(new), Some(old)) = (facts(successor), facts(model)) else {
            return false;
        };
        let features = |features: Option<Features>| features.unwrap_or_default();
        provider(successor) == provider(model)
            && successor.family() == model.family()
            && new.mode == old.mode
            && features(new.features()).contains(features(old.features()))
            && new.max_output_tokens >= old.max_output_tokens
            && (self.takes_sampling(successor) || !self.takes_sampling(model))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SONNET_35: &str = "anthropic.claude-3-5-sonnet-20240620-v1:0";
    const SONNET_4: &str = "anthropic.claude-sonnet-4-20250514-v1:0";

    fn id(text: &str) -> ModelId {
        ModelId::new(text).unwrap()
    }

    fn day(text: &str) -> Date {
        Date::parse(text).unwrap()
    }

    fn days(model: &str) -> Option<Lifecycle> {
        Catalogue::shipped().lifecycle(&id(model))
    }

    fn takes_all_of(new: &str, old: &str) -> bool {
        Catalogue::shipped().takes_all_of(&id(new), &id(old))
    }

    fn replaced(model: &str, region: &str) -> Result<String, NoSuccessor> {
        let successor = Catalogue::shipped().successor(&id(model), region, day("2026-11-29"));
        successor.map(|id| id.to_string())
    }

    #[test]
    fn every_named_successor_takes_the_requests_of_its_model() {
        let ids = Catalogue::shipped().ids(Endpoint::Runtime);
        let ending: Vec<_> = ids.iter().filter_map(|id| Some((id, days(id)?))).collect();
        assert!(ending.len() > 50);
        for (model, lifecycle) in ending {
            assert!(lifecycle.legacy_on.is_none_or(|legacy| legacy < lifecycle.retires_on));
            if let Some(successor) = lifecycle.successor {
                assert!(takes_all_of(&successor, model), "{model}");
                let retires = days(&successor).map(|it| it.retires_on);
                assert!(retires.is_none_or(|it| it > lifecycle.retires_on), "{model}");
            }
        }
    }

    #[test]
    fn profiles_and_arns_have_the_days_of_their_model() {
        for model in [
            SONNET_35.to_owned(),
            format!("eu.{SONNET_35}"),
            format!("arn:aws:bedrock:us-east-1::foundation-model/{SONNET_35}"),
        ] {
            assert_eq!(days(&model).unwrap().retires_on, day("2026-03-01"), "{model}");
        }
        assert_eq!(days("anthropic.claude-sonnet-5-5"), None);
        let opaque = "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc";
        assert_eq!(days(opaque), None);
        assert_eq!(replaced(opaque, "us-east-1"), Err(NoSuccessor::Opaque));
    }

    #[test]
    fn a_successor_is_called_in_the_geography_of_its_model() {
        let next = |geography: &str| Ok(format!("{geography}.anthropic.claude-sonnet-4-6"));
        for (region, geography) in [
            ("us-east-1", "us"),
            ("eu-west-3", "eu"),
            ("ap-northeast-1", "jp"),
            ("ap-southeast-2", "au"),
            ("ap-south-1", "apac"),
        ] {
            assert_eq!(replaced(SONNET_35, region), next(geography), "{region}");
        }
        assert_eq!(replaced(&format!("eu.{SONNET_35}"), "us-east-1"), next("eu"));
        assert_eq!(replaced(&format!("global.{SONNET_4}"), "us-east-1"), next("global"));
        let of_another_region = format!("arn:aws:bedrock:eu-west-1::foundation-model/{SONNET_35}");
        assert_eq!(replaced(&of_another_region, "us-east-1"), next("eu"));
        let profile =
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude";
        assert_eq!(
            replaced(&format!("{profile}-3-5-sonnet-20240620-v1:0"), "us-east-1"),
            Ok(format!("{profile}-sonnet-4-6"))
        );
        for region in ["sa-east-1", "us-gov-west-1", "nowhere"] {
            assert_eq!(replaced(SONNET_35, region), Err(NoSuccessor::Elsewhere), "{region}");
        }
    }

    #[test]
    fn a_model_without_profiles_is_called_by_its_own_id() {
        assert_eq!(replaced("zai.glm-4.7", "eu-west-1"), Ok("zai.glm-5".to_owned()));
    }

    #[test]
    fn a_model_that_has_no_successor_says_so() {
        let none = Err(NoSuccessor::Unknown);
        assert_eq!(replaced("meta.llama3-1-405b-instruct-v1:0", "us-east-1"), none);
        assert_eq!(replaced("anthropic.claude-sonnet-5-5", "us-east-1"), none);
    }

    #[test]
    fn a_model_that_takes_no_temperature_replaces_none_that_does() {
        assert!(!takes_all_of("anthropic.claude-sonnet-5-5", SONNET_4), "a temperature");
        assert!(!takes_all_of("anthropic.claude-3-haiku-20240307-v1:0", SONNET_4), "thinking");
        assert!(!takes_all_of("amazon.nova-lite-v1:0", SONNET_4), "another provider");
    }
}
