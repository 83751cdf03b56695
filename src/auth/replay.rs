//! Signatures that were taken, remembered as long as they could be taken again.
//!
//! Bounded: beyond the bound the oldest is forgotten, which is counted, since it could then be
//! taken a second time. It is forgotten when its time is over by the clock, and as much time has
//! passed: a clock that was set forward comes back. Each process remembers its own.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::time::Instant;

/// Longest time that a signature is remembered for, whatever its own is.
const LONGEST: u64 = 24 * 60 * 60;

/// Bytes of a signature that are remembered: enough that no two are the same.
const REMEMBERED: usize = 32;

#[derive(Debug)]
pub(super) struct Replays {
    seen: Mutex<Seen>,
    max: usize,
    forgotten: IntCounter,
}

#[derive(Debug, Default)]
struct Seen {
    signatures: HashSet<[u8; REMEMBERED]>,
    /// In the order they came.
    order: VecDeque<Remembered>,
}

#[derive(Debug)]
struct Remembered {
    signature: [u8; REMEMBERED],
    /// The last second in which it could be taken.
    until: i64,
    /// When so much time has passed.
    over: Instant,
}

impl Replays {
    pub(super) fn new(max: usize, forgotten: IntCounter) -> Replays {
        Replays { seen: Mutex::default(), max, forgotten }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Whether a signature, which can be taken until `until`, comes for the first time. Times are
    /// seconds since the Unix epoch.
    pub(super) fn is_first(&self, signature: [u8; REMEMBERED], until: i64, now: i64) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = &mut *seen;
        let instant = Instant::now();
        while let Some(oldest) = seen.order.front()
            && oldest.until < now
            && oldest.over < instant
        {
            seen.signatures.remove(&oldest.signature);
            seen.order.pop_front();
        }
        if !seen.signatures.insert(signature) {
            return false;
        }
        let left = u64::try_from(until.saturating_sub(now)).unwrap_or(0).min(LONGEST);
        let over = instant + Duration::from_secs(left);
        seen.order.push_back(Remembered { signature, until, over });
        if seen.order.len() > self.max
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.signatures.remove(&oldest.signature);
            self.forgotten.inc();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replays(max: usize) -> Replays {
        Replays::new(max, IntCounter::new("forgotten", "Forgotten.").unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_signature_comes_once_as_long_as_it_is_good() {
        let replays = replays(10);
        assert!(replays.is_first([1; 32], 100, 0));
        assert!(!replays.is_first([1; 32], 100, 100));
        assert!(replays.is_first([2; 32], 100, 100));
        // A clock that jumps and comes back brings nobody's signature back.
        assert!(replays.is_first([9; 32], 9_100, 9_000));
        assert!(!replays.is_first([1; 32], 100, 1) && !replays.is_first([9; 32], 9_100, 1));
        let replays = self::replays(10);
        assert!(replays.is_first([1; 32], 100, 0));
        assert!(replays.is_first([2; 32], 100, 100));
        tokio::time::advance(Duration::from_secs(101)).await;
        // It is refused for its time from here on; there is no need to remember it.
        assert!(replays.is_first([3; 32], 300, 101));
        assert_eq!(replays.seen.lock().unwrap().signatures.len(), 1);
    }

    #[test]
    fn beyond_the_bound_the_oldest_is_forgotten_and_counted() {
        let replays = replays(2);
        for n in 1..=3 {
            assert!(replays.is_first([n; 32], 100, 0));
        }
        assert_eq!(replays.forgotten.get(), 1);
        assert!(!replays.is_first([2; 32], 100, 0) && !replays.is_first([3; 32], 100, 0));
        assert!(replays.is_first([1; 32], 100, 0));
    }
}
