//! The models that a client can request in one dialect: which routes serve them, and which of them its
//! policy allows.
//!
//! The list has the ids and names that routes name, in the config's order. Then it has, of the catalogue,
//! the ids and names that the patterns of routes match, and, where models without a route are passed on,
//! the ids that can be called in the default region. A model is served if a target of its route serves it
//! by an API of the dialect, or takes translations, or makes embeddings for a client of OpenAI's.

use std::collections::HashSet;

use bytes::Bytes;

use super::models::{ListedModel, MAX_LISTED, PageError, list_body, model_body};
use crate::bedrock::region::{geographies, is_elsewhere};
use crate::bedrock::{Date, Dialect, ModelId};
use crate::bridge::embeddings::makes_embeddings;
use crate::catalogue::{Endpoint, ModelFacts, Surface, Surfaces};
use crate::config::{Config, Glob, Translate, Unrouted};
use crate::limits::Policy;
use crate::routing::{Router, Target};

#[cfg(test)]
mod tests;

/// The owner of a model whose id does not name its maker.
const UNKNOWN_OWNER: &str = "bedrock";

/// What decides which models a client can request.
#[derive(Clone, Copy, Debug)]
pub struct ServedModels<'a> {
    /// The config.
    pub config: &'a Config,
    /// Its routes.
    pub router: &'a Router,
    /// The policy of the client; `None` if everything is allowed.
    pub policy: Option<&'a Policy>,
    /// The dialect of the client.
    pub dialect: Dialect,
}

