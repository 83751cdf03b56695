//! The attempt of a bidirectional stream: events go both ways while the request is open.
//!
//! The client's events are not kept, so they can't be sent to another target. Each event is checked
//! against its client's signature, if the client signs, and signed again for the target. When either
//! side closes, the gateway closes the other. What a client sends in place of events ends its own
//! request, and does not count against the target.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Request;
use tokio_util::sync::CancellationToken;

use super::context::{OpenSpan, attempt_result, client_error_result};
use super::error::GatewayError;
use super::policy;
use super::routed::RoutedRequest;
use super::streaming_body::StreamingBody;
use super::upstream_request::{Prepared, prepare};
use crate::routing::Target;
use crate::upstream::events::{EventSigner, Events, EventsStatus};
use crate::upstream::{BuildRequestError, Failure, Reply, sign};

/// Opens the stream to `target`. The head of the answer has the time `limit`.
///
/// # Errors
/// If there is no answer because of the client's events.
pub(super) async fn send(
    routed: &mut RoutedRequest,
    target: &Arc<Target>,
    events: StreamingBody,
    limit: Duration,
) -> Result<Reply, GatewayError> {
    // The client's events may go on when the answer has ended: they end with the request's record.
    let over = CancellationToken::new();
    routed.context.guards.cancel_events = Some(over.clone().drop_guard());
    let status = Arc::<EventsStatus>::default();
    routed.context.guards.events = Some(Arc::clone(&status));
    let span = routed.context.start_attempt(target);
    let reply = match signed(routed, target, events, over, &status, span.as_ref()) {
        Ok(request) => {
            let upstream = &routed.context.gateway().upstream;
            let reply = upstream.open(&target.endpoint.origin, request, limit).await;
            failed_by_client(&reply, &status, limit).map_or(Ok(reply), Err)
        }
        Err(error) => Ok(Reply::from(Failure::no_credentials(&error))),
    };
    if let Some(span) = &span {
        span.record_result(match &reply {
            Ok(reply) => attempt_result(reply),
            Err(error) => client_error_result(error.kind(), error.to_string()),
        });
    }
    reply
}

/// The client's part in a failure that the upstream did not answer with.
fn failed_by_client(reply: &Reply, status: &EventsStatus, limit: Duration) -> Option<GatewayError> {
    let Reply::Failure(failure) = reply else { return None };
    if failure.from_upstream {
        return None;
    }
    if let Some(error) = status.error() {
        return Some(GatewayError::Events(error.clone()));
    }
    // A target may wait for the first event before it answers.
    let is_silent = reply.is_too_slow() && !status.has_forwarded();
    is_silent.then_some(GatewayError::NoEvent { limit })
}

/// The request as `target` gets it, signed now, or why it can't be made.
fn signed(
    routed: &RoutedRequest,
    target: &Target,
    events: StreamingBody,
    over: CancellationToken,
    status: &Arc<EventsStatus>,
    span: Option<&OpenSpan<'_>>,
) -> Result<Request<Events>, BuildRequestError> {
    let Prepared { auth, mut head, .. } = prepare(routed, target)?;
    if let Some(span) = span {
        span.inject(&mut head.headers);
    }
    let region = &target.endpoint.region;
    let seed = sign::authorize_events(&mut head, &auth, region, SystemTime::now())?;
    let signer = EventSigner::new(auth, region, seed);
    let server = &routed.context.gateway().config.server;
    let max_event = policy::max_body(&routed.context, &routed.head).unwrap_or(server.max_body);
    let (source, client_chain) = events.into_inner();
    let status = Arc::clone(status);
    let events = Events::new(source, client_chain, signer, max_event, over, status);
    Ok(Request::from_parts(head, events))
}
