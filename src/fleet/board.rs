//! How this replica stands to the others: what everyone who holds a lease looks at.

use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

/// Whether the ledger can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It was not reached yet, and it is not known that it can't be.
    Joining,
    /// It grants what is asked for.
    Shared,
    /// It is gone since then: each replica has its static share.
    Alone(Instant),
    /// It is back, and is told what the replicas took meanwhile; until all have said it, each has
    /// its static share still. Gone since then.
    Returning(Instant),
}

/// How a replica stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Whether the ledger can be reached.
    pub link: Link,
    /// Whether it ever was.
    pub has_met: bool,
    /// How many replicas there are, this one included.
    pub replicas: u32,
    /// The pause between two exchanges.
    pub pause: Duration,
    /// Largest share of a quota that may be held.
    pub max_lease: f64,
    /// After what time without use a lease is given back.
    pub idle: Duration,
}

impl Standing {
    /// Since when the replica has a static share instead of leases.
    pub fn alone_since(&self) -> Option<Instant> {
        match self.link {
            Link::Alone(since) | Link::Returning(since) => Some(since),
            Link::Joining | Link::Shared => None,
        }
    }
}

/// Where the standing is posted.
pub type Board = ArcSwap<Standing>;
