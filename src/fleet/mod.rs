//! What replicas share, so that together they keep to one quota as one process would.
//!
//! ```text
//!   request -> Quota -> Purse          (never further: no request waits for Redis)
//!                         ^  |
//!                 grants  |  |  asks   one exchange of a replica for all its purses
//!                         |  v
//!                       driver  <---->  Redis: exchange.lua over the entries of the ledger
//!                         ^                    members, cooldowns, a channel of notices
//!                 notices |
//!   Target <--------------+
//! ```
//! - **Ledger** (`ledger.rs`, `exchange.lua`): a bucket for each quota and each limit of a client. A
//!   replica leases slices ahead of need, as many as its own demand asks for, and gives back what it does
//!   not use. What is not there yet can be booked, up to `lease_ahead`, and arrives when it has flowed in.
//! - **Driver** (`driver.rs`): one task of a replica. It makes one exchange for all purses with something
//!   to say in `exchange_interval`, or earlier when one runs low; more replicas pause longer, so that all
//!   together stay below `max_exchanges_per_second`. A heartbeat is part of an exchange.
//! - **Members**: a sorted set by the time until which a replica counts, by Redis's clock.
//! - **Notices**: a throttle cools a target for all: it is written to a hash and published at once. Who
//!   missed a notice sees by a number in the next exchange that there was one, and reads the hash.
//! - **Standing** (`board.rs`): without Redis each replica has what it holds and then its share of the
//!   flow, by the last count of replicas. When Redis is back, each first reports what it took so; only
//!   when all have had the time to, slices are leased again. An entry that was lost or set back is
//!   restored from what replicas last saw of it.
//!
//! Nothing in here knows of targets, quotas or HTTP: who holds a lease is a [`Lessee`], who is to hear of
//! cooldowns a [`Follower`].

mod board;
mod driver;
mod ledger;
mod link;
mod notice;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

pub use board::{Board, Link, Standing};
pub use ledger::{Ask, Entry, Grant, Learned, Ledger, Rules, Seen, Terms};
pub use link::LinkError;
pub use notice::Notice;

use crate::config::SharedState;
use crate::state::redis::Server;
use crate::telemetry::Metrics;

/// Notices that wait to be published; beyond these they are dropped, and the next exchange is too
/// late for nothing but speed.
const MAX_NOTICES: usize = 1024;

/// Who holds leases. Its kinds of units are numbered by itself.
pub trait Lessee: Send + Sync + fmt::Debug {
    /// Adds what it has to say. False when it holds nothing any more and need not be asked again.
    fn asks(&self, now: Instant, asks: &mut Vec<(usize, Ask)>) -> bool;

    /// Takes the answer to what it said of this kind.
    fn granted(&self, kind: usize, grant: &Grant, now: Instant);

    /// The standing has changed: who waits may look again.
    fn ring(&self);

    /// The lease that it holds.
    fn lease(&self) -> Option<&Lease>;
}

/// Who is to hear what other replicas met.
pub trait Follower: Send + Sync + fmt::Debug {
    /// It is out for this long, after so many throttles in a row; `is_quota` if for want of quota.
    fn cooled(&self, pause: Duration, throttles: u32, is_quota: bool);

    /// It works again.
    fn opened(&self);

    /// Another replica tries it.
    fn probed(&self);

    /// What was is to be forgotten.
    fn reset(&self);
}

/// This replica among the others. Clones are the same.
#[derive(Clone)]
pub struct Fleet(Arc<Shared>);

struct Cooling {
    until: Instant,
    throttles: u32,
    is_quota: bool,
    /// Whether this replica has met it.
    is_own: bool,
}

struct Shared {
    config: SharedState,
    server: Server,
    replica: String,
    board: Arc<Board>,
    /// Who has something to say.
    active: Mutex<Vec<Weak<dyn Lessee>>>,
    /// Rung when the first one has.
    stirred: Notify,
    leases: AtomicU64,
    hurry: Notify,
    followers: DashMap<String, Vec<Weak<dyn Follower>>>,
    /// Cooldowns that run, of whichever replica.
    cooling: DashMap<String, Cooling>,
    outbox: mpsc::Sender<Notice>,
    inbox: Mutex<Option<mpsc::Receiver<Notice>>>,
    metrics: Arc<Metrics>,
    driver: OnceLock<AbortOnDropHandle<()>>,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("replica", &self.0.replica).finish_non_exhaustive()
    }
}

