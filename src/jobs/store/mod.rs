//! The stores of jobs.
//!
//! A job's record is authoritative. Each change of its state is one atomic step of the store, and happens
//! only from a state that allows it. Workers claim jobs: one claim at a time holds a job, for a lease that
//! is renewed. When the lease lapses, another worker can claim the job. A job therefore ends once, however
//! often it is claimed.

mod redis;
mod sqlite;

use std::time::Duration;

use prometheus::IntCounter;
use serde_json::Value;
use uuid::Uuid;

pub(super) use self::redis::RedisStore;
pub(super) use self::sqlite::SqliteStore;
use super::record::{Claim, Counts, JobResult, NewJob, Queue, Record, State, Worker};
use crate::config::{Jobs, JobsBackend};
use crate::storage::{StoreError, dispatch};

/// A job that was started this often without an end fails: it probably kills the process that runs it.
const MAX_STARTS: u32 = 25;

/// The time limit of tidying, in time limits of a call. No request waits for tidying.
const TIDY_CALLS: u32 = 10;

/// A worker that was not seen for this many heartbeats is lost.
pub(super) const MISSED_HEARTBEATS: u32 = 3;

/// The outcome of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Submitted {
    Accepted,
    /// As many jobs wait as the queue may have.
    Full,
}

/// The limits of one queue, as a store needs them.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClaimLimits {
    /// Starts within `window`.
    pub(super) starts: u32,
    pub(super) window: Duration,
    /// How long a claim lasts without renewal.
    pub(super) lease: Duration,
}

/// The outcome of an attempt to start a job.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Start {
    /// The job runs now, for this claim. `failures` is the number of failed tries before.
    Run { payload: Value, failures: u32 },
    /// The queue's rate is used up; ask again after this time. The claim keeps the job.
    NotYet(Duration),
    /// Another claim has the job for this long, unless it is renewed; this claim is void.
    Held(Duration),
    /// The job has ended, or is unknown.
    Ended,
}

/// The configured store.
#[derive(Clone, Debug)]
pub(super) enum Store {
    Sqlite(SqliteStore),
    Redis(RedisStore),
}

impl Store {
    /// The configured store; `None` without one. Nothing is opened yet. `replaced` counts how often the
    /// store's file was found deleted or replaced.
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

    /// Checks that the store can be used, and returns whether it has unfinished jobs. A store that
    /// is `in_doubt` is written, too.
    pub(super) async fn check(&self, in_doubt: bool) -> Result<bool, StoreError> {
        dispatch!(Store, self, 1, store => store.check(in_doubt))
    }

    /// Stores a job, unless too many of its queue wait.
    pub(super) async fn submit(&self, id: Uuid, job: &NewJob) -> Result<Submitted, StoreError> {
        dispatch!(Store, self, 1, store => store.submit(id, job))
    }

    /// Claims the queue's next job for a lease, except those that are `excluded`: the oldest one
    /// that has no claim or, with `takes_over`, whose claim has lapsed.
    pub(super) async fn claim(
        &self,
        queue: Queue,
        lease: Duration,
        takes_over: bool,
        excluded: &[Uuid],
    ) -> Result<Option<Claim>, StoreError> {
        dispatch!(Store, self, 1, store => store.claim(queue, lease, takes_over, excluded))
    }

    /// Starts a claimed job, if the queue's rate allows. Without `takes_over`, a claim of another
    /// holds the job even if it has lapsed.
    pub(super) async fn start(
        &self,
        claim: Claim,
        limits: ClaimLimits,
        takes_over: bool,
    ) -> Result<Start, StoreError> {
        dispatch!(Store, self, 1, store => store.start(claim, limits, takes_over))
    }

    /// Records the progress of a running job.
    pub(super) async fn progress(&self, claim: Claim, percent: u8) -> Result<(), StoreError> {
        dispatch!(Store, self, 1, store => store.progress(claim, percent))
    }

    /// Records that a try failed and another follows; false if the claim is lost.
    pub(super) async fn retry(&self, claim: Claim, error: &str) -> Result<bool, StoreError> {
        dispatch!(Store, self, 1, store => store.retry(claim, error))
    }

    /// Stores a job's result; false if the claim is lost, and then nothing is stored.
    pub(super) async fn finish(
        &self,
        claim: Claim,
        result: &JobResult,
    ) -> Result<bool, StoreError> {
        dispatch!(Store, self, 1, store => store.finish(claim, result))
    }

    /// Extends claims by a lease from now on, and returns those that are lost.
    pub(super) async fn renew(
        &self,
        claims: &[Claim],
        lease: Duration,
    ) -> Result<Vec<Claim>, StoreError> {
        dispatch!(Store, self, 1, store => store.renew(claims, lease))
    }

    /// Releases a claim, so that another worker can claim the job at once.
    pub(super) async fn release(&self, claim: Claim) -> Result<(), StoreError> {
        dispatch!(Store, self, 1, store => store.release(claim))
    }

    /// Cancels a job that has not ended.
    pub(super) async fn cancel(&self, id: Uuid) -> Result<(), StoreError> {
        dispatch!(Store, self, 1, store => store.cancel(id))
    }

    /// Cancels a job whose submission has failed, so that it never runs: not if the submission was stored
    /// after all, and not if it reaches the store later than this.
    pub(super) async fn abandon(&self, queue: Queue, id: Uuid) -> Result<(), StoreError> {
        dispatch!(Store, self, 1, store => store.abandon(queue, id))
    }

    /// A job's record; `None` if it is unknown, or its result is no longer kept.
    pub(super) async fn record(&self, id: Uuid) -> Result<Option<Record>, StoreError> {
        dispatch!(Store, self, 1, store => store.record(id))
    }

    /// The numbers of unfinished jobs, in the order of [`Queue::ALL`].
    pub(super) async fn counts(&self) -> Result<[Counts; 3], StoreError> {
        dispatch!(Store, self, 1, store => store.counts())
    }

    /// Records that workers are alive.
    pub(super) async fn heartbeat(&self, workers: &[Worker]) -> Result<(), StoreError> {
        dispatch!(Store, self, 1, store => store.heartbeat(workers))
    }

    /// The workers that are stored, some lost ones included.
    pub(super) async fn workers(&self) -> Result<Vec<Worker>, StoreError> {
        dispatch!(Store, self, 1, store => store.workers())
    }

    /// Removes what is no longer needed, and workers that were last seen before `lost_before`
    /// (seconds since 1970). Makes jobs claimable that an earlier version stored.
    pub(super) async fn tidy(&self, lost_before: u64) -> Result<(), StoreError> {
        dispatch!(Store, self, TIDY_CALLS, store => store.tidy(lost_before))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn from_millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// The record, unless it lacks what its state promises: its reader would take nothing for the result.
fn complete(record: Record) -> Result<Record, StoreError> {
    match record.state {
        State::Done if record.result.is_none() => {
            Err(StoreError::unreadable("a job that is done has no result"))
        }
        State::Failed | State::Retrying if record.error.is_none() => {
            Err(StoreError::unreadable("a job that has failed has no error"))
        }
        _ => Ok(record),
    }
}

/// The error of a job that was started too often.
fn too_many_starts() -> String {
    format!("the job was started {MAX_STARTS} times and never ended")
}
