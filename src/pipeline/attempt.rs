//! The attempt loop: admit to a target, sign and send; repeat until there is an answer.
//!
//! What follows a failed attempt is decided in `decide.rs`, by the failure's class. After a success
//! there is no other attempt; `relay` owns its bytes. A bidirectional stream goes through the same
//! loop, with one attempt: its events can't be sent twice.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use http::Response;
use tokio::time::Instant;
use tower::Service;

use super::admit::{Admission, admit};
use super::best_failure::BestFailure;
use super::context::attempt_result;
use super::deadline::{self, WaitBudget};
use super::decide::{Decision, NextStep, decide};
use super::denial;
use super::error::{GatewayError, RequestError};
use super::fallback_wait::fallback_from;
use super::gateway::Gateway;
use super::headers::strip_for_upstream;
use super::hedge::{self, Hedge};
use super::held_answer;
use super::keeping;
use super::own_answer;
use super::passed_over;
use super::relay::{self, RelayPlan, ResponseBody, ResponseDeadline};
use super::responses;
use super::routed::RoutedRequest;
use super::translated_answer::{Receiver, Sent, TranslatedAnswer, Unheld};
use super::translations::Translated;
use super::upstream_request;
use super::{bidirectional, shortage};
use crate::bedrock::Api;
use crate::bridge::Stamp;
use crate::quota::InFlightGuard;
use crate::routing::{ActiveReservation, Permit, Target};
use crate::system::time::sleep_until;
use crate::telemetry::Choice;
use crate::telemetry::SUCCESS;
use crate::upstream::{ExpectedAnswer, Failure, FailureClass, Reply, Success, TimeLimit};

/// The outcome of an attempt that a hedge overtook, and of a hedge that lost.
const HEDGE_LOST: &str = "hedge_lost";

/// The innermost service: from a routed request to an answer.
#[derive(Clone, Debug)]
pub(super) struct Attempts;

impl Service<Box<RoutedRequest>> for Attempts {
    type Response = Response<ResponseBody>;
    type Error = RequestError;
    type Future =
        Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, RequestError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, routed: Box<RoutedRequest>) -> Self::Future {
        Box::pin(answer(routed))
    }
}

async fn answer(mut routed: Box<RoutedRequest>) -> Result<Response<ResponseBody>, RequestError> {
    let gateway = Arc::clone(routed.context.gateway());
    let deadline = deadline::deadline(&routed);
    let wait_budget = deadline::wait_budget(&routed, deadline);
    routed.fallback_from = fallback_from(&routed, &wait_budget);
    // The gateway has read all that it needs of the client's headers.
    let forwarded = &gateway.config.upstream.forward_headers;
    strip_for_upstream(&mut routed.head.headers, routed.call.operation.api(), forwarded);
    if let Some(guardrail) = routed.guardrail.take() {
        guardrail.set(&mut routed.head.headers);
    }
    let mut attempts = AttemptLoop {
        gateway,
        routed,
        wait_budget,
        deadline,
        preferred: None,
        best: BestFailure::default(),
        last_failure: None,
        best_failure_reason: None,
    };
    let mut outcome = attempts.run().await;
    if outcome.as_ref().is_err_and(GatewayError::found_no_target) {
        passed_over::note_unanswered(&mut attempts.routed);
    }
    let has_own_deadline = attempts.routed.is_bidirectional();
    match &outcome {
        Ok(Answer::Success(_, reservation, _)) => {
            attempts.routed.note_translation(reservation.target());
        }
        Ok(Answer::Failure(_, target)) => attempts.routed.note_translation(target),
        Err(_) => {}
    }
    if let Ok(Answer::Success(success, _, Some(answer))) = &mut outcome
        && let Some(keeper) = responses::keeper(&attempts.routed)
    {
        // Boxed: few are kept.
        Box::pin(keeping::keep(keeper, success, answer)).await;
    }
    let plan = match &mut outcome {
        Ok(Answer::Success(_, reservation, answer)) => {
            Some(attempts.routed.relay_plan(reservation.target(), answer.take()))
        }
        _ => None,
    };
    let RoutedRequest { mut context, call, body, size, .. } = *attempts.routed;
    // No further attempt needs the body; what keeps a response may.
    drop(body);
    let is_held = plan.as_ref().is_some_and(RelayPlan::holds_request);
    let share = context.guards.in_flight.as_mut().filter(|_| !is_held);
    share.into_iter().for_each(InFlightGuard::release_body);
    match outcome {
        Ok(Answer::Success(success, reservation, _)) => {
            let operation = call.operation;
            let plan = plan.unwrap_or_default();
            let mut response =
                relay::success(context, operation, plan, *success, reservation, size, deadline);
            if has_own_deadline {
                response.extensions_mut().insert(ResponseDeadline(deadline));
            }
            if response.body().holds_all() {
                response = Box::pin(held_answer::whole(response)).await;
            }
            Ok(response)
        }
        Ok(Answer::Failure(failure, target)) => Ok(own_answer::failure(context, failure, target)),
        Err(error) => Err(RequestError { error, context }),
    }
}

