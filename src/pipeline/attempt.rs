//! The attempt loop: admit, prepare, sign, send, classify, and again until there is an answer.
//!
//! What follows a failed attempt is the design's table of outcomes, in [`Loop::failed`]. Once a
//! success is decided there is no other attempt; what happens to its bytes is `relay`'s.

use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::time::Instant;
use tower::Service;

use super::Gateway;
use super::admit::{self, Admission, Patience, admit};
use super::exchange::Open;
use super::prepare::{Prepared, prepare, strip_for_upstream};
use super::refusal::{Refusal, Refused};
use super::relay::{self, ResponseBody};
use super::route::{Left, Routed};
use super::{deadline, duplex, shortage};
use crate::bedrock::Extras;
use crate::config::Strategy;
use crate::quota::{Dimension, InFlightGuard};
use crate::routing::access::{Denial, Verdict};
use crate::routing::{ActiveReservation, Permit, Target};
use crate::system::time::{sleep, sleep_until};
use crate::upstream::classify::{Denies, denies};
use crate::upstream::{Class, Failure, Reply, RequestError, Success, TimeLimit, sign};

/// The innermost service: from a routed request to an answer.
#[derive(Clone, Debug)]
pub(super) struct Attempts;

impl Service<Routed> for Attempts {
    type Response = Response<ResponseBody>;
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Refused>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, routed: Routed) -> Self::Future {
        Box::pin(answer(routed))
    }
}

async fn answer(mut routed: Routed) -> Result<Response<ResponseBody>, Refused> {
    if let Some(events) = routed.events.take() {
        // Boxed, since nearly no request is one: its future is as large as all else here.
        return Box::pin(duplex::answer(routed, events)).await;
    }
    let gateway = Arc::clone(routed.exchange.gateway());
    let deadline = deadline::deadline(&routed);
    let patience = deadline::patience(&routed, deadline);
    // All that they say to the gateway has been read.
    strip_for_upstream(&mut routed.head.headers, &gateway.config.upstream.forward_headers);
    let mut attempts = Loop {
        gateway,
        routed,
        patience,
        deadline,
        preferred: None,
        kept: None,
        misfit: None,
        moved_from: None,
    };
    let outcome = attempts.run().await;
    let Routed { mut exchange, call, body, size, .. } = attempts.routed;
    // Nobody tries again from here on.
    drop(body);
    exchange.share.as_mut().into_iter().for_each(InFlightGuard::release_body);
    match outcome {
        Ok(Answer::Success(success, spending)) => {
            Ok(relay::success(exchange, call.operation, *success, spending, size, deadline))
        }
        Ok(Answer::Failure(failure, target)) => Ok(relay::failure(exchange, failure, target)),
        Err(refusal) => Err(Refused { refusal, exchange }),
    }
}

enum Answer {
    Success(Box<Success>, ActiveReservation),
    Failure(Failure, Arc<Target>),
}

/// A failure that is relayed if nothing better comes: the one of the best candidate.
struct Kept {
    index: usize,
    failure: Failure,
}

/// What a target said whose model can't do what the request asks for: the best such candidate's word,
/// and whether all others that were asked have said the same.
struct Misfit {
    kept: Kept,
    is_common: bool,
}

/// What a failed attempt leads to.
enum Next {
    Relay(Failure),
    Again,
}

