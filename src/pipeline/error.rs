//! The errors that the gateway itself answers with, and the one place that writes them in Bedrock's
//! wire form.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use tokio::time::Instant;

use super::body::BodyError;
use super::context::{Outcome, RequestContext};
use super::events_error;
use super::kept_responses::KeptResponseError;
use super::routed::RoutedRequest;
use super::shortage::{self, Shortage};
use super::unservable::Unservable;
use crate::api::errors;
use crate::api::models::PageError;
use crate::api::response_id::ResponseIdError;
use crate::auth::AuthError;
use crate::auth::origin::BadHost;
use crate::bedrock::dialect::DialectError;
use crate::bedrock::json::JsonError;
use crate::bedrock::model_id::ModelIdError;
use crate::bedrock::path::{ASK_CONTROL_PLANE, PathError};
use crate::bedrock::{Dialect, ErrorKind, WireError};
use crate::bridge::{AnswerError, Refusal};
use crate::catalogue::{Surface, Surfaces};
use crate::limits::{LimitExceeded, OverBudget, PolicyDenial};
use crate::media::MediaError;
use crate::quota::{Overloaded, QueueFull};
use crate::routing::Excess;
use crate::upstream::events::EventsError;

/// When a client may retry after an overload.
const OVERLOAD_PAUSE: Duration = Duration::from_secs(1);

/// The header that tells the SDKs of Anthropic and OpenAI whether to retry.
pub(super) static SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// After a wait this long a client should not retry by itself: the gateway has waited and tried all
/// targets, and each retry would wait as long.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// Asks the client not to retry what another attempt can't answer either. SDKs know that of most of these failures by
/// the status alone; tools around them retry more.
pub(super) fn forbid_retry(head: &mut HeaderMap) {
    head.insert(SHOULD_RETRY.clone(), HeaderValue::from_static("false"));
}

/// Asks the client's SDK not to retry a failure that took long, if the SDK would retry it.
pub(super) fn discourage_retry(head: &mut HeaderMap, status: StatusCode, waited: Duration) {
    if may_be_retried(status) && waited >= LONG_WAIT {
        forbid_retry(head);
    }
}

/// Whether a request that fails with this status may succeed when it is sent again. SDKs retry these by themselves.
pub(super) fn may_be_retried(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS
        )
}

/// A request that the gateway itself ends.
#[derive(Debug)]
pub(super) struct RequestError {
    /// The reason.
    pub(super) error: GatewayError,
    /// The request's record.
    pub(super) context: Box<RequestContext>,
}

