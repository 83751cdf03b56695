//! Resets of cooldowns, made known to all replicas.
//!
//! Redis keeps one number that each reset raises; every replica looks at it once a second and
//! resets its own cooldowns when it has changed. Without Redis a reset is this process's alone.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::storage::redis::{Redis, RedisFailure};

const LOOK_EVERY: Duration = Duration::from_secs(1);

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

    /// Tells all replicas, this one included, to reset their cooldowns.
    ///
    /// # Errors
    /// When Redis can't be reached; then the others were not told.
    pub(super) async fn announce(&self) -> Result<(), RedisFailure> {
        let mut connection = self.redis.connection();
        let mut raise = redis::cmd("INCR");
        raise.arg(&self.key);
        self.redis.in_time(raise.query_async::<u64>(&mut connection)).await?;
        Ok(())
    }

    /// Calls `reset` whenever somebody has announced one since the last look. Never ends.
    pub(super) async fn follow(self, reset: impl Fn()) {
        let mut looks = interval(LOOK_EVERY);
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
