//! Which targets of a route can serve a request at all, whatever their state: by the schema of its
//! body, the features that it uses, the policy of its client, and the budget of its client.

use http::HeaderMap;

use super::context::RequestContext;
use super::gateway::rates;
use super::inbound::InternalRequest;
use super::policy;
use super::translations::{Way, source};
use super::unservable::Unservable;
use crate::api::messages_headers::BETA;
use crate::bedrock::betas::{self, FlaggedMember, Orphan};
use crate::bedrock::body::Peek;
use crate::bedrock::{Api, Family, Features, ModelId, Operation};
use crate::catalogue::Endpoint;
use crate::config::Translate;
use crate::routing::{Capabilities, Route, Target};
use crate::telemetry::PassedOverReason;

/// The features that a translation adapts to a model that lacks them, or refuses by name.
const ADAPTED: Features = Features::ADAPTED;

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
    /// The client's headers.
    pub(super) headers: &'a HeaderMap,
    /// Which requests are translated, by its route.
    pub(super) translate: Translate,
    /// Whether no target can get it as it came.
    pub(super) passes_none: bool,
}

/// The family whose schema a body has: that which the module says that made the request, else the model's. An opaque
/// ARN does not show it; the first target of its route does.
pub(super) fn family(model: &ModelId, route: &Route, chosen: Option<&InternalRequest>) -> Family {
    if let Some(family) = chosen.and_then(|chosen| chosen.body_family) {
        return family;
    }
    match model.family() {
        Family::Unknown => {
            let first = route.with_capabilities().next();
            first.map_or(Family::Unknown, |(_, capabilities)| capabilities.family)
        }
        family => family,
    }
}

