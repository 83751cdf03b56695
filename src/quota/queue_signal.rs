//! Wakes the dispatcher of a queue when capacity may be free; a no-op while the queue is empty.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts the waiters of a queue and wakes its dispatcher. While the queue is empty, a notification costs one
/// atomic load, so that every settlement can send one.
#[derive(Debug, Default)]
pub struct QueueSignal {
    waiting: AtomicUsize,
    wakeup: Notify,
}

impl QueueSignal {
    /// The number of waiters.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Counts a new waiter and wakes the dispatcher, which may have room for it.
    pub fn waiter_joined(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.wakeup.notify_one();
    }

    /// A waiter was served or gave up.
    pub fn waiter_left(&self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// Capacity may be free. A notification that comes while the dispatcher is at work is kept, and the
    /// dispatcher makes another round.
    pub fn notify(&self) {
        if self.waiting() > 0 {
            self.wakeup.notify_one();
        }
    }

    /// Waits for a notification.
    pub async fn notified(&self) {
        self.wakeup.notified().await;
    }
}
