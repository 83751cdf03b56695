//! The rate of requests of each client, where this process alone counts them.
//!
//! tower_governor counts it, by a [`GovernorLayer`] in the stack of the pipeline whose key is the
//! client. A layer has one rate. So there is one for each rate that the config has, and a request
//! passes that of its client. In a fleet it has no layer: a rate is a lease of a quota there, which
//! all replicas keep to together, and no layer of one process can know what the others let through.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use http::Request;
use tokio::time::Instant;
use tower::Layer;
use tower_governor::governor::{Governor, GovernorConfig, GovernorConfigBuilder};
use tower_governor::key_extractor::KeyExtractor;
use tower_governor::{GovernorError, GovernorLayer};

use super::exceeded::LimitExceeded;
use super::tracking::{OVERFLOW, SweepTimer};

/// A rate of requests and what each client has used of it.
#[derive(Debug)]
pub struct RequestRate {
    /// Its key in the config.
    name: &'static str,
    config: Arc<GovernorConfig<ByClient, StateInformationMiddleware>>,
    clock: DefaultClock,
    per_minute: f64,
    burst: NonZeroU32,
    /// The bound on its clients, where anyone may become one.
    bound: Option<TrackingBound>,
}

impl RequestRate {
    /// A client's own `rpm`. After a pause all of a minute's requests may come at once.
    pub(super) fn per_minute(rpm: NonZeroU32) -> RequestRate {
        RequestRate::new("rpm", Duration::from_secs(60) / rpm.get(), rpm, None)
    }

    /// The `requests_per_second` of everyone else, with a burst, for a bounded number of clients.
    pub(super) fn per_second(
        rate: NonZeroU32,
        burst: NonZeroU32,
        max_tracked: usize,
    ) -> RequestRate {
        let (period, bound) =
            (Duration::from_secs(1) / rate.get(), TrackingBound::new(max_tracked));
        RequestRate::new("requests_per_second", period, burst, Some(bound))
    }

    #[expect(clippy::expect_used, reason = "neither the burst nor the period is zero")]
    fn new(
        name: &'static str,
        period: Duration,
        burst: NonZeroU32,
        bound: Option<TrackingBound>,
    ) -> RequestRate {
        let period = period.max(Duration::from_nanos(1));
        let per_minute = 60.0 / period.as_secs_f64();
        let config = GovernorConfigBuilder::default()
            .period(period)
            .burst_size(burst.get())
            .key_extractor(ByClient(None))
            .use_headers()
            .finish()
            .expect("there is no limiter without a burst or a period");
        let (config, clock) = (Arc::new(config), DefaultClock::default());
        RequestRate { name, config, clock, per_minute, burst, bound }
    }

    /// Requests per minute.
    pub fn requests_per_minute(&self) -> f64 {
        self.per_minute.round()
    }

    /// The requests that may come at once after a pause.
    pub fn burst(&self) -> u32 {
        self.burst.get()
    }

    /// Puts the layer of this rate around `inner`, for a request that counts under `key`. `B` is the
    /// body of its refusals.
    pub fn govern<S, B>(
        &self,
        inner: S,
        key: &RateKey,
    ) -> Governor<ByClient, StateInformationMiddleware, S, B> {
        let mut service = GovernorLayer::new(Arc::clone(&self.config)).layer(inner);
        service.key_extractor = ByClient(Some(key.clone()));
        service
    }

    /// The key that a client's requests count under: its own, or the one that all clients share that
    /// are beyond the bound.
    pub fn key(&self, client: &Arc<str>) -> RateKey {
        let has_room = self.bound.as_ref().is_none_or(|bound| bound.has_room(&self.config));
        RateKey(if has_room { Arc::clone(client) } else { OVERFLOW.into() })
    }

    /// Counts a request outside the layer, and gives how many more may come at once. A refusal counts
    /// nothing, so this also gives the exact time that a request has to wait that the layer refused, which
    /// reports whole seconds.
    ///
    /// # Errors
    /// When the rate is used up.
    pub fn check(&self, key: &RateKey) -> Result<u32, LimitExceeded> {
        let counted = self.config.limiter().check_key(&key.0);
        counted.map(|state| state.remaining_burst_capacity()).map_err(|refused| LimitExceeded {
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
    fn has_room(&self, config: &GovernorConfig<ByClient, StateInformationMiddleware>) -> bool {
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

/// The key that a request counts under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateKey(Arc<str>);

/// Gives the layer the key of the client that was authenticated. The layer is put around the inner
/// service for one request, so its extractor holds the key of that request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByClient(Option<RateKey>);

impl KeyExtractor for ByClient {
    type Key = Arc<str>;

    fn extract<T>(&self, _: &Request<T>) -> Result<Arc<str>, GovernorError> {
        let key = self.0.as_ref();
        key.map(|key| Arc::clone(&key.0)).ok_or(GovernorError::UnableToExtractKey)
    }
}
