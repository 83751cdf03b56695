//! The bounds on what the gateway has in flight at once: requests, and bytes of their bodies.
//!
//! A request takes a slot before anything is done for it, and reserves bytes for its body as the body
//! arrives. It releases the bytes when the body is no longer needed, and the slot when the request's record
//! ends. Beyond the bounds a new request is rejected at once, so that admitted requests keep their pace and
//! memory stays bounded. What the gateway buffers of an answer reserves bytes as well, without a slot of its
//! own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config;

/// Heads up to this many bytes reserve nothing, since the bound on requests bounds them.
pub const ORDINARY_HEAD: usize = 4 * 1024;

/// The requests in flight, and the bounds of a config on them.
#[derive(Clone, Debug)]
pub struct InFlightLimit {
    max_requests: usize,
    max_bytes: usize,
    in_flight: Arc<InFlight>,
}

#[derive(Debug, Default)]
struct InFlight {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

/// Why a request is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overloaded {
    /// The bound on requests is reached.
    #[error("{0} requests are in flight")]
    Requests(usize),
    /// The bound on bytes of bodies is reached.
    #[error("bodies of {0} bytes are in flight")]
    Bytes(usize),
}

/// One request's part of what is in flight, released when dropped.
#[derive(Debug)]
pub struct InFlightGuard {
    in_flight: Arc<InFlight>,
    max_bytes: usize,
    /// Bytes that are reserved, for head and body.
    bytes: usize,
    /// The head's part of `bytes`.
    head: usize,
    has_slot: bool,
}

impl InFlightLimit {
    /// The bounds of `config`, with nothing in flight.
    pub fn new(config: &config::Server) -> InFlightLimit {
        InFlightLimit::over(config, Arc::default())
    }

    /// The same counts under the bounds of a newer config.
    pub fn with_config(&self, config: &config::Server) -> InFlightLimit {
        InFlightLimit::over(config, Arc::clone(&self.in_flight))
    }

    fn over(config: &config::Server, in_flight: Arc<InFlight>) -> InFlightLimit {
        let (max_requests, max_bytes) = (config.max_in_flight, config.max_in_flight_bytes);
        InFlightLimit { max_requests, max_bytes, in_flight }
    }

    /// Admits a request.
    ///
    /// # Errors
    /// When the bound on requests is reached.
    pub fn enter(&self) -> Result<InFlightGuard, Overloaded> {
        let before = self.in_flight.requests.fetch_add(1, Ordering::Relaxed);
        // Releases the slot again if it is one too many.
        let guard = self.guard(true);
        if before >= self.max_requests { Err(Overloaded::Requests(before)) } else { Ok(guard) }
    }

    /// A guard without a slot, for bytes of a request that has a slot already.
    pub fn guard_for_bytes(&self) -> InFlightGuard {
        self.guard(false)
    }

    fn guard(&self, has_slot: bool) -> InFlightGuard {
        let in_flight = Arc::clone(&self.in_flight);
        InFlightGuard { in_flight, max_bytes: self.max_bytes, bytes: 0, head: 0, has_slot }
    }

    /// Requests in flight.
    pub fn requests(&self) -> usize {
        self.in_flight.requests.load(Ordering::Relaxed)
    }

    /// Bytes that they have reserved.
    pub fn bytes(&self) -> usize {
        self.in_flight.bytes.load(Ordering::Relaxed)
    }
}

impl InFlightGuard {
    /// Reserves bytes until the body has at least `bytes` in all.
    ///
    /// # Errors
    /// When the other bodies leave too little. A body that is alone may have any size.
    pub fn reserve_bytes(&mut self, bytes: usize) -> Result<(), Overloaded> {
        self.reserve(self.head.saturating_add(bytes))
    }

    /// Reserves bytes for a head of so many, as long as the guard lives. An ordinary head needs none.
    ///
    /// # Errors
    /// When there are too few left.
    pub fn reserve_head(&mut self, bytes: usize) -> Result<(), Overloaded> {
        let more = bytes.saturating_sub(ORDINARY_HEAD).saturating_sub(self.head);
        self.reserve(self.bytes.saturating_add(more))?;
        self.head += more;
        Ok(())
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), Overloaded> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let own = self.bytes;
        // A request that is rejected reserves nothing, not even for a moment: others would be rejected
        // for it.
        let update = |all: usize| {
            let wanted = all.saturating_add(more);
            (all <= own || wanted <= self.max_bytes).then_some(wanted)
        };
        let bytes = &self.in_flight.bytes;
        bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update)
            .map_err(Overloaded::Bytes)?;
        self.bytes += more;
        Ok(())
    }

    /// Releases the bytes of the body, which is not kept any longer.
    pub fn release_body(&mut self) {
        let body = self.bytes - self.head;
        if body == 0 {
            return;
        }
        self.bytes = self.head;
        self.in_flight.bytes.fetch_sub(body, Ordering::Relaxed);
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        if self.has_slot {
            self.in_flight.requests.fetch_sub(1, Ordering::Relaxed);
        }
        self.in_flight.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(max_requests: usize, max_bytes: usize) -> InFlightLimit {
        InFlightLimit { max_requests, max_bytes, in_flight: Arc::default() }
    }

    #[test]
    fn a_request_beyond_the_bound_is_rejected_and_leaves_no_trace() {
        let limit = limit(2, 100);
        let (first, _second) = (limit.enter().unwrap(), limit.enter().unwrap());
        assert!(matches!(limit.enter(), Err(Overloaded::Requests(2))));
        assert_eq!(limit.requests(), 2);
        drop(first);
        assert!(limit.enter().is_ok());
    }

    #[test]
    fn bodies_share_the_bytes_and_a_body_alone_may_have_any_size() {
        let limit = limit(10, 100);
        let mut large = limit.enter().unwrap();
        large.reserve_bytes(500).unwrap();
        let mut small = limit.enter().unwrap();
        assert!(matches!(small.reserve_bytes(1), Err(Overloaded::Bytes(500))));
        assert_eq!(limit.bytes(), 500);
        // A reservation stays, whatever others ask for.
        large.reserve_bytes(400).unwrap();
        drop(small);
        drop(large);
        assert_eq!((limit.requests(), limit.bytes()), (0, 0));
        let (mut one, mut other) = (limit.enter().unwrap(), limit.enter().unwrap());
        one.reserve_bytes(60).unwrap();
        // What was announced is not counted again as it comes.
        one.reserve_bytes(30).unwrap();
        one.reserve_bytes(61).unwrap();
        other.reserve_bytes(39).unwrap();
        assert_eq!(limit.bytes(), 100);
        assert!(other.reserve_bytes(40).is_err());
        one.release_body();
        other.reserve_bytes(100).unwrap();
        drop((one, other));
        let mut large_head = limit.enter().unwrap();
        large_head.reserve_head(4 * 1024).unwrap();
        assert_eq!(limit.bytes(), 0, "an ordinary head reserves nothing");
        large_head.reserve_head(4 * 1024 + 50).unwrap();
        large_head.reserve_bytes(40).unwrap();
        assert_eq!(limit.bytes(), 90);
        large_head.release_body();
        assert_eq!(limit.bytes(), 50, "the head stays as long as the request");
        assert!(limit.enter().unwrap().reserve_head(4 * 1024 + 51).is_err());
        drop(large_head);
        assert_eq!((limit.requests(), limit.bytes()), (0, 0));
    }
}
