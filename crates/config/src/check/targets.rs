//! Targets and the quotas they share.

use sluice_bedrock::ModelId;
use sluice_catalogue::{Endpoint as Service, Surfaces};

use super::{Checker, public_endpoint};
use crate::credentials::Credentials;
use crate::document::KeyPath;
use crate::endpoint::Endpoint;
use crate::error::suggestion;
use crate::model::{Quota, Target, Upstream};
use crate::raw::{RawConfig, RawTarget};

/// The keys of the limits of a quota.
const LIMITS: [&str; 5] = ["rpm", "tpm", "input_tpm", "output_tpm", "tpd"];

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
            let mentioned = LIMITS.iter().any(|key| self.document.mentions(&at.key(key)));
            if !mentioned {
                self.problem(&at, "needs a limit: 'rpm', 'tpm' or 'tpd'");
            }
            self.tokens_a_minute(&at, quota.tpm, quota.input_tpm.or(quota.output_tpm));
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
        let region = raw.region.clone().unwrap_or_else(|| upstream.region.clone());
        let endpoint = match (raw.target.service, &raw.endpoint_url) {
            (_, Some(own)) => own.clone(),
            (Service::Runtime, None) => match &raw.region {
                Some(region) if !endpoint_given => public_endpoint(region, upstream.use_fips),
                _ => upstream.endpoint.clone(),
            },
            // One of AWS's own is of Bedrock Runtime. A proxy or simulator may well be of both.
            (Service::Mantle, None) if endpoint_given && !upstream.endpoint.is_of_aws() => {
                upstream.endpoint.clone()
            }
            (Service::Mantle, None) => self.public_mantle(&at, &region, upstream.use_fips),
        };
        self.ways(&at, &raw.target);
        let credentials = match &raw.target.credentials {
            Credentials::DefaultChain => &upstream.credentials,
            own => own,
        };
        Target {
            name: name.to_owned(),
            region,
            endpoint,
            credentials: credentials.clone(),
            assumed_max_output_tokens: raw
                .target
                .assumed_max_output_tokens
                .or(upstream.assumed_max_output_tokens),
            quota: self.quota(&at, raw, quotas),
            daily_quota: self.daily_quota(&at, raw, quotas),
            first_byte_timeout: raw.first_byte_timeout.unwrap_or(upstream.first_byte_timeout),
            idle_timeout: raw.idle_timeout.unwrap_or(upstream.idle_timeout),
            ..raw.target.clone()
        }
    }

    /// The public mantle endpoint of a region that is valid.
    fn public_mantle(&mut self, at: &KeyPath, region: &str, use_fips: bool) -> Endpoint {
        if use_fips {
            let message = "is mantle, which has no FIPS endpoints, and upstream.use_fips is on: give the \
                           target an 'endpoint_url' of its own, or leave it out";
            self.problem(&at.key("endpoint"), message);
        }
        Endpoint::of_mantle(region).unwrap_or_else(|_| Endpoint::stand_in())
    }

    /// Checks the ways in which a target is called: its endpoint has them, and takes its model.
    fn ways(&mut self, at: &KeyPath, target: &Target) {
        let service = target.service;
        let lacks = target.surfaces.unwrap_or_default().without(Surfaces::of_endpoint(service));
        if !lacks.is_empty() {
            let message = format!("the {} endpoint has no '{}'", service.name(), lacks.names());
            self.problem(&at.key("surfaces"), message);
        }
        if service == Service::Runtime {
            if target.path_prefix.is_some() {
                let message = "needs 'endpoint = \"mantle\"' beside it";
                self.problem(&at.key("path_prefix"), message);
            }
            return;
        }
        let Ok(model) = ModelId::new(&target.model) else { return };
        let full = model.arn_resource().unwrap_or(model.as_str());
        if let Some(base) = model.base()
            && base != target.model
        {
            let message = match model.geography() {
                Some(_) => format!(
                    "'{full}' is a cross-region inference profile, and the mantle endpoint takes none: \
                     use the base id '{base}'"
                ),
                None => format!("is an ARN, and the mantle endpoint takes base ids: use '{base}'"),
            };
            self.problem(&at.key("model"), message);
        }
    }

    fn quota(&mut self, at: &KeyPath, raw: &RawTarget, quotas: &[Quota]) -> Option<usize> {
        let own = &raw.target;
        self.tokens_a_minute(at, own.tpm, own.input_tpm.or(own.output_tpm));
        let name = raw.quota.as_deref()?;
        let given = [
            own.rpm.is_some(),
            own.tpm.is_some(),
            own.input_tpm.is_some(),
            own.output_tpm.is_some(),
            own.tpd.is_some(),
        ];
        for (key, _) in LIMITS.iter().zip(given).filter(|(_, given)| *given) {
            self.problem(&at.key(key), "cannot stand beside quota: it is the quota's to say");
        }
        self.named_quota(&at.key("quota"), name, quotas)
    }

    fn daily_quota(&mut self, at: &KeyPath, raw: &RawTarget, quotas: &[Quota]) -> Option<usize> {
        let (name, at) = (raw.daily_quota.as_deref()?, at.key("daily_quota"));
        let index = self.named_quota(&at, name, quotas)?;
        let quota = quotas.get(index)?;
        let per_minute = [quota.tpm, quota.input_tpm, quota.output_tpm];
        if quota.rpm.is_some() || per_minute.iter().any(Option::is_some) {
            let message = "counts tokens a day: name a quota with 'tpd' alone";
            self.problem(&at, message);
        }
        if raw.quota.as_deref() == Some(name) {
            self.problem(&at, "is the target's quota already");
        }
        Some(index)
    }

    fn named_quota(&mut self, at: &KeyPath, name: &str, quotas: &[Quota]) -> Option<usize> {
        let index = quotas.iter().position(|quota| quota.name == name);
        if index.is_none() {
            let hint = suggestion(name, quotas.iter().map(|quota| quota.name.as_str()));
            self.problem(at, format!("no quota is named '{name}'{hint}"));
        }
        index
    }

    /// Checks that tokens a minute are counted in one way.
    fn tokens_a_minute(&mut self, at: &KeyPath, together: Option<u64>, apart: Option<u64>) {
        if together.is_some() && apart.is_some() {
            let message = "counts input and output together, and 'input_tpm' and 'output_tpm' count them apart: \
                           a quota has one or the other";
            self.problem(&at.key("tpm"), message);
        }
    }
}
