//! `/admin/targets`: every target with its state, quota and queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use aws_smithy_types::date_time::{DateTime, Format};
use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;
use tokio::time::Instant;

use crate::bedrock::Date;
use crate::catalogue::Surface;
use crate::config::ModelLife;
use crate::pipeline::Gateway;
use crate::quota::{DailySnapshot, QueueSignal, Snapshot};
use crate::routing::access::DeniedOperation;
use crate::routing::cooldown::State;
use crate::routing::{Outage, Target};

#[derive(Serialize)]
struct Report<'a> {
    targets: Vec<Entry<'a>>,
    /// Requests that wait for quota, and the bytes of their bodies.
    waiting: i64,
    waiting_bytes: i64,
}

/// A target as `/admin/targets` shows it.
#[derive(Serialize)]
pub(super) struct Entry<'a> {
    name: &'a str,
    display_name: &'a str,
    /// The model that answers.
    model: &'a str,
    /// The model that the config names; only if that is retired and replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    configured_model: Option<&'a str>,
    /// The end of the model that the config names; only if one is announced.
    #[serde(flatten)]
    end: Option<ModelEnd>,
    region: &'a str,
    /// The endpoint that it is called at: `runtime` or `mantle`.
    endpoint: &'static str,
    /// What it serves at itself, without a translation.
    surfaces: Vec<&'static str>,
    /// `available`, `probing`, `cooling` or `drained`.
    state: &'static str,
    /// Seconds until it is tried again; only while cooling.
    #[serde(skip_serializing_if = "Option::is_none")]
    cooldown_remaining: Option<f64>,
    /// Its state for CountTokens; only if that is not `available`.
    #[serde(skip_serializing_if = "Option::is_none")]
    count_tokens: Option<CountTokensState>,
    consecutive_throttles: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_throttle: Option<String>,
    /// Why it is out; only while it is, or while it denies an operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<OutageRecord>,
    /// The same of the last time that has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_out: Option<OutageRecord>,
    /// Operations that the target has denied and not answered since.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    denied: Vec<DenialRecord>,
    quota: Snapshot,
    /// Its quotas of tokens a day.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    daily_quotas: Vec<DailySnapshot>,
    /// Capacity that is reserved for the service tier `reserved`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reserved_quota: Option<Snapshot>,
    /// Bytes of a request per input token, as learned.
    bytes_per_token: f32,
    /// Average time until the head of a response, in milliseconds.
    latency_ms: f64,
    /// Requests in its queue, which it shares with the targets of its group.
    waiters: usize,
    /// The first target of the config with the same queue; left out at that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    shares_queue_of: Option<&'a str>,
}

/// The end of a model.
#[derive(Serialize)]
struct ModelEnd {
    /// Since when AWS calls it legacy.
    #[serde(skip_serializing_if = "Option::is_none")]
    legacy_on: Option<Date>,
    /// The first day on which it does not answer.
    retires_on: Date,
    retired: bool,
    /// The model that answers from that day on; null if none does.
    replaced_by: Option<String>,
}

/// The state of a target for operations that run no model.
#[derive(Serialize)]
struct CountTokensState {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cooldown_remaining: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<OutageRecord>,
}

/// A time in which a target was out.
#[derive(Serialize)]
struct OutageRecord {
    /// `throttled`, `exhausted`, `failed`, `stalled`, `denied` or `drained`.
    reason: &'static str,
    /// What the last failed attempt met.
    message: String,
    since: Option<String>,
    /// When it is tried again, or when that time ended; null if that is not known.
    until: Option<String>,
    /// The request of that attempt; null if this replica has sent none.
    request_id: Option<String>,
}

/// An operation that a target has denied.
#[derive(Serialize)]
struct DenialRecord {
    operation: &'static str,
    /// Whether requests avoid the operation; if not, the cause may be a single request.
    is_confirmed: bool,
    /// Seconds until the operation is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_in: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    status: u16,
    error: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

/// All targets, in the order of the config.
pub(super) fn entries(gateway: &Gateway) -> Vec<Entry<'_>> {
    let now = Instant::now();
    // Both are in the order of the config.
    let targets = gateway.router.targets().iter().zip(&gateway.config.targets);
    let mut first_of_queue: HashMap<*const QueueSignal, &str> = HashMap::new();
    targets
        .map(|(target, configured)| {
            let first = *first_of_queue.entry(Arc::as_ptr(target.signal())).or_insert(&target.name);
            let shares_queue_of = Some(first).filter(|it| *it != &*target.name);
            let life = gateway.config.model_life(configured);
            Entry { shares_queue_of, ..entry(target, life, now) }
        })
        .collect()
}

