//! What the gateway shows about itself and does for its operators: health, readiness, metrics,
//! targets, its config, the status page.
//!
//! `access` decides on access. No page of another origin can read any of it: nothing
//! here speaks of other origins.

mod access;
mod gauges;
mod readiness;
mod status;
mod targets;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::{Either, Full};
use percent_encoding::percent_decode_str;

pub use readiness::Readiness;
pub use status::Events;

use crate::auth::Peer;
use crate::pipeline::{Gateway, SharedGateway};
use crate::routing::Target;
use crate::telemetry::audit::{self, Actor};
use access::{AccessDenied, Guard};
use status::Status;

/// The body of an answer: whole, or events as they come.
pub type Body = Either<Full<Bytes>, Events>;

/// The admin surface of one gateway.
#[derive(Debug)]
pub struct Admin {
    live: Arc<SharedGateway>,
    readiness: Arc<Readiness>,
    is_local: bool,
    status: Status,
}

/// What an operator can do to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// End its cooldown, for all replicas.
    Reset,
    /// Take it out of traffic, in this process.
    Drain,
    /// Put it back.
    Resume,
}

impl Act {
    fn of(name: &str) -> Option<Act> {
        [("reset", Act::Reset), ("drain", Act::Drain), ("resume", Act::Resume)]
            .into_iter()
            .find_map(|(own, act)| (own == name).then_some(act))
    }

    /// Its name in the log.
    fn name(self) -> &'static str {
        match self {
            Act::Reset => "reset_cooldown",
            Act::Drain => "drain_target",
            Act::Resume => "resume_target",
        }
    }

    fn on(self, target: &Target) {
        match self {
            Act::Reset => target.reset_for_all(),
            Act::Drain => target.drain(true),
            Act::Resume => target.drain(false),
        }
    }
}

/// The paths of the admin surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path<'a> {
    Health,
    Ready,
    Metrics,
    Targets,
    Config,
    Page,
    Status,
    Events,
    /// Does this to the target with this name, which is percent-encoded.
    Act(Act, &'a str),
}

impl<'a> Path<'a> {
    fn of(path: &'a str) -> Option<Path<'a>> {
        Some(match path {
            "/healthz" => Path::Health,
            "/readyz" => Path::Ready,
            "/metrics" => Path::Metrics,
            "/admin/targets" => Path::Targets,
            "/admin/config" => Path::Config,
            "/status" => Path::Page,
            "/admin/status" => Path::Status,
            "/admin/events" => Path::Events,
            _ => {
                let (target, act) = path.strip_prefix("/admin/targets/")?.rsplit_once('/')?;
                Path::Act(Act::of(act)?, target)
            }
        })
    }

    fn guard(self) -> Guard {
        match self {
            Path::Health | Path::Ready | Path::Page => Guard::Anybody,
            Path::Metrics => Guard::Metrics,
            Path::Targets | Path::Config | Path::Status | Path::Events => Guard::Reader,
            Path::Act(..) => Guard::Changer,
        }
    }
}

impl Admin {
    /// The admin surface of the live gateway. `is_local` is whether its listener is on loopback.
    pub fn new(live: Arc<SharedGateway>, readiness: Arc<Readiness>, is_local: bool) -> Admin {
        let status = Status::new(Arc::clone(&live), Arc::clone(&readiness));
        Admin { live, readiness, is_local, status }
    }

    /// Records the last hour for the status page. Never ends.
    pub async fn follow(&self) {
        self.status.follow().await;
    }

    /// Answers a request; `None` if the path is not one of these.
    pub fn answer(&self, head: &Parts, peer: &Peer) -> Option<Response<Body>> {
        let path = Path::of(head.uri.path())?;
        let gateway = self.live.load();
        let server = &gateway.config.server;
        if let Err(refused) = access::check(path.guard(), head, server, self.is_local) {
            if let Path::Act(act, target) = path {
                audit::record_refusal(act.name(), target, peer.address);
            }
            return Some(refuse(&gateway, refused).map(whole));
        }
        if !is_method_of(path, &head.method) {
            return Some(wrong_method(path).map(whole));
        }
        let answer = match path {
            Path::Page => return Some(self.status.page()),
            Path::Status => return Some(self.status.snapshot()),
            Path::Events => return Some(self.status.events()),
            Path::Health => json(StatusCode::OK, &serde_json::json!({ "status": "ok" })),
            Path::Ready => self.ready(),
            Path::Metrics => metrics(&gateway),
            Path::Targets => targets::answer(&gateway),
            Path::Config => config(&gateway),
            Path::Act(act, target) => do_to(&gateway, act, target, peer),
        };
        Some(answer.map(whole))
    }

    /// The answer to any other path on a listener that serves nothing else.
    pub fn not_found() -> Response<Body> {
        json(StatusCode::NOT_FOUND, &serde_json::json!({ "message": "no such path" })).map(whole)
    }

    fn ready(&self) -> Response<Bytes> {
        match self.readiness.check(self.live.load().router.credentials()) {
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
        Path::Act(..) => *method == Method::POST,
        _ => matches!(*method, Method::GET | Method::HEAD),
    }
}

fn wrong_method(path: Path<'_>) -> Response<Bytes> {
    let allowed = if matches!(path, Path::Act(..)) { "POST" } else { "GET, HEAD" };
    let message = format!("this path takes {allowed} only");
    let message = serde_json::json!({ "message": message });
    let mut refusal = json(StatusCode::METHOD_NOT_ALLOWED, &message);
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refusal
}

fn refuse(gateway: &Gateway, refused: AccessDenied) -> Response<Bytes> {
    gateway.metrics.admin_refused.inc();
    let message = serde_json::json!({ "message": refused.to_string() });
    let mut response = json(refused.status(), &message);
    if refused == AccessDenied::NeedsKey {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn metrics(gateway: &Gateway) -> Response<Bytes> {
    gauges::sample(gateway);
    match gateway.metrics.encode() {
        Ok(text) => respond(StatusCode::OK, prometheus::TEXT_FORMAT, text.into()),
        Err(error) => failed(&error),
    }
}

/// The config that is in force, as it was written.
fn config(gateway: &Gateway) -> Response<Bytes> {
    match gateway.config.effective.to_json() {
        Ok(config) => json(StatusCode::OK, &config),
        Err(error) => failed(&error),
    }
}

/// Applies an operator's action to a target.
fn do_to(gateway: &Gateway, act: Act, name: &str, peer: &Peer) -> Response<Bytes> {
    let name = percent_decode_str(name).decode_utf8_lossy();
    let Some(target) = gateway.router.targets().iter().find(|target| *target.name == *name) else {
        let message = serde_json::json!({ "message": "no target has this name" });
        return json(StatusCode::NOT_FOUND, &message);
    };
    act.on(target);
    let has_key = gateway.config.server.admin_key.is_some();
    let who = if has_key { "admin_key" } else { audit::ANYONE };
    audit::record(act.name(), &name, Actor { name: who, peer: peer.address });
    json(StatusCode::OK, &serde_json::json!({ "target": name, "done": act.name() }))
}

fn failed(error: &dyn std::error::Error) -> Response<Bytes> {
    let message = serde_json::json!({ "message": error.to_string() });
    json(StatusCode::INTERNAL_SERVER_ERROR, &message)
}

fn whole(bytes: Bytes) -> Body {
    Either::Left(Full::new(bytes))
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
