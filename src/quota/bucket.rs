//! A token bucket on an injected clock.
//!
//! Between any two instants a bucket gives at most its capacity plus what flows in between them.
//! Its level falls below zero when a settlement costs more than was taken; then the debt flows in first.

use std::time::Duration;

use tokio::time::Instant;

const MINUTE: f64 = 60.0;

/// Rounding of levels must not make a full bucket refuse its own capacity.
const EPSILON: f64 = 1e-6;

/// The longest wait that a bucket announces; it keeps sums of instants from overflowing.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// A bucket that regains a number of units in a minute, and holds as many less a safety margin.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    per_minute: f64,
    safety_margin: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket of `per_minute` units, less the share `safety_margin` of them.
    pub(super) fn full(per_minute: f64, safety_margin: f64, now: Instant) -> Bucket {
        let empty = Bucket::empty(per_minute, safety_margin, now);
        Bucket { level: empty.capacity(), ..empty }
    }

    /// An empty bucket.
    pub(super) fn empty(per_minute: f64, safety_margin: f64, now: Instant) -> Bucket {
        Bucket { per_minute, safety_margin, level: 0.0, at: now }
    }

    /// Units that are there now.
    pub(super) fn level(&self, now: Instant) -> f64 {
        let flowed =
            now.saturating_duration_since(self.at).as_secs_f64() * self.per_minute / MINUTE;
        (self.level + flowed).min(self.capacity())
    }

    /// When `units` will be there. More than the capacity counts as there when the bucket is full, since it
    /// never will be otherwise.
    pub(super) fn when(&self, units: f64, now: Instant) -> Instant {
        let missing = units.min(self.capacity()) - self.level(now);
        if missing <= EPSILON {
            return now;
        }
        let seconds = missing * MINUTE / self.per_minute.max(EPSILON);
        // A microsecond on top, so that a timer set for this instant never fires too early.
        now + Duration::try_from_secs_f64(seconds + 1e-6).unwrap_or(MAX_WAIT).min(MAX_WAIT)
    }

    /// Takes `units`, whether they are there or not.
    pub(super) fn take(&mut self, units: f64, now: Instant) {
        self.level = self.level(now) - units;
        self.at = now;
    }

    /// Gives `units` back, up to the capacity.
    pub(super) fn give_back(&mut self, units: f64, now: Instant) {
        self.level = (self.level(now) + units).min(self.capacity());
        self.at = now;
    }

    /// Changes the flow and the capacity. The level stays, as far as it fits.
    pub(super) fn resize(&mut self, per_minute: f64, now: Instant) {
        self.level = self.level(now);
        self.per_minute = per_minute;
        self.level = self.level.min(self.capacity());
        self.at = now;
    }

    /// The most that it holds, at least one request.
    fn capacity(&self) -> f64 {
        (self.per_minute * (1.0 - self.safety_margin)).max(self.per_minute.min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_minute_refills_it_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::full(60.0, 0.0, start);
        bucket.take(60.0, start);
        assert_eq!(bucket.level(start + 10 * SECOND), 10.0);
        assert_eq!(bucket.level(start + 600 * SECOND), 60.0);
    }

    #[test]
    fn a_safety_margin_does_not_slow_the_flow() {
        let start = Instant::now();
        let mut bucket = Bucket::full(60.0, 0.25, start);
        assert_eq!(bucket.level(start), 45.0);
        bucket.take(45.0, start);
        assert_eq!(bucket.level(start + 10 * SECOND), 10.0);
        assert_eq!(bucket.level(start + 600 * SECOND), 45.0);
        bucket.give_back(10.0, start + 600 * SECOND);
        assert_eq!(bucket.level(start + 600 * SECOND), 45.0);
    }

    #[test]
    fn units_are_there_when_they_are_due() {
        let start = Instant::now();
        let mut bucket = Bucket::empty(60.0, 0.0, start);
        let when = bucket.when(5.0, start);
        assert!(when >= start + 5 * SECOND && when < start + 5 * SECOND + SECOND / 100);
        assert_eq!(bucket.when(5.0, when), when);
        bucket.take(100.0, when);
        assert!(bucket.when(1.0, when) > when + 95 * SECOND, "what is owed flows in first");
    }

    #[test]
    fn the_smallest_bucket_holds_one_request() {
        let start = Instant::now();
        let mut bucket = Bucket::full(1.0, 0.25, start);
        assert_eq!(bucket.when(1.0, start), start);
        bucket.take(1.0, start);
        assert!(bucket.when(1.0, start) >= start + 60 * SECOND);
    }

    #[test]
    fn a_request_above_the_capacity_needs_a_full_bucket() {
        let start = Instant::now();
        let mut bucket = Bucket::full(60.0, 0.0, start);
        assert_eq!(bucket.when(1000.0, start), start);
        bucket.take(1.0, start);
        assert!(bucket.when(1000.0, start) > start);
    }

    proptest! {
        /// In any window, no more is given than the capacity and the flow of that window.
        #[test]
        fn never_above_capacity_in_any_window(
            steps in prop::collection::vec((0u64..20_000, 1.0f64..50.0), 1..200)
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut bucket = Bucket::full(100.0, 0.0, start);
            let mut given: Vec<(Instant, f64)> = Vec::new();
            for (millis, units) in steps {
                now += Duration::from_millis(millis);
                if bucket.when(units, now) == now {
                    bucket.take(units, now);
                    given.push((now, units));
                }
            }
            for (i, (from, _)) in given.iter().enumerate() {
                let mut sum = 0.0;
                for (at, units) in given.iter().skip(i) {
                    sum += units;
                    let flow = at.duration_since(*from).as_secs_f64() * 100.0 / 60.0;
                    prop_assert!(sum <= 100.0 + flow + 0.001, "{sum} in {:?}", at.duration_since(*from));
                }
            }
        }

        #[test]
        fn taking_and_giving_back_leaves_the_level(takes in prop::collection::vec(0.0f64..40.0, 1..50)) {
            let now = Instant::now();
            let mut bucket = Bucket::full(1000.0, 0.0, now);
            for units in &takes { bucket.take(*units, now); }
            for units in &takes { bucket.give_back(*units, now); }
            prop_assert!((bucket.level(now) - 1000.0).abs() < 1e-6);
        }
    }
}
