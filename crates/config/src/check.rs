//! What validation by the schema cannot see: keys that depend on one another, names, references, files.
//!
//! Every problem is noted with its location before the configuration is refused as a whole. A value
//! with a problem is replaced by a stand-in only so that the check can go on; no stand-in ever leaves
//! this module.

mod apis;
mod catalogue;
mod client_identities;
mod client_keys;
mod client_policy;
mod clients;
mod credentials;
mod issuers;
mod jobs;
mod legacy;
mod network;
mod response_store;
mod state;
mod targets;
mod traces;
mod values;

pub use issuers::keys_url;

use self::legacy::Answering;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;

use super::bearer_key::{MIN_KEY_CHARS, presentable};
use super::credentials::Credentials;
use super::document::{Document, KeyPath};
use super::effective::Effective;
use super::endpoint::Endpoint;
use super::environment::Env;
use super::error::{Problem, suggestion};
use super::files;
use super::model::{Config, Limits, Retry, Route, Server, Target, Translate, Upstream, UsageLog};
use super::raw::{RawConfig, RawUpstream};
use super::reference::Scope;
use sluice_bedrock::Date;

/// Computes and checks the whole configuration; returns it with warnings about keys that have no effect. `base`
/// is the directory that relative paths start at.
///
/// # Errors
/// All problems found, in no particular order.
pub(super) fn check(
    raw: &RawConfig,
    document: &Document,
    env: &Env,
    base: Option<&Path>,
    scope: Scope,
) -> Result<(Config, Vec<String>), Vec<Problem>> {
    let (problems, warnings) = (Vec::new(), Vec::new());
    let mut checker = Checker { document, env, base, scope, problems, warnings };
    let server = checker.server(&raw.server);
    let upstream = checker.upstream(&raw.upstream);
    let quotas = checker.quotas(raw);
    let targets = checker.targets(raw, &upstream, &quotas);
    let apis = checker.apis(&raw.apis);
    let routes = checker.routes(raw, &targets);
    let jobs = checker.jobs(&raw.jobs);
    let known_models = checker.known_models(&raw.catalogue);
    let answering = Answering { targets: &targets, routes: &routes, known_models: &known_models };
    let legacy = checker.legacy(&raw.legacy, &server, &answering, raw.queue.max_wait);
    let config = Config {
        fallback: raw.fallback.clone(),
        known_models,
        catalogue: raw.catalogue.clone(),
        retry: checker.retry(&raw.retry),
        queue: raw.queue.clone(),
        limits: checker.limits(&raw.limits),
        apis,
        clients: checker.clients(raw),
        prices: checker.prices(raw),
        issuers: checker.issuers(raw),
        auth: checker.auth(&raw.auth),
        learning: raw.learning.clone(),
        hedge: raw.hedge.clone(),
        legacy,
        state: checker.state(&raw.state, &jobs.backend),
        jobs,
        response_store: checker.response_store(&raw.response_store),
        log: raw.log.clone(),
        usage_log: checker.usage_log(&raw.usage_log),
        traces: checker.traces(&raw.traces),
        effective: Effective::default(),
        day: Date::default(),
        server,
        upstream,
        targets,
        routes,
        quotas,
    };
    let Checker { problems, warnings, .. } = checker;
    if problems.is_empty() { Ok((config, warnings)) } else { Err(problems) }
}

struct Checker<'a> {
    document: &'a Document,
    env: &'a Env,
    base: Option<&'a Path>,
    scope: Scope,
    problems: Vec<Problem>,
    /// Checks of the document alone: keys that are set but have no effect.
    warnings: Vec<String>,
}

