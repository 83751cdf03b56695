//! One connection to Redis for many callers, made at first use and made again when it is lost.
//!
//! Every call has a time limit, so that a Redis that hangs is as good as one that is gone. The
//! URL, which may hold a password, is in no error and no log.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, RedisResult};
use tokio::sync::OnceCell;

use crate::system::time::timeout;

/// Longest pause before a lost connection is tried again.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(1);

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

/// A Redis server, standalone or behind a proxy, by its URL.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    client: Client,
    config: ConnectionManagerConfig,
    connection: OnceCell<ConnectionManager>,
    limit: Duration,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

impl Redis {
    /// The server at `url`; no call takes longer than `limit`. Connects to nothing yet.
    ///
    /// # Errors
    /// When the URL makes no sense.
    pub fn new(url: &str, limit: Duration) -> Result<Redis, RedisFailure> {
        Ok(Redis(Arc::new(Inner {
            client: Client::open(url)?,
            config: ConnectionManagerConfig::new()
                .set_connection_timeout(Some(limit))
                .set_response_timeout(Some(limit))
                .set_number_of_retries(1)
                .set_max_delay(MAX_RECONNECT_DELAY),
            connection: OnceCell::new(),
            limit,
        })))
    }

    /// A handle on the connection, to make calls with.
    ///
    /// # Errors
    /// When there is none and none could be made in time.
    pub async fn connection(&self) -> Result<ConnectionManager, RedisFailure> {
        let Inner { client, config, connection, .. } = &*self.0;
        let connect = || ConnectionManager::new_with_config(client.clone(), config.clone());
        let connection = self.in_time(connection.get_or_try_init(connect)).await?;
        Ok(connection.clone())
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
        let limit = self.0.limit;
        timeout(limit, call).await.map_err(|_| RedisFailure::Slow(limit))
    }
}
