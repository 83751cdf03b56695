//! A model as an endpoint serves it: whether it is there, what its surfaces and limits are.

use std::sync::Arc;

use http::StatusCode;

use super::super::State;
use super::super::reply::Failure;
use super::super::settings::ModelSettings;
use super::place::Prefix;
use sluice_bedrock::{Api, Dialect, ErrorKind, ModelId};
use sluice_catalogue::{Catalogue, Endpoint, ModelFacts, Surface};

/// What the names of mantle's models begin with in quotas, books, faults and answers.
const MANTLE: &str = "mantle/";
/// The cap of a model without one in the catalogue.
const USUAL_CAP: u64 = 4096;

/// A model at an endpoint.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) endpoint: Endpoint,
    /// The id as called, or the last part of an ARN.
    pub(super) name: String,
    /// The name of its quota.
    pub(super) quota: String,
    pub(super) settings: ModelSettings,
    /// The id without ARN and geography; empty for what does not tell it.
    base: String,
    facts: Option<Arc<ModelFacts>>,
}

/// The names by which faults and answers know a model.
pub(super) fn names(endpoint: Endpoint, id: &str) -> Vec<String> {
    let last = id.rsplit_once('/').map_or(id, |(_, last)| last);
    let mut names = vec![id.to_owned(), last.to_owned()];
    if endpoint == Endpoint::Mantle {
        names.push(format!("{MANTLE}{id}"));
    }
    names
}

impl Model {
    /// The model with this id at an endpoint.
    ///
    /// # Errors
    /// When the endpoint has no such model, or does not call it by this id.
    pub(super) fn find(
        shared: &State,
        endpoint: Endpoint,
        id: &ModelId,
        region: &str,
        dialect: Dialect,
    ) -> Result<Model, Failure> {
        let is_arn = id.as_str().starts_with("arn:");
        let name = id.as_str().rsplit_once('/').map_or(id.as_str(), |(_, last)| last);
        let quota = match endpoint {
            Endpoint::Runtime => name.to_owned(),
            Endpoint::Mantle => format!("{MANTLE}{name}"),
        };
        let settings = shared.quotas.settings(&quota);
        // The model behind an application profile, if the account has it.
        let account = shared.account.get();
        let behind = account.application_profiles.get(name).filter(|_| is_arn);
        let behind = behind.and_then(|model| ModelId::new(model).ok());
        let described = behind.as_ref().unwrap_or(id);
        let catalogue = Catalogue::shipped();
        let is_of_mantle = endpoint == Endpoint::Mantle;
        let is_opaque = is_arn && id.base().is_none() && !is_of_mantle;
        // Rows of mantle are often of whole families: such a model must be known at least elsewhere.
        let is_listed = catalogue.has_row(endpoint, described)
            || is_of_mantle && catalogue.has_row(Endpoint::Runtime, described);
        let is_plain = !is_arn && id.geography().is_none();
        if settings.is_none() && !is_opaque && (!is_listed || is_of_mantle && !is_plain) {
            return Err(unknown(id.as_str(), dialect));
        }
        let facts = catalogue.facts_at(endpoint, described, region);
        let needs_profile = facts.as_ref().is_some_and(|facts| facts.on_demand == Some(false));
        if needs_profile && is_plain && settings.is_none() {
            let message = format!(
                "Invocation of model ID {id} with on-demand throughput isn’t supported. Retry your \
                 request with the ID or ARN of an inference profile that contains this model."
            );
            return Err(Failure::new(ErrorKind::Validation, message).about("model"));
        }
        Ok(Model {
            endpoint,
            name: name.to_owned(),
            quota,
            settings: settings.unwrap_or_default(),
            base: described.base().unwrap_or_default().to_owned(),
            facts: facts.filter(|_| is_listed),
        })
    }

    /// The model with this id as InvokeModel calls it, which has found it.
    pub(super) fn invoked(shared: &State, id: &ModelId) -> Model {
        let name = id.as_str().rsplit_once('/').map_or(id.as_str(), |(_, last)| last);
        let settings = shared.quotas.settings(id.as_str());
        let settings = settings.or_else(|| shared.quotas.settings(name)).unwrap_or_default();
        let facts = Catalogue::shipped().facts(id, "").filter(|facts| facts.is_listed);
        // Tests of large bodies send more text than a model reads.
        let facts = facts.map(|facts| {
            let mut facts = ModelFacts::clone(&facts);
            facts.max_input_tokens = None;
            Arc::new(facts)
        });
        Model {
            endpoint: Endpoint::Runtime,
            name: name.to_owned(),
            quota: name.to_owned(),
            settings,
            base: id.base().unwrap_or_default().to_owned(),
            facts,
        }
    }