impl Checker<'_> {
    fn server(&mut self, raw: &Server) -> Server {
        let at = KeyPath::from(["server"]);
        let server = Server {
            admin_key_file: raw.admin_key_file.as_ref().map(|it| files::resolve(self.base, it)),
            allowed_hosts: self.hosts(&at.key("allowed_hosts"), &raw.allowed_hosts),
            tls: raw.tls.as_ref().map(|tls| self.tls(&at.key("tls"), tls)),
            ..raw.clone()
        };
        self.admin_key(&at.key("admin_key"), &server);
        // hyper takes no read buffer below 8 KiB.
        if !(8 << 10..=16 << 20).contains(&server.max_header_bytes) {
            self.problem(&at.key("max_header_bytes"), "must be from 8KiB to 16MiB");
        }
        let (listen, admin) = (server.listen, server.admin_listen);
        let are_given = ["listen", "admin_listen"].iter().all(|key| !self.is_refused(&at.key(key)));
        if overlap(listen, admin) && are_given {
            let message = format!(
                "{listen} and the admin address {admin} share a port but are not the same; make \
                 them equal or choose another port"
            );
            self.problem(&at.key("listen"), message);
        }
        let has_key = server.admin_key.is_some() || server.admin_key_file.is_some();
        if !admin.ip().is_loopback() && !has_key && !server.open_metrics {
            let message = format!(
                "{admin} can be reached from other machines, so what it tells needs a key: set \
                 'admin_key', or 'admin_key_file' to have one generated, or 'open_metrics' to have \
                 metrics and health there and nothing else"
            );
            self.problem(&at.key("admin_listen"), message);
        }
        server
    }

    fn admin_key(&mut self, at: &KeyPath, server: &Server) {
        let Some(key) = &server.admin_key else { return };
        if let Err(why) = presentable(key.expose()) {
            self.problem(at, why);
        } else if (1..MIN_KEY_CHARS).contains(&key.expose().len()) {
            self.warnings.push(format!("{at} is shorter than {MIN_KEY_CHARS} characters"));
        }
    }

    fn upstream(&mut self, raw: &RawUpstream) -> Upstream {
        let at = KeyPath::from(["upstream"]);
        if raw.upstream.use_fips && raw.endpoint_url.is_some() {
            let message = "can't stand beside endpoint_url: set it to false, and name the FIPS \
                           endpoint there";
            self.problem(&at.key("use_fips"), message);
        }
        self.credentials(&at, &raw.upstream.credentials);
        let credentials = match self.env.get("AWS_BEARER_TOKEN_BEDROCK") {
            Some(token)
                if raw.upstream.credentials == Credentials::DefaultChain
                    && !token.trim().is_empty() =>
            {
                Credentials::Bearer(self.bearer_of_aws(token))
            }
            _ => raw.upstream.credentials.clone(),
        };
        let public = || public_endpoint(&raw.upstream.region, raw.upstream.use_fips);
        Upstream {
            endpoint: raw.endpoint_url.clone().unwrap_or_else(public),
            control_plane: self.control_plane(&at.key("control_plane_endpoint_url"), raw),
            trust: self.trust(&at, raw),
            proxies: self.proxies(&at, raw),
            forward_headers: self.forward_headers(&at.key("forward_headers"), &raw.forward_headers),
            credentials,
            ..raw.upstream.clone()
        }
    }

    fn routes(&mut self, raw: &RawConfig, targets: &[Target]) -> Vec<Route> {
        let (max_wait, store) = (raw.queue.max_wait, raw.apis.responses.store);
        let mut seen = HashMap::new();
        let targets = indices(targets);
        let routes = raw.routes.iter().enumerate().map(|(index, route)| {
            let at = KeyPath::from(["routes"]).index(index);
            for (i, pattern) in route.models.iter().enumerate() {
                if let Some(first) = seen.insert(pattern.clone(), index) {
                    let message = format!("'{pattern}' is already named in routes[{first}]");
                    self.problem(&at.key("models").index(i), message);
                }
            }
            self.wait_before_fallback(&at, route.wait_before_fallback, max_wait);
            Route {
                models: route.models.clone(),
                targets: self.route_targets(&at.key("targets"), &route.targets, &targets),
                balance: route.balance,
                wait_before_fallback: route.wait_before_fallback,
                store: route.store.unwrap_or(store),
                translate: Translate::of(route.translate),
            }
        });
        routes.collect()
    }

    fn route_targets(
        &mut self,
        at: &KeyPath,
        names: &[String],
        targets: &BTreeMap<&str, usize>,
    ) -> Vec<usize> {
        let mut indices = Vec::with_capacity(names.len());
        let mut seen = HashSet::new();
        for (i, name) in names.iter().enumerate() {
            match targets.get(name.as_str()) {
                Some(index) if !seen.insert(*index) => {
                    self.problem(&at.index(i), format!("target '{name}' is named twice"));
                }
                Some(index) => indices.push(*index),
                None => {
                    let hint = suggestion(name, targets.keys().copied());
                    self.problem(&at.index(i), format!("no target is named '{name}'{hint}"));
                }
            }
        }
        indices
    }

    fn retry(&mut self, raw: &Retry) -> Retry {
        let (max, base) = (("max_delay", raw.max_delay), ("base_delay", raw.base_delay));
        self.not_shorter(&["retry"].into(), max, base);
        raw.clone()
    }

    fn limits(&mut self, raw: &Limits) -> Limits {
        let at = KeyPath::from(["limits"]);
        let rate = at.key("requests_per_second");
        if raw.burst.is_some() && !self.document.mentions(&rate) {
            self.problem(&at.key("burst"), "needs 'requests_per_second' beside it");
        }
        Limits { burst: raw.burst.or(raw.requests_per_second), ..raw.clone() }
    }

    fn usage_log(&mut self, raw: &UsageLog) -> Option<UsageLog> {
        let path = files::resolve(self.base, &raw.path);
        if raw.path.to_string_lossy().trim().is_empty() || path.file_name().is_none() {
            self.problem(&["usage_log", "path"].into(), "must name a file");
        }
        raw.enabled.then(|| UsageLog { path, ..raw.clone() })
    }

    fn problem(&mut self, at: &KeyPath, message: impl std::fmt::Display) {
        self.problems.push(self.document.problem(at, message));
    }
}

/// The public endpoint of a region that is valid.
fn public_endpoint(region: &str, use_fips: bool) -> Endpoint {
    Endpoint::of_region(region, use_fips).unwrap_or_else(|_| Endpoint::stand_in())
}

/// Whether two different addresses cannot both be listened on.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one != other && one.port() == other.port() && one.port() != 0 && any
}

/// The indices of targets by their names.
fn indices(targets: &[Target]) -> BTreeMap<&str, usize> {
    targets.iter().enumerate().map(|(index, target)| (target.name.as_str(), index)).collect()
}
