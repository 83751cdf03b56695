//! Counts of the last hour, in steps of ten seconds.
//!
//! The counts come from totals that are counted with the metrics, so that both agree.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use crate::telemetry::Metrics;
use crate::telemetry::dashboard_totals::DashboardTotals;

/// The length of a step.
pub(super) const STEP: Duration = Duration::from_secs(10);

/// Steps of an hour.
const STEPS: usize = 360;

/// The counts of one step, or since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Counts {
    /// Requests that ended.
    requests: f64,
    /// Requests that did not get a complete answer.
    failed: f64,
    /// Requests that were refused for want of quota.
    refused: f64,
    /// Moves from one target to another.
    fallbacks: f64,
    /// Attempts that the upstream throttled.
    throttles: f64,
    /// Complete answers of models.
    answered: f64,
    /// Those of the model of the first choice.
    first_choice: f64,
}

impl Counts {
    pub(super) fn now(totals: &DashboardTotals) -> Counts {
        Counts {
            requests: totals.requests() as f64,
            failed: totals.failed() as f64,
            refused: totals.refused() as f64,
            fallbacks: totals.fallbacks() as f64,
            throttles: totals.throttles() as f64,
            answered: totals.answered() as f64,
            first_choice: totals.first_choice() as f64,
        }
    }

    fn since(self, before: Counts) -> Counts {
        Counts {
            requests: self.requests - before.requests,
            failed: self.failed - before.failed,
            refused: self.refused - before.refused,
            fallbacks: self.fallbacks - before.fallbacks,
            throttles: self.throttles - before.throttles,
            answered: self.answered - before.answered,
            first_choice: self.first_choice - before.first_choice,
        }
    }
}

/// The steps of the last hour, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<Steps>);

#[derive(Debug, Default)]
struct Steps {
    /// The number of steps since the start.
    count: u64,
    kept: VecDeque<Counts>,
    before: Counts,
}

impl History {
    /// Adds a step every ten seconds. Never returns.
    pub(super) async fn follow(&self, metrics: &Metrics) {
        let mut steps = interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick comes at once.
        steps.tick().await;
        loop {
            steps.tick().await;
            self.step(Counts::now(&metrics.totals));
        }
    }

    fn step(&self, now: Counts) {
        let mut steps = self.0.lock();
        let step = now.since(steps.before);
        steps.before = now;
        if steps.kept.len() >= STEPS {
            steps.kept.pop_front();
        }
        steps.kept.push_back(step);
        steps.count += 1;
    }

    /// The number of steps since the start.
    pub(super) fn count(&self) -> u64 {
        self.0.lock().count
    }

    /// The steps, the oldest first.
    pub(super) fn all(&self) -> Vec<Counts> {
        self.0.lock().kept.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::access_log::SUCCESS;

    #[test]
    fn a_step_counts_since_the_previous_step_and_an_hour_is_kept() {
        let history = History::default();
        let counts = |requests| Counts { requests, ..Counts::default() };
        history.step(counts(5.0));
        history.step(counts(7.0));
        assert_eq!(history.all(), [counts(5.0), counts(2.0)]);
        (0..STEPS).for_each(|_| history.step(counts(7.0)));
        assert_eq!(history.all(), vec![counts(0.0); STEPS]);
        assert_eq!(history.count(), STEPS as u64 + 2);
    }

    #[test]
    fn outcomes_are_counted_separately() {
        let totals = DashboardTotals::default();
        for (outcome, times) in [(SUCCESS, 3), ("throttled", 2), ("client_gone", 1)] {
            (0..times).for_each(|_| totals.request(outcome));
        }
        for outcome in ["throttled", "exhausted", SUCCESS] {
            totals.attempt(outcome);
        }
        totals.fallback();
        let wanted = Counts {
            requests: 6.0,
            failed: 3.0,
            refused: 2.0,
            fallbacks: 1.0,
            throttles: 2.0,
            ..Counts::default()
        };
        assert_eq!(Counts::now(&totals), wanted);
    }
}
