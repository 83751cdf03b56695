//! What replicas share: the checked form of `[state]`.

use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::BudgetStore;
use crate::config::secret::Secret;

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

/// What replicas share, and where it is kept what clients have spent.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The store for what clients have spent.
    pub budgets: BudgetStore,
    /// How often it is told what was spent.
    pub budget_flush: Duration,
    /// Where it is shared. `None`: nowhere.
    pub shared: Option<SharedState>,
}

/// How replicas share their state.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedState {
    /// Where Redis is.
    pub redis: SharedRedis,
    /// What the names of its keys start with: letters, digits, `-` and `_`.
    pub prefix: String,
    /// Time for one exchange with it.
    pub timeout: Duration,
    /// Shortest pause between two exchanges of one replica.
    pub exchange_interval: Duration,
    /// Exchanges of all replicas together.
    pub max_exchanges_per_second: u32,
    /// How far ahead a replica may book what flows into a quota.
    pub lease_ahead: Duration,
    /// Largest share of a quota's minute that one replica holds without having used it.
    pub max_lease: f64,
    /// A replica gives back what it has not used for this long.
    pub lease_idle: Duration,
    /// How often a replica says that it is alive.
    pub heartbeat: Duration,
    /// How many replicas there are, as long as Redis has not told; at least 1.
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
