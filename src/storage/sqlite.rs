//! One SQLite file of a store, and the one connection to it.
//!
//! The connection is made at first use and made again after every failure, and the tables are looked
//! at each time it is made: a store that fails today works again as soon as its file can be written,
//! without a restart. Before each use the file at the path is compared with the one that is open, so
//! that a file that was deleted or replaced is noticed before it is written. Users of the pool itself have all of
//! that too.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use prometheus::IntCounter;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{
    Connection as _, Error, Executor as _, SqlSafeStr as _, Sqlite, SqliteConnection, SqlitePool,
    Transaction,
};

/// Pages of the log beside the file before they are moved into it. Small, so that the log does not
/// fill a small disk by itself.
const CHECKPOINT_PAGES: &str = "64";

/// Bytes that a store that was full must be able to write before it counts as writable: a quarter of
/// what the log grows to, so that it is not full again at once.
const ROOM: i64 = 64 * 1024;

const PROBE: &str = "
CREATE TABLE IF NOT EXISTS sluice_probe (id INTEGER NOT NULL PRIMARY KEY, room BLOB NOT NULL);
";

/// Creates the tables that are missing, within a transaction.
pub type SetUp = for<'c> fn(&'c mut SqliteConnection) -> BoxFuture<'c, Result<(), sqlx::Error>>;

/// A SQLite file. Clones are the same.
#[derive(Clone, Debug)]
pub struct SqliteFile {
    pool: SqlitePool,
    opened: Arc<OpenConnection>,
}

/// What is known of the connection.
struct OpenConnection {
    path: PathBuf,
    /// What is kept there, for the log.
    what: &'static str,
    set_up: SetUp,
    state: Mutex<State>,
    /// Whether the connection is to be closed before its next use.
    is_doubted: AtomicBool,
    times: AtomicU64,
    replaced: IntCounter,
}

#[derive(Default)]
struct State {
    /// The file that was opened last.
    file: Option<FileId>,
    /// Whether the tables were ever made ready.
    had_tables: bool,
    /// Why the tables of the connection could not be made ready.
    problem: Option<Error>,
}

