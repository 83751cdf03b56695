//! Errors in the dialects of OpenAI and Anthropic: written for clients, and read of upstreams.
//!
//! A status, a type and, in OpenAI's, a code let an SDK raise the class of error that it has for the case.
//! Source: the SDKs of both, and their pages on errors.

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use super::api::Dialect;
use super::error::ErrorKind;

/// The code by which clients know that a conversation has become too long, and shorten it.
pub const CONTEXT_LENGTH_EXCEEDED: &str = "context_length_exceeded";

/// An error in one of the two dialects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialectError {
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// The text for people.
    pub message: String,
    /// The member of the request that the error is about, in OpenAI's dialect.
    pub param: Option<String>,
    /// The code, in OpenAI's dialect, where it is more special than that of the kind.
    pub code: Option<String>,
    /// Whether it has no code in OpenAI's dialect, although others of its kind have one.
    pub is_without_code: bool,
}

impl DialectError {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> DialectError {
        let message = message.into();
        DialectError { kind, message, param: None, code: None, is_without_code: false }
    }

    /// The status in this dialect.
    pub fn status(&self, dialect: Dialect) -> StatusCode {
        status(dialect, self.kind)
    }

    /// The JSON body in this dialect. `request_id` is what a client quotes when it asks what happened.
    pub fn body(&self, dialect: Dialect, request_id: &str) -> Bytes {
        let text = match dialect {
            Dialect::Bedrock => serde_json::json!({ "message": self.message }).to_string(),
            Dialect::OpenAi => {
                let of_kind = || openai_code(self.kind).filter(|_| !self.is_without_code);
                let code = self.code.as_deref().or_else(of_kind);
                let error = OpenAiError {
                    message: &self.message,
                    r#type: openai_type(self.kind),
                    param: self.param.as_deref(),
                    code,
                };
                to_json(&OpenAiBody { error })
            }
            Dialect::Anthropic => {
                let error =
                    AnthropicError { r#type: anthropic_type(self.kind), message: &self.message };
                to_json(&AnthropicBody { r#type: "error", error, request_id })
            }
        };
        Bytes::from(text)
    }
}

/// Serializes what consists of texts alone, which can't fail.
fn to_json(body: &impl Serialize) -> String {
    serde_json::to_string(body).unwrap_or_else(|_| "{}".to_owned())
}

#[derive(Serialize)]
struct OpenAiBody<'a> {
    error: OpenAiError<'a>,
}

#[derive(Serialize)]
struct OpenAiError<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

#[derive(Serialize)]
struct AnthropicBody<'a> {
    r#type: &'a str,
    error: AnthropicError<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    r#type: &'a str,
    message: &'a str,
}

/// The name of an error of this kind: Bedrock's own, or the type in another dialect.
pub fn name(dialect: Dialect, kind: ErrorKind) -> &'static str {
    match dialect {
        Dialect::Bedrock => kind.name(),
        Dialect::OpenAi => openai_type(kind),
        Dialect::Anthropic => anthropic_type(kind),
    }
}

/// The status of an error of this kind.
pub fn status(dialect: Dialect, kind: ErrorKind) -> StatusCode {
    let code = match (dialect, kind) {
        (Dialect::Bedrock, kind) => return kind.status(),
        // SDKs raise `AuthenticationError` for 401 alone.
        (_, kind) if is_authentication(kind) => 401,
        (_, ErrorKind::ServiceQuotaExceeded) => 429,
        // The model failed: to a client that is a failure of the server.
        (_, ErrorKind::ModelError | ErrorKind::ModelStreamError) => 502,
        (_, ErrorKind::ModelTimeout) => 504,
        // Anthropic's status for "overloaded", which its SDKs and tools retry.
        (Dialect::Anthropic, ErrorKind::ServiceUnavailable | ErrorKind::ModelNotReady) => 529,
        (Dialect::OpenAi, ErrorKind::ModelNotReady) => 503,
        (_, kind) => return kind.status(),
    };
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn is_authentication(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnrecognizedClient
            | ErrorKind::InvalidSignature
            | ErrorKind::ExpiredToken
            | ErrorKind::MissingAuthenticationToken
            | ErrorKind::IncompleteSignature
    )
}

fn openai_type(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Throttling | ErrorKind::ServiceQuotaExceeded => "rate_limit_error",
        ErrorKind::AccessDenied => "permission_error",
        kind if is_authentication(kind) => "authentication_error",
        kind if kind.status().is_client_error() && !is_of_server(kind) => "invalid_request_error",
        _ => "server_error",
    }
}

fn openai_code(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Throttling => Some("rate_limit_exceeded"),
        ErrorKind::ServiceQuotaExceeded => Some("insufficient_quota"),
        ErrorKind::ResourceNotFound => Some("model_not_found"),
        ErrorKind::UnknownOperation => Some("unknown_url"),
        kind if is_authentication(kind) => Some("invalid_api_key"),
        _ => None,
    }
}

fn anthropic_type(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Throttling | ErrorKind::ServiceQuotaExceeded => "rate_limit_error",
        ErrorKind::ServiceUnavailable | ErrorKind::ModelNotReady => "overloaded_error",
        ErrorKind::AccessDenied => "permission_error",
        ErrorKind::ResourceNotFound | ErrorKind::UnknownOperation => "not_found_error",
        ErrorKind::RequestTooLarge => "request_too_large",
        ErrorKind::ModelTimeout => "timeout_error",
        kind if is_authentication(kind) => "authentication_error",
        kind if kind.status().is_client_error() && !is_of_server(kind) => "invalid_request_error",
        _ => "api_error",
    }
}

