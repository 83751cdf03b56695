//! The bounds on queued requests: how many may wait, and how many bytes their bodies may hold.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::IntGauge;

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
    waiting: usize,
    bytes: usize,
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

    /// Takes a slot for a request with a body of `bytes`.
    ///
    /// # Errors
    /// When a bound is reached.
    pub fn enter(&self, bytes: usize) -> Result<QueueSlot<'_>, QueueFull> {
        self.change(|queued| {
            if queued.waiting >= self.max_waiting {
                return Err(QueueFull::Waiting(queued.waiting));
            }
            // A body above the bound may still wait when it is alone.
            if queued.waiting > 0 && queued.bytes.saturating_add(bytes) > self.max_bytes {
                return Err(QueueFull::Bytes(queued.bytes));
            }
            queued.waiting += 1;
            queued.bytes += bytes;
            Ok(QueueSlot { limits: self, bytes })
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Queued) -> T) -> T {
        let mut queued = self.queued.lock();
        let result = change(&mut queued);
        self.gauges.waiting.set(i64::try_from(queued.waiting).unwrap_or(i64::MAX));
        self.gauges.bytes.set(i64::try_from(queued.bytes).unwrap_or(i64::MAX));
        result
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.limits.change(|queued| {
            queued.waiting -= 1;
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
        let first = limits.enter(60).unwrap();
        assert_eq!(limits.enter(50).unwrap_err(), QueueFull::Bytes(60));
        let second = limits.enter(40).unwrap();
        assert_eq!(limits.enter(0).unwrap_err(), QueueFull::Waiting(2));
        assert_eq!(limits.gauges.bytes.get(), 100);
        drop((first, second));
        assert_eq!((limits.gauges.waiting.get(), limits.gauges.bytes.get()), (0, 0));
    }

    #[test]
    fn a_body_above_the_bound_waits_alone() {
        let limits = limits(10, 100);
        let large = limits.enter(1000).unwrap();
        assert!(limits.enter(1).is_err());
        drop(large);
        assert!(limits.enter(1).is_ok());
    }

    #[test]
    fn a_bound_of_none_rejects_every_request() {
        assert_eq!(limits(0, 100).enter(1).unwrap_err(), QueueFull::Waiting(0));
    }
}
