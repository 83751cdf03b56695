//! The legacy endpoints: what is served, where, and by which models.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Checker, indices, overlap};
use crate::document::KeyPath;
use crate::legacy;
use crate::model::{Legacy, Route, Server, Target};
use crate::raw::RawLegacy;

impl Checker<'_> {
    pub(super) fn legacy(
        &mut self,
        raw: &RawLegacy,
        server: &Server,
        targets: &[Target],
        routes: &[Route],
        max_wait: Duration,
    ) -> Legacy {
        let at = KeyPath::from(["legacy"]);
        self.wait_before_fallback(&at, raw.legacy.wait_before_fallback, max_wait);
        let enabled = at.key("enabled");
        if raw.legacy.enabled && targets.is_empty() {
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
        if raw.legacy.endpoints.is_empty() {
            let message = "must not be empty; to serve none of them set 'enabled' to false";
            self.problem(&at.key("endpoints"), message);
        }
        let admin_key = KeyPath::from(["server", "admin_key"]);
        if !raw.legacy.admin_only.is_empty() && !self.document.mentions(&admin_key) {
            self.problem(&at.key("admin_only"), "needs 'admin_key' in [server]");
        }
        Legacy {
            enabled: raw.legacy.enabled && !targets.is_empty(),
            listen: self.legacy_listen(&at.key("listen"), raw.legacy.listen, server),
            models: self.legacy_models(&at.key("models"), raw.models.as_deref(), targets, routes),
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

    fn legacy_models(
        &mut self,
        at: &KeyPath,
        names: Option<&[String]>,
        targets: &[Target],
        routes: &[Route],
    ) -> Vec<usize> {
        match (names, routes) {
            (Some(names), _) => self.route_targets(at, names, &indices(targets)),
            (None, [first, ..]) => first.targets.clone(),
            (None, []) => (0..targets.len()).collect(),
        }
    }
}
