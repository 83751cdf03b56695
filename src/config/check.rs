//! From the raw configuration to the checked one.
//!
//! Every value is read into its type here, and every problem is noted with its place before the
//! configuration is refused as a whole. A value with a problem is replaced by a stand-in only so
//! that the check can go on; no stand-in ever leaves this module.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::credentials::Credentials;
use super::document::{Document, KeyPath};
use super::endpoint::Endpoint;
use super::environment::Env;
use super::error::{Problem, suggestion};
use super::raw::{
    RawConfig, RawCredentials, RawFallback, RawHedge, RawLearning, RawLimits, RawLog, RawQueue,
    RawQuota, RawRetry, RawRoute, RawServer, RawTarget, RawUpstream,
};
use super::secret::{SecretRef, read_reference};
use super::settings::{
    Config, Fallback, Hedge, Learning, LimitKey, Limits, Log, Queue, Quota, Retry, Route, Server,
    Target, Upstream,
};
use super::units::{DurationText, SizeText};

/// Region when neither the file nor the environment names one.
pub(super) const DEFAULT_REGION: &str = "us-east-1";

/// Checks the whole configuration. `base` is the directory that relative `file:` references start
/// at.
///
/// # Errors
/// All problems found, in no particular order.
pub(super) fn check(
    raw: &RawConfig,
    document: &Document,
    env: &Env,
    base: Option<&Path>,
) -> Result<Config, Vec<Problem>> {
    let mut checker = Checker { document, env, base, problems: Vec::new() };
    let upstream = checker.upstream(&raw.upstream);
    let quotas = checker.quotas(raw);
    let targets = checker.targets(raw, &upstream, &quotas);
    let config = Config {
        server: checker.server(&raw.server),
        routes: checker.routes(&raw.routes, &targets),
        fallback: checker.fallback(&raw.fallback),
        retry: checker.retry(&raw.retry),
        queue: checker.queue(&raw.queue),
        limits: checker.limits(&raw.limits),
        learning: learning(&raw.learning),
        hedge: hedge(&raw.hedge),
        log: checker.log(&raw.log),
        upstream,
        targets,
        quotas,
    };
    if checker.problems.is_empty() { Ok(config) } else { Err(checker.problems) }
}

