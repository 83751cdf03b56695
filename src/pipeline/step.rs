//! Turns a step of the stack into a tower layer.
//!
//! Most steps only look at the request and pass it on. Such a step is a function from one stage of
//! the request to the next. The service runs it in `call`, so the step has no future of its own and
//! the request is not moved into one.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use tower::{Layer, Service};

use super::error::RequestError;

/// A step from one stage of a request to the next.
pub(super) trait Step<In>: Clone {
    /// The request of the next stage.
    type Out;

    /// Returns the request of the next stage, or the error that ends the request.
    fn apply(&self, request: In) -> Result<Self::Out, RequestError>;
}

/// The layer that takes `step` before the inner service.
pub(super) fn step<S>(step: S) -> StepLayer<S> {
    StepLayer { step }
}

#[derive(Clone, Debug)]
pub(super) struct StepLayer<S> {
    step: S,
}

impl<S: Clone, I> Layer<I> for StepLayer<S> {
    type Service = StepService<S, I>;

    fn layer(&self, inner: I) -> Self::Service {
        StepService { step: self.step.clone(), inner }
    }
}

/// A service that takes a step, then calls the inner service.
#[derive(Clone, Debug)]
pub(super) struct StepService<S, I> {
    step: S,
    inner: I,
}

impl<In, S, I> Service<In> for StepService<S, I>
where
    S: Step<In>,
    I: Service<S::Out, Error = RequestError>,
{
    type Response = I::Response;
    type Error = RequestError;
    type Future = Either<I::Future, Ready<Result<I::Response, RequestError>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: In) -> Self::Future {
        match self.step.apply(request) {
            Ok(next) => Either::Left(self.inner.call(next)),
            Err(failed) => Either::Right(ready(Err(failed))),
        }
    }
}
