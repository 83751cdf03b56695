//! Classifies upstream errors by what they mean for the request and for its target.

use http::StatusCode;

use crate::bedrock::ErrorKind;
use crate::bedrock::error::Reported;

/// The classes of failed attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// A quota per minute is used up: the target cools down.
    Throttled,
    /// The daily quota is used up: the target cools down for long.
    Exhausted,
    /// The service failed or was not reached: a retry on the same target may succeed.
    Transient,
    /// The target took too long: the request goes to the next target and is not retried on this one.
    Slow,
    /// The target sent a compressed success, which the gateway can't read: the request goes to the next
    /// target and is not retried on this one, since each success is paid for.
    Encoded,
    /// The target sent a success that can't be translated into the client's API: the request goes to the
    /// next target and is not retried on this one, since each success is paid for.
    Untranslatable,
    /// The gateway could not make a valid request: it has no credentials, or AWS rejected them.
    Unusable,
    /// The gateway had no resources left to open a connection. This does not affect the target's state.
    ResourceExhausted,
    /// The upstream denies this: no permission, no such model, or an operation that the model does not
    /// support. The request goes to the next target; `routing::access` decides what it means for others.
    Denied,
    /// A response that is not Bedrock's, such as a proxy's: the request goes to the next target. This
    /// does not affect the target's state.
    Foreign,
    /// An error of this request itself, which is relayed. This does not affect the target's state.
    Terminal,
}

impl FailureClass {
    /// All classes, in the order of their declaration.
    pub const ALL: [FailureClass; 11] = [
        FailureClass::Throttled,
        FailureClass::Exhausted,
        FailureClass::Transient,
        FailureClass::Slow,
        FailureClass::Encoded,
        FailureClass::Untranslatable,
        FailureClass::Unusable,
        FailureClass::ResourceExhausted,
        FailureClass::Denied,
        FailureClass::Foreign,
        FailureClass::Terminal,
    ];

    /// The name in metrics and the access log.
    pub fn name(self) -> &'static str {
        match self {
            FailureClass::Throttled => "throttled",
            FailureClass::Exhausted => "exhausted",
            FailureClass::Transient => "transient",
            FailureClass::Slow => "slow",
            FailureClass::Encoded => "encoded",
            FailureClass::Untranslatable => "untranslatable",
            FailureClass::Unusable => "unusable",
            FailureClass::ResourceExhausted => "resource_exhausted",
            FailureClass::Denied => "denied",
            FailureClass::Foreign => "foreign",
            FailureClass::Terminal => "terminal",
        }
    }

    /// Whether the request itself is the cause.
    pub fn is_client_error(self) -> bool {
        self == FailureClass::Terminal
    }

    /// Whether a quota was used up.
    pub fn is_quota(self) -> bool {
        matches!(self, FailureClass::Throttled | FailureClass::Exhausted)
    }
}

// A class that is declared before the last one has to be in `ALL`, too.
const _: () = assert!(FailureClass::Terminal as usize + 1 == FailureClass::ALL.len());

/// Classifies an error response by its status and by the error that it reports.
pub fn classify(status: StatusCode, reported: &Reported) -> FailureClass {
    match reported.kind() {
        Some(ErrorKind::Throttling | ErrorKind::ServiceQuotaExceeded) => quota(&reported.message),
        Some(ErrorKind::ModelNotReady) => FailureClass::Transient,
        // OpenAI's dialect has one name for all failures of the service.
        Some(ErrorKind::ServiceUnavailable | ErrorKind::InternalServer)
            if status == StatusCode::GATEWAY_TIMEOUT =>
        {
            FailureClass::Slow
        }
        Some(ErrorKind::ServiceUnavailable | ErrorKind::InternalServer) => FailureClass::Transient,
        Some(ErrorKind::ModelTimeout | ErrorKind::RequestTimeout) => FailureClass::Slow,
        // The upstream sees the gateway's credentials, not the client's.
        Some(kind) if refuses_credentials(kind) => FailureClass::Unusable,
        // OpenAI's dialect has the name that other services give a throttle in the code.
        Some(ErrorKind::Validation) if reported.code.as_deref().is_some_and(is_throttle_name) => {
            quota(&reported.message)
        }
        Some(_) => FailureClass::Terminal,
        None => match status.as_u16() {
            429 => quota(&reported.message),
            408 | 504 => FailureClass::Slow,
            // Other services name a throttle differently and may send it with status 400.
            _ if reported.name.as_deref().is_some_and(is_throttle_name) => quota(&reported.message),
            500.. => FailureClass::Transient,
            _ => FailureClass::Terminal,
        },
    }
}

