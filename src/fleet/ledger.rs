//! The ledger: what is left of each quota for the whole fleet, and who holds slices of it.
//!
//! A replica asks for slices and is granted them; the ledger does nothing by itself. An entry is a
//! token bucket that mirrors one upstream quota, and it may lend ahead: what is granted beyond its
//! level is due when it will have flowed in. So under load every unit is given away before it
//! exists and arrives when it does, nobody has to poll for it, and a request that needs many units
//! gets them whole instead of in shares too small to be of use.
//!
//! What an entry promises: between any two instants it gives no more than its capacity and what
//! flows in between. What replicas hold and have not used counts against the capacity too, because
//! the upstream's bucket would be full and lose what flows in meanwhile.
//!
//! Time is the ledger's own, in microseconds; no replica's clock matters.

use std::collections::HashMap;
use std::time::Duration;

/// The bucket that an entry mirrors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Units that flow in within a minute.
    pub per_minute: f64,
    /// The most that it holds.
    pub capacity: f64,
}

/// A ledger's entry as a replica last saw it, so that one that was lost or set back can be restored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// What was left.
    pub level: f64,
    /// When, by the ledger's clock.
    pub at: u64,
}

/// A limit that was learned, and its place among all that were.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Learned {
    /// Raised with each change.
    pub version: u64,
    /// Units per minute; `None`: nothing was learned, or what is configured counts again.
    pub figure: Option<f64>,
}

/// What a replica has to say of one entry, and what it asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The entry's name.
    pub entry: String,
    /// Who asks: one replica may hold several leases of one entry.
    pub lessee: String,
    /// The bucket; `None` where no limit is known and only the use is counted.
    pub terms: Option<Terms>,
    /// What it holds, booked units included, after giving back.
    pub held: f64,
    /// All that it ever gave back, less all that it ever took without being granted it.
    pub credit: f64,
    /// What `credit` was when the ledger last answered.
    pub acknowledged: f64,
    /// All that it was ever granted and knows of; what an answer that was lost had granted is not in it.
    pub received: f64,
    /// Units that were used since the ledger last answered.
    pub used: f64,
    /// The least that is of use to it; zero when nobody waits.
    pub need: f64,
    /// What it would like to have; nothing is asked for when it is zero.
    pub want: f64,
    /// What it last saw.
    pub seen: Option<Seen>,
    /// A limit it has learned, based on this version.
    pub proposal: Option<Learned>,
}

/// The ledger's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Grant {
    /// Units that are there at once.
    pub now: f64,
    /// Units that are there later...
    pub later: f64,
    /// ...in this time.
    pub due: Duration,
    /// What is left after this, below zero when that much is booked.
    pub level: f64,
    /// When, by the ledger's clock.
    pub at: u64,
    /// What the whole fleet used in the last minute.
    pub used_in_a_minute: f64,
    /// What the fleet has learned.
    pub learned: Learned,
}

/// What all entries of a ledger go by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// How far ahead may be booked.
    pub ahead: Duration,
    /// A lease of a replica that was not heard of for this long is void.
    pub lease_ttl: Duration,
    /// How many replicas share what may be booked ahead.
    pub replicas: u32,
}

const MINUTE: f64 = 60e6;

/// One entry. The script for Redis, `exchange.lua`, does the same step by step.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    bucket: Option<Seen>,
    born: u64,
    held: f64,
    leases: HashMap<String, Lease>,
    window: u64,
    used: f64,
    used_before: f64,
    learned: Learned,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    held: f64,
    credit: f64,
    /// All that was ever granted.
    granted: f64,
    until: u64,
}

