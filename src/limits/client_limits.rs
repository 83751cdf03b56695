//! The limits of clients: requests per second with a burst, tokens per minute, and requests in
//! flight. The operator sets them, independently of the quotas of targets. A request above a limit is
//! refused at once, and costs the other clients nothing.
//!
//! Each rule has one limiter. Alone, this process counts requests with tower_governor, as a layer of
//! the pipeline (see `rate`), and tokens with quotas of its own. In a fleet both are quotas of which
//! each replica holds a lease. The rate must be one there: the replicas together keep to it, and no
//! layer of one process can know what the others let through. Each replica counts its own requests in
//! flight.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::caller::Caller;
use super::concurrency::{AnonymousCounters, ConcurrencyPermit};
use super::exceeded::LimitExceeded;
use super::overrides::Overrides;
use super::quotas::ClientQuotas;
use super::rate::RequestRate;
use crate::config;
use crate::fleet::Fleet;
use crate::quota::{QueueSignal, Quota, QuotaLimits, Reservation, Snapshot};

/// The `Retry-After` for requests in flight, whose end is not known.
const CONCURRENCY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The limits of all clients.
#[derive(Debug)]
pub struct ClientLimits {
    defaults: Arc<Defaults>,
    /// Counts every caller without a record, even without a limit.
    anonymous: AnonymousCounters,
    /// The fleet, if replicas share the limits.
    fleet: Option<Fleet>,
}

/// The limits of every client without limits of its own.
#[derive(Debug)]
struct Defaults {
    config: config::Limits,
    /// Without a fleet.
    rate: Option<Arc<RequestRate>>,
    /// In a fleet.
    shared_rate: Option<ClientQuotas>,
    tokens: Option<ClientQuotas>,
    /// The quotas' signal, unused: no request queues for a limit of its client.
    signal: Arc<QueueSignal>,
}

impl ClientLimits {
    /// The limits of `config`, as defaults. With a `fleet` they are those of all its replicas.
    pub fn new(config: &config::Limits, fleet: Option<Fleet>) -> ClientLimits {
        let defaults = Arc::new(Defaults::new(config, fleet.is_some()));
        ClientLimits { defaults, anonymous: AnonymousCounters::default(), fleet }
    }

    /// The limits of a newer config. Unchanged limits keep their used part; changed limits start anew.
    /// Requests in flight stay counted.
    pub fn with_config(&self, config: &config::Limits) -> ClientLimits {
        let is_same = self.defaults.config == *config;
        ClientLimits {
            defaults: match is_same {
                true => Arc::clone(&self.defaults),
                false => Arc::new(Defaults::new(config, self.fleet.is_some())),
            },
            anonymous: self.anonymous.clone(),
            fleet: self.fleet.clone(),
        }
    }

    /// Counts a request against the rate of its client, outside the layers of the pipeline.
    ///
    /// # Errors
    /// If the rate is used up.
    pub fn check_rate(&self, caller: &Caller) -> Result<(), LimitExceeded> {
        self.check_shared_rate(caller)?;
        self.rate(caller).map_or(Ok(()), |rate| rate.check(&rate.key(caller.key())).map(drop))
    }

    /// The rate of a client, whose layer counts its requests. `None` in a fleet, and where no limit
    /// holds.
    pub fn rate<'a>(&'a self, caller: &'a Caller) -> Option<&'a Arc<RequestRate>> {
        let own = caller.record().and_then(|record| record.overrides.rate.as_ref());
        own.or(self.defaults.rate.as_ref())
    }

    /// Counts a request against the rate of its client at all replicas, if there is a fleet.
    ///
    /// # Errors
    /// If the rate is used up.
    pub fn check_shared_rate(&self, caller: &Caller) -> Result<(), LimitExceeded> {
        if self.fleet.is_none() {
            return Ok(());
        }
        let now = Instant::now();
        let take = |quota: &Arc<Quota>, limit| {
            let exceeded = |room_at| LimitExceeded::until(limit, room_at, now);
            // The request costs one request and no tokens.
            quota.take(0, now).map(|mut reservation| reservation.charge(0)).map_err(exceeded)
        };
        if let Some(own) = overrides(caller).and_then(Overrides::shared_rate) {
            return take(own, "rpm");
        }
        let Some(quotas) = &self.defaults.shared_rate else { return Ok(()) };
        take(&self.quota(quotas, caller, now), "requests_per_second")
    }

    /// The state of a client's limits of requests and of tokens, as that of a quota. Without a fleet, what is
    /// left of a rate is known only by counting a request.
    pub fn snapshot(&self, caller: &Caller) -> Snapshot {
        let now = Instant::now();
        let own = overrides(caller);
        let tokens = own.and_then(Overrides::tokens).cloned();
        let of_all = || Some(self.quota(self.defaults.tokens.as_ref()?, caller, now));
        let tokens = tokens.or_else(of_all).map(|quota| quota.snapshot(now)).unwrap_or_default();
        let shared = own.and_then(Overrides::shared_rate).cloned();
        let of_all = || Some(self.quota(self.defaults.shared_rate.as_ref()?, caller, now));
        let (rpm, requests_available) = match shared.or_else(of_all) {
            Some(quota) => {
                let Snapshot { rpm, requests_available, .. } = quota.snapshot(now);
                (rpm, requests_available)
            }
            None => (self.rate(caller).map(|rate| rate.requests_per_minute()), None),
        };
        Snapshot { rpm, requests_available, ..tokens }
    }

