//! What the gateway itself refuses, and the one place where that becomes Bedrock's wire form.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use super::body::BodyError;
use super::exchange::{Exchange, Outcome};
use super::shortage::{self, Shortage};
use crate::auth::AuthError;
use crate::auth::origin::BadHost;
use crate::bedrock::json::JsonError;
use crate::bedrock::path::{ASK_CONTROL_PLANE, PathError};
use crate::bedrock::{ErrorKind, WireError};
use crate::limits::{Denied, LimitExceeded, OverBudget};
use crate::quota::{Overloaded, QueueFull};
use crate::routing::Excess;

/// When a request that was turned away for overload may come again.
const OVERLOAD_PAUSE: Duration = Duration::from_secs(1);

/// The header by which the SDKs of Anthropic and OpenAI are told whether to try again.
static SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// After so long, a failure is not one that its client should try again by itself: the gateway has
/// waited and tried all targets, and each further try would wait as long.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// Tells the client of a failure not to try again by itself, where it has waited for long and its SDK
/// would.
pub(super) fn discourage_retry(head: &mut HeaderMap, status: StatusCode, waited: Duration) {
    let would_retry = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS
        );
    if would_retry && waited >= LONG_WAIT {
        head.insert(SHOULD_RETRY.clone(), HeaderValue::from_static("false"));
    }
}

/// A request that ends in the gateway, with what was learned of it.
#[derive(Debug)]
pub(super) struct Refused {
    /// Why.
    pub(super) refusal: Refusal,
    /// The request's record.
    pub(super) exchange: Box<Exchange>,
}

