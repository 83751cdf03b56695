//! The state of a gateway at one moment, as the page shows it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::value::RawValue;

use tokio::time::Instant;

use super::apis::{ApiUsage, api_usage};
use super::budgets::{LeftOut, NearlySpent, nearly_spent};
use super::clients::{Client, clients};
use super::dependencies::{Dependency, dependencies};
use super::fallbacks::{FallbackCount, fallback_counts};
use super::history::{ClientSteps, Counts, History, STEP, Step};
use super::models::{ModelUsage, model_usage};
use crate::admin::Readiness;
use crate::admin::targets::{self, Entry};
use crate::pipeline::Gateway;
use crate::telemetry::Outcome;
use crate::telemetry::dashboard_totals::each_gauge;

#[derive(Serialize)]
struct Snapshot<'a> {
    /// Milliseconds since the Unix epoch.
    now: u128,
    version: &'static str,
    /// `ready`, or why not.
    state: String,
    /// When the process started, in seconds since the Unix epoch.
    started: f64,
    /// Replicas that share their state, this one included; left out for a gateway that shares none.
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<u64>,
    config: ConfigState,
    dependencies: Vec<Dependency>,
    targets: Vec<Entry<'a>>,
    queue: Queue,
    in_flight: InFlight,
    /// Since the start.
    totals: Counts,
    /// Which targets answered in place of which others, and why.
    fallbacks: Vec<FallbackCount>,
    clients: Vec<Client>,
    /// The budgets that are near their end.
    budgets: Vec<NearlySpent>,
    /// How many of them are left out, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    budgets_left_out: Option<LeftOut>,
    /// The APIs that clients have used.
    api_usage: Vec<ApiUsage>,
    /// The models that have answered.
    model_usage: Vec<ModelUsage>,
    /// Requests without a complete answer, the newest first, as in the access log.
    failures: Vec<Box<RawValue>>,
    /// The outcomes that count as failed: through no fault of the client.
    failed_outcomes: Vec<&'static str>,
    /// Left out if no step was added since the last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Steps>,
}

/// The config in force.
#[derive(Serialize)]
struct ConfigState {
    /// When it was loaded, in seconds since the Unix epoch.
    loaded: f64,
    /// The last reload, if it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Refused>,
}

/// A reload that changed nothing.
#[derive(Serialize)]
struct Refused {
    /// In seconds since the Unix epoch.
    at: f64,
    /// What is wrong in the config.
    message: String,
}

#[derive(Serialize)]
struct Queue {
    waiting: i64,
    bytes: i64,
    max_waiting: usize,
    /// Milliseconds that the oldest request has waited; null if none waits.
    oldest_wait_ms: Option<u64>,
}

#[derive(Serialize)]
struct InFlight {
    requests: usize,
    bytes: usize,
    max_requests: usize,
}

#[derive(Serialize)]
struct Steps {
    /// The length of one step, in seconds.
    seconds: u64,
    /// The oldest first.
    steps: Vec<Step>,
    /// The requests of the busiest clients, with as many numbers as there are steps.
    clients: Vec<ClientSteps>,
}

/// The state as JSON, with the steps of the history if `has_history`.
pub(super) fn take(
    gateway: &Arc<Gateway>,
    readiness: &Readiness,
    history: &History,
    has_history: bool,
) -> Result<String, serde_json::Error> {
    let metrics = &gateway.metrics;
    let ready = readiness.check(gateway.router.credentials());
    let failures = gateway.access_log.failures().newest_first();
    let now = SystemTime::now();
    let oldest_wait = gateway.queue_limits.oldest_wait(Instant::now());
    let refused = metrics.last_reload.refusal().map(|refusal| Refused {
        at: refusal.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        message: refusal.message,
    });
    let (budgets, budgets_left_out) = nearly_spent(gateway, now);
    let mut replicas = None;
    each_gauge(&metrics.fleet_replicas, |_, count| replicas = Some(count as u64));
    let snapshot = Snapshot {
        now: now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis(),
        version: env!("CARGO_PKG_VERSION"),
        state: ready.err().unwrap_or_else(|| "ready".to_owned()),
        started: metrics.start_time.get(),
        replicas,
        config: ConfigState { loaded: metrics.config_last_reload.get(), refused },
        dependencies: dependencies(gateway),
        targets: targets::entries(gateway),
        queue: Queue {
            waiting: metrics.queue_waiting.get(),
            bytes: metrics.queue_waiting_bytes.get(),
            max_waiting: gateway.config.queue.max_waiting,
            oldest_wait_ms: oldest_wait
                .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        },
        in_flight: InFlight {
            requests: gateway.in_flight.requests(),
            bytes: gateway.in_flight.bytes(),
            max_requests: gateway.config.server.max_in_flight,
        },
        totals: Counts::now(&metrics.totals),
        fallbacks: fallback_counts(metrics),
        clients: clients(gateway, &history.last_minute()),
        budgets,
        budgets_left_out,
        api_usage: api_usage(metrics),
        model_usage: model_usage(metrics),
        failures: failures
            .iter()
            .filter_map(|line| RawValue::from_string(line.to_string()).ok())
            .collect(),
        failed_outcomes: Outcome::ALL
            .into_iter()
            .filter(|outcome| outcome.is_failure())
            .map(Outcome::name)
            .collect(),
        history: has_history.then(|| Steps {
            seconds: STEP.as_secs(),
            steps: history.all(),
            clients: history.clients(metrics),
        }),
    };
    serde_json::to_string(&snapshot)
}
