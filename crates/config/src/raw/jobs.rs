//! `[jobs]` as the file has it: flat, with the name of the queue before the keys of each.

use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;
use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;
use smart_default::SmartDefault;

use crate::model::Jobs;
use crate::units::{NonZeroDuration, TextForm as _};

/// The job queue behind the legacy endpoints.
#[derive(Clone, Debug, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub(crate) struct RawJobs {
    /// Analyses started in a `rate_window`.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    #[default = 5]
    pub(crate) analysis_per_minute: u32,
    /// Analyses that one process works on at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 1000)))]
    #[default = 4]
    pub(crate) analysis_workers: usize,
    /// Time for one run of an analysis; then it is stopped.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(300))]
    pub(crate) analysis_time_limit: Duration,
    /// Time after which an analysis is asked to end. Shorter than `analysis_time_limit`.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(240))]
    pub(crate) analysis_soft_time_limit: Duration,
    /// Further runs of an analysis that failed.
    #[cfg_attr(test, schemars(range(min = 0, max = 20)))]
    #[default = 3]
    pub(crate) analysis_retries: u32,
    /// Chats started in a `rate_window`.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    #[default = 10]
    pub(crate) chat_per_minute: u32,
    /// Chats that one process works on at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 1000)))]
    #[default = 8]
    pub(crate) chat_workers: usize,
    /// Time for one run of a chat; then it is stopped.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(120))]
    pub(crate) chat_time_limit: Duration,
    /// Time after which a chat is asked to end. Shorter than `chat_time_limit`.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(90))]
    pub(crate) chat_soft_time_limit: Duration,
    /// Further runs of a chat that failed.
    #[cfg_attr(test, schemars(range(min = 0, max = 20)))]
    #[default = 3]
    pub(crate) chat_retries: u32,
    /// Connection tests started in a `rate_window`.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    #[default = 3]
    pub(crate) test_per_minute: u32,
    /// Connection tests that one process works on at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 1000)))]
    #[default = 2]
    pub(crate) test_workers: usize,
    /// Time for one run of a connection test; then it is stopped.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(30))]
    pub(crate) test_time_limit: Duration,
    /// Time after which a connection test is asked to end. Shorter than `test_time_limit`.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(20))]
    pub(crate) test_soft_time_limit: Duration,
    /// Further runs of a connection test that failed.
    #[cfg_attr(test, schemars(range(min = 0, max = 20)))]
    #[default = 2]
    pub(crate) test_retries: u32,
    #[serde(flatten)]
    pub(crate) jobs: Jobs,
}
