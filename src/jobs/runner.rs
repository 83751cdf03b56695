//! Runs a claimed job: starts it when the queue's rate allows, runs it within its time limits, retries it
//! after transient failures, and stores its result.
//!
//! Each job runs in a task of its own. If the store fails meanwhile, the job continues, and its result is
//! stored when the store is back.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::health::Health;
use super::record::{Claim, JobResult, Queue};
use super::store::{ClaimLimits, MISSED_HEARTBEATS, Start, Store};
use crate::config;
use crate::storage::StoreError;
use crate::system::time::{sleep, timeout};
use crate::telemetry::Metrics;

/// Shortest and longest pause before a failed call to the store is repeated.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Longest sleep before the store is asked again whether a job may start.
const MAX_START_PAUSE: Duration = Duration::from_secs(5);

/// Does the work of jobs.
pub trait JobHandler: Send + Sync + 'static {
    /// Runs one try of a job. All its work must stop when the future is dropped.
    fn run(
        &self,
        job: Job,
        progress: ProgressReporter,
    ) -> BoxFuture<'static, Result<Value, Failure>>;
}

/// One try of a job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: Uuid,
    /// Its queue.
    pub queue: Queue,
    /// What was submitted.
    pub payload: Value,
    /// When the handler should end by itself. The time limit, soon after, drops its future.
    pub soft_deadline: Instant,
    /// Whether this try is the last one.
    pub is_last_try: bool,
}

/// Why a try failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The message for the submitter.
    pub message: String,
    /// Whether another try may succeed.
    pub is_transient: bool,
    /// Shortest wait before another try.
    pub retry_after: Option<Duration>,
}

/// Reports a job's progress to the store.
#[derive(Clone, Debug)]
pub struct ProgressReporter {
    store: Store,
    health: Arc<Health>,
    claim: Claim,
}

impl ProgressReporter {
    /// Records the progress in percent. A failed report is logged, and the job continues.
    pub async fn report(&self, percent: u8) {
        let stored = self.store.progress(self.claim, percent.min(100)).await;
        if let Err(error) = self.health.record(stored) {
            tracing::debug!(job = %self.claim.job, %error, "the progress of a job was not stored");
        }
    }
}

/// A queue's limits, and the jobs within them in this process.
#[derive(Debug)]
struct QueueRuntime {
    config: config::JobQueue,
    limits: ClaimLimits,
    /// One permit for each job that may run at once.
    slots: Arc<Semaphore>,
    /// Held while a job waits for the queue's rate, so that jobs start in order.
    start_lock: Arc<Mutex<()>>,
}

/// The right to start the next job of a queue in this process.
pub(super) type Turn = OwnedMutexGuard<()>;

/// The state of a claim of this process.
#[derive(Clone, Debug)]
struct ClaimState {
    claim: Claim,
    /// Whether the store has the claim's token. Only such claims are renewed.
    is_stored: Arc<AtomicBool>,
    cancel: CancellationToken,
}

/// Keeps a claim in the runner's list until dropped.
struct ActiveClaim {
    runner: Arc<Runner>,
    state: ClaimState,
}

impl Drop for ActiveClaim {
    fn drop(&mut self) {
        self.runner.claims.remove(&self.state.claim.job);
    }
}

pub(super) struct Runner {
    store: Store,
    health: Arc<Health>,
    handler: Arc<dyn JobHandler>,
    queues: [QueueRuntime; 3],
    /// By the job's id.
    claims: DashMap<Uuid, ClaimState>,
    lease: Duration,
    retry_base_delay: Duration,
    retry_max_delay: Duration,
    tasks: TaskTracker,
    stopping: CancellationToken,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("claims", &self.claims.len()).finish_non_exhaustive()
    }
}

impl Runner {
    pub(super) fn new(
        config: &config::Jobs,
        store: Store,
        health: &Arc<Health>,
        handler: Arc<dyn JobHandler>,
        metrics: &Arc<Metrics>,
        stopping: &CancellationToken,
    ) -> Runner {
        let lease = config.heartbeat * MISSED_HEARTBEATS;
        let runtime = |queue: &config::JobQueue| QueueRuntime {
            config: queue.clone(),
            limits: ClaimLimits { starts: queue.per_minute, window: config.rate_window, lease },
            slots: Arc::new(Semaphore::new(queue.workers)),
            start_lock: Arc::default(),
        };
        Runner {
            store,
            health: Arc::clone(health),
            handler,
            queues: [runtime(&config.analysis), runtime(&config.chat), runtime(&config.test)],
            claims: DashMap::new(),
            lease,
            retry_base_delay: config.retry_base_delay,
            retry_max_delay: config.retry_max_delay,
            tasks: TaskTracker::new(),
            stopping: stopping.clone(),
            metrics: Arc::clone(metrics),
        }
    }

