//! From an upstream's response to a decided outcome.
//!
//! A success keeps its body open and unread, but for the chunks that held the first frame of a
//! stream. A failure is read to its end, within bounds, so that it can be relayed later exactly
//! as it came. A 200 can be a failure: an exception in the first frame, JSON where a stream
//! was asked for, a page for people, or an encoded body, which was not requested and which the gateway does not read.

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError};

use super::classify::{FailureClass, classify};
use super::connect::ConnectTimeout;
use super::{Body, BuildRequestError, SendError, first_event, foreign, http1, reason};
use crate::bedrock::error::{self, ERROR_TYPE, Reported, plain_text};
use crate::bedrock::event_stream::{self, Frame, Kind};
use crate::bedrock::{Api, ErrorKind, WireError, sse};
use crate::system::descriptors::is_caused_by_exhaustion;
use crate::system::time::timeout;
use crate::telemetry::{UpstreamRequestId, with_causes};

const REQUEST_ID: &str = "x-amzn-requestid";

/// Longest error body that is kept, in bytes.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// Longest first frame that is waited for, in bytes. Bedrock's are a few hundred; a longer one
/// is taken for a success and relayed.
pub(super) const MAX_FIRST_FRAME: usize = 128 * 1024;

/// How long the end of a stream may take that began with an exception.
const AFTER_EXCEPTION: Duration = Duration::from_secs(1);

/// When a request may come again that the gateway could not open a connection for.
const EXHAUSTED_PAUSE: Duration = Duration::from_secs(1);

/// A decided outcome of an attempt.
#[derive(Debug)]
pub enum Reply {
    /// To be relayed.
    Success(Box<Success>),
    /// To be followed by another attempt, or relayed.
    Failure(Box<Failure>),
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Reply {
        Reply::Failure(Box::new(failure))
    }
}

impl Reply {
    /// Whether no answer began within the time for it.
    pub fn is_too_slow(&self) -> bool {
        matches!(self, Reply::Failure(failure) if failure.time_limit == Some(TimeLimit::FirstByte))
    }
}

/// A success whose body is still to come.
#[derive(Debug)]
pub struct Success<B = Body> {
    /// Status, normally 200.
    pub status: StatusCode,
    /// The response's headers as they came.
    pub headers: HeaderMap,
    /// Bytes of the body that were read to see the first frame, in order.
    pub buffered: Vec<Bytes>,
    /// The rest of the body.
    pub body: B,
    /// Whether the body ends where its connection does, so that only its content distinguishes a
    /// whole one from one that was cut off.
    pub is_close_delimited: bool,
}

impl<B> Success<B> {
    /// The upstream's own id of the request.
    pub fn request_id(&self) -> Option<UpstreamRequestId> {
        UpstreamRequestId::of(&self.headers)
    }
}

/// A limit of time that an attempt ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLimit {
    /// `connect_timeout`.
    Connect,
    /// `first_byte_timeout`.
    FirstByte,
}

/// A failed attempt.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What it means.
    pub class: FailureClass,
    /// The error's own name and message.
    pub reported: Reported,
    /// Status of the answer.
    pub status: StatusCode,
    /// Headers of the answer.
    pub headers: HeaderMap,
    /// Body of the answer.
    pub body: Bytes,
    /// Whether the upstream gave this answer; else the gateway made it in its place.
    pub from_upstream: bool,
    /// The limit of time that ended the attempt.
    pub time_limit: Option<TimeLimit>,
    /// The upstream's own id of the request, also where the gateway made the answer.
    pub request_id: Option<UpstreamRequestId>,
    /// Why there was no connection, if the error's own message has more than that.
    cause: Option<String>,
}

impl Failure {
    fn local(class: FailureClass, kind: ErrorKind, message: String) -> Failure {
        let reported = Reported {
            name: Some(kind.name().to_owned()),
            message: message.clone(),
            ..Reported::default()
        };
        let (head, body) = WireError::new(kind, message).into_response().into_parts();
        Failure {
            class,
            reported,
            status: head.status,
            headers: head.headers,
            body,
            from_upstream: false,
            time_limit: None,
            request_id: None,
            cause: None,
        }
    }

