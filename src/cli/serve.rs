//! `sluice serve`: the gateway itself.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{ConfigFile, on_signals, reload, runtime};
use crate::clients::Keeper;
use crate::config::Config;
use crate::legacy::Shim;
use crate::pipeline::{Gateway, Live};
use crate::server::Server;
use crate::state::fleet::Fleet;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::usage_log::UsageLog;
use crate::telemetry::{Metrics, process_log};

/// Arguments of `sluice serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(arguments: Arguments) -> Result<(), String> {
    let source = arguments.config.source();
    let watch = reload::Watch::new(&source);
    let loaded = super::load(&source)?;
    process_log::init(&loaded.config.log);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = runtime(loaded.config.server.worker_threads)?;
    let outcome = runtime.block_on(async {
        let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
        on_signals(stop.clone(), hurry.clone())?;
        let (server, budgets) = start(loaded.config).await?;
        let live = Arc::clone(server.live());
        let (shim, recheck) = (Arc::clone(server.shim()), Arc::clone(server.recheck()));
        reload::start(watch, Arc::clone(&live), shim, recheck, stop.clone())?;
        let clean = server.serve(stop, hurry).await;
        budgets.stop().await;
        live.load().access_log.flush();
        live.load().usage_log.flush();
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

/// Builds a gateway, hears what its clients have spent, binds its listeners and says where they
/// are. The keeper of budgets is stopped after the server.
pub(super) async fn start(config: Config) -> Result<(Server, Keeper), String> {
    let metrics = Arc::new(Metrics::new().map_err(|error| error.to_string())?);
    let dropped = metrics.access_log_dropped.clone();
    let access_log = AccessLog::start(config.log.access, config.log.format, dropped);
    let usage_log = match &config.usage_log {
        Some(usage) => {
            let dropped = metrics.usage_log_dropped.clone();
            UsageLog::open(usage, dropped)
                .map_err(|error| format!("can't write {}: {error}", usage.path.display()))?
        }
        None => UsageLog::NONE,
    };
    let logs = (access_log, usage_log);
    let fleet = config.state.shared.as_ref().map(|shared| Fleet::new(shared, &metrics));
    let fleet = fleet.transpose().map_err(|error| error.to_string())?;
    let gateway = Gateway::new(config, fleet, metrics, logs).map_err(|error| error.to_string())?;
    if let Some(fleet) = &gateway.fleet {
        fleet.start();
    }
    let (state, ledgers) = (&gateway.config.state, gateway.budgets.ledgers());
    let budgets = Keeper::start(state, ledgers, &gateway.metrics).await;
    let budgets = budgets.map_err(|error| error.to_string())?;
    let live = Arc::new(Live::new(gateway));
    let shim = Arc::new(Shim::start(&live).map_err(|error| error.to_string())?);
    let server = Server::bind(live, shim).await.map_err(|error| error.to_string())?;
    let address = |address: std::io::Result<std::net::SocketAddr>| {
        address.map_err(|error| format!("can't tell the listener's address: {error}"))
    };
    tracing::info!(
        listen = %address(server.address())?,
        admin = %address(server.admin_address())?,
        legacy = %address(server.legacy_address())?,
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    Ok((server, budgets))
}
