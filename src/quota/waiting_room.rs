//! The count of waiting requests and of the bytes they hold.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::IntGauge;

use crate::config;

/// Counts who waits, within bounds.
#[derive(Debug)]
pub struct WaitingRoom {
    max_waiting: usize,
    max_bytes: usize,
    /// Shared by the rooms of all configs, since who waits outlives them.
    occupied: Arc<Mutex<Occupied>>,
    gauges: Gauges,
}

#[derive(Clone, Debug)]
struct Gauges {
    waiting: IntGauge,
    bytes: IntGauge,
}

#[derive(Debug, Default)]
struct Occupied {
    waiting: usize,
    bytes: usize,
}

/// The room is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// As many wait as may.
    #[error("{0} requests are waiting already")]
    Waiting(usize),
    /// The bodies of those that wait are as large as they may be together.
    #[error("the waiting requests hold {0} bytes already")]
    Bytes(usize),
}

/// A place in the room, given back when dropped.
#[derive(Debug)]
pub struct Place<'a> {
    room: &'a WaitingRoom,
    bytes: usize,
}

impl WaitingRoom {
    /// An empty room with the bounds of `config`.
    pub fn new(config: &config::Queue, waiting: IntGauge, bytes: IntGauge) -> WaitingRoom {
        WaitingRoom {
            max_waiting: config.max_waiting,
            max_bytes: config.max_waiting_bytes,
            occupied: Arc::default(),
            gauges: Gauges { waiting, bytes },
        }
    }

    /// The same room with the bounds of a newer config.
    pub fn renewed(&self, config: &config::Queue) -> WaitingRoom {
        WaitingRoom {
            max_waiting: config.max_waiting,
            max_bytes: config.max_waiting_bytes,
            occupied: Arc::clone(&self.occupied),
            gauges: self.gauges.clone(),
        }
    }

    /// Takes a place for a request with a body of `bytes`.
    pub fn enter(&self, bytes: usize) -> Result<Place<'_>, Full> {
        self.change(|occupied| {
            if occupied.waiting >= self.max_waiting {
                return Err(Full::Waiting(occupied.waiting));
            }
            // A body above the bound may still wait when it is alone.
            if occupied.waiting > 0 && occupied.bytes.saturating_add(bytes) > self.max_bytes {
                return Err(Full::Bytes(occupied.bytes));
            }
            occupied.waiting += 1;
            occupied.bytes += bytes;
            Ok(Place { room: self, bytes })
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Occupied) -> T) -> T {
        let mut occupied = self.occupied.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut occupied);
        self.gauges.waiting.set(i64::try_from(occupied.waiting).unwrap_or(i64::MAX));
        self.gauges.bytes.set(i64::try_from(occupied.bytes).unwrap_or(i64::MAX));
        result
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.room.change(|occupied| {
            occupied.waiting -= 1;
            occupied.bytes -= self.bytes;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn room(max_waiting: usize, max_waiting_bytes: usize) -> WaitingRoom {
        let config = config::Queue {
            max_waiting,
            max_waiting_bytes,
            max_wait: Duration::ZERO,
            max_priority: config::Priority::High,
        };
        let gauge = |name| IntGauge::new(name, "test").unwrap();
        WaitingRoom::new(&config, gauge("waiting"), gauge("bytes"))
    }

    #[test]
    fn number_and_bytes_are_bounded_and_given_back() {
        let room = room(2, 100);
        let first = room.enter(60).unwrap();
        assert_eq!(room.enter(50).unwrap_err(), Full::Bytes(60));
        let second = room.enter(40).unwrap();
        assert_eq!(room.enter(0).unwrap_err(), Full::Waiting(2));
        assert_eq!(room.gauges.bytes.get(), 100);
        drop((first, second));
        assert_eq!((room.gauges.waiting.get(), room.gauges.bytes.get()), (0, 0));
    }

    #[test]
    fn a_body_above_the_bound_waits_alone() {
        let room = room(10, 100);
        let large = room.enter(1000).unwrap();
        assert!(room.enter(1).is_err());
        drop(large);
        assert!(room.enter(1).is_ok());
    }

    #[test]
    fn no_room_at_all_refuses_everyone() {
        assert_eq!(room(0, 100).enter(1).unwrap_err(), Full::Waiting(0));
    }
}
