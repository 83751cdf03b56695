//! The sum of one name in one period, as one process knows it.
//!
//! What this process has added is kept apart from what others have added, as the store reports it. So nothing of
//! one's own is lost or counted twice, whatever the store does and however often a sync is repeated.
//!
//! The current period is that of the wall clock, also after it was set back: then what was added in that period
//! counts again. A clock that is disciplined by NTP may step over the end of a period and back. A step of up to
//! [`MAX_STEP`] changes no period until it has lasted for [`STEP_LASTS`].

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{Entry, Period};

/// The largest step back that is taken for a correction of the clock, and how long it may last.
const MAX_STEP: Duration = Duration::from_secs(60);
const STEP_LASTS: Duration = Duration::from_secs(20);

/// What was added in one period.
#[derive(Debug)]
pub struct PeriodSum {
    period: Period,
    /// By this process.
    own: u64,
    /// The part of that which the store has confirmed.
    confirmed: u64,
    /// By other processes, and by this one before it was started, as the store reported.
    others: u64,
    /// Whether the store has reported its sum.
    is_known: bool,
    /// Whether the store has less than is known.
    is_lost: bool,
    /// The time since which the clock shows an earlier period.
    behind: Option<Instant>,
}

impl PeriodSum {
    /// Nothing was added in this period, as far as is known.
    pub fn new(period: Period) -> PeriodSum {
        PeriodSum {
            period,
            own: 0,
            confirmed: 0,
            others: 0,
            is_known: false,
            is_lost: false,
            behind: None,
        }
    }

    /// Its period.
    pub fn period(&self) -> Period {
        self.period
    }

    /// What this process has added.
    pub fn own(&self) -> u64 {
        self.own
    }

    /// What all have added, as far as is known.
    pub fn total(&self) -> u64 {
        self.own.saturating_add(self.others)
    }

    /// What this process has added and the store has not confirmed.
    pub fn unsynced(&self) -> u64 {
        self.own.saturating_sub(self.confirmed)
    }

    /// The sum that the store had at the last sync.
    pub fn known(&self) -> u64 {
        self.confirmed.saturating_add(self.others)
    }

    /// This process adds `amount`.
    pub fn add(&mut self, amount: u64) {
        self.own = self.own.saturating_add(amount);
    }

    /// Whether a sync must write it.
    pub fn needs_write(&self) -> bool {
        self.unsynced() > 0 || self.is_lost
    }

    /// Whether a sync must write it, or must read it because the store has not reported its sum.
    pub fn needs_sync(&self) -> bool {
        !self.is_known || self.needs_write()
    }

    /// It becomes the current period again. Other processes may have added to it meanwhile.
    pub fn reopen(&mut self) {
        (self.is_known, self.behind) = (false, None);
    }

    /// The store may have lost it, so that the next sync writes all that is known.
    pub fn restore(&mut self) {
        self.is_lost = self.total() > 0;
    }

    /// The period that replaces this one, if the clock shows another.
    pub fn next(&mut self, now: SystemTime) -> Option<Period> {
        let period = Period::at(self.period.kind, now);
        match period.number.cmp(&self.period.number) {
            Ordering::Equal => {
                self.behind = None;
                None
            }
            Ordering::Greater => Some(period),
            Ordering::Less => {
                let behind = *self.behind.get_or_insert_with(Instant::now);
                let is_far = now + MAX_STEP < self.period.start();
                (is_far || behind.elapsed() >= STEP_LASTS).then_some(period)
            }
        }
    }

    /// Its part of a sync, under this name.
    pub fn entry(&self, name: &Arc<str>) -> Entry {
        Entry {
            name: Arc::clone(name),
            period: self.period,
            known: self.known(),
            added: self.unsynced(),
            own: self.own,
            restores: self.is_lost,
        }
    }

    /// Takes over the sum that the store has after a sync of `entry`.
    pub fn confirm(&mut self, entry: &Entry, sum: u64) {
        let expected = self.known().saturating_add(entry.own.saturating_sub(self.confirmed));
        self.confirmed = entry.own;
        self.is_known = true;
        // Within a period a sum only grows.
        self.is_lost = sum < expected;
        if !self.is_lost {
            self.others = sum.saturating_sub(entry.own);
        }
    }
}
