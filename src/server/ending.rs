//! How far the end of the gateway has come, as its connections see it.
//!
//! The end begins when the gateway is told to stop; its listeners close after the config's
//! `drain_delay`; and a moment later idle connections are closed too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::system::time::sleep;

/// How long after the listeners a connection is closed that has no request: those on their way to
/// it have arrived by then.
const LAST_CALL: Duration = Duration::from_secs(1);

/// The end of a gateway, or of one of its listeners. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Ending(Arc<State>);

#[derive(Debug)]
struct State {
    /// The same as `begun`, for every request to look at: a token takes a lock.
    has_begun: AtomicBool,
    begun: CancellationToken,
    closing: CancellationToken,
    last_call: Duration,
}

impl Ending {
    /// An end that has not begun. It takes no longer than `drain_timeout`.
    pub(super) fn within(drain_timeout: Duration) -> Ending {
        Ending(Arc::new(State {
            has_begun: AtomicBool::new(false),
            begun: CancellationToken::new(),
            closing: CancellationToken::new(),
            last_call: LAST_CALL.min(drain_timeout / 2),
        }))
    }

    /// An end that never comes.
    pub(super) fn never() -> Ending {
        Ending::within(Duration::ZERO)
    }

    /// The gateway is about to stop.
    pub(super) fn begin(&self) {
        self.0.has_begun.store(true, Ordering::Release);
        self.0.begun.cancel();
    }

    /// The listeners are to close.
    pub(super) fn close(&self) {
        self.begin();
        self.0.closing.cancel();
    }

    /// Whether the gateway is about to stop.
    pub(super) fn has_begun(&self) -> bool {
        self.0.has_begun.load(Ordering::Acquire)
    }

    /// Waits until the gateway is about to stop.
    pub(super) async fn begun(&self) {
        self.0.begun.cancelled().await;
    }

    /// Waits until the listeners are to close.
    pub(super) async fn closing(&self) {
        self.0.closing.cancelled().await;
    }

    /// Waits until idle connections are to close.
    pub(super) async fn last_call(&self) {
        self.closing().await;
        sleep(self.0.last_call).await;
    }
}
