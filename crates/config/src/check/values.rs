//! Single values: hosts, names, and durations that depend on one another.

use std::time::Duration;

use super::Checker;
use crate::document::KeyPath;

impl Checker<'_> {
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

    /// Checks that a request of the route, client or section at `table` does not wait for its model for
    /// longer than a request may wait at all.
    pub(super) fn wait_before_fallback(
        &mut self,
        table: &KeyPath,
        wait: Duration,
        max_wait: Duration,
    ) {
        let is_refused = self.is_refused(&["queue", "max_wait"].into());
        if wait > max_wait && !is_refused {
            let message = format!(
                "must not be longer than queue.max_wait, {}",
                humantime::format_duration(max_wait)
            );
            self.problem(&table.key("wait_before_fallback"), message);
        }
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
