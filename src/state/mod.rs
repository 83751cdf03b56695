//! What replicas share with each other, through Redis: today, that cooldowns were reset.
//!
//! Nothing here is waited for by a request that could go on without it.

pub mod redis;
pub mod resets;