impl Fleet {
    /// A replica that has met nobody yet. Connects to nothing before [`Fleet::start`].
    ///
    /// # Errors
    /// When the addresses of Redis make no sense.
    pub fn new(config: &SharedState, metrics: &Arc<Metrics>) -> Result<Fleet, LinkError> {
        let (outbox, inbox) = mpsc::channel(MAX_NOTICES);
        let standing = Standing {
            link: Link::Joining,
            has_met: false,
            replicas: config.replicas,
            pause: config.exchange_interval,
            max_lease: config.max_lease,
            idle: config.lease_idle,
        };
        Ok(Fleet(Arc::new(Shared {
            server: Server::new(&config.redis, config.timeout)?,
            config: config.clone(),
            replica: Uuid::new_v4().simple().to_string(),
            board: Arc::new(Board::from_pointee(standing)),
            active: Mutex::default(),
            leases: AtomicU64::new(0),
            stirred: Notify::new(),
            hurry: Notify::new(),
            followers: DashMap::new(),
            cooling: DashMap::new(),
            outbox,
            inbox: Mutex::new(Some(inbox)),
            metrics: Arc::clone(metrics),
            driver: OnceLock::new(),
        })))
    }

    /// Starts to talk to the others. Must be called within a tokio runtime.
    pub fn start(&self) {
        let inbox = self.0.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(inbox) = inbox {
            let task = tokio::spawn(driver::drive(Arc::clone(&self.0), inbox));
            let _first = self.0.driver.set(AbortOnDropHandle::new(task));
        }
    }

    /// How this replica stands.
    pub fn standing(&self) -> Arc<Standing> {
        self.0.board.load_full()
    }

    /// A lease of what all replicas know by this name.
    pub fn lease(&self, name: &str) -> Lease {
        let number = self.0.leases.fetch_add(1, Ordering::Relaxed);
        Lease {
            shared: Arc::clone(&self.0),
            name: name.to_owned(),
            lessee: format!("{}.{number}", self.0.replica),
            is_listed: AtomicBool::new(false),
        }
    }

    /// Lets somebody hear what other replicas meet at what all know by this name, and have met.
    pub fn follow(&self, name: &str, follower: Weak<dyn Follower>) {
        let now = Instant::now();
        let running = self.0.cooling.get(name).filter(|cooling| cooling.until > now);
        if let (Some(cooling), Some(follower)) = (running, follower.upgrade()) {
            let pause = cooling.until.saturating_duration_since(now);
            follower.cooled(pause, cooling.throttles, cooling.is_quota);
        }
        let mut followers = self.0.followers.entry(name.to_owned()).or_default();
        followers.retain(|known| known.strong_count() > 0);
        followers.push(follower);
    }

    /// Tells the others. Does not wait.
    pub fn tell(&self, notice: Notice) {
        // Too many at once: the others meet the same themselves.
        let _full = self.0.outbox.try_send(notice);
    }
}

/// A place among the lessees of what all replicas know by one name.
pub struct Lease {
    shared: Arc<Shared>,
    name: String,
    lessee: String,
    is_listed: AtomicBool,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Lease {
    /// Where the standing is posted.
    pub fn board(&self) -> &Arc<Board> {
        &self.shared.board
    }

    /// The name of an entry for this kind of units.
    pub fn entry(&self, kind: &str) -> String {
        format!("{}:{kind}", self.name)
    }

    /// Who holds it.
    pub fn lessee(&self) -> &str {
        &self.lessee
    }

    /// Has its holder asked in the next exchange; `is_urgent`: which is to come early.
    pub fn stir(&self, is_urgent: bool, holder: impl FnOnce() -> Arc<dyn Lessee>) {
        if !self.is_listed.swap(true, Ordering::AcqRel) {
            let holder = Arc::downgrade(&holder());
            let mut active = self.shared.active.lock().unwrap_or_else(PoisonError::into_inner);
            active.push(holder);
            if active.len() == 1 {
                self.shared.stirred.notify_one();
            }
        }
        if is_urgent {
            self.shared.hurry.notify_one();
        }
    }

    /// Its holder has nothing to say any more.
    fn delist(&self) {
        self.is_listed.store(false, Ordering::Release);
    }
}