/// Why a request ends in the gateway.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(
        "{operation} is a call of Bedrock's control plane, and this gateway serves Bedrock Runtime. {ASK_CONTROL_PLANE}, or have the gateway relay it with control_plane = true in its [upstream]."
    )]
    ControlPlane { operation: &'static str },
    #[error(transparent)]
    Host(#[from] BadHost),
    #[error("the request has a Transfer-Encoding other than chunked")]
    Framing,
    #[error("the request has more than one Content-Length")]
    Lengths,
    #[error("the request has more than {limit} header fields")]
    TooManyHeaders { limit: usize },
    #[error("The gateway is overloaded, please try again: {0}.")]
    Overloaded(Overloaded),
    #[error(transparent)]
    Unauthenticated(AuthError),
    #[error("the request body is larger than {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("the request body did not arrive within {}", humantime::format_duration(*limit))]
    BodyTimeout { limit: Duration },
    #[error("the request body broke off")]
    BodyBroken,
    #[error("Malformed input request: the body is not valid JSON: {0}")]
    Json(#[from] JsonError),
    #[error("Rate exceeded: {0}")]
    Limited(LimitExceeded),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
    #[error("this gateway has no route for the model {model}")]
    Unrouted { model: String },
    #[error("{operation} needs HTTP/2")]
    NeedsHttp2 { operation: &'static str },
    #[error("{shortage} The gateway's queue is full: {full}.")]
    QueueFull { full: QueueFull, shortage: Box<Shortage> },
    #[error("{shortage}")]
    AllOut { shortage: Box<Shortage>, is_quota: bool },
    #[error("{}", shortage::describe(.0))]
    Oversized(Excess),
    #[error("the request was not answered within {}", humantime::format_duration(*limit))]
    RequestTimeout { limit: Duration },
    #[error("no target can serve this request: {0}")]
    NoTarget(String),
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Refusal {
        match error {
            BodyError::TooLarge { limit } => Refusal::BodyTooLarge { limit },
            BodyError::Timeout { limit } => Refusal::BodyTimeout { limit },
            BodyError::Broken => Refusal::BodyBroken,
            BodyError::Overloaded(overloaded) => Refusal::Overloaded(overloaded),
        }
    }
}

impl Refusal {
    /// The outcome in metrics and the access log.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Refusal::Path(_)
            | Refusal::ControlPlane { .. }
            | Refusal::Host(_)
            | Refusal::Framing
            | Refusal::Lengths
            | Refusal::TooManyHeaders { .. }
            | Refusal::BodyBroken
            | Refusal::Json(_)
            | Refusal::Unrouted { .. }
            | Refusal::Oversized(_)
            | Refusal::NeedsHttp2 { .. } => Outcome::BadRequest,
            Refusal::Overloaded(_) => Outcome::Overloaded,
            Refusal::Unauthenticated(_) => Outcome::Unauthenticated,
            Refusal::BodyTooLarge { .. } => Outcome::BodyTooLarge,
            Refusal::BodyTimeout { .. } => Outcome::BodyTimeout,
            Refusal::Limited(_) => Outcome::ClientLimited,
            Refusal::Denied(_) | Refusal::OverBudget(OverBudget::UsedUp { .. }) => {
                Outcome::ClientDenied
            }
            Refusal::OverBudget(OverBudget::Held(_)) => Outcome::ClientLimited,
            Refusal::QueueFull { .. } => Outcome::QueueFull,
            Refusal::AllOut { is_quota: true, .. } => Outcome::Throttled,
            Refusal::AllOut { is_quota: false, .. } => Outcome::UpstreamError,
            Refusal::RequestTimeout { .. } => Outcome::RequestTimeout,
            Refusal::NoTarget(_) => Outcome::UpstreamError,
        }
    }

    /// The error's name on the wire.
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Refusal::Path(PathError::Unknown | PathError::ControlPlane)
            | Refusal::ControlPlane { .. } => ErrorKind::UnknownOperation,
            Refusal::Path(PathError::Method { .. }) => ErrorKind::MethodNotAllowed,
            Refusal::Path(PathError::Model(_) | PathError::Identifier)
            | Refusal::Host(_)
            | Refusal::Framing
            | Refusal::Lengths
            | Refusal::BodyBroken
            | Refusal::Json(_)
            | Refusal::Oversized(_)
            | Refusal::NeedsHttp2 { .. } => ErrorKind::Validation,
            Refusal::Unauthenticated(why) => why.kind(),
            Refusal::Denied(Denied::OtherGuardrail(_) | Denied::Guardrail) => ErrorKind::Validation,
            Refusal::Denied(Denied::Body { .. }) => ErrorKind::RequestTooLarge,
            Refusal::Denied(_) | Refusal::OverBudget(OverBudget::UsedUp { .. }) => {
                ErrorKind::AccessDenied
            }
            Refusal::Overloaded(_) => ErrorKind::ServiceUnavailable,
            Refusal::Unrouted { .. } => ErrorKind::ResourceNotFound,
            Refusal::TooManyHeaders { .. } => ErrorKind::HeaderTooLarge,
            Refusal::BodyTooLarge { .. } => ErrorKind::RequestTooLarge,
            Refusal::BodyTimeout { .. } => ErrorKind::RequestTimeout,
            Refusal::Limited(_)
            | Refusal::OverBudget(OverBudget::Held(_))
            | Refusal::AllOut { is_quota: true, .. } => ErrorKind::Throttling,
            Refusal::QueueFull { shortage, .. } if shortage.is_quota() => ErrorKind::Throttling,
            Refusal::QueueFull { .. } => ErrorKind::ServiceUnavailable,
            Refusal::AllOut { is_quota: false, .. } => ErrorKind::ServiceUnavailable,
            Refusal::RequestTimeout { .. } => ErrorKind::ModelTimeout,
            Refusal::NoTarget(_) => ErrorKind::ServiceUnavailable,
        }
    }

    /// The response, without what is the same on every response.
    pub(super) fn into_response(self) -> Response<Bytes> {
        let mut error = WireError::new(self.kind(), self.to_string());
        if let Refusal::Limited(LimitExceeded { retry_after, .. }) = self {
            error = error.retry_after(retry_after);
        } else if let Refusal::AllOut { shortage, .. } | Refusal::QueueFull { shortage, .. } = &self
        {
            error = error.retry_after(shortage.due());
        } else if let Refusal::OverBudget(OverBudget::Held(_)) = self {
            // When one of them ends is not known; a second is a fair guess.
            error = error.retry_after(Duration::from_secs(1));
        } else if let Refusal::Overloaded(_) = self {
            error = error.retry_after(OVERLOAD_PAUSE);
        }
        let mut response = error.into_response();
        self.add_headers(response.headers_mut());
        response
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        match self {
            Refusal::Path(PathError::Method { allow }) => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            // What is left of the body, or of a request smuggled behind it, is not read.
            Refusal::Framing
            | Refusal::Lengths
            | Refusal::BodyTooLarge { .. }
            | Refusal::Denied(Denied::Body { .. })
            | Refusal::BodyTimeout { .. }
            | Refusal::BodyBroken => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_for_long_is_told_not_to_try_again() {
        let told = |status, waited| {
            let mut head = HeaderMap::new();
            discourage_retry(&mut head, status, waited);
            head.get("x-should-retry").map(|value| value.to_str().unwrap().to_owned())
        };
        let long = Duration::from_secs(3);
        for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
            assert_eq!(told(status, long).as_deref(), Some("false"));
            assert_eq!(told(status, Duration::from_millis(20)), None, "it has not waited");
        }
        assert_eq!(told(StatusCode::BAD_REQUEST, long), None, "no SDK tries that again");
    }

    #[test]
    fn a_wrong_method_names_the_right_one() {
        let response = Refusal::Path(PathError::Method { allow: "POST" }).into_response();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()[ALLOW], "POST");
    }
}
