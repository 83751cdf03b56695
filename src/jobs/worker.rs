//! The workers of one process, one for each queue.
//!
//! A worker claims its queue's next job when it has a free slot, starts the job when the queue's rate
//! allows, and lets the job run in a task of its own. It then claims the next job, so that jobs start in
//! the order of their submission. It polls the store when it is woken: at once when this process submits
//! a job, and at intervals while the store has unfinished jobs.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::health::Health;
use super::record::{Claim, Queue, Worker};
use super::runner::Runner;
use super::store::Store;

#[derive(Debug)]
pub(super) struct Workers {
    /// A unique id of this process, which distinguishes its workers from those of any other process.
    process: String,
    store: Store,
    runner: Arc<Runner>,
    health: Arc<Health>,
    stopping: CancellationToken,
    wakes: [Notify; 3],
}

impl Workers {
    pub(super) fn new(
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
            wakes: std::array::from_fn(|_| Notify::new()),
        }
    }

    /// Makes the queue's worker poll the store now.
    pub(super) fn wake(&self, queue: Queue) {
        self.wakes(queue).notify_one();
    }

    fn wakes(&self, queue: Queue) -> &Notify {
        let [analysis, chat, test] = &self.wakes;
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
        loop {
            let slot = tokio::select! {
                slot = self.runner.slot(queue) => slot,
                () = self.stopping.cancelled() => return,
            };
            let Some(slot) = slot else { return };
            let (turn, claim) = loop {
                // Nothing renews a claim that waits for its turn, so the turn comes first.
                let turn = tokio::select! {
                    turn = self.runner.turn(queue) => turn,
                    () = self.stopping.cancelled() => return,
                };
                // Dropping a call to the store could leave a claim without a worker.
                if let Some(claim) = self.claim(queue).await {
                    break (turn, claim);
                }
                drop(turn);
                tokio::select! {
                    () = self.wakes(queue).notified() => {}
                    () = self.stopping.cancelled() => return,
                }
            };
            self.runner.start(claim, turn, slot).await;
        }
    }

    /// The next job, if the store can be reached and has one.
    async fn claim(&self, queue: Queue) -> Option<Claim> {
        if self.stopping.is_cancelled() || !self.health.is_up() {
            return None;
        }
        let running = self.runner.running(queue);
        let (lease, takes_over) = (self.runner.lease(), self.health.may_take_over());
        let claimed = self.store.claim(queue, lease, takes_over, &running).await;
        self.health.record(claimed).ok().flatten()
    }
}
