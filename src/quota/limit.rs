//! One limit of a quota, requests or tokens a minute: configured, learned, or both.
//!
//! A throttle although the limit was kept shows that the real limit is lower: the limit is lowered by a
//! factor. A minute in which the limit is used up without a throttle raises it by a small share, up to the
//! configured one. This is additive increase and multiplicative decrease, as in TCP's congestion control.
//! - Without a configured limit nothing is limited before the first throttle; usage is only counted.
//! - A throttle after little use may be due to other users of the account. It teaches a limit only if a
//!   second one follows soon; so quotas of a few requests a minute take two throttles to learn.
//! - A limit that has risen past the value that was refused shows that the quota has grown. It then rises
//!   faster.
//!
//! A limit that replicas share has a [`LeasedBucket`] in place of its bucket. A replica proposes what it has
//! learned to the ledger; what the ledger answers counts for all replicas.

use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use crate::config;
use crate::fleet::{BucketConfig, LearnedLimit, LeaseGrant, LeaseRequest, LeasedBucket};

const MINUTE: Duration = Duration::from_secs(60);

/// A limit counts as used up when this share of it was used in the last minute.
const USED_UP: f64 = 0.8;

/// The quota has grown when the limit is this many times the value that was refused...
const GROWN: f64 = 1.05;

/// ...and then the limit rises this many times as fast.
const FAST_INCREASE: f64 = 10.0;

/// A limit rises after a minute, or later if it takes longer to use this many times the floor: one success
/// at a limit of one request a minute is no reason to try more.
const MIN_TRIALS: f64 = 5.0;

/// Where no limit is known, one throttle teaches one after this many times the floor was used...
const AMPLE_USE: f64 = 10.0;

/// ...and after less use a second throttle does, within this time of the first.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10 * 60);

/// The settings of learning.
#[derive(Clone, Debug, PartialEq)]
pub struct Learning {
    enabled: bool,
    decrease: f64,
    increase: f64,
}

impl Learning {
    /// No learning: limits stay as configured.
    pub fn off() -> Learning {
        Learning { enabled: false, decrease: 1.0, increase: 0.0 }
    }
}

impl From<&config::Learning> for Learning {
    fn from(config: &config::Learning) -> Learning {
        Learning { enabled: config.enabled, decrease: config.decrease, increase: config.increase }
    }
}

/// A limit. The fields that every request reads come first in memory, as in `routing/target.rs`.
#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct Limit {
    bucket: Option<Bucket>,
    used: MinuteCounter,
    /// Units per minute, below the configured ones or in place of them.
    learned: Option<f64>,
    shared: Option<Box<SharedLimit>>,
    basis: Box<Basis>,
}

/// What a limit is learned from.
#[derive(Clone, Debug)]
struct Basis {
    configured: Option<f64>,
    floor: f64,
    /// The share of a minute's units that the bucket does not hold.
    safety_margin: f64,
    raised_at: Instant,
    /// The limit when the upstream last refused a request.
    refused_at: f64,
    /// A throttle after little use that no other has confirmed.
    unconfirmed: Option<Unconfirmed>,
}

/// A throttle that may be due to other users of the account.
#[derive(Clone, Copy, Debug)]
struct Unconfirmed {
    at: Instant,
    /// What had been used in the minute before.
    used: f64,
}

/// What a limit shares with other replicas.
#[derive(Clone, Debug)]
struct SharedLimit {
    leased: LeasedBucket,
    /// The ledger's last answer.
    learned: LearnedLimit,
    /// What to propose to the ledger.
    proposal: Option<LearnedLimit>,
    /// Whether the sync under way contains the proposal.
    is_proposed: bool,
    /// What all replicas used in a minute.
    used_in_a_minute: f64,
    /// Whether a reset is under way: then the ledger's limit does not count until the ledger has dropped it.
    is_resetting: bool,
}

impl Limit {
    /// A limit that other replicas draw on too.
    pub(super) fn shared(
        configured: Option<f64>,
        floor: f64,
        safety_margin: f64,
        leased: LeasedBucket,
        now: Instant,
    ) -> Limit {
        let shared = SharedLimit {
            leased,
            learned: LearnedLimit::default(),
            proposal: None,
            is_proposed: false,
            used_in_a_minute: 0.0,
            is_resetting: false,
        };
        let alone = Limit::new(configured, floor, safety_margin, now);
        Limit { bucket: None, shared: Some(Box::new(shared)), ..alone }
    }