    /// A request that the gateway could not make, for want of credentials above all.
    pub fn no_credentials(error: &BuildRequestError) -> Failure {
        Failure::local(FailureClass::Unusable, ErrorKind::ServiceUnavailable, error.to_string())
    }

    /// A success that is of no use: it broke off, or can't be translated. Nothing of it has gone out.
    pub fn of_success(
        class: FailureClass,
        kind: ErrorKind,
        message: String,
        request_id: Option<UpstreamRequestId>,
    ) -> Failure {
        Failure { request_id, ..Failure::local(class, kind, message) }
    }

    /// A stream that an exception has ended before anything of it has gone out.
    pub fn of_exception(
        kind: ErrorKind,
        message: String,
        request_id: Option<UpstreamRequestId>,
    ) -> Failure {
        let local = Failure::local(FailureClass::Transient, kind, message);
        let class = classify(local.status, &local.reported);
        Failure { class, from_upstream: true, request_id, ..local }.without_credentials()
    }

    /// The name in metrics and the access log: the limit that ended the attempt, else its class.
    pub fn name(&self) -> &'static str {
        match self.time_limit {
            Some(TimeLimit::Connect) => "connect_timeout",
            Some(TimeLimit::FirstByte) => "first_byte_timeout",
            None => self.class.name(),
        }
    }

    /// Why the attempt failed, for operators: one line of at most 200 characters, without secrets.
    pub fn reason(&self) -> String {
        match &self.cause {
            Some(cause) => cause.clone(),
            None if self.from_upstream => reason::of_answer(&self.reported),
            None => plain_text(&self.reported.message, reason::MAX_REASON),
        }
    }

    /// The message of the answer, unless it seems to quote credentials.
    pub fn message(&self) -> Option<&str> {
        let message = &*self.reported.message;
        let is_quote = self.from_upstream && reason::quotes_credentials(message);
        (!is_quote && !message.is_empty()).then_some(message)
    }

    /// Whether the upstream refused the gateway's own credentials, which newer ones may mend.
    pub fn is_about_credentials(&self) -> bool {
        self.class == FailureClass::Unusable && self.from_upstream
    }

    /// The status that the error stands for: its own, also where it came in a 200 stream.
    pub fn error_status(&self) -> StatusCode {
        if self.status.is_success() {
            self.reported.kind().map_or(StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::status)
        } else {
            self.status
        }
    }

    /// An error answer as it came.
    pub(super) fn answer(head: http::response::Parts, body: Bytes, reported: Reported) -> Failure {
        let class = classify(head.status, &reported);
        let (status, headers) = (head.status, head.headers);
        Failure::from(foreign::Answer { class, reported, status, headers, body })
    }

    /// An error answer, in Bedrock's form if it is not.
    fn translated(head: http::response::Parts, body: Bytes, reported: Reported) -> Failure {
        let request_id = HeaderName::from_static(REQUEST_ID);
        let answer = foreign::translate(head.status, head.headers, body, reported, &request_id);
        Failure::from(answer)
    }

    /// An answer that refuses the gateway's credentials may quote what was signed with them, the
    /// session token among it. No other client may see that: the name of the error stays, its text does not.
    pub(super) fn without_credentials(mut self) -> Failure {
        let Some(kind) = self.reported.kind().filter(|_| self.class == FailureClass::Unusable)
        else {
            return self;
        };
        let message = reason::REFUSED_CREDENTIALS;
        let (head, body) = WireError::new(kind, message).into_response().into_parts();
        message.clone_into(&mut self.reported.message);
        let request_id = self.headers.remove(REQUEST_ID);
        (self.status, self.headers, self.body) = (head.status, head.headers, body);
        self.headers.extend(request_id.map(|id| (HeaderName::from_static(REQUEST_ID), id)));
        self
    }
}

