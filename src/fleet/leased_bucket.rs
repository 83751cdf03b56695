//! A token bucket of which all replicas draw: this replica's part of an entry of the ledger.
//!
//! Requests take units from a leased bucket and give them back as with any token bucket, but nothing flows
//! in by itself: units come from the ledger, in leases that are requested ahead of need. The bucket aims to
//! hold what its recent rate of use takes in two sync intervals, plus what queued requests need, plus one
//! request to be ready for the next. It returns what exceeds that.
//!
//! While the ledger is unreachable, the bucket is an ordinary one: its replica's share of the flow comes in
//! on top of what it holds. What it takes in this way without a grant is reported when the ledger is back.
//!
//! # The protocol, by example
//! A quota of 600 units a minute (10 a second) and a capacity of 580; two replicas, A and B; units can be
//! booked 1 s ahead. Requests and grants are [`LeaseRequest`] and [`LeaseGrant`]; totals only ever add up, so
//! that a lost answer does no harm.
//!
//! | step | A sends | the ledger does | A then has |
//! | --- | --- | --- | --- |
//! | 1. A request of 40 finds the bucket empty. | `held 0, minimum 40, wanted 40` | level 580 - 40 = 540; stores `held 40, granted_total 40` | `level 40, granted_total 40` |
//! | 2. The request takes 40, uses 30, and gives 10 back. | | | `level 10, used_unreported 30` |
//! | 3. Five idle seconds later A returns the 10. | `held 0, returned_total 10, returned_acknowledged 0, used 30` | level 540 + 50 flowed in, at most 580; then + (10 - 0), at most 580 | `level 0, returned_acknowledged 10` |
//! | 4. Had that answer been lost, A would send step 3 again. | the same | its stored `returned_total` is 10: adds 10 - 10 = 0 | the same |
//! | 5. B holds all 580; A wants 20, none of them urgent. | `minimum 0, wanted 20` | level 0: of the 10 units of the next second each of two replicas may book 5; level -5 | 5 units booked, due in 0.5 s |
//! | 6. A request of 20 waits instead. | `minimum 20, wanted 20` | books all 20, since less is of no use; level -20 | 20 units booked, due in 2 s |
//! | 7. Had the answer to step 6 been lost, A would not know of the grant. | `granted_total` without the 20 | its stored `granted_total` is 20 higher: adds 20 to the level first | |
//! | 8. Redis is gone for 4 s; A takes its share, 4 s x 10 / 2 = 20 units. | | | `returned_total` 10 - 20 = -10 |
//! | 9. Redis is back. | `returned_total -10, returned_acknowledged 10` | level + (-10 - 10) = level - 20 | `returned_acknowledged -10` |
//!
//! `held` reports unused quota at replicas to the ledger: it counts against the capacity, since the
//! upstream's bucket is full meanwhile and loses what flows in.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ledger::{BucketConfig, LeaseGrant, LeaseRequest, LedgerSnapshot};
use super::status::{FleetStatus, SharedStatus};

/// Rounding of levels must not make a bucket refuse what was granted for a request.
const EPSILON: f64 = 1e-6;

/// Time constant of the rate of use, in seconds.
const SMOOTHING: f64 = 1.0;

/// Demand that is not renewed within this time expires.
const DEMAND_TTL: Duration = Duration::from_secs(2);

/// Leases are renewed after this time even if nothing changes, so that they do not expire.
const RENEW_AFTER: Duration = Duration::from_secs(3);

/// Requests are large if the capacity holds fewer than this many of them. For large requests nothing is held
/// ahead of need that is not a whole one, since a part of one is of no use.
const LARGE_REQUESTS: f64 = 8.0;

/// While booked units are due later than this, each sync asks for the ledger's level: what other replicas
/// return in the meantime may be there sooner.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// Bounds on a wait whose end is not known.
const MIN_WAIT: Duration = Duration::from_millis(20);
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Time until `units` flow in at this rate.
fn time_to_flow(units: f64, per_minute: f64) -> Duration {
    let seconds = units * 60.0 / per_minute;
    Duration::try_from_secs_f64(seconds).unwrap_or(MAX_WAIT).min(MAX_WAIT)
}

/// This replica's part of an entry of the ledger.
#[derive(Clone, Debug)]
pub struct LeasedBucket {
    status: Arc<SharedStatus>,
    /// Units that may be taken now; below zero after a settlement that cost more than was taken.
    level: f64,
    /// Units that were granted and are there later, by their time.
    booked: Vec<(Instant, f64)>,
    /// Until when the static share has flowed in; `None` unless the ledger is unreachable.
    share_flowed_until: Option<Instant>,

