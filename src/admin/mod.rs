//! What the gateway answers about itself, and does for whoever runs it: health, readiness, metrics,
//! targets, its config.
//!
//! Who may have what is `access`'s to say. No page of another origin is let read any of it: nothing
//! here speaks of other origins.

mod access;
mod readiness;
mod targets;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Request, Response, StatusCode};
use tokio::runtime::Handle;
use tokio::time::Instant;

pub use readiness::Readiness;

use crate::clients::Peer;
use crate::pipeline::{Gateway, Live};
use crate::routing::cooldown::State;
use crate::telemetry::audit::{self, By};
use access::{Guard, Refused};

/// The admin surface of one gateway.
#[derive(Debug)]
pub struct Admin {
    live: Arc<Live>,
    readiness: Arc<Readiness>,
    is_local: bool,
}

/// The paths of the admin surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path<'a> {
    Health,
    Ready,
    Metrics,
    Targets,
    Config,
    /// Ends the cooldown of the target with this name.
    Reset(&'a str),
}

impl<'a> Path<'a> {
    fn of(path: &'a str) -> Option<Path<'a>> {
        Some(match path {
            "/healthz" => Path::Health,
            "/readyz" => Path::Ready,
            "/metrics" => Path::Metrics,
            "/admin/targets" => Path::Targets,
            "/admin/config" => Path::Config,
            _ => {
                let target = path.strip_prefix("/admin/targets/")?.strip_suffix("/reset")?;
                Path::Reset(target)
            }
        })
    }

    fn guard(self) -> Guard {
        match self {
            Path::Health | Path::Ready => Guard::Anybody,
            Path::Metrics => Guard::Metrics,
            Path::Targets | Path::Config => Guard::Reader,
            Path::Reset(_) => Guard::Changer,
        }
    }
}

impl Admin {
    /// The admin surface of the live gateway. `is_local` says whether its listener is on loopback.
    pub fn new(live: Arc<Live>, readiness: Arc<Readiness>, is_local: bool) -> Admin {
        Admin { live, readiness, is_local }
    }

    /// Answers a request; `None` if the path is not one of these.
    pub fn answer<B>(&self, request: &Request<B>, peer: &Peer) -> Option<Response<Bytes>> {
        let path = Path::of(request.uri().path())?;
        let gateway = self.live.load();
        let server = &gateway.config.server;
        let allowed = access::check(path.guard(), request.headers(), server, self.is_local);
        Some(match allowed {
            Err(refused) => {
                if let Path::Reset(target) = path {
                    audit::refused("reset_cooldown", target, peer.address);
                }
                refuse(&gateway, refused)
            }
            Ok(()) if !is_method_of(path, request.method()) => wrong_method(path),
            Ok(()) => match path {
                Path::Health => json(StatusCode::OK, &serde_json::json!({ "status": "ok" })),
                Path::Ready => self.ready(),
                Path::Metrics => metrics(&gateway),
                Path::Targets => targets::answer(&gateway),
                Path::Config => config(&gateway),
                Path::Reset(target) => reset(&gateway, target, peer),
            },
        })
    }

    /// The answer to any other path on a listener that serves nothing else.
    pub fn not_found() -> Response<Bytes> {
        json(StatusCode::NOT_FOUND, &serde_json::json!({ "message": "no such path" }))
    }

