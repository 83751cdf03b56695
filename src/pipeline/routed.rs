//! A request with its candidates, and its state at each of them.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::request;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::candidate_state::{CandidateState, LeaveReason};
use super::context::RequestContext;
use super::headers::ForcedGuardrail;
use super::inbound::InternalRequest;
use super::relay::RelayPlan;
use super::responses::ResponsesCall;
use super::rewritten_body::Change;
use super::streaming_body::StreamingBody;
use super::translated_answer::TranslatedAnswer;
use super::translations::{Translations, Way};
use crate::api::messages_headers::BetaFlags;
use crate::bedrock::body::Peek;
use crate::bedrock::path::Call;
use crate::bedrock::sigv4::PayloadHash;
use crate::bedrock::{Api, Extras, Operation};
use crate::routing::access::Denial;
use crate::routing::{
    Bound, Candidate, Candidates, Excess, Permit, QuotaDemand, RequestSize, Route, Target,
    left_out_until,
};
use crate::upstream::ExpectedAnswer;

/// A request with the targets that can serve it.
#[derive(Debug)]
pub(super) struct RoutedRequest {
    pub(super) head: request::Parts,
    pub(super) context: Box<RequestContext>,
    pub(super) call: Call,
    /// The guardrail that the client's policy adds to the headers of each attempt.
    pub(super) guardrail: Option<ForcedGuardrail>,
    pub(super) body: Bytes,
    /// The body's hash, computed once, by the first that needs it.
    pub(super) hash: OnceLock<PayloadHash>,
    /// The events of a bidirectional stream, until they are sent.
    pub(super) events: Option<Box<StreamingBody>>,
    /// What was read of the body; empty if nothing needs to be read.
    pub(super) peek: Box<Peek>,
    /// How large the request is, as quotas count.
    pub(super) size: RequestSize,
    /// The state of its candidates, best first.
    pub(super) candidates: SmallVec<[CandidateState; 4]>,
    pub(super) route: Arc<Route>,
    /// From when on another model than the one asked for may answer. `None`: now.
    pub(super) fallback_from: Option<Instant>,
    /// Whether the request may still wait for a grant of the fleet's quota.
    pub(super) may_await_grant: bool,
    /// What is special to a request of the Responses API; `None` for all others.
    pub(super) responses: Option<Box<ResponsesCall>>,
    /// Whether it continues a response that the gateway keeps.
    pub(super) continues_kept: bool,
    /// Its translations; `None` if no candidate needs one.
    pub(super) translations: Option<Box<Translations>>,
    /// Its beta flags, as Messages has them in a header.
    pub(super) betas: BetaFlags,
}

impl RoutedRequest {
    /// The target of the candidate with this index.
    pub(super) fn target(&self, index: usize) -> Option<&Arc<Target>> {
        self.route.targets.get(self.candidates.get(index)?.position)
    }

    /// Whether the candidate with this index has the requested model, or the model that the config
    /// puts first in its place.
    pub(super) fn is_first_choice_model(&self, index: usize) -> bool {
        let Some((target, requested)) = self.target(index).zip(self.call.model()) else {
            return true;
        };
        self.route.is_first_choice(target, requested)
    }

    /// What the module says that made the request; `None` if a client did.
    pub(super) fn internal(&self) -> Option<&InternalRequest> {
        self.head.extensions.get::<InternalRequest>()
    }

    /// What the request would take of a target's quota.
    pub(super) fn demand(&self, target: &Target) -> QuotaDemand {
        let Some(model) = self.call.model() else { return QuotaDemand::default() };
        target.demand(self.call.operation, &self.size, model)
    }

    /// How the request is too large for a target's whole quota, if it is.
    pub(super) fn excess(&self, target: &Target) -> Option<Excess> {
        target.excess(self.demand(target), &self.size)
    }

    /// The most that the request can use of a target, if its client has a budget that reserves it.
    pub(super) fn bound(&self, target: &Target) -> Option<Bound> {
        self.context.guards.budget.as_ref()?;
        let model = self.call.model().filter(|_| !self.is_bidirectional())?;
        Some(target.bound(&self.size, model))
    }

