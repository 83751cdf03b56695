//! The limits of a client: its rate of requests, and its requests in flight.
//!
//! A request counts as soon as its client is known. That is before the body is read, except for a
//! signature that only the body completes: it counts after the body, so that no one else can use up the
//! limits of a client whose secret they do not have. Hence both layers stand in the stack twice, and
//! each request is counted by one of the two.
//!
//! tower_governor's [`GovernorLayer`](tower_governor::GovernorLayer) counts the rate. Its rate is
//! fixed, while the stack serves clients of all rates and outlives each config. So [`RateLimit`] puts
//! the layer of the request's client around [`Admit`] for the one request. Three things need care, all
//! of them here:
//! - The layer drops a request that it refuses, and its responses have axum's body type. So it governs the
//!   decision alone, which is there at once, and the request goes on beside it.
//! - The layer tells what is left in a header of its response, which costs allocations. So [`Admit`] has a
//!   response only for clients of APIs that show it.
//! - The layer reports a wait in whole seconds. The exact time comes from its limiter.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::Either;
use http::{Request, Response, request};
use http_body::Body;
use tower::{Layer, Service};

use super::context::RequestContext;
use super::error::{GatewayError, RequestError};
use super::inbound::InternalRequest;
use super::relay::ResponseBody;
use super::stage::{AuthenticatedRequest, BufferedRequest};
use super::step::Step;
use crate::auth::PendingAuth;
use crate::bedrock::Dialect;
use crate::limits::{RateKey, RequestRate};

/// A stage of a request at which the limits of its client may count it.
pub(super) trait Countable: Sized {
    /// Whether this is the stage at which they do.
    fn counts_here(&self) -> bool;

    /// The request's head.
    fn head(&self) -> &request::Parts;

    /// The request's record.
    fn context(&mut self) -> &mut RequestContext;

    /// Ends the request with `error`.
    fn reject(self, error: GatewayError) -> RequestError;
}

impl<B> Countable for AuthenticatedRequest<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    fn counts_here(&self) -> bool {
        !matches!(self.pending, PendingAuth::Signature(_))
    }

    fn head(&self) -> &request::Parts {
        &self.observed.inbound.head
    }

    fn context(&mut self) -> &mut RequestContext {
        &mut self.observed.context
    }

    fn reject(self, error: GatewayError) -> RequestError {
        self.observed.reject(error)
    }
}

impl Countable for Box<BufferedRequest> {
    fn counts_here(&self) -> bool {
        self.was_pending
    }

    fn head(&self) -> &request::Parts {
        &self.head
    }

    fn context(&mut self) -> &mut RequestContext {
        &mut self.context
    }

    fn reject(self, error: GatewayError) -> RequestError {
        RequestError { error, context: self.context }
    }
}

/// The layer of [`RateLimit`].
#[derive(Clone, Debug)]
pub(super) struct RateLimitLayer;

impl<I> Layer<I> for RateLimitLayer {
    type Service = RateLimit<I>;

    fn layer(&self, inner: I) -> RateLimit<I> {
        RateLimit { inner }
    }
}

/// A service that counts a request against the rate of its client, then calls the inner service.
#[derive(Clone, Debug)]
pub(super) struct RateLimit<I> {
    inner: I,
}

impl<R, I> Service<R> for RateLimit<I>
where
    R: Countable,
    I: Service<R, Response = Response<ResponseBody>, Error = RequestError>,
{
    type Response = I::Response;
    type Error = RequestError;
    type Future = Either<I::Future, Ready<Result<I::Response, RequestError>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: R) -> Self::Future {
        match count(&mut request) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(error) => Either::Right(ready(Err(request.reject(error)))),
        }
    }
}

/// Counts a request against the rate of its client, and notes what is left of it.
///
/// # Errors
/// When the rate is used up.
fn count<R: Countable>(request: &mut R) -> Result<(), GatewayError> {
    let Some((rate, key)) = rate_of(request)? else { return Ok(()) };
    let context = request.context();
    let mut is_admitted = false;
    let shows_rest = context.call.dialect != Dialect::Bedrock;
    let admit = Admit { is_admitted: &mut is_admitted, shows_rest };
    let answered = rate.govern(admit, &key).call(Request::new(())).now_or_never();
    context.caller.requests_left = match answered {
        Some(Ok(response)) if is_admitted => rest_in(&response),
        _ if is_admitted => None,
        // The limiter may have refilled since the layer asked it.
        _ => {
            context.caller.requests_left = Some(0);
            Some(rate.check(&key).map_err(GatewayError::Limited)?)
        }
    };
    Ok(())
}

/// What the layer says that is left of the rate.
fn rest_in(response: &Response<axum::body::Body>) -> Option<u32> {
    response.headers().get("x-ratelimit-remaining")?.to_str().ok()?.parse().ok()
}

/// The rate that a request counts against, and its key there. `None`: nothing is left to count.
///
/// # Errors
/// When the rate is shared in a fleet, and used up.
fn rate_of<R: Countable>(
    request: &mut R,
) -> Result<Option<(Arc<RequestRate>, RateKey)>, GatewayError> {
    let internal = request.head().extensions.get::<InternalRequest>();
    if !request.counts_here() || internal.is_some_and(|internal| internal.is_counted) {
        return Ok(None);
    }
    let context = request.context();
    let Some(caller) = &context.caller.client else { return Ok(None) };
    let limits = &context.gateway().limits;
    limits.check_shared_rate(caller).map_err(GatewayError::Limited)?;
    Ok(limits.rate(caller).map(|rate| (Arc::clone(rate), rate.key(caller.key()))))
}

/// The service that the layer of a rate governs for one request: it notes that the request was admitted.
struct Admit<'a> {
    is_admitted: &'a mut bool,
    /// Whether it has a response, to which the layer adds what is left of the rate.
    shows_rest: bool,
}

impl Service<Request<()>> for Admit<'_> {
    type Response = Response<axum::body::Body>;
    /// Without a response, which is no failure.
    type Error = ();
    type Future = Ready<Result<Response<axum::body::Body>, ()>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        *self.is_admitted = true;
        ready(if self.shows_rest { Ok(Response::default()) } else { Err(()) })
    }
}

/// The step that counts a request among those of its client in flight.
#[derive(Clone, Debug)]
pub(super) struct ConcurrencyLimit;

impl<R: Countable> Step<R> for ConcurrencyLimit {
    type Out = R;

    fn apply(&self, mut request: R) -> Result<R, RequestError> {
        let internal = request.head().extensions.get::<InternalRequest>();
        if !request.counts_here() || internal.is_some_and(|it| it.part_of.is_some()) {
            return Ok(request);
        }
        let context = request.context();
        let Some(caller) = &context.caller.client else { return Ok(request) };
        match context.gateway().limits.acquire(caller) {
            Ok(permit) => {
                context.guards.concurrency = permit;
                Ok(request)
            }
            Err(exceeded) => Err(request.reject(GatewayError::Limited(exceeded))),
        }
    }
}