    pub(super) fn new(
        configured: Option<f64>,
        floor: f64,
        safety_margin: f64,
        now: Instant,
    ) -> Limit {
        let basis = Basis {
            configured,
            safety_margin,
            floor: configured.map_or(floor, |limit| floor.min(limit)),
            raised_at: now,
            refused_at: f64::MAX,
            unconfirmed: None,
        };
        Limit {
            bucket: configured.map(|limit| Bucket::full(limit, safety_margin, now)),
            used: MinuteCounter::new(now),
            learned: None,
            shared: None,
            basis: Box::new(basis),
        }
    }

    /// The limit that counts now; `None` if none is known.
    pub(super) fn per_minute(&self) -> Option<f64> {
        self.learned.or(self.basis.configured)
    }

    /// The configured limit.
    pub(super) fn configured(&self) -> Option<f64> {
        self.basis.configured
    }

    /// The learned limit, where it differs from the configured one.
    pub(super) fn learned(&self) -> Option<f64> {
        self.learned
    }

    /// Units that are left, for this replica or another; `None` if no limit is known.
    pub(super) fn available(&mut self, now: Instant) -> Option<f64> {
        let config = self.leased_config();
        match &mut self.shared {
            Some(shared) => {
                let config = config?;
                let held = shared.leased.level(config, now);
                let is_degraded = shared.leased.is_degraded();
                Some(if is_degraded {
                    held
                } else {
                    held + shared.leased.left_in_ledger(config, now)
                })
            }
            None => self.bucket.as_ref().map(|bucket| bucket.level(now)),
        }
    }

    /// Units of these that this replica holds; `None` where it shares them with no other.
    pub(super) fn held(&mut self, now: Instant) -> Option<f64> {
        let config = self.leased_config()?;
        self.shared.as_mut().map(|shared| shared.leased.level(config, now))
    }

    /// Asks for a fresh view of what is left. True if that takes a sync.
    pub(super) fn request_refresh(&mut self, now: Instant) -> bool {
        let is_limited = self.per_minute().is_some();
        is_limited && self.shared.as_mut().is_some_and(|shared| shared.leased.request_refresh(now))
    }

    /// When `units` will be there.
    pub(super) fn when(&mut self, units: f64, now: Instant) -> Instant {
        let config = self.leased_config();
        match (&mut self.shared, config) {
            (Some(shared), Some(config)) => shared.leased.when(units, config, now),
            _ => self.bucket.as_ref().map_or(now, |bucket| bucket.when(units, now)),
        }
    }

    /// Whether `units` are there, or replicas share them and the fleet has as much left.
    pub(super) fn is_in_fleet(&mut self, units: f64, now: Instant) -> bool {
        let config = self.leased_config();
        match (&mut self.shared, config) {
            (Some(shared), Some(config)) => shared.leased.is_in_fleet(units, config, now),
            _ => self.when(units, now) <= now,
        }
    }

    pub(super) fn take(&mut self, units: f64, now: Instant) {
        self.used.add(units, now);
        let is_limited = self.shared.is_some() && self.per_minute().is_some();
        match &mut self.shared {
            Some(shared) if is_limited => shared.leased.take(units, now),
            Some(shared) => shared.leased.count_use(units, now),
            None => {
                if let Some(bucket) = &mut self.bucket {
                    bucket.take(units, now);
                }
            }
        }
    }

    /// Gives back what was taken and not used; a negative number takes what was used on top.
    pub(super) fn give_back(&mut self, units: f64, now: Instant) {
        self.used.add(-units, now);
        let is_limited = self.shared.is_some() && self.per_minute().is_some();
        match &mut self.shared {
            Some(shared) if is_limited => shared.leased.give_back(units),
            Some(shared) => shared.leased.count_use(-units, now),
            None => {
                if let Some(bucket) = &mut self.bucket {
                    bucket.give_back(units, now);
                }
            }
        }
    }