struct Loop {
    gateway: Arc<Gateway>,
    routed: Routed,
    patience: Patience,
    /// When the whole request must have been answered. Each wait keeps to it by itself, which
    /// saves a timer.
    deadline: Instant,
    /// The candidate that is to be tried again.
    preferred: Option<usize>,
    kept: Option<Kept>,
    /// Relayed only if all that were asked say so, or if there is nothing else to relay.
    misfit: Option<Misfit>,
    /// The last target and why it was left, to count fallbacks.
    moved_from: Option<(Arc<Target>, &'static str)>,
}

impl Loop {
    async fn run(&mut self) -> Result<Answer, Refusal> {
        loop {
            let preferred = self.preferred.take();
            let admission = match admit(&mut self.routed, preferred, &mut self.patience).await {
                // No target will be back in time, and not for want of quota: what the best of them
                // said is a better answer than that.
                Err(Refusal::AllOut { is_quota: false, .. } | Refusal::NoTarget(_))
                    if self.has_answer() =>
                {
                    Admission::NothingLeft
                }
                admission => admission?,
            };
            let (index, permit) = match admission {
                Admission::Go(index, permit) => (index, permit),
                Admission::NothingLeft => return self.nothing_left(),
            };
            if !self.routed.may_try(index, Instant::now()) {
                // It was denied while this request waited for it.
                permit.not_taken();
                self.routed.leave_denied();
                continue;
            }
            self.count_fallback(permit.target());
            let Tried { index, permit, reply, took } = self.attempt(index, permit).await?;
            let target = Arc::clone(permit.target());
            match reply {
                Reply::Success(success) => {
                    let spending = permit.succeeded(took);
                    self.routed.exchange.attempted(
                        &target,
                        "success",
                        success.status.as_u16(),
                        took,
                    );
                    return Ok(Answer::Success(success, spending));
                }
                Reply::Failure(mut failure) => {
                    self.judge(index, &mut failure);
                    self.note_failure(&target, &failure, took);
                    let is_lost = failure.time_limit == Some(TimeLimit::FirstByte)
                        || failure.class == Class::Encoded;
                    let input = permit.input();
                    if let Next::Relay(failure) = self.failed(index, permit, failure).await {
                        return Ok(Answer::Failure(failure, target));
                    }
                    if is_lost {
                        self.routed.exchange.lose(&target, input)?;
                    }
                    if Instant::now() >= self.deadline {
                        return Err(self.too_late());
                    }
                }
            }
        }
    }

    /// Makes an attempt, and a second one elsewhere if the first is slow and may be hedged. Fails
    /// when the time for the whole request is over, which says nothing of the target.
    async fn attempt(&mut self, index: usize, mut permit: Permit) -> Result<Tried, Refusal> {
        permit.sent();
        let input = permit.input();
        self.routed.exchange.asked = Some((Arc::clone(permit.target()), input));
        self.routed.exchange.bound = self.routed.bound(permit.target());
        let sent = Instant::now();
        let (reply, hedge) = match self.hedge_after(permit.target()) {
            None => (self.send(permit.target(), sent).await, None),
            // Boxed, since few are hedged: two futures make no attempt larger that needs one.
            Some(usual) => Box::pin(self.race(index, permit.target(), usual)).await,
        };
        if reply.is_too_slow() && Instant::now() >= self.deadline {
            return Err(self.too_late());
        }
        self.routed.exchange.asked = None;
        let Some(hedge) = hedge else {
            return Ok(Tried { index, permit, reply, took: sent.elapsed() });
        };
        // The loser's request was cancelled; its permit settles when it is dropped here.
        let (winner, loser) = if hedge.won {
            let Hedge { index, permit: other, began, .. } = hedge;
            self.routed.exchange.bound = self.routed.bound(other.target());
            (Tried { index, permit: other, reply, took: began.elapsed() }, permit)
        } else {
            (Tried { index, permit, reply, took: sent.elapsed() }, hedge.permit)
        };
        self.routed.exchange.attempted(loser.target(), "hedge_lost", 0, Duration::ZERO);
        Ok(winner)
    }

    /// Signs and sends one request, now.
    async fn send(&self, target: &Arc<Target>, now: Instant) -> Reply {
        let streams = self.routed.call.operation.is_stream();
        let left = self.deadline.saturating_duration_since(now);
        let limit = target.endpoint.first_byte_timeout.min(left);
        let span = self.routed.exchange.begins_attempt(target);
        let make = || signed(&self.routed, target, span.as_ref());
        let reply =
            self.gateway.upstream.send(&target.endpoint.origin, make, streams, now, limit).await;
        if let Some(span) = &span {
            span.replied(&reply);
        }
        reply
    }

    fn too_late(&self) -> Refusal {
        let limit = self.deadline.saturating_duration_since(self.routed.exchange.started);
        Refusal::RequestTimeout { limit }
    }

