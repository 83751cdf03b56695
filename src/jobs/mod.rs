//! The durable queue behind the legacy endpoints: jobs that outlive their request, and the process.
//!
//! ```text
//!  submit -> store <- claim, start - worker -> runner: run, retry, store the outcome
//! ```
//! An accepted job ends once, however often its worker dies: one claim at a time holds the job, and the
//! store accepts one result. Each queue has slots, a rate of starts and time limits. While the store can't
//! be reached, submitters get an error at once. When the store is back, the queue continues without a
//! restart. The [`JobHandler`] of the submitter does a job's work.

mod grace;
mod health;
mod maintenance;
mod record;
mod runner;
mod store;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::IntCounter;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use record::{Counts, NewJob, Queue, Record, State, UnknownName, Worker};
pub use runner::{Failure, Job, JobHandler, ProgressReporter};

use crate::config;
use crate::storage::StoreError;
use crate::telemetry::Metrics;
use health::Health;
use maintenance::Maintenance;
use runner::Runner;
use store::{MISSED_HEARTBEATS, Store, Submitted};
use worker::Workers;

/// Why a call to the queue failed.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// The store can't be reached.
    #[error("the job queue is not reachable: {0}")]
    Unreachable(String),
    /// As many jobs wait as the queue may have.
    #[error("the {queue} queue is full: {max} jobs wait")]
    Full {
        /// The queue's name.
        queue: &'static str,
        /// `jobs.max_waiting`.
        max: usize,
    },
}

/// The state of the queues, of all replicas.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// The numbers of each queue's unfinished jobs.
    pub counts: BTreeMap<&'static str, Counts>,
    /// The workers with a recent heartbeat.
    pub workers: Vec<Worker>,
}

/// The job queue of one process: it accepts jobs, and runs those of all replicas.
#[derive(Clone, Debug)]
pub struct Jobs {
    store: Store,
    health: Arc<Health>,
    runner: Arc<Runner>,
    workers: Arc<Workers>,
    maintenance: Arc<Maintenance>,
    worker_tasks: TaskTracker,
    maintenance_task: TaskTracker,
    /// Cancelled when no new job may start.
    stopping: CancellationToken,
    /// Cancelled when no job runs any more.
    idle: CancellationToken,
    max_waiting: usize,
    heartbeat: Duration,
}

/// Checks that the configured store can be used and written.
///
/// # Errors
/// When it can't be.
pub async fn check_store(config: &config::Jobs, replaced: IntCounter) -> Result<(), StoreError> {
    match Store::new(config, replaced)? {
        Some(store) => store.check(true).await.map(drop),
        None => Ok(()),
    }
}

impl Jobs {
    /// Starts the configured queue; `None` without one. The store need not be reachable yet. Call this
    /// within a tokio runtime.
    ///
    /// # Errors
    /// When the store's address is invalid.
    pub fn start(
        config: &config::Jobs,
        metrics: &Arc<Metrics>,
        handler: Arc<dyn JobHandler>,
    ) -> Result<Option<Jobs>, StoreError> {
        let replaced = metrics.store_files_replaced.with_label_values(&["job_queue"]);
        let Some(store) = Store::new(config, replaced)? else { return Ok(None) };
        let (worker_tasks, maintenance_task) = (TaskTracker::new(), TaskTracker::new());
        let (stopping, idle) = (CancellationToken::new(), CancellationToken::new());
        let health = Arc::new(Health::new(config, store.clone(), metrics));
        let runner =
            Arc::new(Runner::new(config, store.clone(), &health, handler, metrics, &stopping));
        let workers = Arc::new(Workers::new(store.clone(), &runner, &health, &stopping));
        let maintenance =
            Maintenance::new(config, store.clone(), &runner, &workers, &health, metrics);
        let maintenance = Arc::new(maintenance);
        maintenance_task.spawn(Arc::clone(&maintenance).run(idle.clone()));
        for queue in Queue::ALL {
            worker_tasks.spawn(Arc::clone(&workers).serve(queue));
        }
        Ok(Some(Jobs {
            store,
            health,
            runner,
            workers,
            maintenance,
            worker_tasks,
            maintenance_task,
            stopping,
            idle,
            max_waiting: config.max_waiting,
            heartbeat: config.heartbeat,
        }))
    }

    /// Accepts a job. Once this returns its id, the job will end, exactly once.
    ///
    /// # Errors
    /// When the store can't be reached, or too many jobs wait.
    pub async fn submit(&self, job: NewJob) -> Result<Uuid, JobsError> {
        self.health.ensure_up()?;
        // Ids sort by time, and workers claim jobs in the order of their ids.
        let id = Uuid::now_v7();
        match self.health.record(self.store.submit(id, &job).await) {
            Ok(Submitted::Accepted) => {
                self.workers.wake(job.queue);
                Ok(id)
            }
            Ok(Submitted::Full) => {
                Err(JobsError::Full { queue: job.queue.name(), max: self.max_waiting })
            }
            Err(error) => {
                // The store may have accepted the job, but its submitter gets an error.
                self.maintenance.abandon(job.queue, id);
                Err(error)
            }
        }
    }

    /// A job's record; `None` if it is unknown, or its result is no longer kept.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn record(&self, id: Uuid) -> Result<Option<Record>, JobsError> {
        self.health.ensure_up()?;
        self.health.record(self.store.record(id).await)
    }

    /// Cancels a job that waits or runs. Nothing happens if it has ended or is unknown.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn cancel(&self, id: Uuid) -> Result<(), JobsError> {
        self.health.ensure_up()?;
        self.health.record(self.store.cancel(id).await)?;
        self.runner.cancel(id);
        Ok(())
    }

    /// The state of the queues.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn stats(&self) -> Result<Stats, JobsError> {
        self.health.ensure_up()?;
        let counts = self.health.record(self.store.counts().await)?;
        let workers = self.health.record(self.store.workers().await)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let lost = now.saturating_sub((self.heartbeat * MISSED_HEARTBEATS).as_secs());
        Ok(Stats {
            counts: Queue::ALL.iter().map(|queue| queue.name()).zip(counts).collect(),
            workers: workers.into_iter().filter(|worker| worker.seen > lost).collect(),
        })
    }

    /// Stops starting jobs, and waits for the running jobs. If the process ends before a job does, the
    /// job's claim lapses, and another worker runs the job again.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.worker_tasks.close();
        self.worker_tasks.wait().await;
        self.runner.idle().await;
        self.idle.cancel();
        self.maintenance_task.close();
        self.maintenance_task.wait().await;
    }
}
