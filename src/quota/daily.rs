//! One quota of tokens a UTC day, of a model or of all models of an account and region.
//!
//! A request takes its input and its maximum of output, and is charged at its end, by the rule of the quotas of a
//! minute (`reservation.rs`). What was charged is a sum of the day that a store keeps over a restart and that
//! replicas share (`daily_quotas.rs`). No request waits for the store: a replica claims tokens ahead of need
//! (`daily/claim.rs`), and all replicas together never use more than the quota.
//!
//! A throttle "per day" confirms that the quota is used up if most of it was counted, or if two targets of it are
//! throttled so: one target may have a daily quota of its own that nobody has configured. All replicas are told.

mod claim;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use smallvec::SmallVec;
use tokio::time::Instant;

use self::claim::{Bounds, Claim};
use super::daily_quotas::{CLAIMS, DailyShared, Sharing};
use super::day_clock::until_midnight;
use super::tokens::TokenCharge;
use crate::fleet::{FleetEvent, FleetListener};
use crate::storage::sums::{Entry, Kind, Period, PeriodSum};

/// The share of a day's tokens that stays unused: what is counted here may be less than what Bedrock counts, such
/// as after a process was killed with requests in flight.
const MARGIN: f64 = 0.01;

/// A throttle confirms a quota of which this share was counted.
const MOSTLY_USED: f64 = 0.9;

/// Throttles of two targets confirm a quota if they are at most this far apart.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10 * 60);

/// When to look again for tokens that requests in flight may give back.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Most sums of earlier days that are kept until a store has confirmed them.
const MAX_PAST_DAYS: usize = 4;

/// Why a quota has no room for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayFull {
    /// When there may be room: on the next day, when the next request tests the quota, or in moments if requests
    /// in flight hold what is left.
    pub until: Instant,
    /// Whether the tokens of the day are used up, and not just held by requests in flight.
    pub is_used_up: bool,
}

/// The state of a daily quota.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DailySnapshot {
    /// The name of the quota, or of the target whose own it is.
    pub name: Arc<str>,
    /// The configured tokens a day; `None` if none are configured.
    pub tpd: Option<u64>,
    /// Tokens that had been used when the upstream refused more, where that is less than the configured figure or
    /// none is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learned_tpd: Option<u64>,
    /// Tokens that were used today, by all replicas.
    pub used: u64,
    /// Tokens that requests in flight at this replica have taken.
    pub reserved: u64,
    /// Tokens that are left today; `None` if no figure is known.
    pub available: Option<u64>,
    /// Whether the upstream has confirmed that the quota is used up.
    pub is_confirmed: bool,
    /// Seconds until the day ends.
    pub resets_in: u64,
}

/// A quota of tokens a day, shared by the targets that draw on it.
#[derive(Debug)]
pub struct DailyQuota {
    /// Its name for people.
    name: Arc<str>,
    /// Its name in the store.
    key: Arc<str>,
    /// The name of the claims of replicas there.
    claims_key: Arc<str>,
    shared: Arc<DailyShared>,
    day: Mutex<Day>,
}

#[derive(Debug)]
struct Day {
    configured: Option<u64>,
    learned: Option<u64>,
    /// Whether use was counted from the beginning of the day.
    is_whole: bool,
    today: PeriodSum,
    /// Earlier days, and later ones after the clock was set back; the newest last.
    past: Vec<PeriodSum>,
    /// Tokens that requests in flight have taken.
    reserved: u64,
    /// What this replica may use, where replicas share the quota.
    claim: Claim,
    /// Until when the upstream is known to refuse more.
    refused_until: Option<SystemTime>,
    /// The targets that were throttled, and when.
    throttled: SmallVec<[(Box<str>, SystemTime); 2]>,
}

impl DailyQuota {
    pub(super) fn new(name: &str, key: &Arc<str>, shared: &Arc<DailyShared>) -> DailyQuota {
        let now = shared.clock.now();
        DailyQuota {
            name: name.into(),
            key: Arc::clone(key),
            claims_key: format!("{key}{CLAIMS}").into(),
            shared: Arc::clone(shared),
            day: Mutex::new(Day {
                configured: None,
                learned: None,
                is_whole: false,
                today: PeriodSum::new(Period::at(Kind::Daily, now)),
                past: Vec::new(),
                reserved: 0,
                claim: Claim::default(),
                refused_until: None,
                throttled: SmallVec::new(),
            }),
        }
    }

