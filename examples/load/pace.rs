//! The times at which paced requests begin.
//!
//! A thread of its own sleeps from one to the next: the runtime's timers are good for a millisecond
//! only, and a request takes less. Gaps are exponential, as those of independent callers are, from
//! a fixed seed. A request's latency counts from the time at which it was called for, so that one
//! that waits for its connection counts with its wait.

#![expect(clippy::disallowed_methods, reason = "a thread of its own may sleep")]

use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::Instant;

/// Requests that one connection may be behind.
const BEHIND: usize = 1000;

/// Calls for `requests` requests of all connections in turn; a receiver for each connection.
pub(crate) fn start(rate: f64, connections: usize, requests: usize) -> Vec<Receiver<Instant>> {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..connections).map(|_| channel(BEHIND)).unzip();
    thread::spawn(move || {
        let mut random = fastrand::Rng::with_seed(1);
        let mut due = Instant::now();
        for sender in senders.iter().cycle().take(requests) {
            due += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / rate);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // The receiver of a connection that failed is gone; its failure is told there.
            let _ = sender.blocking_send(Instant::now());
        }
    });
    receivers
}
