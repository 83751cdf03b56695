//! What the gateway tells of itself: metric families, the access log, the process log.
//!
//! Names of metrics are a contract. Label values come from the config, never from a request;
//! what is not configured counts as `other`. Nothing here can block a request: log lines go
//! through a bounded channel and are dropped, and counted, when it is full.

pub mod access_log;
pub mod audit;
mod failures;
mod lines;
mod metrics;
mod openmetrics;
pub mod process_log;
pub mod totals;
pub mod usage_log;

pub use failures::Failures;
pub use metrics::{Exposition, Metrics, OTHER};