    /// All units that were ever returned to the ledger, less all that were taken without a grant.
    returned_total: f64,
    /// `returned_total` as of the last answer.
    returned_acknowledged: f64,
    /// All units that were ever granted.
    granted_total: f64,
    /// Units that were used since the last report.
    used_unreported: f64,
    /// The request that is under way, until its answer.
    in_flight: InFlightSync,
    last_sync_at: Instant,
    /// The entry as the last answer showed it.
    last_seen: Option<LedgerSnapshot>,
    /// Whether the ledger had less than was wanted: then the next sync waits for its turn.
    ledger_was_short: bool,
    /// Whether a reader wants to know what the fleet has left.
    refresh_requested: bool,

    /// Units that are taken in a second, as of `use_rate_at`.
    use_rate: f64,
    use_rate_at: Instant,
    /// Units of a usual request.
    request_size: f64,
    last_taken_at: Instant,
    /// Units of the smallest request that found too little, as of `shortage_at`.
    shortage: f64,
    shortage_at: Instant,
    /// Units that all queued requests need, as of `backlog_at`.
    backlog: f64,
    backlog_at: Instant,
    /// Whether more may be taken than is held, as long as the fleet has it.
    may_overdraw: bool,
}

/// What a request under way has reported.
#[derive(Clone, Copy, Debug, Default)]
struct InFlightSync {
    returned_total: f64,
    used: f64,
    wanted: f64,
}

impl LeasedBucket {
    /// An empty bucket.
    pub fn new(status: Arc<SharedStatus>, now: Instant) -> LeasedBucket {
        LeasedBucket {
            status,
            level: 0.0,
            booked: Vec::new(),
            share_flowed_until: None,
            returned_total: 0.0,
            returned_acknowledged: 0.0,
            granted_total: 0.0,
            used_unreported: 0.0,
            in_flight: InFlightSync::default(),
            last_sync_at: now,
            last_seen: None,
            ledger_was_short: false,
            refresh_requested: false,
            use_rate: 0.0,
            use_rate_at: now,
            request_size: 0.0,
            last_taken_at: now,
            shortage: 0.0,
            shortage_at: now,
            backlog: 0.0,
            backlog_at: now,
            may_overdraw: false,
        }
    }

    /// A bucket from which more may be taken than it holds, as long as the ledger was last seen to have it,
    /// or its replica's share of it before the first answer. What it owes is leased next. For limits without
    /// a queue. Replicas that all overdraw at once may take more than there is, and lack it afterwards.
    pub fn overdrawable(status: Arc<SharedStatus>, now: Instant) -> LeasedBucket {
        LeasedBucket { may_overdraw: true, ..LeasedBucket::new(status, now) }
    }

    /// Units that are there now.
    pub fn level(&mut self, config: BucketConfig, now: Instant) -> f64 {
        let status = self.status.load_full();
        self.catch_up(config, &status, now);
        self.level
    }

    /// What the ledger has left for all replicas, as far as this one knows. Below zero when that much is
    /// booked.
    pub fn left_in_ledger(&self, config: BucketConfig, now: Instant) -> f64 {
        let held = (self.level + self.booked_units()).max(0.0);
        let Some(seen) = self.last_seen else { return (config.capacity - held).max(0.0) };
        let passed = now.saturating_duration_since(self.last_sync_at).as_secs_f64();
        (seen.level + passed * config.per_minute / 60.0).min(config.capacity - held)
    }

    /// Whether the ledger is unreachable, so that this replica has its static share and no more.
    pub fn is_degraded(&self) -> bool {
        self.status.load().degraded_since().is_some()
    }

    /// Asks for a fresh view of what the fleet has left. True if that takes a sync.
    pub fn request_refresh(&mut self, now: Instant) -> bool {
        let is_old = now.saturating_duration_since(self.last_sync_at) >= LONG_WAIT;
        self.refresh_requested = is_old && self.status.load().degraded_since().is_none();
        self.refresh_requested
    }

