//! Rung when there may be room for someone who waits; silent while nobody does.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts who waits and wakes the one who serves them. Ringing with nobody waiting costs one
/// atomic load, so that every settlement can ring.
#[derive(Debug, Default)]
pub struct Bell {
    waiting: AtomicUsize,
    notify: Notify,
}

impl Bell {
    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// One more waits; wakes the server so that it looks at it.
    pub fn arrived(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.notify.notify_one();
    }

    /// One less waits.
    pub fn left(&self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// There may be room. A ring while the server is at work is not lost: it looks once more.
    pub fn ring(&self) {
        if self.waiting() > 0 {
            self.notify.notify_one();
        }
    }

    /// Waits for a ring.
    pub async fn rung(&self) {
        self.notify.notified().await;
    }
}
