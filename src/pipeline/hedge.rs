//! Hedging: if a target is slower than usual, a second attempt goes to another target, and the first
//! success counts. It is off by default, for small requests with an answer in one piece, and limited
//! to a share of them, because every hedge spends quota twice.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::translated_answer::Sent;
use crate::config;
use crate::routing::{Permit, Target};
use crate::system::time::sleep;
use crate::upstream::Reply;

/// What one hedge costs, in units of the budget.
const HEDGE_COST: i64 = 1_000_000;

/// Most hedges that may be saved up, so that a quiet hour does not allow a burst.
const MAX_SAVED: i64 = 10 * HEDGE_COST;

/// Limits hedges to a share of the requests that could be hedged.
#[derive(Debug)]
pub(crate) struct HedgeBudget {
    share: i64,
    saved: AtomicI64,
}

impl HedgeBudget {
    pub(super) fn new(config: &config::Hedge) -> HedgeBudget {
        let share = if config.enabled { (config.max_share * HEDGE_COST as f64) as i64 } else { 0 };
        HedgeBudget { share, saved: AtomicI64::new(0) }
    }

    /// Counts a request that could be hedged.
    pub(super) fn earn(&self) {
        let saved = self.saved.fetch_add(self.share, Ordering::Relaxed) + self.share;
        if saved > MAX_SAVED {
            self.saved.fetch_sub(saved - MAX_SAVED, Ordering::Relaxed);
        }
    }

    /// Pays for a hedge, if enough was saved.
    pub(super) fn spend(&self) -> bool {
        let enough = |saved: i64| (saved >= HEDGE_COST).then(|| saved - HEDGE_COST);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough).is_ok()
    }
}

/// A second attempt that was made while the first was under way.
pub(super) struct Hedge {
    /// The candidate that was asked.
    pub(super) index: usize,
    pub(super) permit: Permit,
    pub(super) began: Instant,
    /// Whether its reply counts.
    pub(super) won: bool,
}

/// Waits for the reply of the `first` attempt. If that takes longer than `usual`, `other` gives
/// a permit for another candidate, and `send` sends a second attempt there. The first success
/// counts. If one attempt fails, the other decides.
pub(super) async fn race<S, F>(
    usual: Duration,
    first: impl Future<Output = Sent>,
    other: impl FnOnce() -> Option<(usize, Permit)>,
    send: S,
) -> (Sent, Option<Hedge>)
where
    S: FnOnce(Arc<Target>, Instant) -> F,
    F: Future<Output = Sent>,
{
    tokio::pin!(first);
    tokio::select! {
        sent = &mut first => return (sent, None),
        () = sleep(usual) => {}
    }
    let Some((index, mut permit)) = other() else {
        return (first.await, None);
    };
    permit.mark_sending();
    let began = Instant::now();
    let second = send(Arc::clone(permit.target()), began);
    tokio::pin!(second);
    let (sent, won) = tokio::select! {
        sent = &mut first => match sent.reply {
            Reply::Failure(_) => (second.await, true),
            Reply::Success(_) => (sent, false),
        },
        sent = &mut second => match sent.reply {
            Reply::Failure(_) => (first.await, false),
            Reply::Success(_) => (sent, true),
        },
    };
    (sent, Some(Hedge { index, permit, began, won }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_share_is_hedged() {
        let budget =
            HedgeBudget::new(&config::Hedge { enabled: true, max_share: 0.1, max_input_tokens: 1 });
        let hedged = (0..1000)
            .filter(|_| {
                budget.earn();
                budget.spend()
            })
            .count();
        assert!((99..=100).contains(&hedged), "{hedged}");
    }

    #[test]
    fn what_is_saved_up_is_bounded_and_off_is_off() {
        let count = |enabled| {
            let budget =
                HedgeBudget::new(&config::Hedge { enabled, max_share: 0.5, max_input_tokens: 1 });
            (0..1000).for_each(|_| budget.earn());
            std::iter::from_fn(|| budget.spend().then_some(())).count()
        };
        assert_eq!(count(true), 10);
        assert_eq!(count(false), 0);
    }
}
