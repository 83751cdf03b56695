//! The durable queue behind the legacy endpoints: jobs that outlive their request, and the process.
//!
//! ```text
//!  submit -> store: record and ticket -> a worker gets the ticket -> runner: start, work, end
//! ```
//! A job that was accepted is done once, however often its worker dies: the store gives it to one
//! hold at a time and takes one end of it. Queues have a pool of workers, a rate of starts and
//! time limits each. When the store can't be reached, submitters are told at once, and told again
//! when it is back; nothing here needs a restart. What a job does is its submitter's [`Work`].

mod health;
mod record;
mod runner;
mod store;
mod upkeep;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use record::{Counts, NewJob, Queue, Record, State, Unknown, Worker};
pub use runner::{Claimed, Failure, Reporter, Work};
pub use store::StoreError;

use crate::config;
use crate::telemetry::Metrics;
use health::Health;
use runner::Runner;
use store::{MISSED_HEARTBEATS, Store, Submitted};
use upkeep::Upkeep;
use worker::Workers;

/// Why the queue did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// Its store can't be reached.
    #[error("the job queue is not reachable: {0}")]
    Unreachable(String),
    /// As many jobs wait as may.
    #[error("the {queue} queue is full: {max} jobs wait")]
    Full {
        /// The queue's name.
        queue: &'static str,
        /// `jobs.max_waiting`.
        max: usize,
    },
}

/// What goes on in the queues of all replicas.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// What each queue's jobs amount to.
    pub counts: BTreeMap<&'static str, Counts>,
    /// The workers that were seen lately.
    pub workers: Vec<Worker>,
}

/// The queue of one process: it takes jobs, and works at those of all replicas.
#[derive(Clone, Debug)]
pub struct Jobs {
    store: Store,
    health: Arc<Health>,
    runner: Arc<Runner>,
    workers: Arc<Workers>,
    upkeep: Arc<Upkeep>,
    tasks: TaskTracker,
    /// No new work.
    stopping: CancellationToken,
    /// No work under way any more.
    idle: CancellationToken,
    max_waiting: usize,
    heartbeat: Duration,
}

impl Jobs {
    /// Starts the workers of a config, if it has a queue. The store need not be there yet. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// When the store's address makes no sense.
    pub fn start(
        config: &config::Jobs,
        metrics: &Arc<Metrics>,
        work: Arc<dyn Work>,
    ) -> Result<Option<Jobs>, StoreError> {
        let replaced = metrics.store_files_replaced.with_label_values(&["job_queue"]);
        let Some(store) = Store::new(config, replaced)? else { return Ok(None) };
        let tasks = TaskTracker::new();
        let (stopping, idle) = (CancellationToken::new(), CancellationToken::new());
        let health = Arc::new(Health::new(store.clone(), metrics));
        let runner =
            Arc::new(Runner::new(config, store.clone(), &health, work, metrics, &stopping));
        let workers = Arc::new(Workers::new(config, store.clone(), &runner, &health, &stopping));
        let upkeep = Arc::new(Upkeep::new(config, store.clone(), &runner, &health, metrics));
        tasks.spawn(Arc::clone(&upkeep).run(idle.clone()));
        for queue in Queue::ALL {
            tasks.spawn(Arc::clone(&workers).serve(queue));
        }
        Ok(Some(Jobs {
            store,
            health,
            runner,
            workers,
            upkeep,
            tasks,
            stopping,
            idle,
            max_waiting: config.max_waiting,
            heartbeat: config.heartbeat,
        }))
    }

    /// Accepts a job. Once this returns its id, the job will come to an end, and once only.
    ///
    /// # Errors
    /// When the store can't be reached, or too many jobs wait.
    pub async fn submit(&self, job: NewJob) -> Result<Uuid, JobsError> {
        self.health.expect()?;
        // In the order of time, so that jobs of one second are delivered in their order.
        let id = Uuid::now_v7();
        match self.health.see(self.store.submit(id, &job).await) {
            Ok(Submitted::Accepted) => {
                self.workers.look(job.queue);
                Ok(id)
            }
            Ok(Submitted::Full) => {
                Err(JobsError::Full { queue: job.queue.name(), max: self.max_waiting })
            }
            Err(error) => {
                // It may have been kept all the same, and its submitter goes another way now.
                self.upkeep.forsake(id);
                Err(error)
            }
        }
    }

    /// A job as it stands; `None` if it is not known, or its result is no longer kept.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn record(&self, id: Uuid) -> Result<Option<Record>, JobsError> {
        self.health.expect()?;
        self.health.see(self.store.record(id).await)
    }

    /// Cancels a job that waits or runs; one that has ended, or is not known, stays as it is.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn cancel(&self, id: Uuid) -> Result<(), JobsError> {
        self.health.expect()?;
        self.health.see(self.store.cancel(id).await)?;
        self.runner.cancel(id);
        Ok(())
    }

    /// What goes on in the queues.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn stats(&self) -> Result<Stats, JobsError> {
        self.health.expect()?;
        let counts = self.health.see(self.store.counts().await)?;
        let workers = self.health.see(self.store.workers().await)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let lost = now.saturating_sub((self.heartbeat * MISSED_HEARTBEATS).as_secs());
        Ok(Stats {
            counts: Queue::ALL.iter().map(|queue| queue.name()).zip(counts).collect(),
            workers: workers.into_iter().filter(|worker| worker.seen > lost).collect(),
        })
    }

    /// Stops to take new work and waits until what runs has come to its end. What has not when
    /// the process ends is given to another worker once its hold is over.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.runner.idle().await;
        self.idle.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
