//! Requests that are larger than a whole quota, and the quotas for which that is to be expected.

use std::sync::atomic::Ordering;

use super::capabilities::default_max_output;
use super::demand::{QuotaDemand, RequestSize};
use super::target::Target;
use crate::config::Config;

/// A request that is larger than a whole quota, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// What the request reserves at its start.
    pub tokens: u64,
    /// Its input.
    pub input: u64,
    /// What the quota allows in a minute.
    pub quota: u64,
    /// Whether the output is the model's default maximum, since the request names none.
    pub is_default: bool,
}

/// Warnings about quotas into which a request without a maximum never fits.
pub fn warnings_about_small_quotas(config: &Config) -> Vec<String> {
    let short = config.targets.iter().filter_map(|target| {
        let shared = target.quota.and_then(|at| config.quotas.get(at));
        let quota = shared.map_or(target.tpm, |shared| shared.tpm)?;
        let known = config.facts_of(target);
        let default = default_max_output(target, known.as_deref());
        let assumed = target.assumed_max_output_tokens.map_or(default, |most| default.min(u64::from(most)));
        let name = &target.name;
        (assumed > quota).then(|| {
            format!(
                "target '{name}': a request without a maximum of output tokens takes {assumed} tokens of its quota \
                 and never fits into {quota} a minute: have clients name a maximum, or set \
                 assumed_max_output_tokens"
            )
        })
    });
    short.collect()
}

impl Target {
    /// Whether a request is too large for the whole configured quota, and by how much; then its throttle shows
    /// nothing about the target. At Bedrock a request without a maximum reserves the model's default, whatever
    /// is assumed here. Requests of a size that was answered before fit, whatever is configured.
    pub fn excess(&self, demand: QuotaDemand, size: &RequestSize) -> Option<Excess> {
        let quota = self.quota().configured_tpm().filter(|_| demand.draws_on_quota())?;
        let is_default = size.max_output.is_none();
        let output = match is_default {
            true if self.estimator.has_free_output() => 0,
            true => self.default_max_output,
            false => demand.max_output,
        };
        let input = demand.tokens().saturating_sub(demand.max_output);
        let tokens = input.saturating_add(output);
        let fits = quota.max(self.largest_answered.load(Ordering::Relaxed));
        (tokens > fits).then_some(Excess {
            tokens,
            input,
            quota,
            is_default: is_default && output > 0,
        })
    }
}
