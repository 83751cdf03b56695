//! One quota of one kind, requests or tokens a minute: configured, learned, or both.
//!
//! A throttle while the limit was kept says that the real one is lower: it is lowered by a
//! factor. Minutes in which the limit is used and no throttle comes raise it by a small share,
//! up to the configured figure. This is additive increase and multiplicative decrease, as in
//! TCP's congestion control, against a quota instead of a queue. Without a configured figure and
//! before the first throttle there is no limit at all, only a count of what is used. A throttle when
//! little was used may be due to others who use the account: it teaches something only if another
//! one follows soon. So quotas of a few requests a minute are learned too, from two throttles instead
//! of one. Once a limit has risen past the figure that was refused, the quota has grown, and it
//! rises faster.
//!
//! A limit that all replicas share has a [`Purse`] in place of its bucket. What one replica has
//! learned it proposes to the ledger; the figure that the ledger tells counts for all.

use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use super::purse::Purse;
use crate::config;
use crate::fleet::{Ask, Grant, Learned, Terms};

const MINUTE: Duration = Duration::from_secs(60);

/// A limit is used when this share of it was, in the last minute.
const USED: f64 = 0.8;

/// A limit is past the figure that was refused when it is so many times as high...
const PAST: f64 = 1.05;

/// ...and then rises so many times as fast.
const FASTER: f64 = 10.0;

/// It rises after a minute, and not before so many times the floor can have been used: of a limit of
/// one request a minute, one that went well is no reason to try more.
const TRIED: f64 = 5.0;

/// Without a figure, one throttle teaches a limit when so many times the floor was used...
const AMPLE: f64 = 10.0;

/// ...and after less use two do, the second within this time of the first.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10 * 60);

/// How limits are learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Learning {
    enabled: bool,
    decrease: f64,
    increase: f64,
}

impl Learning {
    /// Limits that stay as they are configured.
    pub fn off() -> Learning {
        Learning { enabled: false, decrease: 1.0, increase: 0.0 }
    }
}

impl From<&config::Learning> for Learning {
    fn from(config: &config::Learning) -> Learning {
        Learning { enabled: config.enabled, decrease: config.decrease, increase: config.increase }
    }
}

/// A limit of one kind. What every request looks at stands here, close together; the rest does not.
#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct Limit {
    bucket: Option<Bucket>,
    used: Recent,
    /// Below the configured figure, or standing in for one.
    learned: Option<f64>,
    shared: Option<Box<Shared>>,
    basis: Box<Basis>,
}

/// What a limit is learned from.
#[derive(Clone, Debug)]
struct Basis {
    configured: Option<f64>,
    floor: f64,
    /// The share of the figure that the bucket does not hold.
    unfilled: f64,
    raised_at: Instant,
    /// The figure that counted when the upstream last refused.
    refused_at: f64,
    /// A throttle after little use that no other has confirmed yet.
    unconfirmed: Option<Unconfirmed>,
}

/// A throttle that may be due to others who use the account.
#[derive(Clone, Copy, Debug)]
struct Unconfirmed {
    at: Instant,
    /// What had been used in the minute before.
    used: f64,
}

/// What a limit has with other replicas.
#[derive(Clone, Debug)]
struct Shared {
    purse: Purse,
    /// What the ledger last told.
    learned: Learned,
    /// What is to be told to it.
    proposal: Option<Learned>,
    /// Whether the exchange under way tells it.
    is_told: bool,
    /// What all replicas used in a minute.
    used_in_a_minute: f64,
    /// Whether a reset is under way: what the ledger tells counts once it has forgotten, too.
    is_reset: bool,
}

impl Limit {
    /// A limit that other replicas draw on too.
    pub(super) fn shared(
        configured: Option<f64>,
        floor: f64,
        unfilled: f64,
        purse: Purse,
        now: Instant,
    ) -> Limit {
        let shared = Shared {
            purse,
            learned: Learned::default(),
            proposal: None,
            is_told: false,
            used_in_a_minute: 0.0,
            is_reset: false,
        };
        let alone = Limit::new(configured, floor, unfilled, now);
        Limit { bucket: None, shared: Some(Box::new(shared)), ..alone }
    }