    /// A request of `units` has found too little. True if an early sync can help.
    pub(super) fn record_shortage(&mut self, units: f64, now: Instant) -> bool {
        if self.when(units, now) <= now {
            return false;
        }
        // A request above the capacity needs a full bucket and no more.
        let most = self.leased_config().map_or(f64::MAX, |config| config.capacity.max(1.0));
        let units = units.min(most);
        self.shared.as_mut().is_some_and(|shared| shared.leased.record_shortage(units, now))
    }

    /// Sets the units that all queued requests need.
    pub(super) fn set_backlog(&mut self, units: f64, now: Instant) {
        if let Some(shared) = &mut self.shared {
            shared.leased.set_backlog(units, now);
        }
    }

    /// Whether it runs low, so that an early sync helps.
    pub(super) fn is_low(&self, now: Instant) -> bool {
        let is_low =
            |shared: &SharedLimit| self.per_minute().is_some() && shared.leased.is_low(now);
        self.shared.as_deref().is_some_and(is_low)
    }

    /// Its part of the next sync with the ledger.
    pub(super) fn next_request(&mut self, now: Instant) -> Option<LeaseRequest> {
        let config = self.bucket_config();
        let shared = self.shared.as_mut()?;
        let mut request = shared.leased.next_request(config, now);
        if shared.proposal.is_some() {
            request = request.or_else(|| Some(shared.leased.report(config)));
        }
        shared.is_proposed = request.is_some() && shared.proposal.is_some();
        request.map(|request| LeaseRequest { proposal: shared.proposal, ..request })
    }

