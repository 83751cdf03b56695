//! Retired models: which targets have one on a day, what takes its place, and what operators are told.
//!
//! A config is first what its file says. [`Config::on`] sets its day and the models of its targets for
//! that day; doing so again for another day starts from the file's models again.

use std::sync::Arc;

use serde::Serialize;

use super::model::{Config, Retired, Target};
use sluice_bedrock::{Date, ModelId};
use sluice_catalogue::{Catalogue, Endpoint, Lifecycle, NoSuccessor};

/// How many days before its end a model is warned of.
const WARNED_DAYS: i64 = 90;

/// The end of a target's model, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelLife {
    /// The name of the target.
    pub target: String,
    /// The model that the config names.
    pub model: String,
    /// Since when AWS calls it legacy, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub legacy_on: Option<Date>,
    /// The first day on which it does not answer.
    pub retires_on: Date,
    /// The days until then; not positive if it is retired.
    pub days_left: i64,
    /// Whether it is retired.
    pub retired: bool,
    /// The model that answers instead, from that day on; `None` if none does.
    pub replaced_by: Option<String>,
    /// Why none does.
    #[serde(skip)]
    none: Option<Unreplaced>,
}

/// Why a retired model is not replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unreplaced {
    /// The config wants it so.
    Kept,
    /// No model can take its place.
    NoSuccessor(NoSuccessor),
}

impl Config {
    /// The config on this day: targets whose model is retired then have its successor.
    #[must_use]
    pub fn on(mut self, day: Date) -> Config {
        self.day = day;
        let (retired, known) = (self.catalogue.retired, Arc::clone(&self.known_models));
        for target in &mut self.targets {
            if let Some(named) = target.replaces.take() {
                target.model = named;
            }
            let is_own = target.base_model.is_none();
            if let Some(successor) = is_own
                .then(|| {
                    let model = ModelId::new(&target.model).ok()?;
                    replacement(&known, retired, (target.service, &model), &target.region, day)
                })
                .flatten()
            {
                let named = std::mem::replace(&mut target.model, successor.as_str().to_owned());
                target.replaces = Some(named);
            }
        }
        self
    }

    /// The warnings about models that are retired on the config's day, or soon after it.
    pub fn retirement_warnings(&self) -> Vec<String> {
        let lives = self.model_lives().into_iter();
        lives.filter(|life| life.days_left <= WARNED_DAYS).map(|life| warning(&life)).collect()
    }

    /// The targets whose model has an announced end, in the config's order.
    pub fn model_lives(&self) -> Vec<ModelLife> {
        self.targets.iter().filter_map(|target| self.model_life(target)).collect()
    }

    /// The end of the model of one of its targets, if one is announced.
    pub fn model_life(&self, target: &Target) -> Option<ModelLife> {
        let named = target.named_model();
        let model = ModelId::new(named).ok()?;
        let base = target.base_model.as_deref().and_then(|base| ModelId::new(base).ok());
        let Lifecycle { legacy_on, retires_on, .. } =
            self.known_models.lifecycle(target.service, base.as_ref().unwrap_or(&model))?;
        // What takes over on the day itself, if that is still to come.
        let then = retires_on.max(self.day);
        let successor = match (self.catalogue.retired, &base) {
            (Retired::Keep, _) => Err(Unreplaced::Kept),
            (Retired::Replace, Some(_)) => Err(Unreplaced::NoSuccessor(NoSuccessor::Opaque)),
            (Retired::Replace, None) => {
                let known = &self.known_models;
                let successor = known.successor(target.service, &model, &target.region, then);
                successor.map_err(Unreplaced::NoSuccessor)
            }
        };
        Some(ModelLife {
            target: target.name.clone(),
            model: named.to_owned(),
            legacy_on,
            retires_on,
            days_left: self.day.days_until(retires_on),
            retired: retires_on <= self.day,
            none: successor.as_ref().err().copied(),
            replaced_by: successor.ok().map(|successor| successor.to_string()),
        })
    }
}

impl Target {
    /// The model that the config names, which may be retired and replaced.
    pub fn named_model(&self) -> &str {
        self.replaces.as_deref().unwrap_or(&self.model)
    }
}

/// The model that takes the place of a retired one, which is called at an endpoint in a region, on a day; `None`
/// if the model is not retired, or stays.
pub fn replacement(
    known: &Catalogue,
    retired: Retired,
    (endpoint, model): (Endpoint, &ModelId),
    region: &str,
    day: Date,
) -> Option<ModelId> {
    let is_retired = || known.lifecycle(endpoint, model).is_some_and(|it| it.retires_on <= day);
    match retired {
        Retired::Replace if is_retired() => known.successor(endpoint, model, region, day).ok(),
        Retired::Replace | Retired::Keep => None,
    }
}

