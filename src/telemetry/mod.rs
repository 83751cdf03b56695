//! What the gateway tells of itself: metric families, the access log, the process log, traces.
//!
//! Names of metrics are a contract. Label values come from the config, never from a request;
//! what is not configured counts as `other`. Nothing here can block a request: the lines of every
//! log go to a thread of its own and are dropped, and counted, when there are too many of them.

pub mod access_log;
pub mod audit;
mod failures;
mod json;
mod labels;
mod line_limit;
mod lines;
mod metrics;
mod outcome;
pub mod process_log;
mod series;
mod tally;
pub mod totals;
pub mod traces;
pub mod usage_log;

pub use failures::Failures;
pub use labels::Number;
pub use lines::{Lines, unlocked};
pub use metrics::{Metrics, OTHER};
pub use outcome::Outcome;
pub use series::Pattern;
pub use tally::{Asked, Spent};

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
