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
use sluice_bedrock::dialect::{self, DialectError};
use sluice_bedrock::error::ERROR_TYPE;
use sluice_bedrock::{Dialect, ErrorKind};

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

/// An error, which is written in the dialect of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The error's name.
    pub(super) name: String,
    /// The status in Bedrock's own dialect.
    pub(super) status: StatusCode,
    /// The message.
    pub(super) message: String,
    /// The member of the request that it is about, in OpenAI's dialect.
    pub(super) param: Option<String>,
    /// The code in OpenAI's dialect, where it is not that of the kind.
    pub(super) code: Option<&'static str>,
    /// Whether it has no code there, although others of its kind have one.
    pub(super) is_without_code: bool,
}

impl Failure {
    /// An error of this kind.
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::named(kind.name(), kind.status(), message)
    }

    /// An error of this name, which need not be known.
    pub(super) fn named(
        name: impl Into<String>,
        status: StatusCode,
        message: impl Into<String>,
    ) -> Self {
        let (name, message) = (name.into(), message.into());
        Self { name, status, message, param: None, code: None, is_without_code: false }
    }

    /// The same, about this member of the request.
    pub(super) fn about(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// The same, with this code.
    pub(super) fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The same, without the code of its kind.
    pub(super) fn without_code(self) -> Self {
        Self { is_without_code: true, ..self }
    }

    /// The answer in a dialect.
    pub(super) fn into_reply(self, dialect: Dialect, request_id: &str) -> Reply {
        if dialect == Dialect::Bedrock {
            return self.into_bedrock_reply();
        }
        let known = ErrorKind::from_name(&self.name);
        let kind = known
            .or_else(|| dialect::kind_of(&self.name))
            .unwrap_or_else(|| dialect::kind_of_status(self.status));
        // The status of a name that the dialect does not have is the one that was asked for.
        let status = known.map_or(self.status, |kind| dialect::status(dialect, kind));
        let code = self.code.map(str::to_owned);
        let code = code.or_else(|| (known.is_none() && !is_type(&self.name)).then_some(self.name));
        let error = DialectError {
            param: self.param,
            code,
            is_without_code: self.is_without_code,
            ..DialectError::new(kind, self.message)
        };
        let body = error.body(dialect, request_id);
        Reply::bytes(status, "application/json", body, 0)
    }

    fn into_bedrock_reply(self) -> Reply {
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

/// Whether a name is a type of the dialects, and not a code.
fn is_type(name: &str) -> bool {
    name.ends_with("_error") || name.is_empty()
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
