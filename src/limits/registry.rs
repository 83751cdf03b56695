//! The registry of the config's clients: one record for each, with its policy, limits and budget.
//!
//! Authentication finds the record with one lookup, and later steps need no lookup: with many clients each
//! lookup misses the CPU's caches. A reload builds new records. An unchanged limit keeps its used part.
//! The count of requests in flight continues, even for a client that is removed and added again.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use tokio::time::Instant;

use super::budget::{BudgetLedgers, ClientBudget};
use super::concurrency::ConcurrencyCounter;
use super::overrides::Overrides;
use super::policy::Policy;
use super::rate::RequestRate;
use crate::config;
use crate::fleet::Fleet;
use crate::quota::QueueSignal;
use crate::telemetry::LabelId;

/// A client of the config.
#[derive(Debug)]
#[repr(C)]
pub struct ClientRecord {
    /// Its name.
    pub name: Arc<str>,
    policy: Option<Box<Policy>>,
    account: Option<Arc<ClientBudget>>,
    pub(super) overrides: Overrides,
    pub(super) concurrency: Arc<ConcurrencyCounter>,
    /// The label id of its name.
    pub label_id: LabelId,
}

impl ClientRecord {
    /// The client's policy; `None` if everything is allowed.
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_deref()
    }

    /// The client's requests in flight, at this replica.
    pub fn in_flight(&self) -> u32 {
        self.concurrency.count()
    }

    /// The client's budget; `None` without one.
    pub fn account(&self) -> Option<&Arc<ClientBudget>> {
        self.account.as_ref()
    }
}

/// The rates of all clients that have one of their own, by requests per minute.
type RateLimits = HashMap<NonZeroU32, Arc<RequestRate>>;

/// The clients of the config, by name.
#[derive(Debug, Default)]
pub struct ClientRegistry {
    by_name: HashMap<Arc<str>, Arc<ClientRecord>>,
    /// The counters of removed clients, while they have requests in flight.
    removed: HashMap<Arc<str>, Weak<ConcurrencyCounter>>,
    rates: RateLimits,
    ledgers: Arc<BudgetLedgers>,
    /// The quotas' signal, unused: no request queues for a limit of its client.
    signal: Arc<QueueSignal>,
}

impl ClientRegistry {
    /// The records of these clients, which take over the state of the older config's records, `before`.
    /// With a `fleet`, its replicas share the limits.
    ///
    /// # Errors
    /// If a pattern of a policy is invalid, which the config has checked.
    pub fn new(
        clients: &[config::ClientConfig],
        before: Option<&ClientRegistry>,
        fleet: Option<&Fleet>,
    ) -> Result<ClientRegistry, config::GlobError> {
        let ledgers = before.map(|before| Arc::clone(&before.ledgers)).unwrap_or_default();
        let signal = before.map(|before| Arc::clone(&before.signal)).unwrap_or_default();
        let mut rates = RateLimits::default();
        let mut rate = |rpm| {
            let kept = before.and_then(|before| before.rates.get(&rpm));
            let kept = || kept.map_or_else(|| Arc::new(RequestRate::per_minute(rpm)), Arc::clone);
            Arc::clone(rates.entry(rpm).or_insert_with(kept))
        };
        let (now, today) = (Instant::now(), SystemTime::now());
        let mut by_name = HashMap::with_capacity(clients.len());
        for client in clients {
            let name: Arc<str> = client.name.as_str().into();
            let old = before.and_then(|before| before.by_name.get(&name));
            let removed = || before?.removed.get(&name)?.upgrade();
            let concurrency = old.map(|old| Arc::clone(&old.concurrency)).or_else(removed);
            let limits = old.map(|old| &old.overrides);
            let record = ClientRecord {
                policy: Policy::of(&client.policy)?.map(Box::new),
                account: ClientBudget::of(client, &ledgers, today),
                overrides: Overrides::new(client, limits, &mut rate, fleet, &signal, now),
                concurrency: concurrency.unwrap_or_default(),
                label_id: LabelId::default(),
                name: Arc::clone(&name),
            };
            by_name.insert(name, Arc::new(record));
        }
        // A shared rate must not keep the state of removed clients.
        rates.values().for_each(|rate| rate.sweep());
        let removed = before.map(|before| before.removed_after(&by_name)).unwrap_or_default();
        Ok(ClientRegistry { by_name, removed, rates, ledgers, signal })
    }

    /// The counters of clients that a newer config does not name, if they are still in use.
    fn removed_after(
        &self,
        newer: &HashMap<Arc<str>, Arc<ClientRecord>>,
    ) -> HashMap<Arc<str>, Weak<ConcurrencyCounter>> {
        let named = self.by_name.iter();
        let named = named.map(|(name, record)| (name, Arc::downgrade(&record.concurrency)));
        let removed = self.removed.iter().map(|(name, counter)| (name, Weak::clone(counter)));
        let all = named.chain(removed);
        let removed =
            all.filter(|(name, counter)| !newer.contains_key(*name) && counter.strong_count() > 0);
        removed.map(|(name, counter)| (Arc::clone(name), counter)).collect()
    }

    /// The client of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<ClientRecord>> {
        self.by_name.get(name)
    }

    /// Every client.
    pub fn all(&self) -> impl Iterator<Item = &ClientRecord> {
        self.by_name.values().map(AsRef::as_ref)
    }

    /// What the clients have spent.
    pub fn ledgers(&self) -> &Arc<BudgetLedgers> {
        &self.ledgers
    }
}