    /// Whether the ledger needs no further report of it.
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        self.shared.as_ref().is_none_or(|it| it.proposal.is_none() && it.leased.is_settled(now))
    }

    /// Applies the ledger's answer.
    pub(super) fn apply_grant(&mut self, grant: &LeaseGrant, now: Instant) {
        let (configured, before) = (self.basis.configured, self.per_minute());
        let Some(shared) = &mut self.shared else { return };
        shared.leased.apply_grant(grant, now);
        shared.used_in_a_minute = grant.used_in_a_minute;
        if shared.is_resetting && grant.learned.per_minute.is_some() {
            // Another proposal came first, or this answers a request from before the reset.
            shared.learned = grant.learned;
            shared.proposal =
                Some(LearnedLimit { version: grant.learned.version, per_minute: None });
            return;
        }
        shared.is_resetting = false;
        // What was learned while the sync was under way is proposed in the next.
        let is_answered = shared.proposal.is_some() && shared.is_proposed;
        if grant.learned.version == shared.learned.version && !is_answered {
            return;
        }
        // The ledger's answer counts, also where another replica's proposal came first.
        shared.learned = grant.learned;
        shared.proposal = None;
        let learned = grant.learned.per_minute;
        self.learned = learned.filter(|learned| configured.is_none_or(|own| *learned < own));
        self.basis.raised_at = now;
        let is_lower = |limit: f64| before.is_none_or(|before| limit < before);
        if self.per_minute().is_some_and(is_lower) {
            self.basis.refused_at = before.unwrap_or(f64::MAX);
            if let Some(shared) = &mut self.shared {
                shared.leased.clear();
            }
        }
    }

    /// The bucket as the ledger needs to know it, where replicas share one. Others do not touch `basis` here.
    fn leased_config(&self) -> Option<BucketConfig> {
        self.shared.as_ref().and_then(|_| self.bucket_config())
    }

    fn bucket_config(&self) -> Option<BucketConfig> {
        let per_minute = self.per_minute()?;
        let capacity = (per_minute * (1.0 - self.basis.safety_margin)).max(per_minute.min(1.0));
        Some(BucketConfig { per_minute, capacity })
    }

    /// What was used in the last minute, by all replicas.
    fn used_in_a_minute(&mut self, now: Instant) -> f64 {
        let own = self.used.in_a_minute(now);
        self.shared.as_ref().map_or(own, |shared| own.max(shared.used_in_a_minute))
    }

    /// Proposes what was learned to the other replicas.
    fn propose(&mut self) {
        let per_minute = self.learned;
        if let Some(shared) = &mut self.shared {
            shared.proposal = Some(LearnedLimit { version: shared.learned.version, per_minute });
            shared.is_proposed = false;
            shared.is_resetting = false;
        }
    }

    /// Forgets what was inferred from throttles: the learned limit, and that nothing is left. What was used
    /// in the last minute still counts.
    pub(super) fn reset(&mut self, now: Instant) {
        let had_learned = self.learned.take().is_some();
        self.basis.refused_at = f64::MAX;
        self.basis.unconfirmed = None;
        self.basis.raised_at = now;
        if let Some(shared) = &mut self.shared {
            if had_learned || shared.learned.per_minute.is_some() {
                shared.proposal =
                    Some(LearnedLimit { version: shared.learned.version, per_minute: None });
                shared.is_proposed = false;
                shared.is_resetting = true;
            }
            return;
        }
        let used = self.used.in_a_minute(now);
        self.bucket = self.basis.configured.map(|limit| {
            let mut bucket = Bucket::full(limit, self.basis.safety_margin, now);
            bucket.take(used.min(bucket.level(now)), now);
            bucket
        });
    }

    /// The upstream has throttled a request for this limit, so its bucket is empty there.
    pub(super) fn throttled(&mut self, learning: &Learning, now: Instant) {
        let used = self.used_in_a_minute(now);
        if let Some(shared) = &mut self.shared {
            shared.leased.clear();
        }
        let known = self.per_minute().or_else(|| self.basis.refused_use(used, now));
        if let (true, Some(limit)) = (learning.enabled, known) {
            self.basis.unconfirmed = None;
            let lowered = (limit * learning.decrease).max(self.basis.floor);
            self.learned = Some(lowered);
            self.basis.refused_at = limit;
            if self.shared.is_none() {
                self.bucket = Some(Bucket::empty(lowered, self.basis.safety_margin, now));
            }
            self.propose();
        } else if self.shared.is_none()
            && let Some(configured) = self.basis.configured
        {
            self.bucket = Some(Bucket::empty(configured, self.basis.safety_margin, now));
        }
        self.basis.raised_at = now;
    }

    /// Raises a learned limit when a minute has passed in which it was used up.
    pub(super) fn raise(&mut self, learning: &Learning, now: Instant) {
        let Some(learned) = self.learned else { return };
        let pause =
            MINUTE.mul_f64((MIN_TRIALS * self.basis.floor / learned).clamp(1.0, MIN_TRIALS));
        if now.duration_since(self.basis.raised_at) < pause {
            return;
        }
        self.basis.raised_at = now;
        if self.used_in_a_minute(now) < USED_UP * learned {
            return;
        }
        let factor = if learned > GROWN * self.basis.refused_at { FAST_INCREASE } else { 1.0 };
        let raised = learned * (1.0 + learning.increase * factor);
        self.learned = match self.basis.configured {
            Some(configured) if raised >= configured => None,
            _ => Some(raised),
        };
        if let (Some(per_minute), Some(bucket)) = (self.per_minute(), &mut self.bucket) {
            bucket.resize(per_minute, now);
        }
        self.propose();
    }

    /// Takes over what `before` learned and holds, under this limit's own config.
    pub(super) fn take_over(&mut self, before: &Limit, now: Instant) {
        self.used = before.used.clone();
        self.basis.raised_at = before.basis.raised_at;
        self.basis.refused_at = before.basis.refused_at;
        self.basis.unconfirmed = before.basis.unconfirmed;
        self.learned =
            before.learned.filter(|learned| self.basis.configured.is_none_or(|own| *learned < own));
        if let (Some(shared), Some(before)) = (&mut self.shared, &before.shared) {
            // The other returns what it holds when it is idle.
            shared.learned = before.learned;
            shared.used_in_a_minute = before.used_in_a_minute;
            return;
        }
        self.bucket = self.per_minute().map(|per_minute| match &before.bucket {
            Some(bucket) => {
                let mut bucket = bucket.clone();
                bucket.resize(per_minute, now);
                bucket
            }
            None => Bucket::full(per_minute, self.basis.safety_margin, now),
        });
    }
}

