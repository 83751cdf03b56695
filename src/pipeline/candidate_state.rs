//! The state of a request at one of its candidates, and why it gives up on one.

use http::StatusCode;

use super::translations::Way;
use crate::routing::Excess;

/// The state of a request at one of its candidates. It names the target by its position, so that a
/// request reads no target that it does not use; most use only the first one.
#[derive(Clone, Copy, Debug)]
pub(super) struct CandidateState {
    /// The target's position in the route.
    pub(super) position: usize,
    /// Attempts made there.
    pub(super) attempts: u32,
    /// Why this request gave up on it; `None` if it did not.
    pub(super) leave_reason: Option<LeaveReason>,
    /// Whether it is tried although it is known to deny the operation.
    pub(super) is_last_resort: bool,
    /// Whether it was passed over in the queue because others ahead claim its quota.
    pub(super) is_claimed_by_others: bool,
    /// How it gets the request.
    pub(super) way: Way,
}

/// Why a request gives up on a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaveReason {
    /// The target refused the operation: no permission, no such model, not callable this way.
    Denied(StatusCode),
    /// The target's model does not support this request.
    Unsupported(StatusCode),
    /// The request can't be translated for the target's model.
    Untranslatable,
    /// The service failed, or did not answer in time.
    Failed(StatusCode),
    /// The request takes more tokens than the whole quota, and was throttled.
    Oversized(Excess),
    /// There was no connection, or it broke before an answer.
    Unreachable,
    /// The gateway has no credentials, no connection or no room for a translation for the target, or its
    /// credentials were refused.
    Unusable,
}

impl LeaveReason {
    /// Whether the target failed, or the gateway at reaching it.
    pub(super) fn is_failure(self) -> bool {
        match self {
            LeaveReason::Failed(_) | LeaveReason::Unreachable | LeaveReason::Unusable => true,
            LeaveReason::Denied(_)
            | LeaveReason::Unsupported(_)
            | LeaveReason::Untranslatable
            | LeaveReason::Oversized(_) => false,
        }
    }

    /// The status that the target gave, if it gave one.
    pub(super) fn status(self) -> Option<StatusCode> {
        match self {
            LeaveReason::Denied(status)
            | LeaveReason::Unsupported(status)
            | LeaveReason::Failed(status) => Some(status),
            LeaveReason::Untranslatable
            | LeaveReason::Oversized(_)
            | LeaveReason::Unreachable
            | LeaveReason::Unusable => None,
        }
    }
}

impl CandidateState {
    pub(super) fn new(position: usize, way: Way) -> CandidateState {
        CandidateState {
            position,
            attempts: 0,
            leave_reason: None,
            is_last_resort: false,
            is_claimed_by_others: false,
            way,
        }
    }
}
