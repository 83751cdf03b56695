//! From the raw configuration to the checked one.
//!
//! Every value is read into its type here, and every problem is noted with its place before the
//! configuration is refused as a whole. A value with a problem is replaced by a stand-in only so
//! that the check can go on; no stand-in ever leaves this module.

mod client_identities;
mod client_keys;
mod client_policy;
mod clients;
mod credentials;
mod issuers;
mod jobs;
mod legacy;
mod network;
mod prompts;
mod state;
mod targets;
mod template_limits;
mod traces;
mod values;

pub use issuers::keys_url;
pub use values::log_filter;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;

use super::Listening;
use super::bearer_key::{MIN_KEY_CHARS, presentable};
use super::credentials::Credentials;
use super::document::{Document, KeyPath};
use super::effective::Effective;
use super::environment::Env;
use super::error::{Problem, suggestion};
use super::files;
use super::glob::Glob;
use super::model::{
    ClientAuth, Config, Fallback, Hedge, Learning, Limits, Log, Queue, Retry, Route, Server,
    Target, Upstream, UsageLog,
};
use super::raw::{
    RawConfig, RawFallback, RawHedge, RawLearning, RawLimits, RawLog, RawQueue, RawRetry, RawRoute,
    RawServer, RawUpstream, RawUsageLog,
};
use super::secret::Secret;

/// Region when neither the file nor the environment names one.
pub(super) const DEFAULT_REGION: &str = "us-east-1";

/// Checks the whole configuration; returns it with warnings about keys that have no effect. `base`
/// is the directory that relative paths start at.
///
/// # Errors
/// All problems found, in no particular order.
pub(super) fn check(
    raw: &RawConfig,
    document: &Document,
    env: &Env,
    base: Option<&Path>,
) -> Result<(Config, Vec<String>), Vec<Problem>> {
    let mut checker = Checker { document, env, base, problems: Vec::new(), warnings: Vec::new() };
    let server = checker.server(&raw.server);
    let upstream = checker.upstream(&raw.upstream);
    let quotas = checker.quotas(raw);
    let targets = checker.targets(raw, &upstream, &quotas);
    let routes = checker.routes(&raw.routes, &targets);
    let jobs = checker.jobs(&raw.jobs);
    let config = Config {
        fallback: checker.fallback(&raw.fallback),
        retry: checker.retry(&raw.retry),
        queue: checker.queue(&raw.queue),
        limits: checker.limits(&raw.limits),
        clients: checker.clients(raw),
        prices: checker.prices(raw),
        issuers: checker.issuers(raw),
        auth: checker.auth(&raw.auth),
        learning: learning(&raw.learning),
        hedge: hedge(&raw.hedge),
        legacy: checker.legacy(&raw.legacy, &server, &targets, &routes),
        state: checker.state(&raw.state, &jobs.backend),
        jobs,
        log: checker.log(&raw.log),
        usage_log: checker.usage_log(&raw.usage_log),
        traces: checker.traces(&raw.traces),
        effective: Effective::new(raw),
        server,
        upstream,
        targets,
        routes,
        quotas,
    };
    let Checker { problems, warnings, .. } = checker;
    if problems.is_empty() { Ok((config, warnings)) } else { Err(problems) }
}

/// Checks the addresses of a gateway's listeners alone.
///
/// # Errors
/// The problems of these.
pub(super) fn listening(
    raw: &RawServer,
    document: &Document,
    env: &Env,
) -> Result<Listening, Vec<Problem>> {
    let (problems, warnings) = (Vec::new(), Vec::new());
    let mut checker = Checker { document, env, base: None, problems, warnings };
    let at = KeyPath::from(["server"]);
    let listening = Listening {
        listen: checker.address(&at.key("listen"), &raw.listen),
        admin_listen: checker.address(&at.key("admin_listen"), &raw.admin_listen),
        tls: raw.tls.is_some(),
        wants_certificates: raw.tls.as_ref().is_some_and(|tls| {
            tls.client_ca.is_some() && tls.client_auth != Some(ClientAuth::Optional)
        }),
    };
    if checker.problems.is_empty() { Ok(listening) } else { Err(checker.problems) }
}

struct Checker<'a> {
    document: &'a Document,
    env: &'a Env,
    base: Option<&'a Path>,
    problems: Vec<Problem>,
    /// What only the document tells: keys that are set but have no effect.
    warnings: Vec<String>,
}