    /// A model of the catalogue.
    #[cfg(test)]
    pub(super) fn listed(endpoint: Endpoint, id: &str) -> Model {
        let id = ModelId::new(id).unwrap();
        Model {
            endpoint,
            name: id.to_string(),
            quota: id.to_string(),
            settings: ModelSettings::default(),
            base: id.base().unwrap().to_owned(),
            facts: Catalogue::shipped().facts_at(endpoint, &id, ""),
        }
    }

    /// Refuses an API that the model does not have, or that mantle serves elsewhere.
    ///
    /// # Errors
    /// When it is not served there.
    pub(super) fn check_surface(&self, api: Api, prefix: Prefix) -> Result<(), Failure> {
        let Some(facts) = &self.facts else { return Ok(()) };
        let surface = match api {
            Api::ChatCompletions => Surface::ChatCompletions,
            Api::Responses => Surface::Responses,
            _ => Surface::Messages,
        };
        if !facts.surfaces.contains(&surface) {
            let message =
                format!("The model `{}` does not support the {} API.", self.name, title(api));
            return Err(Failure::new(ErrorKind::Validation, message).about("model"));
        }
        let own = facts.path_prefix.as_deref().filter(|_| self.endpoint == Endpoint::Mantle);
        if own.is_some_and(|own| api != Api::Messages && own != prefix.path()) {
            let message = format!("model `{}` isn't supported on this route", self.name);
            return Err(Failure::new(ErrorKind::ResourceNotFound, message));
        }
        Ok(())
    }

    /// Whether the catalogue says that it has a feature.
    pub(super) fn has(&self, feature: &str) -> bool {
        self.says(feature) == Some(true)
    }

    /// Whether the catalogue says that it lacks a feature.
    pub(super) fn lacks(&self, feature: &str) -> bool {
        self.says(feature) == Some(false)
    }

    fn says(&self, feature: &str) -> Option<bool> {
        self.facts.as_ref().and_then(|facts| facts.has(feature))
    }

    /// The most output tokens.
    pub(super) fn cap(&self) -> u64 {
        let listed = || self.facts.as_ref().and_then(|facts| facts.max_output_tokens);
        self.settings.max_output_tokens.or_else(|| listed().map(u64::from)).unwrap_or(USUAL_CAP)
    }

    /// The most input tokens, if that is known.
    pub(super) fn most_input(&self) -> Option<u64> {
        self.facts.as_ref()?.max_input_tokens.map(u64::from)
    }

    /// The efforts that it takes, by their names; none if that is not known.
    pub(super) fn efforts(&self) -> Vec<String> {
        let efforts = self.facts.iter().flat_map(|facts| &facts.effort_levels);
        let name = |effort| serde_json::to_value(effort).ok()?.as_str().map(str::to_owned);
        efforts.filter_map(name).collect()
    }

    /// Whether it is one of OpenAI's open-weight models.
    pub(super) fn is_gpt_oss(&self) -> bool {
        self.base.starts_with("openai.gpt-oss")
    }

    /// The version of one of OpenAI's other models, such as 5.6.
    pub(super) fn gpt_version(&self) -> Option<(u32, u32)> {
        let version = self.base.strip_prefix("openai.gpt-")?.split('-').next()?;
        let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
        Some((major.parse().ok()?, minor.parse().ok()?))
    }

    /// Whether it is one of xAI's.
    pub(super) fn is_grok(&self) -> bool {
        self.base.starts_with("xai.grok")
    }
}

/// The refusal of a model that an endpoint does not have.
pub(super) fn unknown(id: &str, dialect: Dialect) -> Failure {
    let message = match dialect {
        Dialect::Anthropic => format!("model: {id}"),
        _ => format!("The model `{id}` does not exist or you do not have access to it."),
    };
    Failure::named(ErrorKind::ResourceNotFound.name(), StatusCode::NOT_FOUND, message)
        .about("model")
}

fn title(api: Api) -> &'static str {
    match api {
        Api::ChatCompletions => "Chat Completions",
        Api::Responses => "Responses",
        _ => "Messages",
    }
}
