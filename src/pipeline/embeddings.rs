//! Answers requests for embeddings: makes calls of one model of them, and one answer of theirs.
//!
//! Vectors of two models can't be compared, so all calls go to targets with the same model: the first of the route
//! that can make these vectors. The first call that fails fails the request, and the others are dropped. `call.rs`
//! makes a call, through the whole pipeline, so that queue, quotas, budgets and retries apply to each.

mod call;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::Either;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use http::{Response, request};
use tokio::time::Instant;
use tower::{Layer, Service};

use self::call::{Caller, Failed, Made};
use super::context::RequestContext;
use super::error::{GatewayError, RequestError};
use super::own_answer;
use super::policy::allows_target;
use super::relay::ResponseBody;
use super::stage::{AuthorizedRequest, BufferedRequest};
use crate::bedrock::{ModelId, Operation};
use crate::bridge::embeddings::{self, EmbeddingsRequest, Plan};
use crate::catalogue::Surface;
use crate::limits::PolicyDenial;
use crate::routing::{Route, Target};

/// The layer of [`Embeddings`].
#[derive(Clone, Debug)]
pub(super) struct EmbeddingsLayer;

impl<I> Layer<I> for EmbeddingsLayer {
    type Service = Embeddings<I>;

    fn layer(&self, inner: I) -> Embeddings<I> {
        Embeddings { inner }
    }
}

/// A service that answers such requests and passes on all others.
#[derive(Clone, Debug)]
pub(super) struct Embeddings<I> {
    inner: I,
}

type Answer = Result<Response<ResponseBody>, RequestError>;

impl<I> Service<AuthorizedRequest> for Embeddings<I>
where
    I: Service<AuthorizedRequest, Response = Response<ResponseBody>, Error = RequestError>,
{
    type Response = Response<ResponseBody>;
    type Error = RequestError;
    type Future = Either<I::Future, Pin<Box<dyn Future<Output = Answer> + Send>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: AuthorizedRequest) -> Self::Future {
        match request.buffered.call.operation {
            Operation::CreateEmbeddings => Either::Right(Box::pin(answer(request.buffered))),
            _ => Either::Left(self.inner.call(request)),
        }
    }
}

async fn answer(request: Box<BufferedRequest>) -> Answer {
    let BufferedRequest { head, mut context, call, body, .. } = *request;
    let embedded = match call.model() {
        Some(model) => embed(&mut context, &head, model, &body).await,
        None => Err(GatewayError::NoModel.into()),
    };
    match embedded {
        Ok(body) => Ok(own_answer::json(context, body)),
        Err(Failed::Unanswered(error)) => Err(RequestError { error, context }),
        Err(Failed::Refused(refused)) => {
            let (head, body) = *refused;
            Ok(own_answer::failed_call(context, &head, &body))
        }
    }
}

async fn embed(
    context: &mut RequestContext,
    head: &request::Parts,
    model: &ModelId,
    body: &[u8],
) -> Result<Bytes, Failed> {
    let gateway = Arc::clone(context.gateway());
    let request = embeddings::read_request(body, &gateway.drop_policy);
    let request = request.map_err(GatewayError::Untranslatable)?;
    let unrouted = || GatewayError::Unrouted { model: model.to_string() };
    let (pattern, route) = gateway.router.find(&gateway.config, model).ok_or_else(unrouted)?;
    context.call.pattern.clone_from(&pattern);
    let (Plan { calls, dropped }, route) = plan(context, &request, model, &route)?;
    let caller = Caller::new(context, head, Arc::clone(&route), pattern);
    let at_once = gateway.config.apis.embeddings.max_concurrent_calls.max(1);
    let began = Instant::now();
    let calls = calls.into_iter().map(|call| caller.make(call));
    let made: Result<Vec<Made>, Failed> =
        stream::iter(calls).buffer_unordered(at_once).try_collect().await;
    context.timing.upstream += began.elapsed();
    context.answer.calls = caller.totals();
    let made = made?;
    context.answer.target = made.iter().find_map(|made| made.by.clone());
    context.answer.translated = Some(Surface::InvokeModel.name());
    context.answer.dropped = (!dropped.is_empty()).then(|| dropped.join(", ").into());
    // What holds their bytes is kept until they are written.
    let (answers, _held): (Vec<_>, Vec<_>) =
        made.into_iter().map(|made| (made.answer, made.held)).unzip();
    Ok(embeddings::write_answer(&request.model, answers).into())
}

/// The calls for the first model of a route that can make these vectors, and the route to its targets alone.
fn plan(
    context: &RequestContext,
    request: &EmbeddingsRequest<'_>,
    model: &ModelId,
    route: &Route,
) -> Result<(Plan, Arc<Route>), GatewayError> {
    let can_be_called = |target: &Target| {
        target.capabilities().serves(Operation::InvokeModel) && allows_target(context, target)
    };
    let mut first_refusal = None;
    let mut tried: Vec<&str> = Vec::new();
    for target in route.targets.iter().filter(|target| can_be_called(target)) {
        let base = target.base_model();
        let base = base.base().unwrap_or_else(|| base.as_str());
        if tried.contains(&base) {
            continue;
        }
        tried.push(base);
        match embeddings::plan(request, base, &context.gateway().drop_policy) {
            Ok(plan) => {
                let is_alike = |other: &Target| {
                    can_be_called(other) && other.base_model().base() == Some(base)
                };
                if let Some(route) = route.only(is_alike) {
                    return Ok((plan, route));
                }
            }
            Err(refusal) => {
                first_refusal.get_or_insert(refusal);
            }
        }
    }
    Err(match first_refusal {
        Some(refusal) => GatewayError::Untranslatable(refusal),
        None => PolicyDenial::Targets { model: model.to_string() }.into(),
    })
}
