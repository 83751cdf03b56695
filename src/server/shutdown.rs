//! The stages of a shutdown, as connections see them.
//!
//! A shutdown begins with the signal to stop. The listeners close after the config's `drain_delay`, and
//! idle connections a moment later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::system::time::sleep;

/// Time between the close of the listeners and that of idle connections: requests that are already on
/// the network arrive within it.
const IDLE_GRACE: Duration = Duration::from_secs(1);

/// The shutdown of a gateway, or of one of its listeners. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Shutdown(Arc<State>);

#[derive(Debug)]
struct State {
    /// The same as `begun`, without the lock of a token, since every request reads it.
    has_begun: AtomicBool,
    begun: CancellationToken,
    closing: CancellationToken,
    closing_idle: Duration,
}

impl Shutdown {
    /// A shutdown that has not begun. It takes no longer than `drain_timeout`.
    pub(super) fn within(drain_timeout: Duration) -> Shutdown {
        Shutdown(Arc::new(State {
            has_begun: AtomicBool::new(false),
            begun: CancellationToken::new(),
            closing: CancellationToken::new(),
            closing_idle: IDLE_GRACE.min(drain_timeout / 2),
        }))
    }

    /// A shutdown that never begins.
    pub(super) fn never() -> Shutdown {
        Shutdown::within(Duration::ZERO)
    }

    /// Begins the shutdown.
    pub(super) fn begin(&self) {
        self.0.has_begun.store(true, Ordering::Release);
        self.0.begun.cancel();
    }

    /// Closes the listeners.
    pub(super) fn close(&self) {
        self.begin();
        self.0.closing.cancel();
    }

    /// Whether the shutdown has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.0.has_begun.load(Ordering::Acquire)
    }

    /// Waits until the shutdown begins.
    pub(super) async fn begun(&self) {
        self.0.begun.cancelled().await;
    }

    /// Waits until the listeners close.
    pub(super) async fn closing(&self) {
        self.0.closing.cancelled().await;
    }

    /// Waits until idle connections close.
    pub(super) async fn closing_idle(&self) {
        self.closing().await;
        sleep(self.0.closing_idle).await;
    }
}
