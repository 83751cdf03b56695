//! Responses that the gateway keeps itself, so that clients can continue and read those of models whose upstream
//! stores none.
//!
//! A record belongs to one client and one id: both are in its name and in its encryption, so no other client finds
//! or reads it, and a copy under another name is of no use. It leaves the process encrypted (`seal.rs`). The
//! bounds on one record, on those of a client and on all are checked in the step that stores it, in SQLite or in
//! Redis. Nothing waits for a store that is known to be unavailable, and an unavailable store is an error, never
//! an unknown id.

mod maintenance;
mod redis;
mod seal;
mod sqlite;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use prometheus::IntCounter;

use self::seal::{Name, Sealer};
use self::store::{Bounds, Kept, NewRecord, Store};
use crate::api::response_id::{Owner, PREFIX};
use crate::config;
use crate::storage::StoreError;
use crate::telemetry::{Dependencies, Metrics};

/// Its name among the dependencies.
const DEPENDENCY: &str = "response_store";

/// Hexadecimal digits behind the prefix of an id.
const DIGITS: usize = 32;

/// What the gateway keeps. Clones are the same store.
#[derive(Clone)]
pub struct ResponseStore {
    shared: Arc<Shared>,
    sealer: Arc<Sealer>,
    bounds: Bounds,
    max_response_bytes: usize,
}

/// What stays over a reload.
struct Shared {
    store: Store,
    /// Whether the last call that read failed.
    reads_fail: AtomicBool,
    /// Whether the last call that wrote failed.
    writes_fail: AtomicBool,
    /// Milliseconds that records are kept, by the newest config.
    ttl: AtomicU64,
    metrics: Arc<Metrics>,
}

/// The store can't be reached, or a record can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(String);

/// Why a response is not kept.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// It is longer than the bound.
    #[error("it is longer than response_store.max_response_bytes")]
    TooLong,
    /// Its client has as much in the store as it may have.
    #[error("its client's responses have reached response_store.max_bytes_per_client")]
    ClientFull,
    /// The store has as much as it may have.
    #[error("all responses have reached response_store.max_bytes")]
    StoreFull,
    /// The store can't be reached.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl NotKept {
    /// Its label in metrics.
    fn name(&self) -> &'static str {
        match self {
            NotKept::TooLong => "too_long",
            NotKept::ClientFull => "client_full",
            NotKept::StoreFull => "store_full",
            NotKept::Unavailable(_) => "unavailable",
        }
    }
}

/// Whether an id has the form of those under which responses are kept. Ids of responses that upstreams store are
/// longer.
pub fn is_id(id: &str) -> bool {
    let digits = id.strip_prefix(PREFIX).unwrap_or_default().as_bytes();
    digits.len() == DIGITS && digits.iter().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
}

/// Checks that the configured store can be used and written.
///
/// # Errors
/// When it can't be.
pub async fn check_store(
    config: &config::ResponseStore,
    replaced: IntCounter,
) -> Result<(), StoreError> {
    match Store::new(config, replaced)? {
        Some(store) => store.check().await,
        None => Ok(()),
    }
}

impl fmt::Debug for ResponseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseStore").finish_non_exhaustive()
    }
}

impl ResponseStore {
    /// The configured store; `None` without one. It connects to nothing yet.
    ///
    /// # Errors
    /// When the store's address is invalid.
    pub fn new(
        config: &config::ResponseStore,
        metrics: &Arc<Metrics>,
    ) -> Result<Option<ResponseStore>, StoreError> {
        let replaced = metrics.store_files_replaced.with_label_values(&[DEPENDENCY]);
        let Some(store) = Store::new(config, replaced)? else {
            let _ = metrics.store_files_replaced.remove_label_values(&[DEPENDENCY]);
            return Ok(None);
        };
        metrics.dependencies.is_unchecked(DEPENDENCY);
        let shared = Shared {
            store,
            reads_fail: AtomicBool::new(false),
            writes_fail: AtomicBool::new(false),
            ttl: AtomicU64::new(millis(config.ttl)),
            metrics: Arc::clone(metrics),
        };
        Ok(Some(ResponseStore {
            shared: Arc::new(shared),
            sealer: Arc::new(Sealer::new(&config.keys)),
            bounds: Bounds::of(config),
            max_response_bytes: config.max_response_bytes,
        }))
    }

    /// The same store with the keys and bounds of a newer config. Where it is changes at the next start only.
    pub fn with_config(&self, config: &config::ResponseStore) -> ResponseStore {
        self.shared.ttl.store(millis(config.ttl), Ordering::Release);
        let sealer = match config.keys.is_empty() {
            // The newer config has no store.
            true => Arc::clone(&self.sealer),
            false => Arc::new(Sealer::new(&config.keys)),
        };
        ResponseStore {
            shared: Arc::clone(&self.shared),
            sealer,
            bounds: Bounds::of(config),
            max_response_bytes: config.max_response_bytes,
        }
    }

