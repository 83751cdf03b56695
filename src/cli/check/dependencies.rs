//! Whether what a gateway depends on answers: Redis, databases, issuers and the trace collector. Each
//! is asked within a time limit of its own.

use std::path::Path;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prometheus::IntCounter;

use super::super::counted;
use super::super::progress::Progress;
use super::report::Report;
use crate::auth::fetch_keys;
use crate::config::{self, BudgetStore, Config, JobsBackend, ResponseStoreBackend};
use crate::jobs;
use crate::pipeline::Gateway;
use crate::response_store;
use crate::storage::redis::{RedisFailure, Server};
use crate::storage::sums;
use crate::system::time::timeout;
use crate::telemetry::Metrics;
use crate::telemetry::traces::{Collector, Otlp};
use crate::upstream::ConnectionGauges;
use crate::upstream::collector::CollectorConnections;

/// Time limit of each.
const LIMIT: Duration = Duration::from_secs(5);

/// Asks all that the config names.
pub(super) async fn probe(gateway: &Gateway, report: &mut Report) {
    let config = &gateway.config;
    if let Some(shared) = &config.state.shared {
        let server = Server::new(&shared.redis, LIMIT);
        ask("redis", "state", report, ping(server)).await;
    }
    match &config.state.budgets {
        BudgetStore::Memory => {}
        BudgetStore::Sqlite { path } => {
            let store = sums::Store::new(&config.state.budgets, uncounted());
            ask("database", "budgets", report, async {
                if let Some(missing) = not_created(path)? {
                    return Ok(missing);
                }
                let store = store.map_err(|error| error.to_string())?;
                store.check().await.map_err(|error| error.to_string())?;
                Ok(path.display().to_string())
            })
            .await;
        }
        BudgetStore::Redis { url, .. } => {
            ask("redis", "budgets", report, ping(Server::at(url.expose(), LIMIT))).await;
        }
    }
    match &config.jobs.backend {
        JobsBackend::Off => {}
        JobsBackend::Sqlite { path } => {
            ask("database", "jobs", report, async {
                if let Some(missing) = not_created(path)? {
                    return Ok(missing);
                }
                jobs::check_store(&config.jobs, uncounted())
                    .await
                    .map_err(|error| error.to_string())?;
                Ok(path.display().to_string())
            })
            .await;
        }
        JobsBackend::Redis { url, .. } => {
            ask("redis", "jobs", report, ping(Server::at(url.expose(), LIMIT))).await;
        }
    }
    match &config.response_store.backend {
        ResponseStoreBackend::Off => {}
        ResponseStoreBackend::Sqlite { path } => {
            ask("database", "responses", report, async {
                if let Some(missing) = not_created(path)? {
                    return Ok(missing);
                }
                response_store::check_store(&config.response_store, uncounted())
                    .await
                    .map_err(|error| error.to_string())?;
                Ok(path.display().to_string())
            })
            .await;
        }
        ResponseStoreBackend::Redis { url, .. } => {
            ask("redis", "responses", report, ping(Server::at(url.expose(), LIMIT))).await;
        }
    }
    for issuer in &config.issuers {
        ask("issuer", &issuer.name, report, async {
            let fetched = fetch_keys(issuer, &gateway.upstream).await;
            fetched.map(|keys| counted(keys, "key"))
        })
        .await;
    }
    if let Some(traces) = &config.traces {
        let asked = collector(traces, config, &gateway.metrics);
        ask("collector", &traces.endpoint.to_string(), report, asked).await;
    }
}

async fn ask(
    kind: &'static str,
    name: &str,
    report: &mut Report,
    asked: impl Future<Output = Result<String, String>>,
) {
    let progress = Progress::start();
    progress.show(&format!("asking the {kind} {name}"));
    let outcome = timeout(LIMIT, asked).await;
    drop(progress);
    let slow = || Err(format!("no answer within {}", humantime::format_duration(LIMIT)));
    report.check(kind, name, outcome.unwrap_or_else(|_| slow()));
}

async fn ping(server: Result<Server, RedisFailure>) -> Result<String, String> {
    let server = server.map_err(|error| error.to_string())?;
    let mut socket = server.dial().await.map_err(|error| error.to_string())?;
    let pong = redis::cmd("PING").query_async::<String>(&mut socket).await;
    pong.map(|_| String::new()).map_err(|error| error.to_string())
}

/// A note if a database is not there yet. A check does not create it, since the file would then belong
/// to the wrong user.
fn not_created(path: &Path) -> Result<Option<String>, String> {
    if path.exists() {
        return Ok(None);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(format!("{}: the folder does not exist", folder.display()));
    }
    Ok(Some(format!("{} does not exist; `sluice serve` creates it", path.display())))
}

/// Sends the collector no span.
async fn collector(
    traces: &config::Traces,
    config: &Config,
    metrics: &Metrics,
) -> Result<String, String> {
    let gauges = ConnectionGauges::of(metrics);
    let connections =
        CollectorConnections::new(&config.upstream, gauges, metrics.upstream_resent.clone());
    let sent = Otlp::new(traces, connections).send(&ExportTraceServiceRequest::default()).await;
    sent.map(|_| String::new()).map_err(|error| error.to_string())
}

/// A counter that nobody reads.
fn uncounted() -> IntCounter {
    let counter = IntCounter::new("replaced", "Files that were replaced.");
    #[expect(clippy::expect_used, reason = "the name is a valid one")]
    counter.expect("a counter")
}
