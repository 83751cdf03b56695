//! The legacy endpoints: what is served, where, and by which models.

use std::net::SocketAddr;
use std::time::Duration;

use sluice_bedrock::{Family, ModelId};
use sluice_catalogue::{Catalogue, Surface};

use super::{Checker, indices, overlap};
use crate::document::KeyPath;
use crate::legacy;
use crate::model::{Legacy, Route, Server, Target};
use crate::raw::RawLegacy;

/// What of the rest of the configuration may answer.
pub(super) struct Answering<'c> {
    pub(super) targets: &'c [Target],
    pub(super) routes: &'c [Route],
    pub(super) known_models: &'c Catalogue,
}

impl Answering<'_> {
    /// Why a target can't answer; `None` if it can. Questions are in the form of Claude, and go to all other models
    /// by Converse. An ARN that does not tell its model is taken for Claude's.
    fn obstacle(&self, target: &Target) -> Option<String> {
        let model = ModelId::new(target.base_model.as_ref().unwrap_or(&target.model)).ok()?;
        let facts = self.known_models.facts_at(target.service, &model, &target.region);
        let surfaces = target.surfaces_by(facts.as_deref());
        let is_claude = model.base().is_none() || model.family() == Family::Anthropic;
        let needed = if is_claude { Surface::InvokeModel } else { Surface::Converse };
        (!surfaces.contains(needed)).then(|| {
            format!(
                "target '{}' can't answer: the legacy endpoints ask Claude by InvokeModel and all other models by \
                 Converse, and {model} has at the {} endpoint: {}",
                target.name,
                target.service.name(),
                surfaces.names(),
            )
        })
    }
}

impl Checker<'_> {
    pub(super) fn legacy(
        &mut self,
        raw: &RawLegacy,
        server: &Server,
        answering: &Answering<'_>,
        max_wait: Duration,
    ) -> Legacy {
        let at = KeyPath::from(["legacy"]);
        self.wait_before_fallback(&at, raw.legacy.wait_before_fallback, max_wait);
        let wish = self.wish_for_legacy(&at).filter(|_| raw.legacy.enabled);
        let models = match &raw.models {
            Some(names) => self.named_models(&at.key("models"), names, answering),
            None => self.default_models(answering, wish.is_some()),
        };
        if models.is_empty() {
            self.warnings.extend(wish.map(|wish| {
                format!(
                    "{wish} has no effect: there are no targets that could answer, so that the \
                     legacy endpoints answer 404"
                )
            }));
        }
        if raw.legacy.endpoints.is_empty() {
            let message = "must not be empty; to serve none of them set 'enabled' to false";
            self.problem(&at.key("endpoints"), message);
        }
        let admin_key = KeyPath::from(["server", "admin_key"]);
        if !raw.legacy.admin_only.is_empty() && !self.document.mentions(&admin_key) {
            self.problem(&at.key("admin_only"), "needs 'admin_key' in [server]");
        }
        Legacy {
            enabled: raw.legacy.enabled && !models.is_empty(),
            listen: self.legacy_listen(&at.key("listen"), raw.legacy.listen, server),
            models,
            ..raw.legacy.clone()
        }
    }

    /// An address of its own, different from that of the Bedrock API.
    fn legacy_listen(
        &mut self,
        at: &KeyPath,
        own: Option<SocketAddr>,
        server: &Server,
    ) -> Option<SocketAddr> {
        let own = own?;
        if own == server.listen && own.port() != 0 {
            return None;
        }
        for (key, other) in [("listen", server.listen), ("admin_listen", server.admin_listen)] {
            let is_refused = self.is_refused(&KeyPath::from(["server", key]));
            if !is_refused && (overlap(own, other) || own == other && own.port() != 0) {
                let message = format!("{own} and {other}, server.{key}, share a port");
                self.problem(at, message);
            }
        }
        Some(own)
    }

    /// What in the file or the environment shows that the legacy endpoints are wanted.
    fn wish_for_legacy(&self, at: &KeyPath) -> Option<String> {
        let enabled = at.key("enabled");
        if self.document.mentions(&enabled) {
            return Some(enabled.to_string());
        }
        let variable = legacy::mentioned(self.env).map(str::to_owned);
        variable.or_else(|| self.document.get(at).map(|_| "[legacy]".to_owned()))
    }

    /// The models that the config names. Each must be one that can answer.
    fn named_models(
        &mut self,
        at: &KeyPath,
        names: &[String],
        answering: &Answering<'_>,
    ) -> Vec<usize> {
        let targets = answering.targets;
        for (place, name) in names.iter().enumerate() {
            let named = targets.iter().find(|target| target.name == *name);
            if let Some(obstacle) = named.and_then(|target| answering.obstacle(target)) {
                self.problem(&at.index(place), obstacle);
            }
        }
        self.route_targets(at, names, &indices(targets))
    }

    /// The models of the first route, or all if there are no routes: those that can answer. Where the endpoints are
    /// wanted, a warning tells of each that can't.
    fn default_models(&mut self, answering: &Answering<'_>, are_wanted: bool) -> Vec<usize> {
        let all: Vec<usize> = match answering.routes {
            [first, ..] => first.targets.clone(),
            [] => (0..answering.targets.len()).collect(),
        };
        let mut able = Vec::with_capacity(all.len());
        for index in all {
            match answering.targets.get(index).and_then(|target| answering.obstacle(target)) {
                None => able.push(index),
                Some(obstacle) if are_wanted => self.warnings.push(format!("legacy: {obstacle}")),
                Some(_) => {}
            }
        }
        able
    }
}