    /// The candidates that the request has not given up on, best first; built lazily.
    pub(super) fn remaining(&self) -> impl Iterator<Item = Candidate> {
        let states = self.candidates.iter().enumerate();
        let remaining = states.filter(|(_, state)| state.leave_reason.is_none());
        remaining.filter_map(|(index, state)| {
            let mut candidate = self.candidate(index)?;
            let may_serve = state.is_last_resort || self.denial(&candidate.target).is_none();
            candidate.not_before =
                self.fallback_from.filter(|_| !self.is_first_choice_model(index));
            may_serve.then_some(candidate)
        })
    }

    /// Takes the best candidate that has quota left, if the queue is empty. Other models than the one asked
    /// for are left out while the request waits for that, or should wait for a grant of its quota.
    pub(super) fn enter(&self) -> Option<(usize, Permit)> {
        if self.fallback_from.is_none() {
            let may_enter = |candidate: &Candidate| {
                candidate.index == 0
                    || self.is_first_choice_model(candidate.index)
                    || self.grant_due(Instant::now()).is_none()
            };
            return self.route.enter(self.remaining().take_while(may_enter));
        }
        let mut candidates: Candidates = self.remaining().collect();
        if left_out_until(&candidates, Instant::now()).is_some() {
            candidates.retain(|candidate| candidate.not_before.is_none());
        }
        self.route.enter(candidates.into_iter())
    }

    /// Until when the request should wait for a grant of quota for the model that it asks for, which the fleet
    /// has left and this replica does not hold. `None` if it should not, or has waited.
    pub(super) fn grant_due(&self, now: Instant) -> Option<Instant> {
        if !self.may_await_grant {
            return None;
        }
        let mut own = self.remaining().filter(|it| self.is_first_choice_model(it.index));
        own.find_map(|candidate| candidate.grant_due(now))
    }

    /// Whether the candidate with this index has another model than the one that the request waits for.
    pub(super) fn is_left_out(&self, index: usize) -> bool {
        self.fallback_from.is_some() && !self.is_first_choice_model(index)
    }

    /// Notes that the request goes to the candidate with this index. Once it goes to another model
    /// than the one asked for, it does not wait for that any more.
    pub(super) fn goes_to(&mut self, index: usize) {
        if self.is_left_out(index) {
            self.fallback_from = None;
        }
    }

    /// Whether requests avoid the candidate with this index because it denies the operation.
    pub(super) fn is_denied(&self, index: usize) -> bool {
        let is_last_resort = self.candidates.get(index).is_some_and(|it| it.is_last_resort);
        !is_last_resort && self.target(index).is_some_and(|target| self.denial(target).is_some())
    }

    /// Notes the candidates that were passed over because others ahead in the queue claim their
    /// quotas.
    pub(super) fn set_claimed_by_others(&mut self, claimed_better: &[usize]) {
        for (index, candidate) in self.candidates.iter_mut().enumerate() {
            candidate.is_claimed_by_others = claimed_better.contains(&index);
        }
    }

    /// Leaves the candidates that are known to deny the operation. If no other remains, the best
    /// one is tried all the same: it may be repaired by now, and its own error is the most useful one for the client.
    pub(super) fn leave_denied(&mut self) {
        let mut remains = false;
        for index in 0..self.candidates.len() {
            let denial = self.target(index).and_then(|target| self.denial(target));
            let Some(candidate) = self.candidates.get_mut(index) else { continue };
            match denial {
                Some(denial) if !candidate.is_last_resort => {
                    candidate.leave_reason.get_or_insert(LeaveReason::Denied(denial.status));
                }
                _ => remains |= candidate.leave_reason.is_none(),
            }
        }
        if let Some(best) =
            self.candidates.first_mut().filter(|best| !remains && best.attempts == 0)
            && let Some(LeaveReason::Denied(_)) = best.leave_reason
        {
            (best.leave_reason, best.is_last_resort) = (None, true);
        }
    }

    /// Whether the candidate with this index is not known to deny the operation.
    pub(super) fn may_try(&self, index: usize, now: Instant) -> bool {
        let is_last_resort = self.candidates.get(index).is_some_and(|it| it.is_last_resort);
        let operation = self.call.model().map(|_| self.call.operation);
        let target = self.target(index);
        is_last_resort || target.is_some_and(|target| target.may_try(operation, now))
    }

    /// The answer that the client expects: of which API, and whether as a stream. A target that gets a
    /// translation gives another one.
    pub(super) fn expected(&self) -> ExpectedAnswer {
        let operation = self.call.operation;
        // A count is never a stream, whatever the body says.
        let asks = self.peek.parameters.stream && !operation.counts_tokens();
        ExpectedAnswer { api: operation.api(), streams: operation.is_stream() || asks }
    }