/// Why the gateway itself ends a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatewayError {
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
    #[error("the request body ended early")]
    BodyBroken,
    #[error("Malformed input request: the body is not valid JSON: {0}")]
    Json(#[from] JsonError),
    #[error("Rate exceeded: {0}")]
    Limited(LimitExceeded),
    #[error(transparent)]
    PolicyDenied(#[from] PolicyDenial),
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
    #[error("the request body names no model")]
    NoModel,
    #[error("the model id in the request body is invalid: {0}")]
    Model(#[from] ModelIdError),
    #[error("{}", surface_message(model, *wanted, *surfaces))]
    NoSurface { model: String, wanted: Surface, surfaces: Surfaces },
    #[error(transparent)]
    Unservable(#[from] Unservable),
    #[error("{}", .0.message)]
    Untranslatable(Refusal),
    #[error("{param}: {error}")]
    RemoteMedia { param: String, error: MediaError },
    #[error("{param}: a request may have at most {limit} addresses of images and documents")]
    TooManyMedia { param: String, limit: usize },
    #[error(transparent)]
    UnusableAnswer(#[from] AnswerError),
    #[error("{operation} takes no guardrail, so the header {header} can't be applied")]
    GuardrailHeader { operation: &'static str, header: &'static str },
    #[error(transparent)]
    Page(#[from] PageError),
    #[error(
        "the gateway does not relay conversations, which it can't bind to the client that made them"
    )]
    Conversation,
    #[error(
        "input[{position}] names an item that the upstream may have stored for another client, so the gateway does not relay it. Send the item itself, with its content (for reasoning, encrypted_content), or continue the response that has it with previous_response_id."
    )]
    ItemReference { position: usize },
    #[error("{}", error.message(id))]
    StoredResponse { error: ResponseIdError, id: Box<str>, param: Option<&'static str> },
    #[error(transparent)]
    KeptResponse(#[from] KeptResponseError),
    #[error("this gateway has no route for the model {model}")]
    Unrouted { model: String },
    #[error(transparent)]
    Events(#[from] EventsError),
    #[error("no event came within {}", humantime::format_duration(*limit))]
    NoEvent { limit: Duration },
    #[error("{operation} needs HTTP/2")]
    NeedsHttp2 { operation: &'static str },
    #[error("{shortage} The gateway's queue is full: {full}.")]
    QueueFull { full: QueueFull, shortage: Box<Shortage> },
    #[error("{shortage}")]
    NoTargetAvailable { shortage: Box<Shortage>, is_quota: bool },
    #[error("{}", shortage::describe(.0))]
    Oversized(Excess),
    #[error("the request was not answered within {}", humantime::format_duration(*limit))]
    RequestTimeout { limit: Duration },
}

impl From<BodyError> for GatewayError {
    fn from(error: BodyError) -> GatewayError {
        match error {
            BodyError::TooLarge { limit } => GatewayError::BodyTooLarge { limit },
            BodyError::Timeout { limit } => GatewayError::BodyTimeout { limit },
            BodyError::Broken => GatewayError::BodyBroken,
            BodyError::Overloaded(overloaded) => GatewayError::Overloaded(overloaded),
        }
    }
}

impl GatewayError {
    /// The error of a request that none of its candidates answers.
    pub(super) fn no_target(routed: &RoutedRequest) -> GatewayError {
        if let Some(excess) = shortage::excess(routed) {
            return GatewayError::Oversized(excess);
        }
        let shortage = Shortage::of(routed, Instant::now());
        let (is_quota, shortage) = (shortage.is_quota(), Box::new(shortage));
        GatewayError::NoTargetAvailable { shortage, is_quota }
    }

    /// Whether no candidate could be asked any more.
    pub(super) fn found_no_target(&self) -> bool {
        matches!(
            self,
            GatewayError::QueueFull { .. }
                | GatewayError::NoTargetAvailable { .. }
                | GatewayError::Oversized(_)
        )
    }

    /// The outcome in metrics and the access log.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            GatewayError::Path(_)
            | GatewayError::ControlPlane { .. }
            | GatewayError::Host(_)
            | GatewayError::Framing
            | GatewayError::Lengths
            | GatewayError::TooManyHeaders { .. }
            | GatewayError::BodyBroken
            | GatewayError::Json(_)
            | GatewayError::NoModel
            | GatewayError::Model(_)
            | GatewayError::NoSurface { .. }
            | GatewayError::Unservable(_)
            | GatewayError::Untranslatable(_)
            | GatewayError::TooManyMedia { .. }
            | GatewayError::GuardrailHeader { .. }
            | GatewayError::Page(_)
            | GatewayError::Conversation
            | GatewayError::ItemReference { .. }
            | GatewayError::StoredResponse { .. }
            | GatewayError::Unrouted { .. }
            | GatewayError::Oversized(_)
            | GatewayError::NeedsHttp2 { .. } => Outcome::BadRequest,
            GatewayError::KeptResponse(error) => error.outcome(),
            GatewayError::RemoteMedia { error, .. } if error.is_overload() => Outcome::Overloaded,
            GatewayError::RemoteMedia { .. } => Outcome::BadRequest,
            GatewayError::UnusableAnswer(_) => Outcome::UpstreamError,
            GatewayError::Overloaded(_) => Outcome::Overloaded,
            GatewayError::Unauthenticated(_) => Outcome::Unauthenticated,
            GatewayError::BodyTooLarge { .. } => Outcome::BodyTooLarge,
            GatewayError::BodyTimeout { .. } | GatewayError::NoEvent { .. } => Outcome::BodyTimeout,
            GatewayError::Events(error) => events_error::outcome(error),
            GatewayError::Limited(_) => Outcome::ClientLimited,
            GatewayError::PolicyDenied(_) | GatewayError::OverBudget(OverBudget::UsedUp { .. }) => {
                Outcome::ClientDenied
            }
            GatewayError::OverBudget(OverBudget::Held(_)) => Outcome::ClientLimited,
            GatewayError::QueueFull { .. } => Outcome::QueueFull,
            GatewayError::NoTargetAvailable { is_quota: true, .. } => Outcome::Throttled,
            GatewayError::NoTargetAvailable { is_quota: false, .. } => Outcome::UpstreamError,
            GatewayError::RequestTimeout { .. } => Outcome::RequestTimeout,
        }
    }

    /// The error's name on the wire.
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            GatewayError::Path(
                PathError::Unknown | PathError::Unserved(_) | PathError::ControlPlane,
            )
            | GatewayError::ControlPlane { .. } => ErrorKind::UnknownOperation,
            GatewayError::Path(PathError::Method { .. }) => ErrorKind::MethodNotAllowed,
            GatewayError::Path(PathError::Model(_) | PathError::Identifier)
            | GatewayError::Host(_)
            | GatewayError::Framing
            | GatewayError::Lengths
            | GatewayError::BodyBroken
            | GatewayError::Json(_)
            | GatewayError::NoModel
            | GatewayError::Model(_)
            | GatewayError::NoSurface { .. }
            | GatewayError::Unservable(_)
            | GatewayError::Untranslatable(_)
            | GatewayError::TooManyMedia { .. }
            | GatewayError::GuardrailHeader { .. }
            | GatewayError::Page(_)
            | GatewayError::Conversation
            | GatewayError::ItemReference { .. }
            | GatewayError::Oversized(_)
            | GatewayError::NeedsHttp2 { .. } => ErrorKind::Validation,
            GatewayError::KeptResponse(error) => error.kind(),
            GatewayError::RemoteMedia { error, .. } if error.is_overload() => {
                ErrorKind::ServiceUnavailable
            }
            GatewayError::RemoteMedia { .. } => ErrorKind::Validation,
            GatewayError::UnusableAnswer(error) => error.kind(),
            GatewayError::Unauthenticated(why) => why.kind(),
            GatewayError::PolicyDenied(
                PolicyDenial::OtherGuardrail(_) | PolicyDenial::Guardrail,
            ) => ErrorKind::Validation,
            GatewayError::PolicyDenied(PolicyDenial::Body { .. }) => ErrorKind::RequestTooLarge,
            GatewayError::PolicyDenied(_) | GatewayError::OverBudget(OverBudget::UsedUp { .. }) => {
                ErrorKind::AccessDenied
            }
            GatewayError::Overloaded(_) => ErrorKind::ServiceUnavailable,
            GatewayError::Unrouted { .. } | GatewayError::StoredResponse { .. } => {
                ErrorKind::ResourceNotFound
            }
            GatewayError::TooManyHeaders { .. } => ErrorKind::HeaderTooLarge,
            GatewayError::BodyTooLarge { .. } => ErrorKind::RequestTooLarge,
            GatewayError::BodyTimeout { .. } | GatewayError::NoEvent { .. } => {
                ErrorKind::RequestTimeout
            }
            GatewayError::Events(error) => events_error::kind(error),
            GatewayError::Limited(_)
            | GatewayError::OverBudget(OverBudget::Held(_))
            | GatewayError::NoTargetAvailable { is_quota: true, .. } => ErrorKind::Throttling,
            GatewayError::QueueFull { shortage, .. } if shortage.is_quota() => {
                ErrorKind::Throttling
            }
            GatewayError::QueueFull { .. } => ErrorKind::ServiceUnavailable,
            GatewayError::NoTargetAvailable { is_quota: false, .. } => {
                ErrorKind::ServiceUnavailable
            }
            GatewayError::RequestTimeout { .. } => ErrorKind::ModelTimeout,
        }
    }

    /// Whether the same request would be refused again, however often it is sent.
    pub(super) fn is_final(&self) -> bool {
        match self {
            // The client's connection broke, or was slow.
            GatewayError::BodyBroken
            | GatewayError::BodyTimeout { .. }
            | GatewayError::NoEvent { .. } => false,
            GatewayError::Unauthenticated(why) => why.is_final(),
            _ => matches!(
                self.outcome(),
                Outcome::BadRequest | Outcome::ClientDenied | Outcome::BodyTooLarge
            ),
        }
    }

    /// The member of the request that the error is about.
    fn param(&self) -> Option<Cow<'static, str>> {
        let fixed = match self {
            GatewayError::NoModel
            | GatewayError::Model(_)
            | GatewayError::NoSurface { .. }
            | GatewayError::Unrouted { .. } => "model",
            GatewayError::Unservable(why) => return why.param().map(Cow::Borrowed),
            GatewayError::Conversation => "conversation",
            GatewayError::StoredResponse { param, .. } => (*param)?,
            GatewayError::KeptResponse(error) => error.param()?,
            GatewayError::Untranslatable(refusal) => {
                return refusal.param.clone().map(Cow::Owned);
            }
            GatewayError::RemoteMedia { error, .. } if error.is_overload() => return None,
            GatewayError::RemoteMedia { param, .. } | GatewayError::TooManyMedia { param, .. } => {
                return Some(param.clone().into());
            }
            GatewayError::ItemReference { position } => {
                return Some(format!("input[{position}]").into());
            }
            _ => return None,
        };
        Some(fixed.into())
    }

    /// The code in OpenAI's dialect, where it is more special than that of the kind.
    fn code(&self) -> Option<&'static str> {
        match self {
            GatewayError::StoredResponse { param: Some("previous_response_id"), .. } => {
                Some("previous_response_not_found")
            }
            _ => None,
        }
    }

    /// The kind of the error in a dialect.
    pub(super) fn kind_in(&self, dialect: Dialect) -> ErrorKind {
        match self {
            GatewayError::Unauthenticated(why) => why.kind_in(dialect),
            _ => self.kind(),
        }
    }

    /// The response in the client's dialect, without what is the same on every response.
    pub(super) fn into_response(self, dialect: Dialect, request_id: &str) -> Response<Bytes> {
        let in_dialect = (dialect != Dialect::Bedrock).then(|| DialectError {
            param: self.param().map(Cow::into_owned),
            code: self.code().map(str::to_owned),
            // The code of its kind is about models.
            is_without_code: matches!(self, GatewayError::StoredResponse { .. }),
            ..DialectError::new(self.kind_in(dialect), self.to_string())
        });
        let mut response = self.into_native_response();
        if let Some(error) = in_dialect {
            let (status, body) = errors::write(dialect, &error, request_id, response.headers_mut());
            (*response.status_mut(), *response.body_mut()) = (status, body);
        }
        response
    }

    fn into_native_response(self) -> Response<Bytes> {
        let mut error = WireError::new(self.kind(), self.to_string());
        if let GatewayError::Limited(LimitExceeded { retry_after, .. }) = self {
            error = error.retry_after(retry_after);
        } else if let GatewayError::NoTargetAvailable { shortage, .. }
        | GatewayError::QueueFull { shortage, .. } = &self
        {
            error = error.retry_after(shortage.due());
        } else if let GatewayError::OverBudget(OverBudget::Held(_)) = self {
            // When one of the client's requests ends is not known; a second is a fair guess.
            error = error.retry_after(Duration::from_secs(1));
        } else if self.outcome() == Outcome::Overloaded {
            error = error.retry_after(OVERLOAD_PAUSE);
        }
        let mut response = error.into_response();
        self.add_headers(response.headers_mut());
        response
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        match self {
            GatewayError::Path(PathError::Method { allow }) => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            // What is left of the body, or of a request smuggled behind it, is not read.
            GatewayError::Framing
            | GatewayError::Lengths
            | GatewayError::BodyTooLarge { .. }
            | GatewayError::PolicyDenied(PolicyDenial::Body { .. })
            | GatewayError::BodyTimeout { .. }
            | GatewayError::BodyBroken => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
    }
}

/// Names what the targets of a model serve instead of the API that was asked for.
fn surface_message(model: &str, wanted: Surface, surfaces: Surfaces) -> String {
    let (wanted, names) = (wanted.name(), surfaces.names());
    match names.is_empty() {
        true => format!("no target of the model {model} serves {wanted}"),
        false => {
            format!("no target of the model {model} serves {wanted}; what they serve is {names}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_waited_long_is_asked_not_to_retry() {
        let header = |status, waited| {
            let mut head = HeaderMap::new();
            discourage_retry(&mut head, status, waited);
            head.get("x-should-retry").map(|value| value.to_str().unwrap().to_owned())
        };
        let long = Duration::from_secs(3);
        for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
            assert_eq!(header(status, long).as_deref(), Some("false"));
            assert_eq!(header(status, Duration::from_millis(20)), None, "it has not waited");
        }
        assert_eq!(header(StatusCode::BAD_REQUEST, long), None, "no SDK tries that again");
    }

    #[test]
    fn a_wrong_method_names_the_right_one() {
        let response =
            GatewayError::Path(PathError::Method { allow: "POST" }).into_native_response();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()[ALLOW], "POST");
    }
}