    pub(super) fn new(configured: Option<f64>, floor: f64, unfilled: f64, now: Instant) -> Limit {
        let basis = Basis {
            configured,
            unfilled,
            floor: configured.map_or(floor, |figure| floor.min(figure)),
            raised_at: now,
            refused_at: f64::MAX,
            unconfirmed: None,
        };
        Limit {
            bucket: configured.map(|figure| Bucket::full(figure, unfilled, now)),
            used: Recent::new(now),
            learned: None,
            shared: None,
            basis: Box::new(basis),
        }
    }

    /// The figure that counts now; `None`: none is known.
    pub(super) fn figure(&self) -> Option<f64> {
        self.learned.or(self.basis.configured)
    }

    /// The configured figure.
    pub(super) fn configured(&self) -> Option<f64> {
        self.basis.configured
    }

    /// The learned figure, where it differs from the configured one.
    pub(super) fn learned(&self) -> Option<f64> {
        self.learned
    }

    /// Units that are left, for this replica or another; `None`: no limit is known.
    pub(super) fn available(&mut self, now: Instant) -> Option<f64> {
        let terms = self.shared_terms();
        match &mut self.shared {
            Some(shared) => {
                let terms = terms?;
                let held = shared.purse.level(terms, now);
                let is_alone = shared.purse.is_alone();
                Some(if is_alone { held } else { held + shared.purse.left_for_all(terms, now) })
            }
            None => self.bucket.as_ref().map(|bucket| bucket.level(now)),
        }
    }

    /// Units of these that this replica holds; `None` where it shares them with no other.
    pub(super) fn held(&mut self, now: Instant) -> Option<f64> {
        let terms = self.shared_terms()?;
        self.shared.as_mut().map(|shared| shared.purse.level(terms, now))
    }

