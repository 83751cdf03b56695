//! The ledger: what the whole fleet has left of each quota, and which replica holds leases of it.
//!
//! A replica requests units and is granted a lease of them; the ledger does nothing by itself. An entry is
//! a token bucket that mirrors one upstream quota. Units that have not flowed in yet can be booked: a grant
//! beyond the level is due when as much has flowed in. So under load every unit is assigned before it exists
//! and arrives when it does. Nobody has to poll for it, and a request that needs many units gets them as a
//! whole instead of in shares that are too small to be of use.
//!
//! An entry guarantees: between any two instants it grants no more than its capacity plus what flows in
//! between. Units that replicas hold and have not used count against the capacity too, because the
//! upstream's bucket would be full and lose what flows in meanwhile.
//!
//! Time is the ledger's own clock, in microseconds; the clocks of replicas do not matter. The example in
//! `leased_bucket.rs` shows the protocol with numbers.

use std::collections::HashMap;
use std::time::Duration;

/// The token bucket that an entry mirrors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BucketConfig {
    /// Units that flow in within a minute.
    pub per_minute: f64,
    /// The most that it holds.
    pub capacity: f64,
}

/// An entry as a replica last saw it, from which an entry that was lost or set back is restored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LedgerSnapshot {
    /// What was left.
    pub level: f64,
    /// When, by the ledger's clock.
    pub at: u64,
}

/// A limit that was learned from throttles.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LearnedLimit {
    /// Incremented with each change.
    pub version: u64,
    /// Units per minute; `None` while the configured limit counts.
    pub per_minute: Option<f64>,
}

/// What a replica reports about one entry, and the units that it requests.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseRequest {
    /// The entry's name.
    pub entry: String,
    /// The holder of the lease: one replica may hold several leases of one entry.
    pub holder: String,
    /// The bucket; `None` where no limit is known and use is only counted.
    pub bucket: Option<BucketConfig>,
    /// Units that it holds, booked ones included, after returning some.
    pub held: f64,
    /// All units that it ever returned, less all that it ever took without a grant.
    pub returned_total: f64,
    /// `returned_total` as of the last answer of the ledger.
    pub returned_acknowledged: f64,
    /// All units that it was ever granted, without those of answers that were lost.
    pub granted_total: f64,
    /// Units that were used since the last answer of the ledger.
    pub used: f64,
    /// The smallest grant that is of use; zero when no request waits.
    pub minimum: f64,
    /// The units that it would like to have; zero requests none.
    pub wanted: f64,
    /// The entry as it last saw it.
    pub last_seen: Option<LedgerSnapshot>,
    /// A limit that it has learned, based on this version.
    pub proposal: Option<LearnedLimit>,
}

/// The ledger's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LeaseGrant {
    /// Units that may be used at once.
    pub granted_now: f64,
    /// Units that are booked and may be used later...
    pub granted_later: f64,
    /// ...in this time.
    pub due_in: Duration,
    /// What the entry has left; below zero when that much is booked.
    pub level: f64,
    /// When, by the ledger's clock.
    pub at: u64,
    /// What the whole fleet used in the last minute.
    pub used_in_a_minute: f64,
    /// What the fleet has learned.
    pub learned: LearnedLimit,
}

impl LeaseGrant {
    /// All granted units, booked ones included.
    pub fn total(&self) -> f64 {
        self.granted_now + self.granted_later
    }
}

/// The settings of a ledger.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LedgerConfig {
    /// How far ahead units can be booked.
    pub lease_ahead: Duration,
    /// A lease expires when its replica was silent for this long.
    pub lease_ttl: Duration,
    /// How many replicas share what can be booked ahead.
    pub replicas: u32,
}

const MINUTE: f64 = 60e6;

/// One entry. The script for Redis, `sync.lua`, does the same step by step, and a test compares the two.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    bucket: Option<LedgerSnapshot>,
    created_at: u64,
    /// Units returned less units granted since then.
    net_since_creation: f64,
    held: f64,
    leases: HashMap<String, StoredLease>,
    window_start: u64,
    used: f64,
    used_before: f64,
    learned: LearnedLimit,
}

/// What an entry keeps of a lease, to count each report once, whichever answers are lost.
#[derive(Clone, Copy, Debug)]
struct StoredLease {
    held: f64,
    returned_total: f64,
    granted_total: f64,
    expires_at: u64,
}

