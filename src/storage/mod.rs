//! Connections to what outlives a process: Redis, and SQLite files. Jobs, budgets and the fleet build their
//! stores on them.

pub mod redis;
pub mod sqlite;
