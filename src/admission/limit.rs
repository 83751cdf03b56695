//! One quota of one kind, requests or tokens a minute: configured, learned, or both.
//!
//! A throttle while the limit was kept says that the real one is lower: it is lowered by a
//! factor. Minutes in which the limit is used and no throttle comes raise it by a small share,
//! up to the configured figure. This is additive increase and multiplicative decrease, as in
//! TCP's congestion control, against a quota instead of a queue. Without a configured figure and
//! before the first throttle there is no limit at all, only a count of what is used; a throttle
//! when next to nothing was used teaches nothing, since others may use the account. Once a limit
//! has risen past the figure that was refused, the quota has grown, and it rises faster.

use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use crate::config;

const MINUTE: Duration = Duration::from_secs(60);

/// A limit is used when this share of it was, in the last minute.
const USED: f64 = 0.8;

/// A limit is past the figure that was refused when it is so many times as high...
const PAST: f64 = 1.05;

/// ...and then rises so many times as fast.
const FASTER: f64 = 10.0;

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

/// A limit of one kind.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    configured: Option<f64>,
    floor: f64,
    /// The share of the figure that the bucket does not hold.
    unfilled: f64,
    /// Below the configured figure, or standing in for one.
    learned: Option<f64>,
    bucket: Option<Bucket>,
    used: Recent,
    raised_at: Instant,
    /// The figure that counted when the upstream last refused.
    refused_at: f64,
}

impl Limit {
    pub(super) fn new(configured: Option<f64>, floor: f64, unfilled: f64, now: Instant) -> Limit {
        Limit {
            configured,
            unfilled,
            floor: configured.map_or(floor, |figure| floor.min(figure)),
            learned: None,
            bucket: configured.map(|figure| Bucket::full(figure, unfilled, now)),
            used: Recent::new(now),
            raised_at: now,
            refused_at: f64::MAX,
        }
    }

    /// The figure that counts now; `None`: none is known.
    pub(super) fn figure(&self) -> Option<f64> {
        self.learned.or(self.configured)
    }

    /// The learned figure, where it differs from the configured one.
    pub(super) fn learned(&self) -> Option<f64> {
        self.learned
    }

    /// Units that are there now.
    pub(super) fn available(&self, now: Instant) -> Option<f64> {
        self.bucket.as_ref().map(|bucket| bucket.level(now))
    }

    /// When `units` will be there.
    pub(super) fn when(&self, units: f64, now: Instant) -> Instant {
        self.bucket.as_ref().map_or(now, |bucket| bucket.when(units, now))
    }

    pub(super) fn take(&mut self, units: f64, now: Instant) {
        self.used.add(units, now);
        if let Some(bucket) = &mut self.bucket {
            bucket.take(units, now);
        }
    }

    /// Gives back what was taken and not used; a negative number takes what was used on top.
    pub(super) fn give_back(&mut self, units: f64, now: Instant) {
        self.used.add(-units, now);
        if let Some(bucket) = &mut self.bucket {
            bucket.give_back(units, now);
        }
    }

    /// The upstream refused a request for this quota, which is therefore empty there.
    pub(super) fn throttled(&mut self, learning: &Learning, now: Instant) {
        let used = self.used.in_a_minute(now);
        let known = self.figure().or_else(|| (used >= self.floor).then_some(used));
        if let (true, Some(figure)) = (learning.enabled, known) {
            let lowered = (figure * learning.decrease).max(self.floor);
            self.learned = Some(lowered);
            self.refused_at = figure;
            self.bucket = Some(Bucket::empty(lowered, self.unfilled, now));
        } else if let Some(figure) = self.configured {
            self.bucket = Some(Bucket::empty(figure, self.unfilled, now));
        }
        self.raised_at = now;
    }

    /// Raises a learned limit when a minute has passed in which it was used.
    pub(super) fn raise(&mut self, learning: &Learning, now: Instant) {
        let Some(learned) = self.learned else { return };
        if now.duration_since(self.raised_at) < MINUTE {
            return;
        }
        self.raised_at = now;
        if self.used.in_a_minute(now) < USED * learned {
            return;
        }
        let faster = if learned > PAST * self.refused_at { FASTER } else { 1.0 };
        let raised = learned * (1.0 + learning.increase * faster);
        self.learned = match self.configured {
            Some(figure) if raised >= figure => None,
            _ => Some(raised),
        };
        if let (Some(figure), Some(bucket)) = (self.figure(), &mut self.bucket) {
            bucket.resize(figure, now);
        }
    }

    /// Takes over what `before` learned and holds, under this limit's own configured figure.
    pub(super) fn take_over(&mut self, before: &Limit, now: Instant) {
        self.used = before.used.clone();
        self.raised_at = before.raised_at;
        self.refused_at = before.refused_at;
        self.learned =
            before.learned.filter(|learned| self.configured.is_none_or(|own| *learned < own));
        self.bucket = self.figure().map(|figure| match &before.bucket {
            Some(bucket) => {
                let mut bucket = bucket.clone();
                bucket.resize(figure, now);
                bucket
            }
            None => Bucket::full(figure, self.unfilled, now),
        });
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
    fn a_throttle_when_next_to_nothing_was_used_teaches_nothing() {
        let now = Instant::now();
        let mut limit = Limit::new(None, 10.0, 0.0, now);
        limit.take(9.0, now);
        limit.throttled(&LEARNING, now);
        assert_eq!(limit.figure(), None);
        assert_eq!(limit.when(1.0, now), now);
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
