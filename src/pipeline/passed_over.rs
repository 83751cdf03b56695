//! Which targets a request has passed over without an attempt, and why.
//!
//! The request determines this when a lower-ranked target admits it, and when no target is left. A
//! request that goes to its best target does no work here. A target counts as better by its rank among the
//! candidates; one that can't be a candidate ranks by its place in the route.

use smallvec::{SmallVec, smallvec};
use tokio::time::Instant;

use super::candidate_state::{CandidateState, LeaveReason};
use super::eligibility::{self, Eligibility};
use super::routed::RoutedRequest;
use crate::routing::cooldown::Blocked;
use crate::routing::{Route, Target};
use crate::telemetry::{PassedOverReason, PassedOverTargets};

/// Notes what was passed over on the way to the candidate with this index.
pub(super) fn note_admitted(routed: &mut RoutedRequest, index: usize) {
    let noted = match index == 0 && has_no_better(routed) {
        true => Ranking::default(),
        false => Ranking::of(routed, Some(index)),
    };
    noted.store(routed);
}

/// Notes all that was passed over by a request that no target has answered.
pub(super) fn note_unanswered(routed: &mut RoutedRequest) {
    Ranking::of(routed, None).store(routed);
}

/// The targets of a route of which none can serve the request.
pub(super) fn ineligible(eligibility: &Eligibility<'_>, route: &Route) -> PassedOverTargets {
    let mut passed_over = PassedOverTargets::default();
    for (position, (target, capabilities)) in route.with_capabilities().enumerate() {
        let unpriced = || eligibility.is_unpriced(target).then_some(PassedOverReason::Unpriced);
        if let Some(reason) =
            eligibility.ineligible_reason(position, target, capabilities).or_else(unpriced)
        {
            passed_over.push(&target.name, reason);
        }
    }
    passed_over
}

/// Adds the candidates of a request whose translation is refused for all of them.
pub(super) fn add_untranslatable(
    passed_over: &mut PassedOverTargets,
    candidates: &[CandidateState],
    route: &Route,
) {
    for target in candidates.iter().filter_map(|it| route.targets.get(it.position)) {
        passed_over.push(&target.name, PassedOverReason::Translation);
    }
}

/// Whether no target of the route ranks above the best candidate.
fn has_no_better(routed: &RoutedRequest) -> bool {
    let Some(best) = routed.candidates.first() else { return false };
    let before = routed.candidates.iter().filter(|it| it.position < best.position);
    before.count() == best.position
}

/// What was passed over, found by walking the targets in their rank.
#[derive(Debug, Default)]
struct Ranking {
    passed_over: PassedOverTargets,
    /// Whether the best target of all is among them.
    has_best: bool,
    /// How many targets the walk has visited.
    visited: usize,
}

impl Ranking {
    /// Walks down to the candidate with this index, or through all targets.
    fn of(routed: &RoutedRequest, end: Option<usize>) -> Ranking {
        let now = Instant::now();
        let targets = &routed.route.targets;
        let mut is_candidate: SmallVec<[bool; 16]> = smallvec![false; targets.len()];
        for candidate in &routed.candidates {
            if let Some(mark) = is_candidate.get_mut(candidate.position) {
                *mark = true;
            }
        }
        let mut ranking = Ranking::default();
        let mut ineligible = ineligible_of(routed, &is_candidate).peekable();
        for (index, state) in routed.candidates.iter().enumerate() {
            while let Some((_, target, reason)) =
                ineligible.next_if(|(position, ..)| *position < state.position)
            {
                ranking.visit(target, Some(reason));
            }
            if end == Some(index) {
                return ranking;
            }
            if let Some(target) = targets.get(state.position) {
                let reason = reason_of(routed, index, state, end.is_none(), now);
                ranking.visit(target, reason);
            }
        }
        for (_, target, reason) in ineligible {
            ranking.visit(target, Some(reason));
        }
        ranking
    }

    /// Adds a target, if it was passed over for a reason.
    fn visit(&mut self, target: &Target, reason: Option<PassedOverReason>) {
        if let Some(reason) = reason {
            self.has_best |= self.visited == 0;
            self.passed_over.push(&target.name, reason);
        }
        self.visited += 1;
    }

    fn store(self, routed: &mut RoutedRequest) {
        let answer = &mut routed.context.answer;
        answer.passed_over = self.passed_over;
        answer.is_best_passed_over = self.has_best;
        routed.set_claimed_by_others(&[]);
    }
}

/// The targets of the route that can't be candidates, with their places and the reasons.
fn ineligible_of<'a>(
    routed: &'a RoutedRequest,
    is_candidate: &'a [bool],
) -> impl Iterator<Item = (usize, &'a Target, PassedOverReason)> {
    let eligibility = routed.call.model().map(|model| Eligibility {
        context: &routed.context,
        operation: routed.call.operation,
        model,
        family: eligibility::family(model, &routed.route, routed.internal()),
        peek: &routed.peek,
        headers: &routed.head.headers,
        translate: routed.route.translate,
        passes_none: routed.continues_kept,
    });
    let all = routed.route.with_capabilities().zip(is_candidate).enumerate();
    all.filter(|(_, (_, is_candidate))| !**is_candidate).filter_map(
        move |(position, ((target, capabilities), _))| {
            let eligibility = eligibility.as_ref()?;
            let reason = eligibility.ineligible_reason(position, target, capabilities);
            let unpriced = || eligibility.is_unpriced(target).then_some(PassedOverReason::Unpriced);
            // The fallbacks of a bidirectional stream have no obstacle: it has one attempt.
            Some((position, &**target, reason.or_else(unpriced)?))
        },
    )
}

/// Why a candidate was not attempted; `None` if it was. `is_over` if no target answers the request.
fn reason_of(
    routed: &RoutedRequest,
    index: usize,
    state: &CandidateState,
    is_over: bool,
    now: Instant,
) -> Option<PassedOverReason> {
    let candidate = routed.candidate(index)?;
    let (target, demand) = (&candidate.target, candidate.demand);
    let is_tried = |name: &str| routed.context.answer.attempts.iter().any(|it| *it.target == *name);
    if state.attempts > 0 || is_tried(&target.name) {
        return None;
    }
    if !is_over && routed.is_left_out(index) && routed.fallback_from > Some(now) {
        // While the request waits for its model, other models rank below.
        return None;
    }
    if state.is_claimed_by_others {
        return Some(PassedOverReason::Queue);
    }
    let is_denied = match state.leave_reason {
        Some(LeaveReason::Denied(_)) => true,
        Some(LeaveReason::Untranslatable) => return Some(PassedOverReason::Translation),
        Some(_) => return None,
        None => routed.is_denied(index),
    };
    Some(match target.blocked(demand, now) {
        _ if is_denied => PassedOverReason::Denied,
        Some(Blocked::Until(_)) => PassedOverReason::Cooling,
        Some(Blocked::Probing) => PassedOverReason::Probing,
        Some(Blocked::Drained) => PassedOverReason::Drained,
        Some(Blocked::DailyQuota(_)) => PassedOverReason::NoDailyQuota,
        // It draws on no quota and is not blocked, so it became free after admission.
        None if !demand.draws_on_quota() => return None,
        None if target.day_full_until(demand, now).is_some() => PassedOverReason::NoDailyQuota,
        None if is_over && routed.route.group.waiting() > 0 => PassedOverReason::Queue,
        None if routed.excess(target).is_some() => PassedOverReason::Oversized,
        None => PassedOverReason::NoQuota,
    })
}
