//! A target that a request may use, together with what the request would take of its quota.

use std::sync::Arc;

use smallvec::SmallVec;

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
}

/// Candidates of one request, best first.
pub type Candidates = SmallVec<[Candidate; 4]>;
