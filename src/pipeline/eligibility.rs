//! Which targets of a route can serve a request at all, whatever their state: by the schema of its
//! body, the features that it uses, the policy of its client, and the budget of its client.

use super::context::RequestContext;
use super::gateway::rates;
use super::policy;
use crate::bedrock::body::Peek;
use crate::bedrock::{Api, Family, ModelId, Operation};
use crate::catalogue::Endpoint;
use crate::routing::{Capabilities, Route, Target};
use crate::telemetry::PassedOverReason;

/// What a request demands of its targets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Eligibility<'a> {
    pub(super) context: &'a RequestContext,
    pub(super) operation: Operation,
    /// The requested model.
    pub(super) model: &'a ModelId,
    /// The schema of the body, by [`family`].
    pub(super) family: Family,
    pub(super) peek: &'a Peek,
}

/// The family whose schema a body has. An opaque ARN does not show it; the first target of its route
/// does.
pub(super) fn family(model: &ModelId, route: &Route) -> Family {
    match model.family() {
        Family::Unknown => {
            let first = route.with_capabilities().next();
            first.map_or(Family::Unknown, |(_, capabilities)| capabilities.family)
        }
        family => family,
    }
}

impl Eligibility<'_> {
    /// Why the target at this position of the route can't be a candidate; `None` if it can. The
    /// first target is not a fallback, so only what it serves and the policy apply to it.
    pub(super) fn ineligible_reason(
        &self,
        position: usize,
        target: &Target,
        capabilities: &Capabilities,
    ) -> Option<PassedOverReason> {
        let lacks_guardrail =
            self.context.call.has_guardrail && capabilities.service != Endpoint::Runtime;
        if !capabilities.serves(self.operation) || lacks_guardrail {
            return Some(PassedOverReason::Surface);
        }
        if position > 0
            && let Some(reason) = self.unsupported_reason(target, capabilities)
        {
            return Some(reason);
        }
        (!policy::allows_target(self.context, target)).then_some(PassedOverReason::Policy)
    }

    /// Why a target can't be a fallback. The Converse schema is common to all models, except for its
    /// fields for a model's own parameters; any other body belongs to its model family. The target
    /// must support every feature that the request uses.
    fn unsupported_reason(
        &self,
        target: &Target,
        capabilities: &Capabilities,
    ) -> Option<PassedOverReason> {
        let is_requested_model = || target.is_model(self.model);
        let same_schema = self.operation.api() != Api::Bedrock
            || self.operation.is_converse() && !self.peek.has_model_fields
            || self.family != Family::Unknown && capabilities.family == self.family
            || is_requested_model();
        if !same_schema {
            return Some(PassedOverReason::Schema);
        }
        let missing = capabilities.lacks(self.peek, is_requested_model);
        (!missing.is_empty()).then_some(PassedOverReason::Feature(missing))
    }

    /// Whether the client has a budget that can't count what the target costs.
    pub(super) fn is_unpriced(&self, target: &Target) -> bool {
        let counts = self.context.account().is_some() && !self.operation.counts_tokens();
        counts && rates(&self.context.gateway().prices, target).is_none()
    }
}
