//! The job queue behind the legacy endpoints: `[jobs]`.

use std::path::PathBuf;
use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;
use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;

use crate::config::secret::Secret;
use crate::config::units::{AnyDuration, NonZeroDuration, TextForm as _};

/// The job queue.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Jobs {
    /// Where jobs are kept.
    #[serde(skip)]
    pub backend: JobsBackend,
    /// Jobs of one queue that wait at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 5000)))]
    pub max_waiting: usize,
    /// The time in which the `per_minute` figures count starts.
    #[serde(with = "NonZeroDuration")]
    pub rate_window: Duration,
    /// How long a result is kept.
    #[serde(with = "NonZeroDuration")]
    pub result_ttl: Duration,
    /// How often a worker reports that it is alive, in whole seconds. One that has not for three
    /// times as long is lost, and its jobs go to another.
    #[serde(with = "NonZeroDuration")]
    pub heartbeat: Duration,
    /// How often a worker looks for jobs that others submitted, and for cancellations.
    #[serde(with = "NonZeroDuration")]
    pub poll_interval: Duration,
    /// Time for one call to the backend. A slower one counts as unreachable.
    #[serde(with = "NonZeroDuration")]
    pub timeout: Duration,
    /// Wait before the first retry of a job; doubles with each further one.
    #[serde(with = "AnyDuration")]
    pub retry_base_delay: Duration,
    /// Longest wait between two retries.
    #[serde(with = "AnyDuration")]
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

impl Default for Jobs {
    fn default() -> Self {
        Self {
            backend: JobsBackend::Off,
            max_waiting: 1000,
            rate_window: Duration::from_secs(60),
            result_ttl: Duration::from_secs(60 * 60),
            heartbeat: Duration::from_secs(10),
            poll_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            retry_base_delay: Duration::from_secs(1),
            retry_max_delay: Duration::from_secs(60),
            analysis: JobQueue::default(),
            chat: JobQueue::default(),
            test: JobQueue::default(),
        }
    }
}

/// Where jobs are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobsBackend {
    /// Nowhere: requests are answered when they are done.
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
