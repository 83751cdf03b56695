//! Where jobs are kept, and the tickets by which workers come to them.
//!
//! A job's record is the truth: its state changes by one atomic step of the store, and only from
//! a state that allows it, so that a job starts, ends and is cancelled once however often it is
//! delivered. Delivery is apalis's: each job has a ticket in an apalis queue, which is given to a
//! worker, given to another if that worker is lost, and taken away when the work has returned.

mod redis;
mod sqlite;

use std::time::Duration;

use crate::system::time::timeout;
use apalis_core::task::builder::TaskBuilder;
use prometheus::IntCounter;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

pub(super) use self::redis::RedisStore;
pub(super) use self::sqlite::SqliteStore;
use super::record::{Counts, End, Hold, NewJob, Queue, Record, Worker};
use crate::config::{Jobs, JobsBackend};
use crate::storage::redis::RedisFailure;

/// A job that was started so often and never came to an end takes its workers down with it, and
/// is given up.
const MAX_STARTS: u32 = 25;

/// Tidying, which nobody waits for, may take as long as so many calls.
const TIDY_CALLS: u32 = 10;

/// Heartbeats after which a worker that was not seen is lost.
pub(super) const MISSED_HEARTBEATS: u32 = 3;

/// What apalis carries: which job to look at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ticket {
    pub(super) job: Uuid,
}

/// What went wrong at the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("SQLite: {0}")]
    Sqlite(#[from] sqlx::Error),
    /// Redis refused, or was not there.
    #[error(transparent)]
    Redis(#[from] RedisFailure),
    /// apalis could not place a ticket.
    #[error("the queue took no ticket: {0}")]
    Ticket(String),
    /// It holds what this version can't read.
    #[error("a record can't be read: {0}")]
    Record(String),
    /// It did not answer.
    #[error("it did not answer within {}", humantime::format_duration(*.0))]
    Slow(Duration),
}

impl StoreError {
    /// Whether it says something of the store, not of one record.
    pub(super) fn is_of_store(&self) -> bool {
        !matches!(self, StoreError::Record(_))
    }
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Submitted {
    Accepted,
    /// As many wait as may.
    Full,
}

/// The limits of one queue, as a store needs them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Starts within `window`.
    pub(super) starts: u32,
    pub(super) window: Duration,
    /// How long a hold lasts that is not renewed.
    pub(super) lease: Duration,
}

/// What became of the wish to start a job.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Start {
    /// It runs now, for this hold. `failures` are the tries that failed before.
    Run { payload: Value, failures: u32 },
    /// The queue has had its starts; ask again after this time.
    NotYet(Duration),
    /// Another hold on it lasts so long, unless it is renewed.
    Held(Duration),
    /// There is nothing to do: it has ended, or is not known.
    Settled,
}

/// The store that the config names.
#[derive(Clone, Debug)]
pub(super) enum Store {
    Sqlite(SqliteStore),
    Redis(RedisStore),
}

/// Calls the method of whichever store it is, for as long as a call may take.
macro_rules! dispatch {
    ($store:expr, $of:ident => $call:expr) => {
        dispatch!($store, 1, $of => $call)
    };
    ($store:expr, $times:expr, $of:ident => $call:expr) => {
        match $store {
            Store::Sqlite($of) => {
                let outcome = within($of.limit() * $times, $call).await;
                // A record that can't be read says nothing of the connection.
                if matches!(outcome, Err(ref error) if error.is_of_store()) {
                    $of.doubt();
                }
                outcome
            }
            Store::Redis($of) => within($of.limit() * $times, $call).await,
        }
    };
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(limit, call).await.unwrap_or(Err(StoreError::Slow(limit)))
}

