//! The events that end a broken stream of server-sent events, each in the form of its API.

use bytes::Bytes;
use serde_json::{Value, json};

use sluice_bedrock::dialect::{self, DialectError};
use sluice_bedrock::{Api, Dialect, ErrorKind, sse};

/// Writes the errors of one stream.
#[derive(Debug, Clone)]
pub(crate) struct ErrorEvents {
    /// The API of the stream.
    pub(super) api: Api,
    /// The id of the request.
    pub(super) request_id: String,
}

impl ErrorEvents {
    /// The error of this name, as an event stream has it, in place of the `nth` event (from 1).
    pub(crate) fn error(&self, name: &str, nth: u64) -> Bytes {
        let error = error_of(name);
        match self.api {
            Api::Messages => {
                let body = error.body(Dialect::Anthropic, &self.request_id);
                sse::event(Some("error"), &String::from_utf8_lossy(&body))
            }
            Api::Responses => {
                let event = json!({
                    "type": "error",
                    "code": code(&error),
                    "message": error.message,
                    "param": null,
                    "sequence_number": nth.saturating_sub(1),
                });
                sse::event(Some("error"), &event.to_string())
            }
            _ => {
                let body = error.body(Dialect::OpenAi, &self.request_id);
                sse::event(None, &String::from_utf8_lossy(&body))
            }
        }
    }

    /// As [`Self::error`], in Responses as the failure of the response.
    pub(crate) fn failed(&self, name: &str, nth: u64) -> Bytes {
        if self.api != Api::Responses {
            return self.error(name, nth);
        }
        let error = error_of(name);
        let event = json!({
            "type": "response.failed",
            "sequence_number": nth.saturating_sub(1),
            "response": {
                "id": format!("resp_{}", self.request_id.replace('-', "")),
                "object": "response",
                "created_at": 0,
                "status": "failed",
                "error": {"code": code(&error), "message": error.message},
                "incomplete_details": null,
                "output": [],
                "usage": null,
            },
        });
        sse::event(Some("response.failed"), &event.to_string())
    }

    /// An error in the form of no API.
    pub(crate) fn unknown_error() -> Bytes {
        sse::event(Some("error"), r#"{"message":"An internal server error occurred."}"#)
    }

    /// An event whose data are no JSON.
    pub(crate) fn garbage() -> Bytes {
        sse::event(None, r#"{"type":"garb"#)
    }
}

fn error_of(name: &str) -> DialectError {
    let kind = ErrorKind::from_name(name).or_else(|| dialect::kind_of(name));
    let kind = kind.unwrap_or(ErrorKind::InternalServer);
    let message = match kind {
        ErrorKind::Throttling => "Too many requests, please wait before trying again.",
        ErrorKind::ModelTimeout => "The model timed out while it streamed its answer.",
        ErrorKind::ServiceUnavailable => "Bedrock is unable to process your request.",
        ErrorKind::Validation => "The request is not valid.",
        _ => "The system encountered an unexpected error during processing. Try again.",
    };
    DialectError::new(kind, message)
}

/// The code of an error in OpenAI's dialect, or its type if it has none.
fn code(error: &DialectError) -> Value {
    let body: Value = serde_json::from_slice(&error.body(Dialect::OpenAi, "")).unwrap_or_default();
    let member = |name: &str| body.pointer(&format!("/error/{name}")).filter(|it| !it.is_null());
    member("code").or_else(|| member("type")).cloned().unwrap_or_default()
}
