//! The bounds on queued requests: how many may wait, and how many bytes their bodies may hold. Also who
//! waits, and how long the oldest has waited.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::time::Instant;

use crate::config;

/// Counts queued requests within the bounds of a config.
#[derive(Debug)]
pub struct QueueLimits {
    max_waiting: usize,
    max_bytes: usize,
    /// Shared by the limits of all configs, since a queued request may outlive its config.
    queued: Arc<Mutex<Queued>>,
    gauges: Gauges,
}

#[derive(Clone, Debug)]
struct Gauges {
    waiting: IntGauge,
    bytes: IntGauge,
}

#[derive(Debug, Default)]
struct Queued {
    bytes: usize,
    /// By arrival.
    waiting: BTreeMap<u64, Queueing>,
    next: u64,
}

/// A queued request.
#[derive(Debug)]
struct Queueing {
    since: Instant,
    /// Its client's name; `None` if the config does not name the client.
    client: Option<Arc<str>>,
}

/// Why no other request may queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueueFull {
    /// The bound on their number is reached.
    #[error("{0} requests are waiting already")]
    Waiting(usize),
    /// The bound on the bytes of their bodies is reached.
    #[error("the waiting requests hold {0} bytes already")]
    Bytes(usize),
}

/// A queued request's slot, released when dropped.
#[derive(Debug)]
pub struct QueueSlot<'a> {
    limits: &'a QueueLimits,
    bytes: usize,
    number: u64,
}

impl QueueLimits {
    /// The bounds of `config`, with nothing queued.
    pub fn new(config: &config::Queue, waiting: IntGauge, bytes: IntGauge) -> QueueLimits {
        QueueLimits {
            max_waiting: config.max_waiting,
            max_bytes: config.max_waiting_bytes,
            queued: Arc::default(),
            gauges: Gauges { waiting, bytes },
        }
    }

    /// The same counts under the bounds of a newer config.
    pub fn with_config(&self, config: &config::Queue) -> QueueLimits {
        QueueLimits {
            max_waiting: config.max_waiting,
            max_bytes: config.max_waiting_bytes,
            queued: Arc::clone(&self.queued),
            gauges: self.gauges.clone(),
        }
    }

    /// Takes a slot for a request of this client with a body of `bytes`.
    ///
    /// # Errors
    /// When a bound is reached.
    pub fn enter(
        &self,
        bytes: usize,
        client: Option<&Arc<str>>,
    ) -> Result<QueueSlot<'_>, QueueFull> {
        self.change(|queued| {
            let waiting = queued.waiting.len();
            if waiting >= self.max_waiting {
                return Err(QueueFull::Waiting(waiting));
            }
            // A body above the bound may still wait when it is alone.
            if waiting > 0 && queued.bytes.saturating_add(bytes) > self.max_bytes {
                return Err(QueueFull::Bytes(queued.bytes));
            }
            let number = queued.next;
            queued.next += 1;
            let queueing = Queueing { since: Instant::now(), client: client.map(Arc::clone) };
            queued.waiting.insert(number, queueing);
            queued.bytes += bytes;
            Ok(QueueSlot { limits: self, bytes, number })
        })
    }

    /// How long the request has waited that has waited for the longest time; `None` if none waits.
    pub fn oldest_wait(&self, now: Instant) -> Option<Duration> {
        let queued = self.queued.lock();
        let (_, oldest) = queued.waiting.first_key_value()?;
        Some(now.saturating_duration_since(oldest.since))
    }

    /// The number of queued requests of each client; those of clients that the config does not name are
    /// under `None`.
    pub fn waiting_by_client(&self) -> HashMap<Option<Arc<str>>, usize> {
        let mut counts = HashMap::new();
        for Queueing { client, .. } in self.queued.lock().waiting.values() {
            *counts.entry(client.clone()).or_default() += 1;
        }
        counts
    }

    fn change<T>(&self, change: impl FnOnce(&mut Queued) -> T) -> T {
        let mut queued = self.queued.lock();
        let result = change(&mut queued);
        self.gauges.waiting.set(i64::try_from(queued.waiting.len()).unwrap_or(i64::MAX));
        self.gauges.bytes.set(i64::try_from(queued.bytes).unwrap_or(i64::MAX));
        result
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.limits.change(|queued| {
            queued.waiting.remove(&self.number);
            queued.bytes -= self.bytes;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(max_waiting: usize, max_waiting_bytes: usize) -> QueueLimits {
        let config = config::Queue {
            max_waiting,
            max_waiting_bytes,
            max_wait: Duration::ZERO,
            max_priority: config::Priority::High,
        };
        let gauge = |name| IntGauge::new(name, "test").unwrap();
        QueueLimits::new(&config, gauge("waiting"), gauge("bytes"))
    }

    #[test]
    fn number_and_bytes_are_bounded_and_given_back() {
        let limits = limits(2, 100);
        let first = limits.enter(60, None).unwrap();
        assert_eq!(limits.enter(50, None).unwrap_err(), QueueFull::Bytes(60));
        let second = limits.enter(40, None).unwrap();
        assert_eq!(limits.enter(0, None).unwrap_err(), QueueFull::Waiting(2));
        assert_eq!(limits.gauges.bytes.get(), 100);
        drop((first, second));
        assert_eq!((limits.gauges.waiting.get(), limits.gauges.bytes.get()), (0, 0));
    }

    #[test]
    fn a_body_above_the_bound_waits_alone() {
        let limits = limits(10, 100);
        let large = limits.enter(1000, None).unwrap();
        assert!(limits.enter(1, None).is_err());
        drop(large);
        assert!(limits.enter(1, None).is_ok());
    }

    #[test]
    fn a_bound_of_none_rejects_every_request() {
        assert_eq!(limits(0, 100).enter(1, None).unwrap_err(), QueueFull::Waiting(0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_wait_and_the_waiting_of_each_client_are_known() {
        let limits = limits(10, 100);
        let (a, now) = (Arc::<str>::from("a"), Instant::now);
        assert_eq!(limits.oldest_wait(now()), None);
        let first = limits.enter(1, Some(&a)).unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        let _second = limits.enter(1, Some(&a)).unwrap();
        let _other = limits.enter(1, None).unwrap();
        assert_eq!(limits.oldest_wait(now()), Some(Duration::from_secs(2)));
        assert_eq!(limits.waiting_by_client(), HashMap::from([(Some(a), 2), (None, 1)]));
        drop(first);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(limits.oldest_wait(now()), Some(Duration::from_secs(1)));
    }
}
