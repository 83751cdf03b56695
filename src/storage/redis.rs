//! Connections to Redis: its address, and one connection for many callers, which is opened again after any
//! failed call.
//!
//! Every call has a time limit, so that a Redis that hangs counts as unreachable. No error and no log contains
//! the URL, which may hold a password.

mod connection;
mod server;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use redis::{RedisError, RedisResult};

pub use connection::Connection;
pub use server::{Server, Socket};

use crate::config;
use crate::system::time::timeout;

/// Why a call to Redis failed.
#[derive(Debug, thiserror::Error)]
pub enum RedisFailure {
    /// Redis refused the call, or was not reachable.
    #[error("Redis: {}", text_of(.0))]
    Redis(#[from] RedisError),
    /// Redis did not answer in time.
    #[error("Redis did not answer within {}", humantime::format_duration(*.0))]
    Slow(Duration),
}

/// The text of an error, which for one of TLS is in plain words.
fn text_of(error: &RedisError) -> String {
    // The library shares what it wraps.
    let wrapped = error.source().map(|cause| match cause.downcast_ref::<Arc<SharedError>>() {
        Some(shared) => &**shared,
        None => cause,
    });
    let tls = wrapped.and_then(config::tls_error);
    tls.map_or_else(|| error.to_string(), |tls| format!("TLS: {tls}"))
}

type SharedError = dyn Error + Send + Sync;

/// A Redis server by its URL: standalone, behind a proxy, or a node of a cluster.
#[derive(Clone, Debug)]
pub struct Redis {
    connection: Connection,
    limit: Duration,
}

impl Redis {
    /// The server at `url`; no call takes longer than `limit`. Connects to nothing yet.
    ///
    /// # Errors
    /// When the URL is invalid.
    pub fn new(url: &str, limit: Duration) -> Result<Redis, RedisFailure> {
        Ok(Redis { connection: Connection::new(Server::at(url, limit)?), limit })
    }

    /// The connection, to make calls with.
    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// Waits for a call, for as long as a call may take.
    ///
    /// # Errors
    /// When it fails or takes longer.
    pub async fn in_time<T>(
        &self,
        call: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, RedisFailure> {
        Ok(self.within_limit(call).await??)
    }

    /// The same for a call with errors of its own.
    ///
    /// # Errors
    /// When it takes longer.
    pub async fn within_limit<T>(&self, call: impl Future<Output = T>) -> Result<T, RedisFailure> {
        timeout(self.limit, call).await.map_err(|_| RedisFailure::Slow(self.limit))
    }
}