    fn ready(&self) -> Response<Bytes> {
        match self.readiness.check(self.live.load().router.identities()) {
            Ok(()) => json(StatusCode::OK, &serde_json::json!({ "ready": true })),
            Err(reason) => json(
                StatusCode::SERVICE_UNAVAILABLE,
                &serde_json::json!({ "ready": false, "reason": reason }),
            ),
        }
    }
}

fn is_method_of(path: Path<'_>, method: &Method) -> bool {
    match path {
        Path::Reset(_) => *method == Method::POST,
        _ => matches!(*method, Method::GET | Method::HEAD),
    }
}

fn wrong_method(path: Path<'_>) -> Response<Bytes> {
    let allowed = if matches!(path, Path::Reset(_)) { "POST" } else { "GET, HEAD" };
    let message = format!("this path takes {allowed} only");
    let message = serde_json::json!({ "message": message });
    let mut refusal = json(StatusCode::METHOD_NOT_ALLOWED, &message);
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refusal
}

fn refuse(gateway: &Gateway, refused: Refused) -> Response<Bytes> {
    gateway.metrics.admin_refused.inc();
    let message = serde_json::json!({ "message": refused.to_string() });
    let mut response = json(refused.status(), &message);
    if refused == Refused::NeedsKey {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn metrics(gateway: &Gateway) -> Response<Bytes> {
    sample(gateway);
    match gateway.metrics.encode() {
        Ok((text, content_type)) => respond(StatusCode::OK, content_type, text.into()),
        Err(error) => failed(&error),
    }
}

/// The config that is in force, as it was written.
fn config(gateway: &Gateway) -> Response<Bytes> {
    match gateway.config.written.to_json() {
        Ok(config) => json(StatusCode::OK, &config),
        Err(error) => failed(&error),
    }
}

/// Ends a target's cooldown in this process.
fn reset(gateway: &Gateway, name: &str, peer: &Peer) -> Response<Bytes> {
    let Some(target) = gateway.router.targets().iter().find(|target| &*target.name == name) else {
        let message = serde_json::json!({ "message": "no target has this name" });
        return json(StatusCode::NOT_FOUND, &message);
    };
    target.reset_for_all();
    audit::done("reset_cooldown", name, By { who: "admin_key", peer: peer.address });
    json(StatusCode::OK, &serde_json::json!({ "target": name, "reset": true }))
}

fn failed(error: &dyn std::error::Error) -> Response<Bytes> {
    let message = serde_json::json!({ "message": error.to_string() });
    json(StatusCode::INTERNAL_SERVER_ERROR, &message)
}

/// Takes the gauges of what has a state of its own.
fn sample(gateway: &Gateway) {
    let (metrics, now) = (&gateway.metrics, Instant::now());
    let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    metrics.tasks.set(gauge(Handle::current().metrics().num_alive_tasks()));
    metrics.in_flight.set(gauge(gateway.load.requests()));
    metrics.in_flight_bytes.set(gauge(gateway.load.bytes()));
    for target in gateway.router.targets() {
        let (state, cooldown) = match target.state(now) {
            State::Open => (0, 0.0),
            State::HalfOpen => (1, 0.0),
            State::Cooling(until) => (2, (until - now).as_secs_f64()),
        };
        let name = &*target.name;
        metrics.target_state.with_label_values(&[name]).set(state);
        metrics.target_cooldown.with_label_values(&[name]).set(cooldown);
        let quota = target.quota().snapshot(now);
        let kinds = [
            ("requests", quota.requests_available, quota.rpm, quota.learned_rpm),
            ("tokens", quota.tokens_available, quota.tpm, quota.learned_tpm),
        ];
        for (kind, available, limit, learned) in kinds {
            set_or_forget(&metrics.quota_available, name, kind, available);
            set_or_forget(&metrics.quota_limit, name, kind, limit);
            set_or_forget(&metrics.quota_learned, name, kind, learned);
        }
    }
    // Clients whose budgets were taken away have no sample.
    metrics.client_budget_used.reset();
    for (client, account) in gateway.budgets.all() {
        for (kind, used) in account.used() {
            metrics.client_budget_used.with_label_values(&[client, kind.name()]).set(used);
        }
    }
    let fresh = gateway.router.identities().iter().all(|identity| identity.is_fresh());
    metrics.dependency_up.with_label_values(&["credentials"]).set(i64::from(fresh));
}

/// What is not known has no sample: a gauge of zero would say that nothing is left.
fn set_or_forget(family: &prometheus::GaugeVec, target: &str, kind: &str, value: Option<f64>) {
    match value {
        Some(value) => family.with_label_values(&[target, kind]).set(value),
        // It may not have been there, which is as well.
        None => drop(family.remove_label_values(&[target, kind])),
    }
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response<Bytes> {
    respond(status, "application/json", Bytes::from(body.to_string()))
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
