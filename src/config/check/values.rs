//! Single values: endpoints, model ids, hosts, names, and durations that depend on one another.

use std::time::Duration;

use super::Checker;
use crate::config::document::KeyPath;
use crate::config::endpoint::Endpoint;

impl Checker<'_> {
    pub(super) fn public_endpoint(
        &mut self,
        at: &KeyPath,
        region: &str,
        use_fips: bool,
    ) -> Endpoint {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let valid = !region.is_empty() && region.len() <= 40 && region.chars().all(fits);
        match Endpoint::of_region(region, use_fips) {
            Ok(endpoint) if valid => endpoint,
            _ => {
                let message = format!("'{region}' is not a region; write it like \"us-east-1\"");
                self.problem(at, message);
                Endpoint::stand_in()
            }
        }
    }

    pub(super) fn given_endpoint(&mut self, at: &KeyPath, url: Option<&str>) -> Option<Endpoint> {
        Some(Endpoint::parse(url?).unwrap_or_else(|why| {
            // Not repeated: it may hold a password.
            self.problem(&at.key("endpoint_url"), why.to_string());
            Endpoint::stand_in()
        }))
    }

    /// A model id, profile or ARN. Its alphabet is that of `modelId` in the Bedrock Runtime API.
    pub(super) fn model(&mut self, at: &KeyPath, model: &str) {
        let fits = |c: char| c.is_ascii_alphanumeric() || ".:/_-".contains(c);
        if model.contains('%') {
            self.problem(at, format!("'{model}' must be written without percent-encoding"));
        } else if model.len() > 2048 || !model.chars().all(fits) {
            self.problem(at, "a model is at most 2048 letters, digits and '.:/_-'");
        } else if model.is_empty() && self.document.get(at).is_some() {
            self.problem(at, "must not be empty");
        }
    }

    /// Names of hosts, without the dot that may be at their end.
    pub(super) fn hosts(&mut self, at: &KeyPath, names: &[String]) -> Vec<String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let names = names.iter().map(|name| name.strip_suffix('.').unwrap_or(name)).enumerate();
        let names = names.map(|(index, name)| {
            let is_name = !name.is_empty() && name.len() <= 253 && name.bytes().all(fits);
            if !is_name && name != "*" {
                let message = format!(
                    "'{name}' is no name of a host; write it like \"sluice.internal\", without a port"
                );
                self.problem(&at.index(index), message);
            }
            name.to_owned()
        });
        names.collect()
    }

    pub(super) fn must_not_be_empty(&mut self, at: &KeyPath, list: &[String]) {
        if list.is_empty() && self.document.get(at).is_some() {
            self.problem(at, "must not be empty");
        }
    }

    /// The name of a target or quota (`what`) that the file chooses.
    pub(super) fn name(&mut self, at: &KeyPath, what: &str, name: &str) {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            let message = format!("a {what}'s name is 1 to 64 letters, digits, '-', '_' and '.'");
            self.problem(at, message);
        }
    }

    /// Whether a key was refused by validation, so that its default stands in for it.
    pub(super) fn is_refused(&self, at: &KeyPath) -> bool {
        self.document.mentions(at) && self.document.get(at).is_none()
    }

    /// Checks that of two durations of one table the first is not the shorter one.
    pub(super) fn not_shorter(
        &mut self,
        table: &KeyPath,
        (longer, long): (&str, Duration),
        (shorter, short): (&str, Duration),
    ) {
        let is_refused = [longer, shorter].iter().any(|key| self.is_refused(&table.key(key)));
        if long < short && !is_refused {
            self.problem(&table.key(longer), format!("must not be shorter than {shorter}"));
        }
    }
}
