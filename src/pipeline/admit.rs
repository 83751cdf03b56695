//! Which target a request goes to now, and the wait when none takes it.
//!
//! Targets are tried in the order of the request's candidates. When none has room, the request
//! joins the line of its pool, unless the queue is full or the wait is bound to fail; it leaves
//! when it is served, when its time is over, when the process ends, or when its client goes away.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::exchange::Exchange;
use super::refusal::Refusal;
use super::route::Routed;
use super::shortage::{self, Shortage};
use crate::quota::{Flow, ShutdownDeadline};
use crate::routing::{Candidate, Candidates, Permit, may_recover_by};
use crate::system::time::{sleep_until, timeout_at};

/// What came of the search for a target.
#[derive(Debug)]
pub(super) enum Admission {
    /// Leave to send to the candidate with this index.
    Go(usize, Permit),
    /// This request is done with every candidate.
    NothingLeft,
}

/// How long a request may still wait, over all its waits.
#[derive(Debug)]
pub(super) struct Patience {
    pub(super) left: Duration,
    pub(super) deadline: Instant,
}

/// Takes the best candidate that has room, or waits for one. A `preferred` one is tried first, and
/// without regard to the line: the request has had its turn there.
pub(super) async fn admit(
    routed: &mut Routed,
    preferred: Option<usize>,
    patience: &mut Patience,
) -> Result<Admission, Refusal> {
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
    let group = Arc::clone(&routed.route.group);
    let candidates: Candidates = routed.remaining().collect();
    if candidates.is_empty() {
        return Ok(Admission::NothingLeft);
    }
    let gateway = Arc::clone(routed.exchange.gateway());
    let give_up = gateway.shutdown_deadline.earlier_of(patience.deadline.min(now + patience.left));
    if give_up <= now || !may_recover_by(&candidates, give_up, now) {
        return Err(shortage::refusal(routed));
    }
    let place = gateway.queue_limits.enter(routed.body.len());
    let _place = place.map_err(|full| Refusal::QueueFull {
        full,
        shortage: Box::new(Shortage::of(routed, now)),
    })?;
    let granted = {
        let span = routed.exchange.begins_wait();
        let mut waiting = group.join(flow(&routed.exchange), candidates.clone());
        let granted = tokio::select! {
            granted = timeout_at(give_up, waiting.granted()) => granted.ok().flatten(),
            () = turned_away(&gateway.shutdown_deadline, &candidates) => None,
        };
        if let (Some(span), true) = (&span, granted.is_some()) {
            span.served();
        }
        granted
    };
    let waited = now.elapsed();
    routed.exchange.queued += waited;
    patience.left = patience.left.saturating_sub(waited);
    match granted {
        Some((index, permit)) => Ok(Admission::Go(index, permit)),
        None => Err(shortage::refusal(routed)),
    }
}

/// Waits until the process ends too soon for any of the candidates.
async fn turned_away(shutdown_deadline: &ShutdownDeadline, candidates: &[Candidate]) {
    let end = shutdown_deadline.wait_until_set().await;
    if may_recover_by(candidates, end, Instant::now()) {
        sleep_until(end).await;
    }
}

/// Whether a candidate other than `except` would take the request now, as far as cooldowns tell.
pub(super) fn any_free(routed: &Routed, except: usize) -> bool {
    let now = Instant::now();
    let mut others = routed.remaining().filter(|candidate| candidate.index != except);
    others.any(|candidate| candidate.target.is_free(candidate.demand, now))
}

fn flow(exchange: &Exchange) -> Flow {
    let client = exchange.client.as_ref().map(|client| Arc::clone(client.key()));
    Flow { client: client.unwrap_or_else(|| "".into()), priority: exchange.priority }
}