struct Checker<'a> {
    document: &'a Document,
    env: &'a Env,
    base: Option<&'a Path>,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn server(&mut self, raw: &RawServer) -> Server {
        let at = KeyPath::from(["server"]);
        let server = Server {
            listen: self.address(&at.key("listen"), &raw.listen),
            admin_listen: self.address(&at.key("admin_listen"), &raw.admin_listen),
            max_body: self.size(&at.key("max_body"), &raw.max_body),
            request_timeout: self.duration(&at.key("request_timeout"), &raw.request_timeout),
            header_read_timeout: self
                .duration(&at.key("header_read_timeout"), &raw.header_read_timeout),
            body_read_timeout: self.duration(&at.key("body_read_timeout"), &raw.body_read_timeout),
            drain_delay: self.duration_or_zero(&at.key("drain_delay"), &raw.drain_delay),
            drain_timeout: self.duration_or_zero(&at.key("drain_timeout"), &raw.drain_timeout),
            max_connections: raw.max_connections,
            max_header_bytes: self.size(&at.key("max_header_bytes"), &raw.max_header_bytes),
            max_headers: raw.max_headers,
            max_concurrent_streams: raw.max_concurrent_streams,
            worker_threads: raw.worker_threads,
        };
        // hyper takes no read buffer below 8 KiB.
        if !(8 << 10..=16 << 20).contains(&server.max_header_bytes) {
            self.problem(&at.key("max_header_bytes"), "must be from 8KiB to 16MiB");
        }
        let (listen, admin) = (server.listen, server.admin_listen);
        let overlap = listen.ip().is_unspecified() || admin.ip().is_unspecified();
        if listen != admin && listen.port() == admin.port() && listen.port() != 0 && overlap {
            let message = format!(
                "{listen} and the admin address {admin} share a port but are not the same; make \
                 them equal or choose another port"
            );
            self.problem(&at.key("listen"), message);
        }
        server
    }

    fn upstream(&mut self, raw: &RawUpstream) -> Upstream {
        let at = KeyPath::from(["upstream"]);
        let region = raw.region.as_deref().unwrap_or(DEFAULT_REGION);
        let public = self.public_endpoint(&at.key("region"), region);
        let given = self.given_endpoint(&at, raw.endpoint_url.as_deref());
        let credentials = self.credentials(&at, &raw.credentials).unwrap_or_else(|| {
            match self.env.get("AWS_BEARER_TOKEN_BEDROCK") {
                Some(token) => Credentials::Bearer(token.into()),
                None => Credentials::DefaultChain,
            }
        });
        Upstream {
            region: region.to_owned(),
            endpoint: given.unwrap_or(public),
            connect_timeout: self.duration(&at.key("connect_timeout"), &raw.connect_timeout),
            first_byte_timeout: self
                .duration(&at.key("first_byte_timeout"), &raw.first_byte_timeout),
            idle_timeout: self.duration(&at.key("idle_timeout"), &raw.idle_timeout),
            pool_idle_timeout: self.duration(&at.key("pool_idle_timeout"), &raw.pool_idle_timeout),
            max_idle_per_host: raw.max_idle_per_host,
            credentials,
        }
    }

    /// The targets in the order of the document, which the raw map does not keep.
    fn targets(&mut self, raw: &RawConfig, upstream: &Upstream, quotas: &[Quota]) -> Vec<Target> {
        let at = KeyPath::from(["targets"]);
        let names = self.document.get(&at).and_then(toml::Value::as_table);
        let names = names.into_iter().flat_map(toml::Table::keys);
        let targets = names.filter_map(|name| Some((name, raw.targets.get(name)?)));
        let endpoint_given = raw.upstream.endpoint_url.is_some();
        targets
            .map(|(name, target)| self.target(name, target, upstream, endpoint_given, quotas))
            .collect()
    }

    /// The shared quotas in the order of the document.
    fn quotas(&mut self, raw: &RawConfig) -> Vec<Quota> {
        let at = KeyPath::from(["quotas"]);
        let names = self.document.get(&at).and_then(toml::Value::as_table);
        let names: Vec<&String> = names.into_iter().flat_map(toml::Table::keys).collect();
        let mut quotas = Vec::with_capacity(names.len());
        for name in names {
            let Some(RawQuota { rpm, tpm }) = raw.quotas.get(name) else { continue };
            if rpm.is_none() && tpm.is_none() {
                self.problem(&at.key(name), "needs 'rpm' or 'tpm'");
            }
            quotas.push(Quota { name: name.clone(), rpm: *rpm, tpm: *tpm });
        }
        quotas
    }

    fn target_quota(&mut self, at: &KeyPath, raw: &RawTarget, quotas: &[Quota]) -> Option<usize> {
        let name = raw.quota.as_deref()?;
        if raw.rpm.is_some() || raw.tpm.is_some() {
            self.problem(&at.key("quota"), "cannot stand beside 'rpm' or 'tpm'");
        }
        let index = quotas.iter().position(|quota| quota.name == name);
        if index.is_none() {
            let hint = suggestion(name, quotas.iter().map(|quota| quota.name.as_str()));
            self.problem(&at.key("quota"), format!("no quota is named '{name}'{hint}"));
        }
        index
    }

    fn target(
        &mut self,
        name: &str,
        raw: &RawTarget,
        upstream: &Upstream,
        endpoint_given: bool,
        quotas: &[Quota],
    ) -> Target {
        let at = KeyPath::from(["targets", name]);
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            self.problem(&at, "a target's name is 1 to 64 letters, digits, '-', '_' and '.'");
        }
        self.model(&at.key("model"), &raw.model);
        if let Some(model) = &raw.base_model {
            self.model(&at.key("base_model"), model);
        }
        let inherited = match &raw.region {
            Some(region) => {
                let public = self.public_endpoint(&at.key("region"), region);
                if endpoint_given { upstream.endpoint.clone() } else { public }
            }
            None => upstream.endpoint.clone(),
        };
        let mut own_or = |key: &str, own: &Option<DurationText>, inherited| match own {
            Some(text) => self.duration(&at.key(key), text),
            None => inherited,
        };
        let first_byte_timeout =
            own_or("first_byte_timeout", &raw.first_byte_timeout, upstream.first_byte_timeout);
        let idle_timeout = own_or("idle_timeout", &raw.idle_timeout, upstream.idle_timeout);
        let endpoint = self.given_endpoint(&at, raw.endpoint_url.as_deref()).unwrap_or(inherited);
        let credentials = self.credentials(&at, &raw.credentials);
        let quota = self.target_quota(&at, raw, quotas);
        Target {
            name: name.to_owned(),
            model: raw.model.clone(),
            base_model: raw.base_model.clone(),
            display_name: raw.name.clone(),
            region: raw.region.clone().unwrap_or_else(|| upstream.region.clone()),
            endpoint,
            credentials: credentials.unwrap_or_else(|| upstream.credentials.clone()),
            cooldown: self.duration(&at.key("cooldown"), &raw.cooldown),
            rpm: raw.rpm,
            tpm: raw.tpm,
            quota,
            output_burndown: raw.output_burndown,
            max_output_tokens: raw.max_output_tokens,
            features: raw.features.clone(),
            first_byte_timeout,
            idle_timeout,
        }
    }

    fn routes(&mut self, raw: &[RawRoute], targets: &[Target]) -> Vec<Route> {
        let mut seen = HashMap::new();
        let routes = raw.iter().enumerate().map(|(index, route)| {
            let at = KeyPath::from(["routes"]).index(index);
            for (i, pattern) in route.models.iter().enumerate() {
                let path = at.key("models").index(i);
                if pattern.trim().is_empty() {
                    self.problem(&path, "a model must not be empty");
                } else if let Err(error) = globset::Glob::new(pattern) {
                    self.problem(&path, format!("'{pattern}' is not a glob: {}", error.kind()));
                } else if let Some(first) = seen.insert(pattern.clone(), index) {
                    let message = format!("'{pattern}' is already named in routes[{first}]");
                    self.problem(&path, message);
                }
            }
            self.must_not_be_empty(&at.key("models"), &route.models);
            self.must_not_be_empty(&at.key("targets"), &route.targets);
            Route {
                models: route.models.clone(),
                targets: self.route_targets(&at.key("targets"), &route.targets, targets),
                balance: route.balance,
            }
        });
        routes.collect()
    }

    fn route_targets(&mut self, at: &KeyPath, names: &[String], targets: &[Target]) -> Vec<usize> {
        let mut indices = Vec::with_capacity(names.len());
        for (i, name) in names.iter().enumerate() {
            match targets.iter().position(|target| target.name == *name) {
                Some(index) if indices.contains(&index) => {
                    self.problem(&at.index(i), format!("target '{name}' is named twice"));
                }
                Some(index) => indices.push(index),
                None => {
                    let hint = suggestion(name, targets.iter().map(|target| target.name.as_str()));
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
            daily_cooldown: self.duration(&at.key("daily_cooldown"), &raw.daily_cooldown),
            misconfigured_cooldown: self
                .duration(&at.key("misconfigured_cooldown"), &raw.misconfigured_cooldown),
            max_cooldown_multiplier: raw.max_cooldown_multiplier,
            eject_after: raw.eject_after,
            eject_min_requests: raw.eject_min_requests,
            eject_below_success_rate: raw.eject_below_success_rate,
            eject_cooldown: self.duration(&at.key("eject_cooldown"), &raw.eject_cooldown),
            unrouted_cooldown: self.duration(&at.key("unrouted_cooldown"), &raw.unrouted_cooldown),
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
        if raw.burst.is_some() && raw.requests_per_second.is_none() {
            self.problem(&at.key("burst"), "needs 'requests_per_second' beside it");
        }
        Limits {
            key: self.limit_key(&at.key("key"), &raw.key),
            requests_per_second: raw.requests_per_second,
            burst: raw.burst,
            tokens_per_minute: raw.tokens_per_minute,
            max_concurrent: raw.max_concurrent,
            max_tracked_clients: raw.max_tracked_clients,
        }
    }

    fn limit_key(&mut self, at: &KeyPath, text: &str) -> LimitKey {
        let header = text.strip_prefix("header:").map(|name| name.trim().parse());
        match (text, header) {
            ("access_key", _) => return LimitKey::AccessKey,
            ("ip", _) => return LimitKey::Ip,
            (_, Some(Ok(name))) => return LimitKey::Header(name),
            (_, Some(Err(_))) => self.problem(at, format!("'{text}' does not name a header")),
            (_, None) => {
                let message = format!(
                    "'{text}' is not a key; write \"access_key\", \"ip\" or \"header:x-team\""
                );
                self.problem(at, message);
            }
        }
        LimitKey::AccessKey
    }

    fn log(&mut self, raw: &RawLog) -> Log {
        if let Err(why) = check_filter(&raw.level) {
            self.problem(&["log", "level"].into(), why);
        }
        Log { format: raw.format, level: raw.level.clone(), access: raw.access }
    }

    /// The credentials that the keys at `at` name; `None` where there are none.
    fn credentials(&mut self, at: &KeyPath, raw: &RawCredentials) -> Option<Credentials> {
        let kinds = [
            ("profile", raw.profile.is_some() && raw.role_arn.is_none()),
            ("role_arn", raw.role_arn.is_some()),
            ("access_key_id", raw.access_key_id.is_some()),
            ("bearer_token", raw.bearer_token.is_some()),
        ];
        let given: Vec<&str> = kinds.iter().filter(|kind| kind.1).map(|kind| kind.0).collect();
        if let [first, second, ..] = given.as_slice() {
            let message = format!("cannot stand beside {first}: choose one kind of credentials");
            self.problem(&at.key(second), message);
        }
        let companions = [
            ("external_id", raw.external_id.is_some(), "role_arn"),
            ("session_token", raw.session_token.is_some(), "access_key_id"),
            ("secret_access_key", raw.secret_access_key.is_some(), "access_key_id"),
            ("access_key_id", raw.access_key_id.is_some(), "secret_access_key"),
        ];
        for (key, present, companion) in companions {
            if present && !self.document.mentions(&at.key(companion)) {
                self.problem(&at.key(key), format!("needs '{companion}' beside it"));
            }
        }
        for (key, text) in [
            ("profile", &raw.profile),
            ("role_arn", &raw.role_arn),
            ("external_id", &raw.external_id),
        ] {
            if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
                self.problem(&at.key(key), "must not be empty");
            }
        }
        if let Some(token) = &raw.bearer_token {
            return Some(Credentials::Bearer(self.secret(&at.key("bearer_token"), token)));
        }
        if let Some(id) = &raw.access_key_id {
            let secret = raw.secret_access_key.as_ref();
            let token = raw.session_token.as_ref();
            return Some(Credentials::Static {
                access_key_id: self.access_key_id(&at.key("access_key_id"), id),
                secret_access_key: secret
                    .map(|secret| self.secret(&at.key("secret_access_key"), secret))
                    .unwrap_or_default(),
                session_token: token.map(|token| self.secret(&at.key("session_token"), token)),
            });
        }
        if let Some(role_arn) = &raw.role_arn {
            if !role_arn.starts_with("arn:") || !role_arn.contains(":role/") {
                self.problem(&at.key("role_arn"), format!("'{role_arn}' is not the ARN of a role"));
            }
            return Some(Credentials::AssumeRole {
                role_arn: role_arn.clone(),
                external_id: raw.external_id.clone(),
                base_profile: raw.profile.clone(),
            });
        }
        raw.profile.clone().map(Credentials::Profile)
    }

    fn secret(&mut self, at: &KeyPath, raw: &SecretRef) -> secrecy::SecretString {
        raw.read(self.env, self.base).unwrap_or_else(|why| {
            self.problem(at, why);
            secrecy::SecretString::default()
        })
    }

    /// An access key id is no secret, but may come from where its secret comes from.
    fn access_key_id(&mut self, at: &KeyPath, text: &str) -> String {
        let id = match read_reference(text, self.env, self.base) {
            None => text.to_owned(),
            Some(Ok(id)) => id.expose_secret().to_owned(),
            Some(Err(why)) => {
                self.problem(at, why);
                return String::new();
            }
        };
        // Not repeated: it may be a secret key in the wrong place.
        if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            self.problem(at, "is not an access key id: it holds letters, digits and '_' only");
        }
        id
    }

    fn public_endpoint(&mut self, at: &KeyPath, region: &str) -> Endpoint {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let valid = !region.is_empty() && region.len() <= 40 && region.chars().all(fits);
        match Endpoint::of_region(region) {
            Ok(endpoint) if valid => endpoint,
            _ => {
                let message = format!("'{region}' is not a region; write it like \"us-east-1\"");
                self.problem(at, message);
                Endpoint::stand_in()
            }
        }
    }

    fn given_endpoint(&mut self, at: &KeyPath, url: Option<&str>) -> Option<Endpoint> {
        Some(Endpoint::parse(url?).unwrap_or_else(|why| {
            // Not repeated: it may hold a password.
            self.problem(&at.key("endpoint_url"), why.to_string());
            Endpoint::stand_in()
        }))
    }

    /// A model id, profile or ARN. Its alphabet is that of `modelId` in the Bedrock Runtime API.
    fn model(&mut self, at: &KeyPath, model: &str) {
        let fits = |c: char| c.is_ascii_alphanumeric() || ".:/_-".contains(c);
        if model.contains('%') {
            self.problem(at, format!("'{model}' must be written without percent-encoding"));
        } else if model.len() > 2048 || !model.chars().all(fits) {
            self.problem(at, "a model is at most 2048 letters, digits and '.:/_-'");
        } else if model.is_empty() && self.document.get(at).is_some() {
            self.problem(at, "must not be empty");
        }
    }

    fn address(&mut self, at: &KeyPath, text: &str) -> SocketAddr {
        text.trim().parse().unwrap_or_else(|_| {
            let message = format!("'{text}' is not an address; write it like \"127.0.0.1:8080\"");
            self.problem(at, message);
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn duration(&mut self, at: &KeyPath, text: &DurationText) -> Duration {
        let duration = self.duration_or_zero(at, text);
        if duration.is_zero() && text.read().is_ok() {
            self.problem(at, "must not be zero");
        }
        duration
    }

    fn duration_or_zero(&mut self, at: &KeyPath, text: &DurationText) -> Duration {
        text.read().unwrap_or_else(|why| {
            self.problem(at, why);
            Duration::ZERO
        })
    }

    fn size(&mut self, at: &KeyPath, text: &SizeText) -> usize {
        match text.read() {
            Ok(0) => self.problem(at, "must not be zero"),
            Ok(size) => return size,
            Err(why) => self.problem(at, why),
        }
        0
    }

    fn must_not_be_empty(&mut self, at: &KeyPath, list: &[String]) {
        if list.is_empty() && self.document.get(at).is_some() {
            self.problem(at, "must not be empty");
        }
    }

    fn problem(&mut self, at: &KeyPath, message: impl std::fmt::Display) {
        self.problems.push(self.document.problem(at, message));
    }
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

/// Checks filter directives. A bare word must be a level: `EnvFilter` would take any other as a
/// module's name, and so a misspelt level as "log nothing".
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
    tracing_subscriber::EnvFilter::builder()
        .parse(directives)
        .map(drop)
        .map_err(|_| format!("'{directives}' is not a filter; write it like \"info,sluice=debug\""))
}
