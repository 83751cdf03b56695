//! The connections to Redis: where it is, and one connection for many callers, which is opened again
//! after any call that failed. Whoever speaks to Redis does so by one of these.
//!
//! Every call has a time limit, so that a Redis that hangs is as good as one that is gone. The
//! URL, which may hold a password, is in no error and no log.

mod connection;
mod server;
#[cfg(test)]
mod tests;

use std::time::Duration;

use redis::{RedisError, RedisResult};

pub use connection::Connection;
pub use server::{Server, Socket};

use crate::system::time::timeout;

/// Why Redis did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum RedisFailure {
    /// It refused, or was not there.
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    /// It did not answer in time.
    #[error("Redis did not answer within {}", humantime::format_duration(*.0))]
    Slow(Duration),
}

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
    /// When the URL makes no sense.
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
