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
    /// The days of a model at an endpoint, by its base id; `None` if AWS has not announced any, or none is
    /// known.
    pub fn lifecycle(&self, endpoint: Endpoint, model: &ModelId) -> Option<Lifecycle> {
        self.facts_at(endpoint, model, "")?.lifecycle.clone()
    }

    /// The id of the model that takes the place of `model` on a day, where `model` is called at an endpoint in
    /// `region`.
    ///
    /// A profile is replaced by the profile of the same geography, a foundation model by the profile of the
    /// geography that its region is in, since newer models are served by profiles only. So requests stay in
    /// their geography. The mantle endpoint has no profiles. A successor that is retired on this day itself is
    /// replaced by its own.
    ///
    /// # Errors
    /// When no model can take the place.
    pub fn successor(
        &self,
        endpoint: Endpoint,
        model: &ModelId,
        region: &str,
        day: Date,
    ) -> Result<ModelId, NoSuccessor> {
        let base = model.base().ok_or(NoSuccessor::Opaque)?;
        let mut next = ModelId::new(base).map_err(|_| NoSuccessor::Opaque)?;
        for step in 0..MAX_CHAIN {
            let lifecycle = self.lifecycle(endpoint, &next);
            let lifecycle = lifecycle.filter(|it| step == 0 || it.retires_on <= day);
            let Some(lifecycle) = lifecycle else { break };
            let successor = lifecycle.successor.ok_or(NoSuccessor::Unknown)?;
            next = ModelId::new(&successor).map_err(|_| NoSuccessor::Unknown)?;
        }
        if next.as_str() == base {
            return Err(NoSuccessor::Unknown);
        }
        if !self.takes_all_of(endpoint, &next, model) {
            return Err(NoSuccessor::Differs);
        }
        if endpoint == Endpoint::Mantle {
            return Ok(next);
        }
        let id = self.served_as(next.as_str(), model, region).ok_or(NoSuccessor::Elsewhere)?;
        let id = match model.arn_resource().filter(|_| model.geography().is_some()) {
            Some(resource) => model.as_str().replacen(resource, &id, 1),
            None => id,
        };
        ModelId::new(&id).map_err(|_| NoSuccessor::Unknown)
    }

    /// The id by which Bedrock Runtime calls a successor instead of `model`.
    fn served_as(&self, successor: &str, model: &ModelId, region: &str) -> Option<String> {
        let successor = ModelId::new(successor).ok()?;
        match model.geography() {
            Some(geography) => self.profile_in(&successor, geography),
            None => self.profile_near(&successor, region_of(model, region)).or_else(|| {
                let has_profiles =
                    self.facts(&successor, "").is_some_and(|facts| !facts.profiles.is_empty());
                (!has_profiles).then(|| successor.to_string())
            }),
        }
    }

    /// The inference profile of a model in a geography.
    fn profile_in(&self, model: &ModelId, geography: &str) -> Option<String> {
        let id = format!("{geography}.{}", model.base()?);
        self.is_listed(&id).then_some(id)
    }

    /// The inference profile of a model that is nearest to a region: that of the region's own geography, else
    /// of one that the region is in.
    pub fn profile_near(&self, model: &ModelId, region: &str) -> Option<String> {
        let mut geographies = region::geographies(region).iter();
        geographies.find_map(|geography| self.profile_in(model, geography))
    }

    /// Whether a model takes every request that another takes, at an endpoint.
    fn takes_all_of(&self, endpoint: Endpoint, successor: &ModelId, model: &ModelId) -> bool {
        let provider =
            |id: &ModelId| id.base().and_then(|base| base.split('.').next().map(str::to_owned));
        let facts = |id: &ModelId| self.facts_at(endpoint, id, "");
        let (Some(new), Some(old)) = (facts(successor), facts(model)) else {
            return false;
        };
        let features = |features: Option<Features>| features.unwrap_or_default();
        provider(successor) == provider(model)
            && successor.family() == model.family()
            && new.mode == old.mode
            && features(new.features()).contains(features(old.features()))
            && new.max_output_tokens >= old.max_output_tokens
            && (new.takes_sampling() || !old.takes_sampling())
    }
}

/// The region of a model: that of its ARN, else the one where it is called.
fn region_of<'a>(model: &'a ModelId, region: &'a str) -> &'a str {
    model.arn_place().map_or(region, |(_, region)| region)
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
        Catalogue::shipped().lifecycle(Endpoint::Runtime, &id(model))
    }

    fn takes_all_of(new: &str, old: &str) -> bool {
        Catalogue::shipped().takes_all_of(Endpoint::Runtime, &id(new), &id(old))
    }

    fn replaced(model: &str, region: &str) -> Result<String, NoSuccessor> {
        let today = day("2026-11-29");
        let successor =
            Catalogue::shipped().successor(Endpoint::Runtime, &id(model), region, today);
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
    fn at_the_mantle_endpoint_a_successor_is_called_by_its_own_id() {
        let text = r#"{"format":1,"date":"2026-11-28","mantle":{
            "acme.old":{"mode":"chat","retires":"2026-01-01","successor":"acme.new"},
            "acme.new":{"mode":"chat"}}}"#;
        let known = Catalogue::shipped().with_file("own", text).unwrap();
        let next = |endpoint| {
            let next = known.successor(endpoint, &id("acme.old"), "us-east-1", day("2026-11-29"));
            next.map(|id| id.to_string())
        };
        assert_eq!(next(Endpoint::Mantle), Ok("acme.new".to_owned()));
        assert_eq!(next(Endpoint::Runtime), Err(NoSuccessor::Unknown));
    }

    #[test]
    fn a_model_that_takes_no_temperature_replaces_none_that_does() {
        assert!(!takes_all_of("anthropic.claude-sonnet-5-5", SONNET_4), "a temperature");
        assert!(!takes_all_of("anthropic.claude-3-haiku-20240307-v1:0", SONNET_4), "thinking");
        assert!(!takes_all_of("amazon.nova-lite-v1:0", SONNET_4), "another provider");
    }
}