fn warning(life: &ModelLife) -> String {
    let ModelLife { target, model, retires_on, days_left, retired, replaced_by, none, .. } = life;
    let what = match (retired, days_left) {
        (true, _) => format!("target '{target}': AWS retired '{model}' on {retires_on}"),
        (false, 1) => format!("target '{target}': AWS retires '{model}' tomorrow, on {retires_on}"),
        (false, days) => {
            format!("target '{target}': AWS retires '{model}' in {days} days, on {retires_on}")
        }
    };
    match (replaced_by, none, retired) {
        (Some(successor), _, true) => format!("{what}; '{successor}' answers in its place"),
        (Some(successor), _, false) => format!("{what}; from then on '{successor}' answers"),
        (None, Some(Unreplaced::NoSuccessor(why)), _) => {
            format!("{what}, and nothing answers in its place, because {why}: name another model")
        }
        (None, _, _) => {
            format!("{what}, and catalogue.retired is \"keep\": its requests fail from then on")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Env, Loaded};

    const OPUS: &str = "anthropic.claude-opus-4-1-20250805-v1:0";
    const NEXT: &str = "us.anthropic.claude-opus-4-5-20251101-v1:0";

    fn on(text: &str, day: &str) -> Loaded {
        let loaded = Config::from_toml(text, "config.toml", &Env::default()).unwrap();
        loaded.on(Date::parse(day).unwrap())
    }

    fn opus(keys: &str) -> String {
        format!(
            "[targets.a]\nmodel = '{OPUS}'\n{keys}\n[[routes]]\nmodels = ['x']\ntargets = ['a']\n"
        )
    }

    /// The model of the target, and the warnings.
    fn opus_on(keys: &str, day: &str) -> (String, Vec<String>) {
        let Loaded { config, mut warnings, .. } = on(&opus(keys), day);
        warnings.retain(|warning| warning.contains("AWS retire"));
        (config.targets[0].model.clone(), warnings)
    }

    #[test]
    fn a_target_has_the_successor_from_the_day_on_which_its_model_is_retired() {
        assert_eq!(opus_on("", "2027-01-07").0, OPUS);
        assert_eq!(opus_on("", "2027-01-08").0, NEXT);
        assert_eq!(opus_on("", "2030-01-01").0, NEXT);
        let config = on(&opus(""), "2027-01-08").config;
        assert_eq!(config.targets[0].replaces.as_deref(), Some(OPUS));
        assert_eq!(config.targets[0].named_model(), OPUS);
        assert_eq!(config.targets[0].name, "a");
    }

    #[test]
    fn another_day_starts_from_what_the_file_names() {
        let later = on(&opus(""), "2027-01-08").config;
        let earlier = later.clone().on(Date::parse("2027-01-07").unwrap());
        assert_eq!(earlier, on(&opus(""), "2027-01-07").config);
        assert_eq!(later.clone().on(later.day), later);
    }

    #[test]
    fn operators_are_warned_for_90_days_before_the_end_and_after_it() {
        let warning = |day: &str| opus_on("", day).1.join("\n");
        assert_eq!(warning("2026-10-09"), "");
        let from_then = format!("on 2027-01-08; from then on '{NEXT}' answers");
        assert_eq!(
            warning("2026-10-10"),
            format!("target 'a': AWS retires '{OPUS}' in 90 days, {from_then}")
        );
        assert_eq!(
            warning("2027-01-07"),
            format!("target 'a': AWS retires '{OPUS}' tomorrow, {from_then}")
        );
        assert_eq!(
            warning("2027-01-08"),
            format!(
                "target 'a': AWS retired '{OPUS}' on 2027-01-08; '{NEXT}' answers in its place"
            )
        );
    }

    #[test]
    fn a_model_that_is_kept_stays_and_is_warned_of() {
        let keep = "[catalogue]\nretired = 'keep'";
        let (model, warnings) = opus_on(keep, "2027-01-08");
        assert_eq!(model, OPUS);
        assert!(
            warnings[0].ends_with("catalogue.retired is \"keep\": its requests fail from then on")
        );
    }

    #[test]
    fn a_model_without_a_successor_there_stays_and_is_warned_of() {
        for (keys, why) in [
            ("region = 'sa-east-1'", "its successor has no inference profile there"),
            (
                "base_model = 'anthropic.claude-3-haiku-20240307-v1:0'",
                "its ARN is of the account's own resource",
            ),
        ] {
            let (model, warnings) = opus_on(keys, "2027-01-08");
            assert_eq!(model, OPUS);
            assert!(warnings.iter().any(|it| it.contains(why)), "{warnings:?}");
        }
    }

    #[test]
    fn a_config_without_a_day_retires_nothing() {
        let text = "targets.a.model = 'anthropic.claude-v2'";
        let config = Config::from_toml(text, "config.toml", &Env::default()).unwrap().config;
        assert_eq!(config.model_lives().first().map(|it| it.retired), Some(false));
    }
}
