//! `[state]` as the file says it.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::{RedisKind, StateBackend};
use crate::config::redis_url::RedisUrlText;
use crate::config::units::DurationText;

/// What replicas share, and where it is kept what clients have spent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(in crate::config) struct RawState {
    /// Where quotas, limits of clients and cooldowns are kept: in each process, or in Redis, so that
    /// all replicas keep to them together.
    pub(in crate::config) backend: StateBackend,
    /// Database file for what clients have spent. A relative path starts at the config file's
    /// directory.
    #[cfg_attr(test, schemars(example = &"sluice-budgets.db"))]
    pub(in crate::config) budget_path: Option<String>,
    /// How often the store is told what was spent.
    pub(in crate::config) budget_flush: DurationText,
    /// URL of the Redis that all replicas share, as it is or by reference. Several, with commas
    /// between them, are the nodes of a cluster or the sentinels. Default: the one of `jobs`.
    pub(in crate::config) redis_url: Option<RedisUrlText>,
    /// What the names of keys in Redis start with.
    pub(in crate::config) redis_prefix: String,
    /// What `redis_url` names: one server, sentinels, or nodes of a cluster.
    pub(in crate::config) redis_kind: RedisKind,
    /// The name that the sentinels know the server by.
    #[cfg_attr(test, schemars(example = &"mymaster"))]
    pub(in crate::config) sentinel_master: Option<String>,
    /// Time for one exchange with Redis. After a slower one the process goes on by itself.
    pub(in crate::config) timeout: DurationText,
    /// Shortest pause between two exchanges of one replica.
    pub(in crate::config) exchange_interval: DurationText,
    /// Exchanges of all replicas together; with many replicas each pauses longer.
    #[cfg_attr(test, schemars(range(min = 10, max = 1_000_000)))]
    pub(in crate::config) max_exchanges_per_second: u32,
    /// How far ahead a replica may book what flows into a quota.
    pub(in crate::config) lease_ahead: DurationText,
    /// Largest share of a quota's minute that one replica holds without having used it.
    #[cfg_attr(test, schemars(range(min = 0.01, max = 1.0)))]
    pub(in crate::config) max_lease: f64,
    /// A replica gives all it holds of a quota back when it has not used it for this long.
    pub(in crate::config) lease_idle: DurationText,
    /// How often a replica says that it is alive. One not heard of for five times as long no longer
    /// counts.
    pub(in crate::config) heartbeat: DurationText,
    /// How many replicas there are, as long as Redis has not told.
    #[cfg_attr(test, schemars(range(min = 1, max = 100_000)))]
    pub(in crate::config) replicas: u32,
}

impl Default for RawState {
    fn default() -> Self {
        Self {
            backend: StateBackend::Memory,
            budget_path: None,
            budget_flush: "1s".into(),
            redis_url: None,
            redis_prefix: "sluice".to_owned(),
            redis_kind: RedisKind::Standalone,
            sentinel_master: None,
            timeout: "250ms".into(),
            exchange_interval: "100ms".into(),
            max_exchanges_per_second: 2000,
            lease_ahead: "1s".into(),
            max_lease: 0.25,
            lease_idle: "5s".into(),
            heartbeat: "1s".into(),
            replicas: 1,
        }
    }
}
