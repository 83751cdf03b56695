//! The state of a gateway at one moment, as the page shows it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::value::RawValue;

use super::clients::{Client, clients};
use super::history::{Counts, History, STEP};
use crate::admin::Readiness;
use crate::admin::targets::{self, Entry};
use crate::pipeline::Gateway;

#[derive(Serialize)]
struct Snapshot<'a> {
    /// Milliseconds since the Unix epoch.
    now: u128,
    version: &'static str,
    /// `ready`, or why not.
    state: String,
    /// When the process started, in seconds since the Unix epoch.
    started: f64,
    targets: Vec<Entry<'a>>,
    queue: Queue,
    in_flight: InFlight,
    /// Since the process started.
    totals: Counts,
    clients: Vec<Client>,
    /// The newest first, as in the access log.
    failures: Vec<Box<RawValue>>,
    /// Left out if no step was added since the last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Steps>,
}

#[derive(Serialize)]
struct Queue {
    waiting: i64,
    bytes: i64,
    max_waiting: usize,
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
    steps: Vec<Counts>,
}

/// The state as JSON, with the history if one is given.
pub(super) fn take(
    gateway: &Arc<Gateway>,
    readiness: &Readiness,
    history: Option<&History>,
) -> Result<String, serde_json::Error> {
    let metrics = &gateway.metrics;
    let ready = readiness.check(gateway.router.credentials());
    let failures = gateway.access_log.failures().newest_first();
    let snapshot = Snapshot {
        now: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis(),
        version: env!("CARGO_PKG_VERSION"),
        state: ready.err().unwrap_or_else(|| "ready".to_owned()),
        started: metrics.start_time.get(),
        targets: targets::entries(gateway),
        queue: Queue {
            waiting: metrics.queue_waiting.get(),
            bytes: metrics.queue_waiting_bytes.get(),
            max_waiting: gateway.config.queue.max_waiting,
        },
        in_flight: InFlight {
            requests: gateway.in_flight.requests(),
            bytes: gateway.in_flight.bytes(),
            max_requests: gateway.config.server.max_in_flight,
        },
        totals: Counts::now(&metrics.totals),
        clients: clients(metrics),
        failures: failures
            .iter()
            .filter_map(|line| RawValue::from_string(line.to_string()).ok())
            .collect(),
        history: history.map(|it| Steps { seconds: STEP.as_secs(), steps: it.all() }),
    };
    serde_json::to_string(&snapshot)
}
