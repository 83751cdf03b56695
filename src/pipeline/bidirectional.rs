//! The attempt of a bidirectional stream: events go both ways while the request is open.
//!
//! The client's events are not kept, so they can't be sent to another target. Each event is checked
//! against its client's signature, if the client signs, and signed again for the target. When either
//! side closes, the gateway closes the other.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Request;
use tokio_util::sync::CancellationToken;

use super::context::{OpenSpan, attempt_result};
use super::policy;
use super::routed::RoutedRequest;
use super::streaming_body::StreamingBody;
use super::upstream_request::{Prepared, prepare};
use crate::routing::Target;
use crate::upstream::events::{EventSigner, Events};
use crate::upstream::{BuildRequestError, Failure, Reply, sign};

/// Opens the stream to `target`. The head of the answer has the time `limit`.
pub(super) async fn send(
    routed: &mut RoutedRequest,
    target: &Arc<Target>,
    events: StreamingBody,
    limit: Duration,
) -> Reply {
    // The client's events may go on when the answer has ended: they end with the request's record.
    let over = CancellationToken::new();
    routed.context.guards.cancel_events = Some(over.clone().drop_guard());
    let span = routed.context.start_attempt(target);
    let reply = match signed(routed, target, events, over, span.as_ref()) {
        Ok(request) => {
            let upstream = &routed.context.gateway().upstream;
            upstream.open(&target.endpoint.origin, request, limit).await
        }
        Err(error) => Reply::from(Failure::no_credentials(&error)),
    };
    if let Some(span) = &span {
        span.record_result(attempt_result(&reply));
    }
    reply
}

/// The request as `target` gets it, signed now, or why it can't be made.
fn signed(
    routed: &RoutedRequest,
    target: &Target,
    events: StreamingBody,
    over: CancellationToken,
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
    Ok(Request::from_parts(head, Events::new(source, client_chain, signer, max_event, over)))
}
