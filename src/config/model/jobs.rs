//! The job queue behind the legacy endpoints.
//!
//! Owns the checked form of `[jobs]`: one backend with what it needs, and the limits of each queue.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::secret::Secret;

/// The job queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jobs {
    /// Where jobs are kept.
    pub backend: JobsBackend,
    /// Jobs of one queue that wait at once; 1 to 5000.
    pub max_waiting: usize,
    /// The time in which the `per_minute` figures count starts.
    pub rate_window: Duration,
    /// How long a result is kept.
    pub result_ttl: Duration,
    /// How often a worker says that it is alive; whole seconds. One not heard of for three times
    /// as long is lost, and its jobs go to another.
    pub heartbeat: Duration,
    /// How often a worker looks for jobs that others submitted, and for cancellations.
    pub poll_interval: Duration,
    /// Time for one call to the backend; a slower one counts as unreachable.
    pub timeout: Duration,
    /// Wait before the first retry of a job; doubles with each further one. May be zero.
    pub retry_base_delay: Duration,
    /// Longest wait between two retries; not below `retry_base_delay`.
    pub retry_max_delay: Duration,
    /// Analyses.
    pub analysis: JobQueue,
    /// Chats.
    pub chat: JobQueue,
    /// Connection tests.
    pub test: JobQueue,
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
