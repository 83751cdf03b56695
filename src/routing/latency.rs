//! The latency of a target's answers, to their head: a moving average and a high quantile.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Weight of a new observation in the average.
const WEIGHT: f64 = 0.1;

/// Observations in the quantile's window.
const WINDOW: usize = 64;

/// Fewest observations for a quantile.
const MIN_OBSERVATIONS: usize = 20;

/// Times to the head of an answer, in microseconds, written and read without a lock. Concurrent updates may lose
/// an observation, and no more. Fields in memory order; see [`Target`](super::Target).
#[derive(Debug)]
#[repr(C)]
pub struct Latency {
    average: AtomicU32,
    count: AtomicU32,
    recent: [AtomicU32; WINDOW],
}

impl Default for Latency {
    fn default() -> Latency {
        Latency {
            average: AtomicU32::new(0),
            recent: std::array::from_fn(|_| AtomicU32::new(0)),
            count: AtomicU32::new(0),
        }
    }
}

impl Latency {
    /// Learns from one answer.
    pub fn learn(&self, took: Duration) {
        let seen = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let place = self.count.fetch_add(1, Ordering::Relaxed) as usize;
        if let Some(slot) = self.recent.get(place % WINDOW) {
            slot.store(seen, Ordering::Relaxed);
        }
        let known = f64::from(self.average.load(Ordering::Relaxed));
        let average =
            if place == 0 { f64::from(seen) } else { known + WEIGHT * (f64::from(seen) - known) };
        self.average.store(average as u32, Ordering::Relaxed);
    }

    /// The moving average; zero before the first answer, so that a new target is tried.
    pub fn average(&self) -> Duration {
        Duration::from_micros(self.average.load(Ordering::Relaxed).into())
    }

    /// The time within which 95 % of the last answers began; `None` until there were enough.
    pub fn p95(&self) -> Option<Duration> {
        let count = (self.count.load(Ordering::Relaxed) as usize).min(WINDOW);
        if count < MIN_OBSERVATIONS {
            return None;
        }
        let mut seen: Vec<u32> =
            self.recent.iter().take(count).map(|slot| slot.load(Ordering::Relaxed)).collect();
        seen.sort_unstable();
        seen.get(count * 95 / 100).map(|micros| Duration::from_micros((*micros).into()))
    }

    /// Takes over the observations of the same target under an older config.
    pub fn take_over(&self, before: &Latency) {
        let copy = |to: &AtomicU32, from: &AtomicU32| {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        };
        copy(&self.average, &before.average);
        self.recent.iter().zip(&before.recent).for_each(|(to, from)| copy(to, from));
        self.count.store(before.count.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn average_and_quantile_follow_the_observations() {
        let latency = Latency::default();
        assert_eq!(latency.average(), Duration::ZERO);
        for millis in 1..=19 {
            latency.learn(Duration::from_millis(millis));
        }
        assert_eq!(latency.p95(), None, "too few");
        for millis in 20..=64 {
            latency.learn(Duration::from_millis(millis));
        }
        assert_eq!(latency.p95(), Some(Duration::from_millis(61)));
        for _ in 0..100 {
            latency.learn(Duration::from_millis(5));
        }
        assert_eq!(latency.p95(), Some(Duration::from_millis(5)));
        assert!(latency.average() < Duration::from_millis(6));
    }
}
