//! A target that a request may use, together with what the request would take of its quota, and from when
//! on the request may use it.
//!
//! A request may stay with the model that it asks for before another model answers. Targets with another
//! model then have a `not_before`, and are left out until that instant. They are not left out where waiting
//! is in vain: when none of the others can serve the request by that instant.

use std::sync::Arc;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::cooldown::State;
use super::demand::QuotaDemand;
use super::target::Target;

/// A target that one request may use.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its rank among the candidates of the request; 0 is the best.
    pub index: usize,
    /// The target.
    pub target: Arc<Target>,
    /// What the request would take of the target's quota.
    pub demand: QuotaDemand,
    /// When the request may use it at the earliest. `None`: at once.
    pub not_before: Option<Instant>,
}

/// Candidates of one request, best first.
pub type Candidates = SmallVec<[Candidate; 4]>;

impl Candidate {
    /// Whether its target may have quota left by `limit`. A quota may have some left before it is due, since
    /// requests in flight may give some back; a cooldown ends when it ends.
    /// A quota of the day that is used up stays so.
    fn may_recover_by(&self, limit: Instant, now: Instant) -> bool {
        if self.target.day_full_until(self.demand, now).is_some_and(|until| until > limit) {
            return false;
        }
        match self.target.state_for(self.demand, now) {
            State::Cooling(until) => until <= limit,
            State::Available | State::Probing => true,
            State::Drained => false,
        }
    }

    /// Until when the request should wait for this replica's lease of the target's quota, if that is all that
    /// keeps it from the target.
    pub fn grant_due(&self, now: Instant) -> Option<Instant> {
        let (target, demand) = (&self.target, self.demand);
        if !demand.draws_on_quota() || !target.is_free(demand, now) {
            return None;
        }
        target.quota().grant_due(target.token_demand(demand), now)
    }

    /// Whether it may serve the request by `limit`, as far as cooldown, quota and denials show.
    fn may_serve_by(&self, limit: Instant, now: Instant) -> bool {
        let (target, demand) = (&self.target, self.demand);
        self.may_recover_by(limit, now)
            && target.denial(demand.operation).is_none()
            && (!demand.draws_on_quota()
                || target.quota().may_have_room_by(target.token_demand(demand), limit, now))
    }
}

/// Whether a candidate may have quota left by `limit`; a wait that is bound to fail is not begun.
pub fn may_recover_by(candidates: &[Candidate], limit: Instant, now: Instant) -> bool {
    candidates.iter().any(|candidate| candidate.may_recover_by(limit, now))
}

/// Until when the candidates that have a `not_before` are left out. `None` if they are not: their time has
/// come, or no other candidate can serve the request before.
pub fn left_out_until(candidates: &[Candidate], now: Instant) -> Option<Instant> {
    let until = candidates.iter().filter_map(|candidate| candidate.not_before).min()?;
    if until <= now {
        return None;
    }
    let mut own = candidates.iter().filter(|candidate| candidate.not_before.is_none());
    own.any(|own| own.may_serve_by(until, now)).then_some(until)
}
