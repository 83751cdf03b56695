//! Checks the store, removes what has expired, and shows how much is kept.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{DEPENDENCY, Shared};

/// Time between two checks of a store that is not reachable.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Time between two removals of what has expired.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// Runs until the store is dropped.
pub(super) async fn run(shared: Weak<Shared>) {
    let mut ticks = interval(CHECK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tidied: Option<Instant> = None;
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        let was_failing = shared.is_failing();
        let is_time = tidied.is_none_or(|at| at.elapsed() >= TIDY_EVERY);
        if !was_failing && !is_time {
            continue;
        }
        if let Err(error) = shared.store.check().await {
            // Said at the first failure.
            let _noted = shared.noted::<()>(Err(error), &shared.writes_fail);
            continue;
        }
        shared.reads_fail.store(false, Ordering::Release);
        shared.writes_fail.store(false, Ordering::Release);
        shared.dependencies().works(DEPENDENCY);
        if was_failing || tidied.is_none() {
            tracing::info!("the store of responses is reachable");
        }
        tidied = Some(Instant::now());
        match shared.store.tidy(shared.ttl()).await {
            Ok(bytes) => shared.metrics.kept_response_bytes.set(bytes),
            Err(error) => tracing::warn!(%error, "maintenance of the store of responses failed"),
        }
    }
}
