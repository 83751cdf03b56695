//! The failure that a client gets if no candidate answers: that of the best candidate.
//!
//! What a fallback's model can't do (a misfit) is the last choice: the client did not ask for that
//! model. It is an answer only if all misfits agree, or if there is nothing else.

use std::sync::Arc;

use crate::routing::Target;
use crate::upstream::Failure;

/// As what a candidate's failure is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeepAs {
    /// A failure that may be the client's answer.
    Failure,
    /// A misfit, which is the client's answer only for want of a failure.
    Misfit,
    /// Not kept: it is never the client's answer.
    Nothing,
}

/// The failures of a request that may be its answer.
#[derive(Debug, Default)]
pub(super) struct BestFailure {
    failure: Option<KeptFailure>,
    misfit: Option<Misfit>,
}

#[derive(Debug)]
struct KeptFailure {
    index: usize,
    target: Arc<Target>,
    failure: Failure,
}

#[derive(Debug)]
struct Misfit {
    kept: KeptFailure,
    /// Whether all misfits so far agree.
    is_common: bool,
}

impl BestFailure {
    /// Keeps the failure of the candidate with this index, unless a better candidate's is kept.
    pub(super) fn keep(
        &mut self,
        keep_as: KeepAs,
        index: usize,
        target: &Arc<Target>,
        failure: Failure,
    ) {
        let kept = KeptFailure { index, target: Arc::clone(target), failure };
        match keep_as {
            KeepAs::Failure => {
                if self.failure.as_ref().is_none_or(|before| index <= before.index) {
                    self.failure = Some(kept);
                }
            }
            KeepAs::Misfit => {
                self.misfit = Some(match self.misfit.take() {
                    None => Misfit { kept, is_common: true },
                    Some(Misfit { kept: before, is_common }) => {
                        let (one, other) = (&before.failure, &kept.failure);
                        let is_same = one.error_status() == other.error_status()
                            && one.reported == other.reported;
                        let best = if before.index < index { before } else { kept };
                        Misfit { kept: best, is_common: is_common && is_same }
                    }
                });
            }
            KeepAs::Nothing => {}
        }
    }

    /// Whether there is an answer for a request whose other candidates are out.
    pub(super) fn is_answer(&self) -> bool {
        self.failure.is_some() || self.misfit.as_ref().is_some_and(|misfit| misfit.is_common)
    }

    /// Takes the best failure, with the index of its candidate and its target; a misfit only if
    /// `takes_misfit`.
    pub(super) fn take(&mut self, takes_misfit: bool) -> Option<(usize, Arc<Target>, Failure)> {
        let misfit = self.misfit.take().filter(|_| takes_misfit).map(|misfit| misfit.kept);
        let KeptFailure { index, target, failure } = self.failure.take().or(misfit)?;
        Some((index, target, failure))
    }
}
