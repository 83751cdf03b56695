//! The task that tells the store what was spent, and hears from it what others have.
//!
//! It tells what was added since the last time as soon as something was, and at its end; and asks
//! what others have every `budget_flush`. So a process that is killed loses what was under way, and
//! what ended within [`TELLING_PAUSE`]. While the store is gone the process goes on with what it
//! knows, and tells all of it when it is back.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus::{IntCounter, IntGauge};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::ledger::Ledgers;
use super::usd;
use crate::config::State;
use crate::state::budgets::{Entry, Store, StoreError};
use crate::system::time::{sleep, timeout};
use crate::telemetry::Metrics;

/// How long the start waits to hear what was spent before, and the end for the last flush.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a store that is gone is tried, and how often while the process stops.
const RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_millis(250);

/// How often a store is written that nothing is told.
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// Shortest time between two tellings, so that many requests make one.
const TELLING_PAUSE: Duration = Duration::from_millis(50);

/// The task that keeps the sums of budgets.
#[derive(Debug)]
pub struct Keeper {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

struct Work {
    ledgers: Arc<Ledgers>,
    store: Store,
    dropped: IntCounter,
    gauge: IntGauge,
    is_up: Option<bool>,
    /// Whether the file of the store was seen to be another one, or none.
    is_elsewhere: bool,
}

impl Keeper {
    /// Hears what was spent before, if the store can say so in time, and keeps the sums from here
    /// on.
    ///
    /// # Errors
    /// When the store's URL makes no sense.
    pub async fn start(
        config: &State,
        ledgers: &Arc<Ledgers>,
        metrics: &Metrics,
    ) -> Result<Keeper, StoreError> {
        let replaced = metrics.store_files_replaced.with_label_values(&["budgets"]);
        let mut work = Work {
            ledgers: Arc::clone(ledgers),
            store: Store::new(&config.budgets, replaced)?,
            dropped: metrics.store_dropped.with_label_values(&["budgets"]),
            gauge: metrics.dependency_up.with_label_values(&["budgets"]),
            is_up: None,
            is_elsewhere: false,
        };
        if matches!(work.store, Store::Memory) {
            // Nothing that it depends on.
            let _ = metrics.dependency_up.remove_label_values(&["budgets"]);
            let _ = metrics.store_files_replaced.remove_label_values(&["budgets"]);
            let _ = metrics.store_dropped.remove_label_values(&["budgets"]);
        }
        work.flush().await;
        let stop = CancellationToken::new();
        let task = tokio::spawn(work.run(config.budget_flush, stop.clone()));
        Ok(Keeper { task, stop })
    }

    /// Tells the store the last of it, and tries again for a while if it is gone.
    pub async fn stop(self) {
        self.stop.cancel();
        let mut task = self.task;
        if timeout(PATIENCE, &mut task).await.is_err() {
            task.abort();
            tracing::error!(
                "lost what clients have spent since the budget store became unreachable"
            );
        }
    }
}

impl Work {
    async fn run(mut self, every: Duration, stop: CancellationToken) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut checks = interval(CHECK_EVERY);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ledgers = Arc::clone(&self.ledgers);
        loop {
            let is_gone = self.is_gone();
            tokio::select! {
                _ = ticks.tick() => {
                    self.is_elsewhere = self.store.is_elsewhere().await;
                    self.flush().await;
                }
                _ = checks.tick(), if !is_gone => self.check().await,
                () = sleep(RETRY), if is_gone => self.flush().await,
                () = ledgers.something_is_spent(), if !is_gone => {
                    self.flush().await;
                    tokio::select! {
                        () = sleep(TELLING_PAUSE) => {}
                        () = stop.cancelled() => break,
                    }
                }
                () = stop.cancelled() => break,
            }
        }
        self.flush().await;
        while self.is_gone() && self.ledgers.untold() > 0 {
            sleep(LAST_RETRY).await;
            self.flush().await;
        }
    }

    fn is_gone(&self) -> bool {
        self.is_up == Some(false)
    }

    /// Sees whether the store could be written if there were something to write.
    async fn check(&mut self) {
        if self.is_up.is_some() {
            let outcome = self.store.check().await;
            self.is_now(outcome.map_err(|error| error.to_string()));
        }
    }

    async fn flush(&mut self) {
        if self.is_gone()
            && let Err(error) = self.store.check().await
        {
            return self.is_now(Err(error.to_string()));
        }
        let may_have_lost = self.is_elsewhere || self.store.was_reopened();
        if may_have_lost {
            self.ledgers.restore();
        }
        // Nobody else writes to a file, so what is known of it stays so.
        let every = matches!(self.store, Store::Redis(_));
        let entries = self.ledgers.entries(every, SystemTime::now());
        self.count_dropped();
        if entries.is_empty() && !self.is_gone() {
            return;
        }
        let told = self.tell(&entries).await;
        // A store that has lost something says so in its answer; it is told what is known.
        let lost =
            if told.is_ok() { self.ledgers.entries(false, SystemTime::now()) } else { vec![] };
        let lost: Vec<Entry> = lost.into_iter().filter(|entry| entry.restores).collect();
        let told = if lost.is_empty() { told } else { self.tell(&lost).await };
        if may_have_lost && told.is_ok() {
            self.store.has_all();
            self.is_elsewhere = false;
        }
        self.is_now(told.map_err(|error| error.to_string()));
    }

    async fn tell(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let now = SystemTime::now();
        let sums = self.store.add(entries, now).await?;
        self.ledgers.told(entries, &sums, now);
        Ok(())
    }

    fn count_dropped(&self) {
        let dropped = self.ledgers.take_dropped();
        if dropped > 0 {
            self.dropped.inc();
            tracing::error!(
                usd = usd(dropped),
                "the budget store was unreachable for too many days: dropping the oldest spending"
            );
        }
    }

    fn is_now(&mut self, state: Result<(), String>) {
        let was_up = self.is_up.replace(state.is_ok());
        self.gauge.set(i64::from(state.is_ok()));
        match state {
            Ok(()) if was_up == Some(false) => tracing::info!("the budget store is reachable"),
            Err(error) if was_up != Some(false) => {
                tracing::error!(
                    %error,
                    "the budget store is not reachable: budgets continue with the last known totals"
                );
            }
            _ => {}
        }
    }
}
