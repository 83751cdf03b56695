//! Limits of each client: requests per second with a burst, tokens per minute, and requests at
//! once. They are the operator's, apart from the quotas of targets: a client that runs into one
//! costs the others nothing.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::{DefaultDirectRateLimiter, NotUntil, RateLimiter};
use http::Request;
use tokio::time::Instant;
use tower_governor::GovernorError;
use tower_governor::governor::{GovernorConfig, GovernorConfigBuilder};
use tower_governor::key_extractor::KeyExtractor;

use super::identity::Client;
use crate::admission::{Bell, Learning, Limits, Quota, Reservation};
use crate::config;

/// The client that all beyond the bound on tracked clients are counted as.
const OVERFLOW: &str = "overflow";

/// A client has used up one of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this client's limit {limit} is used up")]
pub struct Limited {
    /// The limit's key in the config.
    pub limit: &'static str,
    /// When there will be room again.
    pub due: Duration,
}

/// The limits of all clients.
#[derive(Debug)]
pub struct ClientLimits {
    common: Arc<Common>,
    /// Of the clients that have limits of their own, which count instead of the common ones.
    own: HashMap<Arc<str>, Own>,
    /// How many requests each client has open, whatever limits them.
    open: Arc<DashMap<Arc<str>, u32>>,
}

/// The limits of whoever has none of their own.
#[derive(Debug)]
struct Common {
    config: config::Limits,
    rate: Option<GovernorConfig<ByClient, NoOpMiddleware>>,
    clock: governor::clock::DefaultClock,
    tokens: Option<Tokens>,
}

/// The limits of one client; those it leaves out are the common ones.
#[derive(Clone, Debug, Default)]
struct Own {
    rate: Option<(NonZeroU32, Arc<DefaultDirectRateLimiter>)>,
    tokens: Option<(u64, Arc<Quota>)>,
    max_concurrent: Option<u32>,
}

impl Own {
    /// What `policy` says. A limit that is the one `before` goes on as it stands.
    fn new(policy: &config::ClientPolicy, before: Option<&Own>, now: Instant) -> Option<Own> {
        let before = before.cloned().unwrap_or_default();
        let bucket = |rpm| Arc::new(RateLimiter::direct(governor::Quota::per_minute(rpm)));
        let quota = |tpm| {
            let limits = Limits { tpm: Some(tpm), ..Limits::default() };
            Arc::new(Quota::new(&limits, Learning::off(), Arc::<Bell>::default(), now))
        };
        let own = Own {
            rate: policy.rpm.and_then(NonZeroU32::new).map(|rpm| {
                before.rate.filter(|kept| kept.0 == rpm).unwrap_or_else(|| (rpm, bucket(rpm)))
            }),
            tokens: policy.tpm.map(|tpm| {
                before.tokens.filter(|kept| kept.0 == tpm).unwrap_or_else(|| (tpm, quota(tpm)))
            }),
            max_concurrent: policy.max_concurrent,
        };
        let has_any = own.rate.is_some() || own.tokens.is_some() || own.max_concurrent.is_some();
        has_any.then_some(own)
    }
}

#[derive(Debug)]
struct Tokens {
    per_minute: u64,
    clients: DashMap<Arc<str>, Arc<Quota>>,
}

/// One of a client's requests at once, free again when dropped.
#[derive(Debug)]
pub struct Slot {
    clients: Arc<DashMap<Arc<str>, u32>>,
    key: Arc<str>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.clients.remove_if_mut(&self.key, |_, open| {
            *open = open.saturating_sub(1);
            *open == 0
        });
    }
}

impl ClientLimits {
    /// The limits of `config`, and those that `clients` have of their own; what neither says does
    /// not exist.
    pub fn new(config: &config::Limits, clients: &[config::Client]) -> ClientLimits {
        let common = Arc::new(Common::new(config));
        ClientLimits { common, own: own(clients, &HashMap::new()), open: Arc::default() }
    }

