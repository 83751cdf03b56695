//! The rate of requests of each client, where this process alone counts them.
//!
//! tower_governor counts it: by the client. One limiter has one rate, so clients of the same rate
//! share one. In a fleet there is no such limiter: there a rate is a lease of a quota that all
//! replicas share, which no limiter of one process can count. See `client_limits`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use http::Request;
use tokio::time::Instant;
use tower_governor::GovernorError;
use tower_governor::governor::{GovernorConfig, GovernorConfigBuilder};
use tower_governor::key_extractor::KeyExtractor;

use super::exceeded::LimitExceeded;
use super::tracking::{OVERFLOW, SweepTimer};

/// A rate of requests and what each client has used of it.
#[derive(Debug)]
pub(super) struct RateLimit {
    /// Its key in the config.
    name: &'static str,
    config: Arc<GovernorConfig<ByClient, NoOpMiddleware>>,
    clock: DefaultClock,
    /// The bound on its clients, where anyone may become one.
    bound: Option<TrackingBound>,
}

impl RateLimit {
    /// A client's own `rpm`. After a pause all of a minute's requests may come at once.
    pub(super) fn per_minute(rpm: NonZeroU32) -> RateLimit {
        RateLimit::new("rpm", Duration::from_secs(60) / rpm.get(), rpm, None)
    }

    /// The `requests_per_second` of everyone else, with a burst, for a bounded number of clients.
    pub(super) fn per_second(rate: NonZeroU32, burst: NonZeroU32, max_tracked: usize) -> RateLimit {
        let (period, bound) =
            (Duration::from_secs(1) / rate.get(), TrackingBound::new(max_tracked));
        RateLimit::new("requests_per_second", period, burst, Some(bound))
    }

    #[expect(clippy::expect_used, reason = "neither the burst nor the period is zero")]
    fn new(
        name: &'static str,
        period: Duration,
        burst: NonZeroU32,
        bound: Option<TrackingBound>,
    ) -> RateLimit {
        let config = GovernorConfigBuilder::default()
            .period(period.max(Duration::from_nanos(1)))
            .burst_size(burst.get())
            .key_extractor(ByClient)
            .finish()
            .expect("there is no limiter without a burst or a period");
        RateLimit { name, config: Arc::new(config), clock: DefaultClock::default(), bound }
    }

    /// The key that a client counts under: its own, or the shared one of those beyond the bound.
    fn key(&self, client: &Arc<str>) -> Arc<str> {
        let has_room = self.bound.as_ref().is_none_or(|bound| bound.has_room(&self.config));
        if has_room { Arc::clone(client) } else { OVERFLOW.into() }
    }

    /// Counts a request of a client.
    pub(super) fn check(&self, client: &Arc<str>) -> Result<(), LimitExceeded> {
        self.check_key(&self.key(client))
    }

    fn check_key(&self, key: &Arc<str>) -> Result<(), LimitExceeded> {
        let limiter = self.config.limiter();
        limiter.check_key(key).map_err(|refused| LimitExceeded {
            limit: self.name,
            retry_after: refused.wait_time_from(self.clock.now()),
        })
    }

    /// Drops the clients that have their whole burst again.
    pub(super) fn sweep(&self) {
        self.config.limiter().retain_recent();
    }

    /// The number of clients that are tracked.
    #[cfg(test)]
    pub(super) fn tracked(&self) -> usize {
        self.config.limiter().len()
    }
}

/// Keeps the clients of a limiter below a bound. Those beyond it share one key.
#[derive(Debug)]
struct TrackingBound {
    max: usize,
    /// Requests until the clients have to be counted again, which locks every shard: a request adds
    /// one client at most.
    countdown: AtomicUsize,
    sweep: SweepTimer,
}

impl TrackingBound {
    fn new(max: usize) -> TrackingBound {
        TrackingBound { max, countdown: AtomicUsize::new(0), sweep: SweepTimer::default() }
    }

    /// Whether the limiter may track another client.
    fn has_room(&self, config: &GovernorConfig<ByClient, NoOpMiddleware>) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        if self.countdown.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return true;
        }
        let limiter = config.limiter();
        if limiter.len() > self.max && self.sweep.is_due(Instant::now()) {
            limiter.retain_recent();
        }
        let Some(room) = self.max.checked_sub(limiter.len()) else { return false };
        self.countdown.store(room, Ordering::Relaxed);
        true
    }
}

/// The key of a request, as an extension of it.
#[derive(Clone, Debug)]
struct RateKey(Arc<str>);

/// Takes the key from a request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByClient;

impl KeyExtractor for ByClient {
    type Key = Arc<str>;

    fn extract<T>(&self, request: &Request<T>) -> Result<Arc<str>, GovernorError> {
        let key = request.extensions().get::<RateKey>();
        key.map(|key| Arc::clone(&key.0)).ok_or(GovernorError::UnableToExtractKey)
    }
}
