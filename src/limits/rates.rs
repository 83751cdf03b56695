//! Limits of each client: requests per second with a burst, tokens per minute, and requests at
//! once. They are the operator's, apart from the quotas of targets: a client that runs into one
//! costs the others nothing.
//!
//! In a fleet of replicas rates and tokens are those of all of them, by leases as for a target's quota; who
//! has requests open is counted by each for itself.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
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

use super::caller::Client;
use super::record::Open;
use crate::config;
use crate::fleet::{Fleet, Lease};
use crate::quota::{Learning, Limits, QueueSignal, Quota, Reservation};

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
    /// How many requests each client without a record has open, whatever limits them.
    open: Arc<DashMap<Arc<str>, u32>>,
    /// The other replicas, if limits are shared with some.
    fleet: Option<Fleet>,
}

/// How often a full table is searched for clients that may be forgotten. Each search looks at all.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// When a table was last searched.
#[derive(Debug, Default)]
struct LastSweep(Mutex<Option<Instant>>);

impl LastSweep {
    /// Whether another search is due, which then counts as begun.
    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= SWEEP_INTERVAL);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

/// The limits of whoever has none of their own.
#[derive(Debug)]
struct Common {
    config: config::Limits,
    rate: Option<GovernorConfig<ByClient, NoOpMiddleware>>,
    rate_sweep: LastSweep,
    clock: governor::clock::DefaultClock,
    tokens: Option<Tracked>,
    /// The rate in a fleet, in place of the other.
    shared_rate: Option<Tracked>,
    /// Rung for all of them: nobody waits for a limit of a client.
    signal: Arc<QueueSignal>,
}

/// The limits of one client; those it leaves out are the common ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    rate: Option<(NonZeroU32, Arc<DefaultDirectRateLimiter>)>,
    /// The same in a fleet.
    shared_rate: Option<(NonZeroU32, Arc<Quota>)>,
    tokens: Option<(u64, Arc<Quota>)>,
    max_concurrent: Option<u32>,
}

impl Own {
    /// What `policy` says. A limit that is the one `before` goes on as it stands.
    pub(super) fn new(
        client: &config::Client,
        before: Option<&Own>,
        fleet: Option<&Fleet>,
        signal: &Arc<QueueSignal>,
        now: Instant,
    ) -> Own {
        let policy = &client.policy;
        let before = before.cloned().unwrap_or_default();
        let bucket = |rpm| Arc::new(RateLimiter::direct(governor::Quota::per_minute(rpm)));
        let lease = |kind| fleet.map(|fleet| fleet.lease(&lease_name(kind, &client.name)));
        let quota = |tpm| {
            let limits = Limits { tpm: Some(tpm), ..Limits::default() };
            limit(&limits, lease("own-tokens"), signal, now)
        };
        let shared_bucket = |rpm: NonZeroU32| {
            let limits = Limits { rpm: Some(rpm.get()), ..Limits::default() };
            limit(&limits, lease("own-rate"), signal, now)
        };
        let rpm = policy.rpm.and_then(NonZeroU32::new);
        Own {
            rate: rpm.filter(|_| fleet.is_none()).map(|rpm| {
                before.rate.filter(|kept| kept.0 == rpm).unwrap_or_else(|| (rpm, bucket(rpm)))
            }),
            shared_rate: rpm.filter(|_| fleet.is_some()).map(|rpm| {
                let kept = before.shared_rate.filter(|kept| kept.0 == rpm);
                kept.unwrap_or_else(|| (rpm, shared_bucket(rpm)))
            }),
            tokens: policy.tpm.map(|tpm| {
                before.tokens.filter(|kept| kept.0 == tpm).unwrap_or_else(|| (tpm, quota(tpm)))
            }),
            max_concurrent: policy.max_concurrent,
        }
    }
}

/// One kind of limit, the same for each client, by the client.
#[derive(Debug)]
struct Tracked {
    kind: &'static str,
    limits: Limits,
    clients: DashMap<Arc<str>, Arc<Quota>>,
    sweep: LastSweep,
}

/// The limit of one client, shared by a lease or its own.
fn limit(
    limits: &Limits,
    lease: Option<Lease>,
    signal: &Arc<QueueSignal>,
    now: Instant,
) -> Arc<Quota> {
    let signal = Arc::clone(signal);
    match lease {
        Some(lease) => Quota::overdrawable(limits, signal, lease, now),
        None => Arc::new(Quota::new(limits, Learning::off(), signal, now)),
    }
}

/// The name that all replicas know a limit of a client by. Keys of any length come from headers.
fn lease_name(kind: &str, client: &str) -> String {
    const LONG: usize = 128;
    if client.len() <= LONG {
        return format!("client|{kind}|{client}");
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, client.as_bytes());
    format!("client|{kind}|sha256:{}", hex::encode(digest.as_ref()))
}

/// One of a client's requests at once, free again when dropped.
#[derive(Debug)]
pub struct Slot(Place);

/// Where a slot is counted.
#[derive(Debug)]
enum Place {
    /// With the client's record.
    Member(Arc<Open>),
    /// Among those of clients without one.
    Key { clients: Arc<DashMap<Arc<str>, u32>>, key: Arc<str> },
}

