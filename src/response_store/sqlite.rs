//! Records in one SQLite file, for a gateway that runs alone.
//!
//! Triggers keep the sums of each client and of all beside the records, within the same transaction, so that no
//! step adds up the whole table. The sum of all has an empty owner.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use prometheus::IntCounter;
use sqlx::{Executor as _, SqliteConnection};

use super::store::{Bounds, EXPIRED_AT_ONCE, Kept, NewRecord, at_most, millis};
use crate::storage::StoreError;
use crate::storage::sqlite::SqliteFile;

/// Times are in milliseconds since 1970.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS sluice_responses (
    name TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    record BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS sluice_responses_expires ON sluice_responses (expires);
CREATE TABLE IF NOT EXISTS sluice_response_bytes (
    owner TEXT NOT NULL PRIMARY KEY,
    bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS sluice_responses_added AFTER INSERT ON sluice_responses BEGIN
    INSERT INTO sluice_response_bytes (owner, bytes) VALUES (NEW.owner, NEW.bytes), ('', NEW.bytes)
        ON CONFLICT (owner) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER IF NOT EXISTS sluice_responses_removed AFTER DELETE ON sluice_responses BEGIN
    UPDATE sluice_response_bytes SET bytes = bytes - OLD.bytes WHERE owner IN (OLD.owner, '');
    DELETE FROM sluice_response_bytes WHERE owner = OLD.owner AND bytes <= 0;
END;
";

const SUM: &str = "SELECT bytes FROM sluice_response_bytes WHERE owner = ?";

/// A record that expires later than its time to live and this from now on dates from before the clock was set
/// back, or from when records were kept longer.
const AHEAD: Duration = Duration::from_secs(60);

/// Records that one step of tidying removes.
const TIDIED_AT_ONCE: u32 = 1000;

#[derive(Debug)]
pub(super) struct SqliteStore {
    file: SqliteFile,
    limit: Duration,
}

impl SqliteStore {
    pub(super) fn new(path: &Path, limit: Duration, replaced: IntCounter) -> SqliteStore {
        SqliteStore { file: SqliteFile::new(path, "responses", limit, set_up, replaced), limit }
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// See [`SqliteFile::doubt`].
    pub(super) fn doubt(&self) {
        self.file.doubt();
    }

    /// See [`SqliteFile::probe`].
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        Ok(self.file.probe().await?)
    }

    pub(super) async fn keep(
        &self,
        record: &NewRecord,
        bounds: &Bounds,
    ) -> Result<Kept, StoreError> {
        let (bytes, now) = (record.bytes(), now());
        let mut transaction = self.file.begin().await?;
        remove_expired(&mut transaction, now, EXPIRED_AT_ONCE).await?;
        let own = sum(&mut transaction, &record.owner).await?;
        let total = sum(&mut transaction, "").await?;
        let kept = if own.saturating_add(bytes) > at_most(bounds.per_client) {
            Kept::ClientFull
        } else if total.saturating_add(bytes) > at_most(bounds.total) {
            Kept::StoreFull
        } else {
            sqlx::query(
                "INSERT INTO sluice_responses (name, owner, bytes, expires, record)
                 VALUES (?, ?, ?, ?, ?)",
            )
            .bind(&record.name)
            .bind(&record.owner)
            .bind(bytes)
            .bind(now.saturating_add(millis(bounds.ttl)))
            .bind(&record.sealed)
            .execute(&mut *transaction)
            .await?;
            Kept::Stored
        };
        transaction.commit().await?;
        Ok(kept)
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let found = sqlx::query_scalar(
            "SELECT record FROM sluice_responses WHERE name = ? AND expires > ?",
        )
        .bind(name)
        .bind(now())
        .fetch_optional(&mut *self.file.connection().await?)
        .await?;
        Ok(found)
    }

    pub(super) async fn delete(&self, name: &str, _owner: &str) -> Result<bool, StoreError> {
        let expires: Option<i64> =
            sqlx::query_scalar("DELETE FROM sluice_responses WHERE name = ? RETURNING expires")
                .bind(name)
                .fetch_optional(&mut *self.file.connection().await?)
                .await?;
        Ok(expires.is_some_and(|expires| expires > now()))
    }

    pub(super) async fn tidy(&self, ttl: Duration) -> Result<i64, StoreError> {
        let now = now();
        let latest = now.saturating_add(millis(ttl));
        let mut connection = self.file.connection().await?;
        sqlx::query("UPDATE sluice_responses SET expires = ?1 WHERE expires > ?1 + ?2")
            .bind(latest)
            .bind(millis(AHEAD))
            .execute(&mut *connection)
            .await?;
        // In several steps, so that requests find a moment between them.
        while remove_expired(&mut connection, now, TIDIED_AT_ONCE).await? > 0 {
            drop(connection);
            connection = self.file.connection().await?;
        }
        sum(&mut connection, "").await
    }
}

fn set_up(connection: &mut SqliteConnection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
    Box::pin(async move { connection.execute(SCHEMA).await.map(|_| ()) })
}

/// Removes records that have expired, up to a number, and returns how many.
async fn remove_expired(
    connection: &mut SqliteConnection,
    now: i64,
    most: u32,
) -> Result<u64, StoreError> {
    let removed = sqlx::query(
        "DELETE FROM sluice_responses WHERE rowid IN (
             SELECT rowid FROM sluice_responses WHERE expires <= ? ORDER BY expires LIMIT ?)",
    )
    .bind(now)
    .bind(most)
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}

async fn sum(connection: &mut SqliteConnection, owner: &str) -> Result<i64, StoreError> {
    let sum: Option<i64> = sqlx::query_scalar(SUM).bind(owner).fetch_optional(connection).await?;
    Ok(sum.unwrap_or(0))
}

fn now() -> i64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