    /// Counts a request as in flight until the permit is dropped. `None` for a caller that the config
    /// does not name where no limit holds.
    ///
    /// # Errors
    /// If the client has its most requests in flight.
    pub fn acquire(&self, caller: &Caller) -> Result<Option<ConcurrencyPermit>, LimitExceeded> {
        let own = overrides(caller).and_then(|own| own.max_concurrent);
        let max = own.or(self.defaults.config.max_concurrent);
        let permit = match (caller.record(), max) {
            // Counted without a limit as well: the status page shows it.
            (Some(record), max) => record.concurrency.acquire(max.unwrap_or(u32::MAX)),
            (None, Some(max)) => self.anonymous.acquire(caller.key(), max),
            (None, None) => return Ok(None),
        };
        let exceeded =
            LimitExceeded { limit: "max_concurrent", retry_after: CONCURRENCY_RETRY_AFTER };
        permit.map(Some).ok_or(exceeded)
    }

    /// Reserves `tokens` of the client's tokens per minute, to be settled like a target's quota.
    /// `None` where no limit holds.
    ///
    /// # Errors
    /// If fewer tokens are available.
    pub fn reserve_tokens(
        &self,
        caller: &Caller,
        tokens: u64,
    ) -> Result<Option<Reservation>, LimitExceeded> {
        let now = Instant::now();
        let take = |quota: &Arc<Quota>, limit| {
            let exceeded = |room_at| LimitExceeded::until(limit, room_at, now);
            quota.take(tokens, now).map(Some).map_err(exceeded)
        };
        if let Some(own) = overrides(caller).and_then(Overrides::tokens) {
            return take(own, "tpm");
        }
        let Some(quotas) = &self.defaults.tokens else { return Ok(None) };
        take(&self.quota(quotas, caller, now), "tokens_per_minute")
    }

    fn quota(&self, quotas: &ClientQuotas, caller: &Caller, now: Instant) -> Arc<Quota> {
        quotas.get(caller.key(), self.fleet.as_ref(), &self.defaults.signal, now)
    }
}

/// The limits of a client's own, which hold in place of the defaults.
fn overrides(caller: &Caller) -> Option<&Overrides> {
    Some(&caller.record()?.overrides)
}