    /// Somebody wants to see what is left. True if the ledger has to be asked.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let is_limited = self.figure().is_some();
        is_limited && self.shared.as_mut().is_some_and(|shared| shared.purse.look(now))
    }

    /// When `units` will be there.
    pub(super) fn when(&mut self, units: f64, now: Instant) -> Instant {
        let terms = self.shared_terms();
        match (&mut self.shared, terms) {
            (Some(shared), Some(terms)) => shared.purse.when(units, terms, now),
            _ => self.bucket.as_ref().map_or(now, |bucket| bucket.when(units, now)),
        }
    }

    pub(super) fn take(&mut self, units: f64, now: Instant) {
        self.used.add(units, now);
        let is_limited = self.shared.is_some() && self.figure().is_some();
        match &mut self.shared {
            Some(shared) if is_limited => shared.purse.take(units, now),
            Some(shared) => shared.purse.count(units, now),
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
        let is_limited = self.shared.is_some() && self.figure().is_some();
        match &mut self.shared {
            Some(shared) if is_limited => shared.purse.give_back(units),
            Some(shared) => shared.purse.count(-units, now),
            None => {
                if let Some(bucket) = &mut self.bucket {
                    bucket.give_back(units, now);
                }
            }
        }
    }

    /// Somebody found too little here. True if the ledger is to be asked at once.
    pub(super) fn lacks(&mut self, units: f64, now: Instant) -> bool {
        if self.when(units, now) <= now {
            return false;
        }
        // More than it holds is there when it is full.
        let most = self.shared_terms().map_or(f64::MAX, |terms| terms.capacity.max(1.0));
        self.shared.as_mut().is_some_and(|shared| shared.purse.lacks(units.min(most), now))
    }

    /// Those who wait need so much together.
    pub(super) fn wait(&mut self, units: f64, now: Instant) {
        if let Some(shared) = &mut self.shared {
            shared.purse.wait(units, now);
        }
    }

    /// Whether the ledger is to be asked at once, since little is left.
    pub(super) fn is_low(&self, now: Instant) -> bool {
        let is_low = |shared: &Shared| self.figure().is_some() && shared.purse.is_low(now);
        self.shared.as_deref().is_some_and(is_low)
    }

    /// What is to be said to the ledger and asked of it.
    pub(super) fn ask(&mut self, now: Instant) -> Option<Ask> {
        let terms = self.terms();
        let shared = self.shared.as_mut()?;
        let mut ask = shared.purse.ask(terms, now);
        if shared.proposal.is_some() {
            ask = ask.or_else(|| Some(shared.purse.say(terms)));
        }
        shared.is_told = ask.is_some() && shared.proposal.is_some();
        ask.map(|ask| Ask { proposal: shared.proposal, ..ask })
    }

    /// Whether the ledger need not hear of it.
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        self.shared.as_ref().is_none_or(|it| it.proposal.is_none() && it.purse.is_settled(now))
    }

    /// Takes what the ledger has granted and told.
    pub(super) fn granted(&mut self, grant: &Grant, now: Instant) {
        let (configured, before) = (self.basis.configured, self.figure());
        let Some(shared) = &mut self.shared else { return };
        shared.purse.granted(grant, now);
        shared.used_in_a_minute = grant.used_in_a_minute;
        if shared.is_reset && grant.learned.figure.is_some() {
            // Another proposal came first, or this answers what was asked before the reset.
            shared.learned = grant.learned;
            shared.proposal = Some(Learned { version: grant.learned.version, figure: None });
            return;
        }
        shared.is_reset = false;
        // What was learned while the exchange was under way is told in the next.
        let is_answered = shared.proposal.is_some() && shared.is_told;
        if grant.learned.version == shared.learned.version && !is_answered {
            return;
        }
        // Also where another replica's proposal came first: what the ledger says counts.
        shared.learned = grant.learned;
        shared.proposal = None;
        let figure = grant.learned.figure;
        self.learned = figure.filter(|learned| configured.is_none_or(|own| *learned < own));
        self.basis.raised_at = now;
        let is_lower = |figure: f64| before.is_none_or(|before| figure < before);
        if self.figure().is_some_and(is_lower) {
            self.basis.refused_at = before.unwrap_or(f64::MAX);
            if let Some(shared) = &mut self.shared {
                shared.purse.void();
            }
        }
    }

    /// The terms of a purse, if there is one: who has none need not look at what they come from.
    fn shared_terms(&self) -> Option<Terms> {
        self.shared.as_ref().and_then(|_| self.terms())
    }

    fn terms(&self) -> Option<Terms> {
        let per_minute = self.figure()?;
        let capacity = (per_minute * (1.0 - self.basis.unfilled)).max(per_minute.min(1.0));
        Some(Terms { per_minute, capacity })
    }

    /// What was used in the last minute, by all who draw on it.
    fn used_in_a_minute(&mut self, now: Instant) -> f64 {
        let own = self.used.in_a_minute(now);
        self.shared.as_ref().map_or(own, |shared| own.max(shared.used_in_a_minute))
    }

    /// Tells the others what was learned.
    fn propose(&mut self) {
        let figure = self.learned;
        if let Some(shared) = &mut self.shared {
            shared.proposal = Some(Learned { version: shared.learned.version, figure });
            shared.is_told = false;
            shared.is_reset = false;
        }
    }

    /// Forgets what was inferred from throttles: the learned figure, and that nothing is left. What
    /// was used in the last minute still counts.
    pub(super) fn reset(&mut self, now: Instant) {
        let had_learned = self.learned.take().is_some();
        self.basis.refused_at = f64::MAX;
        self.basis.unconfirmed = None;
        self.basis.raised_at = now;
        if let Some(shared) = &mut self.shared {
            if had_learned || shared.learned.figure.is_some() {
                shared.proposal = Some(Learned { version: shared.learned.version, figure: None });
                shared.is_told = false;
                shared.is_reset = true;
            }
            return;
        }
        let used = self.used.in_a_minute(now);
        self.bucket = self.basis.configured.map(|figure| {
            let mut bucket = Bucket::full(figure, self.basis.unfilled, now);
            bucket.take(used.min(bucket.level(now)), now);
            bucket
        });
    }

    /// The upstream refused a request for this quota, which is therefore empty there.
    pub(super) fn throttled(&mut self, learning: &Learning, now: Instant) {
        let used = self.used_in_a_minute(now);
        if let Some(shared) = &mut self.shared {
            shared.purse.void();
        }
        let known = self.figure().or_else(|| self.basis.refused_use(used, now));
        if let (true, Some(figure)) = (learning.enabled, known) {
            self.basis.unconfirmed = None;
            let lowered = (figure * learning.decrease).max(self.basis.floor);
            self.learned = Some(lowered);
            self.basis.refused_at = figure;
            if self.shared.is_none() {
                self.bucket = Some(Bucket::empty(lowered, self.basis.unfilled, now));
            }
            self.propose();
        } else if self.shared.is_some() {
        } else if let Some(figure) = self.basis.configured {
            self.bucket = Some(Bucket::empty(figure, self.basis.unfilled, now));
        }
        self.basis.raised_at = now;
    }

    /// Raises a learned limit when a minute has passed in which it was used.
    pub(super) fn raise(&mut self, learning: &Learning, now: Instant) {
        let Some(learned) = self.learned else { return };
        let pause = MINUTE.mul_f64((TRIED * self.basis.floor / learned).clamp(1.0, TRIED));
        if now.duration_since(self.basis.raised_at) < pause {
            return;
        }
        self.basis.raised_at = now;
        if self.used_in_a_minute(now) < USED * learned {
            return;
        }
        let faster = if learned > PAST * self.basis.refused_at { FASTER } else { 1.0 };
        let raised = learned * (1.0 + learning.increase * faster);
        self.learned = match self.basis.configured {
            Some(figure) if raised >= figure => None,
            _ => Some(raised),
        };
        if let (Some(figure), Some(bucket)) = (self.figure(), &mut self.bucket) {
            bucket.resize(figure, now);
        }
        self.propose();
    }

    /// Takes over what `before` learned and holds, under this limit's own configured figure.
    pub(super) fn take_over(&mut self, before: &Limit, now: Instant) {
        self.used = before.used.clone();
        self.basis.raised_at = before.basis.raised_at;
        self.basis.refused_at = before.basis.refused_at;
        self.basis.unconfirmed = before.basis.unconfirmed;
        self.learned =
            before.learned.filter(|learned| self.basis.configured.is_none_or(|own| *learned < own));
        if let (Some(shared), Some(before)) = (&mut self.shared, &before.shared) {
            // What the other holds it gives back itself when it is idle.
            shared.learned = before.learned;
            shared.used_in_a_minute = before.used_in_a_minute;
            return;
        }
        self.bucket = self.figure().map(|figure| match &before.bucket {
            Some(bucket) => {
                let mut bucket = bucket.clone();
                bucket.resize(figure, now);
                bucket
            }
            None => Bucket::full(figure, self.basis.unfilled, now),
        });
    }
}