impl Store {
    /// The store of this config, if it has one. Connects to nothing yet. `replaced` counts the times
    /// that its file was found deleted or replaced.
    pub(super) fn new(config: &Jobs, replaced: IntCounter) -> Result<Option<Store>, StoreError> {
        Ok(match &config.backend {
            JobsBackend::Off => None,
            JobsBackend::Sqlite { path } => {
                Some(Store::Sqlite(SqliteStore::new(path, config, replaced)))
            }
            JobsBackend::Redis { url, prefix } => {
                Some(Store::Redis(RedisStore::new(url.expose(), prefix, config)?))
            }
        })
    }

    /// Sees whether the store can be used. A file is written only if it is `in_doubt`, and read
    /// otherwise; Redis is written each time.
    pub(super) async fn check(&self, in_doubt: bool) -> Result<(), StoreError> {
        dispatch!(self, store => store.check(in_doubt))
    }

    /// Has the connection to a file made anew: a worker has lost it.
    pub(super) fn doubt(&self) {
        if let Store::Sqlite(store) = self {
            store.doubt();
        }
    }

    /// Keeps a job and places its ticket, unless too many of its queue wait.
    pub(super) async fn submit(&self, id: Uuid, job: &NewJob) -> Result<Submitted, StoreError> {
        dispatch!(self, store => store.submit(id, job))
    }

    /// Starts a job for a hold, if it may start.
    pub(super) async fn start(
        &self,
        hold: Hold,
        queue: Queue,
        limits: Limits,
    ) -> Result<Start, StoreError> {
        dispatch!(self, store => store.start(hold, queue, limits))
    }

    /// Notes how far a job is.
    pub(super) async fn progress(&self, hold: Hold, percent: u8) -> Result<(), StoreError> {
        dispatch!(self, store => store.progress(hold, percent))
    }

    /// Notes that a try failed and another will follow; false if the hold is lost.
    pub(super) async fn retry(&self, hold: Hold, error: &str) -> Result<bool, StoreError> {
        dispatch!(self, store => store.retry(hold, error))
    }

    /// Stores a job's end; false if the hold is lost, and then nothing was stored.
    pub(super) async fn finish(&self, hold: Hold, end: &End) -> Result<bool, StoreError> {
        dispatch!(self, store => store.finish(hold, end))
    }

    /// Makes holds last `lease` from now on, and gives those that are lost.
    pub(super) async fn renew(
        &self,
        holds: &[Hold],
        lease: Duration,
    ) -> Result<Vec<Hold>, StoreError> {
        dispatch!(self, store => store.renew(holds, lease))
    }

    /// Cancels a job that has not ended.
    pub(super) async fn cancel(&self, id: Uuid) -> Result<(), StoreError> {
        dispatch!(self, store => store.cancel(id))
    }

    /// A job as it stands; `None` if it is not known, or its result is no longer kept.
    pub(super) async fn record(&self, id: Uuid) -> Result<Option<Record>, StoreError> {
        dispatch!(self, store => store.record(id))
    }

    /// What the queues amount to, in the order of [`Queue::ALL`].
    pub(super) async fn counts(&self) -> Result<[Counts; 3], StoreError> {
        dispatch!(self, store => store.counts())
    }

    /// The workers that apalis knows of, lost ones too.
    pub(super) async fn workers(&self) -> Result<Vec<Worker>, StoreError> {
        dispatch!(self, store => store.workers())
    }

    /// Throws away what is no longer needed, and places a ticket that a job lost.
    pub(super) async fn tidy(&self) -> Result<(), StoreError> {
        dispatch!(self, TIDY_CALLS, store => store.tidy())
    }
}

/// The ticket of a job as apalis carries it. It is due at any time, so that none waits for a clock
/// that was set back.
fn ticket(id: Uuid) -> Result<TaskBuilder<Vec<u8>>, StoreError> {
    let body = serde_json::to_vec(&Ticket { job: id });
    let body = body.map_err(|error| StoreError::Ticket(error.to_string()))?;
    Ok(TaskBuilder::new(body).run_at_timestamp(0))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn from_millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn unreadable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Record(error.to_string())
}

/// What ends a job that was started too often.
fn gave_up() -> String {
    format!("the job was started {MAX_STARTS} times and never came to an end")
}
