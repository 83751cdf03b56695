//! What the gateway answers about itself: health, readiness, metrics, targets, the status page; and
//! what operators can have it do.
//!
//! Reading takes nothing but a way to the listener. Acting takes what [`access`] says, and each act
//! is logged with who asked for it.

mod access;
mod readiness;
mod status;
mod targets;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::{Either, Full};
use percent_encoding::percent_decode_str;
use tokio::runtime::Handle;
use tokio::time::Instant;

pub use readiness::Readiness;
pub use status::Events;

use crate::clients::Peer;
use crate::pipeline::{Gateway, Live};
use crate::routing::Target;
use crate::routing::cooldown::State;
use access::Denied;
use status::Status;

/// The body of an answer: whole, or events as they come.
pub type Body = Either<Full<Bytes>, Events>;

/// The admin surface of one gateway.
#[derive(Debug)]
pub struct Admin {
    live: Arc<Live>,
    readiness: Arc<Readiness>,
    status: Status,
}

/// What an operator can do to a target.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Have it take traffic again at once.
    Reset,
    /// Take it out of traffic.
    Drain,
    /// Put it back.
    Resume,
}

impl Act {
    fn of(name: &str) -> Option<(Act, &'static str)> {
        match name {
            "reset" => Some((Act::Reset, "target reset")),
            "drain" => Some((Act::Drain, "target drained")),
            "resume" => Some((Act::Resume, "target resumed")),
            _ => None,
        }
    }

    fn on(self, target: &Target) {
        match self {
            Act::Reset => target.reset(),
            Act::Drain => target.drain(true),
            Act::Resume => target.drain(false),
        }
    }
}

impl Admin {
    /// The admin surface of the live gateway.
    pub fn new(live: Arc<Live>, readiness: Arc<Readiness>) -> Admin {
        let status = Status::new(Arc::clone(&live), Arc::clone(&readiness));
        Admin { live, readiness, status }
    }

    /// Keeps what the status page tells of the last hour. Never ends.
    pub async fn follow(&self) {
        self.status.follow().await;
    }

    /// Answers a request; `None` if the path is not one of these.
    pub fn answer(&self, head: &Parts, peer: &Peer) -> Option<Response<Body>> {
        let path = head.uri.path();
        if let Some(act) = path.strip_prefix("/admin/targets/") {
            return Some(self.act(act, head, peer).map(whole));
        }
        let answer = match path {
            "/healthz" => json(StatusCode::OK, &serde_json::json!({ "status": "ok" })).map(whole),
            "/readyz" => self.ready().map(whole),
            "/metrics" => self.metrics().map(whole),
            "/status" => self.status.page(),
            "/admin/status" => self.status.snapshot(),
            "/admin/events" => self.status.events(),
            "/admin/targets" => targets::answer(&self.live.load()).map(whole),
            _ => return None,
        };
        if matches!(head.method, Method::GET | Method::HEAD) {
            return Some(answer);
        }
        Some(only("GET, HEAD").map(whole))
    }

    /// The answer to any other path on a listener that serves nothing else.
    pub fn not_found() -> Response<Body> {
        json(StatusCode::NOT_FOUND, &serde_json::json!({ "message": "no such path" })).map(whole)
    }

    /// `POST /admin/targets/NAME/ACT`.
    fn act(&self, path: &str, head: &Parts, peer: &Peer) -> Response<Bytes> {
        let parts = path.rsplit_once('/').and_then(|(name, act)| Some((name, Act::of(act)?)));
        let Some((name, (act, done))) = parts else {
            return json(StatusCode::NOT_FOUND, &serde_json::json!({ "message": "no such path" }));
        };
        if head.method != Method::POST {
            return only("POST");
        }
        let gateway = self.live.load();
        let actor = match access::actor(head, peer, gateway.config.server.admin_key.as_ref()) {
            Ok(actor) => actor,
            Err(denied) => return refuse(denied),
        };
        let name = percent_decode_str(name).decode_utf8_lossy();
        let Some(target) = gateway.router.targets().iter().find(|it| *it.name == *name) else {
            let message = serde_json::json!({ "message": "no such target" });
            return json(StatusCode::NOT_FOUND, &message);
        };
        act.on(target);
        tracing::info!(target_name = %target.name, by = actor, peer = %peer.address, "{done}");
        json(StatusCode::OK, &serde_json::json!({ "message": done, "target": &*target.name }))
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

    fn metrics(&self) -> Response<Bytes> {
        let gateway = self.live.load();
        sample(&gateway);
        match gateway.metrics.encode() {
            Ok((text, content_type)) => respond(StatusCode::OK, content_type, text.into()),
            Err(error) => json(
                StatusCode::INTERNAL_SERVER_ERROR,
                &serde_json::json!({ "message": error.to_string() }),
            ),
        }
    }
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
            State::Drained => (3, 0.0),
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

/// The refusal of another method.
fn only(methods: &'static str) -> Response<Bytes> {
    let message = serde_json::json!({ "message": format!("this path takes {methods} only") });
    let mut refusal = json(StatusCode::METHOD_NOT_ALLOWED, &message);
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    refusal
}

fn refuse(denied: Denied) -> Response<Bytes> {
    let message = serde_json::json!({ "message": denied.to_string() });
    if denied != Denied::Key {
        return json(StatusCode::FORBIDDEN, &message);
    }
    let mut refusal = json(StatusCode::UNAUTHORIZED, &message);
    refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    refusal
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
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
