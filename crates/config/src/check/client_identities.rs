//! The names of clients elsewhere: in their certificates, and at issuers of tokens.

use std::collections::HashMap;
use std::net::IpAddr;

use super::Checker;
use crate::document::KeyPath;
use crate::model::TokenIdentity;
use crate::raw::RawConfig;

/// Longest name.
const MAX_BYTES: usize = 1024;

/// The names of the clients so far.
#[derive(Default)]
pub(super) struct Identities {
    certificates: HashMap<String, usize>,
    identities: HashMap<TokenIdentity, usize>,
}

impl Checker<'_> {
    /// The certificates of the client at `at`, which is the one with this index.
    pub(super) fn certificates(
        &mut self,
        at: &KeyPath,
        index: usize,
        config: &RawConfig,
        identities_seen: &mut Identities,
    ) -> Vec<String> {
        let at = at.key("certificates");
        let raw = config.clients.get(index).map_or(&[][..], |client| &client.certificates);
        let asks = config.server.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
        if !raw.is_empty() && !asks {
            self.problem(&at, "needs 'client_ca' in [server.tls]: nobody is asked for one");
        }
        let mut names = Vec::new();
        for (i, name) in raw.iter().enumerate() {
            let at = at.index(i);
            match certificate_name(name) {
                Ok(name) => {
                    self.unique_identity(
                        &at,
                        index,
                        identities_seen.certificates.insert(name.clone(), index),
                    );
                    names.push(name);
                }
                Err(why) => self.problem(&at, format!("'{name}' {why}")),
            }
        }
        names
    }

    /// The names at issuers of the client at `at`, which is the one with this index.
    pub(super) fn identities(
        &mut self,
        at: &KeyPath,
        index: usize,
        config: &RawConfig,
        identities_seen: &mut Identities,
    ) -> Vec<TokenIdentity> {
        let at = at.key("identities");
        let raw = config.clients.get(index).map_or(&[][..], |client| &client.identities);
        let mut identities = Vec::new();
        for (i, it) in raw.iter().enumerate() {
            let at = at.index(i);
            let is_given = |key: &str| self.document.get(&at.key(key)).is_some();
            if !is_given("issuer") || !is_given("value") {
                continue;
            }
            if !config.issuers.iter().any(|issuer| issuer.issuer.name == it.issuer) {
                let message = format!("there is no issuer '{}'", it.issuer);
                self.problem(&at.key("issuer"), message);
            }
            self.unique_identity(&at, index, identities_seen.identities.insert(it.clone(), index));
            identities.push(it.clone());
        }
        identities
    }

    fn unique_identity(&mut self, at: &KeyPath, index: usize, first: Option<usize>) {
        match first {
            Some(first) if first == index => self.problem(at, "is there twice"),
            Some(_) => self.problem(at, "is another client's too"),
            None => {}
        }
    }
}

/// A name in a certificate in the one form in which it is compared.
fn certificate_name(name: &str) -> Result<String, &'static str> {
    if name.len() > MAX_BYTES {
        return Err("is too long");
    }
    match name.split_once(':') {
        Some((_, "")) => Err("has no name"),
        Some(("DNS", host)) => Ok(format!("DNS:{}", host.to_ascii_lowercase())),
        Some(("IP", address)) => match address.parse::<IpAddr>() {
            Ok(address) => Ok(format!("IP:{address}")),
            Err(_) => Err("has no address"),
        },
        Some(("CN" | "URI" | "email", _)) => Ok(name.to_owned()),
        // A subject may have colons in its values.
        _ if name.split_once('=').is_some_and(|(kind, value)| {
            !kind.is_empty()
                && !value.is_empty()
                && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
        }) =>
        {
            Ok(name.to_owned())
        }
        _ => Err(
            "is no name of a certificate; write a subject like \"CN=team-a,O=Example\", or CN:, DNS:, URI:, IP: or email: and a name",
        ),
    }
}
