//! The limits that one client of the config has of its own, in place of the defaults.

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::time::Instant;

use super::quotas::client_quota;
use super::rate::RequestRate;
use crate::config;
use crate::fleet::Fleet;
use crate::quota::{QueueSignal, Quota, QuotaLimits};

/// The limits of one client. A limit that is not set is the default's.
#[derive(Clone, Debug, Default)]
pub(super) struct Overrides {
    /// Requests per minute, without a fleet.
    pub(super) rate: Option<Arc<RequestRate>>,
    /// Requests per minute in a fleet.
    shared_rate: Option<(NonZeroU32, Arc<Quota>)>,
    /// Tokens per minute.
    tokens: Option<(u64, Arc<Quota>)>,
    /// Requests in flight.
    pub(super) max_concurrent: Option<u32>,
}

impl Overrides {
    /// The limits of a client. One that is the same `before` keeps what was used of it. `rate` gives
    /// the limit of a rate that clients share where no fleet does.
    pub(super) fn new(
        client: &config::ClientConfig,
        before: Option<&Overrides>,
        rate: &mut impl FnMut(NonZeroU32) -> Arc<RequestRate>,
        fleet: Option<&Fleet>,
        signal: &Arc<QueueSignal>,
        now: Instant,
    ) -> Overrides {
        let policy = &client.policy;
        let quota = |kind, limits| client_quota(kind, &client.name, &limits, fleet, signal, now);
        let rpm = policy.rpm.and_then(NonZeroU32::new);
        let shared_rate = rpm.filter(|_| fleet.is_some()).map(|rpm| {
            let kept = before.and_then(|before| before.shared_rate.clone());
            let limits = QuotaLimits { rpm: Some(rpm.get()), ..QuotaLimits::default() };
            kept.filter(|kept| kept.0 == rpm).unwrap_or_else(|| (rpm, quota("own-rate", limits)))
        });
        let tokens = policy.tpm.map(|tpm| {
            let kept = before.and_then(|before| before.tokens.clone());
            let limits = QuotaLimits { tpm: Some(tpm), ..QuotaLimits::default() };
            kept.filter(|kept| kept.0 == tpm).unwrap_or_else(|| (tpm, quota("own-tokens", limits)))
        });
        let rate = rpm.filter(|_| fleet.is_none()).map(rate);
        Overrides { rate, shared_rate, tokens, max_concurrent: policy.max_concurrent }
    }

    /// The quota of requests in a fleet.
    pub(super) fn shared_rate(&self) -> Option<&Arc<Quota>> {
        self.shared_rate.as_ref().map(|(_, quota)| quota)
    }

    /// The quota of tokens.
    pub(super) fn tokens(&self) -> Option<&Arc<Quota>> {
        self.tokens.as_ref().map(|(_, quota)| quota)
    }
}
