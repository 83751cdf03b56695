//! Errors in the dialect of the client: those of the gateway itself, those of upstreams, and the events that
//! end a stream which broke.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::bedrock::dialect::{self, CONTEXT_LENGTH_EXCEEDED, DialectError, kind_of_status};
use crate::bedrock::error::{ERROR_TYPE, Reported, is_context_too_long};
use crate::bedrock::{Api, Dialect, ErrorKind, sse};

/// Puts an error that has Bedrock's form into another dialect: changes the status, removes the header that
/// names the error in Bedrock's form, and gives the body.
pub fn write(
    dialect: Dialect,
    error: &DialectError,
    request_id: &str,
    headers: &mut HeaderMap,
) -> (StatusCode, Bytes) {
    headers.remove(ERROR_TYPE);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (error.status(dialect), error.body(dialect, request_id))
}

/// What an upstream answered, as a failure has it.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamError<'a> {
    /// Its status: that of the error, also where it came within a stream.
    pub status: StatusCode,
    /// What was read of it.
    pub reported: &'a Reported,
    /// Its body.
    pub body: &'a Bytes,
}

/// The status and body of an upstream's error for a client of `dialect`. An error that is in this dialect
/// already stays as it came, but for the code that tells clients to shorten the conversation.
pub fn of_upstream(
    dialect: Dialect,
    error: UpstreamError<'_>,
    request_id: &str,
    headers: &mut HeaderMap,
) -> (StatusCode, Bytes) {
    let UpstreamError { status, reported, body } = error;
    let is_too_long = is_context_too_long(reported);
    let lacks_code = dialect == Dialect::OpenAi
        && is_too_long
        && reported.code.as_deref() != Some(CONTEXT_LENGTH_EXCEEDED);
    let is_error = status.is_client_error() || status.is_server_error();
    if is_error && !lacks_code && is_in(dialect, body) {
        return (status, body.clone());
    }
    let kind = kind_of(status, reported);
    let mut written = DialectError::new(kind, reported.message.clone());
    written.param.clone_from(&reported.param);
    written.code = match is_too_long {
        true => Some(CONTEXT_LENGTH_EXCEEDED.to_owned()),
        false => reported.code.clone(),
    };
    write(dialect, &written, request_id, headers)
}

/// The name that an upstream's error has for a client of `dialect`: the type there.
pub fn name<'a>(dialect: Dialect, error: &UpstreamError<'a>) -> &'a str {
    let UpstreamError { status, reported, body } = *error;
    let named = reported.name.as_deref().filter(|name| dialect::kind_of(name).is_some());
    let named = named.filter(|_| is_in(dialect, body));
    named.unwrap_or_else(|| dialect::name(dialect, kind_of(status, reported)))
}

fn kind_of(status: StatusCode, reported: &Reported) -> ErrorKind {
    reported.kind().unwrap_or_else(|| kind_of_status(status))
}

/// Whether a body is an error in this dialect.
fn is_in(dialect: Dialect, body: &[u8]) -> bool {
    let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(body) else { return false };
    let has_error = body.get("error").is_some_and(|error| {
        error.get("message").is_some_and(Value::is_string)
            && error.get("type").is_none_or(|it| it.is_string() || it.is_null())
    });
    match dialect {
        Dialect::Bedrock => body.contains_key("message"),
        Dialect::OpenAi => has_error && !body.contains_key("type"),
        Dialect::Anthropic => has_error && body.get("type").is_some_and(|it| it == "error"),
    }
}

/// The event that ends a stream which failed after it began. It is never one that ends a stream normally, and
/// the SDKs of its dialect raise an error on it.
pub fn stream_event(api: Api, error: &DialectError, request_id: &str) -> Bytes {
    let dialect = match api {
        Api::Messages => Dialect::Anthropic,
        Api::Bedrock | Api::ChatCompletions | Api::Responses | Api::Models | Api::Embeddings => {
            Dialect::OpenAi
        }
    };
    let body = error.body(dialect, request_id);
    let text = String::from_utf8_lossy(&body);
    match api {
        Api::Messages => sse::event(Some("error"), &text),
        Api::Responses => {
            let error: Value = serde_json::from_slice(&body).unwrap_or_default();
            let error = error.get("error").cloned().unwrap_or_default();
            let event = serde_json::json!({
                "type": "error",
                "code": error.get("code"),
                "message": error.get("message"),
                "param": error.get("param"),
                // The SDKs raise an error on this member alone.
                "error": error,
            });
            sse::event(Some("error"), &event.to_string())
        }
        Api::Bedrock | Api::ChatCompletions | Api::Models | Api::Embeddings => {
            sse::event(None, &text)
        }
    }
}
