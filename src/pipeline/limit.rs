//! The limits of a client: its rate of requests, and its requests in flight.
//!
//! A request counts as soon as its client is known. That is before the body is read, except for a
//! signature that only the body completes: it counts after the body, so that no one else can use up the
//! limits of a client whose secret they do not have. Hence both layers stand in the stack twice, and
//! each request is counted by one of the two.
//!
//! tower_governor's [`GovernorLayer`](tower_governor::GovernorLayer) counts the rate. Its rate is
//! fixed, while the stack serves clients of all rates and outlives each config. So [`RateLimit`] puts
//! the layer of the request's client around the inner service for the one request. Three things need
//! care, all of them here:
//! - The layer drops a request that it refuses. So it gets an `http::Request` whose body is
//!   `&mut Option` of the stage: after a refusal the stage is still in the option.
//! - The layer's responses have axum's body type. So the answer of the inner service passes it as the
//!   service's error type, unchanged.
//! - It reports a wait in whole seconds. The exact time comes from its limiter.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Either, Map};
use http::{Request, Response, request};
use http_body::Body;
use tower::{Layer, Service};
use tower_governor::ResponseFuture;

use super::context::RequestContext;
use super::error::{GatewayError, RequestError};
use super::inbound::InternalRequest;
use super::relay::ResponseBody;
use super::stage::{AuthenticatedRequest, BufferedRequest};
use super::step::Step;
use crate::auth::PendingAuth;
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

impl Countable for BufferedRequest {
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

/// The answer of the stack to a request.
type Answer = Result<Response<ResponseBody>, RequestError>;

/// What a [`GovernorLayer`](tower_governor::GovernorLayer) takes for the answer of its inner
/// service: the real one as its error.
type InnerResult = Result<Response<axum::body::Body>, Answer>;

/// The answer through the layer: `F` is the inner service's.
type Governed<F> = Map<
    ResponseFuture<Map<F, fn(Answer) -> InnerResult>, axum::body::Body>,
    fn(InnerResult) -> Answer,
>;

impl<R, I> Service<R> for RateLimit<I>
where
    R: Countable,
    I: Service<R, Response = Response<ResponseBody>, Error = RequestError>,
{
    type Response = I::Response;
    type Error = RequestError;
    type Future = Either<Either<I::Future, Ready<Answer>>, Governed<I::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: R) -> Self::Future {
        let (rate, key) = match rate_of(&mut request) {
            Ok(Some(rate)) => rate,
            Ok(None) => return Either::Left(Either::Left(self.inner.call(request))),
            Err(error) => return Either::Left(Either::Right(ready(Err(request.reject(error))))),
        };
        let mut waiting = Some(request);
        let mut service = rate.govern(Forward { inner: &mut self.inner }, &key);
        let governed = service.call(Request::new(&mut waiting));
        drop(service);
        let Some(request) = waiting else { return Either::Right(governed.map(answer)) };
        Either::Left(match rate.check(&key) {
            Err(exceeded) => {
                Either::Right(ready(Err(request.reject(GatewayError::Limited(exceeded)))))
            }
            // The limiter has refilled since the first check.
            Ok(()) => Either::Left(self.inner.call(request)),
        })
    }
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

/// The innermost service of a governed request: takes it out of its envelope and calls the inner
/// service of the stack.
struct Forward<'a, I> {
    inner: &'a mut I,
}

impl<R, I> Service<Request<&mut Option<R>>> for Forward<'_, I>
where
    I: Service<R, Response = Response<ResponseBody>, Error = RequestError>,
{
    type Response = Response<axum::body::Body>;
    type Error = Answer;
    type Future = Map<I::Future, fn(Answer) -> InnerResult>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Answer>> {
        self.inner.poll_ready(cx).map_err(Err)
    }

    #[expect(
        clippy::expect_used,
        reason = "the layer calls it once, with the request it was given"
    )]
    fn call(&mut self, envelope: Request<&mut Option<R>>) -> Self::Future {
        let request = envelope.into_body().take().expect("a request is forwarded once");
        self.inner.call(request).map(Err)
    }
}

/// The answer to a request that the layer has forwarded.
fn answer(passed: InnerResult) -> Answer {
    match passed {
        Err(answer) => answer,
        Ok(_) => unreachable!("the layer answers those requests alone that it does not forward"),
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
