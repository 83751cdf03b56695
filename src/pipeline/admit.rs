//! Which target a request goes to now, and the wait when none takes it.
//!
//! Targets are taken in the order of the route. When all that are left are cooling or being
//! probed, the request waits until one is due or changes, but not longer than the queue and its
//! own deadline allow; a wait that is bound to fail is not begun.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Gateway;
use super::refusal::Refusal;
use super::route::Candidate;
use crate::routing::Permit;
use crate::routing::cooldown::{Blocked, State};

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

/// Takes the best candidate that is free, or waits for one. `preferred` is tried first.
pub(super) async fn admit(
    gateway: &Gateway,
    candidates: &[Candidate],
    preferred: Option<usize>,
    bytes: usize,
    patience: &mut Patience,
    queued: &mut Duration,
) -> Result<Admission, Refusal> {
    let mut due = match enter(candidates, preferred) {
        Found::Go(index, permit) => return Ok(Admission::Go(index, permit)),
        Found::Nothing => return Ok(Admission::NothingLeft),
        Found::Wait(due) => due,
    };
    let began = Instant::now();
    let give_up = patience.deadline.min(began + patience.left);
    refuse_if_hopeless(candidates, due, give_up)?;
    let _place = gateway
        .waiting
        .enter(bytes)
        .map_err(|full| Refusal::QueueFull { full, due: first_due(candidates).1 })?;
    let result = loop {
        let changed = gateway.router.changed().notified();
        tokio::pin!(changed);
        // From here on no change is missed, so look once more before sleeping.
        changed.as_mut().enable();
        match enter(candidates, None) {
            Found::Go(index, permit) => break Ok(Admission::Go(index, permit)),
            Found::Nothing => break Ok(Admission::NothingLeft),
            Found::Wait(next) => due = next,
        }
        if let Err(refusal) = refuse_if_hopeless(candidates, due, give_up) {
            break Err(refusal);
        }
        tokio::select! {
            () = changed => {}
            () = sleep_until(due.unwrap_or(give_up).min(give_up)) => {}
        }
    };
    let waited = began.elapsed();
    *queued += waited;
    patience.left = patience.left.saturating_sub(waited);
    result
}

/// Whether a candidate other than `except` would take the request now.
pub(super) fn any_free(candidates: &[Candidate], except: usize) -> bool {
    let now = Instant::now();
    candidates.iter().enumerate().any(|(index, candidate)| {
        index != except && !candidate.is_out && candidate.target.is_free(now)
    })
}

/// The refusal of a request for which every candidate is throttled or done with.
pub(super) fn all_throttled(candidates: &[Candidate]) -> Refusal {
    let (target, due) = first_due(candidates);
    Refusal::AllThrottled { target, due }
}

enum Found {
    Go(usize, Permit),
    /// None is free; the first is due then, if that is known.
    Wait(Option<Instant>),
    Nothing,
}

fn enter(candidates: &[Candidate], preferred: Option<usize>) -> Found {
    let now = Instant::now();
    let first = preferred.into_iter().filter_map(|index| Some((index, candidates.get(index)?)));
    let mut found = Found::Nothing;
    for (index, candidate) in first.chain(candidates.iter().enumerate()) {
        if candidate.is_out {
            continue;
        }
        match (candidate.target.enter(now), &found) {
            (Ok(permit), _) => return Found::Go(index, permit),
            (Err(Blocked::Until(until)), Found::Wait(Some(due))) if until >= *due => {}
            (Err(Blocked::Until(until)), _) => found = Found::Wait(Some(until)),
            (Err(Blocked::Probing), Found::Nothing) => found = Found::Wait(None),
            (Err(Blocked::Probing), _) => {}
        }
    }
    found
}

fn refuse_if_hopeless(
    candidates: &[Candidate],
    due: Option<Instant>,
    give_up: Instant,
) -> Result<(), Refusal> {
    let now = Instant::now();
    // A probe under way may end any time, whatever the others are due.
    let probing = candidates
        .iter()
        .any(|candidate| !candidate.is_out && candidate.target.state(now) == State::HalfOpen);
    if now >= give_up || !probing && due.is_some_and(|due| due > give_up) {
        return Err(all_throttled(candidates));
    }
    Ok(())
}

/// The target that is due first, and in how long; a probe under way may be due at once.
fn first_due(candidates: &[Candidate]) -> (String, Duration) {
    let now = Instant::now();
    let in_how_long = |candidate: &Candidate| match candidate.target.state(now) {
        State::Cooling(until) => until - now,
        State::Open | State::HalfOpen => Duration::ZERO,
    };
    candidates
        .iter()
        .map(|candidate| (candidate, in_how_long(candidate)))
        .min_by_key(|(_, due)| *due)
        .map_or_else(Default::default, |(first, due)| (first.target.name.to_string(), due))
}