    /// The limits of a newer config. A limit that stays keeps what was used of it; under another
    /// one that says nothing. Requests that are open count on.
    pub fn renewed(&self, config: &config::Limits, clients: &[config::Client]) -> ClientLimits {
        let stays = self.common.config == *config;
        ClientLimits {
            common: if stays { Arc::clone(&self.common) } else { Arc::new(Common::new(config)) },
            own: own(clients, &self.own),
            open: Arc::clone(&self.open),
        }
    }

    /// Counts a request against the client's rate.
    pub fn request(&self, client: &Client) -> Result<(), Limited> {
        let due = |limit, refused: NotUntil<_>| Limited {
            limit,
            due: refused.wait_time_from(self.common.clock.now()),
        };
        if let Some((_, rate)) = self.own(client).and_then(|own| own.rate.as_ref()) {
            return rate.check().map_err(|refused| due("rpm", refused));
        }
        let Some(rate) = &self.common.rate else { return Ok(()) };
        let (limiter, max_tracked) = (rate.limiter(), self.common.config.max_tracked_clients);
        if limiter.len() > max_tracked {
            // Drops those whose bucket is full again, who lose nothing by it.
            limiter.retain_recent();
        }
        let key =
            if limiter.len() > max_tracked { OVERFLOW.into() } else { Arc::clone(&client.key) };
        limiter.check_key(&key).map_err(|refused| due("requests_per_second", refused))
    }

    fn own(&self, client: &Client) -> Option<&Own> {
        self.own.get(client.name.as_deref()?)
    }

    /// Takes one of the client's requests at once.
    pub fn slot(&self, client: &Client) -> Result<Option<Slot>, Limited> {
        let own = self.own(client).and_then(|own| own.max_concurrent);
        let Some(max) = own.or(self.common.config.max_concurrent) else { return Ok(None) };
        let mut open = self.open.entry(Arc::clone(&client.key)).or_insert(0);
        if *open >= max {
            // When one of them ends is not known; a second is a fair guess.
            return Err(Limited { limit: "max_concurrent", due: Duration::from_secs(1) });
        }
        *open += 1;
        drop(open);
        Ok(Some(Slot { clients: Arc::clone(&self.open), key: Arc::clone(&client.key) }))
    }

    /// Takes `tokens` of the client's tokens per minute, to be settled like a target's quota.
    pub fn tokens(&self, client: &Client, tokens: u64) -> Result<Option<Reservation>, Limited> {
        let now = Instant::now();
        if let Some((_, quota)) = self.own(client).and_then(|own| own.tokens.as_ref()) {
            let due = |until: Instant| Limited { limit: "tpm", due: until - now };
            return quota.take(tokens, now).map(Some).map_err(due);
        }
        let Some(limit) = &self.common.tokens else { return Ok(None) };
        let known = limit.clients.get(&client.key).map(|quota| Arc::clone(&quota));
        let quota = known.unwrap_or_else(|| self.common.track(limit, &client.key, now));
        let due = |until: Instant| Limited { limit: "tokens_per_minute", due: until - now };
        quota.take(tokens, now).map(Some).map_err(due)
    }
}

fn own(clients: &[config::Client], before: &HashMap<Arc<str>, Own>) -> HashMap<Arc<str>, Own> {
    let now = Instant::now();
    let own = clients.iter().filter_map(|client| {
        let own = Own::new(&client.policy, before.get(client.name.as_str()), now)?;
        Some((client.name.as_str().into(), own))
    });
    own.collect()
}

impl Common {
    fn new(config: &config::Limits) -> Common {
        let rate = config.requests_per_second.and_then(NonZeroU32::new).and_then(|per_second| {
            GovernorConfigBuilder::default()
                .period(Duration::from_secs(1) / per_second.get())
                .burst_size(config.burst.unwrap_or(per_second.get()))
                .key_extractor(ByClient)
                .finish()
        });
        Common {
            rate,
            clock: governor::clock::DefaultClock::default(),
            tokens: config
                .tokens_per_minute
                .map(|per_minute| Tokens { per_minute, clients: DashMap::new() }),
            config: config.clone(),
        }
    }

