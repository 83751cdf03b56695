//! What the gateway answers about itself: health, readiness, metrics, targets.

mod readiness;
mod targets;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use tokio::runtime::Handle;
use tokio::time::Instant;

pub use readiness::Readiness;

use crate::pipeline::{Gateway, Live};
use crate::routing::cooldown::State;

/// The admin surface of one gateway.
#[derive(Debug)]
pub struct Admin {
    live: Arc<Live>,
    readiness: Arc<Readiness>,
}

impl Admin {
    /// The admin surface of the live gateway.
    pub fn new(live: Arc<Live>, readiness: Arc<Readiness>) -> Admin {
        Admin { live, readiness }
    }

    /// Answers a request; `None` if the path is not one of these.
    pub fn answer(&self, method: &Method, path: &str) -> Option<Response<Bytes>> {
        let answer = match path {
            "/healthz" => json(StatusCode::OK, &serde_json::json!({ "status": "ok" })),
            "/readyz" => self.ready(),
            "/metrics" => self.metrics(),
            "/admin/targets" => targets::answer(&self.live.load()),
            _ => return None,
        };
        if matches!(*method, Method::GET | Method::HEAD) {
            return Some(answer);
        }
        let message = serde_json::json!({ "message": "this path takes GET only" });
        let mut refusal = json(StatusCode::METHOD_NOT_ALLOWED, &message);
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        Some(refusal)
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
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
