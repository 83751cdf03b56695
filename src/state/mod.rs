//! What outlives a process or is shared by replicas: what clients have spent, and, through Redis,
//! quotas, limits of clients and cooldowns, and
//! that cooldowns were reset.
//!
//! Nothing here is waited for by a request that could go on without it.

pub mod budgets;
pub mod redis;
pub mod resets;
pub mod sqlite;
