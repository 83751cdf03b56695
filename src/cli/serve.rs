//! `sluice serve`: the gateway itself.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{ConfigFile, on_signals, runtime};
use crate::clients::Keeper;
use crate::config::{Config, Source};
use crate::legacy::Shim;
use crate::pipeline::{Gateway, Live};
use crate::server::Server;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::{Metrics, process_log};

/// Arguments of `sluice serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(arguments: Arguments) -> Result<(), String> {
    let source = arguments.config.source();
    let loaded = super::load(&source)?;
    process_log::init(&loaded.config.log);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    runtime(loaded.config.server.worker_threads)?.block_on(async {
        let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
        on_signals(stop.clone(), hurry.clone())?;
        let (server, budgets) = start(loaded.config).await?;
        let live = Arc::clone(server.live());
        reload_on_hangup(source, Arc::clone(&live), Arc::clone(server.shim()))?;
        let clean = server.serve(stop, hurry).await;
        budgets.stop().await;
        live.load().access_log.flush();
        if clean {
            tracing::info!("stopped");
            Ok(())
        } else {
            Err("stopped with requests still open".to_owned())
        }
    })
}

/// Builds a gateway, hears what its clients have spent, binds its listeners and says where they
/// are. The keeper of budgets is stopped after the server.
pub(super) async fn start(config: Config) -> Result<(Server, Keeper), String> {
    let metrics = Arc::new(Metrics::new().map_err(|error| error.to_string())?);
    let dropped = metrics.access_log_dropped.clone();
    let access_log = AccessLog::start(config.log.access, config.log.format, dropped);
    let gateway = Gateway::new(config, metrics, access_log).map_err(|error| error.to_string())?;
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

/// Loads the config again at each SIGHUP. A file that is wrong changes nothing; what the process
/// was started with, such as its listeners, stays.
fn reload_on_hangup(source: Source, live: Arc<Live>, shim: Arc<Shim>) -> Result<(), String> {
    let mut hangup = signal(SignalKind::hangup())
        .map_err(|error| format!("can't listen for signals: {error}"))?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let gateway = live.load_full();
            let renewed = super::load(&source).and_then(|loaded| {
                let renewed = gateway.renewed(loaded.config).map_err(|error| error.to_string())?;
                shim.renew(&renewed.config).map_err(|error| error.to_string())?;
                Ok(renewed)
            });
            let result = match renewed {
                Ok(renewed) => {
                    live.store(renewed);
                    tracing::info!("config reloaded");
                    "ok"
                }
                Err(error) => {
                    tracing::error!(%error, "config not reloaded");
                    "refused"
                }
            };
            gateway.metrics.config_reloads.with_label_values(&[result]).inc();
        }
    });
    Ok(())
}
