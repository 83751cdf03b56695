//! How a step of the stack becomes a tower layer.
//!
//! Most steps only look at the request and hand it on. Such a step is a function from one stage
//! of the request to the next, without a future of its own, and costs no allocation.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::refusal::Refused;

/// A step from one stage of a request to the next.
pub(super) trait Step<In>: Clone {
    /// The request of the next stage.
    type Out;
    /// How it comes about; `Ready` for a step that only looks.
    type Future: Future<Output = Result<Self::Out, Refused>>;

    /// Takes the step.
    fn take(&self, request: In) -> Self::Future;
}

/// The layer that takes `step` before the service within.
pub(super) fn step<S>(step: S) -> StepLayer<S> {
    StepLayer { step }
}

#[derive(Clone, Debug)]
pub(super) struct StepLayer<S> {
    step: S,
}

impl<S: Clone, I> Layer<I> for StepLayer<S> {
    type Service = Stepped<S, I>;

    fn layer(&self, inner: I) -> Self::Service {
        Stepped { step: self.step.clone(), inner }
    }
}

/// A service that takes a step, then calls the service within.
#[derive(Clone, Debug)]
pub(super) struct Stepped<S, I> {
    step: S,
    inner: I,
}

impl<In, S, I> Service<In> for Stepped<S, I>
where
    S: Step<In>,
    I: Service<S::Out, Error = Refused> + Clone,
{
    type Response = I::Response;
    type Error = Refused;
    type Future = Stepping<S::Future, I, S::Out>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: In) -> Self::Future {
        // The service that was polled ready is the one that is called; a clone takes its place.
        let next = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, next);
        Stepping::Step { step: self.step.take(request), inner: ready }
    }
}

pin_project! {
    /// The future of [`Stepped`].
    #[project = Projected]
    #[project_replace = Replaced]
    pub(super) enum Stepping<F, I, Out> where I: Service<Out> {
        Step { #[pin] step: F, inner: I },
        Inner { #[pin] future: I::Future },
        Done,
    }
}

impl<F, I, Out> Future for Stepping<F, I, Out>
where
    F: Future<Output = Result<Out, Refused>>,
    I: Service<Out, Error = Refused>,
{
    type Output = Result<I::Response, Refused>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.as_mut().project() {
                Projected::Step { step, inner } => match ready!(step.poll(cx)) {
                    Ok(request) => {
                        let future = inner.call(request);
                        self.as_mut().project_replace(Stepping::Inner { future });
                    }
                    Err(refused) => {
                        self.as_mut().project_replace(Stepping::Done);
                        return Poll::Ready(Err(refused));
                    }
                },
                Projected::Inner { future } => return future.poll(cx),
                // A future is not polled again after it is ready.
                Projected::Done => return Poll::Pending,
            }
        }
    }
}
