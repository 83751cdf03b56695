//! What replicas share, and where the spending of clients is kept: `[state]`.

use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::BudgetStore;
use crate::config::secret::Secret;
use crate::config::units::{NonZeroDuration, TextForm as _};

/// Where the state of quotas, limits of clients and cooldowns is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StateBackend {
    /// In each process, for itself.
    Memory,
    /// In Redis, for all replicas together.
    Redis,
}

/// What a Redis URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RedisKind {
    /// A server.
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
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct SharedState {
    /// Where Redis is.
    #[serde(skip)]
    pub redis: SharedRedis,
    /// What the names of its keys start with: letters, digits, `-` and `_`.
    #[serde(skip)]
    pub prefix: String,
    /// Time for one exchange with Redis. After a slower one the process goes on by itself.
    #[serde(with = "NonZeroDuration")]
    pub timeout: Duration,
    /// Shortest pause between two exchanges of one replica.
    #[serde(with = "NonZeroDuration")]
    pub exchange_interval: Duration,
    /// Exchanges of all replicas together; with many replicas each pauses longer.
    #[cfg_attr(test, schemars(range(min = 10, max = 1_000_000)))]
    pub max_exchanges_per_second: u32,
    /// How far ahead a replica may book what flows into a quota.
    #[serde(with = "NonZeroDuration")]
    pub lease_ahead: Duration,
    /// Largest share of a quota's minute that one replica holds without having used it.
    #[cfg_attr(test, schemars(range(min = 0.01, max = 1.0)))]
    pub max_lease: f64,
    /// A replica gives all it holds of a quota back when it has not used it for this long.
    #[serde(with = "NonZeroDuration")]
    pub lease_idle: Duration,
    /// How often a replica reports that it is alive. One that has not for five times as long no
    /// longer counts.
    #[serde(with = "NonZeroDuration")]
    pub heartbeat: Duration,
    /// The number of replicas to assume until Redis has answered.
    #[cfg_attr(test, schemars(range(min = 1, max = 100_000)))]
    pub replicas: u32,
}

impl Default for SharedState {
    fn default() -> Self {
        Self {
            redis: SharedRedis {
                kind: RedisKind::Standalone,
                urls: "".into(),
                master: String::new(),
            },
            prefix: String::new(),
            timeout: Duration::from_millis(250),
            exchange_interval: Duration::from_millis(100),
            max_exchanges_per_second: 2000,
            lease_ahead: Duration::from_secs(1),
            max_lease: 0.25,
            lease_idle: Duration::from_secs(5),
            heartbeat: Duration::from_secs(1),
            replicas: 1,
        }
    }
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
