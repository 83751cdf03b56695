//! Syncs the sums of budgets and of daily quotas with their store.
//!
//! The task writes what was spent as soon as something was, and once more at its end. It reads what
//! other processes have spent every `budget_flush`. So a process that is killed loses the requests in
//! flight, and what ended within [`PUSH_INTERVAL`]. While the store is down, the process counts on
//! with what it knows, and writes all of it when the store is back.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus::IntCounter;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::ledger::BudgetLedgers;
use super::usd;
use crate::config::State;
use crate::quota::DailyQuotas;
use crate::storage::StoreError;
use crate::storage::sums::{Entry, Store};
use crate::system::time::{sleep, timeout};
use crate::telemetry::{Dependencies, Metrics};

/// Longest wait for the last flush when the process stops.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Time between two tries of a store that is down, and between two while the process stops.
const RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_millis(250);

/// Time between two checks whether the store can be written, while there is nothing to write.
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// Shortest time between two writes, so that many requests share one.
const PUSH_INTERVAL: Duration = Duration::from_millis(50);

/// The label of the store in metrics.
const DEPENDENCY: &str = "budgets";

/// The task that syncs the sums of budgets and of daily quotas.
#[derive(Debug)]
pub struct BudgetSync {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

struct SyncTask {
    ledgers: Arc<BudgetLedgers>,
    daily_quotas: Arc<DailyQuotas>,
    store: Store,
    dropped: IntCounter,
    /// Has a sample of the store while a budget uses it.
    dependencies: Arc<Dependencies>,
    is_up: Option<bool>,
    /// Whether the file of the store was replaced or removed.
    file_replaced: bool,
}

impl BudgetSync {
    /// Reads what was spent before, if the store is up, and starts the task.
    ///
    /// # Errors
    /// When the store's URL is not valid.
    pub async fn start(
        config: &State,
        ledgers: &Arc<BudgetLedgers>,
        daily_quotas: &Arc<DailyQuotas>,
        metrics: &Metrics,
    ) -> Result<BudgetSync, StoreError> {
        let replaced = metrics.store_files_replaced.with_label_values(&[DEPENDENCY]);
        let mut work = SyncTask {
            ledgers: Arc::clone(ledgers),
            daily_quotas: Arc::clone(daily_quotas),
            store: Store::new(&config.budgets, replaced)?,
            dropped: metrics.store_dropped.with_label_values(&[DEPENDENCY]),
            dependencies: Arc::clone(&metrics.dependencies),
            is_up: None,
            file_replaced: false,
        };
        if matches!(work.store, Store::Memory) {
            // There is no store that could be down.
            let _ = metrics.store_files_replaced.remove_label_values(&[DEPENDENCY]);
            let _ = metrics.store_dropped.remove_label_values(&[DEPENDENCY]);
        }
        if matches!(work.store, Store::Redis(_)) {
            daily_quotas.share_by_claims();
        }
        work.flush().await;
        let stop = CancellationToken::new();
        let task = tokio::spawn(work.run(config.budget_flush, stop.clone()));
        Ok(BudgetSync { task, stop })
    }

    /// Writes the last spending, and retries for a while if the store is down.
    pub async fn stop(self) {
        self.stop.cancel();
        let mut task = self.task;
        if timeout(TIMEOUT, &mut task).await.is_err() {
            task.abort();
            tracing::error!(
                "lost what was counted of budgets and daily quotas since their store became unreachable"
            );
        }
    }
}

impl SyncTask {
    async fn run(mut self, every: Duration, stop: CancellationToken) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut checks = interval(CHECK_EVERY);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (ledgers, daily_quotas) = (Arc::clone(&self.ledgers), Arc::clone(&self.daily_quotas));
        let changed = async || {
            tokio::select! {
                () = ledgers.spending_changed() => {}
                () = daily_quotas.changed() => {}
            }
        };
        loop {
            let is_down = self.is_down();
            tokio::select! {
                _ = ticks.tick() => {
                    self.file_replaced = self.store.is_elsewhere().await;
                    self.flush().await;
                }
                _ = checks.tick(), if !is_down => self.check().await,
                () = sleep(RETRY), if is_down => self.flush().await,
                () = changed(), if !is_down => {
                    self.flush().await;
                    tokio::select! {
                        () = sleep(PUSH_INTERVAL) => {}
                        () = stop.cancelled() => break,
                    }
                }
                () = stop.cancelled() => break,
            }
        }
        self.daily_quotas.release_claims();
        self.flush().await;
        while self.is_down() && self.ledgers.unsynced() + self.daily_quotas.unsynced() > 0 {
            sleep(LAST_RETRY).await;
            self.flush().await;
        }
    }

    fn is_down(&self) -> bool {
        self.is_up == Some(false)
    }

    /// Checks whether the store could be written.
    async fn check(&mut self) {
        if self.is_up.is_some() {
            let outcome = self.store.check().await;
            self.set_up(outcome.map_err(|error| error.to_string()));
        }
    }

    async fn flush(&mut self) {
        if self.ledgers.is_empty() && self.daily_quotas.is_empty() {
            return self.forget_state();
        }
        if self.is_down()
            && let Err(error) = self.store.check().await
        {
            return self.set_up(Err(error.to_string()));
        }
        let may_have_lost = self.file_replaced || self.store.was_reopened();
        if may_have_lost {
            self.ledgers.restore();
            self.daily_quotas.restore();
        }
        // No other process writes to a file, so only Redis has news.
        let every = matches!(self.store, Store::Redis(_));
        let entries = self.entries(every);
        self.count_discarded();
        if entries.is_empty() && !self.is_down() {
            return;
        }
        let written = self.push(&entries).await;
        // The answer shows whether the store has lost something. It then gets all that is known.
        let lost = if written.is_ok() { self.entries(false) } else { vec![] };
        let lost: Vec<Entry> = lost.into_iter().filter(|entry| entry.restores).collect();
        let written = if lost.is_empty() { written } else { self.push(&lost).await };
        if may_have_lost && written.is_ok() {
            self.store.has_all();
            self.file_replaced = false;
        }
        self.set_up(written.map_err(|error| error.to_string()));
    }

    async fn push(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let now = SystemTime::now();
        let sums = self.store.add(entries, now).await?;
        self.ledgers.confirm(entries, &sums, now);
        self.daily_quotas.confirm(entries, &sums);
        Ok(())
    }

    /// The entries of the next sync; with `every` those of all sums, also where nothing has changed.
    fn entries(&self, every: bool) -> Vec<Entry> {
        let mut entries = self.ledgers.entries(every, SystemTime::now());
        entries.extend(self.daily_quotas.entries(every));
        entries
    }

    fn count_discarded(&self) {
        let dropped = self.ledgers.take_discarded();
        if dropped > 0 {
            self.dropped.inc();
            tracing::error!(
                usd = usd(dropped),
                "the budget store was unreachable for too many days: dropping the oldest spending"
            );
        }
    }

    /// Without budgets nobody needs the store, so its state is neither checked nor shown.
    fn forget_state(&mut self) {
        self.is_up = None;
        self.dependencies.forget(DEPENDENCY);
    }

    fn set_up(&mut self, state: Result<(), String>) {
        let was_up = self.is_up.replace(state.is_ok());
        self.daily_quotas.set_reachable(state.is_ok());
        if !matches!(self.store, Store::Memory) {
            match &state {
                Ok(()) => self.dependencies.works(DEPENDENCY),
                Err(error) => self.dependencies.fails(DEPENDENCY, error),
            }
        }
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
