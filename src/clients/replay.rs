//! Signatures that were taken, remembered as long as they could be taken again.
//!
//! Bounded: beyond the bound the oldest is forgotten, which is counted, since it could then be
//! taken a second time. Each process remembers its own.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use prometheus::IntCounter;

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
    /// In the order they came, with the last second in which each could be taken.
    order: VecDeque<(i64, [u8; REMEMBERED])>,
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
        while let Some((until, signature)) = seen.order.front()
            && *until < now
        {
            seen.signatures.remove(signature);
            seen.order.pop_front();
        }
        if !seen.signatures.insert(signature) {
            return false;
        }
        seen.order.push_back((until, signature));
        if seen.order.len() > self.max
            && let Some((_, oldest)) = seen.order.pop_front()
        {
            seen.signatures.remove(&oldest);
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

    #[test]
    fn a_signature_comes_once_as_long_as_it_is_good() {
        let replays = replays(10);
        assert!(replays.is_first([1; 32], 100, 0));
        assert!(!replays.is_first([1; 32], 100, 100));
        assert!(replays.is_first([2; 32], 100, 100));
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
