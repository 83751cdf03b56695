//! Periodic work for the queue: checks the store, renews this process's claims, stops jobs that were
//! cancelled elsewhere, wakes the workers while the store has jobs, stores the workers' heartbeats,
//! counts jobs, and tidies the store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus::{IntCounter, IntGaugeVec};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::health::Health;
use super::record::{Counts, Queue};
use super::runner::Runner;
use super::store::{MISSED_HEARTBEATS, Store};
use super::worker::Workers;
use crate::config;
use crate::telemetry::Metrics;

const COUNT_INTERVAL: Duration = Duration::from_secs(5);
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

/// Most abandoned jobs that are remembered.
const MAX_ABANDONED: usize = 1000;

/// Lost workers are removed after so many times the time after which they count as lost.
const KEEP_LOST: u32 = 10;

#[derive(Debug)]
pub(super) struct Maintenance {
    store: Store,
    runner: Arc<Runner>,
    workers: Arc<Workers>,
    health: Arc<Health>,
    every: Duration,
    heartbeat: Duration,
    gauge: IntGaugeVec,
    dropped: IntCounter,
    /// Jobs whose submission failed, but may have reached the store, or may still be on its way.
    abandoned: Mutex<VecDeque<(Queue, Uuid)>>,
}

impl Maintenance {
    pub(super) fn new(
        config: &config::Jobs,
        store: Store,
        runner: &Arc<Runner>,
        workers: &Arc<Workers>,
        health: &Arc<Health>,
        metrics: &Arc<Metrics>,
    ) -> Maintenance {
        Maintenance {
            store,
            runner: Arc::clone(runner),
            workers: Arc::clone(workers),
            health: Arc::clone(health),
            every: config.poll_interval,
            heartbeat: config.heartbeat,
            gauge: metrics.jobs.clone(),
            dropped: metrics.store_dropped.with_label_values(&["job_queue"]),
            abandoned: Mutex::default(),
        }
    }

    /// Cancels a job when the store is back, because its submitter got an error.
    pub(super) fn abandon(&self, queue: Queue, job: Uuid) {
        let mut abandoned = self.abandoned.lock();
        if abandoned.len() >= MAX_ABANDONED {
            abandoned.pop_front();
            self.dropped.inc();
        }
        abandoned.push_back((queue, job));
    }

    /// Runs until `end`.
    pub(super) async fn run(self: Arc<Self>, end: CancellationToken) {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last_heartbeat, mut last_count, mut last_tidy) = (None, None, None);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = end.cancelled() => return,
            }
            let Ok(has_jobs) = self.health.check().await else { continue };
            self.renew().await;
            self.cancel_abandoned().await;
            if has_jobs {
                Queue::ALL.into_iter().for_each(|queue| self.workers.wake(queue));
            }
            if is_time(&mut last_heartbeat, self.heartbeat) {
                let beat = self.store.heartbeat(&self.workers.list()).await;
                if let Err(error) = self.health.record(beat) {
                    tracing::debug!(%error, "the workers' heartbeat was not stored");
                }
            }
            if !has_jobs {
                self.show([Counts::default(); 3]);
            } else if is_time(&mut last_count, COUNT_INTERVAL) {
                self.count().await;
            }
            if is_time(&mut last_tidy, TIDY_INTERVAL)
                && let Err(error) = self.store.tidy(self.lost_before()).await
            {
                tracing::warn!(%error, "maintenance of the job queue failed");
            }
        }
    }

    async fn renew(&self) {
        let claims = self.runner.claims();
        if claims.is_empty() {
            return;
        }
        if let Ok(lost) = self.health.record(self.store.renew(&claims, self.runner.lease()).await) {
            lost.into_iter().for_each(|claim| self.runner.lost(claim));
        }
    }

    /// Workers without a heartbeat since this time are removed; in seconds since 1970.
    fn lost_before(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        now.saturating_sub((self.heartbeat * MISSED_HEARTBEATS * KEEP_LOST).as_secs())
    }

    async fn cancel_abandoned(&self) {
        loop {
            let next = self.abandoned.lock().pop_front();
            let Some((queue, job)) = next else { return };
            if self.health.record(self.store.abandon(queue, job).await).is_err() {
                self.abandon(queue, job);
                return;
            }
        }
    }

    async fn count(&self) {
        if let Ok(counts) = self.health.record(self.store.counts().await) {
            self.show(counts);
        }
    }

    fn show(&self, counts: [Counts; 3]) {
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

/// Whether `every` has passed since `last`. If so, sets `last` to now.
fn is_time(last: &mut Option<Instant>, every: Duration) -> bool {
    let is_due = last.is_none_or(|last: Instant| last.elapsed() >= every);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}
