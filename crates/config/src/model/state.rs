//! What replicas share, and where the spending of clients is kept: `[state]`.

use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

use super::policy::BudgetStore;
use crate::secret::Secret;
use crate::units::{NonZeroDuration, TextForm as _};

/// Where the state of quotas, limits of clients and cooldowns is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StateBackend {
    /// In each process, for itself.
    #[default]
    Memory,
    /// In Redis, for all replicas together.
    Redis,
}

/// What a Redis URL names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RedisKind {
    /// A server.
    #[default]
    Standalone,
    /// Sentinels, which know the server.
    Sentinel,
    /// Nodes of a cluster.
    Cluster,
}

/// What replicas share, and where the spending of clients is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The store for what clients have spent.
    pub budgets: BudgetStore,
    /// How often spending is stored.
    pub budget_flush: Duration,
    /// Where it is shared. `None`: nowhere.
    pub shared: Option<SharedState>,
}

/// How replicas share their state.
#[derive(Clone, Debug, PartialEq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct SharedState {
    /// Where Redis is.
    #[serde(skip)]
    #[default(SharedRedis { kind: RedisKind::Standalone, urls: "".into(), master: String::new() })]
    pub redis: SharedRedis,
    /// What the names of its keys start with: letters, digits, `-` and `_`.
    #[serde(skip)]
    pub prefix: String,
    /// Time for one exchange with Redis. After a slower one the process goes on by itself.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_millis(250))]
    pub timeout: Duration,
    /// Shortest pause between two exchanges of one replica.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_millis(100))]
    pub exchange_interval: Duration,
    /// Exchanges of all replicas together; with many replicas each pauses longer.
    #[cfg_attr(test, schemars(range(min = 10, max = 1_000_000)))]
    #[default = 2000]
    pub max_exchanges_per_second: u32,
    /// How far ahead a replica may book what flows into a quota.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(1))]
    pub lease_ahead: Duration,
    /// Largest share of a quota's minute that one replica holds without having used it.
    #[cfg_attr(test, schemars(range(min = 0.01, max = 1.0)))]
    #[default = 0.25]
    pub max_lease: f64,
    /// A replica gives all it holds of a quota back when it has not used it for this long.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(5))]
    pub lease_idle: Duration,
    /// How often a replica reports that it is alive. One that has not for five times as long no
    /// longer counts.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(1))]
    pub heartbeat: Duration,
    /// The number of replicas to assume until Redis has answered.
    #[cfg_attr(test, schemars(range(min = 1, max = 100_000)))]
    #[default = 1]
    pub replicas: u32,
}

/// Where a Redis for all replicas is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedRedis {
    /// What the URLs name.
    pub kind: RedisKind,
    /// `redis://` or `rediss://` URLs with commas between them; may hold passwords.
    pub urls: Secret,
    /// The name that the sentinels know the server by; empty unless there are sentinels.
    pub master: String,
}