impl Defaults {
    fn new(config: &config::Limits, is_shared: bool) -> Defaults {
        let max_tracked = config.max_tracked_clients;
        let quotas = |kind, limits| ClientQuotas::new(kind, limits, max_tracked);
        let per_second = config.requests_per_second.and_then(NonZeroU32::new);
        let burst = config.burst.and_then(NonZeroU32::new);
        let shared_rate = per_second.filter(|_| is_shared).map(|per_second| {
            let rpm = per_second.get().saturating_mul(60);
            // A quota of a minute starts with no more than the burst.
            let safety_margin = 1.0 - f64::from(burst.unwrap_or(per_second).get()) / f64::from(rpm);
            quotas("rate", QuotaLimits { rpm: Some(rpm), safety_margin, ..QuotaLimits::default() })
        });
        let rate = per_second.filter(|_| !is_shared).map(|per_second| {
            let burst = burst.unwrap_or(per_second);
            Arc::new(RequestRate::per_second(per_second, burst, max_tracked))
        });
        let tokens = config
            .tokens_per_minute
            .map(|tpm| quotas("tokens", QuotaLimits { tpm: Some(tpm), ..QuotaLimits::default() }));
        Defaults { rate, shared_rate, tokens, signal: Arc::default(), config: config.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{CallerKind, ClientRegistry};

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

    fn client(key: &str) -> Caller {
        Caller { kind: CallerKind::Anonymous(key.into()), access_key_id: None }
    }

    #[test]
    fn requests_beyond_the_burst_are_refused_with_the_time_to_wait() {
        let limits = limits(|config| {
            config.requests_per_second = Some(1);
            config.burst = Some(3);
        });
        for _ in 0..3 {
            limits.check_rate(&client("a")).unwrap();
        }
        let limited = limits.check_rate(&client("a")).unwrap_err();
        assert_eq!(limited.limit, "requests_per_second");
        assert!(limited.retry_after <= Duration::from_secs(1), "{:?}", limited.retry_after);
        limits.check_rate(&client("b")).unwrap();
    }

    #[test]
    fn the_requests_in_flight_of_a_client_are_counted_without_a_limit() {
        let limits = limits(|_| {});
        let named = config::ClientConfig { name: "a".to_owned(), ..Default::default() };
        let clients = ClientRegistry::new(&[named], None, None).unwrap();
        let record = clients.get("a").unwrap();
        let kind = CallerKind::Registered(Arc::clone(record));
        let a = Caller { kind, access_key_id: None };
        let held = [limits.acquire(&a).unwrap(), limits.acquire(&a).unwrap()];
        assert_eq!(record.in_flight(), 2);
        drop(held);
        assert_eq!(record.in_flight(), 0);
        assert!(limits.acquire(&client("b")).unwrap().is_none());
    }

    #[test]
    fn requests_in_flight_are_bounded_until_they_end() {
        let limits = limits(|config| config.max_concurrent = Some(2));
        let first = limits.acquire(&client("a")).unwrap();
        let second = limits.acquire(&client("a")).unwrap();
        assert_eq!(limits.acquire(&client("a")).unwrap_err().limit, "max_concurrent");
        assert!(limits.acquire(&client("b")).is_ok());
        drop((first, second));
        assert!(limits.acquire(&client("a")).is_ok());
        assert!(limits.anonymous.is_empty(), "no caller stays in the table");
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_reserved_settled_and_refilled() {
        let limits = limits(|config| config.tokens_per_minute = Some(600));
        let mut reservation = limits.reserve_tokens(&client("a"), 500).unwrap().unwrap();
        assert!(limits.reserve_tokens(&client("a"), 500).is_err());
        reservation.charge(600);
        drop(reservation);
        let limited = limits.reserve_tokens(&client("a"), 100).unwrap_err();
        assert_eq!(limited.limit, "tokens_per_minute");
        assert_eq!(limited.retry_after.as_secs(), 10);
        tokio::time::advance(limited.retry_after).await;
        assert!(limits.reserve_tokens(&client("a"), 100).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_of_the_tokens_of_a_client_is_shown() {
        let none = limits(|_| {}).snapshot(&client("a"));
        assert_eq!(none, Snapshot::default());
        let limits = limits(|config| {
            config.tokens_per_minute = Some(600);
            config.requests_per_second = Some(2);
        });
        let _held = limits.reserve_tokens(&client("a"), 500).unwrap();
        let shown = limits.snapshot(&client("a"));
        assert_eq!((shown.tpm, shown.tokens_available), (Some(600.0), Some(100.0)));
        assert_eq!((shown.rpm, shown.requests_available), (Some(120.0), None));
        assert_eq!(limits.snapshot(&client("b")).tokens_available, Some(600.0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_a_reload_does_not_change_keeps_what_was_used() {
        let limits = limits(|config| config.max_concurrent = Some(1));
        let defaults = limits.defaults.config.clone();
        let renewed = |before: &ClientRegistry, policy| {
            let named = config::ClientConfig { name: "a".to_owned(), policy, ..Default::default() };
            let clients = ClientRegistry::new(&[named], Some(before), None).unwrap();
            let who = CallerKind::Registered(Arc::clone(clients.get("a").unwrap()));
            (clients, limits.with_config(&defaults), Caller { kind: who, access_key_id: None })
        };
        let own = |rpm, max| config::ClientPolicy {
            rpm: Some(rpm),
            tpm: Some(600),
            max_concurrent: Some(max),
            ..config::ClientPolicy::default()
        };
        let (clients, before, a) = renewed(&ClientRegistry::default(), own(1, 1));
        before.check_rate(&a).unwrap();
        let held = before.reserve_tokens(&a, 600).unwrap();
        let (slot, other) = (before.acquire(&a).unwrap(), before.acquire(&client("b")).unwrap());
        let (clients, same, a) = renewed(&clients, own(1, 1));
        assert_eq!(same.check_rate(&a).unwrap_err().limit, "rpm");
        assert_eq!(same.reserve_tokens(&a, 1).unwrap_err().limit, "tpm");
        assert!(same.acquire(&a).is_err() && same.acquire(&client("b")).is_err());
        let (clients, wider, a) = renewed(&clients, own(2, 2));
        assert!(wider.check_rate(&a).is_ok() && wider.acquire(&a).is_ok());
        assert!(wider.reserve_tokens(&a, 1).is_err());
        // Without limits of its own, a client has the defaults.
        let (clients, none, a) = renewed(&clients, config::ClientPolicy::default());
        assert!(none.check_rate(&a).is_ok() && none.acquire(&a).is_err());
        // The requests of a client that was removed in between are still in flight.
        let nobody = ClientRegistry::new(&[], Some(&clients), None).unwrap();
        let nobody = ClientRegistry::new(&[], Some(&nobody), None).unwrap();
        let (_, back, a) = renewed(&nobody, config::ClientPolicy::default());
        assert!(back.acquire(&a).is_err());
        drop((held, slot, other));
        assert!(back.acquire(&a).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_tracked_clients_is_bounded() {
        let limits = limits(|config| {
            config.tokens_per_minute = Some(600);
            config.requests_per_second = Some(1);
            config.max_tracked_clients = 3;
        });
        let held: Vec<_> = (0..50)
            .map(|i| {
                let _ = limits.check_rate(&client(&i.to_string()));
                limits.reserve_tokens(&client(&i.to_string()), 5)
            })
            .collect();
        assert!(limits.defaults.tokens.as_ref().unwrap().tracked() <= 4, "three and the overflow");
        assert!(limits.defaults.rate.as_ref().unwrap().tracked() <= 5);
        drop(held);
    }
}
