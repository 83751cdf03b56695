//! The admin surface: health, readiness, metrics, targets and their actions, the config, the status page.
//!
//! `access` decides who may use which path. Responses carry no CORS headers, so that a page of another
//! origin can't read them.

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

/// A response body: complete, or a stream of events.
pub type Body = Either<Full<Bytes>, Events>;

/// The admin surface of one gateway.
#[derive(Debug)]
pub struct Admin {
    shared_gateway: Arc<SharedGateway>,
    readiness: Arc<Readiness>,
    is_local: bool,
    status: Status,
}

/// An operator's action on a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TargetAction {
    /// Ends the target's cooldown, for all replicas.
    Reset,
    /// Takes the target out of traffic, in this process.
    Drain,
    /// Returns the target to traffic, in this process.
    Resume,
}

impl TargetAction {
    /// The action that a path names.
    fn of(name: &str) -> Option<TargetAction> {
        [
            ("reset", TargetAction::Reset),
            ("drain", TargetAction::Drain),
            ("resume", TargetAction::Resume),
        ]
        .into_iter()
        .find_map(|(path, action)| (path == name).then_some(action))
    }

    /// The action's name in the audit log and in the response.
    fn name(self) -> &'static str {
        match self {
            TargetAction::Reset => "reset_cooldown",
            TargetAction::Drain => "drain_target",
            TargetAction::Resume => "resume_target",
        }
    }

    fn apply(self, target: &Target) {
        match self {
            TargetAction::Reset => target.reset_for_all(),
            TargetAction::Drain => target.drain(true),
            TargetAction::Resume => target.drain(false),
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
    /// An action on the target with this percent-encoded name.
    Action(TargetAction, &'a str),
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
                let (target, action) = path.strip_prefix("/admin/targets/")?.rsplit_once('/')?;
                Path::Action(TargetAction::of(action)?, target)
            }
        })
    }

    fn guard(self) -> Guard {
        match self {
            Path::Health | Path::Ready | Path::Page => Guard::Anybody,
            Path::Metrics => Guard::Metrics,
            Path::Targets | Path::Config | Path::Status | Path::Events => Guard::Reader,
            Path::Action(..) => Guard::Changer,
        }
    }
}

impl Admin {
    /// The admin surface of this gateway. `is_local`: its listener is on loopback.
    pub fn new(
        shared_gateway: Arc<SharedGateway>,
        readiness: Arc<Readiness>,
        is_local: bool,
    ) -> Admin {
        let status = Status::new(Arc::clone(&shared_gateway), Arc::clone(&readiness));
        Admin { shared_gateway, readiness, is_local, status }
    }

    /// Records the history for the status page. Never returns.
    pub async fn follow(&self) {
        self.status.follow().await;
    }

    /// The response to a request; `None` if the path is not an admin path.
    pub fn answer(&self, head: &Parts, peer: &Peer) -> Option<Response<Body>> {
        let path = Path::of(head.uri.path())?;
        let gateway = self.shared_gateway.load();
        let server = &gateway.config.server;
        if let Err(refused) = access::check(path.guard(), head, server, self.is_local) {
            if let Path::Action(action, target) = path {
                audit::record_refusal(action.name(), target, peer.address);
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
            Path::Action(action, target) => act_on_target(&gateway, action, target, peer),
        };
        Some(answer.map(whole))
    }

    /// The response to any other path on a listener of its own.
    pub fn not_found() -> Response<Body> {
        json(StatusCode::NOT_FOUND, &serde_json::json!({ "message": "no such path" })).map(whole)
    }

    fn ready(&self) -> Response<Bytes> {
        match self.readiness.check(self.shared_gateway.load().router.credentials()) {
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
        Path::Action(..) => *method == Method::POST,
        _ => matches!(*method, Method::GET | Method::HEAD),
    }
}

fn wrong_method(path: Path<'_>) -> Response<Bytes> {
    let allowed = if matches!(path, Path::Action(..)) { "POST" } else { "GET, HEAD" };
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

/// The config in force, in the form of the config file.
fn config(gateway: &Gateway) -> Response<Bytes> {
    match gateway.config.effective.to_json() {
        Ok(config) => json(StatusCode::OK, &config),
        Err(error) => failed(&error),
    }
}

/// Applies an action to a target, and records it in the audit log.
fn act_on_target(
    gateway: &Gateway,
    action: TargetAction,
    name: &str,
    peer: &Peer,
) -> Response<Bytes> {
    let name = percent_decode_str(name).decode_utf8_lossy();
    let Some(target) = gateway.router.targets().iter().find(|target| *target.name == *name) else {
        let message = serde_json::json!({ "message": "no target has this name" });
        return json(StatusCode::NOT_FOUND, &message);
    };
    action.apply(target);
    let has_key = gateway.config.server.admin_key.is_some();
    let who = if has_key { "admin_key" } else { audit::ANYONE };
    audit::record(action.name(), &name, Actor { name: who, peer: peer.address });
    json(StatusCode::OK, &serde_json::json!({ "target": name, "done": action.name() }))
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
