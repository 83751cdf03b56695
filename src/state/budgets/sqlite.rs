//! Sums of budgets in a SQLite file, for the processes of one machine.
//!
//! The file is in WAL mode. A flush is one transaction, so it counts whole or not at all.

use std::path::Path;
use std::time::{Duration, SystemTime};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, SqlitePool};
use tokio::sync::OnceCell;

use super::{Entry, Kind, Period, StoreError};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS sluice_budgets (
    client TEXT NOT NULL,
    kind TEXT NOT NULL,
    period INTEGER NOT NULL,
    nano_usd INTEGER NOT NULL,
    PRIMARY KEY (client, kind, period)
) WITHOUT ROWID;
";

/// How long another process may hold the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A file of sums.
#[derive(Debug)]
pub struct SqliteStore {
    pool: SqlitePool,
    is_ready: OnceCell<()>,
}

impl SqliteStore {
    pub(super) fn new(path: &Path) -> SqliteStore {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_lazy_with(options);
        SqliteStore { pool, is_ready: OnceCell::new() }
    }

    pub(super) async fn add(
        &self,
        entries: &[Entry],
        now: SystemTime,
    ) -> Result<Vec<u64>, StoreError> {
        self.is_ready
            .get_or_try_init(async || sqlx::raw_sql(SCHEMA).execute(&self.pool).await.map(drop))
            .await?;
        let mut connection = self.pool.acquire().await?;
        if entries.iter().all(|entry| entry.added == 0) {
            return sums(&mut connection, entries).await;
        }
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        for entry in entries.iter().filter(|entry| entry.added > 0) {
            sqlx::query(
                "INSERT INTO sluice_budgets (client, kind, period, nano_usd) VALUES (?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET nano_usd = nano_usd + excluded.nano_usd",
            )
            .bind(&*entry.client)
            .bind(entry.period.kind.name())
            .bind(entry.period.number)
            .bind(i64::try_from(entry.added).unwrap_or(i64::MAX))
            .execute(&mut *transaction)
            .await?;
        }
        let sums = sums(&mut transaction, entries).await?;
        for kind in Kind::ALL {
            sqlx::query("DELETE FROM sluice_budgets WHERE kind = ? AND period < ?")
                .bind(kind.name())
                .bind(Period::at(kind, now).number)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(sums)
    }
}

async fn sums(
    connection: &mut sqlx::SqliteConnection,
    entries: &[Entry],
) -> Result<Vec<u64>, StoreError> {
    let mut sums = Vec::with_capacity(entries.len());
    for entry in entries {
        let sum: Option<i64> = sqlx::query_scalar(
            "SELECT nano_usd FROM sluice_budgets WHERE client = ? AND kind = ? AND period = ?",
        )
        .bind(&*entry.client)
        .bind(entry.period.kind.name())
        .bind(entry.period.number)
        .fetch_optional(&mut *connection)
        .await?;
        sums.push(sum.and_then(|sum| u64::try_from(sum).ok()).unwrap_or(0));
    }
    Ok(sums)
}
