//! The time at which the last in line leave, since the process ends.
//!
//! It is not known until the process is told to stop, and outlives every config: who waits under
//! an older one leaves too.

use tokio::sync::watch;
use tokio::time::Instant;

/// A time that may become known. Clones share it.
#[derive(Clone, Debug)]
pub struct Curfew {
    at: watch::Sender<Option<Instant>>,
}

impl Default for Curfew {
    fn default() -> Curfew {
        Curfew { at: watch::Sender::new(None) }
    }
}

impl Curfew {
    /// Makes the time known.
    pub fn set(&self, at: Instant) {
        self.at.send_replace(Some(at));
    }

    /// The earlier of `limit` and the curfew, as far as it is known.
    pub fn cut(&self, limit: Instant) -> Instant {
        self.at.borrow().map_or(limit, |at| at.min(limit))
    }

    /// Waits until the time is known.
    pub async fn known(&self) -> Instant {
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
    async fn it_cuts_waits_once_it_is_known() {
        let curfew = Curfew::default();
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        assert_eq!(curfew.cut(later), later);
        let waiting = tokio::spawn({
            let curfew = curfew.clone();
            async move { curfew.known().await }
        });
        curfew.set(now);
        assert_eq!(waiting.await.unwrap(), now);
        assert_eq!(curfew.cut(later), now);
        assert_eq!(curfew.known().await, now);
    }
}