impl Basis {
    /// The use that a throttle shows to be too much, where no limit is known. `None` if the throttle may be
    /// due to others, which is kept for the next one.
    fn refused_use(&mut self, used: f64, now: Instant) -> Option<f64> {
        if used >= AMPLE_USE * self.floor {
            return Some(used);
        }
        if used < self.floor {
            return None;
        }
        let is_recent = |it: &Unconfirmed| now.duration_since(it.at) <= CONFIRMED_WITHIN;
        match self.unconfirmed.filter(is_recent) {
            Some(first) => Some(first.used.max(used)),
            None => {
                self.unconfirmed = Some(Unconfirmed { at: now, used });
                None
            }
        }
    }
}

/// Counts the use of the last minute: a sliding window over two fixed minutes, the last one weighted by how
/// much of it the window still covers.
#[derive(Clone, Debug)]
struct MinuteCounter {
    began: Instant,
    current: f64,
    last: f64,
}

impl MinuteCounter {
    fn new(now: Instant) -> MinuteCounter {
        MinuteCounter { began: now, current: 0.0, last: 0.0 }
    }

    fn add(&mut self, units: f64, now: Instant) {
        self.roll(now);
        self.current = (self.current + units).max(0.0);
    }

    fn in_a_minute(&mut self, now: Instant) -> f64 {
        self.roll(now);
        let passed = now.duration_since(self.began).as_secs_f64() / MINUTE.as_secs_f64();
        self.current + self.last * (1.0 - passed).max(0.0)
    }