    /// A quota of a target that none is configured for. It counts from now on, in this process alone.
    pub fn unconfigured(name: &str) -> Arc<DailyQuota> {
        Arc::new(DailyQuota::new(name, &name.into(), &Arc::default()))
    }

    /// Sets the configured tokens a day.
    pub(super) fn configure(&self, tpd: Option<u64>) {
        self.day(self.shared.clock.now()).configured = tpd;
    }

    /// Takes `tokens`, the input and the maximum of output of a request.
    ///
    /// # Errors
    /// If the quota is used up, or requests in flight hold what is left.
    pub fn take(self: &Arc<Self>, tokens: u64) -> Result<DailyReservation, DayFull> {
        let now = self.shared.clock.now();
        let sharing = self.shared.sharing();
        let mut day = self.day(now);
        if let Err(full) = day.check(tokens, sharing, now) {
            // What the replica lacks is claimed at once.
            let is_claimed = matches!(sharing, Sharing::Claims { .. }) && !full.is_used_up;
            if is_claimed {
                day.claim.lacks(tokens);
                self.shared.changed.notify_one();
            }
            return Err(full);
        }
        day.reserved = day.reserved.saturating_add(tokens);
        let in_use = day.in_use();
        if day.claim.take(tokens, in_use) && matches!(sharing, Sharing::Claims { .. }) {
            self.shared.changed.notify_one();
        }
        drop(day);
        Ok(DailyReservation { quota: Arc::clone(self), tokens, charge: None })
    }

    /// When there may be room for `tokens`; now if there is.
    pub fn when(&self, tokens: u64, now: Instant) -> Instant {
        let time = self.shared.clock.now();
        let full = self.day(time).check(tokens, self.shared.sharing(), time);
        full.map_or_else(|full| full.until, |()| now)
    }

    /// The upstream has refused a request of this target for its tokens of the day. If that confirms that the
    /// quota is used up, none goes there for as long as `pause`, or until the day ends. True if it does.
    pub fn refused(&self, target: &str, pause: Duration) -> bool {
        let now = self.shared.clock.now();
        let is_confirmed = self.day(now).refused(target, pause, now);
        if is_confirmed {
            let pause = pause.min(until_midnight(now));
            let target = self.key.to_string();
            self.shared.publish(FleetEvent::Cooled { target, pause, throttles: 1, is_quota: true });
        }
        is_confirmed
    }

    /// Whether most of the configured tokens were used or are taken.
    pub fn is_mostly_used(&self) -> bool {
        self.day(self.shared.clock.now()).is_mostly_used()
    }

    /// Forgets what throttles have shown.
    pub fn reset(&self) {
        let mut day = self.day(self.shared.clock.now());
        (day.refused_until, day.learned) = (None, None);
        day.throttled.clear();
    }

    /// The same at all replicas.
    pub fn reset_for_all(&self) {
        self.reset();
        self.shared.publish(FleetEvent::TargetReset { target: self.key.to_string() });
    }

    /// Its state.
    pub fn snapshot(&self) -> DailySnapshot {
        let now = self.shared.clock.now();
        let day = self.day(now);
        let used = day.today.total();
        let is_confirmed = day.refused_until.is_some_and(|until| now < until);
        let limit = day.configured.or(day.learned);
        let left = limit.map(|tpd| tpd.saturating_sub(used.saturating_add(day.reserved)));
        DailySnapshot {
            name: Arc::clone(&self.name),
            tpd: day.configured,
            learned_tpd: day.learned,
            used,
            reserved: day.reserved,
            available: if is_confirmed { Some(0) } else { left },
            is_confirmed,
            resets_in: until_midnight(now).as_secs(),
        }
    }

    /// The share of it that is left; 1 if no figure is known.
    pub fn headroom(&self) -> f64 {
        let DailySnapshot { tpd, available, .. } = self.snapshot();
        match (available, tpd) {
            (Some(available), Some(tpd)) => available as f64 / tpd.max(1) as f64,
            (Some(0), None) => 0.0,
            _ => 1.0,
        }
    }

