//! What the gateway tells of itself: metric families, the access log, the process log, traces.
//!
//! Names of metrics are a contract. Label values come from the config, never from a request;
//! what is not configured counts as `other`. Nothing here can block a request: the log_writer of every
//! log go to a thread of its own and are dropped, and counted, when there are too many of them.

pub mod access_log;
pub mod audit;
mod causes;
pub mod dashboard_totals;
mod failures;
mod json;
mod labels;
mod latency;
mod log_rate_limit;
mod log_writer;
mod metrics;
mod outcome;
pub mod process_log;
mod request_counters;
pub mod traces;
pub mod usage_log;

pub(crate) use causes::with_causes;
pub use failures::Failures;
pub use labels::LabelId;
pub use latency::ModelLatency;
pub use log_writer::{LogWriter, unlocked};
pub use metrics::{Metrics, OTHER};
pub use outcome::Outcome;
pub use request_counters::{RequestLabels, RequestUsage};

/// Where it is said what came of requests.
#[derive(Clone, Debug)]
pub struct Logs {
    /// A line for each.
    pub access: access_log::AccessLog,
    /// A record of what each has used.
    pub usage: usage_log::UsageLog,
    /// The spans of those that are traced; `None`: nobody wants any.
    pub traces: Option<traces::Traces>,
}
