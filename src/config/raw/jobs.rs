//! `[jobs]` as the file says it: flat, the keys of each queue told apart by its name.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::redis_url::RedisUrlText;
use crate::config::units::DurationText;

/// The job queue behind the legacy endpoints.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
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
    /// Jobs of one queue that wait at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 5000)))]
    pub(in crate::config) max_waiting: usize,
    /// The time in which the `per_minute` figures count starts.
    pub(in crate::config) rate_window: DurationText,
    /// How long a result is kept.
    pub(in crate::config) result_ttl: DurationText,
    /// How often a worker says that it is alive, in whole seconds. One not heard of for three times
    /// as long is lost, and its jobs go to another.
    pub(in crate::config) heartbeat: DurationText,
    /// How often a worker looks for jobs that others submitted, and for cancellations.
    pub(in crate::config) poll_interval: DurationText,
    /// Time for one call to the backend. A slower one counts as unreachable.
    pub(in crate::config) timeout: DurationText,
    /// Wait before the first retry of a job; doubles with each further one.
    pub(in crate::config) retry_base_delay: DurationText,
    /// Longest wait between two retries.
    pub(in crate::config) retry_max_delay: DurationText,
    /// Analyses started in a `rate_window`.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(in crate::config) analysis_per_minute: u32,
    /// Analyses that one process works on at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 1000)))]
    pub(in crate::config) analysis_workers: usize,
    /// Time for one run of an analysis; then it is stopped.
    pub(in crate::config) analysis_time_limit: DurationText,
    /// Time after which an analysis is asked to end. Shorter than `analysis_time_limit`.
    pub(in crate::config) analysis_soft_time_limit: DurationText,
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
    pub(in crate::config) chat_time_limit: DurationText,
    /// Time after which a chat is asked to end. Shorter than `chat_time_limit`.
    pub(in crate::config) chat_soft_time_limit: DurationText,
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
    pub(in crate::config) test_time_limit: DurationText,
    /// Time after which a connection test is asked to end. Shorter than `test_time_limit`.
    pub(in crate::config) test_soft_time_limit: DurationText,
    /// Further runs of a connection test that failed.
    #[cfg_attr(test, schemars(range(min = 0, max = 20)))]
    pub(in crate::config) test_retries: u32,
}

/// Where jobs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
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
            max_waiting: 1000,
            rate_window: "60s".into(),
            result_ttl: "1h".into(),
            heartbeat: "10s".into(),
            poll_interval: "1s".into(),
            timeout: "1s".into(),
            retry_base_delay: "1s".into(),
            retry_max_delay: "60s".into(),
            analysis_per_minute: 5,
            analysis_workers: 4,
            analysis_time_limit: "300s".into(),
            analysis_soft_time_limit: "240s".into(),
            analysis_retries: 3,
            chat_per_minute: 10,
            chat_workers: 8,
            chat_time_limit: "120s".into(),
            chat_soft_time_limit: "90s".into(),
            chat_retries: 3,
            test_per_minute: 3,
            test_workers: 2,
            test_time_limit: "30s".into(),
            test_soft_time_limit: "20s".into(),
            test_retries: 2,
        }
    }
}