    /// When `units` will be there: now, when they are due, or an estimate.
    pub fn when(&mut self, units: f64, config: BucketConfig, now: Instant) -> Instant {
        let status = self.status.load_full();
        self.catch_up(config, &status, now);
        let replicas = f64::from(status.replicas.max(1));
        let per_minute = config.per_minute.max(EPSILON);
        let mut missing = units.min(config.capacity.max(1.0)) - self.level;
        if self.may_overdraw && status.degraded_since().is_none() {
            let share = config.capacity / replicas;
            missing -= self.last_seen.map_or(share, |seen| seen.level.max(0.0));
        }
        if missing <= EPSILON {
            return now;
        }
        let (mut last_due, missing_now) = (now, missing);
        for (due, units) in &self.booked {
            missing -= units;
            last_due = *due;
            if missing <= EPSILON {
                // A microsecond on top, so that a timer set for this instant never fires too early.
                let due = last_due + Duration::from_micros(1);
                if status.degraded_since().is_some() || last_due <= now + LONG_WAIT {
                    return due;
                }
                // It may be sooner, once the booked units are returned and booked anew.
                let left = self.left_in_ledger(config, now) + self.booked_units();
                let wait = time_to_flow((missing_now - left).max(0.0), per_minute);
                return due.min(now + wait.max(MIN_WAIT));
            }
        }
        let wait = time_to_flow(missing * replicas, per_minute);
        match status.degraded_since() {
            Some(_) => last_due + wait + Duration::from_micros(1),
            // The ledger is likely to have it at once.
            None if self.left_in_ledger(config, now) >= missing - EPSILON => now + MIN_WAIT,
            None => last_due + wait.max(MIN_WAIT),
        }
    }

    /// Whether `units` are here, or the ledger is likely to grant them in the next sync.
    pub fn is_in_fleet(&mut self, units: f64, config: BucketConfig, now: Instant) -> bool {
        let status = self.status.load_full();
        self.catch_up(config, &status, now);
        let missing = units.min(config.capacity.max(1.0)) - self.level;
        let is_granting = status.degraded_since().is_none();
        missing <= EPSILON || is_granting && self.left_in_ledger(config, now) >= missing - EPSILON
    }

    /// Takes `units`, whether they are there or not.
    pub fn take(&mut self, units: f64, now: Instant) {
        self.level -= units;
        self.used_unreported += units;
        self.use_rate = self.current_use_rate(now) + units / SMOOTHING;
        self.use_rate_at = now;
        let is_first = self.request_size == 0.0;
        self.request_size = if is_first { units } else { self.request_size * 0.8 + units * 0.2 };
        self.last_taken_at = now;
        self.shortage = 0.0;
    }

    /// Gives back what was taken and not used; a negative number takes what was used on top.
    pub fn give_back(&mut self, units: f64) {
        self.level += units;
        self.used_unreported -= units;
    }

    /// Counts use where no limit is known.
    pub fn count_use(&mut self, units: f64, now: Instant) {
        self.used_unreported += units;
        self.last_taken_at = now;
    }

    /// A request of `units` has found too little. True if an early sync can help.
    pub fn record_shortage(&mut self, units: f64, now: Instant) -> bool {
        let is_new = self.current_shortage(now) == 0.0;
        self.shortage = if is_new { units } else { self.shortage.min(units) };
        self.shortage_at = now;
        is_new && !self.ledger_was_short
    }

    /// Sets the units that all queued requests need.
    pub fn set_backlog(&mut self, units: f64, now: Instant) {
        self.backlog = units;
        self.backlog_at = now;
    }

    /// Whether it runs low, so that an early sync helps.
    pub fn is_low(&self, now: Instant) -> bool {
        let status = self.status.load();
        let used_until_sync = self.current_use_rate(now) * status.sync_interval.as_secs_f64();
        status.degraded_since().is_none()
            && !self.ledger_was_short
            && self.level + self.booked_units() < used_until_sync
    }

    /// Drops what it holds: the upstream has refused a request, so its quota is used up.
    pub fn clear(&mut self) {
        self.level = self.level.min(0.0);
        self.booked.clear();
    }

