//! The job queue behind the legacy endpoints: `[jobs]`.

use std::path::PathBuf;
use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;
use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;
use smart_default::SmartDefault;

#[cfg(test)]
use crate::redis_url::RedisUrl;
use crate::secret::Secret;
use crate::units::{AnyDuration, NonZeroDuration, TextForm as _};

/// The job queue.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Jobs {
    /// Where jobs are kept.
    #[serde(flatten)]
    pub backend: JobsBackend,
    /// Jobs of one queue that wait at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 5000)))]
    #[default = 1000]
    pub max_waiting: usize,
    /// The time in which the `per_minute` figures count starts.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(60))]
    pub rate_window: Duration,
    /// How long a result is kept.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(60 * 60))]
    pub result_ttl: Duration,
    /// How often a worker reports that it is alive, in whole seconds. One that has not for three
    /// times as long is lost, and its jobs go to another.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(10))]
    pub heartbeat: Duration,
    /// How often a worker looks for jobs that others submitted, and for cancellations.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(1))]
    pub poll_interval: Duration,
    /// Time for one call to the backend. A slower one counts as unreachable.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(1))]
    pub timeout: Duration,
    /// Wait before the first retry of a job; doubles with each further one.
    #[serde(with = "AnyDuration")]
    #[default(Duration::from_secs(1))]
    pub retry_base_delay: Duration,
    /// Longest wait between two retries.
    #[serde(with = "AnyDuration")]
    #[default(Duration::from_secs(60))]
    pub retry_max_delay: Duration,
    /// Analyses.
    #[serde(skip)]
    pub analysis: JobQueue,
    /// Chats.
    #[serde(skip)]
    pub chat: JobQueue,
    /// Connection tests.
    #[serde(skip)]
    pub test: JobQueue,
}

/// Where jobs are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema), serde(into = "JobsBackendKeys"))]
#[serde(from = "JobsBackendKeys")]
pub enum JobsBackend {
    /// Nowhere: requests are answered when they are done.
    #[default]
    Off,
    /// In a database file, for one process.
    Sqlite {
        /// The file. Relative to the working directory, unless it is absolute.
        path: PathBuf,
    },
    /// In Redis, for any number of processes.
    Redis {
        /// A `redis://` or `rediss://` URL; may hold a password.
        url: Secret,
        /// What the names of its keys start with: letters, digits, `-` and `_`.
        prefix: String,
    },
}

/// Where jobs are kept, as the file has it.
#[derive(Clone, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
struct JobsBackendKeys {
    /// Where jobs are kept: nowhere, in a file, or in Redis.
    backend: JobsBackendKind,
    /// Database file of the backend `sqlite`. A relative path starts at the config file's
    /// directory.
    #[cfg_attr(test, schemars(extend("format" = "non-blank")))]
    #[default = "sluice-jobs.db"]
    path: PathBuf,
    /// URL of the backend `redis`, as it is or by reference. By reference if it holds a password.
    #[cfg_attr(test, schemars(with = "RedisUrl"))]
    #[default("redis://localhost:6379/0".into())]
    redis_url: Secret,
    /// What the names of keys in Redis start with.
    #[cfg_attr(test, schemars(extend("format" = "redis-prefix")))]
    #[default = "sluice"]
    redis_prefix: String,
}

/// The kind of place where jobs are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(rename_all = "snake_case")]
enum JobsBackendKind {
    /// Nowhere: requests are answered when they are done.
    #[default]
    Off,
    /// In a database file, for one process.
    Sqlite,
    /// In Redis, for any number of processes.
    Redis,
}

impl From<JobsBackendKeys> for JobsBackend {
    fn from(keys: JobsBackendKeys) -> JobsBackend {
        match keys.backend {
            JobsBackendKind::Off => JobsBackend::Off,
            JobsBackendKind::Sqlite => JobsBackend::Sqlite { path: keys.path },
            JobsBackendKind::Redis => {
                JobsBackend::Redis { url: keys.redis_url, prefix: keys.redis_prefix }
            }
        }
    }
}

/// For the defaults in the schema.
#[cfg(test)]
impl From<JobsBackend> for JobsBackendKeys {
    fn from(_: JobsBackend) -> JobsBackendKeys {
        JobsBackendKeys::default()
    }
}

/// The limits of one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobQueue {
    /// Jobs started in [`Jobs::rate_window`]; at least 1.
    pub per_minute: u32,
    /// Jobs that one process works on at once; at least 1.
    pub workers: usize,
    /// Time for one run of a job; then it is stopped.
    pub time_limit: Duration,
    /// Time after which a run is asked to end; shorter than `time_limit`.
    pub soft_time_limit: Duration,
    /// Further runs of a job that failed.
    pub retries: u32,
}
