//! When a request is sent again without anybody noticing: once, on a connection of its own, if
//! the pooled one that it was put on turns out to be dead.
//!
//! A server may close a connection that is kept for the next request just when that comes. The
//! request failed then before the upstream had a part in it, so it counts as no attempt. Three
//! things tell this from a failure of the upstream: the connection was there before the request,
//! no byte of an answer came, and it all happened within the time that opening one may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::Extensions;
use hyper_util::client::legacy;
use tokio::time::Instant;

/// What is known of a connection; shared by the connection and by the errors that it leads to.
#[derive(Clone, Debug)]
pub(super) struct Trace(Arc<Known>);

#[derive(Debug)]
struct Known {
    opened: Instant,
    /// Reads that brought something, an end included, since something was last written.
    reads: AtomicU32,
}

impl Trace {
    /// Of a connection that was opened now.
    pub(super) fn new() -> Trace {
        Trace(Arc::new(Known { opened: Instant::now(), reads: AtomicU32::new(0) }))
    }

    pub(super) fn was_written(&self) {
        self.0.reads.store(0, Ordering::Relaxed);
    }

    pub(super) fn was_read(&self) {
        self.0.reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether a request sent at `began` failed now with `error` because its connection was dead, which
/// shows within `limit`.
pub(super) fn was_dead(error: &legacy::Error, began: Instant, limit: Duration) -> bool {
    let Some(connected) = error.connect_info() else { return false };
    let mut extras = Extensions::new();
    connected.get_extras(&mut extras);
    let Some(Trace(known)) = extras.get::<Trace>() else { return false };
    if known.opened >= began || began.elapsed() > limit {
        return false;
    }
    let Some(error) = source::<hyper::Error>(error) else { return false };
    if error.is_parse() || error.is_user() || error.is_timeout() {
        return false;
    }
    // The streams of an HTTP/2 connection share its reads, and their heads come whole.
    if connected.is_negotiated_h2() {
        return true;
    }
    let reads = known.reads.load(Ordering::Relaxed);
    // An end is a read too, a reset is not.
    reads == 0 || reads == 1 && error.is_incomplete_message()
}

fn source<E: std::error::Error + 'static>(error: &dyn std::error::Error) -> Option<&E> {
    std::iter::successors(error.source(), |error| error.source()).find_map(|it| it.downcast_ref())
}