enum Answer {
    Success(Box<Success>, ActiveReservation, Option<Box<TranslatedAnswer>>),
    Failure(Failure, Arc<Target>),
}

/// An attempt that has ended.
struct AttemptResult {
    index: usize,
    permit: Permit,
    sent: Sent,
    took: Duration,
}

struct AttemptLoop {
    gateway: Arc<Gateway>,
    routed: Box<RoutedRequest>,
    wait_budget: WaitBudget,
    /// When the whole request must have been answered. Each wait checks it, so the loop needs no
    /// timer of its own.
    deadline: Instant,
    /// The candidate that is tried again.
    preferred: Option<usize>,
    best: BestFailure,
    /// The last failed target and the class of its failure, to count fallbacks.
    last_failure: Option<(Arc<Target>, &'static str)>,
    /// The class of the last failure of the best candidate.
    best_failure_reason: Option<&'static str>,
}

impl AttemptLoop {
    async fn run(&mut self) -> Result<Answer, GatewayError> {
        loop {
            if self.routed.needs_media(None) {
                self.routed.fetch_media(&self.gateway, self.deadline).await?;
            }
            let preferred = self.preferred.take();
            let admission = match admit(&mut self.routed, preferred, &mut self.wait_budget).await {
                // No target recovers in time, and not for want of quota: a target's own failure is a
                // better answer than that.
                Err(GatewayError::NoTargetAvailable { is_quota: false, .. })
                    if self.best.is_answer() =>
                {
                    Admission::NoCandidate
                }
                admission => admission?,
            };
            let (index, permit) = match admission {
                Admission::Admitted(index, permit) => (index, permit),
                Admission::NoCandidate => return self.no_candidate_left(),
            };
            if !self.routed.may_try(index, Instant::now()) {
                // The target denied the operation to others while this request waited.
                permit.release();
                self.routed.leave_denied();
                continue;
            }
            if !self.routed.translate(index).await {
                permit.release();
                continue;
            }
            if self.routed.needs_media(Some(index)) {
                permit.release();
                self.routed.fetch_media(&self.gateway, self.deadline).await?;
                continue;
            }
            self.routed.goes_to(index);
            if preferred != Some(index) {
                passed_over::note_admitted(&mut self.routed, index);
            }
            self.count_fallback(permit.target());
            let AttemptResult { index, permit, sent, took } = self.attempt(index, permit).await?;
            let target = Arc::clone(permit.target());
            let mut failure = match sent.reply {
                Reply::Success(success) => {
                    let reservation = permit.succeeded(took);
                    let status = success.status.as_u16();
                    let id = success.request_id();
                    self.routed.context.record_attempt(&target, SUCCESS, status, took, None, id);
                    self.note_answer(index);
                    if let Some(Unheld::NoRoom(overloaded)) = sent.unheld {
                        // The answer is paid for, and lost.
                        let input = reservation.input();
                        self.routed.context.charge_lost_attempt(&target, input)?;
                        return Err(GatewayError::Overloaded(overloaded));
                    }
                    self.routed.context.answer.choice = self.model_choice(index);
                    return Ok(Answer::Success(success, reservation, sent.answer));
                }
                Reply::Failure(failure) => *failure,
            };
            denial::reclassify(&self.routed, index, &mut failure);
            self.note_failure(index, &target, &failure, took);
            let is_billed_without_answer = failure.time_limit == Some(TimeLimit::FirstByte)
                || matches!(failure.class, FailureClass::Encoded | FailureClass::Untranslatable);
            let input = permit.input();
            let attempts = self.routed.count_attempt(index);
            match decide(&self.routed, index, attempts, permit, &mut failure) {
                Decision::Relay => {
                    self.note_answer(index);
                    return Ok(Answer::Failure(failure, target));
                }
                Decision::Continue { failure_use, next } => {
                    self.best.keep(failure_use, index, &target, failure);
                    match next {
                        NextStep::Retry => {
                            self.back_off(attempts).await;
                            self.preferred = Some(index);
                        }
                        NextStep::Leave(reason) => self.routed.give_up_on(index, reason),
                        NextStep::Choose => {}
                    }
                }
            }
            if is_billed_without_answer {
                self.routed.context.charge_lost_attempt(&target, input)?;
            }
            if Instant::now() >= self.deadline {
                return Err(self.deadline_error());
            }
        }
    }