    pub(super) fn entries(&self, every: bool) -> Vec<Entry> {
        let mut day = self.day(self.shared.clock.now());
        let today = Some(&day.today).filter(|today| every || today.needs_sync());
        let past = day.past.iter().filter(|it| it.needs_write());
        let sums = today.into_iter().chain(past).map(|sum| sum.entry(&self.key));
        let mut entries: Vec<Entry> = sums.collect();
        if every && let Sharing::Claims { replicas, is_stopping, .. } = self.shared.sharing() {
            entries.extend(self.claim_entry(&mut day, replicas, is_stopping));
        }
        entries
    }

    /// The claim of this replica, where a figure is configured.
    fn claim_entry(&self, day: &mut Day, replicas: u32, is_stopping: bool) -> Option<Entry> {
        let bounds = day.bounds(replicas)?;
        let in_use = day.in_use();
        if is_stopping {
            day.claim = Claim::default();
        }
        let claim = day.claim.next(in_use, bounds, fastrand::u32(..));
        let (name, period) = (Arc::clone(&self.claims_key), day.today.period());
        // Written in any case: the claim of a process takes the place of the one before.
        Some(Entry { name, period, known: 0, added: 1, own: claim, restores: false })
    }

    pub(super) fn confirm(&self, entry: &Entry, sum: u64) {
        let mut day = self.day.lock();
        if entry.name == self.claims_key {
            if let Some(bounds) = day.bounds(1).filter(|_| day.today.period() == entry.period) {
                day.claim.answered(entry.own, sum, bounds.limit);
            }
            return;
        }
        let Day { today, past, .. } = &mut *day;
        let of_period = |it: &&mut PeriodSum| it.period() == entry.period;
        [today].into_iter().chain(past).filter(of_period).for_each(|it| it.confirm(entry, sum));
    }

    pub(super) fn restore(&self) {
        let mut day = self.day.lock();
        let Day { today, past, .. } = &mut *day;
        [today].into_iter().chain(past).for_each(PeriodSum::restore);
    }

    /// Tokens that no store has confirmed.
    pub(super) fn unsynced(&self) -> u64 {
        let day = self.day.lock();
        [&day.today].into_iter().chain(&day.past).map(PeriodSum::unsynced).sum()
    }

    /// Whether something would be lost if it were dropped now.
    pub(super) fn is_in_use(&self) -> bool {
        let day = self.day(self.shared.clock.now());
        day.reserved > 0 || day.today.own() > 0 || day.past.iter().any(|it| it.unsynced() > 0)
    }

    fn settle(&self, tokens: u64, charge: Option<TokenCharge>) {
        let mut day = self.day(self.shared.clock.now());
        day.reserved = day.reserved.saturating_sub(tokens);
        // It counts in the day in which it ends.
        let charge = charge.map_or(0, |charge| charge.total());
        day.today.add(charge);
        drop(day);
        if charge > 0 {
            self.shared.changed.notify_one();
        }
    }

    fn day(&self, now: SystemTime) -> MutexGuard<'_, Day> {
        let mut day = self.day.lock();
        if day.roll(now, self.shared.replicas()) {
            // The sum of the new day is needed at once.
            self.shared.changed.notify_one();
        }
        day
    }
}

impl FleetListener for DailyQuota {
    fn cooled(&self, pause: Duration, _: u32, _: bool) {
        let now = self.shared.clock.now();
        self.day(now).refuse(pause, now);
    }

    fn recovered(&self) {
        self.reset();
    }

    fn probe_started(&self) {}

    fn reset(&self) {
        DailyQuota::reset(self);
    }
}

impl Day {
    /// Switches to the day that the clock shows. True if that is another one.
    fn roll(&mut self, now: SystemTime, replicas: u32) -> bool {
        let Some(period) = self.today.next(now) else { return false };
        let known = self.past.iter().position(|past| past.period() == period);
        let mut next =
            known.map_or_else(|| PeriodSum::new(period), |place| self.past.remove(place));
        next.reopen();
        let is_next = period.number == self.today.period().number + 1;
        let past = std::mem::replace(&mut self.today, next);
        if past.unsynced() > 0 {
            self.past.push(past);
        }
        if self.past.len() > MAX_PAST_DAYS {
            self.past.remove(0);
        }
        (self.is_whole, self.refused_until) = (is_next, None);
        self.throttled.clear();
        let new_claim = self.bounds(replicas).filter(|_| is_next).map(Claim::of_new_day);
        self.claim = new_claim.unwrap_or_default();
        true
    }

