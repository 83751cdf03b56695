//! Targets and the quotas they share.

use super::{Checker, public_endpoint};
use crate::credentials::Credentials;
use crate::document::KeyPath;
use crate::error::suggestion;
use crate::model::{Quota, Target, Upstream};
use crate::raw::{RawConfig, RawTarget};

/// What a target takes from the rest of the configuration.
struct Inherited<'c> {
    upstream: &'c Upstream,
    endpoint_given: bool,
    quotas: &'c [Quota],
}

impl<'a> Checker<'a> {
    /// The targets in the order of the document, which the raw map does not keep.
    pub(super) fn targets(
        &mut self,
        raw: &RawConfig,
        upstream: &Upstream,
        quotas: &[Quota],
    ) -> Vec<Target> {
        let inherited =
            Inherited { upstream, endpoint_given: raw.upstream.endpoint_url.is_some(), quotas };
        let names = self.names("targets").filter_map(|name| Some((name, raw.targets.get(name)?)));
        names.map(|(name, target)| self.target(name, target, &inherited)).collect()
    }

    /// The quotas in the order of the document.
    pub(super) fn quotas(&mut self, raw: &RawConfig) -> Vec<Quota> {
        let names = self.names("quotas").filter_map(|name| Some((name, raw.quotas.get(name)?)));
        let quotas = names.map(|(name, quota)| {
            let at = KeyPath::from(["quotas", name]);
            self.name(&at, "quota", name);
            let mentioned = ["rpm", "tpm"].iter().any(|key| self.document.mentions(&at.key(key)));
            if !mentioned {
                self.problem(&at, "needs 'rpm', 'tpm' or both");
            }
            Quota { name: name.to_owned(), ..quota.clone() }
        });
        quotas.collect()
    }

    /// The names in a table with free keys.
    pub(super) fn names(&self, table: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let document = self.document;
        let names = document.get(&[table].into()).and_then(toml::Value::as_table);
        names.into_iter().flat_map(toml::Table::keys).map(String::as_str)
    }

    fn target(&mut self, name: &str, raw: &RawTarget, inherited: &Inherited<'_>) -> Target {
        let Inherited { upstream, endpoint_given, quotas } = *inherited;
        let at = KeyPath::from(["targets", name]);
        self.name(&at, "target", name);
        self.credentials(&at, &raw.target.credentials);
        let endpoint = raw.endpoint_url.clone().unwrap_or_else(|| match &raw.region {
            Some(region) if !endpoint_given => public_endpoint(region, upstream.use_fips),
            _ => upstream.endpoint.clone(),
        });
        let credentials = match &raw.target.credentials {
            Credentials::DefaultChain => &upstream.credentials,
            own => own,
        };
        Target {
            name: name.to_owned(),
            region: raw.region.clone().unwrap_or_else(|| upstream.region.clone()),
            endpoint,
            credentials: credentials.clone(),
            assumed_max_output_tokens: raw
                .target
                .assumed_max_output_tokens
                .or(upstream.assumed_max_output_tokens),
            quota: self.quota(&at, raw, quotas),
            first_byte_timeout: raw.first_byte_timeout.unwrap_or(upstream.first_byte_timeout),
            idle_timeout: raw.idle_timeout.unwrap_or(upstream.idle_timeout),
            ..raw.target.clone()
        }
    }

    fn quota(&mut self, at: &KeyPath, raw: &RawTarget, quotas: &[Quota]) -> Option<usize> {
        let name = raw.quota.as_deref()?;
        for (key, given) in [("rpm", raw.target.rpm.is_some()), ("tpm", raw.target.tpm.is_some())] {
            if given {
                self.problem(&at.key(key), "cannot stand beside quota: it is the quota's to say");
            }
        }
        let index = quotas.iter().position(|quota| quota.name == name);
        if index.is_none() {
            let hint = suggestion(name, quotas.iter().map(|quota| quota.name.as_str()));
            self.problem(&at.key("quota"), format!("no quota is named '{name}'{hint}"));
        }
        index
    }
}