/// The response to `GET /admin/targets`.
pub(super) fn answer(gateway: &Gateway) -> Response<Bytes> {
    let targets = entries(gateway);
    let metrics = &gateway.metrics;
    let report = Report {
        targets,
        waiting: metrics.queue_waiting.get(),
        waiting_bytes: metrics.queue_waiting_bytes.get(),
    };
    match serde_json::to_value(&report) {
        Ok(body) => super::json(StatusCode::OK, &body),
        Err(error) => super::failed(&error),
    }
}

fn entry(target: &Target, life: Option<ModelLife>, now: Instant) -> Entry<'_> {
    let count_tokens = Some(target.count_tokens_state(now)).filter(|it| *it != State::Available);
    let count_tokens = count_tokens.map(|state| {
        let (state, cooldown_remaining) = named(state, now);
        let out = target.count_tokens_outage(now).map(outage_record);
        CountTokensState { state, cooldown_remaining, out }
    });
    let (state, cooldown_remaining) = named(target.state(now), now);
    let (consecutive_throttles, throttled_at) = target.throttles();
    Entry {
        name: &target.name,
        display_name: &target.display_name,
        model: target.model.as_str(),
        configured_model: Some(target.named_model()).filter(|it| *it != target.model.as_str()),
        end: life.map(|life| ModelEnd {
            legacy_on: life.legacy_on,
            retires_on: life.retires_on,
            retired: life.retired,
            replaced_by: life.replaced_by,
        }),
        region: &target.endpoint.region,
        endpoint: target.capabilities().service.name(),
        surfaces: target.capabilities().surfaces.iter().map(Surface::name).collect(),
        state,
        cooldown_remaining,
        count_tokens,
        consecutive_throttles,
        last_throttle: throttled_at.and_then(timestamp),
        out: target.outage(now).map(outage_record),
        last_out: target.last_outage().map(outage_record),
        denied: target
            .denials()
            .into_iter()
            .map(|operation| denial_record(operation, now))
            .collect(),
        quota: target.quota().snapshot_and_refresh(now),
        daily_quotas: target.daily_snapshots(),
        reserved_quota: target.reserved_quota().map(|it| it.snapshot_and_refresh(now)),
        bytes_per_token: target.estimator.bytes_per_token(),
        latency_ms: target.latency.average().as_secs_f64() * 1e3,
        waiters: target.signal().waiting(),
        shares_queue_of: None,
    }
}

fn named(state: State, now: Instant) -> (&'static str, Option<f64>) {
    match state {
        State::Available => ("available", None),
        State::Probing => ("probing", None),
        State::Cooling(until) => ("cooling", Some((until - now).as_secs_f64())),
        State::Drained => ("drained", None),
    }
}

fn denial_record(denied: DeniedOperation, now: Instant) -> DenialRecord {
    let retry_in = denied.until.map(|until| until.saturating_duration_since(now).as_secs_f64());
    DenialRecord {
        operation: denied.operation.name(),
        is_confirmed: denied.until.is_some(),
        retry_in,
        since: timestamp(denied.since),
        status: denied.denial.status.as_u16(),
        error: denied.denial.name,
        message: denied.denial.message,
        request_id: denied.denial.request_id.map(|id| id.to_string()),
    }
}

fn outage_record(outage: Outage) -> OutageRecord {
    OutageRecord {
        reason: outage.cause.reason.name(),
        message: outage.cause.message,
        since: timestamp(outage.since),
        until: outage.until.and_then(timestamp),
        request_id: outage.cause.request_id.map(|id| id.to_string()),
    }
}

fn timestamp(time: SystemTime) -> Option<String> {
    DateTime::from(time).fmt(Format::DateTime).ok()
}
