//! Bedrock's errors on the wire: names, statuses, and the one form in which an error is answered.
//!
//! An error is a status, the header `x-amzn-errortype` and a JSON body with `message`. SDKs read
//! the name from the header; some upstreams put it into the body as `__type` or `code`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;

use super::{dialect, named_limit};

/// Header that names the error.
pub const ERROR_TYPE: &str = "x-amzn-errortype";

/// The value of `retry-after` in milliseconds: the header that AWS SDKs read.
/// When another try may do better, in milliseconds.
pub static AMZ_RETRY_AFTER: HeaderName = HeaderName::from_static("x-amz-retry-after");

macro_rules! error_kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $status:literal;)*) => {
        /// The errors that Bedrock Runtime and its signature check answer with, and the few
        /// that only a gateway has.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorKind {
            $($(#[$doc])* $kind,)*
        }

        impl ErrorKind {
            /// Every kind.
            pub const ALL: &[ErrorKind] = &[$(ErrorKind::$kind,)*];

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(ErrorKind::$kind => $name,)* }
            }

            /// The HTTP status.
            pub fn status(self) -> StatusCode {
                let code: u16 = match self { $(ErrorKind::$kind => $status,)* };
                StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    };
}

error_kinds! {
    /// A quota of the account is used up for now.
    Throttling = "ThrottlingException", 429;
    /// A quota of the account is used up.
    ServiceQuotaExceeded = "ServiceQuotaExceededException", 400;
    /// The model is being loaded.
    ModelNotReady = "ModelNotReadyException", 429;
    /// Capacity is short.
    ServiceUnavailable = "ServiceUnavailableException", 503;
    /// The service failed.
    InternalServer = "InternalServerException", 500;
    /// The model took too long.
    ModelTimeout = "ModelTimeoutException", 408;
    /// The model failed.
    ModelError = "ModelErrorException", 424;
    /// The model failed while its answer was streamed.
    ModelStreamError = "ModelStreamErrorException", 424;
    /// The request is wrong.
    Validation = "ValidationException", 400;
    /// The request conflicts with what is there.
    Conflict = "ConflictException", 400;
    /// The caller may not do this.
    AccessDenied = "AccessDeniedException", 403;
    /// There is no such thing.
    ResourceNotFound = "ResourceNotFoundException", 404;
    /// The access key is not known.
    UnrecognizedClient = "UnrecognizedClientException", 403;
    /// The signature is not the request's.
    InvalidSignature = "InvalidSignatureException", 403;
    /// The session token is past its time.
    ExpiredToken = "ExpiredTokenException", 403;
    /// The request is not signed.
    MissingAuthenticationToken = "MissingAuthenticationTokenException", 403;
    /// The authorization header is not whole.
    IncompleteSignature = "IncompleteSignatureException", 403;
    /// No operation has this method and path.
    UnknownOperation = "UnknownOperationException", 404;
    /// The path is an operation's, the method is not.
    MethodNotAllowed = "MethodNotAllowedException", 405;
    /// The request body is too large.
    RequestTooLarge = "RequestEntityTooLargeException", 413;
    /// The request head is too large, or has too many fields.
    HeaderTooLarge = "RequestHeaderFieldsTooLargeException", 431;
    /// The path is too long.
    UriTooLong = "UriTooLongException", 414;
    /// The client did not send its request in time.
    RequestTimeout = "RequestTimeoutException", 408;
}

impl ErrorKind {
    /// Reads a name as it stands in headers (`ThrottlingException:http://...`), in bodies
    /// (`com.amazon.coral#ThrottlingException`) or in event-stream exceptions
    /// (`throttlingException`).
    pub fn from_name(name: &str) -> Option<ErrorKind> {
        let name = short_name(name);
        Self::ALL.iter().copied().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

/// An error's bare name: without the namespace before `#` and the suffix after `:`.
pub fn short_name(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or(name);
    name.rsplit('#').next().unwrap_or(name).trim()
}

/// An error as the gateway answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireError {
    /// Name and status.
    pub kind: ErrorKind,
    /// The text that the client's SDK shows.
    pub message: String,
    /// When another try may do better; on the wire in whole seconds, rounded up, and in milliseconds.
    pub retry_after: Option<Duration>,
}

impl WireError {
    /// An error of this kind with this message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> WireError {
        WireError { kind, message: message.into(), retry_after: None }
    }

    /// The same with a `retry-after`.
    pub fn retry_after(mut self, after: Duration) -> WireError {
        self.retry_after = Some(after);
        self
    }

    /// The response in Bedrock's form.
    pub fn into_response(self) -> Response<Bytes> {
        let body = serde_json::json!({ "message": self.message }).to_string();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ERROR_TYPE, HeaderValue::from_static(self.kind.name()));
        if let Some(after) = self.retry_after {
            set_retry_after(headers, after);
        }
        response
    }
}

/// Says when another try may do better: in whole seconds, and in milliseconds.
pub fn set_retry_after(headers: &mut HeaderMap, after: Duration) {
    headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
    headers.insert(AMZ_RETRY_AFTER.clone(), HeaderValue::from(whole_millis(after)));
}