    /// Its part of the next sync; `None` if there is nothing to report and to request. One request is under
    /// way at a time: [`LeasedBucket::apply_grant`] or the next request ends it.
    pub fn next_request(
        &mut self,
        config: Option<BucketConfig>,
        now: Instant,
    ) -> Option<LeaseRequest> {
        let status = self.status.load_full();
        let Some(config) = config else { return self.report_use(now) };
        self.catch_up(config, &status, now);
        let target = self.target_level(config, &status, now);
        if status.degraded_since().is_none() {
            self.return_booked(config, target, &status, now);
        }
        let spare = self.level - target;
        // A tolerance keeps units from going to and fro.
        let tolerance = self.request_size.min(config.capacity / LARGE_REQUESTS);
        if spare > target + tolerance || spare > 0.0 && target == 0.0 {
            self.level -= spare;
            self.returned_total += spare;
        }
        let held = self.level + self.booked_units();
        let shortage = self.current_shortage(now);
        let lacks_units = shortage > held + EPSILON || held < 0.75 * target || held < -EPSILON;
        let wanted = if status.degraded_since().is_none() && lacks_units {
            (target.max(shortage) - held).max(0.0)
        } else {
            0.0
        };
        let is_unacknowledged = self.returned_total != self.returned_acknowledged;
        let is_renewal = held.abs() >= EPSILON
            && now.saturating_duration_since(self.last_sync_at) >= RENEW_AFTER;
        let is_little_used = self.used_unreported.abs() < 0.01 * config.capacity && target > 0.0
            || self.used_unreported.abs() < EPSILON;
        if wanted == 0.0
            && !self.refresh_requested
            && !self.has_long_wait(now)
            && !is_unacknowledged
            && !is_renewal
            && is_little_used
        {
            return None;
        }
        let minimum = if wanted > 0.0 { (shortage - held).max(0.0) } else { 0.0 };
        Some(self.request(Some(config), held.max(0.0), minimum, wanted))
    }

    /// Whether the ledger needs no further report of it.
    pub fn is_settled(&self, now: Instant) -> bool {
        self.level.abs() < EPSILON
            && self.booked.is_empty()
            && self.returned_total == self.returned_acknowledged
            && self.used_unreported.abs() < EPSILON
            && self.current_shortage(now) == 0.0
            && self.share_flowed_until.is_none()
    }

    /// Applies the answer to the request under way.
    pub fn apply_grant(&mut self, grant: &LeaseGrant, now: Instant) {
        self.last_sync_at = now;
        self.returned_acknowledged = self.in_flight.returned_total;
        self.used_unreported -= self.in_flight.used;
        self.ledger_was_short = grant.total() < self.in_flight.wanted;
        self.in_flight =
            InFlightSync { returned_total: self.returned_total, ..InFlightSync::default() };
        self.last_seen = Some(LedgerSnapshot { level: grant.level, at: grant.at });
        self.refresh_requested = false;
        self.granted_total += grant.total();
        self.level += grant.granted_now;
        if grant.granted_later > 0.0 {
            self.booked.push((now + grant.due_in, grant.granted_later));
        }
        // Booked units do not end a shortage: they are not there yet, and might be there sooner.
        if self.level >= self.shortage {
            self.shortage = 0.0;
        }
    }

    /// A report that requests nothing, to carry a proposal of its limit.
    pub fn report(&mut self, config: Option<BucketConfig>) -> LeaseRequest {
        let held = (self.level + self.booked_units()).max(0.0);
        self.request(config, held, 0.0, 0.0)
    }

    fn report_use(&mut self, now: Instant) -> Option<LeaseRequest> {
        if self.used_unreported == 0.0 {
            return None;
        }
        self.last_sync_at = now;
        Some(self.request(None, 0.0, 0.0, 0.0))
    }

    fn request(
        &mut self,
        bucket: Option<BucketConfig>,
        held: f64,
        minimum: f64,
        wanted: f64,
    ) -> LeaseRequest {
        let (returned_total, used) = (self.returned_total, self.used_unreported);
        self.in_flight = InFlightSync { returned_total, used, wanted };
        LeaseRequest {
            entry: String::new(),
            holder: String::new(),
            bucket,
            held,
            returned_total,
            returned_acknowledged: self.returned_acknowledged,
            granted_total: self.granted_total,
            used,
            minimum,
            wanted,
            last_seen: self.last_seen,
            proposal: None,
        }
    }

    /// The units that it should hold.
    fn target_level(&self, config: BucketConfig, status: &FleetStatus, now: Instant) -> f64 {
        let shortage = self.current_shortage(now);
        let is_idle = now.saturating_duration_since(self.last_taken_at) >= status.lease_idle;
        if is_idle && shortage == 0.0 {
            return 0.0;
        }
        let replicas = f64::from(status.replicas.max(1));
        let size = self.request_size;
        // One request to be ready for the next, unless that would tie up a quarter of the capacity at all
        // replicas together.
        let ready = if size * replicas <= config.capacity / 4.0 { size } else { 0.0 };
        let flow = self.current_use_rate(now) * 2.0 * status.sync_interval.as_secs_f64();
        let is_large = size > config.capacity / LARGE_REQUESTS && ready == 0.0;
        let flow = if is_large && flow < size { 0.0 } else { flow };
        // A request above the capacity needs a full bucket and no more.
        let size = size.min(config.capacity);
        let most = (config.capacity * status.max_lease).max(size).max(shortage);
        (flow + ready + self.current_backlog(now).max(shortage)).min(most)
    }