    /// Whether the upstream is asked for the usage of a stream, which the client does not want to see.
    pub(super) fn hides_usage(&self) -> bool {
        let parameters = &self.peek.parameters;
        let is_chat = self.call.operation == Operation::CreateChatCompletion;
        is_chat && parameters.stream && !parameters.include_usage
    }

    /// How a success of this target is relayed.
    pub(super) fn relay_plan(
        &self,
        target: &Target,
        answer: Option<Box<TranslatedAnswer>>,
    ) -> RelayPlan {
        let ExpectedAnswer { api, streams } = self.expected();
        if answer.is_some() {
            let translated = self.translated(target).ok().flatten();
            let dropped_betas = translated.and_then(|it| it.dropped_betas.clone());
            let plan = RelayPlan::default();
            return RelayPlan { api, streams, translated: answer, dropped_betas, ..plan };
        }
        let responses = self.responses.as_ref();
        RelayPlan {
            api,
            streams,
            change: target.counts_by_runtime(self.call.operation).then_some(Change::CountTokens),
            translated: None,
            hides_usage: self.hides_usage(),
            ids: responses.and_then(|it| it.sealer(self.context.gateway(), target)),
            dropped_betas: match api {
                Api::Messages => {
                    let table = self.context.gateway().betas(target);
                    let endpoint = target.capabilities().service;
                    self.betas.dropped(&self.head.headers, endpoint, table)
                }
                _ => None,
            },
        }
    }

    /// Whether the request is a bidirectional stream. Such a request has one attempt.
    pub(super) fn is_bidirectional(&self) -> bool {
        self.call.operation == Operation::InvokeModelWithBidirectionalStream
    }

    /// Counts an attempt on the candidate with this index, and returns how many there were.
    pub(super) fn count_attempt(&mut self, index: usize) -> u32 {
        self.candidates.get_mut(index).map_or(0, |candidate| {
            candidate.attempts += 1;
            candidate.attempts
        })
    }

    /// Records that the request gives up on the candidate with this index. After a failure, which has
    /// cost time already, it does not wait for another target of the same model.
    pub(super) fn give_up_on(&mut self, index: usize, reason: LeaveReason) {
        let target_name = self.target(index).map_or("", |target| &target.name);
        let status = reason.status().map(|status| status.as_u16());
        tracing::debug!(target_name, ?reason, status, "the request gives up on the target");
        if let Some(candidate) = self.candidates.get_mut(index) {
            candidate.leave_reason = Some(reason);
        }
        if reason.is_failure() {
            self.fallback_from = None;
            self.may_await_grant = false;
        }
    }

    /// Takes a permit for another candidate than this one, if one has quota left.
    pub(super) fn acquire_other(&self, index: usize) -> Option<(usize, Permit)> {
        let is_ready = |other: &Candidate| {
            let way = self.candidates.get(other.index).map(|it| it.way);
            way != Some(Way::Translated(None))
        };
        self.route.enter(self.others(index, Instant::now()).filter(is_ready))
    }

    /// Whether a candidate other than this one would take the request now, as far as cooldowns show.
    pub(super) fn has_free_alternative(&self, index: usize) -> bool {
        let now = Instant::now();
        self.others(index, now).any(|other| other.target.is_free(other.demand, now))
    }

    /// The remaining candidates but this one, without those that the request may not use yet.
    fn others(&self, index: usize, now: Instant) -> impl Iterator<Item = Candidate> {
        self.remaining().filter(move |candidate| {
            candidate.index != index && candidate.not_before.is_none_or(|from| from <= now)
        })
    }

    /// What the request asks for besides its model. Its headers are those that go upstream.
    pub(super) fn extras(&self) -> Extras {
        Extras::of(self.call.operation, &self.head.headers, &self.body)
    }

    fn denial(&self, target: &Target) -> Option<Denial> {
        target.denial(self.call.model().map(|_| self.call.operation))
    }

    /// The candidate with this index.
    pub(super) fn candidate(&self, index: usize) -> Option<Candidate> {
        let target = self.target(index)?;
        let demand = self.demand(target);
        Some(Candidate { index, target: Arc::clone(target), demand, not_before: None })
    }
}