impl Entry {
    /// Takes a replica's report into account and grants what it can.
    pub fn sync(&mut self, request: &LeaseRequest, config: &LedgerConfig, now: u64) -> LeaseGrant {
        self.count_use(request.used, now);
        let learned_before = self.learned.per_minute;
        let is_lowered = self.accept_proposal(request);
        let is_forgotten = learned_before.is_some() && self.learned.per_minute.is_none();
        let mut grant = LeaseGrant {
            at: now,
            used_in_a_minute: self.used_in_a_minute(now),
            learned: self.learned,
            ..LeaseGrant::default()
        };
        let Some(bucket) = request.bucket else { return grant };
        let rate = bucket.per_minute / MINUTE;
        let flowed = |since: u64| now.saturating_sub(since) as f64 * rate;

        let is_new = self.bucket.is_none();
        let known = self.bucket.unwrap_or(LedgerSnapshot { level: bucket.capacity, at: now });
        let mut level = known.level + flowed(known.at);
        if is_new {
            (self.created_at, self.net_since_creation) = (now, 0.0);
        }
        // The entry was lost or set back since: what the replica saw counts, if it is less, with what was
        // returned and granted since a loss.
        if let Some(seen) = request
            .last_seen
            .filter(|seen| is_new || known.at < seen.at || self.created_at > seen.at)
        {
            let is_lost = self.created_at > seen.at;
            let net = if is_lost { self.net_since_creation } else { 0.0 };
            level = level.min(seen.level + flowed(seen.at) + net);
        }
        self.drop_expired(now);
        let before = self.leases.get(&request.holder);
        let counted = before.map_or(request.returned_acknowledged, |lease| lease.returned_total);
        // Units of the last grant come back if its answer was lost.
        let ungranted = before.map_or(0.0, |lease| lease.granted_total - request.granted_total);
        let returned = request.returned_total - counted + ungranted.max(0.0);
        level += returned;
        self.net_since_creation += returned;
        self.held += request.held - before.map_or(0.0, |lease| lease.held);
        level = level.min(bucket.capacity - self.held).max(-bucket.per_minute);
        if is_lowered {
            level = level.min(0.0);
        }
        if is_forgotten {
            level = level.max(bucket.capacity - self.held - grant.used_in_a_minute);
        }

        let ahead = micros(config.lease_ahead) as f64 * rate;
        if request.wanted > 0.0 && level > -ahead {
            let share = level.max(0.0) + ahead / f64::from(config.replicas.max(1));
            let granted = request.wanted.min(share).max(request.minimum.min(request.wanted));
            grant.granted_now = granted.min(level.max(0.0));
            grant.granted_later = granted - grant.granted_now;
            level -= granted;
            self.net_since_creation -= granted;
            if grant.granted_later > 0.0 {
                grant.due_in = Duration::from_micros((-level / rate).ceil() as u64);
            }
        }
        let held = request.held + grant.total();
        self.held += held - request.held;
        // Kept until the replica knows that what it returned was counted.
        let is_unacknowledged = request.returned_total != request.returned_acknowledged;
        if held > 0.0 || request.wanted > 0.0 || is_unacknowledged {
            let lease = StoredLease {
                held,
                returned_total: request.returned_total,
                granted_total: request.granted_total + grant.total(),
                expires_at: now + micros(config.lease_ttl),
            };
            self.leases.insert(request.holder.clone(), lease);
        } else {
            self.leases.remove(&request.holder);
        }
        self.bucket = Some(LedgerSnapshot { level, at: now.max(known.at) });
        grant.level = level;
        grant
    }

    /// Drops the leases of replicas that are gone.
    fn drop_expired(&mut self, now: u64) {
        let held = &mut self.held;
        self.leases.retain(|_, lease| {
            let is_valid = lease.expires_at > now;
            if !is_valid {
                *held -= lease.held;
            }
            is_valid
        });
        if self.leases.is_empty() {
            self.held = 0.0;
        }
    }

    /// Accepts a learned limit, unless another was accepted before it. True if that lowers the limit.
    fn accept_proposal(&mut self, request: &LeaseRequest) -> bool {
        let Some(proposal) = request.proposal else { return false };
        if proposal.version != self.learned.version {
            return false;
        }
        let limit = |learned: Option<f64>| learned.unwrap_or(f64::MAX);
        let is_lowered = limit(proposal.per_minute) < limit(self.learned.per_minute);
        let version = proposal.version + 1;
        self.learned = LearnedLimit { version, per_minute: proposal.per_minute };
        is_lowered
    }

    fn count_use(&mut self, used: f64, now: u64) {
        let passed = now.saturating_sub(self.window_start);
        if passed as f64 >= 2.0 * MINUTE {
            (self.window_start, self.used, self.used_before) = (now, 0.0, 0.0);
        } else if passed as f64 >= MINUTE {
            self.window_start += MINUTE as u64;
            (self.used_before, self.used) = (self.used, 0.0);
        }
        self.used = (self.used + used).max(0.0);
    }

    fn used_in_a_minute(&self, now: u64) -> f64 {
        let passed = now.saturating_sub(self.window_start) as f64 / MINUTE;
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
    /// What Redis does in one sync, at `now` of the ledger's clock.
    pub fn sync(
        &mut self,
        requests: &[LeaseRequest],
        config: &LedgerConfig,
        now: u64,
    ) -> Vec<LeaseGrant> {
        let entries = &mut self.entries;
        let grant = |request: &LeaseRequest| {
            entries.entry(request.entry.clone()).or_default().sync(request, config, now)
        };
        requests.iter().map(grant).collect()
    }

    /// Forgets everything, as a Redis that was flushed.
    pub fn flush(&mut self) {
        self.entries.clear();
    }
}
