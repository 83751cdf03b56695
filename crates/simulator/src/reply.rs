//! A request as the operations see it, and their answers before they are sent.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{StatusCode, request};
use serde_json::Value;
use tokio::time::Instant;

use super::answer::Invalid;
use super::fault::Fault;
use super::quota::{Refused, Reservation};
use super::stream::{Script, whole};
use sluice_bedrock::ErrorKind;
use sluice_bedrock::error::ERROR_TYPE;

/// What the real service puts after an error's name.
const ERROR_SUFFIX: &str = ":http://internal.amazon.com/coral/com.amazon.bedrock/";
/// A request whose head, body and credentials are read.
pub(super) struct Accepted<'a> {
    /// The head.
    pub(super) head: &'a request::Parts,
    /// The body.
    pub(super) body: Bytes,
    /// When the head was there.
    pub(super) started: Instant,
    /// The exchange's number.
    pub(super) seq: u64,
    /// This exchange's own randomness.
    pub(super) rng: fastrand::Rng,
    /// The fault to inject, if any.
    pub(super) fault: Option<Fault>,
}

/// An answer before it is sent.
pub(super) struct Reply {
    /// The status.
    pub(super) status: StatusCode,
    /// Headers beyond those that every answer has.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub(super) script: Script,
    /// The body's length, when it is known beforehand.
    pub(super) length: Option<usize>,
    /// What the answer holds of a quota until its end.
    pub(super) reservation: Option<Reservation>,
}

impl Reply {
    /// A 200 with JSON.
    pub(super) fn json(value: &Value, tokens: u64) -> Self {
        Self::bytes(StatusCode::OK, "application/json", value.to_string(), tokens)
    }

    /// An answer that is sent at once.
    pub(super) fn bytes(
        status: StatusCode,
        content_type: &'static str,
        bytes: impl Into<Bytes>,
        tokens: u64,
    ) -> Self {
        let bytes = bytes.into();
        Self {
            status,
            headers: vec![(CONTENT_TYPE, HeaderValue::from_static(content_type))],
            length: Some(bytes.len()),
            script: whole(bytes, tokens),
            reservation: None,
        }
    }
}

/// An error in Bedrock's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The error's name.
    pub(super) name: String,
    /// The status.
    pub(super) status: StatusCode,
    /// The message.
    pub(super) message: String,
}

impl Failure {
    /// An error of this kind.
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { name: kind.name().to_owned(), status: kind.status(), message: message.into() }
    }

    /// The answer in Bedrock's form.
    pub(super) fn into_reply(self) -> Reply {
        let mut body = serde_json::json!({ "message": self.message });
        if let (true, Some(fields)) = (self.name == "ModelErrorException", body.as_object_mut()) {
            fields.insert("originalStatusCode".to_owned(), Value::from(500));
            fields.insert("resourceName".to_owned(), Value::from("model"));
        }
        let mut reply = Reply::json(&body, 0);
        reply.status = self.status;
        if let Ok(name) = HeaderValue::try_from(format!("{}{ERROR_SUFFIX}", self.name)) {
            reply.headers.push((HeaderName::from_static(ERROR_TYPE), name));
        }
        reply
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::new(ErrorKind::Validation, invalid.to_string())
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::new(ErrorKind::Throttling, refused.to_string())
    }
}
