//! What an upstream's error means for the request and for the target that gave it.

use http::StatusCode;

use crate::bedrock::ErrorKind;
use crate::bedrock::error::Reported;

/// The classes of failed attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A quota of the minute is used up: the target cools down.
    Throttled,
    /// The quota of the day is used up: the target cools down for long.
    Exhausted,
    /// The service failed or was not reached: another try on the same target may do.
    Transient,
    /// The target took too long: the next one, no other try here.
    Slow,
    /// The target sent a success that is encoded and so can't be read: the next one, no other try
    /// here, since each is paid for.
    Encoded,
    /// The gateway could not make a valid request: no credentials, or none that count.
    Unusable,
    /// The gateway had nothing left to open a connection with: no matter of the target's.
    ResourceExhausted,
    /// The answer to this request, and no matter of the target's state.
    Terminal,
}

impl Class {
    /// The name in metrics and the access log.
    pub fn name(self) -> &'static str {
        match self {
            Class::Throttled => "throttled",
            Class::Exhausted => "exhausted",
            Class::Transient => "transient",
            Class::Slow => "slow",
            Class::Encoded => "encoded",
            Class::Unusable => "unusable",
            Class::ResourceExhausted => "resource_exhausted",
            Class::Terminal => "terminal",
        }
    }

    /// Whether the failure is the client's own.
    pub fn is_clients(self) -> bool {
        self == Class::Terminal
    }

    /// Whether a quota was used up.
    pub fn is_quota(self) -> bool {
        matches!(self, Class::Throttled | Class::Exhausted)
    }
}

/// Classifies an error answer by its status and what it says of itself.
pub fn classify(status: StatusCode, reported: &Reported) -> Class {
    match reported.kind() {
        Some(ErrorKind::Throttling | ErrorKind::ServiceQuotaExceeded) => quota(&reported.message),
        Some(ErrorKind::ModelNotReady) => Class::Transient,
        Some(ErrorKind::ServiceUnavailable | ErrorKind::InternalServer) => Class::Transient,
        Some(ErrorKind::ModelTimeout | ErrorKind::RequestTimeout) => Class::Slow,
        // The gateway's own credentials, which are no matter of the client's.
        Some(
            ErrorKind::ExpiredToken
            | ErrorKind::UnrecognizedClient
            | ErrorKind::InvalidSignature
            | ErrorKind::IncompleteSignature
            | ErrorKind::MissingAuthenticationToken,
        ) => Class::Unusable,
        Some(_) => Class::Terminal,
        None => match status.as_u16() {
            429 => quota(&reported.message),
            408 => Class::Slow,
            // Other services' names for the same, which appear with status 400 too.
            _ if reported.name.as_deref().is_some_and(is_throttle_name) => quota(&reported.message),
            500.. => Class::Transient,
            _ => Class::Terminal,
        },
    }
}

/// Whether a terminal answer tells that this target can't serve anybody as it is configured:
/// the model is not enabled, not there, or not callable this way.
pub fn is_misconfiguration(status: StatusCode, reported: &Reported) -> bool {
    let message = reported.message.to_ascii_lowercase();
    match status.as_u16() {
        403 | 404 => true,
        400 => {
            message.contains("model identifier is invalid")
                || message.contains("on-demand throughput")
        }
        _ => false,
    }
}

/// Whether a terminal answer tells of a limit of the model rather than of a wrong request: a
/// fallback's, which the requested model may not have.
pub fn is_limit_of_model(status: StatusCode, reported: &Reported) -> bool {
    const SIGNS: [&str; 7] =
        ["too long", "too large", "maximum", "exceed", "context", "not support", "unsupported"];
    let message = reported.message.to_ascii_lowercase();
    status == StatusCode::BAD_REQUEST && SIGNS.iter().any(|sign| message.contains(sign))
}

fn quota(message: &str) -> Class {
    let per_day = message.to_ascii_lowercase().contains("per day");
    if per_day { Class::Exhausted } else { Class::Throttled }
}

fn is_throttle_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("throttl") || name.contains("toomanyrequests") || name.contains("limitexceeded")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, name: Option<&str>, message: &str) -> Class {
        let reported = Reported { name: name.map(str::to_owned), message: message.to_owned() };
        classify(StatusCode::from_u16(status).unwrap(), &reported)
    }

    #[test]
    fn the_outcome_table() {
        let requests = "Too many requests, please wait before trying again.";
        let per_day = "Too many tokens per day, please wait before trying again.";
        for (status, name, message, wanted) in [
            (429, Some("ThrottlingException"), requests, Class::Throttled),
            (429, Some("ThrottlingException"), per_day, Class::Exhausted),
            (400, Some("ServiceQuotaExceededException"), "", Class::Throttled),
            (429, None, "", Class::Throttled),
            (429, Some("SomethingNew"), "", Class::Throttled),
            (400, Some("ThrottledException"), "", Class::Throttled),
            (429, Some("ModelNotReadyException"), "", Class::Transient),
            (503, Some("ServiceUnavailableException"), "", Class::Transient),
            (500, Some("InternalServerException"), "", Class::Transient),
            (502, None, "", Class::Transient),
            (504, None, "", Class::Transient),
            (408, Some("ModelTimeoutException"), "", Class::Slow),
            (408, None, "", Class::Slow),
            (424, Some("ModelErrorException"), "", Class::Terminal),
            (400, Some("ValidationException"), "", Class::Terminal),
            (403, Some("AccessDeniedException"), "", Class::Terminal),
            (403, Some("ExpiredTokenException"), "", Class::Unusable),
            (403, Some("InvalidSignatureException"), "", Class::Unusable),
            (404, Some("ResourceNotFoundException"), "", Class::Terminal),
            (413, None, "", Class::Terminal),
        ] {
            assert_eq!(class(status, name, message), wanted, "{status} {name:?}");
        }
    }
}
