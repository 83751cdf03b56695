//! Why a call to a store failed, whichever store it is, and the time limit of such a call.

use std::fmt::Display;
use std::time::Duration;

use super::redis::RedisFailure;
use crate::system::time::timeout;

/// Why a call to a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The SQLite file can't be used.
    #[error("SQLite: {0}")]
    Sqlite(#[from] sqlx::Error),
    /// Redis refused the call, or is unreachable.
    #[error(transparent)]
    Redis(#[from] RedisFailure),
    /// The store works, but holds a value that this version can't read.
    #[error("a stored value can't be read: {0}")]
    Unreadable(String),
    /// The store did not answer in time.
    #[error("the store did not answer within {}", humantime::format_duration(*.0))]
    Slow(Duration),
}

impl StoreError {
    /// The error of a stored value that can't be read, for this reason.
    pub fn unreadable(reason: impl Display) -> StoreError {
        StoreError::Unreadable(reason.to_string())
    }

    /// Whether the store itself failed, and not the reading of one value.
    pub fn is_of_store(&self) -> bool {
        !matches!(self, StoreError::Unreadable(_))
    }
}

/// Waits for a call to a store for at most `limit`.
///
/// # Errors
/// When the call fails, or takes longer.
pub async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(limit, call).await.unwrap_or(Err(StoreError::Slow(limit)))
}