impl From<foreign::Answer> for Failure {
    fn from(answer: foreign::Answer) -> Failure {
        let foreign::Answer { class, reported, status, headers, body } = answer;
        Failure {
            class,
            reported,
            request_id: UpstreamRequestId::of(&headers),
            status,
            headers,
            body,
            from_upstream: true,
            time_limit: None,
            cause: None,
        }
        .without_credentials()
    }
}

/// The form that a success must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpectedAnswer {
    /// The API whose form its body and its errors have.
    pub api: Api,
    /// Whether it is a stream: of frames in Bedrock's own API, of server-sent events in the others.
    pub streams: bool,
}

impl ExpectedAnswer {
    /// The error in a response.
    fn read_error(self, headers: &HeaderMap, body: &[u8]) -> Reported {
        match self.api {
            Api::Bedrock => error::read(headers, body),
            _ => error::read_dialect(headers, body),
        }
    }
}

/// Reads as much of a response as decides its outcome. What must wait for more of it is boxed, so
/// that the usual success, which does not, is small.
pub(super) async fn read(response: Response<Body>, expected: ExpectedAnswer) -> Reply {
    let (head, body) = response.into_parts();
    let is_encoded_or_failed = encoding(&head.headers).is_some() || !head.status.is_success();
    if !expected.streams && !is_encoded_or_failed && !foreign::is_page(&head.headers) {
        return success(head, Vec::new(), body);
    }
    // A failure that the gateway describes itself does not keep the headers.
    let request_id = UpstreamRequestId::of(&head.headers);
    match Box::pin(read_further(head, body, expected)).await {
        Reply::Failure(mut failure) => {
            failure.request_id = request_id;
            Reply::Failure(failure)
        }
        success => success,
    }
}

/// The outcome of a response that its head does not decide.
async fn read_further(head: http::response::Parts, body: Body, expected: ExpectedAnswer) -> Reply {
    if let Some(encoding) = encoding(&head.headers) {
        return Reply::from(encoded(head, &encoding, expected));
    }
    if !head.status.is_success() || !expected.streams && foreign::is_page(&head.headers) {
        return failed(head, body, expected).await;
    }
    match expected.api {
        Api::Bedrock if has_type(&head.headers, event_stream::CONTENT_TYPE) => {
            return first_frame(head, body).await;
        }
        api if api != Api::Bedrock && has_type(&head.headers, sse::CONTENT_TYPE) => {
            return first_event::read(head, body, api).await;
        }
        _ => {}
    }
    match collect(body).await {
        Ok(body) => Reply::from(not_a_stream(head, body, expected)),
        Err(failure) => Reply::from(failure),
    }
}

async fn failed(head: http::response::Parts, body: Body, expected: ExpectedAnswer) -> Reply {
    Reply::from(match http_body_util::Limited::new(body, MAX_ERROR_BODY).collect().await {
        Ok(body) => {
            let body = body.to_bytes();
            let reported = expected.read_error(&head.headers, &body);
            Failure::translated(head, body, reported)
        }
        // Bedrock's are short; the status is enough without the text.
        Err(error) if error.is::<LengthLimitError>() => {
            let reported = expected.read_error(&head.headers, b"");
            Failure::translated(head, Bytes::new(), reported)
        }
        Err(_) => broken("the upstream's error answer broke off"),
    })
}

/// How a body is encoded; `None` if it is as it is. What can't be shown is not.
pub(super) fn encoding(headers: &HeaderMap) -> Option<String> {
    const LONGEST: usize = 32;
    let values = headers.get_all(CONTENT_ENCODING).iter();
    let texts = values.map(|value| value.to_str().unwrap_or("unknown"));
    let words = texts.flat_map(|text| text.split(',')).map(str::trim);
    let mut encodings =
        words.filter(|word| !word.is_empty() && !word.eq_ignore_ascii_case("identity"));
    encodings.next().map(|word| word.chars().take(LONGEST).collect())
}

