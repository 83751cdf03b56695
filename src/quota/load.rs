//! How much the gateway has in hand at once, and when that is too much.
//!
//! Every request takes a place before anything is done for it, and room for its body as it comes. The
//! room is given back when the body is no longer needed, the place when the request's record ends. Beyond the bounds a request is turned away at once:
//! what was admitted goes on at its pace, and memory stays what the bounds make it. What the gateway itself buffers
//! of an answer takes room, too, without a place of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config;

/// Heads of requests up to this many bytes take no room: the bound on requests bounds them.
pub const ORDINARY_HEAD: usize = 4 * 1024;

/// What is in hand, within the bounds of a config.
#[derive(Clone, Debug)]
pub struct Load {
    max_requests: usize,
    max_bytes: usize,
    held: Arc<Held>,
}

#[derive(Debug, Default)]
struct Held {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

/// There is too much in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overloaded {
    /// As many requests as may be.
    #[error("{0} requests are in hand")]
    Requests(usize),
    /// As many bytes of bodies as may be.
    #[error("bodies of {0} bytes are in hand")]
    Bytes(usize),
}

/// A request's part of the load, given back when dropped.
#[derive(Debug)]
pub struct Share {
    held: Arc<Held>,
    max_bytes: usize,
    /// What is held: the head's part, and the body's.
    bytes: usize,
    head: usize,
    has_place: bool,
}

impl Load {
    /// Nothing in hand yet.
    pub fn new(config: &config::Server) -> Load {
        Load::over(config, Arc::default())
    }

    /// The same load under the bounds of a newer config.
    pub fn renewed(&self, config: &config::Server) -> Load {
        Load::over(config, Arc::clone(&self.held))
    }

    fn over(config: &config::Server, held: Arc<Held>) -> Load {
        Load { max_requests: config.max_in_flight, max_bytes: config.max_in_flight_bytes, held }
    }

    /// Takes a request in hand.
    ///
    /// # Errors
    /// When there are as many as may be.
    pub fn enter(&self) -> Result<Share, Overloaded> {
        let before = self.held.requests.fetch_add(1, Ordering::Relaxed);
        // Gives the place back if it is one too many.
        let share = self.share(true);
        if before >= self.max_requests { Err(Overloaded::Requests(before)) } else { Ok(share) }
    }

    /// A share that takes no place, for bytes of a request that has one already.
    pub fn bytes_only(&self) -> Share {
        self.share(false)
    }

    fn share(&self, has_place: bool) -> Share {
        let held = Arc::clone(&self.held);
        Share { held, max_bytes: self.max_bytes, bytes: 0, head: 0, has_place }
    }

    /// Requests in hand.
    pub fn requests(&self) -> usize {
        self.held.requests.load(Ordering::Relaxed)
    }

    /// Bytes of their bodies.
    pub fn bytes(&self) -> usize {
        self.held.bytes.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Takes room for a body that has at least so many bytes in all.
    ///
    /// # Errors
    /// When there is no room beside the other bodies; one alone has all the room it needs.
    pub fn hold(&mut self, bytes: usize) -> Result<(), Overloaded> {
        self.take(self.head.saturating_add(bytes))
    }

    /// Takes room for a head of so many bytes, as long as the share lives. An ordinary head needs
    /// none.
    ///
    /// # Errors
    /// When there is no room.
    pub fn hold_head(&mut self, bytes: usize) -> Result<(), Overloaded> {
        let more = bytes.saturating_sub(ORDINARY_HEAD).saturating_sub(self.head);
        self.take(self.bytes.saturating_add(more))?;
        self.head += more;
        Ok(())
    }

    fn take(&mut self, bytes: usize) -> Result<(), Overloaded> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let own = self.bytes;
        // Who is turned away takes nothing, not even for a moment: others would be refused for it.
        let taken = self.held.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            let all = held.saturating_add(more);
            (held <= own || all <= self.max_bytes).then_some(all)
        });
        taken.map_err(Overloaded::Bytes)?;
        self.bytes += more;
        Ok(())
    }

    /// Gives back the room of the body, which is held no longer.
    pub fn let_go(&mut self) {
        let body = self.bytes - self.head;
        self.bytes = self.head;
        self.held.bytes.fetch_sub(body, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.has_place {
            self.held.requests.fetch_sub(1, Ordering::Relaxed);
        }
        self.held.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(max_requests: usize, max_bytes: usize) -> Load {
        Load { max_requests, max_bytes, held: Arc::default() }
    }

    #[test]
    fn a_request_beyond_the_bound_is_turned_away_and_leaves_no_trace() {
        let load = load(2, 100);
        let (first, _second) = (load.enter().unwrap(), load.enter().unwrap());
        assert!(matches!(load.enter(), Err(Overloaded::Requests(2))));
        assert_eq!(load.requests(), 2);
        drop(first);
        assert!(load.enter().is_ok());
    }

    #[test]
    fn bodies_share_the_room_and_one_alone_has_all_of_it() {
        let load = load(10, 100);
        let mut large = load.enter().unwrap();
        large.hold(500).unwrap();
        let mut small = load.enter().unwrap();
        assert!(matches!(small.hold(1), Err(Overloaded::Bytes(500))));
        assert_eq!(load.bytes(), 500);
        // What has its room keeps it, whoever else asks.
        large.hold(400).unwrap();
        drop(small);
        drop(large);
        assert_eq!((load.requests(), load.bytes()), (0, 0));
        let (mut one, mut other) = (load.enter().unwrap(), load.enter().unwrap());
        one.hold(60).unwrap();
        // What was announced is not counted again as it comes.
        one.hold(30).unwrap();
        one.hold(61).unwrap();
        other.hold(39).unwrap();
        assert_eq!(load.bytes(), 100);
        assert!(other.hold(40).is_err());
        one.let_go();
        other.hold(100).unwrap();
        drop((one, other));
        let mut large_head = load.enter().unwrap();
        large_head.hold_head(4 * 1024).unwrap();
        assert_eq!(load.bytes(), 0, "an ordinary head takes no room");
        large_head.hold_head(4 * 1024 + 50).unwrap();
        large_head.hold(40).unwrap();
        assert_eq!(load.bytes(), 90);
        large_head.let_go();
        assert_eq!(load.bytes(), 50, "the head stays as long as the request");
        assert!(load.enter().unwrap().hold_head(4 * 1024 + 51).is_err());
        drop(large_head);
        assert_eq!((load.requests(), load.bytes()), (0, 0));
    }
}