/// Whether an error refuses the credentials of the request.
pub(super) fn refuses_credentials(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ExpiredToken
            | ErrorKind::UnrecognizedClient
            | ErrorKind::InvalidSignature
            | ErrorKind::IncompleteSignature
            | ErrorKind::MissingAuthenticationToken
    )
}

/// How certain it is that an error response denies the model or the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenialEvidence {
    /// Its status or its whole message shows it.
    Certain,
    /// Words of its message suggest it, which may be quoted from the request, or the error's name is not
    /// one of Bedrock's. The request goes to another target. Other requests avoid the target only if
    /// several clients are denied.
    Possible,
}

/// Whether a terminal error response denies the gateway the model or the operation, and does not
/// report a fault of the request. `None`: the fault is the request's.
pub fn denial_evidence(status: StatusCode, reported: &Reported) -> Option<DenialEvidence> {
    let message = reported.message.trim().trim_end_matches('.').to_ascii_lowercase();
    // A firewall or another service in front of Bedrock uses error names of its own.
    let is_bedrocks = matches!(
        reported.kind(),
        Some(
            ErrorKind::AccessDenied
                | ErrorKind::ResourceNotFound
                | ErrorKind::UnknownOperation
                | ErrorKind::Validation
        )
    );
    match status.as_u16() {
        403 | 404 if is_bedrocks => Some(DenialEvidence::Certain),
        403 | 404 => Some(DenialEvidence::Possible),
        400 if DENIAL_MESSAGES.contains(&&*message) => Some(DenialEvidence::Certain),
        400 if message.starts_with(PROFILE_ONLY_START) && message.contains(PROFILE_ONLY_PHRASE) => {
            Some(DenialEvidence::Certain)
        }
        400 if DENIAL_PHRASES.iter().any(|phrase| message.contains(phrase)) => {
            Some(DenialEvidence::Possible)
        }
        _ => None,
    }
}

/// Messages of Bedrock's ValidationException for a model that it does not know in this region, that
/// has reached its end of life or that the account may not use (AWS's pages on the model lifecycle
/// and on troubleshooting Amazon Bedrock API error codes; AWS re:Post for the second).
const DENIAL_MESSAGES: [&str; 2] =
    ["the provided model identifier is invalid", "operation not allowed"];

/// The start of Bedrock's message for a model that can be called through inference profiles only.
const PROFILE_ONLY_START: &str = "invocation of model id ";

/// A later part of the same message, after the model's id.
const PROFILE_ONLY_PHRASE: &str = "with on-demand throughput isn";

/// Phrases that other messages of a denial contain.
const DENIAL_PHRASES: [&str; 6] = [
    "model identifier is invalid",
    "on-demand throughput",
    "end of life",
    "end of its life",
    "marked by provider as legacy",
    "access to the model",
];

fn quota(message: &str) -> FailureClass {
    let per_day = message.to_ascii_lowercase().contains("per day");
    if per_day { FailureClass::Exhausted } else { FailureClass::Throttled }
}

