//! The failure that a client gets if no candidate answers: that of the best candidate.
//!
//! The error of a fallback's model that does not support the request comes last: the client did not
//! ask for that model. It is an answer only if all such errors agree, or if there is no other failure.

use std::sync::Arc;

use crate::routing::Target;
use crate::upstream::Failure;

/// How a failure may be used as the client's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureUse {
    /// A failure that may be the client's answer.
    Failure,
    /// The target's model does not support the request: the client's answer only if there is no other
    /// failure.
    Unsupported,
    /// Not kept: it is never the client's answer.
    Nothing,
}

/// The failures of a request that may be its answer.
#[derive(Debug, Default)]
pub(super) struct BestFailure {
    failure: Option<KeptFailure>,
    unsupported: Option<Unsupported>,
}

#[derive(Debug)]
struct KeptFailure {
    index: usize,
    target: Arc<Target>,
    failure: Failure,
}

#[derive(Debug)]
struct Unsupported {
    kept: KeptFailure,
    /// Whether all such errors so far agree.
    is_common: bool,
}

impl BestFailure {
    /// Keeps the failure of the candidate with this index, unless a better candidate's is kept.
    pub(super) fn keep(
        &mut self,
        failure_use: FailureUse,
        index: usize,
        target: &Arc<Target>,
        failure: Failure,
    ) {
        let kept = KeptFailure { index, target: Arc::clone(target), failure };
        match failure_use {
            FailureUse::Failure => {
                if self.failure.as_ref().is_none_or(|before| index <= before.index) {
                    self.failure = Some(kept);
                }
            }
            FailureUse::Unsupported => {
                self.unsupported = Some(match self.unsupported.take() {
                    None => Unsupported { kept, is_common: true },
                    Some(Unsupported { kept: before, is_common }) => {
                        let (one, other) = (&before.failure, &kept.failure);
                        let is_same = one.error_status() == other.error_status()
                            && one.reported == other.reported;
                        let best = if before.index < index { before } else { kept };
                        Unsupported { kept: best, is_common: is_common && is_same }
                    }
                });
            }
            FailureUse::Nothing => {}
        }
    }

    /// Whether there is an answer for a request whose other candidates are not available.
    pub(super) fn is_answer(&self) -> bool {
        self.failure.is_some()
            || self.unsupported.as_ref().is_some_and(|unsupported| unsupported.is_common)
    }

    /// Takes the best failure, with the index of its candidate and its target; the error of a
    /// model that does not support the request only if `accepts_unsupported`.
    pub(super) fn take(
        &mut self,
        accepts_unsupported: bool,
    ) -> Option<(usize, Arc<Target>, Failure)> {
        let unsupported = self
            .unsupported
            .take()
            .filter(|_| accepts_unsupported)
            .map(|unsupported| unsupported.kept);
        let KeptFailure { index, target, failure } = self.failure.take().or(unsupported)?;
        Some((index, target, failure))
    }
}