    fn roll(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.began);
        if passed >= 2 * MINUTE {
            *self = MinuteCounter::new(now);
        } else if passed >= MINUTE {
            *self = MinuteCounter { began: self.began + MINUTE, current: 0.0, last: self.current };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEARNING: Learning = Learning { enabled: true, decrease: 0.5, increase: 0.1 };

    #[test]
    fn without_a_configured_limit_there_is_none_until_a_throttle() {
        let start = Instant::now();
        let mut limit = Limit::new(None, 1.0, 0.0, start);
        for _ in 0..40 {
            assert_eq!(limit.when(1.0, start), start);
            limit.take(1.0, start);
        }
        assert_eq!(limit.per_minute(), None);
        limit.throttled(&LEARNING, start);
        assert_eq!(limit.per_minute(), Some(20.0));
        assert!(limit.when(1.0, start) > start, "what is refused upstream is empty here");
    }

    #[test]
    fn a_used_limit_rises_slowly_and_an_idle_one_stays() {
        let start = Instant::now();
        let mut limit = Limit::new(Some(100.0), 1.0, 0.0, start);
        limit.throttled(&LEARNING, start);
        assert_eq!(limit.per_minute(), Some(50.0));
        let mut now = start + MINUTE;
        limit.raise(&LEARNING, now);
        assert_eq!(limit.per_minute(), Some(50.0), "idle");
        for _ in 0..20 {
            limit.take(limit.per_minute().unwrap(), now);
            now += MINUTE;
            limit.raise(&LEARNING, now);
        }
        assert_eq!(limit.per_minute(), Some(100.0));
        assert_eq!(limit.learned(), None, "back at the configured figure");
    }

    #[test]
    fn throttles_when_less_than_the_floor_was_used_teach_nothing() {
        let now = Instant::now();
        let mut limit = Limit::new(None, 10.0, 0.0, now);
        limit.take(9.0, now);
        for _ in 0..3 {
            limit.throttled(&LEARNING, now);
            assert_eq!(limit.per_minute(), None);
            assert_eq!(limit.when(1.0, now), now);
        }
    }

    #[test]
    fn after_little_use_a_second_throttle_that_follows_soon_teaches() {
        let start = Instant::now();
        let mut limit = Limit::new(None, 1.0, 0.0, start);
        limit.take(6.0, start);
        limit.throttled(&LEARNING, start);
        assert_eq!(limit.per_minute(), None, "others may have used the account");
        let mut now = start + CONFIRMED_WITHIN + MINUTE;
        limit.take(4.0, now);
        limit.throttled(&LEARNING, now);
        assert_eq!(limit.per_minute(), None, "the first was too long ago");
        now += 5 * MINUTE;
        limit.take(3.0, now);
        limit.throttled(&LEARNING, now);
        assert_eq!(limit.per_minute(), Some(2.0), "half of the larger use");
        assert!(limit.when(1.0, now) > now);
    }

    #[test]
    fn a_limit_of_one_a_minute_lets_one_through_a_minute() {
        let start = Instant::now();
        let mut limit = Limit::new(Some(2.0), 1.0, 0.03, start);
        for _ in 0..5 {
            limit.throttled(&LEARNING, start);
        }
        assert_eq!(limit.per_minute(), Some(1.0));
        let due = limit.when(1.0, start);
        assert!(due <= start + MINUTE + Duration::from_secs(1), "{:?}", due - start);
        limit.take(1.0, due);
        let next = limit.when(1.0, due) - due;
        assert!(next > MINUTE - Duration::from_secs(3), "{next:?}");
    }

    #[test]
    fn a_limit_of_one_a_minute_rises_after_five_minutes() {
        let start = Instant::now();
        let mut limit = Limit::new(Some(2.0), 1.0, 0.0, start);
        limit.throttled(&LEARNING, start);
        for minute in 1..5 {
            let now = start + minute * MINUTE;
            limit.take(1.0, now);
            limit.raise(&LEARNING, now);
            assert_eq!(limit.per_minute(), Some(1.0), "after {minute} minutes");
        }
        limit.take(1.0, start + 5 * MINUTE);
        limit.raise(&LEARNING, start + 5 * MINUTE);
        assert_eq!(limit.per_minute(), Some(1.1));
    }

    #[test]
    fn past_the_limit_that_was_refused_it_rises_faster() {
        let start = Instant::now();
        let mut limit = Limit::new(None, 1.0, 0.0, start);
        limit.take(20.0, start);
        limit.throttled(&LEARNING, start);
        let mut now = start + 2 * MINUTE;
        let mut minutes = 0;
        while limit.per_minute().unwrap() < 100.0 {
            limit.take(limit.per_minute().unwrap(), now);
            now += MINUTE;
            limit.raise(&LEARNING, now);
            minutes += 1;
        }
        assert!((8..14).contains(&minutes), "{minutes}");
    }

    #[test]
    fn a_learned_limit_never_falls_below_its_floor() {
        let start = Instant::now();
        let mut limit = Limit::new(Some(100.0), 10.0, 0.0, start);
        for _ in 0..20 {
            limit.throttled(&LEARNING, start);
        }
        assert_eq!(limit.per_minute(), Some(10.0));
    }

    #[test]
    fn a_reset_forgets_what_was_learned_and_counts_what_was_used() {
        let start = Instant::now();
        let mut limit = Limit::new(Some(100.0), 1.0, 0.0, start);
        limit.take(30.0, start);
        limit.throttled(&LEARNING, start);
        assert_eq!((limit.per_minute(), limit.available(start)), (Some(50.0), Some(0.0)));
        limit.reset(start);
        assert_eq!((limit.per_minute(), limit.learned()), (Some(100.0), None));
        assert_eq!(limit.available(start), Some(70.0));

        let mut unknown = Limit::new(None, 1.0, 0.0, start);
        unknown.take(20.0, start);
        unknown.throttled(&LEARNING, start);
        unknown.reset(start);
        assert_eq!((unknown.per_minute(), unknown.when(1.0, start)), (None, start));

        let mut little = Limit::new(None, 1.0, 0.0, start);
        little.take(5.0, start);
        little.throttled(&LEARNING, start);
        little.reset(start);
        little.throttled(&LEARNING, start);
        assert_eq!(little.per_minute(), None, "the throttle before the reset confirms nothing");
    }

    #[test]
    fn a_learned_limit_survives_a_change_of_the_config() {
        let now = Instant::now();
        let mut before = Limit::new(Some(100.0), 1.0, 0.0, now);
        before.throttled(&LEARNING, now);
        let mut after = Limit::new(Some(200.0), 1.0, 0.0, now);
        after.take_over(&before, now);
        assert_eq!(after.per_minute(), Some(50.0));
        assert_eq!(after.available(now), Some(0.0));
        let mut lower = Limit::new(Some(20.0), 1.0, 0.0, now);
        lower.take_over(&before, now);
        assert_eq!(
            lower.per_minute(),
            Some(20.0),
            "a configured limit below the learned one counts"
        );
    }
}
