//! Replay protection: the signatures that were accepted, kept for as long as they stay valid.
//!
//! The cache is bounded. Beyond the bound it evicts the oldest signature, which could then be
//! replayed, and counts the eviction. An entry expires once the wall clock has passed its end and
//! the same time has gone by on the monotonic clock, so a wall clock that jumps forward and back
//! makes no signature valid again. Each process has a cache of its own.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::time::Instant;

/// Longest time that an entry stays, however long its signature is valid.
const MAX_AGE_SECONDS: u64 = 24 * 60 * 60;

/// Bytes of a signature: an HMAC-SHA256.
const SIGNATURE_BYTES: usize = 32;

/// The signatures that were accepted.
#[derive(Debug)]
pub(super) struct ReplayCache {
    entries: Mutex<Entries>,
    max: usize,
    evicted: IntCounter,
}

#[derive(Debug, Default)]
struct Entries {
    signatures: HashSet<[u8; SIGNATURE_BYTES]>,
    /// The oldest first.
    order: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    signature: [u8; SIGNATURE_BYTES],
    /// The last second in which the signature is valid.
    valid_until: i64,
    /// The end of that second by the monotonic clock.
    expires: Instant,
}

impl ReplayCache {
    pub(super) fn new(max: usize, evicted: IntCounter) -> ReplayCache {
        ReplayCache { entries: Mutex::default(), max, evicted }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Records a signature that is valid until `valid_until`. False if it was recorded before. Times
    /// are seconds since the Unix epoch.
    pub(super) fn insert(
        &self,
        signature: [u8; SIGNATURE_BYTES],
        valid_until: i64,
        now: i64,
    ) -> bool {
        let mut entries = self.entries.lock();
        let entries = &mut *entries;
        let instant = Instant::now();
        while let Some(oldest) = entries.order.front()
            && oldest.valid_until < now
            && oldest.expires < instant
        {
            entries.signatures.remove(&oldest.signature);
            entries.order.pop_front();
        }
        if !entries.signatures.insert(signature) {
            return false;
        }
        let left = u64::try_from(valid_until.saturating_sub(now)).unwrap_or(0).min(MAX_AGE_SECONDS);
        let expires = instant + Duration::from_secs(left);
        entries.order.push_back(Entry { signature, valid_until, expires });
        if entries.order.len() > self.max
            && let Some(oldest) = entries.order.pop_front()
        {
            entries.signatures.remove(&oldest.signature);
            self.evicted.inc();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replays(max: usize) -> ReplayCache {
        ReplayCache::new(max, IntCounter::new("evicted", "Evicted.").unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_signature_is_accepted_once_while_it_is_valid() {
        let replays = replays(10);
        assert!(replays.insert([1; 32], 100, 0));
        assert!(!replays.insert([1; 32], 100, 100));
        assert!(replays.insert([2; 32], 100, 100));
        // A clock that jumps forward and back makes no signature valid again.
        assert!(replays.insert([9; 32], 9_100, 9_000));
        assert!(!replays.insert([1; 32], 100, 1) && !replays.insert([9; 32], 9_100, 1));
        let replays = self::replays(10);
        assert!(replays.insert([1; 32], 100, 0));
        assert!(replays.insert([2; 32], 100, 100));
        tokio::time::advance(Duration::from_secs(101)).await;
        // From here on its date refuses it, so its entry has expired.
        assert!(replays.insert([3; 32], 300, 101));
        assert_eq!(replays.entries.lock().signatures.len(), 1);
    }

    #[test]
    fn beyond_the_bound_the_oldest_is_evicted_and_counted() {
        let replays = replays(2);
        for n in 1..=3 {
            assert!(replays.insert([n; 32], 100, 0));
        }
        assert_eq!(replays.evicted.get(), 1);
        assert!(!replays.insert([2; 32], 100, 0) && !replays.insert([3; 32], 100, 0));
        assert!(replays.insert([1; 32], 100, 0));
    }
}