    fn queue(&self, queue: Queue) -> &QueueRuntime {
        let [analysis, chat, test] = &self.queues;
        match queue {
            Queue::Analysis => analysis,
            Queue::Chat => chat,
            Queue::Test => test,
        }
    }

    /// Waits for a free slot of a queue.
    pub(super) async fn slot(&self, queue: Queue) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.queue(queue).slots).acquire_owned().await.ok()
    }

    /// Waits until the next job of a queue may start here.
    pub(super) async fn turn(&self, queue: Queue) -> Turn {
        Arc::clone(&self.queue(queue).start_lock).lock_owned().await
    }

    /// Starts a claimed job when its queue's rate allows, in a task that holds the slot. If the process
    /// stops first, the claim is released.
    pub(super) async fn start(
        self: &Arc<Self>,
        claim: Claim,
        turn: Turn,
        slot: OwnedSemaphorePermit,
    ) {
        let state =
            ClaimState { claim, is_stored: Arc::default(), cancel: CancellationToken::new() };
        self.claims.insert(claim.job, state.clone());
        let active = ActiveClaim { runner: Arc::clone(self), state };
        if let Some(started) = self.started_or_released(&active.state, Some(turn)).await {
            let runner = Arc::clone(self);
            self.tasks.spawn(async move {
                runner.run(&active.state, started).await;
                drop((active, slot));
            });
        }
    }

    /// The ids of a queue's jobs that this process has claimed.
    pub(super) fn running(&self, queue: Queue) -> Vec<Uuid> {
        let claims = self.claims.iter().filter(|state| state.claim.queue == queue);
        claims.map(|state| state.claim.job).collect()
    }

    /// Stops a job that this process has claimed.
    pub(super) fn cancel(&self, job: Uuid) {
        if let Some(state) = self.claims.get(&job) {
            state.cancel.cancel();
        }
    }

    /// The claims to renew.
    pub(super) fn claims(&self) -> Vec<Claim> {
        let stored = self.claims.iter().filter(|state| state.is_stored.load(Ordering::Acquire));
        stored.map(|state| state.claim).collect()
    }

    /// How long a claim lasts without renewal.
    pub(super) fn lease(&self) -> Duration {
        self.lease
    }

    /// Stops a job whose claim is lost: the job was cancelled, or another worker has claimed it.
    pub(super) fn lost(&self, claim: Claim) {
        if let Some(state) = self.claims.get(&claim.job).filter(|state| state.claim == claim) {
            state.cancel.cancel();
        }
    }

    /// Waits until no job runs. Call this after the workers have ended.
    pub(super) async fn idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Runs a started job to its end, with its retries.
    async fn run(&self, state: &ClaimState, mut started: Started) {
        let claim = state.claim;
        loop {
            let is_last_try = started.failures >= self.queue(claim.queue).config.retries;
            let attempted = tokio::select! {
                attempted = self.attempt(claim, started.payload, is_last_try) => attempted,
                () = state.cancel.cancelled() => {
                    self.count(claim.queue, "cancelled");
                    return;
                }
            };
            let result = match attempted {
                Ok(value) => JobResult::Done(value),
                Err(failure) if failure.is_transient && !is_last_try => {
                    let message = failure.message.as_str();
                    if !self.until_stored(|| self.store.retry(claim, message)).await {
                        return;
                    }
                    self.count(claim.queue, "retried");
                    tracing::info!(job = %claim.job, error = message, "the job will be retried");
                    let delay = self.retry_delay(started.failures, failure.retry_after);
                    tokio::select! {
                        () = sleep(delay) => {}
                        () = state.cancel.cancelled() => return,
                        () = self.stopping.cancelled() => return self.release(claim).await,
                    }
                    match self.started_or_released(state, None).await {
                        Some(again) => started = again,
                        None => return,
                    }
                    continue;
                }
                Err(failure) => JobResult::Failed(failure.message),
            };
            let label = if matches!(result, JobResult::Done(_)) { "done" } else { "failed" };
            let is_stored = self.until_stored(|| self.store.finish(claim, &result)).await;
            self.count(claim.queue, if is_stored { label } else { "lost" });
            return;
        }
    }

    /// Waits until a claimed job may start, first for its `turn` if it has none; `None` if this
    /// process must not run it.
    async fn started_or_released(&self, state: &ClaimState, turn: Option<Turn>) -> Option<Started> {
        tokio::select! {
            started = self.started(state, turn) => started,
            () = state.cancel.cancelled() => None,
            () = self.stopping.cancelled() => {
                self.release(state.claim).await;
                None
            }
        }
    }

    async fn started(&self, state: &ClaimState, turn: Option<Turn>) -> Option<Started> {
        let (claim, limits) = (state.claim, self.queue(state.claim.queue).limits);
        let _turn = match turn {
            Some(turn) => turn,
            None => self.turn(claim.queue).await,
        };
        let mut pause = MIN_PAUSE;
        loop {
            let takes_over = self.health.may_take_over();
            match self.health.record(self.store.start(claim, limits, takes_over).await) {
                Ok(Start::Run { payload, failures }) => {
                    state.is_stored.store(true, Ordering::Release);
                    return Some(Started { payload, failures });
                }
                Ok(Start::NotYet(due)) => {
                    state.is_stored.store(true, Ordering::Release);
                    sleep(due.min(MAX_START_PAUSE)).await;
                }
                Ok(Start::Held(due)) => {
                    tracing::debug!(job = %claim.job, ?due, "another worker has the job");
                    return None;
                }
                Ok(Start::Ended) => return None,
                Err(error) => {
                    tracing::debug!(job = %claim.job, %error, "the job can't be started yet");
                    sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    /// Runs one try within its time limits. A panic counts as a failure of the job.
    async fn attempt(
        &self,
        claim: Claim,
        payload: Value,
        is_last_try: bool,
    ) -> Result<Value, Failure> {
        let config = &self.queue(claim.queue).config;
        let began = Instant::now();
        let job = Job {
            id: claim.job,
            queue: claim.queue,
            payload,
            soft_deadline: began + config.soft_time_limit,
            is_last_try,
        };
        let (store, health) = (self.store.clone(), Arc::clone(&self.health));
        let progress = ProgressReporter { store, health, claim };
        let run = AssertUnwindSafe(self.handler.run(job, progress)).catch_unwind();
        let result = timeout(config.time_limit, run).await;
        let took = began.elapsed().as_secs_f64();
        self.metrics.job_duration.with_label_values(&[claim.queue.name()]).observe(took);
        let permanent =
            |message: String| Failure { message, is_transient: false, retry_after: None };
        match result {
            Ok(Ok(result)) => result,
            Ok(Err(_panic)) => Err(permanent("internal error".to_owned())),
            Err(_) => {
                let limit = humantime::format_duration(config.time_limit);
                Err(permanent(format!("the job took longer than {limit}")))
            }
        }
    }

    /// The wait before a retry: the base delay, doubled with each failure, up to half of it random.
    fn retry_delay(&self, failures: u32, at_least: Option<Duration>) -> Duration {
        let doubled = self.retry_base_delay.saturating_mul(2u32.saturating_pow(failures));
        let delay = doubled.min(self.retry_max_delay);
        let delay = delay.mul_f64(0.5 + 0.5 * fastrand::f64());
        delay.max(at_least.unwrap_or_default()).min(self.retry_max_delay)
    }

    /// Repeats a call until the store answers, so that a result survives an outage of the store. False if
    /// the claim is lost.
    async fn until_stored<F>(&self, call: impl Fn() -> F) -> bool
    where
        F: Future<Output = Result<bool, StoreError>>,
    {
        let mut pause = MIN_PAUSE;
        loop {
            match self.health.record(call().await) {
                Ok(is_held) => return is_held,
                Err(error) => {
                    tracing::debug!(%error, "a job's state is not stored yet");
                    sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    /// Releases a claim, so that no worker has to wait until its lease lapses.
    async fn release(&self, claim: Claim) {
        if let Err(error) = self.health.record(self.store.release(claim).await) {
            tracing::debug!(job = %claim.job, %error, "a claim was not released");
        }
    }

    fn count(&self, queue: Queue, outcome: &str) {
        self.metrics.job_outcomes.with_label_values(&[queue.name(), outcome]).inc();
    }
}

/// The store's data of a job that starts.
struct Started {
    payload: Value,
    failures: u32,
}
