//! When a request is sent again without anybody noticing: once, on a connection of its own, if
//! the pooled one that it was put on turns out to be dead.
//!
//! A server may close a connection that is kept for the next request just when that comes. The
//! request failed then before the upstream had a part in it, so it counts as no attempt. Three
//! things tell this from a failure of the upstream: the connection was there before the request,
//! or has answered another one, no byte of an answer came, and it all happened within the time that opening one may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
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
    /// Something was written after something was read: over HTTP/1.1, a request after an answer.
    has_answered: AtomicBool,
}

impl Trace {
    /// Of a connection that was opened now.
    pub(super) fn new() -> Trace {
        Trace(Arc::new(Known {
            opened: Instant::now(),
            reads: AtomicU32::new(0),
            has_answered: AtomicBool::new(false),
        }))
    }

    pub(super) fn was_written(&self) {
        if self.0.reads.swap(0, Ordering::Relaxed) > 0 {
            self.0.has_answered.store(true, Ordering::Relaxed);
        }
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
    let is_h2 = connected.is_negotiated_h2();
    // One that another request opened meanwhile, and was answered on, is as good as an old one.
    let is_old = known.opened < began || !is_h2 && known.has_answered.load(Ordering::Relaxed);
    if !is_old || began.elapsed() > limit {
        return false;
    }
    let Some(error) = source::<hyper::Error>(error) else { return false };
    if error.is_parse() || error.is_user() || error.is_timeout() {
        return false;
    }
    // The streams of an HTTP/2 connection share its reads, and their heads come whole.
    if is_h2 {
        return true;
    }
    let reads = known.reads.load(Ordering::Relaxed);
    // An end is a read too, a reset is not.
    reads == 0 || reads == 1 && error.is_incomplete_message()
}

fn source<E: std::error::Error + 'static>(error: &dyn std::error::Error) -> Option<&E> {
    std::iter::successors(error.source(), |error| error.source()).find_map(|it| it.downcast_ref())
}