impl Eligibility<'_> {
    /// How the target at this position of the route gets the request, or why it can't be a candidate. The
    /// first target is not a fallback, so only what it and its endpoint serve and the policy apply to it.
    pub(super) fn way(
        &self,
        position: usize,
        target: &Target,
        capabilities: &Capabilities,
    ) -> Result<Way, PassedOverReason> {
        let takes_guardrail = !self.context.call.has_guardrail
            || capabilities.service == Endpoint::Runtime
                && self.operation == Operation::CreateChatCompletion;
        let passes = !self.passes_none && takes_guardrail && capabilities.serves(self.operation);
        let is_native = passes
            && !self.is_for_another_family(capabilities)
            && !(self.is_ignored_format(capabilities) && self.may_translate(capabilities));
        let way = if is_native {
            Way::PassThrough
        } else if self.may_translate(capabilities) {
            Way::Translated(None)
        } else if passes {
            Way::PassThrough
        } else {
            return Err(PassedOverReason::Surface);
        };
        if way == Way::PassThrough
            && let Some(reason) = self.unpassable_reason(target, capabilities)
        {
            return Err(reason);
        }
        if position > 0
            && let Some(reason) = self.unsupported_reason(way, target, capabilities)
        {
            return Err(reason);
        }
        match policy::allows_target(self.context, target) {
            true => Ok(way),
            false => Err(PassedOverReason::Policy),
        }
    }

    /// Why the target at this position of the route can't be a candidate; `None` if it can.
    pub(super) fn ineligible_reason(
        &self,
        position: usize,
        target: &Target,
        capabilities: &Capabilities,
    ) -> Option<PassedOverReason> {
        self.way(position, target, capabilities).err()
    }

    /// Whether a native request is for another family than the target's, and is to be adapted to it.
    fn is_for_another_family(&self, capabilities: &Capabilities) -> bool {
        self.translate == Translate::Families
            && self.operation.api() == Api::Bedrock
            && source(self.operation, self.family).is_some()
            && self.family != Family::Unknown
            && self.family != capabilities.family
            && !capabilities.is_opaque
    }

    /// Whether the client asks for a form of the answer which the target's own API would leave aside without a word.
    fn is_ignored_format(&self, capabilities: &Capabilities) -> bool {
        capabilities.ignores_chat_formats
            && self.operation == Operation::CreateChatCompletion
            && self.peek.parameters.asks_for_json
    }

    /// Whether the request may be translated for the target.
    fn may_translate(&self, capabilities: &Capabilities) -> bool {
        let is_allowed = match self.operation.api() {
            Api::Bedrock => self.is_for_another_family(capabilities),
            _ => self.translate != Translate::Never,
        };
        let by_invoke = self.operation == Operation::CreateMessage
            && !self.context.call.has_guardrail
            && capabilities.is_invoked_claude();
        is_allowed
            && (capabilities.takes_translations() || by_invoke)
            && source(self.operation, self.family).is_some()
    }

    /// Why a target can't be a fallback. The Converse schema is common to all models, except for its
    /// fields for a model's own parameters; any other body belongs to its model family. The target
    /// must support every feature that the request uses; a translation adapts some of them.
    fn unsupported_reason(
        &self,
        way: Way,
        target: &Target,
        capabilities: &Capabilities,
    ) -> Option<PassedOverReason> {
        let is_requested_model = || target.is_model(self.model);
        if way != Way::PassThrough {
            let missing = capabilities.lacks(self.peek, is_requested_model).without(ADAPTED);
            return (!missing.is_empty()).then_some(PassedOverReason::Feature(missing));
        }
        let same_schema = self.operation.api() != Api::Bedrock
            || self.operation.is_converse() && !self.peek.has_model_fields
            || self.family != Family::Unknown && capabilities.family == self.family
            || is_requested_model();
        if !same_schema {
            return Some(PassedOverReason::Schema);
        }
        let missing = capabilities.lacks(self.peek, is_requested_model);
        let missing = missing.without(self.features_of_flags());
        (!missing.is_empty()).then_some(PassedOverReason::Feature(missing))
    }

    /// Why a request can't go to the target as it came, whatever its model is: its endpoint does not have what the
    /// request asks for.
    fn unpassable_reason(
        &self,
        target: &Target,
        capabilities: &Capabilities,
    ) -> Option<PassedOverReason> {
        let missing = capabilities.lacks_at_endpoint(self.operation, self.peek.features);
        if !missing.is_empty() {
            return Some(PassedOverReason::Feature(missing));
        }
        self.orphan(target).map(|_| PassedOverReason::BetaFlag)
    }

    /// A member of the request whose beta flag the target does not take. The body goes as it is, so the member would
    /// be ignored or refused there.
    pub(super) fn orphan(&self, target: &Target) -> Option<Orphan> {
        let members = self.peek.flagged;
        if members.is_empty() || self.operation.api() != Api::Messages {
            return None;
        }
        let flags = self.headers.get_all(&BETA);
        betas::orphan(flags, self.context.gateway().betas(target), members)
    }

    /// The features that a request asks for by members with a flag. Who takes the flag has the feature.
    fn features_of_flags(&self) -> Features {
        match self.operation.api() {
            Api::Messages if self.headers.contains_key(&BETA) => {
                self.peek.flagged.iter().map(FlaggedMember::feature).collect()
            }
            _ => Features::default(),
        }
    }

    /// Why no target of the route can be a candidate, where a client can do something about it.
    pub(super) fn refusal(&self, route: &Route) -> Option<Unservable> {
        let mut missing = Features::default();
        let mut orphan = None;
        for (position, (target, capabilities)) in route.with_capabilities().enumerate() {
            match self.ineligible_reason(position, target, capabilities)? {
                PassedOverReason::Policy => return None,
                PassedOverReason::Feature(features) => {
                    missing = [missing, features].into_iter().collect();
                }
                PassedOverReason::BetaFlag => orphan = orphan.or_else(|| self.orphan(target)),
                _ => {}
            }
        }
        let model = || self.model.to_string();
        match orphan {
            Some(orphan) => Some(Unservable::BetaFlag { model: model(), orphan }),
            None if missing.is_empty() => None,
            None => Some(Unservable::Features { model: model(), missing }),
        }
    }

    /// Whether the client has a budget that can't count what the target costs.
    pub(super) fn is_unpriced(&self, target: &Target) -> bool {
        let counts = self.context.account().is_some() && !self.operation.counts_tokens();
        counts && rates(&self.context.gateway().prices, target).is_none()
    }
}
