//! One job from its delivery to its end: wait for leave to start, work within the time limits, try
//! again what may go better, store what came of it.
//!
//! A job runs in a task of its own, apart from the worker that brought it: if the store goes away
//! in the middle, its workers end and the job goes on, and stores its end when the store is back.
//! A second delivery of a job that runs here waits for that.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::health::Health;
use super::record::{End, Hold, Queue};
use super::store::{Limits, MISSED_HEARTBEATS, Start, Store, StoreError};
use crate::config;
use crate::system::time::{sleep, timeout};
use crate::telemetry::Metrics;

/// Pauses between tries of a store that is gone.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Longest sleep before the store is asked again whether a job may start.
const MAX_START_PAUSE: Duration = Duration::from_secs(5);

/// What jobs do.
pub trait Work: Send + Sync + 'static {
    /// Does the work of one job. Dropped, it must leave nothing behind that runs on.
    fn run(&self, job: Claimed, reporter: Reporter) -> BoxFuture<'static, Result<Value, Failure>>;
}

/// A job that is to be worked at.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Its id.
    pub id: Uuid,
    /// Its queue.
    pub queue: Queue,
    /// What was submitted.
    pub payload: Value,
    /// When the work should come to an end of its own; soon after, it is cut off.
    pub soft_deadline: Instant,
    /// Whether there is no other try after this one.
    pub is_last_try: bool,
}

/// Why a try failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What the job's submitter is told.
    pub message: String,
    /// Whether another try may go better.
    pub may_pass: bool,
    /// How long to wait before it, at least.
    pub retry_after: Option<Duration>,
}

/// Tells the store how far a job is.
#[derive(Clone, Debug)]
pub struct Reporter {
    store: Store,
    health: Arc<Health>,
    hold: Hold,
}

impl Reporter {
    /// Notes that the job is so many percent done. A note that is lost does no harm.
    pub async fn progress(&self, percent: u8) {
        let noted = self.store.progress(self.hold, percent.min(100)).await;
        if let Err(error) = self.health.see(noted) {
            tracing::debug!(job = %self.hold.job, %error, "progress not noted");
        }
    }
}

/// The process is about to end and the job was not begun, or not finished: another is to have it.
#[derive(Debug, thiserror::Error)]
#[error("given back: this process stops")]
pub(super) struct GivenBack;

/// A queue's limits, and who is within them here.
#[derive(Debug)]
struct Lane {
    config: config::JobQueue,
    limits: Limits,
    /// Jobs at once.
    slots: Semaphore,
    /// Only the first in line asks the store for leave, so that jobs start in their order.
    turnstile: Mutex<()>,
}

/// A job that is held here.
#[derive(Clone, Debug)]
struct Held {
    token: Uuid,
    /// Whether the store knows of the hold, so that it is to be renewed.
    is_leased: Arc<AtomicBool>,
    cancel: CancellationToken,
    ended: CancellationToken,
}

impl Held {
    fn of(hold: Hold) -> Held {
        Held {
            token: hold.token,
            is_leased: Arc::default(),
            cancel: CancellationToken::new(),
            ended: CancellationToken::new(),
        }
    }
}

pub(super) struct Runner {
    store: Store,
    health: Arc<Health>,
    work: Arc<dyn Work>,
    lanes: [Lane; 3],
    held: DashMap<Uuid, Held>,
    retry_base_delay: Duration,
    retry_max_delay: Duration,
    tasks: TaskTracker,
    stopping: CancellationToken,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

/// How a job's task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Its end is stored, here or elsewhere, or it was cancelled.
    Settled,
    GivenBack,
}

impl Runner {
    pub(super) fn new(
        config: &config::Jobs,
        store: Store,
        health: &Arc<Health>,
        work: Arc<dyn Work>,
        metrics: &Arc<Metrics>,
        stopping: &CancellationToken,
    ) -> Runner {
        let lane = |queue: &config::JobQueue| Lane {
            config: queue.clone(),
            limits: Limits {
                starts: queue.per_minute,
                window: config.rate_window,
                lease: config.heartbeat * MISSED_HEARTBEATS,
            },
            slots: Semaphore::new(queue.workers),
            turnstile: Mutex::new(()),
        };
        Runner {
            store,
            health: Arc::clone(health),
            work,
            lanes: [lane(&config.analysis), lane(&config.chat), lane(&config.test)],
            held: DashMap::new(),
            retry_base_delay: config.retry_base_delay,
            retry_max_delay: config.retry_max_delay,
            tasks: TaskTracker::new(),
            stopping: stopping.clone(),
            metrics: Arc::clone(metrics),
        }
    }

