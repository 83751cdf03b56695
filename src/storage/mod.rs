//! Connections to what outlives a process: Redis, and SQLite files. Jobs, budgets, kept responses and the
//! fleet build their stores on them. Also why a call to such a store failed.

mod dispatch;
mod error;
pub mod redis;
pub mod sqlite;
pub mod sums;

pub(crate) use dispatch::dispatch;
pub use error::{StoreError, within};