    fn track(&self, limit: &Tokens, key: &Arc<str>, now: Instant) -> Arc<Quota> {
        if limit.clients.len() >= self.config.max_tracked_clients {
            // Whoever has all their tokens loses nothing by being forgotten.
            limit.clients.retain(|_, quota| {
                let state = quota.snapshot(now);
                state.in_flight > 0 || state.headroom() < 1.0
            });
        }
        let key = if limit.clients.len() >= self.config.max_tracked_clients {
            OVERFLOW.into()
        } else {
            Arc::clone(key)
        };
        let limits = Limits { tpm: Some(limit.per_minute), ..Limits::default() };
        let started = || Quota::new(&limits, Learning::off(), Arc::<Bell>::default(), now);
        Arc::clone(&limit.clients.entry(key).or_insert_with(|| Arc::new(started())))
    }
}

/// Takes the client that `identify` has put among a request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ByClient;

impl KeyExtractor for ByClient {
    type Key = Arc<str>;

    fn extract<T>(&self, request: &Request<T>) -> Result<Arc<str>, GovernorError> {
        let client = request.extensions().get::<Client>();
        client.map(|client| Arc::clone(&client.key)).ok_or(GovernorError::UnableToExtractKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(change: impl FnOnce(&mut config::Limits)) -> ClientLimits {
        let mut config = config::Limits {
            key: config::LimitKey::AccessKey,
            requests_per_second: None,
            burst: None,
            tokens_per_minute: None,
            max_concurrent: None,
            max_tracked_clients: 100,
        };
        change(&mut config);
        ClientLimits::new(&config, &[])
    }

    fn client(key: &str) -> Client {
        Client { name: None, access_key_id: None, key: key.into() }
    }

    #[test]
    fn a_burst_is_let_through_and_what_is_above_refused_with_its_time() {
        let limits = limits(|config| {
            config.requests_per_second = Some(1);
            config.burst = Some(3);
        });
        for _ in 0..3 {
            limits.request(&client("a")).unwrap();
        }
        let limited = limits.request(&client("a")).unwrap_err();
        assert_eq!(limited.limit, "requests_per_second");
        assert!(limited.due <= Duration::from_secs(1), "{:?}", limited.due);
        limits.request(&client("b")).unwrap();
    }

    #[test]
    fn requests_at_once_are_counted_and_given_back() {
        let limits = limits(|config| config.max_concurrent = Some(2));
        let first = limits.slot(&client("a")).unwrap();
        let second = limits.slot(&client("a")).unwrap();
        assert_eq!(limits.slot(&client("a")).unwrap_err().limit, "max_concurrent");
        assert!(limits.slot(&client("b")).is_ok());
        drop((first, second));
        assert!(limits.slot(&client("a")).is_ok());
        assert!(limits.open.is_empty(), "nobody is forgotten in it");
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_taken_settled_and_regained() {
        let limits = limits(|config| config.tokens_per_minute = Some(600));
        let mut reservation = limits.tokens(&client("a"), 500).unwrap().unwrap();
        assert!(limits.tokens(&client("a"), 500).is_err());
        reservation.charge(600);
        drop(reservation);
        let limited = limits.tokens(&client("a"), 100).unwrap_err();
        assert_eq!(limited.limit, "tokens_per_minute");
        assert_eq!(limited.due.as_secs(), 10);
        tokio::time::advance(limited.due).await;
        assert!(limits.tokens(&client("a"), 100).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn tracked_clients_are_bounded() {
        let limits = limits(|config| {
            config.tokens_per_minute = Some(600);
            config.requests_per_second = Some(1);
            config.max_tracked_clients = 3;
        });
        let held: Vec<_> = (0..50)
            .map(|i| {
                let _ = limits.request(&client(&i.to_string()));
                limits.tokens(&client(&i.to_string()), 5)
            })
            .collect();
        assert!(
            limits.common.tokens.as_ref().unwrap().clients.len() <= 4,
            "three and the overflow"
        );
        assert!(limits.common.rate.as_ref().unwrap().limiter().len() <= 5);
        drop(held);
    }
}
