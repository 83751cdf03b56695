//! Single values: addresses, durations, sizes, endpoints, model ids, names, filters.

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderName;
use tracing_subscriber::filter::Targets;

use super::Checker;
use crate::config::document::KeyPath;
use crate::config::endpoint::Endpoint;
use crate::config::error::suggestion;
use crate::config::model::LimitKey;
use crate::config::units::{DurationText, SizeText};

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

    pub(super) fn address(&mut self, at: &KeyPath, text: &str) -> SocketAddr {
        text.trim().parse().unwrap_or_else(|_| {
            let message = format!("'{text}' is not an address; write it like \"127.0.0.1:8080\"");
            self.problem(at, message);
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
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

    pub(super) fn duration(&mut self, at: &KeyPath, text: &DurationText) -> Duration {
        let duration = self.duration_or_zero(at, text);
        if duration.is_zero() && text.read().is_ok() {
            self.problem(at, "must not be zero");
        }
        duration
    }

    pub(super) fn duration_or_zero(&mut self, at: &KeyPath, text: &DurationText) -> Duration {
        text.read().unwrap_or_else(|why| {
            self.problem(at, why);
            Duration::ZERO
        })
    }

    pub(super) fn size(&mut self, at: &KeyPath, text: &SizeText) -> usize {
        match text.read() {
            Ok(0) => self.problem(at, "must not be zero"),
            Ok(size) => return size,
            Err(why) => self.problem(at, why),
        }
        0
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

    /// What tells one client from another.
    pub(super) fn limit_key(&mut self, at: &KeyPath, text: &str) -> LimitKey {
        match text.split_once(':') {
            None if text == "access_key" => LimitKey::AccessKey,
            None if text == "ip" => LimitKey::Ip,
            Some(("header", name)) => {
                name.parse::<HeaderName>().map(LimitKey::Header).unwrap_or_else(|_| {
                    self.problem(at, format!("'{name}' is not the name of a header"));
                    LimitKey::Ip
                })
            }
            _ => {
                let message =
                    format!("must be \"access_key\", \"ip\" or \"header:NAME\", not \"{text}\"");
                self.problem(at, message);
                LimitKey::Ip
            }
        }
    }

    /// Filter directives of the log.
    pub(super) fn filter(&mut self, at: &KeyPath, directives: &str) {
        if let Err(why) = check_filter(directives) {
            self.problem(at, why);
        }
    }
}

/// What directives such as `info,sluice=debug` let through; `None` if they are none.
pub fn log_filter(directives: &str) -> Option<Targets> {
    let words: Vec<&str> = directives.split(',').map(str::trim).collect();
    // A span would be taken for a part of a module's name.
    let has_spans = directives.contains(['[', ']', '{', '}']);
    words.join(",").parse().ok().filter(|_| !has_spans)
}

/// Checks filter directives. A bare word must be a level: any other is a module's name to the parser,
/// and so a misspelt level "log all of this module".
fn check_filter(directives: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    if directives.trim().is_empty() {
        return Err("must not be empty; write it like \"info\"".to_owned());
    }
    let bare = directives.split(',').map(str::trim).filter(|word| !word.contains(['=', '[', ']']));
    for word in bare {
        if !LEVELS.contains(&word.to_lowercase().as_str()) {
            let hint = suggestion(word, LEVELS.into_iter());
            return Err(format!("'{word}' is not a level{hint}"));
        }
    }
    log_filter(directives).map(drop).ok_or_else(|| {
        format!("'{directives}' is not a filter; write it like \"info,sluice=debug\"")
    })
}
