//! The admin surface: health, readiness, metrics, targets and their actions, the config and its reload,
//! the status page.
//!
//! `access` decides who may use which path. Responses carry no CORS headers, so that a page of another
//! origin can't read them.

mod access;
mod gauges;
mod models;
mod readiness;
mod reload;
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
pub use reload::{ReloadError, ReloadReply, ReloadRequests, Reloaded};
pub use status::Events;

use crate::auth::Peer;
use crate::pipeline::{Gateway, SharedGateway};
use crate::routing::Target;
use crate::telemetry::audit::{self, Actor};
use access::{AccessDenied, Guard};
use reload::Reloads;
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
    reloads: Reloads,
}

/// The name of a reload in the audit log, and what it is done on.
const RELOAD: (&str, &str) = ("reload_config", "config");

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
    /// With the query.
    Models(Option<&'a str>),
    Config,
    Reload,
    Page,
    Status,
    Events,
    /// An action on the target with this percent-encoded name.
    Action(TargetAction, &'a str),
}

impl<'a> Path<'a> {
    fn of(path: &'a str, query: Option<&'a str>) -> Option<Path<'a>> {
        Some(match path {
            "/healthz" => Path::Health,
            "/readyz" => Path::Ready,
            "/metrics" => Path::Metrics,
            "/admin/targets" => Path::Targets,
            "/admin/models" => Path::Models(query),
            "/admin/config" => Path::Config,
            "/admin/reload" => Path::Reload,
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
            Path::Targets | Path::Models(_) | Path::Config | Path::Status | Path::Events => {
                Guard::Reader
            }
            Path::Action(..) | Path::Reload => Guard::Changer,
        }
    }
}

impl Admin {
    /// The admin surface of this gateway, and the requests for a reload that it takes. `is_local`: its
    /// listener is on loopback.
    pub fn new(
        shared_gateway: Arc<SharedGateway>,
        readiness: Arc<Readiness>,
        is_local: bool,
    ) -> (Admin, ReloadRequests) {
        let status = Status::new(Arc::clone(&shared_gateway), Arc::clone(&readiness));
        let (reloads, requests) = Reloads::new();
        (Admin { shared_gateway, readiness, is_local, status, reloads }, requests)
    }

    /// Records the history for the status page. Never returns.
    pub async fn follow(&self) {
        self.status.follow().await;
    }

    /// The response to a request; `None` if the path is not an admin path.
    pub async fn answer(&self, head: &Parts, peer: &Peer) -> Option<Response<Body>> {
        let path = Path::of(head.uri.path(), head.uri.query())?;
        Some(match self.refusal(path, head, peer) {
            Some(refusal) => refusal.map(whole),
            // In a box, since it waits, and every connection would have room for it.
            None if path == Path::Reload => Box::pin(self.reload(peer)).await.map(whole),
            None => self.answer_now(path, peer),
        })
    }

    /// Checks access and method; `None` if the request is allowed.
    fn refusal(&self, path: Path<'_>, head: &Parts, peer: &Peer) -> Option<Response<Bytes>> {
        let gateway = self.shared_gateway.load();
        let server = &gateway.config.server;
        if let Err(refused) = access::check(path.guard(), head, server, self.is_local) {
            let (action, on) = match path {
                Path::Action(action, target) => (action.name(), target),
                Path::Reload => RELOAD,
                _ => return Some(refuse(&gateway, refused)),
            };
            audit::record_refusal(action, on, peer.address);
            return Some(refuse(&gateway, refused));
        }
        (!is_method_of(path, &head.method)).then(|| wrong_method(path))
    }

    fn answer_now(&self, path: Path<'_>, peer: &Peer) -> Response<Body> {
        let gateway = self.shared_gateway.load();
        let answer = match path {
            Path::Page => return self.status.page(),
            Path::Status => return self.status.snapshot(),
            Path::Events => return self.status.events(),
            Path::Reload => return Admin::not_found(),
            Path::Health => json(StatusCode::OK, &serde_json::json!({ "status": "ok" })),
            Path::Ready => self.ready(),
            Path::Metrics => metrics(&gateway),
            Path::Targets => targets::answer(&gateway),
            Path::Models(query) => models::answer(&gateway, query),
            Path::Config => config(&gateway),
            Path::Action(action, target) => act_on_target(&gateway, action, target, peer),
        };
        answer.map(whole)
    }

    /// Has the config loaded again, and records it in the audit log.
    async fn reload(&self, peer: &Peer) -> Response<Bytes> {
        let (action, on) = RELOAD;
        audit::record(action, on, actor(&self.shared_gateway.load(), peer));
        match self.reloads.reload().await {
            Ok(Reloaded { warnings, restart_needed }) => json(
                StatusCode::OK,
                &serde_json::json!({
                    "done": action, "warnings": warnings, "restart_needed": restart_needed,
                }),
            ),
            Err(error) => {
                let status = match error {
                    ReloadError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
                    ReloadError::Unavailable | ReloadError::Busy => StatusCode::SERVICE_UNAVAILABLE,
                };
                json(status, &serde_json::json!({ "message": error.to_string() }))
            }
        }
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
        Path::Action(..) | Path::Reload => *method == Method::POST,
        _ => matches!(*method, Method::GET | Method::HEAD),
    }
}

fn wrong_method(path: Path<'_>) -> Response<Bytes> {
    let allowed =
        if matches!(path, Path::Action(..) | Path::Reload) { "POST" } else { "GET, HEAD" };
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
    if refused.status() == StatusCode::UNAUTHORIZED {
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
    audit::record(action.name(), &name, actor(gateway, peer));
    json(StatusCode::OK, &serde_json::json!({ "target": name, "done": action.name() }))
}

/// The author of a change.
fn actor(gateway: &Gateway, peer: &Peer) -> Actor<'static> {
    let has_key = gateway.config.server.admin_key.is_some();
    Actor { name: if has_key { "admin_key" } else { audit::ANYONE }, peer: peer.address }
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