    /// Asks `target`, and another one too if it takes longer than `usual`. The first success
    /// counts; a failure leaves it to the other, which then decides.
    async fn race(
        &self,
        index: usize,
        target: &Arc<Target>,
        usual: Duration,
    ) -> (Reply, Option<Hedge>) {
        let first = self.send(target, Instant::now());
        tokio::pin!(first);
        tokio::select! {
            reply = &mut first => return (reply, None),
            () = sleep(usual) => {}
        }
        let others = self.routed.remaining().filter(|candidate| candidate.index != index);
        let hedge = self.routed.route.enter(others);
        let Some((index, mut permit)) = hedge.filter(|_| self.gateway.hedges.spend()) else {
            return (first.await, None);
        };
        permit.sent();
        let began = Instant::now();
        let (reply, won) = {
            let second = self.send(permit.target(), began);
            tokio::pin!(second);
            tokio::select! {
                reply = &mut first => match reply {
                    Reply::Failure(_) => (second.await, true),
                    reply => (reply, false),
                },
                reply = &mut second => match reply {
                    Reply::Failure(_) => (first.await, false),
                    reply => (reply, true),
                },
            }
        };
        (reply, Some(Hedge { index, permit, began, won }))
    }

    /// After what time a request is hedged; `None` if it is not to be.
    fn hedge_after(&self, target: &Target) -> Option<Duration> {
        let config = &self.gateway.config.hedge;
        let call = &self.routed.call;
        if !config.enabled || call.model().is_none() || call.operation.is_stream() {
            return None;
        }
        let demand = self.routed.demand(target);
        // How long inference usually takes says nothing of the rest.
        if !demand.draws_on_quota() || demand.input > config.max_input_tokens {
            return None;
        }
        self.gateway.hedges.earn();
        target.latency.p95()
    }

    fn note_failure(&mut self, target: &Arc<Target>, failure: &Failure, took: Duration) {
        let status = if failure.from_upstream { failure.status.as_u16() } else { 0 };
        self.routed.exchange.attempted(target, failure.name(), status, took);
        self.moved_from = Some((Arc::clone(target), failure.class.name()));
    }

    /// Decides what follows a failed attempt.
    async fn failed(&mut self, index: usize, permit: Permit, mut failure: Failure) -> Next {
        if self.routed.call.model().is_none() {
            permit.not_taken();
            return Next::Relay(failure);
        }
        if failure.is_about_credentials() {
            permit.target().endpoint.identity.renew();
        }
        let attempts = self.candidate(index, |candidate| {
            candidate.attempts += 1;
            candidate.attempts
        });
        let may_retry = attempts < self.gateway.config.retry.attempts;
        match failure.class {
            Class::Throttled => {
                if let Some(excess) = self.routed.excess(permit.target()) {
                    permit.not_taken();
                    self.leave(index, Left::Oversized(excess));
                    return Next::Again;
                }
                let dimension = dimension(&failure.reported.message);
                self.keep(index, failure);
                match self.gateway.config.fallback.strategy {
                    Strategy::RetryFirst if may_retry => {
                        permit.not_taken();
                        self.back_off(attempts).await;
                        self.preferred = Some(index);
                    }
                    Strategy::RetryFirst => permit.throttled(dimension, false),
                    Strategy::FallbackFirst => {
                        let alone = !admit::any_free(&self.routed, index);
                        permit.throttled(dimension, alone);
                    }
                }
            }
            Class::DailyQuota => {
                permit.out(self.gateway.config.fallback.daily_cooldown, true);
                self.keep(index, failure);
            }
            Class::Transient => {
                if permit.failed(failure.from_upstream) {
                    tracing::warn!(target_name = %self.name(index), "target ejected after failures");
                }
                let left = match failure.from_upstream {
                    true => Left::Failed(failure.error_status()),
                    false => Left::Unreachable,
                };
                self.keep(index, failure);
                if may_retry {
                    self.back_off(attempts).await;
                    self.preferred = Some(index);
                } else {
                    self.leave(index, left);
                }
            }
            Class::Timeout | Class::Encoded => {
                if failure.class == Class::Encoded {
                    let (target_name, reason) = (self.name(index), &failure.reported.message);
                    tracing::warn!(%target_name, %reason, "cannot read an upstream response");
                }
                permit.failed(true);
                let left = Left::Failed(failure.error_status());
                self.keep(index, failure);
                self.leave(index, left);
            }
            // Another target may be reached without a new connection.
            Class::NoCredentials | Class::ResourceExhausted => {
                permit.not_taken();
                self.keep(index, failure);
                self.leave(index, Left::Unusable);
            }
            Class::Denied => {
                let extras = self.routed.extras();
                self.denied(index, &permit, &failure, extras);
                if extras == Extras::Resources {
                    // As far as can be told, the client named what it may not use.
                    failure.class = Class::NonRetryable;
                }
                permit.refused(failure.error_status());
                let left = Left::Denied(failure.error_status());
                // What a fallback is denied is the operator's business, not the client's.
                if index == 0 || self.is_first_hand(index) {
                    self.keep(index, failure);
                }
                self.leave(index, left);
            }
            Class::Foreign => {
                let (target_name, status) = (self.name(index), failure.error_status().as_u16());
                let reason = &*failure.reported.message;
                tracing::warn!(%target_name, status, reason, "an upstream response is not from Bedrock");
                permit.refused(failure.error_status());
                let left = Left::Failed(failure.error_status());
                self.keep(index, failure);
                self.leave(index, left);
            }
            Class::NonRetryable if self.is_first_hand(index) => {
                if failure.error_status() == StatusCode::FORBIDDEN {
                    // Shown, and no more.
                    self.denied(index, &permit, &failure, Extras::Resources);
                }
                permit.refused(failure.error_status());
                return Next::Relay(failure);
            }
            // Another model's word about itself: the requested one may well do what this one can't.
            Class::NonRetryable => {
                permit.refused(failure.error_status());
                let left = Left::Misfit(failure.error_status());
                self.keep_misfit(index, failure);
                self.leave(index, left);
            }
        }
        Next::Again
    }

