//! Clients and their keys.

use std::collections::HashMap;

use super::Checker;
use super::client_identities::Identities;
use super::client_keys::KeysSeen;
use crate::document::KeyPath;
use crate::model::ClientConfig;
use crate::raw::RawConfig;

/// What a client needs one of.
const KINDS_OF_KEYS: [&str; 6] =
    ["bearer_token", "bearer_tokens", "access_key_id", "keys", "certificates", "identities"];

impl Checker<'_> {
    pub(super) fn clients(&mut self, config: &RawConfig) -> Vec<ClientConfig> {
        let raw = &config.clients;
        let mut names = HashMap::new();
        let mut seen = KeysSeen::default();
        let mut identities_seen = Identities::default();
        let mut clients = Vec::with_capacity(raw.len());
        for (index, client) in raw.iter().enumerate() {
            let at = KeyPath::from(["clients"]).index(index);
            let name = at.key("name");
            if self.document.get(&name).is_some() {
                self.name(&name, "client", &client.name);
                if let Some(first) = names.insert(client.name.as_str(), index) {
                    let message = format!("'{}' is the name of clients[{first}]", client.name);
                    self.problem(&name, message);
                }
            }
            let bearer_tokens = self.bearer_tokens(&at, index, client, &mut seen);
            let keys = self.key_pairs(&at, index, client, &mut seen);
            let certificates = self.certificates(&at, index, config, &mut identities_seen);
            let identities = self.identities(&at, index, config, &mut identities_seen);
            let has_none = bearer_tokens.is_empty()
                && keys.is_empty()
                && certificates.is_empty()
                && identities.is_empty();
            if has_none && !self.tries_to_give_keys(&at) {
                let message = format!("needs one of '{}'", KINDS_OF_KEYS.join("', '"));
                self.problem(&at, message);
            }
            let wait = client.policy.wait_before_fallback.unwrap_or_default();
            self.wait_before_fallback(&at, wait, config.queue.max_wait);
            clients.push(ClientConfig {
                name: client.name.clone(),
                bearer_tokens,
                keys,
                certificates,
                identities,
                policy: self.client_policy(&at, client),
                budget: self.budget(&at, &client.budget),
            });
        }
        clients
    }

    /// Whether the client at `at` has invalid keys in the file, which are reported already.
    fn tries_to_give_keys(&self, at: &KeyPath) -> bool {
        let given = |kind: &&str| {
            let is_empty_list = |value: &toml::Value| value.as_array().is_some_and(Vec::is_empty);
            let at = at.key(kind);
            self.document.mentions(&at) && !self.document.get(&at).is_some_and(is_empty_list)
        };
        KINDS_OF_KEYS.iter().chain(&["secret_access_key"]).any(given)
    }
}
