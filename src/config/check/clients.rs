//! Clients and their keys.

use std::collections::HashMap;

use super::Checker;
use crate::config::document::KeyPath;
use crate::config::raw::RawClient;
use crate::config::settings::Client;

/// Most clients of one configuration.
const MAX_CLIENTS: usize = 10_000;

impl Checker<'_> {
    pub(super) fn clients(&mut self, raw: &[RawClient]) -> Vec<Client> {
        if raw.len() > MAX_CLIENTS {
            let message = format!("at most {MAX_CLIENTS} clients, not {}", raw.len());
            self.problem(&["clients"].into(), message);
        }
        let mut names = HashMap::new();
        let mut keys = HashMap::new();
        let mut clients = Vec::with_capacity(raw.len());
        for (index, client) in raw.iter().enumerate() {
            let at = KeyPath::from(["clients"]).index(index);
            let (name, token) = (at.key("name"), at.key("bearer_token"));
            if self.document.get(&name).is_some() {
                self.name(&name, "client", &client.name);
                if let Some(first) = names.insert(client.name.as_str(), index) {
                    let message = format!("'{}' is the name of clients[{first}]", client.name);
                    self.problem(&name, message);
                }
            }
            let policy = self.client_policy(&at, &client.policy);
            let budget = self.budget(&at, &client.policy);
            let Some(reference) = &client.bearer_token else { continue };
            match reference.read(self.env, self.base) {
                Ok(key) => {
                    if keys.insert(key.clone(), index).is_some() {
                        self.problem(&token, "is the key of another client too");
                    }
                    let name = client.name.clone();
                    clients.push(Client { name, bearer_token: key, policy, budget });
                }
                Err(why) => self.problem(&token, why),
            }
        }
        clients
    }
}
