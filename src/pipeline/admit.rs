//! Admission: which target a request goes to now, and the queue if none has room.
//!
//! Candidates are tried in order. If none has room, the request joins the queue, unless the queue is
//! full or no target can recover in time. It leaves the queue when it is served, when its time is
//! over, when the process shuts down, or when its client goes away.

use std::sync::Arc;

use tokio::time::Instant;

use super::context::RequestContext;
use super::deadline::WaitBudget;
use super::error::GatewayError;
use super::routed::RoutedRequest;
use super::shortage::Shortage;
use crate::limits::Caller;
use crate::quota::{Flow, ShutdownDeadline};
use crate::routing::{Candidate, Candidates, Permit, may_recover_by};
use crate::system::time::{sleep_until, timeout_at};

/// The result of the search for a target.
#[derive(Debug)]
pub(super) enum Admission {
    /// Leave to send to the candidate with this index.
    Go(usize, Permit),
    /// This request is done with every candidate.
    NothingLeft,
}

/// Takes the best candidate that has room, or waits for one. A `preferred` candidate is tried first,
/// ahead of the queue: the request has had its turn there.
pub(super) async fn admit(
    routed: &mut RoutedRequest,
    preferred: Option<usize>,
    wait_budget: &mut WaitBudget,
) -> Result<Admission, GatewayError> {
    let now = Instant::now();
    let is_in =
        |index: &usize| routed.candidates.get(*index).is_some_and(|it| it.leave_reason.is_none());
    let again = preferred.filter(is_in).and_then(|index| routed.candidate(index));
    if let Some(candidate) = again
        && let Ok(permit) = candidate.target.enter(candidate.demand, now)
    {
        return Ok(Admission::Go(candidate.index, permit));
    }
    if let Some((index, permit)) = routed.route.enter(routed.remaining()) {
        return Ok(Admission::Go(index, permit));
    }
    routed.leave_denied();
    if let Some((index, permit)) = routed.route.enter(routed.remaining()) {
        return Ok(Admission::Go(index, permit));
    }
    let group = Arc::clone(&routed.route.group);
    let candidates: Candidates = routed.remaining().collect();
    if candidates.is_empty() {
        return Ok(Admission::NothingLeft);
    }
    let gateway = Arc::clone(routed.context.gateway());
    let give_up =
        gateway.shutdown_deadline.earlier_of(wait_budget.deadline.min(now + wait_budget.left));
    if give_up <= now || !may_recover_by(&candidates, give_up, now) {
        return Err(GatewayError::no_target(routed));
    }
    let name = routed.context.caller.client.as_ref().and_then(Caller::name);
    let place = gateway.queue_limits.enter(routed.body.len(), name);
    let _place = place.map_err(|full| GatewayError::QueueFull {
        full,
        shortage: Box::new(Shortage::of(routed, now)),
    })?;
    let (granted, held_from) = {
        let span = routed.context.start_wait();
        let mut waiting = group.join(flow(&routed.context), candidates.clone());
        let granted = tokio::select! {
            granted = timeout_at(give_up, waiting.granted()) => granted.ok().flatten(),
            () = no_hope_before_shutdown(&gateway.shutdown_deadline, &candidates) => None,
        };
        if let (Some(span), true) = (&span, granted.is_some()) {
            span.record_served();
        }
        (granted, waiting.held_from().to_vec())
    };
    routed.note_held(&held_from);
    let waited = now.elapsed();
    routed.context.timing.queued += waited;
    wait_budget.left = wait_budget.left.saturating_sub(waited);
    match granted {
        Some((index, permit)) => Ok(Admission::Go(index, permit)),
        None => Err(GatewayError::no_target(routed)),
    }
}

/// Waits until the process is about to end before any of the candidates can recover.
async fn no_hope_before_shutdown(shutdown_deadline: &ShutdownDeadline, candidates: &[Candidate]) {
    let end = shutdown_deadline.wait_until_set().await;
    if may_recover_by(candidates, end, Instant::now()) {
        sleep_until(end).await;
    }
}

fn flow(context: &RequestContext) -> Flow {
    let client = context.caller.client.as_ref().map(|client| Arc::clone(client.key()));
    Flow { client: client.unwrap_or_else(|| "".into()), priority: context.caller.priority }
}