impl Basis {
    /// The use that a throttle shows to be too much, where no figure is known; `None` if it may be
    /// due to others, which is noted.
    fn refused_use(&mut self, used: f64, now: Instant) -> Option<f64> {
        if used >= AMPLE * self.floor {
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

/// What was used in the last minute, from the counts of this and the last one, the last weighed
/// by how much of it still lies within the window.
#[derive(Clone, Debug)]
struct Recent {
    began: Instant,
    current: f64,
    last: f64,
}

impl Recent {
    fn new(now: Instant) -> Recent {
        Recent { began: now, current: 0.0, last: 0.0 }
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
            *self = Recent::new(now);
        } else if passed >= MINUTE {
            *self = Recent { began: self.began + MINUTE, current: 0.0, last: self.current };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEARNING: Learning = Learning { enabled: true, decrease: 0.5, increase: 0.1 };

    #[test]
    fn without_a_figure_there_is_no_limit_until_a_throttle() {
        let start = Instant::now();
        let mut limit = Limit::new(None, 1.0, 0.0, start);
        for _ in 0..40 {
            assert_eq!(limit.when(1.0, start), start);
            limit.take(1.0, start);
        }
        assert_eq!(limit.figure(), None);
        limit.throttled(&LEARNING, start);
        assert_eq!(limit.figure(), Some(20.0));
        assert!(limit.when(1.0, start) > start, "what is refused upstream is empty here");
    }

    #[test]
    fn a_used_limit_rises_slowly_and_an_idle_one_stays() {
        let start = Instant::now();
        let mut limit = Limit::new(Some(100.0), 1.0, 0.0, start);
        limit.throttled(&LEARNING, start);
        assert_eq!(limit.figure(), Some(50.0));
        let mut now = start + MINUTE;
        limit.raise(&LEARNING, now);
        assert_eq!(limit.figure(), Some(50.0), "idle");
        for _ in 0..20 {
            limit.take(limit.figure().unwrap(), now);
            now += MINUTE;
            limit.raise(&LEARNING, now);
        }
        assert_eq!(limit.figure(), Some(100.0));
        assert_eq!(limit.learned(), None, "back at the configured figure");
    }

    #[test]
    fn throttles_when_less_than_the_floor_was_used_teach_nothing() {
        let now = Instant::now();
        let mut limit = Limit::new(None, 10.0, 0.0, now);
        limit.take(9.0, now);
        for _ in 0..3 {
            limit.throttled(&LEARNING, now);
            assert_eq!(limit.figure(), None);
            assert_eq!(limit.when(1.0, now), now);
        }
    }

    #[test]
    fn after_little_use_a_second_throttle_that_follows_soon_teaches() {
        let start = Instant::now();
        let mut limit = Limit::new(None, 1.0, 0.0, start);
        limit.take(6.0, start);
        limit.throttled(&LEARNING, start);
        assert_eq!(limit.figure(), None, "others may have used the account");
        let mut now = start + CONFIRMED_WITHIN + MINUTE;
        limit.take(4.0, now);
        limit.throttled(&LEARNING, now);
        assert_eq!(limit.figure(), None, "the first was too long ago");
        now += 5 * MINUTE;
        limit.take(3.0, now);
        limit.throttled(&LEARNING, now);
        assert_eq!(limit.figure(), Some(2.0), "half of the larger use");
        assert!(limit.when(1.0, now) > now);
    }

    #[test]
    fn a_limit_of_one_a_minute_lets_one_through_a_minute() {
        let start = Instant::now();
        let mut limit = Limit::new(Some(2.0), 1.0, 0.03, start);
        for _ in 0..5 {
            limit.throttled(&LEARNING, start);
        }
        assert_eq!(limit.figure(), Some(1.0));
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
            assert_eq!(limit.figure(), Some(1.0), "after {minute} minutes");
        }
        limit.take(1.0, start + 5 * MINUTE);
        limit.raise(&LEARNING, start + 5 * MINUTE);
        assert_eq!(limit.figure(), Some(1.1));
    }

    #[test]
    fn past_the_figure_that_was_refused_it_rises_faster() {
        let start = Instant::now();
        let mut limit = Limit::new(None, 1.0, 0.0, start);
        limit.take(20.0, start);
        limit.throttled(&LEARNING, start);
        let mut now = start + 2 * MINUTE;
        let mut minutes = 0;
        while limit.figure().unwrap() < 100.0 {
            limit.take(limit.figure().unwrap(), now);
            now += MINUTE;
            limit.raise(&LEARNING, now);
            minutes += 1;
        }
        assert!((8..14).contains(&minutes), "{minutes}");
    }

    #[test]
    fn it_never_falls_below_its_floor() {
        let start = Instant::now();
        let mut limit = Limit::new(Some(100.0), 10.0, 0.0, start);
        for _ in 0..20 {
            limit.throttled(&LEARNING, start);
        }
        assert_eq!(limit.figure(), Some(10.0));
    }

    #[test]
    fn a_reset_forgets_what_was_learned_and_counts_what_was_used() {
        let start = Instant::now();
        let mut limit = Limit::new(Some(100.0), 1.0, 0.0, start);
        limit.take(30.0, start);
        limit.throttled(&LEARNING, start);
        assert_eq!((limit.figure(), limit.available(start)), (Some(50.0), Some(0.0)));
        limit.reset(start);
        assert_eq!((limit.figure(), limit.learned()), (Some(100.0), None));
        assert_eq!(limit.available(start), Some(70.0));

        let mut unknown = Limit::new(None, 1.0, 0.0, start);
        unknown.take(20.0, start);
        unknown.throttled(&LEARNING, start);
        unknown.reset(start);
        assert_eq!((unknown.figure(), unknown.when(1.0, start)), (None, start));

        let mut little = Limit::new(None, 1.0, 0.0, start);
        little.take(5.0, start);
        little.throttled(&LEARNING, start);
        little.reset(start);
        little.throttled(&LEARNING, start);
        assert_eq!(little.figure(), None, "the throttle before the reset confirms nothing");
    }

    #[test]
    fn what_was_learned_outlives_a_change_of_the_config() {
        let now = Instant::now();
        let mut before = Limit::new(Some(100.0), 1.0, 0.0, now);
        before.throttled(&LEARNING, now);
        let mut after = Limit::new(Some(200.0), 1.0, 0.0, now);
        after.take_over(&before, now);
        assert_eq!(after.figure(), Some(50.0));
        assert_eq!(after.available(now), Some(0.0));
        let mut lower = Limit::new(Some(20.0), 1.0, 0.0, now);
        lower.take_over(&before, now);
        assert_eq!(lower.figure(), Some(20.0), "a figure below what was learned counts");
    }
}
