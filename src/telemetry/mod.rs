//! What the gateway reports about itself: metrics, access log, usage log, process log, traces.
//!
//! Metric names are a contract. Label values come from the config, never from a request; everything
//! else counts as `other`. Nothing here blocks a request: each log has a writing thread of its own,
//! and lines that it can't keep up with are dropped and counted.

pub mod access_log;
pub mod audit;
mod causes;
pub mod dashboard_totals;
mod dependencies;
mod diversion;
mod failures;
mod json;
mod labels;
mod last_reload;
mod latency;
mod log_rate_limit;
mod log_writer;
mod metrics;
mod operation_names;
mod outcome;
pub mod process_log;
mod request_counters;
pub mod traces;
mod upstream_request_id;
pub mod usage_log;
mod usage_sums;

pub(crate) use causes::{in_words, with_causes};
pub use dependencies::Dependencies;
pub use diversion::{Choice, PassedOver, PassedOverReason, PassedOverTargets};
pub use failures::Failures;
pub use labels::LabelId;
pub use last_reload::{LastReload, RefusedReload};
pub use latency::ModelLatency;
pub use log_writer::{LogWriter, unlocked};
pub use metrics::{Metrics, OTHER};
pub use outcome::{Outcome, SUCCESS};
pub use request_counters::{RequestLabels, RequestUsage};
pub use upstream_request_id::UpstreamRequestId;
pub use usage_sums::UsageSum;

/// The logs and traces that record requests.
#[derive(Clone, Debug)]
pub struct Logs {
    /// An entry for each request.
    pub access: access_log::AccessLog,
    /// What each request used.
    pub usage: usage_log::UsageLog,
    /// The spans of sampled requests; `None` without a collector.
    pub traces: Option<traces::Traces>,
}