    /// Makes an attempt, and a second one elsewhere if the first is slow and may be hedged. Fails
    /// when the time for the whole request is over, which does not count against the target.
    async fn attempt(
        &mut self,
        index: usize,
        mut permit: Permit,
    ) -> Result<AttemptResult, GatewayError> {
        permit.mark_sending();
        let input = permit.input();
        self.routed.context.consumption.in_flight = Some((Arc::clone(permit.target()), input));
        self.routed.context.consumption.bound = self.routed.bound(permit.target());
        let began = Instant::now();
        let (sent, hedge) = if let Some(events) = self.routed.events.take() {
            let limit = self.first_byte_limit(permit.target(), began);
            let sending = bidirectional::send(&mut self.routed, permit.target(), *events, limit);
            // Boxed: such streams are rare and their future is large.
            match Box::pin(sending).await {
                Ok(reply) => (Sent::from(reply), None),
                Err(error) => return Err(self.events_failed(permit, error, began)),
            }
        } else if let Some(usual) = self.hedge_after(permit.target()) {
            let this = &*self;
            let first = this.send(permit.target(), began);
            let other = || {
                let other = this.routed.acquire_other(index);
                other.filter(|_| this.gateway.hedges.spend())
            };
            let second = |target: Arc<Target>, now| async move { this.send(&target, now).await };
            // Boxed, since few are hedged: two futures would make every attempt larger.
            Box::pin(hedge::race(usual, first, other, second)).await
        } else {
            (self.send(permit.target(), began).await, None)
        };
        if sent.reply.is_too_slow() && Instant::now() >= self.deadline {
            return Err(self.deadline_error());
        }
        self.routed.context.consumption.in_flight = None;
        let Some(hedge) = hedge else {
            return Ok(AttemptResult { index, permit, sent, took: began.elapsed() });
        };
        // The loser's request was cancelled; its permit settles when it is dropped here.
        let (winner, loser) = if hedge.won {
            let Hedge { index, permit: other, began, .. } = hedge;
            self.routed.context.consumption.bound = self.routed.bound(other.target());
            (AttemptResult { index, permit: other, sent, took: began.elapsed() }, permit)
        } else {
            (AttemptResult { index, permit, sent, took: began.elapsed() }, hedge.permit)
        };
        self.routed.context.record_attempt(
            loser.target(),
            HEDGE_LOST,
            0,
            Duration::ZERO,
            None,
            None,
        );
        if self.is_best(loser.target()) {
            self.best_failure_reason = Some(HEDGE_LOST);
        }
        let answer = &mut self.routed.context.answer;
        answer.passed_over.end_before(&winner.permit.target().name);
        answer.is_best_passed_over &= answer.passed_over.first().is_some();
        Ok(winner)
    }

