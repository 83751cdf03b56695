//! `sluice serve`: the gateway itself.

use std::io::{IsTerminal, stderr, stdout};
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::banner::{Addresses, banner};
use super::load::load;
use super::{ConfigFile, admin_key, on_signals, print_error, reload, runtime};
use crate::config::{self, Config, Source};
use crate::fleet::Fleet;
use crate::legacy::LegacyService;
use crate::limits::BudgetSync;
use crate::pipeline::{Gateway, SharedGateway};
use crate::server::{Server, Workers};
use crate::system::allocator;
use crate::system::descriptors;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::process_log::{self, UNLIMITED};
use crate::telemetry::traces::{self, Exporter, Otlp, Traces};
use crate::telemetry::usage_log::UsageLog;
use crate::telemetry::{Logs, Metrics};
use crate::upstream::ConnectionGauges;
use crate::upstream::collector::CollectorConnections;

/// How long the last spans may take at least when the process ends.
const LAST_SPANS: Duration = Duration::from_secs(1);

/// Most threads for all that is not the connections of clients: jobs, renewals, health and metrics.
const BACKGROUND: usize = 2;

/// Arguments of `sluice serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(arguments: Arguments) -> Result<(), String> {
    allocator::fix_thresholds();
    let source = arguments.config.source();
    let watch = reload::Watch::new(&source);
    let mut loaded = load(&source).map_err(|error| error.report())?;
    let _log = process_log::init(&loaded.config.log);
    if admin_key::generate_missing(&loaded.config.server) {
        loaded = load(&source).map_err(|error| error.report())?;
    }
    admin_key::warn_if_exposed(&loaded.config.server);
    for warning in &loaded.warnings {
        tracing::warn!(name: UNLIMITED, "{warning}");
    }
    if !descriptors::raise_limit() {
        tracing::warn!("cannot raise the limit on file descriptors");
    }
    if let Some(warning) = super::descriptors_warning(&loaded.config) {
        tracing::warn!("{warning}");
    }
    let threads = loaded.config.server.worker_threads;
    let threads = threads.unwrap_or_else(|| available_parallelism().map_or(1, NonZero::get));
    let workers = Workers::start(threads).map_err(|error| format!("can't start: {error}"))?;
    let runtime = runtime(Some(threads.min(BACKGROUND)))?;
    let outcome = runtime.block_on(async {
        let (stop, force_stop) = (CancellationToken::new(), CancellationToken::new());
        on_signals(stop.clone(), force_stop.clone())?;
        let Started { mut server, budgets, spans } = start(loaded.config).await?;
        let shared_gateway = Arc::clone(server.shared_gateway());
        if stderr().is_terminal() {
            print_banner(&source, &server)?;
        }
        let (legacy, recheck) = (Arc::clone(server.legacy()), Arc::clone(server.recheck()));
        let requests = server.take_reload_requests();
        reload::start(watch, Arc::clone(&shared_gateway), legacy, recheck, requests, stop.clone())?;
        let drained_by = async {
            stop.cancelled().await;
            let config = &shared_gateway.load().config.server;
            Instant::now() + config.drain_delay + config.drain_timeout
        };
        let (clean, end) =
            tokio::join!(server.serve(workers, stop.clone(), force_stop.clone()), drained_by);
        budgets.stop().await;
        if let Some(spans) = spans {
            // The spans of the last requests need time even if the drain has taken all of its time.
            let end = end.max(Instant::now() + LAST_SPANS);
            tokio::select! {
                () = spans.stop(end) => {}
                () = force_stop.cancelled() => {}
            }
        }
        shared_gateway.load().access_log.flush();
        shared_gateway.load().usage_log.flush();
        if clean {
            tracing::info!("stopped");
            Ok(())
        } else {
            Err("stopped with requests still open".to_owned())
        }
    });
    // What still runs, such as a read from a file system that hangs, must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// Tells a person where the gateway listens.
fn print_banner(source: &Source, server: &Server) -> Result<(), String> {
    let config = &server.shared_gateway().load().config;
    let addresses = Addresses {
        api: address(server.address())?,
        admin: address(server.admin_address())?,
        tls: config.server.tls.is_some(),
    };
    print_error(banner(&source.name(), config.summary(), addresses));
    Ok(())
}

/// The address of a listener.
fn address(address: std::io::Result<SocketAddr>) -> Result<SocketAddr, String> {
    address.map_err(|error| format!("can't tell the listener's address: {error}"))
}

/// A gateway that is ready to serve, and the parts that are stopped after it, in this order.
pub(super) struct Started {
    pub(super) server: Server,
    pub(super) budgets: BudgetSync,
    /// The exporter of spans, if one is configured.
    pub(super) spans: Option<Exporter>,
}

/// Builds a gateway, loads what its clients have spent, binds its listeners and logs where they
/// are.
pub(super) async fn start(config: Config) -> Result<Started, String> {
    let metrics = Arc::new(Metrics::new());
    let dropped = metrics.access_log_dropped.clone();
    let format = config.log.format_on(stdout().is_terminal());
    let access_log = AccessLog::start(config.log.access, format, dropped);
    let usage_log = match &config.usage_log {
        Some(usage) => UsageLog::open(usage, &metrics)
            .map_err(|error| format!("can't write {}: {error}", usage.path.display()))?,
        None => UsageLog::NONE,
    };
    let (traces, spans) =
        config.traces.as_ref().map(|it| send_spans(it, &config, &metrics)).unzip();
    let logs = Logs { access: access_log, usage: usage_log, traces };
    let fleet = config.state.shared.as_ref().map(|shared| Fleet::new(shared, &metrics));
    let fleet = fleet.transpose().map_err(|error| error.to_string())?;
    let gateway = Gateway::new(config, fleet, metrics, logs).map_err(|error| error.to_string())?;
    if let Some(fleet) = &gateway.fleet {
        fleet.start();
    }
    if let Some(store) = &gateway.response_store {
        store.start();
    }
    let (state, ledgers) = (&gateway.config.state, gateway.clients.ledgers());
    let daily_quotas = gateway.router.daily_quotas();
    let budgets = BudgetSync::start(state, ledgers, daily_quotas, &gateway.metrics).await;
    let budgets = budgets.map_err(|error| error.to_string())?;
    let shared_gateway = Arc::new(SharedGateway::new(gateway));
    let legacy =
        Arc::new(LegacyService::start(&shared_gateway).map_err(|error| error.to_string())?);
    let server = Server::bind(shared_gateway, legacy).await.map_err(|error| error.to_string())?;
    tracing::info!(
        listen = %address(server.address())?,
        admin = %address(server.admin_address())?,
        legacy = %address(server.legacy_address())?,
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    Ok(Started { server, budgets, spans })
}

/// Starts to send spans to the collector, over connections like those to upstreams.
fn send_spans(wanted: &config::Traces, config: &Config, metrics: &Metrics) -> (Traces, Exporter) {
    let gauges = ConnectionGauges::of(metrics);
    let resent = metrics.upstream_resent.clone();
    let connections = CollectorConnections::new(&config.upstream, gauges, resent);
    traces::start(wanted, Otlp::new(wanted, connections), metrics)
}
