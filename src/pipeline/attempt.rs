//! The attempt loop: admit, prepare, sign, send, classify, and again until there is an answer.
//!
//! What follows a failed attempt is the design's table of outcomes, in [`Loop::failed`]. Once a
//! success is decided there is no other attempt; what happens to its bytes is `relay`'s.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::{Instant, sleep, timeout_at};
use tower::Service;

use super::Gateway;
use super::admit::{self, Admission, Patience, admit};
use super::prepare::prepare;
use super::refusal::{Refusal, Refused};
use super::relay::{self, ResponseBody};
use super::route::Routed;
use crate::config::Strategy;
use crate::routing::{Permit, Target};
use crate::upstream::classify::{is_limit_of_model, is_misconfiguration};
use crate::upstream::{Class, Failure, Reply, Success, sign};

/// The innermost service: from a routed request to an answer.
#[derive(Clone, Debug)]
pub(super) struct Attempts {
    gateway: Arc<Gateway>,
}

impl Attempts {
    pub(super) fn new(gateway: &Arc<Gateway>) -> Attempts {
        Attempts { gateway: Arc::clone(gateway) }
    }
}

impl Service<Routed> for Attempts {
    type Response = Response<ResponseBody>;
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Refused>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, routed: Routed) -> Self::Future {
        Box::pin(answer(Arc::clone(&self.gateway), routed))
    }
}

async fn answer(gateway: Arc<Gateway>, routed: Routed) -> Result<Response<ResponseBody>, Refused> {
    let limit = gateway.config.server.request_timeout;
    let deadline = routed.exchange.started + limit;
    let patience = Patience { left: gateway.config.queue.max_wait, deadline };
    let mut attempts =
        Loop { gateway: &gateway, routed, patience, preferred: None, kept: None, moved_from: None };
    let outcome = timeout_at(deadline, attempts.run()).await;
    let Routed { exchange, call, .. } = attempts.routed;
    match outcome {
        Ok(Ok(Answer::Success(success, target))) => {
            Ok(relay::success(exchange, call.operation, *success, &target, deadline))
        }
        Ok(Ok(Answer::Failure(failure, target))) => Ok(relay::failure(exchange, failure, target)),
        Ok(Err(refusal)) => Err(Refused { refusal, exchange }),
        Err(_) => Err(Refused { refusal: Refusal::RequestTimeout { limit }, exchange }),
    }
}

enum Answer {
    Success(Box<Success>, Arc<Target>),
    Failure(Failure, Arc<Target>),
}

/// A failure that is relayed if nothing better comes: the one of the best candidate.
struct Kept {
    index: usize,
    failure: Failure,
}

/// What a failed attempt leads to.
enum Next {
    Relay(Failure),
    Again,
}

struct Loop<'a> {
    gateway: &'a Gateway,
    routed: Routed,
    patience: Patience,
    /// The candidate that is to be tried again.
    preferred: Option<usize>,
    kept: Option<Kept>,
    /// The last target and why it was left, to count fallbacks.
    moved_from: Option<(Arc<Target>, &'static str)>,
}