    /// Signs and sends one request, now. The upstream signs it once it has a connection.
    async fn send(&self, target: &Arc<Target>, now: Instant) -> Sent {
        let limit = self.first_byte_limit(target, now);
        let span = self.routed.context.start_attempt(target);
        let operation = self.routed.call.operation;
        let translated = self.routed.translated(target).ok().flatten();
        let (expected, origin) = match translated {
            None => (self.routed.expected(), target.origin(operation)),
            Some(translated) => {
                let streams = translated.operation.is_stream();
                let expected = ExpectedAnswer { api: Api::Bedrock, streams };
                (expected, target.origin(translated.operation))
            }
        };
        let make = || upstream_request::signed(&self.routed, target, span.as_ref());
        let reply = self.gateway.upstream.send(origin, make, expected, now, limit).await;
        let sent = match (translated, reply) {
            (Some(translated), Reply::Success(success)) => {
                let receiver = self.receiver(target, translated);
                let sent = Box::pin(receiver.receive(*success)).await;
                if let Some(unheld) = &sent.unheld {
                    let unheld_answers = &self.gateway.metrics.unheld_answers;
                    unheld_answers.with_label_values(&[unheld.name()]).inc();
                }
                sent
            }
            (_, reply) => reply.into(),
        };
        if let Some(span) = &span {
            span.record_result(attempt_result(&sent.reply));
        }
        sent
    }

