//! The process log: what the gateway itself has to say, on standard error.

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// The queue library tells of each worker that loses its store; the gateway says once that the
/// store is gone. Directives of the config come later and so can turn it on.
const QUIET: &str = "apalis_core=off";

/// Sends tracing's events to standard error in the configured form. A second call does nothing.
pub fn init(log: &Log) {
    let filter = EnvFilter::try_new(format!("{QUIET},{}", log.level));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    };
}
