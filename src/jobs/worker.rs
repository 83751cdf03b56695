//! The workers of one process, one for each queue.
//!
//! A worker claims its queue's next job when it has a free slot, starts the job when the queue's rate
//! allows, and lets the job run in a task of its own. It then claims the next job, so that jobs start in
//! the order of their submission. It polls the store at intervals, and at once when this process submits a
//! job.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::health::Health;
use super::record::{Claim, Queue, Worker};
use super::runner::Runner;
use super::store::Store;
use crate::config;

#[derive(Debug)]
pub(super) struct Workers {
    /// A unique id of this process, which distinguishes its workers from those of any other process.
    process: String,
    store: Store,
    runner: Arc<Runner>,
    health: Arc<Health>,
    stopping: CancellationToken,
    poll_interval: Duration,
    submitted: [Notify; 3],
}

impl Workers {
    pub(super) fn new(
        config: &config::Jobs,
        store: Store,
        runner: &Arc<Runner>,
        health: &Arc<Health>,
        stopping: &CancellationToken,
    ) -> Workers {
        Workers {
            process: Uuid::new_v4().simple().to_string(),
            store,
            runner: Arc::clone(runner),
            health: Arc::clone(health),
            stopping: stopping.clone(),
            poll_interval: config.poll_interval,
            submitted: std::array::from_fn(|_| Notify::new()),
        }
    }

    /// Makes the queue's worker poll the store now.
    pub(super) fn wake(&self, queue: Queue) {
        self.submitted(queue).notify_one();
    }

    fn submitted(&self, queue: Queue) -> &Notify {
        let [analysis, chat, test] = &self.submitted;
        match queue {
            Queue::Analysis => analysis,
            Queue::Chat => chat,
            Queue::Test => test,
        }
    }

    /// The workers with the current time as their last heartbeat.
    pub(super) fn list(&self) -> Vec<Worker> {
        let seen = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let worker = |queue: Queue| {
            let name = format!("{}-{}", self.process, queue.name());
            Worker { name, queue, seen }
        };
        Queue::ALL.into_iter().map(worker).collect()
    }

    /// Works on a queue until the process stops.
    pub(super) async fn serve(self: Arc<Self>, queue: Queue) {
        let mut polls = interval(self.poll_interval);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let slot = tokio::select! {
                slot = self.runner.slot(queue) => slot,
                () = self.stopping.cancelled() => return,
            };
            let Some(slot) = slot else { return };
            let claim = loop {
                // Dropping a call to the store could leave a claim without a worker.
                if let Some(claim) = self.claim(queue).await {
                    break claim;
                }
                tokio::select! {
                    _ = polls.tick() => {}
                    () = self.submitted(queue).notified() => {}
                    () = self.stopping.cancelled() => return,
                }
            };
            self.runner.start(claim, slot).await;
        }
    }

    /// The next job, if the store can be reached and has one.
    async fn claim(&self, queue: Queue) -> Option<Claim> {
        if self.stopping.is_cancelled() || !self.health.is_up() {
            return None;
        }
        let running = self.runner.running(queue);
        let claimed = self.store.claim(queue, self.runner.lease(), &running).await;
        self.health.record(claimed).ok().flatten()
    }
}
