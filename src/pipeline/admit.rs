//! Admission: which target a request goes to now, and the queue if none has quota left.
//!
//! Candidates are tried in order. If none has quota left, the request joins the queue, unless the
//! queue is full or no target can recover in time. It leaves the queue when it is served, when its time is
//! over, when no target can recover in time any more, when the process shuts down, or when its client goes
//! away.
//!
//! A request that stays with the model that it asks for leaves other models out for that time. A
//! request that may not wait, or finds the queue full, leaves none out. Where replicas share the model's
//! quota, and the fleet has some left but this replica's lease does not, each request leaves other models
//! out until the lease can be granted.

use std::sync::Arc;

use tokio::time::Instant;

use super::context::RequestContext;
use super::deadline::WaitBudget;
use super::error::GatewayError;
use super::fallback_wait::last_moment;
use super::routed::RoutedRequest;
use super::shortage::Shortage;
use crate::limits::Caller;
use crate::quota::Flow;
use crate::routing::{Candidates, Permit, left_out_until, may_recover_by};
use crate::system::time::timeout_at;

/// The result of the search for a target.
#[derive(Debug)]
pub(super) enum Admission {
    /// The request may be sent to the candidate with this index.
    Admitted(usize, Permit),
    /// The request has given up on every candidate.
    NoCandidate,
}

/// Takes the best candidate that has quota left, or waits for one. A `preferred` candidate is tried
/// first, ahead of the queue: the request has had its turn there.
pub(super) async fn admit(
    routed: &mut RoutedRequest,
    preferred: Option<usize>,
    wait_budget: &mut WaitBudget,
) -> Result<Admission, GatewayError> {
    let now = Instant::now();
    let is_remaining =
        |index: &usize| routed.candidates.get(*index).is_some_and(|it| it.leave_reason.is_none());
    let preferred_candidate =
        preferred.filter(is_remaining).and_then(|index| routed.candidate(index));
    if let Some(candidate) = preferred_candidate
        && let Ok(permit) = candidate.target.enter(candidate.demand, now)
    {
        return Ok(Admission::Admitted(candidate.index, permit));
    }
    if let Some(from) = routed.fallback_from {
        let wait_until = wait_deadline(routed, wait_budget, now);
        routed.fallback_from = Some(from.min(last_moment(wait_until, now)));
    }
    if let Some((index, permit)) = routed.enter() {
        return Ok(Admission::Admitted(index, permit));
    }
    if routed.fallback_from.is_none()
        && let Some(due) = routed.grant_due(now)
    {
        let end = last_moment(wait_deadline(routed, wait_budget, now), now);
        routed.fallback_from = Some(due.min(end));
        routed.may_await_grant = false;
    }
    routed.leave_denied();
    routed.leave_untranslatable().await;
    if let Some((index, permit)) = routed.enter() {
        return Ok(Admission::Admitted(index, permit));
    }
    let group = Arc::clone(&routed.route.group);
    let candidates: Candidates = routed.remaining().collect();
    if candidates.is_empty() {
        return Ok(Admission::NoCandidate);
    }
    let gateway = Arc::clone(routed.context.gateway());
    let mut wait_until = wait_deadline(routed, wait_budget, now);
    let name = routed.context.caller.client.as_ref().and_then(Caller::name);
    let queue_slot = match wait_until > now && may_recover_by(&candidates, wait_until, now) {
        true => gateway.queue_limits.enter(routed.body.len(), name).map_err(Some),
        false => Err(None),
    };
    let _queue_slot = match queue_slot {
        Ok(queue_slot) => queue_slot,
        Err(full) => {
            routed.fallback_from = None;
            let claimed = group.claimed_among(routed.remaining());
            if let Some((index, permit)) = group.enter_past_queue(routed.remaining()) {
                routed.set_claimed_by_others(&claimed);
                return Ok(Admission::Admitted(index, permit));
            }
            return Err(match full {
                Some(full) => {
                    let shortage = Box::new(Shortage::of(routed, now));
                    GatewayError::QueueFull { full, shortage }
                }
                None => GatewayError::no_target(routed),
            });
        }
    };
    // Neither the client nor the config asks for a wait for a grant, so it is not counted.
    let is_asked_for = routed.may_await_grant;
    routed.context.answer.has_waited_for_model |=
        is_asked_for && left_out_until(&candidates, now).is_some();
    routed.context.timing.begin_wait(now);
    let (granted, claimed_better) = {
        let span = routed.context.start_wait();
        let mut waiting = group.enqueue(flow(&routed.context), candidates.clone(), wait_until);
        let mut is_ending = false;
        let granted = loop {
            tokio::select! {
                granted = timeout_at(wait_until, waiting.granted()) => break granted.ok().flatten(),
                end = gateway.shutdown_deadline.wait_until_set(), if !is_ending => {
                    let now = Instant::now();
                    if !may_recover_by(&candidates, end, now) {
                        break None;
                    }
                    is_ending = true;
                    wait_until = wait_until.min(end);
                    waiting.use_all_from(last_moment(wait_until, now));
                }
            }
        };
        if let (Some(span), true) = (&span, granted.is_some()) {
            span.record_served();
        }
        (granted, waiting.claimed_better().to_vec())
    };
    routed.set_claimed_by_others(&claimed_better);
    let waited = routed.context.timing.end_wait();
    wait_budget.left = wait_budget.left.saturating_sub(waited);
    match granted {
        Some((index, permit)) => Ok(Admission::Admitted(index, permit)),
        None => Err(GatewayError::no_target(routed)),
    }
}

/// When a wait that begins now ends at the latest: in time for its client, and for the end of the
/// process.
fn wait_deadline(routed: &RoutedRequest, wait_budget: &WaitBudget, now: Instant) -> Instant {
    routed.context.gateway().shutdown_deadline.earlier_of(wait_budget.wait_deadline(now))
}

fn flow(context: &RequestContext) -> Flow {
    let client = context.caller.client.as_ref().map(|client| Arc::clone(client.key()));
    Flow { client: client.unwrap_or_else(|| "".into()), priority: context.caller.priority }
}
