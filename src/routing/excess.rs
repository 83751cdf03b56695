//! Requests that are larger than a whole quota: how they are told, and the quotas that make for them.

use std::sync::atomic::Ordering;

use super::demand::{QuotaDemand, RequestSize};
use super::target::Target;
use crate::bedrock::catalogue::{self, ModelFacts};
use crate::bedrock::{ModelId, Usage};
use crate::config::{self, Config};

/// Output tokens of a model that nothing is known of, for a request that names no maximum.
const DEFAULT_MAX_OUTPUT: u64 = 4096;

/// By how much a request is larger than a whole quota, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// What the request takes at its start.
    pub tokens: u64,
    /// The input of that.
    pub input: u64,
    /// What the quota has in a minute.
    pub quota: u64,
    /// Whether the output is the model's own maximum, since the request names none.
    pub is_own: bool,
}

/// What an answer to a request without a maximum may have of a target's model.
pub(super) fn own_output(target: &config::Target, facts: Option<&ModelFacts>) -> u64 {
    let unknown = target.max_output_tokens.map_or(DEFAULT_MAX_OUTPUT, u64::from);
    facts.map_or(unknown, |facts| facts.most_output(unknown))
}

/// Warnings of quotas that are below what a request without a maximum takes at its start: it never fits.
pub fn short_quotas(config: &Config) -> Vec<String> {
    let short = config.targets.iter().filter_map(|target| {
        let shared = target.quota.and_then(|at| config.quotas.get(at));
        let quota = shared.map_or(target.tpm, |shared| shared.tpm)?;
        let model = ModelId::new(target.base_model.as_deref().unwrap_or(&target.model)).ok()?;
        let own = own_output(target, catalogue::lookup(&model));
        let assumed = target.assumed_max_output_tokens.map_or(own, |most| own.min(u64::from(most)));
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
    /// How a request is too large for the whole configured quota, if it is: then its throttle says
    /// nothing of the target. One without a maximum takes the model's own of Bedrock, whatever is
    /// assumed. What was answered before can fit, whatever is configured.
    pub fn excess(&self, demand: QuotaDemand, size: &RequestSize) -> Option<Excess> {
        let quota = self.quota().configured_tpm().filter(|_| demand.draws_on_quota())?;
        let is_own = size.max_output.is_none();
        let output = match is_own {
            true if self.estimator.has_free_output() => 0,
            true => self.own_output,
            false => demand.max_output,
        };
        let input = demand.tokens().saturating_sub(demand.max_output);
        let tokens = input.saturating_add(output);
        let fits = quota.max(self.largest_answered.load(Ordering::Relaxed));
        (tokens > fits).then_some(Excess { tokens, input, quota, is_own: is_own && output > 0 })
    }

    /// Learns from an answer that came to its end.
    pub(super) fn has_answered(&self, demand: QuotaDemand, size: &RequestSize, usage: &Usage) {
        let mut output = demand.max_output;
        if size.max_output.is_none() {
            self.estimator.learn_free_output(usage.output);
            output = self.own_output;
        }
        let tokens = demand.input.saturating_add(output);
        if self.largest_answered.load(Ordering::Relaxed) < tokens {
            self.largest_answered.fetch_max(tokens, Ordering::Relaxed);
        }
    }
}
