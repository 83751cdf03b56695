//! The process log: what the gateway itself has to say, on standard error.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

use crate::config::{Log, LogFormat, log_filter};

/// The queue library tells of each worker that loses its store; the gateway says once that the
/// store is gone. Directives of the config come later and so can turn it on.
const QUIET: &str = "apalis_core=off";

/// Sends tracing's events to standard error in the configured form. A second call does nothing.
pub fn init(log: &Log) {
    let filter = log_filter(&format!("{QUIET},{}", log.level));
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let filtered = registry().with(filter);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let _ = match log.format {
        LogFormat::Json => filtered.with(lines.json().flatten_event(true)).try_init(),
        LogFormat::Text => filtered.with(lines).try_init(),
    };
}
