//! The quotas that a config gives its targets.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::further_quotas::FurtherQuotas;
use super::target::shared_name;
use super::target_group::TargetGroup;
use crate::bedrock::ModelId;
use crate::config::{self, Config};
use crate::fleet::{Fleet, Lease};
use crate::quota::{DailyQuotas, Learning, QueueSignal, Quota, QuotaLimits, SAFETY_MARGIN};

/// What the quotas of one target are built from.
pub(super) struct TargetQuotas<'a> {
    pub(super) config: &'a Config,
    pub(super) target: &'a config::Target,
    pub(super) signal: &'a Arc<QueueSignal>,
    pub(super) fleet: Option<&'a Fleet>,
    pub(super) now: Instant,
}

impl TargetQuotas<'_> {
    /// The target's own quota of a minute.
    pub(super) fn own(&self) -> Arc<Quota> {
        let config::Target { rpm, tpm, input_tpm, output_tpm, .. } = *self.target;
        let limits = QuotaLimits { rpm, tpm, input_tpm, output_tpm, ..QuotaLimits::default() };
        self.quota(limits, "")
    }

    /// The quotas that the target draws on besides.
    pub(super) fn further(&self, daily_quotas: &DailyQuotas) -> Option<Box<FurtherQuotas>> {
        let config::Target { name, tpd, quota, daily_quota, .. } = self.target;
        let own = tpd.zip(self.shared_name());
        let own = own.map(|(tpd, key)| daily_quotas.of(&key, name, tpd));
        let named = [*quota, *daily_quota].into_iter().flatten().filter_map(|at| {
            let config::Quota { name, tpd, .. } = self.config.quotas.get(at)?;
            Some(daily_quotas.of(&quota_key(name), name, (*tpd)?))
        });
        FurtherQuotas::new(own.into_iter().chain(named).collect(), self.reserved())
    }

    /// The capacity that is reserved for the service tier `reserved`.
    fn reserved(&self) -> Option<Arc<Quota>> {
        let input_tpm = self.target.reserved_input_tpm;
        let output_tpm = self.target.reserved_output_tpm;
        let is_given = input_tpm.or(output_tpm).is_some();
        let limits = QuotaLimits { input_tpm, output_tpm, ..QuotaLimits::default() };
        is_given.then(|| self.quota(limits, "|reserved"))
    }

    /// A quota that all replicas know by the target's name and `suffix`.
    fn quota(&self, limits: QuotaLimits, suffix: &str) -> Arc<Quota> {
        let lease = self.fleet.zip(self.shared_name());
        let lease = lease.map(|(fleet, name)| fleet.lease(&format!("{name}{suffix}")));
        quota(self.config, limits, self.signal, lease, self.now)
    }

    fn shared_name(&self) -> Option<String> {
        let config::Target { name, region, model, .. } = self.target;
        Some(shared_name(name, region, &ModelId::new(model).ok()?))
    }
}

/// The quotas of a minute that several targets draw on, in the config's order; `None` for one that no target uses.
pub(super) fn shared_quotas(
    config: &Config,
    groups: &[Arc<TargetGroup>],
    fleet: Option<&Fleet>,
    now: Instant,
) -> Vec<Option<Arc<Quota>>> {
    let mut users = HashMap::new();
    for (user, target) in config.targets.iter().enumerate() {
        target.quota.map(|quota| users.entry(quota).or_insert(user));
    }
    let shared = config.quotas.iter().enumerate().map(|(index, shared)| {
        let user = *users.get(&index)?;
        let lease = fleet.map(|fleet| fleet.lease(&quota_key(&shared.name)));
        let config::Quota { rpm, tpm, input_tpm, output_tpm, .. } = *shared;
        let limits = QuotaLimits { rpm, tpm, input_tpm, output_tpm, ..QuotaLimits::default() };
        Some(quota(config, limits, groups.get(user)?.signal(), lease, now))
    });
    shared.collect()
}

/// The name by which all replicas know a quota. No target has such a name.
fn quota_key(name: &str) -> String {
    format!("|{name}")
}

/// A quota with these limits, for the rest as the config says.
pub(super) fn quota(
    config: &Config,
    limits: QuotaLimits,
    signal: &Arc<QueueSignal>,
    lease: Option<Lease>,
    now: Instant,
) -> Arc<Quota> {
    let (floor_rpm, floor_tpm) = (config.learning.floor_rpm, config.learning.floor_tpm);
    let limits = QuotaLimits { floor_rpm, floor_tpm, safety_margin: SAFETY_MARGIN, ..limits };
    let learning = Learning::from(&config.learning);
    let signal = Arc::clone(signal);
    match lease {
        Some(lease) => Quota::shared(&limits, learning, signal, lease, now),
        None => Arc::new(Quota::new(&limits, learning, signal, now)),
    }
}
