//! What has to be done again and again for the queue: see whether the store is there, keep this
//! process's holds, notice that jobs were cancelled elsewhere, count, tidy.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{IntCounter, IntGaugeVec};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::health::Health;
use super::record::Queue;
use super::runner::Runner;
use super::store::Store;
use crate::config;
use crate::telemetry::Metrics;

const COUNT_EVERY: Duration = Duration::from_secs(5);
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// Jobs remembered whose submission may have gone through unnoticed.
const MAX_FORSAKEN: usize = 1000;

#[derive(Debug)]
pub(super) struct Upkeep {
    store: Store,
    runner: Arc<Runner>,
    health: Arc<Health>,
    every: Duration,
    gauge: IntGaugeVec,
    dropped: IntCounter,
    forsaken: Mutex<VecDeque<Uuid>>,
}

impl Upkeep {
    pub(super) fn new(
        config: &config::Jobs,
        store: Store,
        runner: &Arc<Runner>,
        health: &Arc<Health>,
        metrics: &Arc<Metrics>,
    ) -> Upkeep {
        Upkeep {
            store,
            runner: Arc::clone(runner),
            health: Arc::clone(health),
            every: config.poll_interval,
            gauge: metrics.jobs.clone(),
            dropped: metrics.store_dropped.with_label_values(&["job_queue"]),
            forsaken: Mutex::default(),
        }
    }

    /// Has a job cancelled when the store is back: whoever submitted it does without.
    pub(super) fn forsake(&self, job: Uuid) {
        let mut forsaken = self.forsaken.lock().unwrap_or_else(PoisonError::into_inner);
        if forsaken.len() >= MAX_FORSAKEN {
            forsaken.pop_front();
            self.dropped.inc();
        }
        forsaken.push_back(job);
    }

    /// Runs until `end`.
    pub(super) async fn run(self: Arc<Self>, end: CancellationToken) {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut counted, mut tidied) = (None, None);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = end.cancelled() => return,
            }
            if !self.health.check().await {
                continue;
            }
            self.renew().await;
            self.cancel_forsaken().await;
            if is_time(&mut counted, COUNT_EVERY) {
                self.count().await;
            }
            if is_time(&mut tidied, TIDY_EVERY)
                && let Err(error) = self.store.tidy().await
            {
                tracing::warn!(%error, "maintenance of the job queue failed");
            }
        }
    }

    async fn renew(&self) {
        let holds = self.runner.holds();
        if holds.is_empty() {
            return;
        }
        if let Ok(lost) = self.health.see(self.store.renew(&holds, self.runner.lease()).await) {
            lost.into_iter().for_each(|hold| self.runner.lost(hold));
        }
    }

    async fn cancel_forsaken(&self) {
        loop {
            let next = self.forsaken.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(job) = next else { return };
            if self.health.see(self.store.cancel(job).await).is_err() {
                self.forsake(job);
                return;
            }
        }
    }

    async fn count(&self) {
        let Ok(counts) = self.health.see(self.store.counts().await) else { return };
        for (queue, counts) in Queue::ALL.iter().zip(counts) {
            let states = [
                ("waiting", counts.waiting),
                ("reserved", counts.reserved),
                ("running", counts.running),
            ];
            for (state, count) in states {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                self.gauge.with_label_values(&[queue.name(), state]).set(count);
            }
        }
    }
}

/// Whether something that is to happen `every` so long is due, and if so notes that it happens.
fn is_time(last: &mut Option<Instant>, every: Duration) -> bool {
    let is_due = last.is_none_or(|last: Instant| last.elapsed() >= every);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}