impl ServedModels<'_> {
    /// The JSON body of the list. `query` is that of the request.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub fn list(&self, query: &str) -> Result<Bytes, PageError> {
        let mut seen = HashSet::new();
        let named = self.named_by_routes().into_iter().chain(self.of_catalogue());
        let listed = named.filter(|id| seen.insert(id.clone())).filter_map(|id| self.find(&id));
        list_body(self.dialect, listed, query)
    }

    /// The JSON body of one model; `None` if the client can't request it.
    pub fn get(&self, id: &str) -> Option<Bytes> {
        Some(model_body(self.dialect, &self.find(id)?))
    }

    /// What routes name, without patterns.
    fn named_by_routes(&self) -> Vec<String> {
        let named = self.config.routes.iter().flat_map(|route| &route.models);
        named.filter(|name| !Glob::describes(name)).take(MAX_LISTED).cloned().collect()
    }

    /// Ids and names of the catalogue that a pattern of a route matches, or that no route needs to name.
    fn of_catalogue(&self) -> Vec<String> {
        let patterns = self.config.routes.iter().flat_map(|route| &route.models);
        let globs: Vec<Glob> = patterns
            .filter(|pattern| Glob::describes(pattern))
            .filter_map(|pattern| Glob::new(pattern).ok())
            .collect();
        let passes = self.config.fallback.unrouted == Unrouted::Pass;
        if globs.is_empty() && !passes {
            return Vec::new();
        }
        let known = &self.config.known_models;
        let mut found = Vec::new();
        let of_endpoint = |endpoint| known.ids(endpoint).into_iter().map(move |id| (endpoint, id));
        for (endpoint, base) in Endpoint::ALL.into_iter().flat_map(of_endpoint) {
            let Ok(id) = ModelId::new(&base) else { continue };
            let facts = known.facts_at(endpoint, &id, &self.config.upstream.region);
            let Some(facts) = facts else { continue };
            let profiles = facts.profiles.iter().map(|geography| format!("{geography}.{base}"));
            // What no route names goes to the runtime endpoint.
            let passes = passes && endpoint == Endpoint::Runtime;
            let callable = if passes { self.callable(&base, &facts) } else { Vec::new() };
            let ids = facts.names.iter().cloned().chain([base.clone()]).chain(profiles);
            found.extend(
                ids.filter(|id| {
                    globs.iter().any(|glob| glob.is_match(id)) || callable.contains(id)
                }),
            );
        }
        found
    }

    /// The ids by which a model can be called in the region of models without a route.
    fn callable(&self, base: &str, facts: &ModelFacts) -> Vec<String> {
        let region = &self.config.upstream.region;
        let near = geographies(region);
        let is_near = |geography: &&String| {
            near.contains(&geography.as_str())
                || *geography == "global" && !is_elsewhere(geography, region)
        };
        let profiles = facts.profiles.iter().filter(is_near);
        let profiles = profiles.map(|geography| format!("{geography}.{base}"));
        let own = (facts.on_demand != Some(false)).then(|| base.to_owned());
        profiles.chain(own).collect()
    }

    /// The model that a client requests by this id or name; `None` if it can't.
    fn find(&self, id: &str) -> Option<ListedModel> {
        let model = ModelId::new(id).ok()?;
        if self.policy.is_some_and(|policy| policy.model(&model).is_err()) {
            return None;
        }
        let created = self.config.known_models.layers().iter().map(|layer| layer.date()).max();
        let created = created.unwrap_or_default();
        if let Some(route) = self.router.configured(&model) {
            let target =
                route.targets.iter().find(|target| self.can_answer(target, route.translate))?;
            let (base, facts) = (target.base_model(), target.model_info.as_deref());
            let max_output = target.capabilities().max_output_tokens();
            return Some(listed(id, base, facts, max_output, created));
        }
        if self.config.fallback.unrouted != Unrouted::Pass {
            return None;
        }
        let facts = self.config.known_models.facts(&model, &self.config.upstream.region)?;
        let surfaces: Surfaces = facts.surfaces.iter().copied().collect();
        let is_served = facts.is_listed
            && (self.serves(surfaces)
                || surfaces.contains(Surface::Converse)
                || self.embeds(&model, surfaces));
        is_served.then(|| listed(id, &model, Some(&facts), facts.max_output_tokens, created))
    }

    /// Whether a target may answer the client, and serves an API of the dialect, or requests are translated
    /// for it.
    fn can_answer(&self, target: &Target, translate: Translate) -> bool {
        let may_call = |policy: &Policy| policy.may_call(&target.model, target.base_model());
        let capabilities = target.capabilities();
        let by_invoke = self.dialect == Dialect::Anthropic && capabilities.is_invoked_claude();
        let is_translated =
            translate != Translate::Never && (capabilities.takes_translations() || by_invoke);
        let embeds = self.embeds(target.base_model(), capabilities.surfaces);
        let is_served = self.serves(capabilities.surfaces) || is_translated || embeds;
        self.policy.is_none_or(may_call) && is_served
    }

    /// Whether the client can have embeddings of a model.
    fn embeds(&self, model: &ModelId, surfaces: Surfaces) -> bool {
        self.dialect == Dialect::OpenAi
            && self.config.apis.embeddings.api.enabled
            && surfaces.contains(Surface::InvokeModel)
            && model.base().is_some_and(makes_embeddings)
    }

    fn serves(&self, surfaces: Surfaces) -> bool {
        let wanted: &[Surface] = match self.dialect {
            Dialect::Anthropic => &[Surface::Messages],
            Dialect::OpenAi => &[Surface::ChatCompletions, Surface::Responses],
            Dialect::Bedrock => return true,
        };
        wanted.iter().any(|surface| surfaces.contains(*surface))
    }
}

/// The entry of the list for a model that `base` answers for.
fn listed(
    id: &str,
    base: &ModelId,
    facts: Option<&ModelFacts>,
    max_output_tokens: Option<u32>,
    created: Date,
) -> ListedModel {
    let maker = base.base().and_then(|base| base.split_once('.')).map(|(maker, _)| maker);
    ListedModel {
        id: id.to_owned(),
        owner: maker.unwrap_or(UNKNOWN_OWNER).to_owned(),
        created,
        context_window: facts.and_then(|facts| facts.max_input_tokens),
        max_output_tokens,
        retires_on: facts.and_then(|facts| Some(facts.lifecycle.as_ref()?.retires_on)),
    }
}