impl Entry {
    /// Takes note of what a replica says, and grants what it can.
    pub fn exchange(&mut self, ask: &Ask, rules: &Rules, now: u64) -> Grant {
        self.note_use(ask.used, now);
        let learned_before = self.learned.figure;
        let is_lowered = self.learn(ask);
        let is_forgotten = learned_before.is_some() && self.learned.figure.is_none();
        let mut grant = Grant {
            at: now,
            used_in_a_minute: self.used_in_a_minute(now),
            learned: self.learned,
            ..Grant::default()
        };
        let Some(terms) = ask.terms else { return grant };
        let rate = terms.per_minute / MINUTE;
        let flowed = |since: u64| now.saturating_sub(since) as f64 * rate;

        let is_new = self.bucket.is_none();
        let known = self.bucket.unwrap_or(Seen { level: terms.capacity, at: now });
        let mut level = known.level + flowed(known.at);
        if is_new {
            self.born = now;
        }
        // Lost or set back since: what the replica saw counts, if it is less.
        if let Some(seen) =
            ask.seen.filter(|seen| is_new || known.at < seen.at || self.born > seen.at)
        {
            level = level.min(seen.level + flowed(seen.at));
        }
        self.drop_void(now);
        let before = self.leases.get(&ask.lessee);
        let credited = before.map_or(ask.acknowledged, |lease| lease.credit);
        level += ask.credit - credited;
        // What the last answer had granted, if it did not arrive.
        level += before.map_or(0.0, |lease| lease.granted - ask.received).max(0.0);
        self.held += ask.held - before.map_or(0.0, |lease| lease.held);
        level = level.min(terms.capacity - self.held).max(-terms.per_minute);
        if is_lowered {
            level = level.min(0.0);
        }
        if is_forgotten {
            level = level.max(terms.capacity - self.held - grant.used_in_a_minute);
        }

        let ahead = micros(rules.ahead) as f64 * rate;
        if ask.want > 0.0 && level > -ahead {
            let share = level.max(0.0) + ahead / f64::from(rules.replicas.max(1));
            let granted = ask.want.min(share).max(ask.need.min(ask.want));
            grant.now = granted.min(level.max(0.0));
            grant.later = granted - grant.now;
            level -= granted;
            if grant.later > 0.0 {
                grant.due = Duration::from_micros((-level / rate).ceil() as u64);
            }
        }
        let held = ask.held + grant.now + grant.later;
        self.held += held - ask.held;
        // Kept until the replica knows that its credit was counted.
        if held > 0.0 || ask.want > 0.0 || ask.credit != ask.acknowledged {
            let until = now + micros(rules.lease_ttl);
            let granted = ask.received + grant.now + grant.later;
            let lease = Lease { held, credit: ask.credit, granted, until };
            self.leases.insert(ask.lessee.clone(), lease);
        } else {
            self.leases.remove(&ask.lessee);
        }
        self.bucket = Some(Seen { level, at: now.max(known.at) });
        grant.level = level;
        grant
    }

    /// Forgets leases of replicas that are gone.
    fn drop_void(&mut self, now: u64) {
        let held = &mut self.held;
        self.leases.retain(|_, lease| {
            let is_valid = lease.until > now;
            if !is_valid {
                *held -= lease.held;
            }
            is_valid
        });
        if self.leases.is_empty() {
            self.held = 0.0;
        }
    }

    /// Takes a learned limit over, unless another came before it. True if that lowers it.
    fn learn(&mut self, ask: &Ask) -> bool {
        let Some(proposal) = ask.proposal else { return false };
        if proposal.version != self.learned.version {
            return false;
        }
        let figure = |learned: Option<f64>| learned.unwrap_or(f64::MAX);
        let is_lowered = figure(proposal.figure) < figure(self.learned.figure);
        self.learned = Learned { version: proposal.version + 1, figure: proposal.figure };
        is_lowered
    }

    fn note_use(&mut self, used: f64, now: u64) {
        let passed = now.saturating_sub(self.window);
        if passed as f64 >= 2.0 * MINUTE {
            (self.window, self.used, self.used_before) = (now, 0.0, 0.0);
        } else if passed as f64 >= MINUTE {
            self.window += MINUTE as u64;
            (self.used_before, self.used) = (self.used, 0.0);
        }
        self.used = (self.used + used).max(0.0);
    }

    fn used_in_a_minute(&self, now: u64) -> f64 {
        let passed = now.saturating_sub(self.window) as f64 / MINUTE;
        self.used + self.used_before * (1.0 - passed).max(0.0)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A ledger in memory, for tests and the simulation of large fleets.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: HashMap<String, Entry>,
}

impl Ledger {
    /// What Redis does in one exchange, at `now` of the ledger's clock.
    pub fn exchange(&mut self, asks: &[Ask], rules: &Rules, now: u64) -> Vec<Grant> {
        let entries = &mut self.entries;
        let grant =
            |ask: &Ask| entries.entry(ask.entry.clone()).or_default().exchange(ask, rules, now);
        asks.iter().map(grant).collect()
    }

    /// Forgets everything, as a Redis that was flushed.
    pub fn flush(&mut self) {
        self.entries.clear();
    }
}