fn is_throttle_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("throttl") || name.contains("toomanyrequests") || name.contains("limitexceeded")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, name: Option<&str>, message: &str) -> FailureClass {
        let reported = Reported {
            name: name.map(str::to_owned),
            message: message.to_owned(),
            ..Reported::default()
        };
        classify(StatusCode::from_u16(status).unwrap(), &reported)
    }

    #[test]
    fn the_page_on_fallback_has_every_class() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fallback.md");
        let page = std::fs::read_to_string(page).unwrap();
        let table = page.split("## How it decides").nth(1).unwrap();
        let table = table.split("## The order of attempts").next().unwrap();
        for class in FailureClass::ALL {
            let cell = format!("| {} |", class.name());
            assert!(table.contains(&cell), "{cell}");
        }
    }

    #[test]
    fn a_denial_of_the_model_is_not_taken_for_a_fault_of_the_request() {
        use DenialEvidence::{Certain, Possible};
        for (status, message, wanted) in [
            (403, "", Some(Certain)),
            (404, "", Some(Certain)),
            (404, "Access denied. This Model is marked by provider as Legacy.", Some(Certain)),
            (400, "The provided model identifier is invalid.", Some(Certain)),
            (400, "The provided model identifier is invalid", Some(Certain)),
            (400, "Operation not allowed", Some(Certain)),
            (
                400,
                "Invocation of model ID a.b-v1:0 with on-demand throughput isn\u{2019}t supported. \
                 Retry your request with the ID or ARN of an inference profile.",
                Some(Certain),
            ),
            (400, "This model version has reached the end of its life.", Some(Possible)),
            // Quoted from the request.
            (400, "role 'The provided model identifier is invalid.' is not known", Some(Possible)),
            (400, "x: invocation of model id y with on-demand throughput isn't", Some(Possible)),
            (400, "Malformed input request: extraneous key [top_k] is not permitted", None),
            (400, "`temperature` is deprecated for this model.", None),
            (413, "the provided model identifier is invalid", None),
        ] {
            let name =
                if status == 404 { "ResourceNotFoundException" } else { "AccessDeniedException" };
            let reported = Reported {
                name: Some(name.to_owned()),
                message: message.to_owned(),
                ..Reported::default()
            };
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(denial_evidence(status, &reported), wanted, "{status} {message}");
        }
        let other = Reported { name: Some("ForbiddenException".to_owned()), ..Reported::default() };
        assert_eq!(denial_evidence(StatusCode::FORBIDDEN, &other), Some(Possible));
    }

    #[test]
    fn a_throttle_may_be_named_by_the_code() {
        for (code, wanted) in [
            ("ThrottledException", FailureClass::Throttled),
            ("context_length_exceeded", FailureClass::Terminal),
            ("unsupported_value", FailureClass::Terminal),
        ] {
            let reported = Reported {
                name: Some("invalid_request_error".to_owned()),
                code: Some(code.to_owned()),
                ..Reported::default()
            };
            assert_eq!(classify(StatusCode::BAD_REQUEST, &reported), wanted, "{code}");
        }
    }

    #[test]
    fn the_outcome_table() {
        let requests = "Too many requests, please wait before trying again.";
        let per_day = "Too many tokens per day, please wait before trying again.";
        for (status, name, message, wanted) in [
            (429, Some("ThrottlingException"), requests, FailureClass::Throttled),
            (429, Some("ThrottlingException"), per_day, FailureClass::Exhausted),
            (400, Some("ServiceQuotaExceededException"), "", FailureClass::Throttled),
            (429, None, "", FailureClass::Throttled),
            (429, Some("SomethingNew"), "", FailureClass::Throttled),
            (400, Some("ThrottledException"), "", FailureClass::Throttled),
            (429, Some("ModelNotReadyException"), "", FailureClass::Transient),
            (503, Some("ServiceUnavailableException"), "", FailureClass::Transient),
            (500, Some("InternalServerException"), "", FailureClass::Transient),
            (502, None, "", FailureClass::Transient),
            (504, None, "", FailureClass::Slow),
            (408, Some("ModelTimeoutException"), "", FailureClass::Slow),
            (408, None, "", FailureClass::Slow),
            (424, Some("ModelErrorException"), "", FailureClass::Terminal),
            (400, Some("ValidationException"), "", FailureClass::Terminal),
            (403, Some("AccessDeniedException"), "", FailureClass::Terminal),
            (403, Some("ExpiredTokenException"), "", FailureClass::Unusable),
            (403, Some("InvalidSignatureException"), "", FailureClass::Unusable),
            (404, Some("ResourceNotFoundException"), "", FailureClass::Terminal),
            (413, None, "", FailureClass::Terminal),
        ] {
            assert_eq!(class(status, name, message), wanted, "{status} {name:?}");
        }
    }
}
