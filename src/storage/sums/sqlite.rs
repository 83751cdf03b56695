//! Sums in a SQLite file, for the processes of one machine.
//!
//! The file is in WAL mode. A flush is one transaction, so it counts whole or not at all.

use std::path::Path;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use prometheus::IntCounter;
use sqlx::{Error, Executor as _, SqliteConnection};
use tokio::time::Instant;

use super::{Entry, Kind, LIMIT, Period};
use crate::storage::StoreError;
use crate::storage::sqlite::SqliteFile;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS sluice_budgets (
    client TEXT NOT NULL,
    kind TEXT NOT NULL,
    period INTEGER NOT NULL,
    nano_usd INTEGER NOT NULL,
    PRIMARY KEY (client, kind, period)
) WITHOUT ROWID;
";

/// Sums of the past are kept until the clock has gone evenly for this long: one that was set forward
/// by mistake comes back, and finds what was spent.
const EVEN_FOR: Duration = Duration::from_secs(60 * 60);

/// How far the clock may go from the time that has passed and still goes evenly.
const UNEVEN: Duration = Duration::from_secs(60);

/// A file of sums.
#[derive(Debug)]
pub struct SqliteStore {
    file: SqliteFile,
    /// How often the file had been opened when all sums were last written.
    told_all: u64,
    clock: Mutex<Clock>,
}

impl SqliteStore {
    pub(super) fn new(path: &Path, replaced: IntCounter) -> SqliteStore {
        let file = SqliteFile::new(path, "budgets", LIMIT, set_up, replaced);
        SqliteStore { file, told_all: 0, clock: Mutex::default() }
    }

    pub(super) async fn add(
        &self,
        entries: &[Entry],
        now: SystemTime,
    ) -> Result<Vec<u64>, StoreError> {
        if entries.iter().all(|entry| entry.added == 0 && !entry.restores) {
            return sums(&mut *self.file.connection().await?, entries).await;
        }
        let mut transaction = self.file.begin().await?;
        for entry in entries.iter().filter(|entry| entry.added > 0 || entry.restores) {
            let known = if entry.restores { entry.known } else { 0 };
            sqlx::query(
                "INSERT INTO sluice_budgets (client, kind, period, nano_usd) VALUES (?1, ?2, ?3, ?4 + ?5)
                 ON CONFLICT DO UPDATE SET nano_usd = max(nano_usd, ?4) + ?5",
            )
            .bind(&*entry.name)
            .bind(entry.period.kind.name())
            .bind(entry.period.number)
            .bind(integer(known))
            .bind(integer(entry.added))
            .execute(&mut *transaction)
            .await?;
        }
        let sums = sums(&mut transaction, entries).await?;
        if self.goes_evenly(now) {
            for kind in Kind::ALL {
                sqlx::query("DELETE FROM sluice_budgets WHERE kind = ? AND period < ?")
                    .bind(kind.name())
                    .bind(Period::at(kind, now).number)
                    .execute(&mut *transaction)
                    .await?;
            }
        }
        transaction.commit().await?;
        Ok(sums)
    }

    /// See [`SqliteFile::is_elsewhere`].
    pub(super) async fn is_elsewhere(&self) -> bool {
        self.file.is_elsewhere().await
    }

    /// Whether the file was opened again since all sums were last written.
    pub(super) fn was_reopened(&self) -> bool {
        self.file.times_opened() > self.told_all.max(1)
    }

    /// Notes that all sums were written.
    pub(super) fn has_all(&mut self) {
        self.told_all = self.file.times_opened();
    }

    /// See [`SqliteFile::probe`].
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        Ok(self.file.probe().await?)
    }

    /// See [`SqliteFile::doubt`].
    pub(super) fn doubt(&self) {
        self.file.doubt();
    }

    fn goes_evenly(&self, now: SystemTime) -> bool {
        let mut clock = self.clock.lock();
        clock.even_for(now, Instant::now()) >= EVEN_FOR
    }
}

/// Since when the clock goes evenly, by both clocks.
#[derive(Debug, Default)]
struct Clock(Option<(SystemTime, Instant)>);

impl Clock {
    fn even_for(&mut self, now: SystemTime, instant: Instant) -> Duration {
        let (began, began_at) = *self.0.get_or_insert((now, instant));
        let passed = instant.saturating_duration_since(began_at);
        let expected = began + passed;
        let off = now.duration_since(expected).unwrap_or_else(|error| error.duration());
        if off > UNEVEN {
            self.0 = Some((now, instant));
            return Duration::ZERO;
        }
        passed
    }
}

fn set_up(connection: &mut SqliteConnection) -> BoxFuture<'_, Result<(), Error>> {
    Box::pin(async move { connection.execute(SCHEMA).await.map(|_| ()) })
}

fn integer(nanos: u64) -> i64 {
    // The sum of two of them is an integer still.
    i64::try_from(nanos).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

async fn sums(
    connection: &mut SqliteConnection,
    entries: &[Entry],
) -> Result<Vec<u64>, StoreError> {
    let mut sums = Vec::with_capacity(entries.len());
    for entry in entries {
        let sum: Option<i64> = sqlx::query_scalar(
            "SELECT nano_usd FROM sluice_budgets WHERE client = ? AND kind = ? AND period = ?",
        )
        .bind(&*entry.name)
        .bind(entry.period.kind.name())
        .bind(entry.period.number)
        .fetch_optional(&mut *connection)
        .await?;
        sums.push(sum.and_then(|sum| u64::try_from(sum).ok()).unwrap_or(0));
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_begins_anew() {
        let (mut clock, start, instant) = (Clock::default(), SystemTime::now(), Instant::now());
        let hours = |count: u64| Duration::from_secs(count * 3600);
        let mut even = |wall, passed| clock.even_for(start + wall, instant + passed);
        assert_eq!(even(hours(0), hours(0)), hours(0));
        assert_eq!(even(hours(1) + Duration::from_secs(30), hours(1)), hours(1));
        assert_eq!(even(hours(50), hours(2)), hours(0));
        assert_eq!(even(hours(51), hours(3)), hours(1));
        assert_eq!(even(hours(4), hours(4)), hours(0));
        assert_eq!(even(hours(6), hours(6)), hours(2));
    }
}