    /// What this process has used today, and what requests in flight have taken.
    fn in_use(&self) -> u64 {
        self.today.own().saturating_add(self.reserved)
    }

    /// What replicas may use of the day; `None` without a configured figure.
    fn bounds(&self, replicas: u32) -> Option<Bounds> {
        let tpd = self.configured?;
        let limit = tpd.saturating_sub((tpd as f64 * MARGIN) as u64);
        Some(Bounds { limit, replicas })
    }

    /// Whether there is room for `tokens`.
    fn check(&self, tokens: u64, sharing: Sharing, now: SystemTime) -> Result<(), DayFull> {
        let full =
            |is_used_up, wait: Duration| Err(DayFull { until: Instant::now() + wait, is_used_up });
        if let Some(wait) = self.refused_until.and_then(|it| it.duration_since(now).ok())
            && !wait.is_zero()
        {
            return full(true, wait);
        }
        let Some(bounds) = self.bounds(sharing.replicas()) else { return Ok(()) };
        // A request that is larger than the whole quota may go when nothing is used.
        let tokens = tokens.min(bounds.limit);
        let allowance = match sharing {
            Sharing::Claims { is_reachable, .. } => self.claim.allowance(bounds, is_reachable),
            // What was used before this process started counts as used by others.
            Sharing::Alone { replicas } => {
                let others = self.today.total() - self.today.own();
                bounds.limit.saturating_sub(others) / u64::from(replicas.max(1))
            }
        };
        if self.in_use().saturating_add(tokens) <= allowance {
            return Ok(());
        }
        // What requests in flight have taken may come back, and what others have claimed.
        let is_used_up = match sharing {
            Sharing::Claims { .. } => self.today.total().saturating_add(tokens) > bounds.limit,
            Sharing::Alone { .. } => self.today.own().saturating_add(tokens) > allowance,
        };
        full(is_used_up, if is_used_up { until_midnight(now) } else { LOOK_AGAIN })
    }

    /// Lets no request take tokens for as long as `pause`, or until the day ends.
    fn refuse(&mut self, pause: Duration, now: SystemTime) {
        self.refused_until = Some(now + pause.min(until_midnight(now)));
    }

    fn is_mostly_used(&self) -> bool {
        let used = self.today.total().saturating_add(self.reserved);
        self.configured.is_some_and(|tpd| used as f64 >= tpd as f64 * MOSTLY_USED)
    }

    fn refused(&mut self, target: &str, pause: Duration, now: SystemTime) -> bool {
        let is_recent = |at: &SystemTime| {
            now.duration_since(*at).is_ok_and(|passed| passed <= CONFIRMED_WITHIN)
        };
        self.throttled.retain(|(name, at)| is_recent(at) && **name != *target);
        let is_confirmed =
            self.configured.is_none() || self.is_mostly_used() || !self.throttled.is_empty();
        if self.throttled.is_empty() {
            self.throttled.push((target.into(), now));
        }
        if !is_confirmed {
            return false;
        }
        self.refuse(pause, now);
        // A count of a part of the day shows nothing about the whole.
        let is_counted = self.is_whole || self.configured.is_some();
        let used = self.today.total();
        if is_counted && used > 0 && !self.is_mostly_used() {
            self.learned = Some(used);
        }
        true
    }
}

/// What one request has taken of one daily quota, settled once, when dropped. Without a charge it gives everything
/// back.
#[derive(Debug)]
pub struct DailyReservation {
    quota: Arc<DailyQuota>,
    tokens: u64,
    charge: Option<TokenCharge>,
}

impl DailyReservation {
    /// Sets what the request has cost, or that it costs nothing.
    pub(super) fn charge(&mut self, charge: Option<TokenCharge>) {
        self.charge = charge;
    }
}

impl Drop for DailyReservation {
    fn drop(&mut self) {
        self.quota.settle(self.tokens, self.charge);
    }
}

/// What one request has taken of all daily quotas of its target.
pub type DailyReservations = Box<SmallVec<[DailyReservation; 2]>>;

#[cfg(test)]
mod tests;