    /// Starts its maintenance, which ends with the store. Call this within a tokio runtime.
    pub fn start(&self) {
        tokio::spawn(maintenance::run(Arc::downgrade(&self.shared)));
    }

    /// Longest record that is kept, in bytes.
    pub fn max_response_bytes(&self) -> usize {
        self.max_response_bytes
    }

    /// Keeps a record for `owner`, under a new id.
    ///
    /// # Errors
    /// When it is not kept. That is counted.
    pub async fn keep(&self, owner: Owner, id: &str, record: &str) -> Result<(), NotKept> {
        let kept = self.try_to_keep(owner, id, record).await;
        let result = kept.as_ref().map_or_else(NotKept::name, |()| "stored");
        self.shared.metrics.kept_responses.with_label_values(&[result]).inc();
        kept
    }

    /// Counts a response that is too long to be kept.
    pub fn note_too_long(&self) {
        let result = NotKept::TooLong.name();
        self.shared.metrics.kept_responses.with_label_values(&[result]).inc();
    }

    async fn try_to_keep(&self, owner: Owner, id: &str, record: &str) -> Result<(), NotKept> {
        if record.len() > self.max_response_bytes {
            return Err(NotKept::TooLong);
        }
        let shared = &self.shared;
        shared.ensure(&[&shared.writes_fail, &shared.reads_fail])?;
        let name = Name::of(owner, id);
        let sealed = self.sealer.seal(&name, record.as_bytes());
        let sealed = sealed.ok_or_else(|| Unavailable("the record can't be encrypted".into()))?;
        let new = NewRecord { name: name.to_hex(), owner: owner.to_hex(), sealed };
        let kept = shared.store.keep(&new, &self.bounds).await;
        match shared.noted(kept, &shared.writes_fail)? {
            Kept::Stored => Ok(()),
            Kept::ClientFull => Err(NotKept::ClientFull),
            Kept::StoreFull => Err(NotKept::StoreFull),
        }
    }

    /// The record that `owner` has under an id; `None` if there is none.
    ///
    /// # Errors
    /// When that is not known, or no key of the config decrypts it.
    pub async fn get(&self, owner: Owner, id: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        if !is_id(id) {
            return Ok(None);
        }
        let shared = &self.shared;
        shared.ensure(&[&shared.reads_fail])?;
        let name = Name::of(owner, id);
        let found = shared.store.get(&name.to_hex()).await;
        let Some(sealed) = shared.noted(found, &shared.reads_fail)? else { return Ok(None) };
        let Some(record) = self.sealer.open(&name, &sealed) else {
            tracing::warn!("no key of response_store.keys decrypts a response that is kept");
            return Err(Unavailable("no key decrypts the record".to_owned()));
        };
        Ok(Some(record))
    }

    /// Removes the record that `owner` has under an id, and returns whether there was one.
    ///
    /// # Errors
    /// When that is not known.
    pub async fn delete(&self, owner: Owner, id: &str) -> Result<bool, Unavailable> {
        if !is_id(id) {
            return Ok(false);
        }
        let shared = &self.shared;
        shared.ensure(&[&shared.writes_fail, &shared.reads_fail])?;
        let name = Name::of(owner, id).to_hex();
        let deleted = shared.store.delete(&name, &owner.to_hex()).await;
        shared.noted(deleted, &shared.writes_fail)
    }
}

impl Shared {
    /// Fails at once while calls of this kind are known to fail.
    fn ensure(&self, failing: &[&AtomicBool]) -> Result<(), Unavailable> {
        match failing.iter().any(|it| it.load(Ordering::Acquire)) {
            true => Err(Unavailable("the store of responses is not reachable".to_owned())),
            false => Ok(()),
        }
    }

    /// Notes the result of a call.
    fn noted<T>(
        &self,
        result: Result<T, StoreError>,
        fails: &AtomicBool,
    ) -> Result<T, Unavailable> {
        result.map_err(|error| {
            if error.is_of_store() {
                let was_failing = fails.swap(true, Ordering::AcqRel);
                self.metrics.dependencies.fails(DEPENDENCY, &error);
                if !was_failing {
                    tracing::error!(%error, "the store of responses is not reachable");
                }
            }
            Unavailable(format!("the store of responses is not reachable: {error}"))
        })
    }

    fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl.load(Ordering::Acquire))
    }

    fn is_failing(&self) -> bool {
        self.reads_fail.load(Ordering::Acquire) || self.writes_fail.load(Ordering::Acquire)
    }

    fn dependencies(&self) -> &Dependencies {
        &self.metrics.dependencies
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
