//! What the gateway answers when a client's events end its bidirectional stream.

use super::context::Outcome;
use crate::bedrock::ErrorKind;
use crate::upstream::events::EventsError;

/// The error's name on the wire.
pub(super) fn kind(error: &EventsError) -> ErrorKind {
    match error {
        EventsError::NotAnEvent(_) | EventsError::Broken(_) | EventsError::Over => {
            ErrorKind::Validation
        }
        EventsError::Forged(_) | EventsError::NoEnd => ErrorKind::InvalidSignature,
        EventsError::TooLong(_) => ErrorKind::RequestTooLarge,
        EventsError::Unsigned(_) => ErrorKind::ServiceUnavailable,
    }
}

/// The outcome in metrics and the access log.
pub(super) fn outcome(error: &EventsError) -> Outcome {
    match error {
        EventsError::NotAnEvent(_) => Outcome::BadRequest,
        EventsError::Forged(_) | EventsError::NoEnd => Outcome::Unauthenticated,
        EventsError::TooLong(_) => Outcome::BodyTooLarge,
        EventsError::Broken(_) | EventsError::Over => Outcome::ClientGone,
        EventsError::Unsigned(_) => Outcome::UpstreamError,
    }
}
