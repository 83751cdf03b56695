//! What a request has used of its targets, as far as is known while it goes on and at its end.
//!
//! An answer's own token counts are what it used. If the answer ends before it reports them, an
//! estimate of what was relayed counts. If a client with a budget could gain from leaving early, it
//! is charged the most that the rest can have been.

use std::sync::Arc;

use super::CallInfo;
use crate::bedrock::{Operation, ServiceTier, Usage};
use crate::limits::{Cost, Prices, ServiceLevel};
use crate::pipeline::gateway::rates;
use crate::routing::{Bound, Target};

/// Written by the attempts (`in_flight`, `bound`, `lost_attempts`) and by the relay (the rest).
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Consumption {
    /// The target that was asked and has not answered yet, and the input tokens that it was sent.
    pub(in crate::pipeline) in_flight: Option<(Arc<Target>, u64)>,
    /// The most that the request can use of the target that it was sent to last, if its client is
    /// charged that for what no answer reports.
    pub(in crate::pipeline) bound: Option<Bound>,
    /// The usage that a stream reported at its beginning.
    pub(in crate::pipeline) initial_usage: Option<Usage>,
    /// The usage that the answer reported.
    pub(super) reported: Option<Usage>,
    /// The service tier in the headers of the answer.
    pub(in crate::pipeline) served_tier: Option<ServiceTier>,
    /// An estimate of the usage of what was relayed so far.
    pub(super) relayed: Option<Usage>,
    /// The attempts that the target processed although no usable answer came: it came too late, or
    /// in a content encoding. The cost of all such attempts; target and usage are those of the last.
    lost_attempts: Option<Box<Used>>,
}

/// What a request has used of a target.
#[derive(Clone, Debug)]
pub(super) struct Used {
    pub(super) target: Arc<Target>,
    pub(super) usage: Usage,
    /// Whether the answer did not report it.
    pub(super) is_estimated: bool,
    /// The service tier that served it: as the answer says, else as the request asked.
    pub(super) tier: ServiceTier,
    /// Whether the request or the answer names a tier.
    pub(super) has_named_tier: bool,
    /// What it cost, if the model has a price.
    pub(super) cost: Option<Cost>,
}

/// What the cost of a request depends on, beside its tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct PriceTerms<'a> {
    pub(super) prices: &'a Prices,
    pub(super) operation: Option<Operation>,
    /// The service tier that the request asks for.
    asked: Option<ServiceTier>,
    is_latency_optimized: bool,
    /// Whether the answer is a stream, of which a client that leaves pays what came.
    is_stream: bool,
}

impl PriceTerms<'_> {
    /// Those of a call.
    pub(super) fn of<'a>(prices: &'a Prices, call: &CallInfo) -> PriceTerms<'a> {
        PriceTerms {
            prices,
            operation: call.operation,
            asked: call.tier,
            is_latency_optimized: call.is_latency_optimized,
            is_stream: call.streams,
        }
    }
}

impl Consumption {
    /// Notes the usage that the answer reported. An answer about a stored response reports what was used when
    /// that was made, and counted then.
    pub(in crate::pipeline) fn report(
        &mut self,
        usage: Option<Usage>,
        operation: Option<Operation>,
    ) {
        self.reported = usage.filter(|_| !operation.is_some_and(Operation::is_on_stored_response));
    }

    /// What the request has used; `answered_by` is the target that answered. Counting tokens uses
    /// nothing, nor does what concerns a stored response. A failed attempt uses nothing either, except for those of
    /// [`Consumption::add_lost_attempt`]. If the client left while a target worked on the request,
    /// the input counts.
    pub(super) fn used(
        &self,
        answered_by: Option<&Arc<Target>>,
        terms: PriceTerms<'_>,
    ) -> Option<Used> {
        let uses_nothing = |it: Operation| it.counts_tokens() || it.is_on_stored_response();
        if terms.operation.is_some_and(uses_nothing) {
            return None;
        }
        let estimate = |relayed: Usage| self.estimate_unreported(relayed, terms);
        let usage = self.reported.or_else(|| self.relayed.map(estimate));
        let usage = usage.map(|usage| Usage { tier: self.served_tier.or(usage.tier), ..usage });
        let given_up = self
            .in_flight
            .as_ref()
            .map(|(target, input)| (target, estimate(Usage { input: *input, ..Usage::default() })));
        let Some((target, usage)) = answered_by.zip(usage).or(given_up) else {
            return self.lost_attempts.as_deref().cloned();
        };
        let used = used_of(target, usage, self.reported.is_none(), terms);
        let lost = self.lost_attempts.as_ref().and_then(|lost| lost.cost);
        Some(Used { cost: used.cost.map(|cost| with_lost(cost, lost)), ..used })
    }

    /// Adds an attempt that the target processed although no usable answer came. Returns what it
    /// cost; `None` if the client is not charged for that.
    pub(super) fn add_lost_attempt(
        &mut self,
        target: &Arc<Target>,
        input: u64,
        terms: PriceTerms<'_>,
    ) -> Option<u64> {
        self.bound.as_ref()?;
        let usage = self.estimate_unreported(Usage { input, ..Usage::default() }, terms);
        let used = used_of(target, usage, true, terms);
        let before = self.lost_attempts.take().and_then(|lost| lost.cost);
        let nanos = used.cost.map_or(0, |cost| cost.nanos);
        let cost = used.cost.map(|cost| with_lost(cost, before)).or(before);
        self.lost_attempts = Some(Box::new(Used { cost, ..used }));
        Some(nanos)
    }

    /// Estimates the usage of an answer that reported none, from what was relayed (`relayed`).
    fn estimate_unreported(&self, relayed: Usage, terms: PriceTerms<'_>) -> Usage {
        let usage = match self.initial_usage {
            Some(initial) => Usage { output: relayed.output, ..initial },
            None => relayed,
        };
        let Some(bound) = &self.bound else { return usage };
        let input =
            if self.initial_usage.is_some() { usage.input } else { bound.unreported_input() };
        let most = bound.unreported_output();
        let output = match terms.operation {
            // Its bound is about what comes between two reports.
            Some(Operation::InvokeModelWithBidirectionalStream) => usage.output,
            // No more came than the request allows, however long its text is.
            _ if terms.is_stream => usage.output.min(most),
            // A target completes an answer without a stream even if the client has gone.
            _ => most,
        };
        Usage { input, output, ..usage }
    }
}

/// What `usage` costs at `target`, if its model has a price.
pub(super) fn cost(target: &Target, usage: &Usage, terms: PriceTerms<'_>) -> Option<Cost> {
    let tier = usage.tier.or(terms.asked).unwrap_or(ServiceTier::Standard);
    let level = ServiceLevel { tier, is_latency_optimized: terms.is_latency_optimized };
    Some(rates(terms.prices, target)?.cost(usage, level))
}

/// A cost with that of lost attempts.
fn with_lost(cost: Cost, lost: Option<Cost>) -> Cost {
    let lost = lost.map_or(0, |lost| lost.nanos);
    Cost { nanos: cost.nanos.saturating_add(lost), ..cost }
}

fn used_of(target: &Arc<Target>, usage: Usage, is_estimated: bool, terms: PriceTerms<'_>) -> Used {
    let named = usage.tier.or(terms.asked);
    Used {
        target: Arc::clone(target),
        usage,
        is_estimated,
        tier: named.unwrap_or(ServiceTier::Standard),
        has_named_tier: named.is_some(),
        cost: cost(target, &usage, terms),
    }
}