impl Loop<'_> {
    async fn run(&mut self) -> Result<Answer, Refusal> {
        loop {
            let admission = admit(
                self.gateway,
                &self.routed.candidates,
                self.preferred.take(),
                self.routed.body.len(),
                &mut self.patience,
                &mut self.routed.exchange.queued,
            )
            .await?;
            let (index, permit) = match admission {
                Admission::Go(index, permit) => (index, permit),
                Admission::NothingLeft => return self.nothing_left(),
            };
            let target = Arc::clone(permit.target());
            self.count_fallback(&target);
            let sent = Instant::now();
            let reply = self.attempt(&target).await;
            let took = sent.elapsed();
            match reply {
                Reply::Success(success) => {
                    permit.succeeded();
                    self.routed.exchange.attempted(&target, "success", success.status, took);
                    return Ok(Answer::Success(success, target));
                }
                Reply::Failure(failure) => {
                    let status =
                        if failure.from_upstream { failure.status } else { StatusCode::default() };
                    let class = failure.class.name();
                    self.routed.exchange.attempted(&target, class, status, took);
                    self.moved_from = Some((Arc::clone(&target), class));
                    if let Next::Relay(failure) = self.failed(index, permit, failure).await {
                        return Ok(Answer::Failure(failure, target));
                    }
                }
            }
        }
    }

    /// Signs and sends one request.
    async fn attempt(&self, target: &Target) -> Reply {
        let Some(auth) = target.identity.auth() else {
            return Reply::Failure(Failure::unusable(&target.identity.problem()));
        };
        let Some(prepared) = prepare(&self.routed, target) else {
            return Reply::Failure(Failure::unusable("the target's path is no URI"));
        };
        let mut head = prepared.head;
        let hash = sign::payload_hash(&prepared.body);
        if let Err(error) =
            sign::authorize(&mut head, &hash, &auth, &target.region, SystemTime::now())
        {
            return Reply::Failure(Failure::unusable(&error.to_string()));
        }
        let request = Request::from_parts(head, Full::new(prepared.body));
        let streams = self.routed.call.operation.is_stream();
        self.gateway.upstream.send(request, streams, target.first_byte_timeout).await
    }

    /// Decides what follows a failed attempt.
    async fn failed(&mut self, index: usize, permit: Permit, failure: Failure) -> Next {
        if self.routed.call.model().is_none() {
            return Next::Relay(failure);
        }
        if failure.is_about_credentials() {
            permit.target().identity.renew();
        }
        let attempts = self.candidate(index, |candidate| {
            candidate.attempts += 1;
            candidate.attempts
        });
        let may_retry = attempts < self.gateway.config.retry.attempts;
        match failure.class {
            Class::Throttled => {
                self.keep(index, failure);
                match self.gateway.config.fallback.strategy {
                    Strategy::RetryFirst if may_retry => {
                        drop(permit);
                        self.back_off(attempts).await;
                        self.preferred = Some(index);
                    }
                    Strategy::RetryFirst => permit.throttled(false),
                    Strategy::FallbackFirst => {
                        let alone = !admit::any_free(&self.routed.candidates, index);
                        permit.throttled(alone);
                    }
                }
            }
            Class::Exhausted => {
                permit.out(self.gateway.config.fallback.daily_cooldown);
                self.keep(index, failure);
            }
            Class::Transient => {
                if permit.failed() {
                    tracing::warn!(target_name = %self.name(index), "target ejected after failures in a row");
                }
                self.keep(index, failure);
                if may_retry {
                    self.back_off(attempts).await;
                    self.preferred = Some(index);
                } else {
                    self.leave(index);
                }
            }
            Class::Slow | Class::Unusable => {
                permit.failed();
                self.keep(index, failure);
                self.leave(index);
            }
            Class::Terminal if index == 0 => return Next::Relay(failure),
            // A fallback that can't serve anybody stays out; what it said is not the client's.
            Class::Terminal if is_misconfiguration(failure.status, &failure.reported) => {
                tracing::warn!(
                    target_name = %self.name(index),
                    error = failure.reported.name.as_deref().unwrap_or("-"),
                    message = %failure.reported.message,
                    "fallback target is misconfigured"
                );
                permit.out(self.gateway.config.fallback.misconfigured_cooldown);
                self.leave(index);
            }
            // Nor is a limit that the requested model does not have.
            Class::Terminal if is_limit_of_model(failure.status, &failure.reported) => {
                self.leave(index);
            }
            Class::Terminal => return Next::Relay(failure),
        }
        Next::Again
    }

    /// The end of a request that is done with every candidate: throttled if any target is, since
    /// another try later may do; else the best candidate's own failure.
    fn nothing_left(&mut self) -> Result<Answer, Refusal> {
        match self.kept.take() {
            Some(Kept { index, failure }) if !failure.class.is_quota() => {
                let target = self.routed.candidates.get(index).map(|kept| Arc::clone(&kept.target));
                let target =
                    target.ok_or_else(|| Refusal::NoTarget(failure.reported.message.clone()))?;
                Ok(Answer::Failure(failure, target))
            }
            _ => Err(admit::all_throttled(&self.routed.candidates)),
        }
    }

    /// Keeps the failure of the best candidate that failed.
    fn keep(&mut self, index: usize, failure: Failure) {
        if self.kept.as_ref().is_none_or(|kept| index <= kept.index) {
            self.kept = Some(Kept { index, failure });
        }
    }

    fn leave(&mut self, index: usize) {
        self.candidate(index, |candidate| candidate.is_out = true);
    }

    fn candidate<T: Default>(
        &mut self,
        index: usize,
        change: impl FnOnce(&mut super::route::Candidate) -> T,
    ) -> T {
        self.routed.candidates.get_mut(index).map(change).unwrap_or_default()
    }

    fn name(&self, index: usize) -> Arc<str> {
        let candidate = self.routed.candidates.get(index);
        candidate.map_or_else(|| Arc::from(""), |candidate| Arc::clone(&candidate.target.name))
    }

    fn count_fallback(&mut self, to: &Target) {
        if let Some((from, reason)) = self.moved_from.take()
            && from.name != to.name
        {
            let labels = [&*from.name, &*to.name, reason];
            self.gateway.metrics.fallbacks.with_label_values(&labels).inc();
        }
    }

    /// Waits before attempt number `attempts` + 1 on a target: the base delay, doubled each
    /// time, with up to one base delay of jitter, and not beyond the longest.
    async fn back_off(&mut self, attempts: u32) {
        let retry = &self.gateway.config.retry;
        let doubled =
            retry.base_delay.saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1)));
        let delay = doubled.min(retry.max_delay) + retry.base_delay.mul_f64(fastrand::f64());
        sleep(delay).await;
        self.routed.exchange.waited += delay;
    }
}
