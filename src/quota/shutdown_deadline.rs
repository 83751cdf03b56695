//! The deadline of queued requests during shutdown.
//!
//! It is unset until the process is asked to stop. It outlives every config, so requests that were queued
//! under an older config keep to it too.

use tokio::sync::watch;
use tokio::time::Instant;

/// A deadline that may be set once the process shuts down. Clones share it.
#[derive(Clone, Debug)]
pub struct ShutdownDeadline {
    at: watch::Sender<Option<Instant>>,
}

impl Default for ShutdownDeadline {
    fn default() -> ShutdownDeadline {
        ShutdownDeadline { at: watch::Sender::new(None) }
    }
}

impl ShutdownDeadline {
    /// Sets the deadline.
    pub fn set(&self, at: Instant) {
        self.at.send_replace(Some(at));
    }

    /// The earlier of `limit` and the deadline, if that is set.
    pub fn earlier_of(&self, limit: Instant) -> Instant {
        self.at.borrow().map_or(limit, |at| at.min(limit))
    }

    /// Waits until the deadline is set.
    pub async fn wait_until_set(&self) -> Instant {
        let mut changes = self.at.subscribe();
        loop {
            if let Some(at) = *changes.borrow_and_update() {
                return at;
            }
            // The sender lives as long as this does.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_shutdown_deadline_shortens_waits() {
        let deadline = ShutdownDeadline::default();
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        assert_eq!(deadline.earlier_of(later), later);
        let waiting = tokio::spawn({
            let deadline = deadline.clone();
            async move { deadline.wait_until_set().await }
        });
        deadline.set(now);
        assert_eq!(waiting.await.unwrap(), now);
        assert_eq!(deadline.earlier_of(later), now);
        assert_eq!(deadline.wait_until_set().await, now);
    }
}