impl Drop for Slot {
    fn drop(&mut self) {
        match &self.0 {
            Place::Member(open) => open.leave(),
            Place::Key { clients, key } => {
                clients.remove_if_mut(key, |_, open| {
                    *open = open.saturating_sub(1);
                    *open == 0
                });
            }
        }
    }
}

impl ClientLimits {
    /// The limits of `config`, for what the records of clients say nothing of. With a `fleet` they
    /// are those of all its replicas.
    pub fn new(config: &config::Limits, fleet: Option<Fleet>) -> ClientLimits {
        let common = Arc::new(Common::new(config, fleet.is_some()));
        ClientLimits { common, open: Arc::default(), fleet }
    }

    /// The limits of a newer config. A limit that stays keeps what was used of it; under another
    /// one that says nothing. Requests that are open count on.
    pub fn renewed(&self, config: &config::Limits) -> ClientLimits {
        let stays = self.common.config == *config;
        ClientLimits {
            common: match stays {
                true => Arc::clone(&self.common),
                false => Arc::new(Common::new(config, self.fleet.is_some())),
            },
            open: Arc::clone(&self.open),
            fleet: self.fleet.clone(),
        }
    }

    /// Counts a request against the client's rate.
    pub fn request(&self, client: &Client) -> Result<(), Limited> {
        let due = |limit, refused: NotUntil<_>| Limited {
            limit,
            due: refused.wait_time_from(self.common.clock.now()),
        };
        if let Some((_, rate)) = own(client).and_then(|own| own.rate.as_ref()) {
            return rate.check().map_err(|refused| due("rpm", refused));
        }
        if self.fleet.is_some() {
            return self.shared_request(client);
        }
        let Some(rate) = &self.common.rate else { return Ok(()) };
        let (limiter, max_tracked) = (rate.limiter(), self.common.config.max_tracked_clients);
        if limiter.len() > max_tracked && self.common.rate_sweep.is_due(Instant::now()) {
            // Drops those whose bucket is full again, who lose nothing by it.
            limiter.retain_recent();
        }
        let key =
            if limiter.len() > max_tracked { OVERFLOW.into() } else { Arc::clone(client.key()) };
        limiter.check_key(&key).map_err(|refused| due("requests_per_second", refused))
    }

    /// Counts a request against the rate that the client has at all replicas.
    fn shared_request(&self, client: &Client) -> Result<(), Limited> {
        let now = Instant::now();
        let take = |quota: &Arc<Quota>, limit| {
            let due = |until: Instant| Limited { limit, due: until - now };
            // It costs a request and no tokens.
            quota.take(0, now).map(|mut taken| taken.charge(0)).map_err(due)
        };
        if let Some((_, rate)) = own(client).and_then(|own| own.shared_rate.as_ref()) {
            return take(rate, "rpm");
        }
        let Some(rate) = &self.common.shared_rate else { return Ok(()) };
        take(&self.quota(rate, client, now), "requests_per_second")
    }

    fn quota(&self, limit: &Tracked, client: &Client, now: Instant) -> Arc<Quota> {
        let known = limit.clients.get(client.key()).map(|quota| Arc::clone(&quota));
        known.unwrap_or_else(|| self.common.track(limit, client.key(), self.fleet.as_ref(), now))
    }

    /// Takes one of the client's requests at once.
    pub fn slot(&self, client: &Client) -> Result<Option<Slot>, Limited> {
        let own = own(client).and_then(|own| own.max_concurrent);
        let Some(max) = own.or(self.common.config.max_concurrent) else { return Ok(None) };
        // When one of them ends is not known; a second is a fair guess.
        let limited = Limited { limit: "max_concurrent", due: Duration::from_secs(1) };
        if let Some(member) = client.member() {
            let is_in = member.open.enter(max);
            return if is_in {
                Ok(Some(Slot(Place::Member(Arc::clone(&member.open)))))
            } else {
                Err(limited)
            };
        }
        let mut open = self.open.entry(Arc::clone(client.key())).or_insert(0);
        if *open >= max {
            return Err(limited);
        }
        *open += 1;
        drop(open);
        let key = Arc::clone(client.key());
        Ok(Some(Slot(Place::Key { clients: Arc::clone(&self.open), key })))
    }

    /// Takes `tokens` of the client's tokens per minute, to be settled like a target's quota.
    pub fn tokens(&self, client: &Client, tokens: u64) -> Result<Option<Reservation>, Limited> {
        let now = Instant::now();
        if let Some((_, quota)) = own(client).and_then(|own| own.tokens.as_ref()) {
            let due = |until: Instant| Limited { limit: "tpm", due: until - now };
            return quota.take(tokens, now).map(Some).map_err(due);
        }
        let Some(limit) = &self.common.tokens else { return Ok(None) };
        let due = |until: Instant| Limited { limit: "tokens_per_minute", due: until - now };
        self.quota(limit, client, now).take(tokens, now).map(Some).map_err(due)
    }
}

