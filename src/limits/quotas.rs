//! Limits of clients that are kept as quotas, as those of targets are: tokens per minute, and in a
//! fleet the rate of requests. A quota that replicas share is a lease.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::time::Instant;

use super::tracking::{OVERFLOW, SweepTimer};
use crate::fleet::Fleet;
use crate::quota::{Learning, QueueSignal, Quota, QuotaLimits};

/// Longest key that is part of a lease's name as it stands.
const MAX_KEY_IN_LEASE: usize = 128;

/// One limit that is the same for each client, with the quota of each client by its key.
#[derive(Debug)]
pub(super) struct ClientQuotas {
    /// Distinguishes its leases from those of other limits.
    kind: &'static str,
    limits: QuotaLimits,
    max_tracked: usize,
    by_client: DashMap<Arc<str>, Arc<Quota>>,
    sweep: SweepTimer,
}

impl ClientQuotas {
    pub(super) fn new(kind: &'static str, limits: QuotaLimits, max_tracked: usize) -> ClientQuotas {
        let (by_client, sweep) = (DashMap::new(), SweepTimer::default());
        ClientQuotas { kind, limits, max_tracked, by_client, sweep }
    }

    /// The quota of a client. Clients beyond the bound share one.
    pub(super) fn get(
        &self,
        key: &Arc<str>,
        fleet: Option<&Fleet>,
        signal: &Arc<QueueSignal>,
        now: Instant,
    ) -> Arc<Quota> {
        let tracked = self.by_client.get(key).map(|quota| Arc::clone(&quota));
        tracked.unwrap_or_else(|| self.track(key, fleet, signal, now))
    }

    fn track(
        &self,
        key: &Arc<str>,
        fleet: Option<&Fleet>,
        signal: &Arc<QueueSignal>,
        now: Instant,
    ) -> Arc<Quota> {
        let is_full = || self.by_client.len() >= self.max_tracked;
        if is_full() && self.sweep.is_due(now) {
            // A client that has its whole quota loses nothing.
            self.by_client.retain(|_, quota| !quota.is_idle(now));
        }
        let key = if is_full() { OVERFLOW.into() } else { Arc::clone(key) };
        let new = || client_quota(self.kind, &key, &self.limits, fleet, signal, now);
        Arc::clone(&self.by_client.entry(Arc::clone(&key)).or_insert_with(new))
    }

    /// The number of clients that are tracked.
    #[cfg(test)]
    pub(super) fn tracked(&self) -> usize {
        self.by_client.len()
    }
}

/// A new quota of one client, leased where there is a fleet.
pub(super) fn client_quota(
    kind: &str,
    client: &str,
    limits: &QuotaLimits,
    fleet: Option<&Fleet>,
    signal: &Arc<QueueSignal>,
    now: Instant,
) -> Arc<Quota> {
    let signal = Arc::clone(signal);
    match fleet {
        Some(fleet) => {
            Quota::overdrawable(limits, signal, fleet.lease(&lease_name(kind, client)), now)
        }
        None => Arc::new(Quota::new(limits, Learning::off(), signal, now)),
    }
}

/// The name of a client's limit among the replicas. A long key is hashed: headers may hold any.
fn lease_name(kind: &str, client: &str) -> String {
    if client.len() <= MAX_KEY_IN_LEASE {
        return format!("client|{kind}|{client}");
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, client.as_bytes());
    format!("client|{kind}|sha256:{}", hex::encode(digest.as_ref()))
}
