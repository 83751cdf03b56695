//! Waits for an answer that is changed as a whole before any of it goes out.
//!
//! The client gets nothing before all of such an answer is there. So its head waits too: if the answer can't be
//! changed, or breaks off, the client gets an error with a status of its own.

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Body;
use http_body_util::BodyExt;

use super::error::discourage_retry;
use super::own_headers::add_own_headers;
use super::relay::{self, RelayError, ResponseBody};
use crate::api::errors;
use crate::bedrock::dialect::DialectError;
use crate::bedrock::error::set_retry_after;
use crate::bedrock::{Dialect, ErrorKind, WireError};

use super::shortage::DEFAULT_RETRY_AFTER;

/// The answer, once all of it is there.
pub(super) async fn whole<B>(response: Response<ResponseBody<B>>) -> Response<ResponseBody<B>>
where
    B: Body<Data = Bytes>,
{
    let (mut head, mut body) = response.into_parts();
    let error = match body.frame().await {
        Some(Ok(frame)) => {
            let bytes = frame.into_data().unwrap_or_default();
            return Response::from_parts(head, body.with_held(bytes));
        }
        None => return Response::from_parts(head, body),
        Some(Err(error)) => error,
    };
    let Some(context) = body.context_mut() else { return Response::from_parts(head, body) };
    let kind = kind(error);
    let message = context.client_message().unwrap_or_default().to_owned();
    let message = if message.is_empty() { error.to_string() } else { message };
    head.headers = HeaderMap::new();
    let bytes = match context.call.dialect {
        Dialect::Bedrock => {
            let response = WireError::new(kind, message).into_response();
            (head.status, head.headers) = (response.status(), response.headers().clone());
            response.into_body()
        }
        dialect => {
            let id = context.request_id.to_string();
            let error = DialectError::new(kind, message);
            let (status, bytes) = errors::write(dialect, &error, &id, &mut head.headers);
            head.status = status;
            bytes
        }
    };
    context.record_response_head(head.status, Some(kind.name()));
    context.answer.bytes = bytes.len() as u64;
    if matches!(head.status.as_u16(), 503 | 529) {
        set_retry_after(&mut head.headers, DEFAULT_RETRY_AFTER);
    }
    discourage_retry(&mut head.headers, head.status, context.timing.started.elapsed());
    add_own_headers(&mut head.headers, context);
    relay::respond(head.status, head.headers, body.with_held(bytes))
}

fn kind(error: RelayError) -> ErrorKind {
    match error {
        RelayError::Idle | RelayError::Deadline => ErrorKind::ModelTimeout,
        RelayError::OverBudget => ErrorKind::AccessDenied,
        RelayError::Events => ErrorKind::Validation,
        RelayError::Panic => ErrorKind::InternalServer,
        RelayError::Broken => ErrorKind::ServiceUnavailable,
    }
}
