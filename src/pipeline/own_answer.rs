//! Answers that the gateway writes itself. A failure of an upstream is passed on as it came, unless the client's API
//! has another form of errors.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use tokio::time::Instant;
use uuid::Uuid;

use super::context::{Outcome, PANICKED, RequestContext};
use super::error::{
    GatewayError, RequestError, SHOULD_RETRY, discourage_retry, forbid_retry, may_be_retried,
};
use super::headers::{strip_for_client, value};
use super::own_headers::{AMZN_REQUEST_ID, REQUEST_ID, add_own_headers};
use super::relay::{self, ResponseBody};
use super::shortage::DEFAULT_RETRY_AFTER;
use crate::api::errors::{self, UpstreamError};
use crate::bedrock::dialect::{self, DialectError};
use crate::bedrock::error::{AMZ_RETRY_AFTER, set_retry_after};
use crate::bedrock::{self, Dialect, ErrorKind, WireError};
use crate::limits::OverBudget;
use crate::routing::Target;
use crate::routing::cooldown::State;
use crate::upstream::{Failure, FailureClass, TimeLimit};

/// The answer that relays a failure as it came.
pub(super) fn failure(
    mut context: Box<RequestContext>,
    failure: Failure,
    target: Arc<Target>,
) -> Response<ResponseBody> {
    let mut head = failure.headers.clone();
    strip_for_client(&mut head);
    head.remove(CONTENT_LENGTH);
    let dialect = context.call.dialect;
    let (status, body, name) = match dialect {
        Dialect::Bedrock => {
            (failure.status, failure.body.clone(), failure.reported.name.as_deref())
        }
        _ => {
            let error = UpstreamError {
                status: failure.error_status(),
                reported: &failure.reported,
                body: &failure.body,
            };
            let request_id = context.request_id.to_string();
            let name = errors::name(dialect, &error);
            let (status, body) = errors::of_upstream(dialect, error, &request_id, &mut head);
            (status, body, Some(name))
        }
    };
    if failure.class.is_client_error() && !may_be_retried(status) {
        forbid_retry(&mut head);
    }
    context.record_response_head(status, name);
    if let Some(message) = failure.message() {
        context.set_client_message(message);
    }
    context.set_outcome(match failure.time_limit {
        Some(TimeLimit::Connect) => Outcome::ConnectTimeout,
        Some(TimeLimit::FirstByte) => Outcome::FirstByteTimeout,
        None if failure.class.is_client_error() => Outcome::ClientError,
        None if failure.class == FailureClass::ResourceExhausted => Outcome::ResourceExhausted,
        None => Outcome::UpstreamError,
    });
    if failure.time_limit == Some(TimeLimit::FirstByte) && !head.contains_key(RETRY_AFTER) {
        set_retry_after(&mut head, DEFAULT_RETRY_AFTER);
    }
    let now = Instant::now();
    let due = match target.state(now) {
        State::Cooling(until) => until.saturating_duration_since(now),
        _ => DEFAULT_RETRY_AFTER,
    };
    if failure.from_upstream {
        context.answer.target = Some(target);
    }
    buffered_response(status, head, body, due, context)
}

/// The answer to a request that the gateway itself ends.
pub(super) fn request_error(failed: RequestError) -> Response<ResponseBody> {
    let RequestError { error, mut context } = failed;
    let dialect = context.call.dialect;
    let kind = error.kind_in(dialect);
    context
        .record_response_head(dialect::status(dialect, kind), Some(dialect::name(dialect, kind)));
    context.set_client_message(&error.to_string());
    context.set_outcome(error.outcome());
    match &error {
        GatewayError::Limited(limited) => context.caller.limited_by = Some(limited.limit),
        GatewayError::OverBudget(over @ OverBudget::Held(_)) => {
            context.caller.limited_by = Some(over.policy());
        }
        GatewayError::OverBudget(over) => context.caller.denied_by = Some(over.policy()),
        GatewayError::PolicyDenied(denied) => context.caller.denied_by = Some(denied.policy()),
        _ => {}
    }
    let request_id = context.request_id.to_string();
    let is_final = error.is_final();
    let (mut head, body) = error.into_response(dialect, &request_id).into_parts();
    if is_final {
        forbid_retry(&mut head.headers);
    }
    buffered_response(head.status, head.headers, body, DEFAULT_RETRY_AFTER, context)
}

/// The answer to a request of whose calls one failed with this.
pub(super) fn failed_call(
    mut context: Box<RequestContext>,
    failed: &http::response::Parts,
    body: &Bytes,
) -> Response<ResponseBody> {
    let reported = bedrock::error::read(&failed.headers, body);
    let error = UpstreamError { status: failed.status, reported: &reported, body };
    let dialect = context.call.dialect;
    let mut head = HeaderMap::new();
    for name in [&RETRY_AFTER, &AMZ_RETRY_AFTER, &SHOULD_RETRY] {
        if let Some(value) = failed.headers.get(name) {
            head.insert(name, value.clone());
        }
    }
    let name = errors::name(dialect, &error).to_owned();
    let request_id = context.request_id.to_string();
    let (status, body) = errors::of_upstream(dialect, error, &request_id, &mut head);
    context.record_response_head(status, Some(&name));
    context.set_client_message(&reported.message);
    context.set_outcome(match status {
        StatusCode::TOO_MANY_REQUESTS => Outcome::Throttled,
        status if may_be_retried(status) => Outcome::UpstreamError,
        _ => Outcome::ClientError,
    });
    buffered_response(status, head, body, DEFAULT_RETRY_AFTER, context)
}

/// A JSON answer of the gateway's own.
pub(super) fn json(mut context: Box<RequestContext>, body: Bytes) -> Response<ResponseBody> {
    context.record_response_head(StatusCode::OK, None);
    context.set_outcome(Outcome::Success);
    let mut head = HeaderMap::new();
    head.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    buffered_response(StatusCode::OK, head, body, DEFAULT_RETRY_AFTER, context)
}

/// The answer to a request that caused a panic. Unwinding has already dropped its record.
pub(super) fn panicked(request_id: Uuid, dialect: Dialect) -> Response<ResponseBody> {
    let error = WireError::new(ErrorKind::InternalServer, PANICKED);
    let (mut head, mut bytes) = error.into_response().into_parts();
    let request_id = request_id.to_string();
    if dialect != Dialect::Bedrock {
        let error = DialectError::new(ErrorKind::InternalServer, PANICKED);
        (head.status, bytes) = errors::write(dialect, &error, &request_id, &mut head.headers);
    }
    let request_id = value(&request_id);
    head.headers.insert(AMZN_REQUEST_ID, request_id.clone());
    head.headers.insert(REQUEST_ID, request_id);
    relay::respond(head.status, head.headers, ResponseBody::buffered(bytes, None))
}

/// An answer that is not relayed. A 503, or 529 in Anthropic's dialect, gets a `retry-after` of `due`, unless it has one.
fn buffered_response(
    status: StatusCode,
    mut head: HeaderMap,
    bytes: Bytes,
    due: Duration,
    mut context: Box<RequestContext>,
) -> Response<ResponseBody> {
    if matches!(status.as_u16(), 503 | 529) && !head.contains_key(RETRY_AFTER) {
        set_retry_after(&mut head, due);
    }
    context.answer.bytes = bytes.len() as u64;
    discourage_retry(&mut head, status, context.timing.started.elapsed());
    add_own_headers(&mut head, &context);
    relay::respond(status, head, ResponseBody::buffered(bytes, Some(context)))
}
