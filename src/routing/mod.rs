//! Which targets can answer a requested model, and which of them take traffic now.
//!
//! A [`Router`] is built from one config and does not change. What changes is the state of its
//! [`Target`]s, which each target owns; others enter with a [`Permit`] and report back with it.

pub mod cooldown;
mod router;
mod target;

pub use router::{Router, RouterError};
pub use target::{Permit, Target};
