//! Whether this process may take over claims that have lapsed.
//!
//! While the store can't be reached, nobody can renew a claim, and claims of live workers lapse. So
//! after an outage, as after its own start, a process leaves lapsed claims alone for a grace period.
//! In this time their owners renew them, if they are alive.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config;

/// The grace period, in times the longest gap between two contacts with the store. Shorter than a
/// lease, so that it is over when the claims of a process lapse that was killed and started again
/// at once.
const GAPS: u32 = 2;

/// The grace period of one process.
#[derive(Debug)]
pub(super) struct GracePeriod {
    /// After a longer time without contact, claims of live workers may have lapsed.
    max_gap: Duration,
    contact: Mutex<Option<Contact>>,
}

#[derive(Clone, Copy, Debug)]
struct Contact {
    last: Instant,
    grace_ends: Instant,
}

impl GracePeriod {
    /// The grace period before the first contact.
    pub(super) fn new(config: &config::Jobs) -> GracePeriod {
        // Claims are renewed, and the store is checked, once in a poll interval.
        let max_gap = config.heartbeat.max(config.poll_interval.saturating_mul(2));
        GracePeriod { max_gap, contact: Mutex::default() }
    }

    /// Records that the store has answered a check.
    pub(super) fn reached(&self, now: Instant) {
        let mut contact = self.contact.lock();
        let grace_ends = match *contact {
            Some(Contact { last, grace_ends }) if now.duration_since(last) <= self.max_gap => {
                grace_ends
            }
            _ => now + self.max_gap.saturating_mul(GAPS),
        };
        *contact = Some(Contact { last: now, grace_ends });
    }

    /// Whether lapsed claims may be taken over.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.contact.lock().is_some_and(|Contact { last, grace_ends }| {
            now >= grace_ends && now.duration_since(last) <= self.max_gap
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Env, Source};

    const SECOND: Duration = Duration::from_secs(1);

    /// A heartbeat is 10 s, and the store is checked each second.
    fn grace_period() -> GracePeriod {
        let jobs = Config::load(&Source::BuiltIn, &Env::default()).unwrap().config.jobs;
        assert_eq!((jobs.heartbeat, jobs.poll_interval), (10 * SECOND, SECOND));
        GracePeriod::new(&jobs)
    }

    /// Reaches the store each second for so long, and returns when.
    fn reach(grace: &GracePeriod, from: Instant, seconds: u32) -> Instant {
        (0..=seconds).for_each(|second| grace.reached(from + second * SECOND));
        from + seconds * SECOND
    }

    #[tokio::test]
    async fn a_new_process_leaves_lapsed_claims_alone_for_two_heartbeats() {
        let (grace, start) = (grace_period(), Instant::now());
        assert!(!grace.is_over(start), "it has not reached the store yet");
        let now = reach(&grace, start, 19);
        assert!(!grace.is_over(now));
        let now = reach(&grace, now, 1);
        assert!(grace.is_over(now));
    }

    #[tokio::test]
    async fn only_an_outage_in_which_claims_may_lapse_starts_it_again() {
        let grace = grace_period();
        let now = reach(&grace, Instant::now(), 20);
        let now = reach(&grace, now + 10 * SECOND, 0);
        assert!(grace.is_over(now), "claims outlast a short outage");
        assert!(!grace.is_over(now + 11 * SECOND), "it may be an outage");
        let back = reach(&grace, now + 11 * SECOND, 0);
        assert!(!grace.is_over(back));
        let now = reach(&grace, back, 20);
        assert!(grace.is_over(now));
    }
}
