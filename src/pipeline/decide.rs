//! What follows a failed attempt: for its target, and for its request.
//!
//! A new class of failures gets an arm in [`decide`] that reports to the target (through the permit),
//! and decides whether the failure may be the client's answer and which candidate is next. Three other
//! places look at the class: `denial.rs` may change it before, `attempt.rs` charges attempts that were
//! billed without an answer, and `relay.rs` sets the outcome of a failure that is relayed.

use std::sync::Arc;

use http::StatusCode;

use super::best_failure::FailureUse;
use super::candidate_state::LeaveReason;
use super::denial;
use super::routed::RoutedRequest;
use crate::bedrock::named_limit::named_limit;
use crate::bedrock::{ErrorKind, Extras};
use crate::config::Strategy;
use crate::quota::Dimension;
use crate::routing::{OutageCause, OutageReason, Permit, Target};
use crate::upstream::{Failure, FailureClass};

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The failure is the client's answer.
    Relay,
    /// There may be another attempt.
    Continue {
        /// Whether the failure may still be the client's answer.
        failure_use: FailureUse,
        /// Which candidate is next.
        next: NextStep,
    },
}

/// Which candidate is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    /// The same one, after a pause.
    Retry,
    /// Never this one again.
    Leave(LeaveReason),
    /// The best one that has quota left. If the target failed for all requests, its cooldown keeps
    /// this request away.
    Choose,
}

/// Keeps a limit of the model that Bedrock names when it refuses a request.
fn learn_limit(target: &Target, failure: &Failure) {
    if failure.status != StatusCode::BAD_REQUEST || !failure.from_upstream {
        return;
    }
    if let Some(limit) = named_limit(&failure.reported.message)
        && target.learn_limit(limit)
    {
        let (target_name, model) = (&target.name, &target.model);
        tracing::info!(%target_name, %model, ?limit, "Bedrock has named a limit of the model");
    }
}

/// Reports the failure of an attempt to its target, and decides what follows for its request.
/// `attempts` counts the attempts on this candidate, including this one.
pub(super) fn decide(
    routed: &RoutedRequest,
    index: usize,
    attempts: u32,
    permit: Permit,
    failure: &mut Failure,
) -> Decision {
    if routed.call.model().is_none() {
        permit.release();
        return Decision::Relay;
    }
    learn_limit(permit.target(), failure);
    let config = &routed.context.gateway().config;
    let target = Arc::clone(permit.target());
    if failure.is_about_credentials() {
        target.endpoint.credentials.renew();
    }
    let is_repeatable = !routed.is_bidirectional();
    let may_retry = is_repeatable && attempts < config.retry.attempts;
    let leave = |failure_use, reason| (failure_use, NextStep::Leave(reason));
    let status = failure.error_status();
    let cause = |reason| OutageCause {
        reason,
        message: failure.reason(),
        request_id: Some(routed.context.request_id),
    };
    let (failure_use, next) = match failure.class {
        FailureClass::Throttled => {
            if let Some(excess) = routed.excess(&target) {
                permit.release();
                leave(FailureUse::Nothing, LeaveReason::Oversized(excess))
            } else {
                let dimension = Dimension::of_throttle(&failure.reported.message);
                let cause = cause(OutageReason::Throttled);
                let next = match config.fallback.strategy {
                    Strategy::RetryFirst if may_retry => {
                        permit.release();
                        NextStep::Retry
                    }
                    Strategy::RetryFirst => {
                        permit.throttled(dimension, false, &cause);
                        NextStep::Choose
                    }
                    Strategy::FallbackFirst => {
                        let has_no_alternative =
                            is_repeatable && !routed.has_free_alternative(index);
                        permit.throttled(dimension, has_no_alternative, &cause);
                        NextStep::Choose
                    }
                };
                (FailureUse::Failure, next)
            }
        }
        FailureClass::Exhausted => {
            let cause = cause(OutageReason::Exhausted);
            permit.exhausted(config.fallback.daily_cooldown, &cause);
            (FailureUse::Failure, NextStep::Choose)
        }
        FailureClass::Transient => {
            permit.failed(failure.from_upstream, &cause(OutageReason::Failed));
            let reason = match failure.from_upstream {
                true => LeaveReason::Failed(status),
                false => LeaveReason::Unreachable,
            };
            (FailureUse::Failure, if may_retry { NextStep::Retry } else { NextStep::Leave(reason) })
        }
        FailureClass::Slow | FailureClass::Encoded => {
            if failure.class == FailureClass::Encoded {
                let (target_name, reason) = (&target.name, &failure.reported.message);
                tracing::warn!(%target_name, %reason, "cannot read an upstream response");
            }
            permit.failed(true, &cause(OutageReason::Failed));
            leave(FailureUse::Failure, LeaveReason::Failed(status))
        }
        FailureClass::Untranslatable => {
            let (target_name, reason) = (&target.name, &failure.reported.message);
            tracing::warn!(%target_name, %reason, "an upstream's answer can't be translated");
            // What the model wrote says nothing about the service.
            match failure.reported.kind() {
                Some(ErrorKind::ModelError) => permit.release_after_error(status),
                _ => permit.failed(true, &cause(OutageReason::Failed)),
            }
            leave(FailureUse::Failure, LeaveReason::Failed(status))
        }
        // Another target may need no new connection, or has other credentials.
        FailureClass::Unusable | FailureClass::ResourceExhausted => {
            permit.release();
            leave(FailureUse::Failure, LeaveReason::Unusable)
        }
        FailureClass::Denied => {
            let extras = routed.extras();
            denial::report(routed, &target, failure, extras);
            if extras == Extras::Resources {
                // As far as the request shows, the client named a resource that it may not use.
                failure.class = FailureClass::Terminal;
            }
            permit.release_after_error(status);
            // What a fallback is denied concerns the operator, not the client.
            let concerns_client = index == 0 || routed.is_first_choice_model(index);
            let failure_use =
                if concerns_client { FailureUse::Failure } else { FailureUse::Nothing };
            leave(failure_use, LeaveReason::Denied(status))
        }
        FailureClass::Foreign => {
            let (target_name, reason) = (&target.name, &*failure.reported.message);
            let status_code = status.as_u16();
            tracing::warn!(
                %target_name, status = status_code, reason, "an upstream response is not from Bedrock"
            );
            permit.release_after_error(status);
            leave(FailureUse::Failure, LeaveReason::Failed(status))
        }
        FailureClass::Terminal if routed.is_first_choice_model(index) => {
            if status == StatusCode::FORBIDDEN {
                // Shown to operators only: it never makes requests avoid the target.
                denial::report(routed, &target, failure, Extras::Resources);
            }
            permit.release_after_error(status);
            return Decision::Relay;
        }
        // This model does not support the request; the requested one may.
        FailureClass::Terminal => {
            permit.release_after_error(status);
            leave(FailureUse::Unsupported, LeaveReason::Unsupported(status))
        }
    };
    if is_repeatable { Decision::Continue { failure_use, next } } else { Decision::Relay }
}
