//! Which targets can answer a requested model, and which of them take traffic now.
//!
//! A [`Router`] is built from one config and does not change. What changes is the state of its
//! [`Target`]s, which each target owns; others enter with a [`Permit`] and report back with it.
//! Targets that stand in for one another form a [`Pool`], where requests wait for any of them.

pub mod access;
pub mod balance;
mod bound;
mod candidate;
pub mod cooldown;
mod demand;
mod denied;
mod excess;
mod keep;
mod latency;
mod pool;
mod router;
mod side;
mod site;
mod target;

pub use bound::Bound;
pub use candidate::{Candidate, Candidates};
pub use demand::{QuotaDemand, RequestSize};
pub use excess::{Excess, short_quotas};
pub use latency::Latency;
pub use pool::{Pool, Waiting, is_hopeful};
pub use router::{Route, Router, RouterError};
pub use site::Site;
pub use target::{Abilities, Permit, Spending, Target};