/// Device and inode: they identify a file across renames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl std::fmt::Debug for OpenConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenConnection").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteFile {
    /// The file at `path`, which `what` names in the log. Opens nothing yet. Every call takes at most
    /// about `limit` until another process lets the file go; `replaced` counts the times that it was
    /// found deleted or replaced.
    pub fn new(
        path: &Path,
        what: &'static str,
        limit: Duration,
        set_up: SetUp,
        replaced: IntCounter,
    ) -> SqliteFile {
        let opened = Arc::new(OpenConnection {
            path: path.to_owned(),
            what,
            set_up,
            state: Mutex::default(),
            is_doubted: AtomicBool::new(false),
            times: AtomicU64::new(0),
            replaced,
        });
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(false)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            // Shorter than the caller's wait, so that the caller gets the reason.
            .busy_timeout(limit.mul_f64(0.6));
        let (connecting, acquiring) = (Arc::clone(&opened), Arc::clone(&opened));
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(limit)
            // While the connection is open its file's inode is not given to another file.
            .idle_timeout(None)
            .max_lifetime(None)
            .after_connect(move |connection, _| {
                let opened = Arc::clone(&connecting);
                Box::pin(async move {
                    opened.connected(connection).await;
                    Ok(())
                })
            })
            .before_acquire(move |connection, _| {
                let opened = Arc::clone(&acquiring);
                Box::pin(async move { Ok(opened.is_usable(connection).await) })
            })
            .connect_lazy_with(options);
        SqliteFile { pool, opened }
    }

    /// The pool of the one connection.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// The connection, to a file that has its tables.
    ///
    /// # Errors
    /// When the file can't be opened, or its tables can't be made.
    pub async fn connection(&self) -> Result<PoolConnection<Sqlite>, Error> {
        self.opened.create_file().await?;
        let connection = self.pool.acquire().await?;
        match self.opened.state().problem.take() {
            Some(problem) => Err(problem),
            None => Ok(connection),
        }
    }

    /// Begins to write. What is not committed is undone.
    ///
    /// # Errors
    /// As of [`SqliteFile::connection`], or when another process writes.
    pub async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        let statement = "BEGIN IMMEDIATE".into_sql_str();
        Transaction::begin(self.connection().await?, Some(statement)).await
    }

    /// Closes the connection before its next use, since a call has failed or was given up.
    pub fn doubt(&self) {
        self.opened.is_doubted.store(true, Ordering::Release);
    }

    /// Checks whether the file can be written and has some room.
    ///
    /// # Errors
    /// When it can't be.
    pub async fn probe(&self) -> Result<(), Error> {
        for room in [ROOM, 0] {
            let mut transaction = self.begin().await?;
            sqlx::query("INSERT OR REPLACE INTO sluice_probe (id, room) VALUES (1, zeroblob(?))")
                .bind(room)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// How often it was opened.
    pub fn times_opened(&self) -> u64 {
        self.opened.times.load(Ordering::Acquire)
    }

    /// Whether the file at the path is another than the one that is open, or none.
    pub async fn is_elsewhere(&self) -> bool {
        let known = self.opened.state().file;
        known.is_some() && known != file_at(&self.opened.path).await
    }
}

impl OpenConnection {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Makes an empty file where there is none, for this user alone; SQLite gives the files beside
    /// it the same mode. One that is there is not opened: to close it again would take SQLite's
    /// locks away.
    async fn create_file(&self) -> Result<(), Error> {
        match tokio::fs::metadata(&self.path).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::Io(error)),
            Ok(found) if found.is_file() => return Ok(()),
            Ok(_) => {
                let not_a_file = "there is something at the path that is not a file";
                return Err(Error::Io(std::io::Error::new(ErrorKind::InvalidInput, not_a_file)));
            }
        }
        let mut options = tokio::fs::OpenOptions::new();
        match options.create_new(true).append(true).mode(0o600).open(&self.path).await {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(Error::Io(error)),
            _ => Ok(()),
        }
    }

    /// Makes a new connection ready.
    async fn connected(&self, connection: &mut SqliteConnection) {
        self.is_doubted.store(false, Ordering::Release);
        let file = file_at(&self.path).await;
        // While the file is not open its inode may have become that of a newer file.
        let is_empty = is_empty(connection).await;
        let ready = self.make_tables(connection).await;
        if ready.is_err() {
            self.is_doubted.store(true, Ordering::Release);
        }
        let mut state = self.state();
        let before = std::mem::replace(&mut state.file, file);
        let had_tables = state.had_tables;
        state.had_tables |= ready.is_ok();
        state.problem = ready.err();
        drop(state);
        self.times.fetch_add(1, Ordering::AcqRel);
        let is_another = before.is_some_and(|before| Some(before) != file);
        if is_another || had_tables && is_empty {
            self.replaced.inc();
            let (what, path) = (self.what, self.path.display());
            tracing::warn!(%path, "the file of {what} was deleted or replaced: opened the file that is now at its path");
        }
    }

    async fn make_tables(&self, connection: &mut SqliteConnection) -> Result<(), Error> {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::raw_sql(PROBE).execute(&mut *transaction).await?;
        (self.set_up)(&mut transaction).await?;
        transaction.commit().await
    }

    /// Whether the connection may be used once more.
    async fn is_usable(&self, connection: &mut SqliteConnection) -> bool {
        // An error may have ended the transaction without the library's knowledge, which then takes
        // every further one for a part of it.
        if self.is_doubted.load(Ordering::Acquire) || connection.is_in_transaction() {
            return false;
        }
        let known = self.state().file;
        let is_same = known == file_at(&self.path).await;
        if !is_same {
            // Else what the log beside the file holds would be taken for the new file's.
            let _emptied = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
        }
        is_same
    }
}

/// Whether the file has no tables; false if that is not known.
async fn is_empty(connection: &mut SqliteConnection) -> bool {
    let tables = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM sqlite_master");
    tables.fetch_one(connection).await.is_ok_and(|tables| tables == 0)
}

async fn file_at(path: &Path) -> Option<FileId> {
    let found = tokio::fs::metadata(path).await.ok()?;
    Some(FileId { device: found.dev(), inode: found.ino() })
}
