//! All daily quotas of a process, by their names in the store. They survive a reload of the config.
//!
//! The task that syncs the budgets with their store syncs these too (`limits/budget/sync.rs`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::daily::DailyQuota;
use super::day_clock::DayClock;
use crate::fleet::{Fleet, FleetEvent, FleetListener};
use crate::storage::sums::Entry;

/// What the names of daily quotas in the store begin with; no client has such a name.
const PREFIX: &str = "quota|";

/// What the name of a quota's claims ends with.
pub(super) const CLAIMS: &str = "|claims";

/// How replicas share the quotas.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sharing {
    /// By a fixed part each; one replica has all.
    Alone {
        /// The number of replicas.
        replicas: u32,
    },
    /// By claims in a store.
    Claims {
        /// The number of replicas.
        replicas: u32,
        /// Whether the store can be reached.
        is_reachable: bool,
        /// Whether this replica stops, and needs nothing ahead.
        is_stopping: bool,
    },
}

impl Sharing {
    /// The number of replicas.
    pub(super) fn replicas(self) -> u32 {
        match self {
            Sharing::Alone { replicas } | Sharing::Claims { replicas, .. } => replicas,
        }
    }
}

/// What all daily quotas share.
#[derive(Debug)]
pub(super) struct DailyShared {
    pub(super) clock: DayClock,
    /// Notified when something was charged, or a new day needs its sum.
    pub(super) changed: Notify,
    fleet: OnceLock<Fleet>,
    /// The number of replicas without a fleet that counts them.
    replicas: AtomicU32,
    /// Whether the store is one that replicas share.
    has_claims: AtomicBool,
    is_unreachable: AtomicBool,
    is_stopping: AtomicBool,
}

impl Default for DailyShared {
    fn default() -> DailyShared {
        DailyShared {
            clock: DayClock::Wall,
            changed: Notify::new(),
            fleet: OnceLock::new(),
            replicas: AtomicU32::new(1),
            has_claims: AtomicBool::new(false),
            is_unreachable: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        }
    }
}

impl DailyShared {
    /// The replicas that share the quotas, this one included.
    pub(super) fn replicas(&self) -> u32 {
        match self.fleet.get() {
            Some(fleet) => fleet.status().replicas,
            None => self.replicas.load(Ordering::Relaxed),
        }
    }

    /// Tells the other replicas.
    pub(super) fn publish(&self, event: FleetEvent) {
        if let Some(fleet) = self.fleet.get() {
            fleet.publish(event);
        }
    }

    /// Has a new quota learn what other replicas meet.
    fn listen(&self, key: &str, quota: &Arc<DailyQuota>) {
        if let Some(fleet) = self.fleet.get() {
            let quota: Arc<dyn FleetListener> = Arc::clone(quota) as Arc<dyn FleetListener>;
            fleet.listen(key, Arc::downgrade(&quota));
        }
    }

    pub(super) fn sharing(&self) -> Sharing {
        let (replicas, is_set) =
            (self.replicas(), |flag: &AtomicBool| flag.load(Ordering::Relaxed));
        if !is_set(&self.has_claims) {
            return Sharing::Alone { replicas };
        }
        let is_reachable = !is_set(&self.is_unreachable);
        Sharing::Claims { replicas, is_reachable, is_stopping: is_set(&self.is_stopping) }
    }
}

/// The daily quotas of a process.
#[derive(Debug, Default)]
pub struct DailyQuotas {
    by_key: Mutex<HashMap<Arc<str>, Arc<DailyQuota>>>,
    shared: Arc<DailyShared>,
}

impl DailyQuotas {
    /// No quotas yet, on this clock, shared by a fixed number of replicas.
    pub fn on_clock(clock: DayClock, replicas: u32) -> DailyQuotas {
        let replicas = AtomicU32::new(replicas);
        let shared = Arc::new(DailyShared { clock, replicas, ..DailyShared::default() });
        DailyQuotas { by_key: Mutex::default(), shared }
    }

    /// Counts the replicas of this fleet.
    pub fn share_in(&self, fleet: &Fleet) {
        let _first = self.shared.fleet.set(fleet.clone());
    }

    /// Shares them by claims, in a store that all replicas write to.
    pub fn share_by_claims(&self) {
        self.shared.has_claims.store(true, Ordering::Relaxed);
    }

    /// Notes whether the store can be reached. While it can't, each replica has its share of what is left.
    pub fn set_reachable(&self, is_reachable: bool) {
        self.shared.is_unreachable.store(!is_reachable, Ordering::Relaxed);
    }

    /// This process stops: it claims nothing ahead any more.
    pub fn release_claims(&self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
    }

    /// The quota that all replicas know by `key`, with so many tokens a day.
    pub fn of(&self, key: &str, name: &str, tpd: u64) -> Arc<DailyQuota> {
        let key: Arc<str> = format!("{PREFIX}{key}").into();
        let mut all = self.all();
        let quota = all.entry(Arc::clone(&key)).or_insert_with(|| {
            let quota = Arc::new(DailyQuota::new(name, &key, &self.shared));
            self.shared.listen(&key, &quota);
            quota
        });
        quota.configure(Some(tpd));
        Arc::clone(quota)
    }

    /// Whether there are no daily quotas, and those of older configs have stored all that was used.
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// Waits until something is charged, or was since the last wait.
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Tokens that no store has confirmed.
    pub fn unsynced(&self) -> u64 {
        self.all().values().map(|quota| quota.unsynced()).sum()
    }

    /// Marks every sum as lost by the store, so that the next sync writes all that is known.
    pub fn restore(&self) {
        self.all().values().for_each(|quota| quota.restore());
    }

    /// The entries of the next sync; with `every` those of all sums, also where nothing has changed.
    pub fn entries(&self, every: bool) -> Vec<Entry> {
        self.all().values().flat_map(|quota| quota.entries(every)).collect()
    }

    /// Takes over the sums that the store has after a sync of these entries. Entries of others are left alone.
    pub fn confirm(&self, entries: &[Entry], sums: &[u64]) {
        let mut all = self.all();
        for (entry, sum) in entries.iter().zip(sums) {
            let key = entry.name.strip_suffix(CLAIMS).unwrap_or(&entry.name);
            if let Some(quota) = all.get(key) {
                quota.confirm(entry, *sum);
            }
        }
        // A quota that a newer config does not name may come back today.
        all.retain(|_, quota| Arc::strong_count(quota) > 1 || quota.is_in_use());
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> Arc<DailyShared> {
        Arc::clone(&self.shared)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<DailyQuota>>> {
        self.by_key.lock()
    }
}