/// The failure that an encoded answer is. An error keeps its status and headers; its text
/// is not passed on, since it may quote a secret.
fn encoded(mut head: http::response::Parts, encoding: &str, expected: ExpectedAnswer) -> Failure {
    let message = format!("the upstream's answer is encoded ({encoding}), which was not asked for");
    if head.status.is_success() {
        return Failure::local(FailureClass::Encoded, ErrorKind::ServiceUnavailable, message);
    }
    let mut reported = expected.read_error(&head.headers, b"");
    message.clone_into(&mut reported.message);
    let body = Bytes::from(serde_json::json!({ "message": message }).to_string());
    head.headers.remove(CONTENT_ENCODING);
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Failure::translated(head, body, reported)
}

/// The failure of a request that got no response at all.
pub(super) fn not_sent(error: SendError, connect_timeout: Duration) -> Failure {
    match &error {
        SendError::Request(error) => Failure::no_credentials(error),
        SendError::Connect(cause) if is_caused_by_exhaustion(&**cause) => exhausted(),
        SendError::Connect(_) => not_connected(&error, connect_timeout),
        SendError::Http1 { .. } | SendError::Http2 { .. } => no_answer(&error),
    }
}

/// The failure of a request that the gateway could not open a connection for.
fn exhausted() -> Failure {
    let message = "the gateway has no file descriptors, ports or memory left to reach the upstream, \
                   please try again";
    let kind = ErrorKind::ServiceUnavailable;
    let failure = Failure::local(FailureClass::ResourceExhausted, kind, message.to_owned());
    let again = WireError::new(kind, message).retry_after(EXHAUSTED_PAUSE).into_response();
    let (head, body) = again.into_parts();
    Failure { headers: head.headers, body, ..failure }
}

fn not_connected(error: &(dyn Error + 'static), connect_timeout: Duration) -> Failure {
    let what = "could not connect to the upstream";
    if !is_timeout(error) {
        let cause = reason::of_connect(error);
        return Failure { cause, ..broken(&with_causes(what.to_owned(), error)) };
    }
    let cause = format!("no connection within {}", humantime::format_duration(connect_timeout));
    let failure = broken(&format!("{what}: {cause}"));
    Failure { time_limit: Some(TimeLimit::Connect), cause: Some(cause), ..failure }
}

fn no_answer(error: &SendError) -> Failure {
    let what = match error {
        SendError::Http1 { error: http1::Error::Head(_) | http1::Error::Chunk(_), .. } => {
            "the upstream's answer can't be used"
        }
        _ => "the upstream closed the connection before it answered",
    };
    broken(&with_causes(what.to_owned(), error))
}

/// Whether a connection was not opened in time. The operating system may give up first.
fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(error.source(), |&error| error.source());
    causes.any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        cause.is::<ConnectTimeout>()
            || io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut)
    })
}

/// The failure of a request whose answer did not begin in time.
pub(super) fn too_slow(limit: Duration) -> Failure {
    let limit = humantime::format_duration(limit);
    let message = format!("the upstream did not begin its answer within {limit}");
    let failure = Failure::local(FailureClass::Slow, ErrorKind::ModelTimeout, message);
    Failure { time_limit: Some(TimeLimit::FirstByte), ..failure }
}

async fn first_frame(head: http::response::Parts, mut body: Body) -> Reply {
    let mut buffered: Vec<Bytes> = Vec::new();
    let mut joined = BytesMut::new();
    loop {
        let chunk = match body.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) => chunk,
                Err(_) => continue,
            },
            Some(Err(_)) | None => {
                return Reply::from(broken("the upstream's stream ended before its first frame"));
            }
        };
        // The usual case is one chunk with the whole frame, which is looked at where it lies.
        let view: &[u8] = if buffered.is_empty() {
            &chunk
        } else {
            if joined.is_empty() {
                buffered.iter().for_each(|chunk| joined.extend_from_slice(chunk));
            }
            joined.extend_from_slice(&chunk);
            &joined
        };
        let frame = match Frame::read(view) {
            Ok(None) if view.len() < MAX_FIRST_FRAME => {
                buffered.push(chunk);
                continue;
            }
            Ok(None) => None,
            Ok(Some(frame)) => Some(frame),
            Err(event_stream::NotAFrame) => {
                return Reply::from(broken("the upstream's stream does not begin with a frame"));
            }
        };
        let reported = frame.and_then(|frame| exception(&frame));
        buffered.push(chunk);
        return match reported {
            None => success(head, buffered, body),
            Some(reported) => Reply::from(exception_first(head, buffered, body, reported).await),
        };
    }
}

