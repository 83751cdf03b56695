//! The outermost step: opens the request's record, and answers what the steps within refuse.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::exchange::Exchange;
use super::refusal::Refused;
use super::relay::{self, ResponseBody};
use super::{Arrival, Live};

/// A request with its record, at the start of the stack.
#[derive(Debug)]
pub(super) struct Observed<B> {
    pub(super) arrival: Arrival<B>,
    pub(super) exchange: Box<Exchange>,
}

pub(super) fn layer(live: &Arc<Live>) -> ObserveLayer {
    ObserveLayer { live: Arc::clone(live) }
}

#[derive(Clone, Debug)]
pub(super) struct ObserveLayer {
    live: Arc<Live>,
}

impl<I> Layer<I> for ObserveLayer {
    type Service = Observe<I>;

    fn layer(&self, inner: I) -> Observe<I> {
        Observe { live: Arc::clone(&self.live), inner }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Observe<I> {
    live: Arc<Live>,
    inner: I,
}

impl<B, I> Service<Arrival<B>> for Observe<I>
where
    I: Service<Observed<B>, Response = Response<ResponseBody>, Error = Refused>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Observing<I::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The steps within take a request at any time; their bounds are their own.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, arrival: Arrival<B>) -> Self::Future {
        // The one look at which config is live: the request sees it to its end.
        let exchange = Box::new(Exchange::new(self.live.load_full(), arrival.peer.clone()));
        Observing { inner: self.inner.call(Observed { arrival, exchange }) }
    }
}

pin_project! {
    /// The future of [`Observe`].
    pub(super) struct Observing<F> {
        #[pin]
        inner: F,
    }
}

impl<F> Future for Observing<F>
where
    F: Future<Output = Result<Response<ResponseBody>, Refused>>,
{
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match ready!(self.project().inner.poll(cx)) {
            Ok(response) => response,
            Err(refused) => relay::refuse(refused),
        };
        Poll::Ready(Ok(answer))
    }
}
