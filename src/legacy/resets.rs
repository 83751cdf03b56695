//! Resets of cooldowns, announced to all replicas.
//!
//! Redis keeps a counter that each reset increments. Every replica reads it once a second and resets its own
//! cooldowns when it has changed. Without Redis a reset affects this process alone.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::storage::redis::{Redis, RedisFailure};

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The resets of all replicas that share a Redis.
#[derive(Clone, Debug)]
pub(super) struct Resets {
    redis: Redis,
    key: String,
}

impl Resets {
    /// Resets kept under keys that start with `prefix`.
    pub(super) fn new(redis: Redis, prefix: &str) -> Resets {
        Resets { redis, key: format!("{{{prefix}}}:cooldown_resets") }
    }

    /// Has all replicas, this one included, reset their cooldowns.
    ///
    /// # Errors
    /// When Redis can't be reached; then no other replica resets its cooldowns.
    pub(super) async fn announce(&self) -> Result<(), RedisFailure> {
        let mut connection = self.redis.connection();
        let mut raise = redis::cmd("INCR");
        raise.arg(&self.key);
        self.redis.in_time(raise.query_async::<u64>(&mut connection)).await?;
        Ok(())
    }

    /// Calls `reset` after each announcement of a replica. Never ends.
    pub(super) async fn follow(self, reset: impl Fn()) {
        let mut looks = interval(POLL_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = None;
        loop {
            looks.tick().await;
            // What was announced while Redis was gone is seen when it is back.
            let Ok(now) = self.number().await else { continue };
            if known.is_some_and(|known| known != now) {
                reset();
            }
            known = Some(now);
        }
    }

    async fn number(&self) -> Result<u64, RedisFailure> {
        let mut connection = self.redis.connection();
        // A write that changes nothing: a server that was demoted would go on to answer what is read.
        let mut look = redis::cmd("INCRBY");
        look.arg(&self.key).arg(0);
        self.redis.in_time(look.query_async(&mut connection)).await
    }
}