/// Whether the model or the service failed, although the native status is one for mistakes of clients.
fn is_of_server(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ModelError
            | ErrorKind::ModelStreamError
            | ErrorKind::ModelTimeout
            | ErrorKind::ModelNotReady
    )
}

/// The kind behind a type or a code of one of the two dialects, as an upstream names it; `None` if the name
/// is of neither.
pub fn kind_of(name: &str) -> Option<ErrorKind> {
    Some(match name {
        "rate_limit_error" | "rate_limit_exceeded" | "tokens" | "requests" => ErrorKind::Throttling,
        "insufficient_quota" => ErrorKind::ServiceQuotaExceeded,
        "overloaded_error" | "service_unavailable_error" | "engine_overloaded" => {
            ErrorKind::ServiceUnavailable
        }
        "server_error" | "api_error" | "internal_server_error" => ErrorKind::InternalServer,
        "timeout_error" => ErrorKind::ModelTimeout,
        "authentication_error" | "invalid_api_key" => ErrorKind::UnrecognizedClient,
        "permission_error" | "permission_denied" => ErrorKind::AccessDenied,
        "not_found_error" | "model_not_found" => ErrorKind::ResourceNotFound,
        "request_too_large" => ErrorKind::RequestTooLarge,
        "invalid_request_error" | "validation_error" | "billing_error" => ErrorKind::Validation,
        CONTEXT_LENGTH_EXCEEDED => ErrorKind::Validation,
        _ => return None,
    })
}

/// The kind of an error of which only the status is known.
pub fn kind_of_status(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 => ErrorKind::UnrecognizedClient,
        403 => ErrorKind::AccessDenied,
        404 => ErrorKind::ResourceNotFound,
        408 | 504 => ErrorKind::ModelTimeout,
        413 => ErrorKind::RequestTooLarge,
        414 => ErrorKind::UriTooLong,
        424 => ErrorKind::ModelError,
        429 => ErrorKind::Throttling,
        431 => ErrorKind::HeaderTooLarge,
        400..=499 => ErrorKind::Validation,
        502..=599 => ErrorKind::ServiceUnavailable,
        _ => ErrorKind::InternalServer,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn body(error: &DialectError, dialect: Dialect) -> Value {
        serde_json::from_slice(&error.body(dialect, "req_1")).unwrap()
    }

    #[test]
    fn an_error_has_the_form_of_its_dialect() {
        let mut error = DialectError::new(ErrorKind::Throttling, "say \"when\"");
        let openai = json!({"error": {"message": "say \"when\"", "type": "rate_limit_error",
            "param": null, "code": "rate_limit_exceeded"}});
        assert_eq!(body(&error, Dialect::OpenAi), openai);
        let anthropic = json!({"type": "error", "request_id": "req_1",
            "error": {"type": "rate_limit_error", "message": "say \"when\""}});
        assert_eq!(body(&error, Dialect::Anthropic), anthropic);
        assert_eq!(body(&error, Dialect::Bedrock), json!({"message": "say \"when\""}));
        error.is_without_code = true;
        let without = self::body(&error, Dialect::OpenAi);
        assert_eq!(without["error"]["code"], Value::Null);
        error.kind = ErrorKind::Validation;
        error.param = Some("messages[0].role".to_owned());
        error.code = Some(CONTEXT_LENGTH_EXCEEDED.to_owned());
        let body = body(&error, Dialect::OpenAi);
        assert_eq!(body["error"]["param"], "messages[0].role");
        assert_eq!(body["error"]["code"], CONTEXT_LENGTH_EXCEEDED);
        assert_eq!(body["error"]["type"], "invalid_request_error");
    }

    #[test]
    fn the_status_is_the_one_that_sdks_know() {
        for (kind, openai, anthropic) in [
            (ErrorKind::Throttling, 429, 429),
            (ErrorKind::ServiceUnavailable, 503, 529),
            (ErrorKind::InternalServer, 500, 500),
            (ErrorKind::ModelTimeout, 504, 504),
            (ErrorKind::ModelError, 502, 502),
            (ErrorKind::InvalidSignature, 401, 401),
            (ErrorKind::AccessDenied, 403, 403),
            (ErrorKind::ResourceNotFound, 404, 404),
            (ErrorKind::Validation, 400, 400),
        ] {
            assert_eq!(status(Dialect::OpenAi, kind), openai, "{kind:?}");
            assert_eq!(status(Dialect::Anthropic, kind), anthropic, "{kind:?}");
            assert_eq!(status(Dialect::Bedrock, kind), kind.status());
        }
    }

    #[test]
    fn what_is_written_is_read_as_a_kind_of_the_same_class() {
        for &kind in ErrorKind::ALL {
            for name in [openai_type(kind), anthropic_type(kind)] {
                let read = kind_of(name).unwrap();
                let is_server =
                    |kind: ErrorKind| kind.status().is_server_error() || is_of_server(kind);
                assert_eq!(is_server(read), is_server(kind), "{kind:?} as {name}");
            }
        }
    }
}