    /// Returns booked units that are not needed, or that would be there sooner if they were booked anew,
    /// because requests have used less than they had taken.
    fn return_booked(
        &mut self,
        config: BucketConfig,
        target: f64,
        status: &FleetStatus,
        now: Instant,
    ) {
        let margin = status.sync_interval * 2;
        let is_late = |due: Instant| due > now + margin;
        let late: f64 = self.booked.iter().filter(|(due, _)| is_late(*due)).map(|it| it.1).sum();
        if late <= EPSILON {
            return;
        }
        let missing = target - self.level;
        let is_unneeded = missing <= EPSILON;
        let would_be_sooner = || {
            let due = self.booked_for(self.current_shortage(now))?;
            let left = self.left_in_ledger(config, now) + late;
            let wanted = missing - (self.booked_units() - late);
            let wait = time_to_flow((wanted - left).max(0.0), config.per_minute.max(EPSILON));
            (now + wait + margin < due).then_some(())
        };
        if is_unneeded || would_be_sooner().is_some() {
            self.booked.retain(|(due, _)| !is_late(*due));
            self.returned_total += late;
        }
    }

    /// When the booked units will be enough for `units`; `None` if they are enough now, or never.
    fn booked_for(&self, units: f64) -> Option<Instant> {
        let mut missing = units - self.level;
        if missing <= EPSILON {
            return None;
        }
        for (due, units) in &self.booked {
            missing -= units;
            if missing <= EPSILON {
                return Some(*due);
            }
        }
        None
    }

    /// Whether a request waits long for booked units.
    fn has_long_wait(&self, now: Instant) -> bool {
        self.booked_for(self.current_shortage(now)).is_some_and(|due| due > now + LONG_WAIT)
    }

    fn booked_units(&self) -> f64 {
        self.booked.iter().map(|(_, units)| units).sum()
    }

    fn current_shortage(&self, now: Instant) -> f64 {
        let is_expired = now.saturating_duration_since(self.shortage_at) > DEMAND_TTL;
        if is_expired { 0.0 } else { self.shortage }
    }

    fn current_backlog(&self, now: Instant) -> f64 {
        let is_expired = now.saturating_duration_since(self.backlog_at) > DEMAND_TTL;
        if is_expired { 0.0 } else { self.backlog }
    }

    fn current_use_rate(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.use_rate_at).as_secs_f64();
        self.use_rate * (-passed / SMOOTHING).exp()
    }

    /// Adds what is due by now: booked units, and the static share while the ledger is unreachable.
    fn catch_up(&mut self, config: BucketConfig, status: &FleetStatus, now: Instant) {
        let level = &mut self.level;
        self.booked.retain(|(due, units)| {
            let is_due = *due <= now;
            if is_due {
                *level += units;
            }
            !is_due
        });
        let Some(since) = status.degraded_since() else {
            self.share_flowed_until = None;
            return;
        };
        let replicas = f64::from(status.replicas.max(1));
        let share = config.capacity / replicas;
        let most = share.max(self.current_shortage(now).min(config.capacity)).max(1.0);
        let is_first = self.share_flowed_until.is_none();
        if is_first && !status.ever_connected && self.last_seen.is_none() {
            // Nothing was used yet, as far as is known.
            self.take_without_grant(share);
        }
        if is_first && self.may_overdraw {
            // No request is refused because the ledger is gone.
            self.take_without_grant((share - self.level).max(0.0));
        }
        // What the ledger had booked out flows in until then, for this replica or others.
        let booked_out = self.last_seen.map_or(0.0, |seen| (-seen.level).max(0.0));
        let booked_until = self.last_sync_at + time_to_flow(booked_out, config.per_minute);
        let begins = self.booked.last().map_or(since, |(due, _)| *due).max(booked_until);
        let from = self.share_flowed_until.unwrap_or(since).max(begins);
        if now > from {
            let passed = now.duration_since(from).as_secs_f64();
            let flow = passed * config.per_minute / 60.0 / replicas;
            self.take_without_grant(flow.min((most - self.level).max(0.0)));
        }
        self.share_flowed_until = Some(from.max(now));
    }

    fn take_without_grant(&mut self, units: f64) {
        self.level += units;
        self.returned_total -= units;
    }
}

#[cfg(test)]
mod tests;
