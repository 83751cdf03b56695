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
use super::context::Open;
use super::deadline;
use super::error::{GatewayError, RequestError};
use super::headers::strip_for_upstream;
use super::relay::{self, ResponseBody, ResponseDeadline};
use super::routed::RoutedRequest;
use super::stage::StreamingBody;
use super::upstream_request::prepare;
use crate::routing::{Permit, Target};
use crate::system::time::timeout_at;
use crate::upstream::events::{Chain, Events};
use crate::upstream::{Class, Failure, Reply, sign};

pub(super) async fn answer(
    mut routed: RoutedRequest,
    events: StreamingBody,
) -> Result<Response<ResponseBody>, RequestError> {
    let limit = routed.context.gateway().config.server.bidirectional_timeout;
    let deadline = routed.context.started + limit;
    let mut wait_budget = deadline::wait_budget(&routed, deadline);
    let forwarded = &routed.context.gateway().config.upstream.forward_headers;
    strip_for_upstream(&mut routed.head.headers, forwarded);
    let admitted = timeout_at(deadline, admit(&mut routed, None, &mut wait_budget)).await;
    let mut permit = match admitted {
        Ok(Ok(Admission::Go(_, permit))) => permit,
        Ok(Ok(Admission::NothingLeft)) => {
            let error = GatewayError::no_target(&routed);
            return Err(RequestError { error, context: routed.context });
        }
        Ok(Err(error)) => return Err(RequestError { error, context: routed.context }),
        Err(_) => {
            let error = GatewayError::RequestTimeout { limit };
            return Err(RequestError { error, context: routed.context });
        }
    };
    let target = Arc::clone(permit.target());
    permit.sent();
    let input = permit.input();
    routed.context.asked = Some((Arc::clone(&target), input));
    let sent = Instant::now();
    // What ends the record ends the client's part, too: its events may go on when the answer does not.
    let over = CancellationToken::new();
    routed.context.over = Some(over.clone().drop_guard());
    let reply = open(&routed, &target, events, over).await;
    let took = sent.elapsed();
    routed.context.asked = None;
    let excess = routed.excess(&target);
    let RoutedRequest { mut context, call, size, .. } = routed;
    match reply {
        Reply::Success(success) => {
            context.attempted(&target, "success", success.status.as_u16(), took);
            let spending = permit.succeeded(took);
            let operation = call.operation;
            let mut response =
                relay::success(context, operation, *success, spending, size, deadline);
            response.extensions_mut().insert(ResponseDeadline(deadline));
            Ok(response)
        }
        Reply::Failure(failure) => {
            let status = if failure.from_upstream { failure.status.as_u16() } else { 0 };
            context.attempted(&target, failure.class.name(), status, took);
            match failure.class {
                // That says nothing of the target.
                Class::Throttled if excess.is_some() => permit.not_taken(),
                _ => report(permit, &failure, &context.gateway().config.fallback),
            }
            Ok(relay::failure(context, failure, target))
        }
    }
}

async fn open(
    routed: &RoutedRequest,
    target: &Arc<Target>,
    events: StreamingBody,
    over: CancellationToken,
) -> Reply {
    let span = routed.context.begins_attempt(target);
    let reply = open_marked(routed, target, events, over, span.as_ref()).await;
    if let Some(span) = &span {
        span.replied(&reply);
    }
    reply
}

async fn open_marked(
    routed: &RoutedRequest,
    target: &Target,
    events: StreamingBody,
    over: CancellationToken,
    span: Option<&Open<'_>>,
) -> Reply {
    let gateway = routed.context.gateway();
    let unusable = |why: &str| Reply::Failure(Failure::unusable(why));
    let Some(auth) = target.site.identity.auth() else {
        return unusable(&target.site.identity.problem());
    };
    let Some(mut head) = prepare(routed, target).map(|prepared| prepared.head) else {
        return unusable("the target's path is no URI");
    };
    if let Some(span) = span {
        span.mark(&mut head.headers);
    }
    let seed = sign::authorize_events(&mut head, &auth, &target.site.region, SystemTime::now());
    let chain = match seed {
        Ok(seed) => Chain::new(auth, &target.site.region, seed),
        Err(error) => return unusable(&error.to_string()),
    };
    let limit = gateway.config.server.max_body;
    let own = routed.context.policy().and_then(|policy| policy.max_body(limit));
    let limit = own.unwrap_or(limit);
    let (source, signed) = events.into_inner();
    let events = Events::new(source, signed, chain, limit, over);
    let request = Request::from_parts(head, events);
    gateway.upstream.open(&target.site.origin, request, target.site.first_byte_timeout).await
}

/// Tells the target what came of it, as after any attempt.
fn report(permit: Permit, failure: &Failure, config: &crate::config::Fallback) {
    match failure.class {
        Class::Throttled => permit.throttled(dimension(&failure.reported.message), false),
        Class::Exhausted => permit.out(config.daily_cooldown, true),
        Class::Transient => drop(permit.failed(failure.from_upstream)),
        Class::Slow | Class::Encoded => drop(permit.failed(true)),
        Class::Unusable | Class::ResourceExhausted => permit.not_taken(),
        Class::Denied | Class::Foreign | Class::Terminal => permit.refused(failure.error_status()),
    }
}