/// The limits of its own of a client, which count instead of the common ones.
fn own(client: &Client) -> Option<&Own> {
    Some(&client.member()?.limits)
}

impl Common {
    fn new(config: &config::Limits, is_shared: bool) -> Common {
        let per_second = config.requests_per_second.and_then(NonZeroU32::new);
        let tracked = |kind, limits| Tracked {
            kind,
            limits,
            clients: DashMap::new(),
            sweep: LastSweep::default(),
        };
        let shared_rate = per_second.filter(|_| is_shared).map(|per_second| {
            let rpm = per_second.get().saturating_mul(60);
            let burst = config.burst.unwrap_or(per_second.get());
            // The bucket holds the burst: the safety margin is the rest of a minute.
            let safety_margin = 1.0 - f64::from(burst) / f64::from(rpm);
            tracked("rate", Limits { rpm: Some(rpm), safety_margin, ..Limits::default() })
        });
        let rate = per_second.filter(|_| !is_shared).and_then(|per_second| {
            GovernorConfigBuilder::default()
                .period(Duration::from_secs(1) / per_second.get())
                .burst_size(config.burst.unwrap_or(per_second.get()))
                .key_extractor(ByClient)
                .finish()
        });
        Common {
            rate,
            rate_sweep: LastSweep::default(),
            clock: governor::clock::DefaultClock::default(),
            tokens: config
                .tokens_per_minute
                .map(|tpm| tracked("tokens", Limits { tpm: Some(tpm), ..Limits::default() })),
            shared_rate,
            signal: Arc::default(),
            config: config.clone(),
        }
    }

    fn track(
        &self,
        limit: &Tracked,
        key: &Arc<str>,
        fleet: Option<&Fleet>,
        now: Instant,
    ) -> Arc<Quota> {
        let is_full = || limit.clients.len() >= self.config.max_tracked_clients;
        if is_full() && limit.sweep.is_due(now) {
            // Whoever has all their tokens loses nothing by being forgotten.
            limit.clients.retain(|_, quota| !quota.is_idle(now));
        }
        let key = if is_full() { OVERFLOW.into() } else { Arc::clone(key) };
        let started = || {
            let lease = fleet.map(|fleet| fleet.lease(&lease_name(limit.kind, &key)));
            self::limit(&limit.limits, lease, &self.signal, now)
        };
        Arc::clone(&limit.clients.entry(Arc::clone(&key)).or_insert_with(started))
    }
}

/// Takes the client that `identify` has put among a request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ByClient;

impl KeyExtractor for ByClient {
    type Key = Arc<str>;

    fn extract<T>(&self, request: &Request<T>) -> Result<Arc<str>, GovernorError> {
        let client = request.extensions().get::<Client>();
        client.map(|client| Arc::clone(client.key())).ok_or(GovernorError::UnableToExtractKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Members, Who};

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
        ClientLimits::new(&config, None)
    }

    fn client(key: &str) -> Client {
        Client { who: Who::Unnamed(key.into()), access_key_id: None }
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
    async fn what_stays_of_a_newer_config_keeps_what_was_used() {
        let limits = limits(|config| config.max_concurrent = Some(1));
        let common = limits.common.config.clone();
        let renewed = |before: &Members, policy| {
            let named = config::Client { name: "a".to_owned(), policy, ..Default::default() };
            let members = Members::new(&[named], Some(before), None).unwrap();
            let who = Who::Member(Arc::clone(members.get("a").unwrap()));
            (members, limits.renewed(&common), Client { who, access_key_id: None })
        };
        let own = |rpm, max| config::ClientPolicy {
            rpm: Some(rpm),
            tpm: Some(600),
            max_concurrent: Some(max),
            ..config::ClientPolicy::default()
        };
        let (members, before, a) = renewed(&Members::default(), own(1, 1));
        before.request(&a).unwrap();
        let held = before.tokens(&a, 600).unwrap();
        let (slot, other) = (before.slot(&a).unwrap(), before.slot(&client("b")).unwrap());
        let (members, same, a) = renewed(&members, own(1, 1));
        assert_eq!(same.request(&a).unwrap_err().limit, "rpm");
        assert_eq!(same.tokens(&a, 1).unwrap_err().limit, "tpm");
        assert!(same.slot(&a).is_err() && same.slot(&client("b")).is_err());
        let (members, wider, a) = renewed(&members, own(2, 2));
        assert!(wider.request(&a).is_ok() && wider.slot(&a).is_ok());
        assert!(wider.tokens(&a, 1).is_err());
        // Without limits of its own it has the common ones.
        let (members, none, a) = renewed(&members, config::ClientPolicy::default());
        assert!(none.request(&a).is_ok() && none.slot(&a).is_err());
        // One that was gone in between has its requests still open.
        let nobody = Members::new(&[], Some(&members), None).unwrap();
        let nobody = Members::new(&[], Some(&nobody), None).unwrap();
        let (_, back, a) = renewed(&nobody, config::ClientPolicy::default());
        assert!(back.slot(&a).is_err());
        drop((held, slot, other));
        assert!(back.slot(&a).is_ok());
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