/// A wait in the form of `retry-after`: whole seconds, rounded up, at least one.
pub fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// A wait in the form of `x-amz-retry-after`.
fn whole_millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX).max(1)
}

/// A text on one line, without control characters and no longer than so many characters.
pub fn plain_text(text: &str, max: usize) -> String {
    let is_part = |c: char| !c.is_whitespace() && !is_control(c);
    let words = text.split(|c| !is_part(c)).filter(|word| !word.is_empty());
    let spaced = words.enumerate().flat_map(|(number, word)| {
        std::iter::repeat_n(' ', usize::from(number > 0)).chain(word.chars())
    });
    let mut plain: String = spaced.take(max + 1).collect();
    if let Some((cut, _)) = plain.char_indices().nth(max) {
        let last = plain.get(..cut).and_then(|kept| kept.char_indices().next_back());
        plain.truncate(last.map_or(0, |(at, _)| at));
        plain.push('\u{2026}');
    }
    plain
}

/// Whether a character shows nothing, or changes how others are shown.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// The error in an upstream's response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// The bare name, from the header or the body: in OpenAI's and Anthropic's APIs, the type.
    pub name: Option<String>,
    /// The message, empty if there is none.
    pub message: String,
    /// The code, which OpenAI's APIs have beside the type.
    pub code: Option<String>,
    /// The member of the request that the error is about, in OpenAI's APIs.
    pub param: Option<String>,
}

impl Reported {
    /// The known error behind the code or the name, in whatever dialect they are.
    pub fn kind(&self) -> Option<ErrorKind> {
        let names = [self.code.as_deref(), self.name.as_deref()];
        let kind = |name| ErrorKind::from_name(name).or_else(|| dialect::kind_of(name));
        names.into_iter().flatten().find_map(kind)
    }
}

/// Reads an upstream's error response in Bedrock's form; whatever is not there or not readable is left out.
pub fn read(headers: &HeaderMap, body: &[u8]) -> Reported {
    #[derive(Default, serde::Deserialize)]
    struct Body {
        #[serde(alias = "Message", alias = "errorMessage")]
        message: Option<Value>,
        #[serde(rename = "__type")]
        shape: Option<Value>,
        code: Option<Value>,
    }
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    let name = header_name(headers).or_else(|| text(body.shape)).or_else(|| text(body.code));
    Reported {
        name: name.map(|name| short_name(&name).to_owned()),
        message: text(body.message).unwrap_or_default(),
        ..Reported::default()
    }
}

/// Reads an error response or an error event of one of the APIs of OpenAI and Anthropic, which may be in their
/// dialects or in Bedrock's form; whatever is not there or not readable is left out.
pub fn read_dialect(headers: &HeaderMap, body: &[u8]) -> Reported {
    #[derive(Default, serde::Deserialize)]
    struct Body {
        error: Option<Value>,
        code: Option<Value>,
        param: Option<Value>,
    }
    let Body { error, code, param } = serde_json::from_slice(body).unwrap_or_default();
    match error {
        Some(Value::Object(mut error)) => {
            let mut member = |name| text(error.remove(name));
            let name = header_name(headers).or_else(|| member("type"));
            Reported {
                name: name.map(|name| short_name(&name).to_owned()),
                message: member("message").unwrap_or_default(),
                code: member("code"),
                param: member("param"),
            }
        }
        // The error events of Responses have all at the top.
        _ => {
            let mut reported = read(headers, body);
            if reported.message.is_empty() {
                reported.message = text(error).unwrap_or_default();
            }
            Reported { code: text(code), param: text(param), ..reported }
        }
    }
}

fn header_name(headers: &HeaderMap) -> Option<String> {
    headers.get(ERROR_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn text(value: Option<Value>) -> Option<String> {
    match value {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Whether an error of a client, of status 400, says that the conversation is too long for the model: by its code,
/// or by the beginning of its message, which is the upstream's own text.
pub fn is_context_too_long(reported: &Reported) -> bool {
    if reported.code.as_deref() == Some(dialect::CONTEXT_LENGTH_EXCEEDED)
        || reported.name.as_deref() == Some(dialect::CONTEXT_LENGTH_EXCEEDED)
    {
        return true;
    }
    if reported.kind().is_some_and(|kind| kind != ErrorKind::Validation) {
        return false;
    }
    let message = named_limit::own_words(&reported.message);
    let starts_with = |start: &&str| {
        message.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start))
    };
    TOO_LONG_STARTS.iter().any(starts_with)
}

/// How messages begin that say so, of Converse and InvokeModel, of Anthropic's models, and of OpenAI's API.
const TOO_LONG_STARTS: [&str; 8] = [
    "prompt is too long",
    "input is too long",
    "input length and `max_tokens` exceed context limit",
    "this model's maximum context length is",
    "your input exceeds the context window",
    "the input exceeds the context window",
    "the model's context window",
    "context_length_exceeded",
];

#[cfg(test)]
mod tests;
