//! The bidirectional stream: events go both ways while the request is open, to one target.
//!
//! The client's events can't be kept for another attempt, so there is none: the request waits for
//! its target like any other, and then belongs to it. Each event is checked by its client's
//! signature, where the client signs, and signed anew on its way. What the target answers is
//! relayed as any stream is; when either side goes, so does the other.

use std::sync::Arc;
use std::time::SystemTime;

use http::{Request, Response};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::admit::{Admission, admit};
use super::attempt::dimension;
use super::collect::StreamingBody;
use super::deadline;
use super::exchange::Open;
use super::prepare::{prepare, strip_for_upstream};
use super::refusal::{Refusal, Refused};
use super::relay::{self, ResponseBody, ResponseDeadline};
use super::route::Routed;
use super::shortage;
use crate::routing::{Permit, Target};
use crate::system::time::timeout_at;
use crate::upstream::events::{EventSigner, Events};
use crate::upstream::{Class, Failure, Reply, RequestError, sign};

pub(super) async fn answer(
    mut routed: Routed,
    events: StreamingBody,
) -> Result<Response<ResponseBody>, Refused> {
    let limit = routed.exchange.gateway().config.server.bidirectional_timeout;
    let deadline = routed.exchange.started + limit;
    let mut patience = deadline::patience(&routed, deadline);
    let forwarded = &routed.exchange.gateway().config.upstream.forward_headers;
    strip_for_upstream(&mut routed.head.headers, forwarded);
    let admitted = timeout_at(deadline, admit(&mut routed, None, &mut patience)).await;
    let mut permit = match admitted {
        Ok(Ok(Admission::Go(_, permit))) => permit,
        Ok(Ok(Admission::NothingLeft)) => {
            let refusal = shortage::refusal(&routed);
            return Err(Refused { refusal, exchange: routed.exchange });
        }
        Ok(Err(refusal)) => return Err(Refused { refusal, exchange: routed.exchange }),
        Err(_) => {
            let refusal = Refusal::RequestTimeout { limit };
            return Err(Refused { refusal, exchange: routed.exchange });
        }
    };
    let target = Arc::clone(permit.target());
    permit.sent();
    let input = permit.input();
    routed.exchange.asked = Some((Arc::clone(&target), input));
    let sent = Instant::now();
    // What ends the record ends the client's part, too: its events may go on when the answer does not.
    let over = CancellationToken::new();
    routed.exchange.over = Some(over.clone().drop_guard());
    let reply = open(&routed, &target, events, over).await;
    let took = sent.elapsed();
    routed.exchange.asked = None;
    let excess = routed.excess(&target);
    let Routed { mut exchange, call, size, .. } = routed;
    match reply {
        Reply::Success(success) => {
            exchange.attempted(&target, "success", success.status.as_u16(), took);
            let spending = permit.succeeded(took);
            let operation = call.operation;
            let mut response =
                relay::success(exchange, operation, *success, spending, size, deadline);
            response.extensions_mut().insert(ResponseDeadline(deadline));
            Ok(response)
        }
        Reply::Failure(failure) => {
            let status = if failure.from_upstream { failure.status.as_u16() } else { 0 };
            exchange.attempted(&target, failure.class.name(), status, took);
            match failure.class {
                // That says nothing of the target.
                Class::Throttled if excess.is_some() => permit.not_taken(),
                _ => report(permit, &failure, &exchange.gateway().config.fallback),
            }
            Ok(relay::failure(exchange, failure, target))
        }
    }
}

async fn open(
    routed: &Routed,
    target: &Arc<Target>,
    events: StreamingBody,
    over: CancellationToken,
) -> Reply {
    let span = routed.exchange.begins_attempt(target);
    let reply = open_marked(routed, target, events, over, span.as_ref()).await;
    if let Some(span) = &span {
        span.replied(&reply);
    }
    reply
}

async fn open_marked(
    routed: &Routed,
    target: &Target,
    events: StreamingBody,
    over: CancellationToken,
    span: Option<&Open<'_>>,
) -> Reply {
    let gateway = routed.exchange.gateway();
    let failed = |error: RequestError| Reply::Failure(Failure::no_credentials(&error));
    let Some(auth) = target.endpoint.identity.auth() else {
        return failed(RequestError::NoCredentials(target.endpoint.identity.problem()));
    };
    let Some(mut head) = prepare(routed, target).map(|prepared| prepared.head) else {
        return failed(RequestError::InvalidPath);
    };
    if let Some(span) = span {
        span.mark(&mut head.headers);
    }
    let seed = sign::authorize_events(&mut head, &auth, &target.endpoint.region, SystemTime::now());
    let signer = match seed {
        Ok(seed) => EventSigner::new(auth, &target.endpoint.region, seed),
        Err(error) => return failed(error.into()),
    };
    let limit = gateway.config.server.max_body;
    let own = routed.exchange.policy().and_then(|policy| policy.max_body(limit));
    let limit = own.unwrap_or(limit);
    let (source, signed) = events.into_inner();
    let events = Events::new(source, signed, signer, limit, over);
    let request = Request::from_parts(head, events);
    gateway
        .upstream
        .open(&target.endpoint.origin, request, target.endpoint.first_byte_timeout)
        .await
}

/// Tells the target what came of it, as after any attempt.
fn report(permit: Permit, failure: &Failure, config: &crate::config::Fallback) {
    match failure.class {
        Class::Throttled => permit.throttled(dimension(&failure.reported.message), false),
        Class::DailyQuota => permit.out(config.daily_cooldown, true),
        Class::Transient => drop(permit.failed(failure.from_upstream)),
        Class::Timeout | Class::Encoded => drop(permit.failed(true)),
        Class::NoCredentials | Class::ResourceExhausted => permit.not_taken(),
        Class::Denied | Class::Foreign | Class::NonRetryable => {
            permit.refused(failure.error_status())
        }
    }
}