    /// Tells a denial of the model or the operation from what finds fault with the request. What the
    /// first target does not permit stays the client's answer: nobody else's permission counts in
    /// its place.
    fn judge(&self, index: usize, failure: &mut Failure) {
        let is_of_model =
            self.routed.call.model().is_some() && failure.class == Class::NonRetryable;
        let status = failure.error_status();
        let speaks = status == StatusCode::FORBIDDEN && index == 0 && self.is_first_hand(index);
        if is_of_model && !speaks && denies(status, &failure.reported).is_some() {
            failure.class = Class::Denied;
        }
    }

    fn is_first_hand(&self, index: usize) -> bool {
        self.routed.is_first_hand(index)
    }

    /// Notes that a target has denied the operation: for the others, too, once that is confirmed.
    fn denied(&self, index: usize, permit: &Permit, failure: &Failure, extras: Extras) {
        let (operation, status) = (self.routed.call.operation, failure.error_status());
        let denial = Denial::new(status, &failure.reported);
        let extras = match denies(status, &failure.reported) {
            Some(Denies::Surely) => extras,
            Some(Denies::Perhaps) | None => extras.max(Extras::Unknown),
        };
        let target_name = self.name(index);
        let (error, reason) = (denial.name.clone(), denial.message.clone());
        let operation_name = operation.name();
        let pause = self.gateway.config.fallback.misconfigured_cooldown;
        let verdict = permit.target().denied(operation, denial, (self.client(), extras), pause);
        match verdict {
            Verdict::Suspected => tracing::warn!(
                %target_name, operation = operation_name, status = status.as_u16(), error, reason,
                "a target denied a request"
            ),
            Verdict::Confirmed(pause) => tracing::warn!(
                %target_name, operation = operation_name, status = status.as_u16(), error, reason,
                pause_s = pause.as_secs(),
                "target is misconfigured: it denies the operation"
            ),
        }
    }

    /// Who asks, told apart from others.
    fn client(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let key = self.routed.exchange.client.as_ref().map(|client| client.key());
        key.hash(&mut hasher);
        hasher.finish()
    }

    /// Whether there is something to relay if all that is left is out, and not for want of quota.
    fn has_answer(&self) -> bool {
        self.kept.is_some() || self.misfit.as_ref().is_some_and(|misfit| misfit.is_common)
    }

