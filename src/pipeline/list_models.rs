//! Answers the requests that list or describe the models that the client may call. No target is asked.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::Response;
use tower::{Layer, Service};

use super::error::{GatewayError, RequestError};
use super::own_answer;
use super::relay::ResponseBody;
use super::stage::AuthorizedRequest;
use crate::api::served_models::ServedModels;
use crate::bedrock::Operation;
use crate::bedrock::path::Resource;

/// The layer of [`ListModels`].
#[derive(Clone, Debug)]
pub(super) struct ListModelsLayer;

impl<I> Layer<I> for ListModelsLayer {
    type Service = ListModels<I>;

    fn layer(&self, inner: I) -> ListModels<I> {
        ListModels { inner }
    }
}

/// A service that answers such requests and passes on all others.
#[derive(Clone, Debug)]
pub(super) struct ListModels<I> {
    inner: I,
}

type Answer = Result<Response<ResponseBody>, RequestError>;

impl<I> Service<AuthorizedRequest> for ListModels<I>
where
    I: Service<AuthorizedRequest, Response = Response<ResponseBody>, Error = RequestError>,
{
    type Response = Response<ResponseBody>;
    type Error = RequestError;
    type Future = Either<I::Future, Ready<Answer>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: AuthorizedRequest) -> Self::Future {
        match request.buffered.call.operation {
            Operation::ListModels | Operation::GetModel => Either::Right(ready(answer(request))),
            _ => Either::Left(self.inner.call(request)),
        }
    }
}

fn answer(request: AuthorizedRequest) -> Answer {
    let buffered = request.buffered;
    let context = buffered.context;
    let gateway = context.gateway();
    let models = ServedModels {
        config: &gateway.config,
        router: &gateway.router,
        policy: context.policy(),
        dialect: context.call.dialect,
    };
    let body = match &buffered.call.resource {
        Resource::Listed(id) => {
            models.get(id).ok_or_else(|| GatewayError::Unrouted { model: id.clone() })
        }
        _ => models.list(buffered.head.uri.query().unwrap_or_default()).map_err(Into::into),
    };
    match body {
        Ok(body) => Ok(own_answer::json(context, body)),
        Err(error) => Err(RequestError { error, context }),
    }
}
