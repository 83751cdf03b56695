//! Sums in Redis, shared by all replicas.
//!
//! Each period of a name is a hash with one field for each process, which holds what that process
//! has added. The sum is that of the fields. A process writes its whole figure each time, so a
//! write whose answer was lost is made again and counts once. A hash lives a little longer than its
//! period.

use std::time::SystemTime;

use redis::{Cmd, Pipeline};
use uuid::Uuid;

use super::{Entry, Kind};
use crate::storage::StoreError;
use crate::storage::redis::Redis;

/// Entries of one round trip.
const BATCH: usize = 500;

/// How long what a check wrote is kept.
const PROBE_SECONDS: u64 = 60;

/// Sums in Redis.
#[derive(Debug)]
pub struct RedisStore {
    redis: Redis,
    prefix: String,
    /// This process among all that write there.
    process: String,
}

impl RedisStore {
    pub(super) fn new(redis: Redis, prefix: &str) -> RedisStore {
        RedisStore { redis, prefix: prefix.to_owned(), process: Uuid::new_v4().to_string() }
    }

    pub(super) async fn add(
        &self,
        entries: &[Entry],
        _now: SystemTime,
    ) -> Result<Vec<u64>, StoreError> {
        let mut sums = Vec::with_capacity(entries.len());
        for batch in entries.chunks(BATCH) {
            let mut connection = self.redis.connection();
            let pipeline = self.pipeline(batch);
            let answer = pipeline.query_async::<Vec<Vec<String>>>(&mut connection);
            let answer = self.redis.in_time(answer).await?;
            for fields in &answer {
                sums.push(sum(fields)?);
            }
        }
        Ok(sums)
    }

    /// Sees whether Redis can be written: one that is full, or a replica, answers all the same.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let mut connection = self.redis.connection();
        self.redis.in_time(self.probe().query_async::<()>(&mut connection)).await?;
        Ok(())
    }

    fn probe(&self) -> Cmd {
        let mut set = redis::cmd("SET");
        set.arg(format!("{{{}}}:budget_probe", self.prefix)).arg(1).arg("EX").arg(PROBE_SECONDS);
        set
    }

    fn pipeline(&self, entries: &[Entry]) -> Pipeline {
        let mut pipeline = redis::pipe();
        // A write in any case: a server that was made a replica goes on to answer what is read, and may
        // know less than all replicas have spent.
        pipeline.add_command(self.probe()).ignore();
        for entry in entries {
            let key = self.key(entry);
            if entry.added > 0 || entry.restores && entry.own > 0 {
                pipeline.cmd("HSET").arg(&key).arg(&self.process).arg(entry.own).ignore();
                pipeline.cmd("EXPIRE").arg(&key).arg(kept_seconds(entry.period.kind)).ignore();
            }
            pipeline.cmd("HVALS").arg(&key);
        }
        pipeline
    }

    fn key(&self, entry: &Entry) -> String {
        let Entry { name, period, .. } = entry;
        // One slot of a cluster for all, as the other keys of the gateway.
        format!("{{{}}}:budget:{}:{}:{name}", self.prefix, period.kind.name(), period.number)
    }
}

/// The sum of the figures of all processes.
fn sum(fields: &[String]) -> Result<u64, StoreError> {
    fields.iter().try_fold(0_u64, |sum, field| {
        let figure: u64 = field.parse().map_err(StoreError::unreadable)?;
        sum.checked_add(figure).ok_or_else(|| StoreError::unreadable("a sum of a budget overflows"))
    })
}

/// Longer than any period, from its last write on.
fn kept_seconds(kind: Kind) -> u64 {
    const DAY: u64 = 24 * 60 * 60;
    match kind {
        Kind::Daily => 2 * DAY,
        Kind::Monthly => 33 * DAY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_make_no_sum_are_refused() {
        let sum = |fields: &[&str]| {
            let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
            sum(&fields).ok()
        };
        assert_eq!(sum(&[]), Some(0));
        assert_eq!(sum(&["5", "7"]), Some(12));
        assert_eq!(sum(&["5", "seven"]), None);
        assert_eq!(sum(&["18446744073709551615", "1"]), None);
    }
}
