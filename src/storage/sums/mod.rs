//! Sums of amounts by name and period: what clients have spent, and what was used of daily quotas.
//!
//! Sums are kept in a SQLite file, in Redis, or nowhere. It adds amounts and answers with each sum, which includes what other processes have added. A task calls
//! it; no request waits for it.

mod period_sum;
mod redis;
mod sqlite;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::system::time::timeout;
use prometheus::IntCounter;

pub use period_sum::PeriodSum;

use crate::config::BudgetStore;
use crate::storage::redis::Redis;
use crate::storage::{StoreError, within};

const DAY: i64 = 24 * 60 * 60;

/// How long a call to a store may take.
const LIMIT: Duration = Duration::from_secs(2);

/// The kinds of periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A UTC day.
    Daily,
    /// A UTC month.
    Monthly,
}

impl Kind {
    /// Both.
    pub const ALL: [Kind; 2] = [Kind::Daily, Kind::Monthly];

    /// Its name in keys, metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Daily => "daily",
            Kind::Monthly => "monthly",
        }
    }
}

/// One day or month: days since 1970, or months since the year 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Period {
    /// Day or month.
    pub kind: Kind,
    /// Its number; the next one's is higher by one.
    pub number: i64,
}

impl Period {
    /// The period that a time is in.
    pub fn at(kind: Kind, time: SystemTime) -> Period {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let day = i64::try_from(since.as_secs()).unwrap_or(0) / DAY;
        let number = match kind {
            Kind::Daily => day,
            Kind::Monthly => month_of(day),
        };
        Period { kind, number }
    }

    /// When it begins.
    pub fn start(self) -> SystemTime {
        Period { number: self.number.saturating_sub(1), ..self }.end()
    }

    /// When it ends and the next one begins.
    pub fn end(self) -> SystemTime {
        let day = match self.kind {
            Kind::Daily => self.number + 1,
            Kind::Monthly => first_day_of(self.number + 1),
        };
        UNIX_EPOCH + Duration::from_secs(u64::try_from(day.saturating_mul(DAY)).unwrap_or(0))
    }
}

/// The month that a day is in, both as [`Period`] numbers them; the calendar is Gregorian
/// throughout.
fn month_of(day: i64) -> i64 {
    // Counted from March of the year 0, so that a leap day is the last of its year.
    let days = day + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_based = (5 * of_year + 2) / 153;
    (era * 400 + year) * 12 + march_based + 2
}

/// The first day of a month.
fn first_day_of(month: i64) -> i64 {
    let (year, march_based) = ((month - 2).div_euclid(12), (month - 2).rem_euclid(12));
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * march_based + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// What one process has added to one sum, to be written to a store. Amounts are nano-dollars of a client's
/// spending, or tokens of a daily quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name of the client, or of the daily quota. The two have no name in common.
    pub name: Arc<str>,
    /// Day or month.
    pub period: Period,
    /// What the store was last known to hold.
    pub known: u64,
    /// What is not added to the store yet.
    pub added: u64,
    /// What this process has added in the period, `added` included.
    pub own: u64,
    /// Whether the store holds less than `known`, so that it must be restored.
    pub restores: bool,
}

/// A store.
#[derive(Debug)]
pub enum Store {
    /// None: the process alone knows what was spent.
    Memory,
    /// A file.
    Sqlite(sqlite::SqliteStore),
    /// Redis.
    Redis(redis::RedisStore),
}

impl Store {
    /// The store that the config names. Connects to nothing yet. `replaced` counts the times that its
    /// file was found deleted or replaced.
    ///
    /// # Errors
    /// When a URL is invalid.
    pub fn new(config: &BudgetStore, replaced: IntCounter) -> Result<Store, StoreError> {
        Ok(match config {
            BudgetStore::Memory => Store::Memory,
            BudgetStore::Sqlite { path } => Store::Sqlite(sqlite::SqliteStore::new(path, replaced)),
            BudgetStore::Redis { url, prefix } => {
                let redis = Redis::new(url.expose(), LIMIT)?;
                Store::Redis(redis::RedisStore::new(redis, prefix))
            }
        })
    }

    /// Adds all amounts, all of it or nothing, and gives the sums of the same entries. Periods
    /// before those of `now` may be dropped.
    ///
    /// # Errors
    /// When the store can't be reached; then nothing counts as added, except that Redis may have
    /// it: it then gets the same sums again and counts them once.
    pub async fn add(&self, entries: &[Entry], now: SystemTime) -> Result<Vec<u64>, StoreError> {
        match self {
            Store::Memory => Ok(entries.iter().map(|entry| entry.own).collect()),
            Store::Sqlite(store) => self.within_limit(store.add(entries, now)).await,
            Store::Redis(store) => self.within_limit(store.add(entries, now)).await,
        }
    }

    /// Checks whether the store can be read and written.
    ///
    /// # Errors
    /// When it can't be.
    pub async fn check(&self) -> Result<(), StoreError> {
        match self {
            Store::Memory => Ok(()),
            Store::Sqlite(store) => self.within_limit(store.check()).await,
            Store::Redis(store) => self.within_limit(store.check()).await,
        }
    }

    /// Whether its file was replaced or deleted.
    pub async fn is_elsewhere(&self) -> bool {
        match self {
            Store::Sqlite(store) => timeout(LIMIT, store.is_elsewhere()).await.unwrap_or(false),
            Store::Memory | Store::Redis(_) => false,
        }
    }

    /// Whether its file was opened again since all sums were last written: it may have lost some.
    pub fn was_reopened(&self) -> bool {
        matches!(self, Store::Sqlite(store) if store.was_reopened())
    }

    /// Notes that all sums were written.
    pub fn has_all(&mut self) {
        if let Store::Sqlite(store) = self {
            store.has_all();
        }
    }

    /// Waits for a call as long as a call may take. After one that failed the connection to a file
    /// is not used again.
    async fn within_limit<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let outcome = within(LIMIT, call).await;
        if let (Err(_), Store::Sqlite(store)) = (&outcome, self) {
            store.doubt();
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn days_and_months_end_at_midnight_utc() {
        for (now, day_ends, month_ends) in [
            ("2026-11-24T07:45:32Z", "2026-11-25T00:00:00Z", "2026-12-01T00:00:00Z"),
            ("2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2028-02-28T12:00:00Z", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"),
            ("2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            ("2100-02-28T00:00:00Z", "2100-03-01T00:00:00Z", "2100-03-01T00:00:00Z"),
            ("1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z", "1970-02-01T00:00:00Z"),
        ] {
            let end = |kind| Period::at(kind, time(now)).end();
            assert_eq!(end(Kind::Daily), time(day_ends), "{now}");
            assert_eq!(end(Kind::Monthly), time(month_ends), "{now}");
        }
    }

    proptest! {
        #[test]
        fn a_time_is_before_the_end_of_its_period_and_the_end_is_in_the_next(
            seconds in 0u64..250_000_000_000,
        ) {
            let now = UNIX_EPOCH + Duration::from_secs(seconds);
            for kind in Kind::ALL {
                let period = Period::at(kind, now);
                prop_assert!(now < period.end());
                let next = Period::at(kind, period.end());
                prop_assert_eq!(next.number, period.number + 1);
            }
        }
    }
}