    /// What reads the answer to a translated request.
    fn receiver<'t>(&self, target: &Target, translated: &'t Translated) -> Receiver<'t> {
        let context = &self.routed.context;
        let created = context.timing.arrived.duration_since(SystemTime::UNIX_EPOCH);
        Receiver {
            translated,
            stamp: Stamp {
                request_id: context.request_id.to_string(),
                created: created.unwrap_or_default().as_secs(),
            },
            idle: target.endpoint.idle_timeout,
            deadline: self.deadline,
            held: self.gateway.in_flight.guard_for_bytes(),
            offload: self.gateway.offload.clone(),
        }
    }

    /// How long a target has for the first byte of its answer.
    fn first_byte_limit(&self, target: &Target, now: Instant) -> Duration {
        let left = self.deadline.saturating_duration_since(now);
        target.endpoint.first_byte_timeout.min(left)
    }

    /// After what time a request is hedged; `None` if it is not to be.
    fn hedge_after(&self, target: &Target) -> Option<Duration> {
        let config = &self.gateway.config.hedge;
        let call = &self.routed.call;
        if !config.enabled || call.model().is_none() || self.routed.expected().streams {
            return None;
        }
        // A second one would be stored too, and nobody would know its id.
        if self.routed.responses.as_ref().is_some_and(|responses| responses.is_stored) {
            return None;
        }
        let demand = self.routed.demand(target);
        // The latency of inference is no measure for other calls.
        if !demand.draws_on_quota() || demand.input > config.max_input_tokens {
            return None;
        }
        self.gateway.hedges.earn();
        target.latency.p95()
    }

    /// Notes an attempt that the client's own events ended. Nothing of it counts against the target.
    fn events_failed(
        &mut self,
        permit: Permit,
        error: GatewayError,
        began: Instant,
    ) -> GatewayError {
        let context = &mut self.routed.context;
        let reason = Some(error.to_string());
        let outcome = FailureClass::Terminal.name();
        context.record_attempt(permit.target(), outcome, 0, began.elapsed(), reason, None);
        let events = context.guards.events.as_ref();
        if !events.is_some_and(|events| events.has_forwarded()) {
            // The target has received nothing that it could charge.
            context.consumption.in_flight = None;
            permit.release();
        }
        error
    }

    fn deadline_error(&self) -> GatewayError {
        let limit = self.deadline.saturating_duration_since(self.routed.context.timing.started);
        GatewayError::RequestTimeout { limit }
    }

    /// The end of a request that has given up on every candidate: throttled if any target is, since
    /// a later retry may succeed; else the best candidate's own failure.
    fn no_candidate_left(&mut self) -> Result<Answer, GatewayError> {
        // If the request fails only because it is oversized, do not answer with a fallback's error.
        let accepts_unsupported = shortage::excess(&self.routed).is_none();
        match self.best.take(accepts_unsupported) {
            Some((index, target, failure)) if !failure.class.is_quota() => {
                passed_over::note_unanswered(&mut self.routed);
                self.note_answer(index);
                Ok(Answer::Failure(failure, target))
            }
            _ => Err(GatewayError::no_target(&self.routed)),
        }
    }

    /// Whether a target is that of the best candidate.
    fn is_best(&self, target: &Arc<Target>) -> bool {
        self.routed.target(0).is_some_and(|best| Arc::ptr_eq(best, target))
    }

    /// Sets the fallback reason if the candidate that answered is not the best target.
    fn note_answer(&mut self, index: usize) {
        let answer = &mut self.routed.context.answer;
        let passed_over = answer.passed_over.first().filter(|_| answer.is_best_passed_over);
        answer.fallback_reason = match passed_over {
            Some(best) => Some(best.reason.name()),
            None => self.best_failure_reason.filter(|_| index != 0),
        };
    }

    /// Whether the candidate's model is the first choice.
    fn model_choice(&self, index: usize) -> Option<Choice> {
        self.routed.call.model()?;
        Some(if self.routed.is_first_choice_model(index) { Choice::First } else { Choice::Other })
    }

    fn note_failure(
        &mut self,
        index: usize,
        target: &Arc<Target>,
        failure: &Failure,
        took: Duration,
    ) {
        if index == 0 {
            self.best_failure_reason = Some(failure.class.name());
        }
        let status = if failure.from_upstream { failure.status.as_u16() } else { 0 };
        let reason = Some(failure.reason());
        let id = failure.request_id;
        self.routed.context.record_attempt(target, failure.name(), status, took, reason, id);
        self.last_failure = Some((Arc::clone(target), failure.class.name()));
    }

    /// Counts a request that goes to another target than the one that failed last or, before its
    /// first attempt, than the best one.
    fn count_fallback(&mut self, to: &Target) {
        let last_failure = self.last_failure.take();
        let answer = &self.routed.context.answer;
        let passed_over = answer.passed_over.first().filter(|_| answer.attempts.is_empty());
        let (from, reason) = match (&last_failure, passed_over) {
            (Some((from, reason)), _) => (&from.name, *reason),
            (None, Some(best)) => (&best.target, best.reason.name()),
            (None, None) => return,
        };
        if *from != to.name {
            let labels = [&**from, &*to.name, reason];
            self.gateway.metrics.fallbacks.with_label_values(&labels).inc();
            self.gateway.metrics.totals.fallback();
        }
    }

    /// Waits before attempt number `attempts` + 1 on a target: the base delay, doubled each
    /// time, with up to one base delay of jitter, and not beyond the longest.
    async fn back_off(&mut self, attempts: u32) {
        let retry = &self.gateway.config.retry;
        let doubled =
            retry.base_delay.saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1)));
        let delay = doubled.min(retry.max_delay) + retry.base_delay.mul_f64(fastrand::f64());
        let now = Instant::now();
        sleep_until((now + delay).min(self.deadline)).await;
        self.routed.context.timing.upstream += now.elapsed();
    }
}
