//! Routes by the names that models have at their makers, such as `claude-sonnet-4-5-20250929`.
//!
//! A route that names `claude-sonnet-4-5` or `claude-sonnet-*` stands for every id of those models at
//! Bedrock: bare ids, inference profiles, ARNs. A request for such a name reaches the route that names any
//! id of the model. So does a request for the id that a model has at the mantle endpoint, where that is another
//! one. Ids count as they stand before names do, so an id of one geography never reaches a route that names the
//! id of another.

use std::collections::HashMap;
use std::sync::Arc;

use crate::bedrock::ModelId;
use crate::catalogue::{Catalogue, Endpoint};
use crate::config::Glob;

/// The positions of routes by the names and ids of models.
#[derive(Debug)]
pub(super) struct ModelNames<T> {
    known: Arc<Catalogue>,
    /// By base id: routes that name the model by a name.
    by_name: HashMap<String, T>,
    /// By base id: routes that name the model by an id.
    by_id: HashMap<String, T>,
    globs: Vec<(Glob, T)>,
}

impl<T: Copy + Ord> ModelNames<T> {
    pub(super) fn new(known: &Arc<Catalogue>) -> ModelNames<T> {
        let known = Arc::clone(known);
        ModelNames { known, by_name: HashMap::new(), by_id: HashMap::new(), globs: Vec::new() }
    }

    /// Adds an id or a name that a route has. The first route that names a model keeps it.
    pub(super) fn add(&mut self, text: &str, route: T) {
        if let Some(base) = self.known.model_named(text) {
            self.by_name.entry(base.to_owned()).or_insert(route);
        } else if let Ok(model) = ModelId::new(text)
            && let Some(base) = self.known.id_at_runtime(&model).or_else(|| model.base())
        {
            self.by_id.entry(base.to_owned()).or_insert(route);
        }
    }

    /// Adds a glob that a route has.
    pub(super) fn add_glob(&mut self, glob: Glob, route: T) {
        self.globs.push((glob, route));
    }

    /// The route of a model whose id, as it stands, is in none: the first one that names the model.
    pub(super) fn find(&self, model: &ModelId) -> Option<T> {
        if self.by_name.is_empty() && self.by_id.is_empty() && self.globs.is_empty() {
            return None;
        }
        let requested = self.known.model_named(model.as_str());
        let requested = requested.or_else(|| self.known.id_at_runtime(model));
        let base = requested.or_else(|| model.base())?;
        let by_id = requested.and_then(|base| self.by_id.get(base));
        let by_glob = || {
            let id = ModelId::new(base).ok()?;
            let at = |endpoint| self.known.facts_at(endpoint, &id, "").filter(|it| it.is_listed);
            let facts = Endpoint::ALL.into_iter().find_map(at)?;
            let is_match = |glob: &Glob| {
                // A name stands for the id, whose globs count then, too.
                requested.is_some() && glob.is_match(base)
                    || facts.names.iter().any(|name| glob.is_match(name))
            };
            let matching = self.globs.iter().filter(|(glob, _)| is_match(glob));
            matching.map(|(_, route)| route).min()
        };
        [self.by_name.get(base), by_id, by_glob()].into_iter().flatten().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SONNET: &str = "anthropic.claude-sonnet-4-5-20250929-v1:0";

    fn names(routes: &[&str]) -> ModelNames<usize> {
        let mut names = ModelNames::new(&Catalogue::shipped());
        for (number, text) in routes.iter().enumerate() {
            if Glob::describes(text) {
                names.add_glob(Glob::new(text).unwrap(), number);
            } else {
                names.add(text, number);
            }
        }
        names
    }

    fn found(routes: &[&str], model: &str) -> Option<usize> {
        names(routes).find(&ModelId::new(model).unwrap())
    }

    #[test]
    fn a_name_in_a_route_stands_for_every_id_of_its_model() {
        let arn = format!("arn:aws:bedrock:us-east-1::foundation-model/{SONNET}");
        let ids = [SONNET.to_owned(), format!("us.{SONNET}"), format!("global.{SONNET}"), arn];
        for name in ["claude-sonnet-4-5-20250929", "claude-sonnet-4-5", "claude-sonnet-*"] {
            for id in &ids {
                assert_eq!(found(&[name], id), Some(0), "{name} {id}");
            }
            assert_eq!(found(&[name], "us.anthropic.claude-haiku-4-5-20251001-v1:0"), None);
        }
    }

    #[test]
    fn a_request_for_a_name_reaches_the_route_of_any_id() {
        for id in
            [SONNET.to_owned(), format!("eu.{SONNET}"), "anthropic.claude-sonnet-*".to_owned()]
        {
            assert_eq!(found(&[&id], "claude-sonnet-4-5-20250929"), Some(0), "{id}");
            assert_eq!(found(&[&id], "claude-sonnet-4-5"), Some(0), "{id}");
        }
        assert_eq!(found(&[SONNET], "claude-opus-5-5"), None);
        assert_eq!(found(&["us.openai.gpt-5.6-sol"], "gpt-5.6-sol"), Some(0));
    }

    #[test]
    fn an_id_of_the_mantle_endpoint_stands_for_its_model() {
        let (mantle, runtime) = ("openai.gpt-oss-20b", "openai.gpt-oss-20b-1:0");
        for route in [runtime, "gpt-oss-20b", "gpt-oss-*", "openai.gpt-oss-*-1:0"] {
            assert_eq!(found(&[route], mantle), Some(0), "{route}");
        }
        assert_eq!(found(&[mantle], "gpt-oss-20b"), Some(0));
        assert_eq!(found(&[mantle], runtime), None, "an id counts as it stands");
        assert_eq!(found(&["gemma-4-*"], "google.gemma-4-31b"), Some(0));
        assert_eq!(found(&["google.gemma-4-31b"], "gemma-4-31b"), Some(0));
    }

    #[test]
    fn the_id_of_one_geography_does_not_reach_the_route_of_another() {
        let european = format!("eu.{SONNET}");
        assert_eq!(found(&[&european], &format!("us.{SONNET}")), None);
        assert_eq!(found(&[&european], SONNET), None);
    }

    #[test]
    fn the_first_route_that_names_the_model_counts() {
        let routes = ["claude-haiku-*", "claude-sonnet-*", "claude-sonnet-4-5"];
        assert_eq!(found(&routes, SONNET), Some(1));
        assert_eq!(found(&[SONNET, "claude-sonnet-4-5"], "claude-sonnet-4-5-20250929"), Some(0));
    }
}
