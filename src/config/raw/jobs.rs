//! `[jobs]` as the file has it: flat, with the name of the queue before the keys of each.

use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;
use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;

use crate::config::model::Jobs;
use crate::config::redis_url::RedisUrlText;
use crate::config::units::{NonZeroDuration, TextForm as _};

/// The job queue behind the legacy endpoints.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub(in crate::config) struct RawJobs {
    /// Where jobs are kept: nowhere, in a file, or in Redis.
    pub(in crate::config) backend: RawJobsBackend,
    /// Database file of the backend `sqlite`. A relative path starts at the config file's
    /// directory.
    pub(in crate::config) path: String,
    /// URL of the backend `redis`, as it is or by reference. By reference if it holds a password.
    pub(in crate::config) redis_url: RedisUrlText,
    /// What the names of keys in Redis start with.
    pub(in crate::config) redis_prefix: String,
    /// Analyses started in a `rate_window`.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(in crate::config) analysis_per_minute: u32,
    /// Analyses that one process works on at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 1000)))]
    pub(in crate::config) analysis_workers: usize,
    /// Time for one run of an analysis; then it is stopped.
    #[serde(with = "NonZeroDuration")]
    pub(in crate::config) analysis_time_limit: Duration,
    /// Time after which an analysis is asked to end. Shorter than `analysis_time_limit`.
    #[serde(with = "NonZeroDuration")]
    pub(in crate::config) analysis_soft_time_limit: Duration,
    /// Further runs of an analysis that failed.
    #[cfg_attr(test, schemars(range(min = 0, max = 20)))]
    pub(in crate::config) analysis_retries: u32,
    /// Chats started in a `rate_window`.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(in crate::config) chat_per_minute: u32,
    /// Chats that one process works on at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 1000)))]
    pub(in crate::config) chat_workers: usize,
    /// Time for one run of a chat; then it is stopped.
    #[serde(with = "NonZeroDuration")]
    pub(in crate::config) chat_time_limit: Duration,
    /// Time after which a chat is asked to end. Shorter than `chat_time_limit`.
    #[serde(with = "NonZeroDuration")]
    pub(in crate::config) chat_soft_time_limit: Duration,
    /// Further runs of a chat that failed.
    #[cfg_attr(test, schemars(range(min = 0, max = 20)))]
    pub(in crate::config) chat_retries: u32,
    /// Connection tests started in a `rate_window`.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(in crate::config) test_per_minute: u32,
    /// Connection tests that one process works on at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 1000)))]
    pub(in crate::config) test_workers: usize,
    /// Time for one run of a connection test; then it is stopped.
    #[serde(with = "NonZeroDuration")]
    pub(in crate::config) test_time_limit: Duration,
    /// Time after which a connection test is asked to end. Shorter than `test_time_limit`.
    #[serde(with = "NonZeroDuration")]
    pub(in crate::config) test_soft_time_limit: Duration,
    /// Further runs of a connection test that failed.
    #[cfg_attr(test, schemars(range(min = 0, max = 20)))]
    pub(in crate::config) test_retries: u32,
    #[serde(flatten)]
    pub(in crate::config) jobs: Jobs,
}

/// Where jobs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum RawJobsBackend {
    /// Nowhere: requests are answered when they are done.
    Off,
    /// In a database file, for one process.
    Sqlite,
    /// In Redis, for any number of processes.
    Redis,
}

impl Default for RawJobs {
    fn default() -> Self {
        Self {
            backend: RawJobsBackend::Off,
            path: "sluice-jobs.db".into(),
            redis_url: "redis://localhost:6379/0".into(),
            redis_prefix: "sluice".into(),
            analysis_per_minute: 5,
            analysis_workers: 4,
            analysis_time_limit: Duration::from_secs(300),
            analysis_soft_time_limit: Duration::from_secs(240),
            analysis_retries: 3,
            chat_per_minute: 10,
            chat_workers: 8,
            chat_time_limit: Duration::from_secs(120),
            chat_soft_time_limit: Duration::from_secs(90),
            chat_retries: 3,
            test_per_minute: 3,
            test_workers: 2,
            test_time_limit: Duration::from_secs(30),
            test_soft_time_limit: Duration::from_secs(20),
            test_retries: 2,
            jobs: Jobs::default(),
        }
    }
}
