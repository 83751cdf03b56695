//! Which targets can answer a requested model, and which of them take traffic now.
//!
//! A [`Router`] is built from one config and does not change. What changes is the state of its [`Target`]s,
//! which each target owns; requests enter a target with a [`Permit`] and report back with it. Targets that can
//! stand in for one another form a [`TargetGroup`], whose queue holds the requests that wait for any of them.

pub mod access;
pub mod balance;
mod bound;
mod candidate;
mod capabilities;
pub mod cooldown;
mod demand;
mod denied;
mod endpoint;
mod excess;
mod further_quotas;
mod grouping;
mod latency;
mod model_names;
mod outage;
mod permit;
mod quotas;
mod reload;
mod replicas;
mod router;
mod separate_quotas;
mod target;
mod target_group;

pub use bound::Bound;
pub use candidate::{Candidate, Candidates, left_out_until, may_recover_by};
pub use capabilities::Capabilities;
pub use demand::{QuotaDemand, RequestSize};
pub use endpoint::TargetEndpoint;
pub use excess::{Excess, warnings_about_small_quotas};
pub use further_quotas::FurtherQuotas;
pub use latency::Latency;
pub use outage::{Outage, OutageCause, OutageReason};
pub use permit::{ActiveReservation, Permit};
pub use router::{Route, Router, RouterError, StoresResponses};
pub use separate_quotas::warnings_about_separate_quotas;
pub use target::{Target, TargetParts};
pub use target_group::{QueuedRequest, TargetGroup};
