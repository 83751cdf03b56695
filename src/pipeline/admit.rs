//! Which target a request goes to now, and the wait when none takes it.
//!
//! Targets are tried in the order of the request's candidates. When none has room, the request
//! joins the line of its pool, unless the queue is full or the wait is bound to fail; it leaves
//! when it is served, when its time is over, when the process ends, or when its client goes away.

use std::sync::Arc;

use tokio::time::Instant;

use super::context::RequestContext;
use super::deadline::WaitBudget;
use super::error::GatewayError;
use super::routed::RoutedRequest;
use super::shortage::Shortage;
use crate::quota::{Curfew, Flow};
use crate::routing::{Candidate, Candidates, Permit, is_hopeful};
use crate::system::time::{sleep_until, timeout_at};

/// What came of the search for a target.
#[derive(Debug)]
pub(super) enum Admission {
    /// Leave to send to the candidate with this index.
    Go(usize, Permit),
    /// This request is done with every candidate.
    NothingLeft,
}

/// Takes the best candidate that has room, or waits for one. A `preferred` one is tried first, and
/// without regard to the line: the request has had its turn there.
pub(super) async fn admit(
    routed: &mut RoutedRequest,
    preferred: Option<usize>,
    wait_budget: &mut WaitBudget,
) -> Result<Admission, GatewayError> {
    let now = Instant::now();
    let is_in = |index: &usize| routed.candidates.get(*index).is_some_and(|it| it.left.is_none());
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
    let pool = Arc::clone(&routed.route.pool);
    let candidates: Candidates = routed.remaining().collect();
    if candidates.is_empty() {
        return Ok(Admission::NothingLeft);
    }
    let gateway = Arc::clone(routed.context.gateway());
    let give_up = gateway.curfew.cut(wait_budget.deadline.min(now + wait_budget.left));
    if give_up <= now || !is_hopeful(&candidates, give_up, now) {
        return Err(GatewayError::no_target(routed));
    }
    let place = gateway.waiting.enter(routed.body.len());
    let _place = place.map_err(|full| GatewayError::QueueFull {
        full,
        shortage: Box::new(Shortage::of(routed, now)),
    })?;
    let granted = {
        let span = routed.context.begins_wait();
        let mut waiting = pool.join(flow(&routed.context), candidates.clone());
        let granted = tokio::select! {
            granted = timeout_at(give_up, waiting.granted()) => granted.ok().flatten(),
            () = no_hope_before_shutdown(&gateway.curfew, &candidates) => None,
        };
        if let (Some(span), true) = (&span, granted.is_some()) {
            span.served();
        }
        granted
    };
    let waited = now.elapsed();
    routed.context.queued += waited;
    wait_budget.left = wait_budget.left.saturating_sub(waited);
    match granted {
        Some((index, permit)) => Ok(Admission::Go(index, permit)),
        None => Err(GatewayError::no_target(routed)),
    }
}

/// Waits until the process ends too soon for any of the candidates.
async fn no_hope_before_shutdown(curfew: &Curfew, candidates: &[Candidate]) {
    let end = curfew.known().await;
    if is_hopeful(candidates, end, Instant::now()) {
        sleep_until(end).await;
    }
}

fn flow(context: &RequestContext) -> Flow {
    let client = context.client.as_ref().map(|client| Arc::clone(client.key()));
    Flow { client: client.unwrap_or_else(|| "".into()), priority: context.priority }
}