    fn lane(&self, queue: Queue) -> &Lane {
        let [analysis, chat, test] = &self.lanes;
        match queue {
            Queue::Analysis => analysis,
            Queue::Chat => chat,
            Queue::Test => test,
        }
    }

    /// Works at a delivered job; when this returns well, its ticket may be taken away.
    pub(super) async fn deliver(
        self: &Arc<Self>,
        queue: Queue,
        job: Uuid,
    ) -> Result<(), GivenBack> {
        let (hold, held) = loop {
            let hold = Hold::new(job);
            let running_here = match self.held.entry(job) {
                Entry::Occupied(entry) => entry.get().ended.clone(),
                Entry::Vacant(entry) => break (hold, entry.insert(Held::of(hold)).clone()),
            };
            running_here.cancelled().await;
        };
        let runner = Arc::clone(self);
        let task = self.tasks.spawn(async move {
            let _held = HeldHere { runner: &runner, job, ended: held.ended.clone() };
            runner.run(queue, hold, &held).await
        });
        match task.await {
            Ok(Ended::Settled) => Ok(()),
            Ok(Ended::GivenBack) | Err(_) => Err(GivenBack),
        }
    }

    /// Cancels a job that is held here.
    pub(super) fn cancel(&self, job: Uuid) {
        if let Some(held) = self.held.get(&job) {
            held.cancel.cancel();
        }
    }

    /// The holds that are to be renewed, all for the same time.
    pub(super) fn holds(&self) -> Vec<Hold> {
        let leased = self.held.iter().filter(|held| held.is_leased.load(Ordering::Acquire));
        leased.map(|held| Hold { job: *held.key(), token: held.token }).collect()
    }

    /// How long a hold lasts that is not renewed.
    pub(super) fn lease(&self) -> Duration {
        self.lane(Queue::Analysis).limits.lease
    }

    /// Ends the work of a hold that is lost: the job was cancelled, or is another's now.
    pub(super) fn lost(&self, hold: Hold) {
        if let Some(held) = self.held.get(&hold.job).filter(|held| held.token == hold.token) {
            held.cancel.cancel();
        }
    }

    /// Waits until nothing runs. Call it once the process is stopping.
    pub(super) async fn idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn run(&self, queue: Queue, hold: Hold, held: &Held) -> Ended {
        let lane = self.lane(queue);
        let slot = tokio::select! {
            slot = lane.slots.acquire() => slot,
            () = held.cancel.cancelled() => return Ended::Settled,
            () = self.stopping.cancelled() => return Ended::GivenBack,
        };
        let Ok(_slot) = slot else { return Ended::GivenBack };
        loop {
            let (payload, failures) = tokio::select! {
                started = self.started(lane, queue, hold, held) => match started {
                    Some(started) => started,
                    None => return Ended::Settled,
                },
                () = held.cancel.cancelled() => return Ended::Settled,
                () = self.stopping.cancelled() => {
                    self.release(hold).await;
                    return Ended::GivenBack;
                }
            };
            let is_last_try = failures >= lane.config.retries;
            let outcome = tokio::select! {
                outcome = self.attempt(lane, queue, hold, payload, is_last_try) => outcome,
                () = held.cancel.cancelled() => {
                    self.count(queue, "cancelled");
                    return Ended::Settled;
                }
            };
            let end = match outcome {
                Ok(result) => End::Done(result),
                Err(failure) if failure.may_pass && !is_last_try => {
                    let message = failure.message.as_str();
                    let is_held = self.until_stored(|| self.store.retry(hold, message)).await;
                    if !is_held {
                        return Ended::Settled;
                    }
                    self.count(queue, "retried");
                    tracing::info!(job = %hold.job, error = message, "the job will be retried");
                    let pause = self.pause(failures, failure.retry_after);
                    tokio::select! {
                        () = sleep(pause) => continue,
                        () = held.cancel.cancelled() => return Ended::Settled,
                        () = self.stopping.cancelled() => {
                            self.release(hold).await;
                            return Ended::GivenBack;
                        }
                    }
                }
                Err(failure) => End::Failed(failure.message),
            };
            let outcome = if matches!(end, End::Done(_)) { "done" } else { "failed" };
            let is_stored = self.until_stored(|| self.store.finish(hold, &end)).await;
            self.count(queue, if is_stored { outcome } else { "lost" });
            return Ended::Settled;
        }
    }

