//! The places where records can be, and the steps that both take in one piece.

use std::time::Duration;

use prometheus::IntCounter;

use super::redis::RedisStore;
use super::sqlite::SqliteStore;
use crate::config::{self, ResponseStoreBackend};
use crate::storage::{StoreError, dispatch};

/// The time limit of tidying, in time limits of a call. No request waits for tidying.
const TIDY_CALLS: u32 = 10;

/// Records that have expired which storing another one removes, at most: a few more than it adds.
pub(super) const EXPIRED_AT_ONCE: u32 = 16;

/// What bounds the store. Bytes are those of sealed records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How long a record is kept.
    pub(super) ttl: Duration,
    /// Of one client.
    pub(super) per_client: u64,
    /// Of all.
    pub(super) total: u64,
}

impl Bounds {
    pub(super) fn of(config: &config::ResponseStore) -> Bounds {
        let bytes = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        Bounds {
            ttl: config.ttl,
            per_client: bytes(config.max_bytes_per_client),
            total: bytes(config.max_bytes),
        }
    }
}

/// A record to be stored.
#[derive(Debug)]
pub(super) struct NewRecord {
    /// Its name, in hexadecimal digits.
    pub(super) name: String,
    /// Whose it is, in hexadecimal digits.
    pub(super) owner: String,
    pub(super) sealed: Vec<u8>,
}

impl NewRecord {
    /// Bytes that count.
    pub(super) fn bytes(&self) -> i64 {
        i64::try_from(self.sealed.len()).unwrap_or(i64::MAX)
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Stored,
    /// It would be too much of its client.
    ClientFull,
    /// It would be too much in all.
    StoreFull,
}

/// The configured store.
#[derive(Debug)]
pub(super) enum Store {
    Sqlite(SqliteStore),
    Redis(RedisStore),
}

impl Store {
    /// The configured store; `None` without one. Nothing is opened yet. `replaced` counts how often the
    /// store's file was found deleted or replaced.
    ///
    /// # Errors
    /// When the URL of Redis is invalid.
    pub(super) fn new(
        config: &config::ResponseStore,
        replaced: IntCounter,
    ) -> Result<Option<Store>, StoreError> {
        Ok(match &config.backend {
            ResponseStoreBackend::Off => None,
            ResponseStoreBackend::Sqlite { path } => {
                Some(Store::Sqlite(SqliteStore::new(path, config.timeout, replaced)))
            }
            ResponseStoreBackend::Redis { url, prefix } => {
                Some(Store::Redis(RedisStore::new(url.expose(), prefix, config.timeout)?))
            }
        })
    }

    /// Checks that the store can be read and written.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        dispatch!(Store, self, 1, store => store.check())
    }

    /// Stores a record, unless there would be too much.
    pub(super) async fn keep(
        &self,
        record: &NewRecord,
        bounds: &Bounds,
    ) -> Result<Kept, StoreError> {
        dispatch!(Store, self, 1, store => store.keep(record, bounds))
    }

    /// The sealed record with this name; `None` if there is none that has not expired.
    pub(super) async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        dispatch!(Store, self, 1, store => store.get(name))
    }

    /// Removes the record with this name, and returns whether there was one.
    pub(super) async fn delete(&self, name: &str, owner: &str) -> Result<bool, StoreError> {
        dispatch!(Store, self, 1, store => store.delete(name, owner))
    }

    /// Removes what has expired, and returns how many bytes are kept.
    pub(super) async fn tidy(&self, ttl: Duration) -> Result<i64, StoreError> {
        dispatch!(Store, self, TIDY_CALLS, store => store.tidy(ttl))
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A bound on a sum that is an `i64`.
pub(super) fn at_most(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