/// The error in an exception frame, if it is one.
fn exception(frame: &Frame<'_>) -> Option<Reported> {
    match frame.kind() {
        Kind::Exception(name) => {
            let mut reported = error::read(&HeaderMap::new(), frame.payload);
            reported.name = Some(name.to_owned());
            Some(reported)
        }
        Kind::Error(code) => Some(Reported {
            name: Some(code.to_owned()),
            message: frame.header(":error-message").unwrap_or_default().to_owned(),
            ..Reported::default()
        }),
        Kind::Event(_) | Kind::Other => None,
    }
}

/// A stream whose first frame is an exception is classified as the error it names and kept as
/// the 200 it came as, to its end.
async fn exception_first(
    head: http::response::Parts,
    buffered: Vec<Bytes>,
    body: Body,
    reported: Reported,
) -> Failure {
    let mut bytes = BytesMut::new();
    buffered.iter().for_each(|chunk| bytes.extend_from_slice(chunk));
    // Nothing follows an exception but the stream's end, which is not waited for.
    if let Ok(Ok(rest)) = timeout(AFTER_EXCEPTION, collect(body)).await {
        bytes.extend_from_slice(&rest);
    }
    // The name decides; an unknown one is a failure of the service.
    let status = reported.kind().map_or(StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::status);
    let class = classify(status, &reported);
    Failure { class, ..Failure::answer(head, bytes.freeze(), reported) }.without_credentials()
}

/// A stream operation that was answered 200 with something that is no stream: the error it
/// reports, under that error's own status, so that no SDK takes it for a success.
fn not_a_stream(mut head: http::response::Parts, body: Bytes, expected: ExpectedAnswer) -> Failure {
    let reported = expected.read_error(&head.headers, &body);
    let Some(name) = reported.name.clone() else {
        return broken("the upstream answered a stream operation with something that is no stream");
    };
    head.status = reported.kind().map_or(StatusCode::BAD_GATEWAY, ErrorKind::status);
    // Errors of the other APIs are named in their bodies alone.
    if expected.api == Api::Bedrock
        && let Ok(name) = HeaderValue::from_str(&name)
    {
        head.headers.insert(HeaderName::from_static(ERROR_TYPE), name);
    }
    Failure::answer(head, body, reported)
}

pub(super) fn success(head: http::response::Parts, buffered: Vec<Bytes>, body: Body) -> Reply {
    let (status, headers) = (head.status, head.headers);
    let is_close_delimited = body.is_close_delimited();
    Reply::Success(Box::new(Success { status, headers, buffered, body, is_close_delimited }))
}

pub(super) fn broken(message: &str) -> Failure {
    Failure::local(FailureClass::Transient, ErrorKind::ServiceUnavailable, message.to_owned())
}

/// Whether a response has a content type, with whatever parameters.
fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| {
        value.get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted))
    })
}

async fn collect(body: Body) -> Result<Bytes, Failure> {
    match http_body_util::Limited::new(body, MAX_ERROR_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(_) => Err(broken("the upstream's error answer broke off or is too long")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_response_is_detected() {
        let of = |values: &[&'static [u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_bytes(value).unwrap());
            }
            encoding(&headers)
        };
        let plain: [&[&'static [u8]]; 4] =
            [&[], &[b"identity"], &[b""], &[b"Identity, identity", b" "]];
        for values in plain {
            assert_eq!(of(values), None, "{values:?}");
        }
        for (values, wanted) in [
            (vec![b"gzip".as_slice()], "gzip"),
            (vec![b"identity, BR"], "BR"),
            (vec![b"identity", b"aws-chunked"], "aws-chunked"),
            (vec![b"\xff"], "unknown"),
        ] {
            assert_eq!(of(&values).as_deref(), Some(wanted), "{values:?}");
        }
        assert_eq!(of(&[&[b'x'; 4000]]).unwrap().len(), 32);
    }
}
