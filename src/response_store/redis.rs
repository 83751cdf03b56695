//! Records in Redis, for replicas that share them.
//!
//! Each record is a key that expires by itself. A sorted set has the names and lengths of all records by their
//! expiry, and a hash the sums of each client and of all (`all`), which each step brings up to date. A change is
//! one Lua script, which is atomic and uses the clock of Redis. All keys have one hash tag, as a cluster requires.

use std::time::Duration;

use ::redis::{Cmd, FromRedisValue, Script, ScriptInvocation};

use super::store::{Bounds, EXPIRED_AT_ONCE, Kept, NewRecord, at_most, millis};
use crate::storage::StoreError;
use crate::storage::redis::Redis;

/// How long what a check wrote is kept.
const PROBE_SECONDS: u64 = 60;

/// Expired records that one step of tidying brings up to date in the sums.
const TIDIED_AT_ONCE: u32 = 1000;

pub(super) struct RedisStore {
    redis: Redis,
    prefix: String,
    keep: Script,
    delete: Script,
    tidy: Script,
    limit: Duration,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore").finish_non_exhaustive()
    }
}

impl RedisStore {
    pub(super) fn new(url: &str, prefix: &str, limit: Duration) -> Result<RedisStore, StoreError> {
        Ok(RedisStore {
            redis: Redis::new(url, limit)?,
            prefix: prefix.to_owned(),
            keep: Script::new(include_str!("lua/keep.lua")),
            delete: Script::new(include_str!("lua/delete.lua")),
            tidy: Script::new(include_str!("lua/tidy.lua")),
            limit,
        })
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Sees whether Redis can be written: one that is full, or a replica, answers all the same.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let mut connection = self.redis.connection();
        self.redis.in_time(self.probe().query_async::<()>(&mut connection)).await?;
        Ok(())
    }

    pub(super) async fn keep(
        &self,
        record: &NewRecord,
        bounds: &Bounds,
    ) -> Result<Kept, StoreError> {
        let mut invocation = self.keep.key(self.record(&record.name));
        invocation
            .key(self.key("expiries"))
            .key(self.key("bytes"))
            .arg(&record.name)
            .arg(&record.owner)
            .arg(millis(bounds.ttl))
            .arg(at_most(bounds.per_client))
            .arg(at_most(bounds.total))
            .arg(EXPIRED_AT_ONCE)
            .arg(record.sealed.as_slice());
        let kept: String = self.invoke(&invocation).await?;
        match kept.as_str() {
            "stored" => Ok(Kept::Stored),
            "client_full" => Ok(Kept::ClientFull),
            "store_full" => Ok(Kept::StoreFull),
            other => Err(StoreError::unreadable(format!("unknown reply '{other}' of a script"))),
        }
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let mut connection = self.redis.connection();
        let mut get = ::redis::cmd("GET");
        get.arg(self.record(name));
        let call = get.query_async::<Option<Vec<u8>>>(&mut connection);
        let found = self.redis.in_time(call).await?;
        if found.is_some() {
            return Ok(found);
        }
        // A server that was made a replica goes on to answer what is read, and may lack what another one has. It
        // refuses the write, and then both commands go to the other one.
        let mut pipeline = ::redis::pipe();
        pipeline.add_command(self.probe()).ignore().add_command(get);
        let call = pipeline.query_async::<(Option<Vec<u8>>,)>(&mut connection);
        let (found,) = self.redis.in_time(call).await?;
        Ok(found)
    }

    pub(super) async fn delete(&self, name: &str, owner: &str) -> Result<bool, StoreError> {
        let mut invocation = self.delete.key(self.record(name));
        invocation.key(self.key("expiries")).key(self.key("bytes")).arg(name).arg(owner);
        Ok(self.invoke::<i64>(&invocation).await? > 0)
    }

    /// Redis removes the records themselves.
    pub(super) async fn tidy(&self, _ttl: Duration) -> Result<i64, StoreError> {
        loop {
            let mut invocation = self.tidy.key(self.key("expiries"));
            invocation.key(self.key("bytes")).arg(TIDIED_AT_ONCE);
            let (removed, bytes): (u32, i64) = self.invoke(&invocation).await?;
            if removed < TIDIED_AT_ONCE {
                return Ok(bytes);
            }
        }
    }

    async fn invoke<T: FromRedisValue>(
        &self,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let mut connection = self.redis.connection();
        Ok(self.redis.in_time(invocation.invoke_async(&mut connection)).await?)
    }

    fn probe(&self) -> Cmd {
        let mut set = ::redis::cmd("SET");
        set.arg(self.key("probe")).arg(1).arg("EX").arg(PROBE_SECONDS);
        set
    }

    fn record(&self, name: &str) -> String {
        format!("{{{}}}:response:{name}", self.prefix)
    }

    fn key(&self, what: &str) -> String {
        format!("{{{}}}:responses:{what}", self.prefix)
    }
}