impl Checker<'_> {
    fn server(&mut self, raw: &RawServer) -> Server {
        let at = KeyPath::from(["server"]);
        let server = Server {
            listen: self.address(&at.key("listen"), &raw.listen),
            admin_listen: self.address(&at.key("admin_listen"), &raw.admin_listen),
            admin_key: self.admin_key(&at, raw),
            open_metrics: raw.open_metrics,
            allowed_hosts: self.hosts(&at.key("allowed_hosts"), &raw.allowed_hosts),
            max_body: self.size(&at.key("max_body"), &raw.max_body),
            request_timeout: self.duration(&at.key("request_timeout"), &raw.request_timeout),
            bidirectional_timeout: self
                .duration(&at.key("bidirectional_timeout"), &raw.bidirectional_timeout),
            header_read_timeout: self
                .duration(&at.key("header_read_timeout"), &raw.header_read_timeout),
            body_read_timeout: self.duration(&at.key("body_read_timeout"), &raw.body_read_timeout),
            keep_alive_timeout: self
                .duration(&at.key("keep_alive_timeout"), &raw.keep_alive_timeout),
            drain_delay: self.duration_or_zero(&at.key("drain_delay"), &raw.drain_delay),
            drain_timeout: self.duration_or_zero(&at.key("drain_timeout"), &raw.drain_timeout),
            config_poll_interval: self
                .duration_or_zero(&at.key("config_poll_interval"), &raw.config_poll_interval),
            max_in_flight: raw.max_in_flight,
            max_in_flight_bytes: self
                .size(&at.key("max_in_flight_bytes"), &raw.max_in_flight_bytes),
            max_connections: raw.max_connections,
            max_header_bytes: self.size(&at.key("max_header_bytes"), &raw.max_header_bytes),
            max_headers: raw.max_headers,
            max_concurrent_streams: raw.max_concurrent_streams,
            max_resets: raw.max_resets,
            worker_threads: raw.worker_threads,
            tls: raw.tls.as_ref().map(|tls| self.tls(&at.key("tls"), tls)),
        };
        // hyper takes no read buffer below 8 KiB.
        if !(8 << 10..=16 << 20).contains(&server.max_header_bytes) {
            self.problem(&at.key("max_header_bytes"), "must be from 8KiB to 16MiB");
        }
        let (listen, admin) = (server.listen, server.admin_listen);
        if overlap(listen, admin) {
            let message = format!(
                "{listen} and the admin address {admin} share a port but are not the same; make \
                 them equal or choose another port"
            );
            self.problem(&at.key("listen"), message);
        }
        if !admin.ip().is_loopback() && raw.admin_key.is_none() && !raw.open_metrics {
            let message = format!(
                "{admin} can be reached from other machines, so what it tells needs a key: set \
                 'admin_key', or 'open_metrics' to have metrics and health there and nothing else"
            );
            self.problem(&at.key("admin_listen"), message);
        }
        server
    }

    fn admin_key(&mut self, at: &KeyPath, raw: &RawServer) -> Option<Secret> {
        let at = &at.key("admin_key");
        let key = Secret::from(self.secret(at, raw.admin_key.as_ref()?));
        if let Err(why) = presentable(key.expose()) {
            self.problem(at, why);
        } else if (1..MIN_KEY_CHARS).contains(&key.expose().len()) {
            self.warnings
                .push(format!("server.admin_key is shorter than {MIN_KEY_CHARS} characters"));
        }
        Some(key)
    }

    fn upstream(&mut self, raw: &RawUpstream) -> Upstream {
        let at = KeyPath::from(["upstream"]);
        let region = raw.region.as_deref().unwrap_or(DEFAULT_REGION);
        let use_fips = self.use_fips(&at, raw);
        let public = self.public_endpoint(&at.key("region"), region, use_fips);
        let given = self.given_endpoint(&at, raw.endpoint_url.as_deref());
        let control_plane = self.control_plane(&at, raw, region, use_fips);
        let credentials = self.credentials(&at, &raw.credentials).unwrap_or_else(|| {
            match self.env.get("AWS_BEARER_TOKEN_BEDROCK") {
                Some(token) if !token.trim().is_empty() => {
                    Credentials::Bearer(self.bearer_of_aws(token))
                }
                _ => Credentials::DefaultChain,
            }
        });
        Upstream {
            region: region.to_owned(),
            endpoint: given.unwrap_or(public),
            use_fips,
            control_plane,
            trust: self.trust(&at, raw),
            proxies: self.proxies(&at, raw),
            connect_timeout: self.duration(&at.key("connect_timeout"), &raw.connect_timeout),
            first_byte_timeout: self
                .duration(&at.key("first_byte_timeout"), &raw.first_byte_timeout),
            idle_timeout: self.duration(&at.key("idle_timeout"), &raw.idle_timeout),
            pool_idle_timeout: self.duration(&at.key("pool_idle_timeout"), &raw.pool_idle_timeout),
            max_idle_per_host: raw.max_idle_per_host,
            assumed_max_output_tokens: raw.assumed_max_output_tokens,
            forward_headers: self.forward_headers(&at.key("forward_headers"), &raw.forward_headers),
            credentials,
        }
    }

    fn routes(&mut self, raw: &[RawRoute], targets: &[Target]) -> Vec<Route> {
        let mut seen = HashMap::new();
        let targets = indices(targets);
        let routes = raw.iter().enumerate().map(|(index, route)| {
            let at = KeyPath::from(["routes"]).index(index);
            for (i, pattern) in route.models.iter().enumerate() {
                let path = at.key("models").index(i);
                if pattern.trim().is_empty() {
                    self.problem(&path, "a model must not be empty");
                } else if let Err(error) = Glob::new(pattern) {
                    self.problem(&path, format!("'{pattern}' is not a glob: {error}"));
                } else if let Some(first) = seen.insert(pattern.clone(), index) {
                    let message = format!("'{pattern}' is already named in routes[{first}]");
                    self.problem(&path, message);
                }
            }
            self.must_not_be_empty(&at.key("models"), &route.models);
            self.must_not_be_empty(&at.key("targets"), &route.targets);
            Route {
                models: route.models.clone(),
                targets: self.route_targets(&at.key("targets"), &route.targets, &targets),
                balance: route.balance,
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

    fn fallback(&mut self, raw: &RawFallback) -> Fallback {
        let at = KeyPath::from(["fallback"]);
        Fallback {
            strategy: raw.strategy,
            unrouted: raw.unrouted,
            unrouted_cooldown: self.duration(&at.key("unrouted_cooldown"), &raw.unrouted_cooldown),
            daily_cooldown: self.duration(&at.key("daily_cooldown"), &raw.daily_cooldown),
            misconfigured_cooldown: self
                .duration(&at.key("misconfigured_cooldown"), &raw.misconfigured_cooldown),
            max_cooldown_multiplier: raw.max_cooldown_multiplier,
            eject_after: raw.eject_after,
            eject_below_success_rate: raw.eject_below_success_rate,
            eject_min_requests: raw.eject_min_requests,
            eject_cooldown: self.duration(&at.key("eject_cooldown"), &raw.eject_cooldown),
            max_unrouted_models: raw.max_unrouted_models,
        }
    }

    fn retry(&mut self, raw: &RawRetry) -> Retry {
        let at = KeyPath::from(["retry"]);
        let retry = Retry {
            attempts: raw.attempts,
            base_delay: self.duration_or_zero(&at.key("base_delay"), &raw.base_delay),
            max_delay: self.duration_or_zero(&at.key("max_delay"), &raw.max_delay),
        };
        if retry.max_delay < retry.base_delay {
            self.problem(&at.key("max_delay"), "must not be shorter than base_delay");
        }
        retry
    }

    fn queue(&mut self, raw: &RawQueue) -> Queue {
        let at = KeyPath::from(["queue"]);
        Queue {
            max_waiting: raw.max_waiting,
            max_waiting_bytes: self.size(&at.key("max_waiting_bytes"), &raw.max_waiting_bytes),
            max_wait: self.duration_or_zero(&at.key("max_wait"), &raw.max_wait),
            max_priority: raw.max_priority,
        }
    }

    fn limits(&mut self, raw: &RawLimits) -> Limits {
        let at = KeyPath::from(["limits"]);
        let rate = at.key("requests_per_second");
        if raw.burst.is_some() && !self.document.mentions(&rate) {
            self.problem(&at.key("burst"), "needs 'requests_per_second' beside it");
        }
        Limits {
            key: self.limit_key(&at.key("key"), &raw.key),
            requests_per_second: raw.requests_per_second,
            burst: raw.burst.or(raw.requests_per_second),
            tokens_per_minute: raw.tokens_per_minute,
            max_concurrent: raw.max_concurrent,
            max_tracked_clients: raw.max_tracked_clients,
        }
    }

    fn log(&mut self, raw: &RawLog) -> Log {
        self.filter(&["log", "level"].into(), &raw.level);
        Log { format: raw.format, level: raw.level.clone(), access: raw.access }
    }

    fn usage_log(&mut self, raw: &RawUsageLog) -> Option<UsageLog> {
        let at = KeyPath::from(["usage_log"]);
        let path = files::resolve(self.base, &raw.path);
        if raw.path.trim().is_empty() || path.file_name().is_none() {
            self.problem(&at.key("path"), "must name a file");
        }
        let log = UsageLog {
            path,
            max_size: self.size(&at.key("max_size"), &raw.max_size),
            max_files: raw.max_files,
        };
        raw.enabled.then_some(log)
    }

    fn problem(&mut self, at: &KeyPath, message: impl std::fmt::Display) {
        self.problems.push(self.document.problem(at, message));
    }
}

/// Whether two different addresses cannot both be listened on.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one != other && one.port() == other.port() && one.port() != 0 && any
}

fn learning(raw: &RawLearning) -> Learning {
    Learning {
        enabled: raw.enabled,
        decrease: raw.decrease,
        increase: raw.increase,
        floor_rpm: raw.floor_rpm,
        floor_tpm: raw.floor_tpm,
    }
}

fn hedge(raw: &RawHedge) -> Hedge {
    Hedge { enabled: raw.enabled, max_share: raw.max_share, max_input_tokens: raw.max_input_tokens }
}

/// The places of targets by their names.
fn indices(targets: &[Target]) -> BTreeMap<&str, usize> {
    targets.iter().enumerate().map(|(index, target)| (target.name.as_str(), index)).collect()
}
