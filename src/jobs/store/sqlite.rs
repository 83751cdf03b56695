//! Jobs in one SQLite file, for a gateway that runs alone.
//!
//! The file is in WAL mode with a sync at each commit, so that an accepted job survives a crash and a loss
//! of power. One connection serves all callers, because several writers would only wait for each other's
//! lock, and less fairly.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use prometheus::IntCounter;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Executor as _, Row as _, SqliteConnection};
use uuid::Uuid;

use super::{
    Claim, ClaimLimits, Counts, JobResult, MAX_STARTS, NewJob, Queue, Record, Start, Submitted,
    Worker, complete, from_millis, millis, too_many_starts,
};
use crate::config::Jobs;
use crate::jobs::record::State;
use crate::storage::StoreError;
use crate::storage::sqlite::SqliteFile;

/// Times are in milliseconds since 1970, except `seen`, which is in seconds. A waiting job with a token is
/// reserved.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS sluice_jobs (
    id TEXT NOT NULL PRIMARY KEY,
    queue TEXT NOT NULL,
    state TEXT NOT NULL,
    owner TEXT,
    subject TEXT NOT NULL,
    payload TEXT,
    progress INTEGER NOT NULL DEFAULT 0,
    starts INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    token TEXT,
    leased_until INTEGER NOT NULL DEFAULT 0,
    result TEXT,
    error TEXT,
    expires INTEGER
);
CREATE INDEX IF NOT EXISTS sluice_jobs_open ON sluice_jobs (queue, state) WHERE expires IS NULL;
CREATE INDEX IF NOT EXISTS sluice_jobs_unfinished ON sluice_jobs (queue, id) WHERE expires IS NULL;
CREATE INDEX IF NOT EXISTS sluice_jobs_expires ON sluice_jobs (expires) WHERE expires IS NOT NULL;
CREATE TABLE IF NOT EXISTS sluice_starts (queue TEXT NOT NULL, at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS sluice_starts_at ON sluice_starts (queue, at);
CREATE TABLE IF NOT EXISTS sluice_workers (
    name TEXT NOT NULL PRIMARY KEY,
    queue TEXT NOT NULL,
    seen INTEGER NOT NULL
) WITHOUT ROWID;
";

/// A time that is further ahead than this dates from before the clock was set back.
const AHEAD: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub(in crate::jobs) struct SqliteStore {
    file: SqliteFile,
    max_waiting: i64,
    result_ttl: Duration,
    limit: Duration,
}

impl SqliteStore {
    pub(super) fn new(path: &Path, config: &Jobs, replaced: IntCounter) -> SqliteStore {
        SqliteStore {
            file: SqliteFile::new(path, "jobs", config.timeout, set_up, replaced),
            max_waiting: i64::try_from(config.max_waiting).unwrap_or(i64::MAX),
            result_ttl: config.result_ttl,
            limit: config.timeout,
        }
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// See [`SqliteFile::doubt`].
    pub(super) fn doubt(&self) {
        self.file.doubt();
    }

    pub(super) async fn check(&self, in_doubt: bool) -> Result<bool, StoreError> {
        if in_doubt {
            self.file.probe().await?;
        }
        let mut connection = self.file.connection().await?;
        let unfinished = "SELECT 1 FROM sluice_jobs WHERE expires IS NULL LIMIT 1";
        Ok(sqlx::query(unfinished).fetch_optional(&mut *connection).await?.is_some())
    }

    pub(super) async fn submit(&self, id: Uuid, job: &NewJob) -> Result<Submitted, StoreError> {
        let mut transaction = self.file.begin().await?;
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM sluice_jobs
             WHERE queue = ? AND state IN ('waiting', 'retrying') AND expires IS NULL",
        )
        .bind(job.queue.name())
        .fetch_one(&mut *transaction)
        .await?;
        if waiting >= self.max_waiting {
            transaction.rollback().await?;
            return Ok(Submitted::Full);
        }
        sqlx::query(
            // One that is there stays as it is: its submitter has given it up meanwhile.
            "INSERT INTO sluice_jobs (id, queue, state, owner, subject, payload)
             VALUES (?, ?, 'waiting', ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(id.to_string())
        .bind(job.queue.name())
        .bind(&job.owner)
        .bind(&job.subject)
        .bind(job.payload.to_string())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Submitted::Accepted)
    }

    pub(super) async fn claim(
        &self,
        queue: Queue,
        lease: Duration,
        takes_over: bool,
        excluded: &[Uuid],
    ) -> Result<Option<Claim>, StoreError> {
        let (token, now) = (Uuid::new_v4(), now());
        let lease_end = now.saturating_add(millis(lease));
        let excluded: Value = excluded.iter().map(Uuid::to_string).collect();
        // Ids sort in the order of submission.
        let id: Option<String> = sqlx::query_scalar(
            "UPDATE sluice_jobs SET token = ?1, leased_until = ?2 WHERE id = (
                 SELECT id FROM sluice_jobs
                 WHERE queue = ?3 AND expires IS NULL
                     AND (token IS NULL OR ?6 AND (leased_until <= ?4 OR leased_until > ?5))
                     AND id NOT IN (SELECT value FROM json_each(?7))
                 ORDER BY id LIMIT 1)
             RETURNING id",
        )
        .bind(token.to_string())
        .bind(lease_end)
        .bind(queue.name())
        .bind(now)
        .bind(lease_end.saturating_add(millis(AHEAD)))
        .bind(takes_over)
        .bind(excluded.to_string())
        .fetch_optional(&mut *self.file.connection().await?)
        .await?;
        let Some(id) = id else { return Ok(None) };
        Ok(Some(Claim { queue, job: id.parse().map_err(StoreError::unreadable)?, token }))
    }

    pub(super) async fn start(
        &self,
        claim: Claim,
        limits: ClaimLimits,
        takes_over: bool,
    ) -> Result<Start, StoreError> {
        let mut transaction = self.file.begin().await?;
        let started = self.start_within(&mut transaction, claim, limits, takes_over).await?;
        transaction.commit().await?;
        Ok(started)
    }

    async fn start_within(
        &self,
        connection: &mut SqliteConnection,
        claim: Claim,
        limits: ClaimLimits,
        takes_over: bool,
    ) -> Result<Start, StoreError> {
        let (id, token, now) = (claim.job.to_string(), claim.token.to_string(), now());
        let row = sqlx::query(
            "SELECT payload, starts, failures, token, leased_until FROM sluice_jobs
             WHERE id = ? AND expires IS NULL",
        )
        .bind(&id)
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { return Ok(Start::Ended) };
        let leased_until: i64 = row.try_get("leased_until")?;
        let holder: Option<String> = row.try_get("token")?;
        let lease_end = now.saturating_add(millis(limits.lease));
        let is_in_force =
            leased_until > now && leased_until <= lease_end.saturating_add(millis(AHEAD));
        if (is_in_force || !takes_over) && holder.is_some_and(|holder| holder != token) {
            return Ok(Start::Held(from_millis(leased_until - now)));
        }
        let starts: u32 = row.try_get("starts")?;
        if starts >= MAX_STARTS {
            self.end(connection, &id, State::Failed, None, Some(&too_many_starts())).await?;
            return Ok(Start::Ended);
        }
        if let Some(wait) = not_yet(connection, claim.queue, limits, now).await? {
            sqlx::query("UPDATE sluice_jobs SET token = ?, leased_until = ? WHERE id = ?")
                .bind(&token)
                .bind(lease_end)
                .bind(&id)
                .execute(connection)
                .await?;
            return Ok(Start::NotYet(wait));
        }
        sqlx::query("INSERT INTO sluice_starts (queue, at) VALUES (?, ?)")
            .bind(claim.queue.name())
            .bind(now)
            .execute(&mut *connection)
            .await?;
        sqlx::query(
            "UPDATE sluice_jobs SET state = 'running', token = ?, leased_until = ?, progress = 0,
                 starts = starts + 1
             WHERE id = ?",
        )
        .bind(&token)
        .bind(lease_end)
        .bind(&id)
        .execute(connection)
        .await?;
        let payload: String = row.try_get("payload")?;
        let payload = serde_json::from_str(&payload).map_err(StoreError::unreadable)?;
        Ok(Start::Run { payload, failures: row.try_get("failures")? })
    }

    pub(super) async fn progress(&self, claim: Claim, percent: u8) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE sluice_jobs SET progress = ? WHERE id = ? AND token = ? AND state = 'running'",
        )
        .bind(percent)
        .bind(claim.job.to_string())
        .bind(claim.token.to_string())
        .execute(&mut *self.file.connection().await?)
        .await?;
        Ok(())
    }

    pub(super) async fn retry(&self, claim: Claim, error: &str) -> Result<bool, StoreError> {
        let changed = sqlx::query(
            "UPDATE sluice_jobs SET state = 'retrying', failures = failures + 1, error = ?
             WHERE id = ? AND token = ? AND state = 'running'",
        )
        .bind(error)
        .bind(claim.job.to_string())
        .bind(claim.token.to_string())
        .execute(&mut *self.file.connection().await?)
        .await?;
        Ok(changed.rows_affected() > 0)
    }

    pub(super) async fn finish(
        &self,
        claim: Claim,
        result: &JobResult,
    ) -> Result<bool, StoreError> {
        let (state, result, error) = match result {
            JobResult::Done(value) => (State::Done, Some(value.to_string()), None),
            JobResult::Failed(error) => (State::Failed, None, Some(error.as_str())),
        };
        let id = claim.job.to_string();
        let token = claim.token.to_string();
        let mut transaction = self.file.begin().await?;
        let held: Option<i64> = sqlx::query_scalar(
            "SELECT 1 FROM sluice_jobs WHERE id = ? AND token = ? AND expires IS NULL",
        )
        .bind(&id)
        .bind(&token)
        .fetch_optional(&mut *transaction)
        .await?;
        if held.is_none() {
            transaction.rollback().await?;
            return Ok(false);
        }
        self.end(&mut transaction, &id, state, result.as_deref(), error).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Ends a job that has not ended, and removes its payload.
    async fn end(
        &self,
        connection: &mut SqliteConnection,
        id: &str,
        state: State,
        result: Option<&str>,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE sluice_jobs SET state = ?, result = ?, error = ?, payload = NULL, token = NULL,
                 expires = ?
             WHERE id = ? AND expires IS NULL",
        )
        .bind(state.name())
        .bind(result)
        .bind(error)
        .bind(now().saturating_add(millis(self.result_ttl)))
        .bind(id)
        .execute(connection)
        .await?;
        Ok(())
    }

    pub(super) async fn renew(
        &self,
        claims: &[Claim],
        lease: Duration,
    ) -> Result<Vec<Claim>, StoreError> {
        let until = now().saturating_add(millis(lease));
        let mut transaction = self.file.begin().await?;
        let mut lost = Vec::new();
        for claim in claims {
            let renewed = sqlx::query(
                "UPDATE sluice_jobs SET leased_until = ?
                 WHERE id = ? AND token = ? AND expires IS NULL",
            )
            .bind(until)
            .bind(claim.job.to_string())
            .bind(claim.token.to_string())
            .execute(&mut *transaction)
            .await?;
            if renewed.rows_affected() == 0 {
                lost.push(*claim);
            }
        }
        transaction.commit().await?;
        Ok(lost)
    }

    pub(super) async fn release(&self, claim: Claim) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE sluice_jobs SET token = NULL, leased_until = 0 WHERE id = ? AND token = ?",
        )
        .bind(claim.job.to_string())
        .bind(claim.token.to_string())
        .execute(&mut *self.file.connection().await?)
        .await?;
        Ok(())
    }

    pub(super) async fn cancel(&self, id: Uuid) -> Result<(), StoreError> {
        let mut connection = self.file.connection().await?;
        self.end(&mut connection, &id.to_string(), State::Cancelled, None, None).await
    }

    pub(super) async fn abandon(&self, queue: Queue, id: Uuid) -> Result<(), StoreError> {
        let mut connection = self.file.connection().await?;
        sqlx::query(
            "INSERT INTO sluice_jobs (id, queue, state, subject, expires)
             VALUES (?, ?, 'cancelled', '', ?) ON CONFLICT DO NOTHING",
        )
        .bind(id.to_string())
        .bind(queue.name())
        .bind(now().saturating_add(millis(self.result_ttl)))
        .execute(&mut *connection)
        .await?;
        self.end(&mut connection, &id.to_string(), State::Cancelled, None, None).await
    }

    pub(super) async fn record(&self, id: Uuid) -> Result<Option<Record>, StoreError> {
        let row = sqlx::query(
            "SELECT queue, state, owner, subject, progress, result, error FROM sluice_jobs
             WHERE id = ? AND (expires IS NULL OR expires > ?)",
        )
        .bind(id.to_string())
        .bind(now())
        .fetch_optional(&mut *self.file.connection().await?)
        .await?;
        row.as_ref().map(record).transpose()
    }

    pub(super) async fn counts(&self) -> Result<[Counts; 3], StoreError> {
        let rows = sqlx::query(
            "SELECT queue, state, count(*) AS jobs,
                 sum(token IS NOT NULL AND leased_until > ?) AS held
             FROM sluice_jobs WHERE expires IS NULL GROUP BY queue, state",
        )
        .bind(now())
        .fetch_all(&mut *self.file.connection().await?)
        .await?;
        let mut counts = [Counts::default(); 3];
        for row in rows {
            let queue: String = row.try_get("queue")?;
            let state: String = row.try_get("state")?;
            let (jobs, held): (u64, u64) = (row.try_get("jobs")?, row.try_get("held")?);
            let queues = Queue::ALL.iter().zip(&mut counts);
            let Some((_, counts)) = queues.into_iter().find(|(it, _)| it.name() == queue) else {
                continue;
            };
            match state.parse().map_err(StoreError::unreadable)? {
                State::Waiting => {
                    counts.waiting += jobs;
                    counts.reserved += held;
                }
                State::Retrying => counts.waiting += jobs,
                State::Running => counts.running += jobs,
                State::Done | State::Failed | State::Cancelled => {}
            }
        }
        Ok(counts)
    }

    pub(super) async fn heartbeat(&self, workers: &[Worker]) -> Result<(), StoreError> {
        let mut transaction = self.file.begin().await?;
        for worker in workers {
            sqlx::query(
                "INSERT OR REPLACE INTO sluice_workers (name, queue, seen) VALUES (?, ?, ?)",
            )
            .bind(&worker.name)
            .bind(worker.queue.name())
            .bind(seconds(worker.seen))
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    pub(super) async fn workers(&self) -> Result<Vec<Worker>, StoreError> {
        let rows = sqlx::query("SELECT name, queue, seen FROM sluice_workers ORDER BY name")
            .fetch_all(&mut *self.file.connection().await?)
            .await?;
        rows.iter()
            .map(|row| {
                let queue: String = row.try_get("queue")?;
                Ok(Worker {
                    name: row.try_get("name")?,
                    queue: queue.parse().map_err(StoreError::unreadable)?,
                    seen: row.try_get("seen")?,
                })
            })
            .collect()
    }

    pub(super) async fn tidy(&self, lost_before: u64) -> Result<(), StoreError> {
        let now = now();
        let mut transaction = self.file.begin().await?;
        // Results from before the clock was set back are kept as long as new results.
        let expires = now.saturating_add(millis(self.result_ttl));
        sqlx::query("UPDATE sluice_jobs SET expires = ?1 WHERE expires > ?1 + ?2")
            .bind(expires)
            .bind(millis(AHEAD))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM sluice_jobs WHERE expires <= ?")
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM sluice_workers WHERE seen < ? OR seen > ?")
            .bind(seconds(lost_before))
            .bind((now + millis(AHEAD)) / 1000)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }
}

fn set_up(connection: &mut SqliteConnection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
    Box::pin(async move {
        connection.execute(SCHEMA).await?;
        let has_owner =
            "SELECT count(*) FROM pragma_table_info('sluice_jobs') WHERE name = 'owner'";
        if sqlx::query_scalar::<_, i64>(has_owner).fetch_one(&mut *connection).await? == 0 {
            connection.execute("ALTER TABLE sluice_jobs ADD COLUMN owner TEXT").await?;
        }
        Ok(())
    })
}

/// How long until the queue may start another job; `None` if it may now.
async fn not_yet(
    connection: &mut SqliteConnection,
    queue: Queue,
    limits: ClaimLimits,
    now: i64,
) -> Result<Option<Duration>, StoreError> {
    let since = now - millis(limits.window);
    sqlx::query("DELETE FROM sluice_starts WHERE queue = ? AND (at <= ? OR at > ?)")
        .bind(queue.name())
        .bind(since)
        .bind(now.saturating_add(millis(AHEAD)))
        .execute(&mut *connection)
        .await?;
    // The start that must leave the window before another job may start.
    let blocking: Option<i64> = sqlx::query_scalar(
        "SELECT at FROM sluice_starts WHERE queue = ? ORDER BY at DESC LIMIT 1 OFFSET ?",
    )
    .bind(queue.name())
    .bind(limits.starts.saturating_sub(1))
    .fetch_optional(connection)
    .await?;
    Ok(blocking.map(|at| from_millis((at - since).max(1))))
}

fn record(row: &SqliteRow) -> Result<Record, StoreError> {
    let text = |column| row.try_get::<String, _>(column);
    let result: Option<String> = row.try_get("result")?;
    let result = result.map(|result| serde_json::from_str::<Value>(&result)).transpose();
    complete(Record {
        queue: text("queue")?.parse().map_err(StoreError::unreadable)?,
        state: text("state")?.parse().map_err(StoreError::unreadable)?,
        owner: row.try_get("owner")?,
        subject: text("subject")?,
        progress: row.try_get("progress")?,
        result: result.map_err(StoreError::unreadable)?,
        error: row.try_get("error")?,
    })
}

fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

fn now() -> i64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
