//! The outermost step: opens the request's record, and answers a request that an inner step refuses
//! or panics on. A panic fails one request only: what the request held is settled as it unwinds, and
//! its connection stays open.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use uuid::Uuid;

use super::context::RequestContext;
use super::error::RequestError;
use super::gateway::SharedGateway;
use super::inbound::InboundRequest;
use super::own_answer;
use super::relay::ResponseBody;
use super::stage::ObservedRequest;
use crate::auth::hide_keys;
use crate::bedrock::Dialect;

pub(super) fn layer(shared_gateway: &Arc<SharedGateway>) -> ObserveLayer {
    ObserveLayer { shared_gateway: Arc::clone(shared_gateway) }
}

#[derive(Clone, Debug)]
pub(super) struct ObserveLayer {
    shared_gateway: Arc<SharedGateway>,
}

impl<I> Layer<I> for ObserveLayer {
    type Service = Observe<I>;

    fn layer(&self, inner: I) -> Observe<I> {
        Observe { shared_gateway: Arc::clone(&self.shared_gateway), inner }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Observe<I> {
    shared_gateway: Arc<SharedGateway>,
    inner: I,
}

impl<B, I> Service<InboundRequest<B>> for Observe<I>
where
    I: Service<ObservedRequest<B>, Response = Response<ResponseBody>, Error = RequestError>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture<I::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Inner services are always ready and apply their own limits.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut inbound: InboundRequest<B>) -> Self::Future {
        hide_keys(&mut inbound.head.headers);
        // The request keeps this gateway, and so one config, to its end.
        let mut context =
            Box::new(RequestContext::new(self.shared_gateway.load_full(), inbound.peer.clone()));
        context.join_trace(&inbound.head);
        // Before all steps that may refuse the request.
        context.call.dialect = context.gateway().api_paths.dialect(&inbound.head);
        let (request_id, dialect) = (context.request_id, context.call.dialect);
        // The first steps run in the call itself.
        let call = AssertUnwindSafe(|| {
            self.inner.call(ObservedRequest { inbound: Box::new(inbound), context })
        });
        match catch_unwind(call) {
            Ok(inner) => ResponseFuture::Running { inner, request_id, dialect },
            Err(_) => ResponseFuture::Panicked { request_id, dialect },
        }
    }
}

pin_project! {
    /// The future of [`Observe`].
    #[project = Projected]
    pub(super) enum ResponseFuture<F> {
        Running { #[pin] inner: F, request_id: Uuid, dialect: Dialect },
        Panicked { request_id: Uuid, dialect: Dialect },
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<ResponseBody>, RequestError>>,
{
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (inner, request_id, dialect) = match self.project() {
            Projected::Running { inner, request_id, dialect } => (inner, *request_id, *dialect),
            Projected::Panicked { request_id, dialect } => {
                return Poll::Ready(Ok(own_answer::panicked(*request_id, *dialect)));
            }
        };
        // A future that panicked is never polled again.
        Poll::Ready(Ok(match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
            Ok(polled) => match ready!(polled) {
                Ok(response) => response,
                Err(error) => own_answer::request_error(error),
            },
            Err(_) => own_answer::panicked(request_id, dialect),
        }))
    }
}