    /// The end of a request that is done with every candidate: throttled if any target is, since
    /// another try later may do; else the best candidate's own failure. What a model can't do that
    /// nobody has asked for counts last.
    fn nothing_left(&mut self) -> Result<Answer, Refusal> {
        // A fallback's word about itself is no answer to a request that is only too large.
        let misfit = self.misfit.take().filter(|_| shortage::excess(&self.routed).is_none());
        let misfit = misfit.map(|misfit| misfit.kept);
        match self.kept.take().or(misfit) {
            Some(Kept { index, failure }) if !failure.class.is_quota() => {
                let target = self.routed.target(index).cloned();
                let target =
                    target.ok_or_else(|| Refusal::NoTarget(failure.reported.message.clone()))?;
                Ok(Answer::Failure(failure, target))
            }
            _ => Err(shortage::refusal(&self.routed)),
        }
    }

    /// Keeps the failure of the best candidate that failed.
    fn keep(&mut self, index: usize, failure: Failure) {
        if self.kept.as_ref().is_none_or(|kept| index <= kept.index) {
            self.kept = Some(Kept { index, failure });
        }
    }

    /// The same of one whose model can't do what the request asks for.
    fn keep_misfit(&mut self, index: usize, failure: Failure) {
        let kept = Kept { index, failure };
        self.misfit = Some(match self.misfit.take() {
            None => Misfit { kept, is_common: true },
            Some(Misfit { kept: before, is_common }) => {
                let (one, other) = (&before.failure, &kept.failure);
                let is_same =
                    one.error_status() == other.error_status() && one.reported == other.reported;
                let best = if before.index < index { before } else { kept };
                Misfit { kept: best, is_common: is_common && is_same }
            }
        });
    }

    fn leave(&mut self, index: usize, left: Left) {
        let status = left.status().map(|status| status.as_u16());
        tracing::debug!(target_name = %self.name(index), ?left, status, "target left");
        self.candidate(index, |candidate| candidate.left = Some(left));
    }

    fn candidate<T: Default>(
        &mut self,
        index: usize,
        change: impl FnOnce(&mut super::route::CandidateState) -> T,
    ) -> T {
        self.routed.candidates.get_mut(index).map(change).unwrap_or_default()
    }

    fn name(&self, index: usize) -> Arc<str> {
        let target = self.routed.target(index);
        target.map_or_else(|| Arc::from(""), |target| Arc::clone(&target.name))
    }

    fn count_fallback(&mut self, to: &Target) {
        if let Some((from, reason)) = self.moved_from.take()
            && from.name != to.name
        {
            let labels = [&*from.name, &*to.name, reason];
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
        self.routed.exchange.waited += now.elapsed();
    }
}

/// A second attempt that was made while the first was under way.
struct Hedge {
    index: usize,
    permit: Permit,
    began: Instant,
    won: bool,
}

/// An attempt that has come to an outcome.
struct Tried {
    index: usize,
    permit: Permit,
    reply: Reply,
    took: Duration,
}

/// The request as `target` gets it, signed now, or why there is none.
fn signed(
    routed: &Routed,
    target: &Target,
    span: Option<&Open<'_>>,
) -> Result<Request<Bytes>, RequestError> {
    let auth = target.endpoint.identity.auth();
    let auth =
        auth.ok_or_else(|| RequestError::NoCredentials(target.endpoint.identity.problem()))?;
    let prepared = prepare(routed, target).ok_or(RequestError::InvalidPath)?;
    let Prepared { mut head, payload } = prepared;
    if let Some(span) = span {
        span.mark(&mut head.headers);
    }
    let hash = || payload.hash(routed);
    sign::authorize(&mut head, hash, &auth, &target.endpoint.region, SystemTime::now())?;
    Ok(Request::from_parts(head, payload.body))
}

/// Which quota a throttle's message says ran out.
pub(super) fn dimension(message: &str) -> Dimension {
    let message = message.to_ascii_lowercase();
    match (message.contains("request"), message.contains("token")) {
        (true, false) => Dimension::Requests,
        (false, true) => Dimension::Tokens,
        _ => Dimension::Unknown,
    }
}
