//! Issuers whose tokens clients may present.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;

use super::Checker;
use crate::document::KeyPath;
use crate::model::{Issuer, IssuerKeys};
use crate::raw::{RawConfig, RawIssuer};

/// The path of an issuer's metadata, which names the URL of its keys (OpenID Connect Discovery 1.0, section 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

impl Checker<'_> {
    pub(super) fn issuers(&mut self, config: &RawConfig) -> Vec<Issuer> {
        let raw = &config.issuers;
        let (mut names, mut issuers) = (HashMap::new(), HashMap::new());
        let mut checked = Vec::new();
        for (index, raw) in raw.iter().enumerate() {
            let at = KeyPath::from(["issuers"]).index(index);
            if self.document.get(&at.key("name")).is_some() {
                self.name(&at.key("name"), "token issuer", &raw.issuer.name);
                if let Some(first) = names.insert(raw.issuer.name.as_str(), index) {
                    let message = format!("'{}' is the name of issuers[{first}]", raw.issuer.name);
                    self.problem(&at.key("name"), message);
                }
            }
            if self.document.get(&at.key("issuer")).is_some()
                && let Some(first) = issuers.insert(raw.issuer.issuer.as_str(), index)
            {
                self.problem(&at.key("issuer"), format!("is that of issuers[{first}] too"));
            }
            // It would look like a lock that does not exist.
            let mut identities = config.clients.iter().flat_map(|client| &client.identities);
            if !identities.any(|it| it.issuer == raw.issuer.name) {
                self.problem(&at, "is in no client's 'identities': nobody could use its tokens");
            }
            checked.push(self.issuer(&at, raw));
        }
        checked
    }

    fn issuer(&mut self, at: &KeyPath, raw: &RawIssuer) -> Issuer {
        let issuer = Issuer { keys: self.issuer_keys(at, raw), ..raw.issuer.clone() };
        if issuer.leeway > Duration::from_secs(60 * 60) || issuer.leeway.subsec_nanos() > 0 {
            self.problem(&at.key("leeway"), "must be whole seconds, and at most 1h");
        }
        for (key, pause) in [
            ("refresh_interval", issuer.refresh_interval),
            ("unknown_key_interval", issuer.unknown_key_interval),
        ] {
            if pause < Duration::from_secs(1) {
                self.problem(&at.key(key), "must be at least 1s");
            }
        }
        issuer
    }

    fn issuer_keys(&mut self, at: &KeyPath, raw: &RawIssuer) -> IssuerKeys {
        if let Some(url) = &raw.jwks_url {
            return IssuerKeys::At(keys_url(url).unwrap_or_else(|why| {
                self.problem(&at.key("jwks_url"), why);
                Uri::default()
            }));
        }
        let url = format!("{}{DISCOVERY}", raw.issuer.issuer.trim_end_matches('/'));
        IssuerKeys::Discovered(keys_url(&url).unwrap_or_else(|why| {
            if self.document.get(&at.key("issuer")).is_some() && !raw.issuer.issuer.is_empty() {
                let message = format!("{why}; with 'jwks_url' beside it, it may be any text");
                self.problem(&at.key("issuer"), message);
            }
            Uri::default()
        }))
    }
}

/// Reads a URL from which keys may be fetched: an attacker that changes these keys can call as any client,
/// so it is by HTTPS, or from this machine.
///
/// # Errors
/// Why it is invalid. Never repeats it.
pub fn keys_url(text: &str) -> Result<Uri, &'static str> {
    let uri: Uri = text.parse().map_err(|_| "is not a URL")?;
    let authority = uri.authority().ok_or("is not a URL with a host")?;
    if authority.as_str().contains('@') {
        return Err("must not have a user or password in it");
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_own = host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => Ok(uri),
        Some(scheme) if *scheme == Scheme::HTTP && is_own => Ok(uri),
        _ => Err("must be an https URL; http is for this machine alone"),
    }
}
