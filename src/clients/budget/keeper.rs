//! The task that tells the store what was spent, and hears from it what others have.
//!
//! It tells what was added since the last time as soon as something was, and at its end; and asks
//! what others have every `budget_flush`. So a process that is killed loses what was under way, and
//! what ended within [`TELLING_PAUSE`]. While the store is gone the process goes on with what it
//! knows, and tells all of it when it is back.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus::IntGauge;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::ledger::Ledgers;
use crate::config::State;
use crate::state::budgets::{Store, StoreError};
use crate::system::time::{sleep, timeout};
use crate::telemetry::Metrics;

/// How long the start waits to hear what was spent before, and the end for the last flush.
const PATIENCE: Duration = Duration::from_secs(5);

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
    gauge: IntGauge,
    is_up: Option<bool>,
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
        let mut work = Work {
            ledgers: Arc::clone(ledgers),
            store: Store::new(&config.budgets)?,
            gauge: metrics.dependency_up.with_label_values(&["budgets"]),
            is_up: None,
        };
        if matches!(work.store, Store::Memory) {
            // Nothing that it depends on.
            let _ = metrics.dependency_up.remove_label_values(&["budgets"]);
        }
        work.flush().await;
        let stop = CancellationToken::new();
        let task = tokio::spawn(work.run(config.budget_flush, stop.clone()));
        Ok(Keeper { task, stop })
    }

    /// Tells the store the last of it.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = timeout(PATIENCE, self.task).await;
    }
}

impl Work {
    async fn run(mut self, every: Duration, stop: CancellationToken) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ledgers = Arc::clone(&self.ledgers);
        loop {
            let is_gone = self.is_up == Some(false);
            tokio::select! {
                _ = ticks.tick() => self.flush().await,
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
    }

    async fn flush(&mut self) {
        let now = SystemTime::now();
        // Nobody else writes to a file, so what is known of it stays so.
        let every = matches!(self.store, Store::Redis(_));
        let entries = self.ledgers.entries(every, now);
        if entries.is_empty() {
            return;
        }
        match timeout(PATIENCE, self.store.add(&entries, now)).await {
            Ok(Ok(sums)) => {
                self.ledgers.told(&entries, &sums, now);
                self.is_now(Ok(()));
            }
            Ok(Err(error)) => self.is_now(Err(&error.to_string())),
            Err(_) => self.is_now(Err("it did not answer in time")),
        }
    }

    fn is_now(&mut self, state: Result<(), &str>) {
        let was_up = self.is_up.replace(state.is_ok());
        self.gauge.set(i64::from(state.is_ok()));
        match state {
            Ok(()) if was_up == Some(false) => tracing::info!("the store of budgets is reachable"),
            Err(error) if was_up != Some(false) => {
                tracing::error!(
                    %error,
                    "the store of budgets is not reachable: they count on with what is known"
                );
            }
            _ => {}
        }
    }
}