    /// Waits until the job may start; `None` if there is nothing to do any more.
    async fn started(
        &self,
        lane: &Lane,
        queue: Queue,
        hold: Hold,
        held: &Held,
    ) -> Option<(Value, u32)> {
        let mut turn = lane.turnstile.lock().await;
        let mut pause = MIN_PAUSE;
        loop {
            match self.health.see(self.store.start(hold, queue, lane.limits).await) {
                Ok(Start::Run { payload, failures }) => {
                    held.is_leased.store(true, Ordering::Release);
                    return Some((payload, failures));
                }
                Ok(Start::NotYet(due)) => {
                    held.is_leased.store(true, Ordering::Release);
                    sleep(due.min(MAX_START_PAUSE)).await;
                }
                Ok(Start::Held(due)) => {
                    // The others need not wait for a worker that is lost.
                    drop(turn);
                    sleep(due.min(MAX_START_PAUSE)).await;
                    turn = lane.turnstile.lock().await;
                }
                Ok(Start::Settled) => return None,
                Err(error) => {
                    tracing::debug!(job = %hold.job, %error, "the job can't be started yet");
                    sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    /// One try, within its time limits; a panic in it is its failure.
    async fn attempt(
        &self,
        lane: &Lane,
        queue: Queue,
        hold: Hold,
        payload: Value,
        is_last_try: bool,
    ) -> Result<Value, Failure> {
        let began = Instant::now();
        let job = Claimed {
            id: hold.job,
            queue,
            payload,
            soft_deadline: began + lane.config.soft_time_limit,
            is_last_try,
        };
        let reporter =
            Reporter { store: self.store.clone(), health: Arc::clone(&self.health), hold };
        let work = AssertUnwindSafe(self.work.run(job, reporter)).catch_unwind();
        let limit = lane.config.time_limit;
        let outcome = timeout(limit, work).await;
        let took = began.elapsed().as_secs_f64();
        self.metrics.job_duration.with_label_values(&[queue.name()]).observe(took);
        let final_failure =
            |message: String| Failure { message, may_pass: false, retry_after: None };
        match outcome {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) => Err(final_failure("internal error".to_owned())),
            Err(_) => {
                let limit = humantime::format_duration(limit);
                Err(final_failure(format!("the job took longer than {limit}")))
            }
        }
    }

    /// Before another try: the base delay, doubled with each failure, half of it by chance.
    fn pause(&self, failures: u32, at_least: Option<Duration>) -> Duration {
        let doubled = self.retry_base_delay.saturating_mul(2u32.saturating_pow(failures));
        let delay = doubled.min(self.retry_max_delay);
        let delay = delay.mul_f64(0.5 + 0.5 * fastrand::f64());
        delay.max(at_least.unwrap_or_default()).min(self.retry_max_delay)
    }

    /// Repeats a step until the store has taken it: what was worked for is not thrown away
    /// because the store is gone for a while.
    async fn until_stored<F>(&self, step: impl Fn() -> F) -> bool
    where
        F: Future<Output = Result<bool, StoreError>>,
    {
        let mut pause = MIN_PAUSE;
        loop {
            match self.health.see(step().await) {
                Ok(is_held) => return is_held,
                Err(error) => {
                    tracing::debug!(%error, "a job's state is not stored yet");
                    sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    /// Lets go of a hold, so that nobody has to wait for its lease to end.
    async fn release(&self, hold: Hold) {
        if let Err(error) = self.health.see(self.store.renew(&[hold], Duration::ZERO).await) {
            tracing::debug!(job = %hold.job, %error, "a hold was not released");
        }
    }

    fn count(&self, queue: Queue, outcome: &str) {
        self.metrics.job_outcomes.with_label_values(&[queue.name(), outcome]).inc();
    }
}

/// Takes a job off the list when its task ends, however it ends.
struct HeldHere<'a> {
    runner: &'a Runner,
    job: Uuid,
    ended: CancellationToken,
}

impl Drop for HeldHere<'_> {
    fn drop(&mut self) {
        self.runner.held.remove(&self.job);
        self.ended.cancel();
    }
}
