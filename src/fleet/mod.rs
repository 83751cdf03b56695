//! What replicas share through Redis, so that together they keep to one quota as one process would.
//!
//! ```text
//!   request -> Quota -> LeasedBucket       (never further: no request waits for Redis)
//!                         ^      |
//!                  grants |      | requests     one sync of a replica for all its buckets
//!                         |      v
//!                        SyncTask  <---->  Redis: sync.lua over the entries of the ledger,
//!                         ^                       members, cooldowns, a channel of events
//!                  events |
//!   Target <--------------+
//! ```
//! - **Ledger** (`ledger.rs`, `sync.lua`): a bucket for each quota and each client limit. A replica leases
//!   units ahead of need, as many as its own traffic calls for, and returns what it does not use. Units that
//!   are not there yet can be booked, up to `lease_ahead`, and arrive when they have flowed in.
//! - **Leased bucket** (`leased_bucket.rs`): what this replica holds of an entry. An example there shows the
//!   protocol with numbers.
//! - **Sync task** (`sync_task.rs`): one task of a replica. It syncs all buckets that have something to
//!   report each `exchange_interval`, or earlier when one runs low. In a large fleet replicas pause longer,
//!   so that all together stay below `max_exchanges_per_second`. A heartbeat is part of a sync.
//! - **Members**: a sorted set of replicas by the time until which each counts, by Redis's clock.
//! - **Events** (`event.rs`): a throttle cools a target for all replicas. It is stored in a hash and
//!   published at once. A replica that missed an event sees so by a version in its next sync, and reads the
//!   hash.
//! - **Status** (`status.rs`): without Redis each replica uses up what it holds and then has a static share
//!   of the flow, by the last count of replicas. When Redis is back, each replica first reports what it used
//!   so; leases are granted again once all have had the time to. An entry that was lost or set back is
//!   restored from what replicas last saw of it.
//!
//! Nothing in here knows of targets, quotas or HTTP: those implement [`LeaseHolder`] and [`FleetListener`].

mod connection;
mod event;
mod handle;
mod leased_bucket;
mod ledger;
mod shared;
mod status;
mod sync_task;
#[cfg(test)]
mod tests;

pub use connection::FleetError;
pub use event::{FleetEvent, ReceivedEvent};
pub use handle::Fleet;
pub use leased_bucket::LeasedBucket;
pub use ledger::{
    BucketConfig, Entry, LearnedLimit, LeaseGrant, LeaseRequest, Ledger, LedgerConfig,
    LedgerSnapshot,
};
pub use shared::{FleetListener, Lease, LeaseHolder};
pub use status::{FleetStatus, LinkState, SharedStatus};
