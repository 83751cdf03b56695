//! The legacy endpoints: what is served, where, and by which models.

use std::net::SocketAddr;

use super::{Checker, indices, overlap};
use crate::config::document::KeyPath;
use crate::config::legacy;
use crate::config::model::{Legacy, Route, Server, Target};
use crate::config::raw::RawLegacy;

impl Checker<'_> {
    pub(super) fn legacy(
        &mut self,
        raw: &RawLegacy,
        server: &Server,
        targets: &[Target],
        routes: &[Route],
    ) -> Legacy {
        let at = KeyPath::from(["legacy"]);
        let enabled = at.key("enabled");
        if raw.enabled && targets.is_empty() {
            let variable = legacy::mentioned(self.env).map(str::to_owned);
            let wish = match self.document.mentions(&enabled) {
                true => Some(enabled.to_string()),
                false => variable.or_else(|| self.document.get(&at).map(|_| "[legacy]".to_owned())),
            };
            self.warnings.extend(wish.map(|wish| {
                format!(
                    "{wish} has no effect: there are no targets that could answer, so that the \
                     legacy endpoints answer 404"
                )
            }));
        }
        if raw.endpoints.is_empty() {
            let message = "must not be empty; to serve none of them set 'enabled' to false";
            self.problem(&at.key("endpoints"), message);
        }
        self.none_twice(&at.key("endpoints"), &raw.endpoints);
        self.none_twice(&at.key("admin_only"), &raw.admin_only);
        let admin_key = KeyPath::from(["server", "admin_key"]);
        if !raw.admin_only.is_empty() && !self.document.mentions(&admin_key) {
            self.problem(&at.key("admin_only"), "needs 'admin_key' in [server]");
        }
        Legacy {
            enabled: raw.enabled && !targets.is_empty(),
            endpoints: raw.endpoints.clone(),
            listen: self.legacy_listen(&at.key("listen"), raw.listen.as_deref(), server),
            models: self.legacy_models(&at.key("models"), raw.models.as_deref(), targets, routes),
            chat_multi_model: raw.chat_multi_model,
            max_tokens: raw.max_tokens,
            temperature: raw.temperature,
            mock: raw.mock,
            admin_only: raw.admin_only.clone(),
            session_ttl: self.duration(&at.key("session_ttl"), &raw.session_ttl),
            max_sessions: raw.max_sessions,
            max_session_bytes: self.size(&at.key("max_session_bytes"), &raw.max_session_bytes),
            max_turns: raw.max_turns,
            prompts: self.prompts(&at.key("prompts"), &raw.prompts),
        }
    }

    /// An address of its own; that of the Bedrock API is none.
    fn legacy_listen(
        &mut self,
        at: &KeyPath,
        text: Option<&str>,
        server: &Server,
    ) -> Option<SocketAddr> {
        let own = self.address(at, text?);
        if own == server.listen && own.port() != 0 {
            return None;
        }
        for (key, other) in [("listen", server.listen), ("admin_listen", server.admin_listen)] {
            if overlap(own, other) || own == other && own.port() != 0 {
                let message = format!("{own} and {other}, server.{key}, share a port");
                self.problem(at, message);
            }
        }
        Some(own)
    }

    fn legacy_models(
        &mut self,
        at: &KeyPath,
        names: Option<&[String]>,
        targets: &[Target],
        routes: &[Route],
    ) -> Vec<usize> {
        match (names, routes) {
            (Some(names), _) => {
                self.must_not_be_empty(at, names);
                self.route_targets(at, names, &indices(targets))
            }
            (None, [first, ..]) => first.targets.clone(),
            (None, []) => (0..targets.len()).collect(),
        }
    }

    fn none_twice<T: PartialEq>(&mut self, at: &KeyPath, list: &[T]) {
        for (index, element) in list.iter().enumerate() {
            if list.iter().take(index).any(|earlier| earlier == element) {
                self.problem(&at.index(index), "stands there twice");
            }
        }
    }
}
