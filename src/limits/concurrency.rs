//! The requests that each client has in flight. Each replica counts its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dashmap::DashMap;

/// The number of requests that a client of the config has in flight.
#[derive(Debug, Default)]
pub(super) struct ConcurrencyCounter(AtomicU32);

impl ConcurrencyCounter {
    /// The requests in flight.
    pub(super) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one more request, unless there are `max` already.
    pub(super) fn acquire(self: &Arc<Self>, max: u32) -> Option<ConcurrencyPermit> {
        let one_more = |count: u32| (count < max).then(|| count.saturating_add(1));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(ConcurrencyPermit(Counted::Client(Arc::clone(self))))
    }
}

/// The requests in flight of callers that the config does not name, by the caller's key.
#[derive(Clone, Debug, Default)]
pub(super) struct AnonymousCounters(Arc<DashMap<Arc<str>, u32>>);

impl AnonymousCounters {
    /// Counts one more request of `key`, unless there are `max` already.
    pub(super) fn acquire(&self, key: &Arc<str>, max: u32) -> Option<ConcurrencyPermit> {
        let mut count = self.0.entry(Arc::clone(key)).or_insert(0);
        if *count >= max {
            return None;
        }
        *count += 1;
        drop(count);
        let counted = Counted::Anonymous { counters: self.clone(), key: Arc::clone(key) };
        Some(ConcurrencyPermit(counted))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One of a client's requests in flight. Dropping it makes room for another.
#[derive(Debug)]
pub struct ConcurrencyPermit(Counted);

/// The counter that a permit is counted in.
#[derive(Debug)]
enum Counted {
    Client(Arc<ConcurrencyCounter>),
    Anonymous { counters: AnonymousCounters, key: Arc<str> },
}

impl Drop for ConcurrencyPermit {
    fn drop(&mut self) {
        match &self.0 {
            Counted::Client(counter) => {
                counter.0.fetch_sub(1, Ordering::Relaxed);
            }
            Counted::Anonymous { counters, key } => {
                counters.0.remove_if_mut(key, |_, count| {
                    *count = count.saturating_sub(1);
                    *count == 0
                });
            }
        }
    }
}
