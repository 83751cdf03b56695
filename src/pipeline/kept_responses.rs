//! Responses that the gateway keeps itself: puts the turns of one before the input of a request that continues it,
//! and answers requests about one. No target is asked for that.
//!
//! Ids of responses that upstreams store have another form. An id that is unknown, or another client's, gets the
//! same answer as such an id.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::Either;
use http::Response;
use percent_encoding::percent_decode_str;
use serde_json::json;
use tower::{Layer, Service};

use super::context::Outcome;
use super::error::{GatewayError, RequestError};
use super::own_answer;
use super::relay::ResponseBody;
use super::responses::{forbids_keeping, not_found, owner};
use super::stage::{AuthorizedRequest, BufferedRequest};
use crate::bedrock::path::Resource;
use crate::bedrock::{ErrorKind, Family, Operation, body};
use crate::bridge::Refusal;
use crate::bridge::responses::{
    KeptResponse, PageQuery, PageQueryError, input_items, with_previous,
};
use crate::response_store::{self, ResponseStore, Unavailable};

/// Why a request about a kept response is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeptResponseError {
    #[error("The gateway's store of responses is not available, please try again.")]
    Unavailable,
    #[error("Cannot cancel a synchronous response.")]
    Synchronous,
    #[error("The response was not made in the background, so it can't be streamed again.")]
    NotStreamed,
    #[error(transparent)]
    Page(#[from] PageQueryError),
    #[error(
        "the gateway itself keeps the response that this request continues, and continues it by translation, which no target of the model {model} takes; send the conversation in `input` instead"
    )]
    NotTranslated { model: String },
}

impl From<Unavailable> for KeptResponseError {
    fn from(_: Unavailable) -> KeptResponseError {
        // What it says is for the operator, and in the log.
        KeptResponseError::Unavailable
    }
}

impl KeptResponseError {
    /// The error's name on the wire.
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            KeptResponseError::Unavailable
            | KeptResponseError::Page(PageQueryError::Unreadable(_)) => {
                ErrorKind::ServiceUnavailable
            }
            KeptResponseError::Synchronous
            | KeptResponseError::NotStreamed
            | KeptResponseError::Page(_)
            | KeptResponseError::NotTranslated { .. } => ErrorKind::Validation,
        }
    }

    /// The outcome in metrics and the access log.
    pub(super) fn outcome(&self) -> Outcome {
        match self.kind() {
            ErrorKind::Validation => Outcome::BadRequest,
            _ => Outcome::UpstreamError,
        }
    }

    /// The parameter of the request that the error is about.
    pub(super) fn param(&self) -> Option<&'static str> {
        match self {
            KeptResponseError::Unavailable | KeptResponseError::Synchronous => None,
            KeptResponseError::NotStreamed => Some("stream"),
            KeptResponseError::Page(error) => error.param(),
            KeptResponseError::NotTranslated { .. } => Some("previous_response_id"),
        }
    }
}

/// The layer of [`KeptResponses`].
#[derive(Clone, Debug)]
pub(super) struct KeptResponsesLayer;

impl<I> Layer<I> for KeptResponsesLayer {
    type Service = KeptResponses<I>;

    fn layer(&self, inner: I) -> KeptResponses<I> {
        KeptResponses { inner }
    }
}

/// A service that answers requests about kept responses, completes those that continue one, and passes on all
/// others.
#[derive(Clone, Debug)]
pub(super) struct KeptResponses<I> {
    inner: I,
}

type Answer = Result<Response<ResponseBody>, RequestError>;

impl<I> Service<AuthorizedRequest> for KeptResponses<I>
where
    I: Service<AuthorizedRequest, Response = Response<ResponseBody>, Error = RequestError>
        + Clone
        + Send
        + 'static,
    I::Future: Send,
{
    type Response = Response<ResponseBody>;
    type Error = RequestError;
    type Future = Either<I::Future, Pin<Box<dyn Future<Output = Answer> + Send>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: AuthorizedRequest) -> Self::Future {
        let Some((store, id)) = named(&request.buffered) else {
            return Either::Left(self.inner.call(request));
        };
        if request.buffered.call.operation != Operation::CreateResponse {
            return Either::Right(Box::pin(answer(request.buffered, store, id)));
        }
        // The one that is ready goes with the request.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Either::Right(Box::pin(async move {
            match put_turns(&mut request.buffered, &store, id).await {
                Ok(()) => inner.call(request).await,
                Err(error) => Err(RequestError { error, context: request.buffered.context }),
            }
        }))
    }
}

/// The id of the kept response that a request names, and where it may be; `None` if it names none.
fn named(request: &BufferedRequest) -> Option<(ResponseStore, String)> {
    let store = request.context.gateway().response_store.as_ref()?;
    let id = match &request.call.resource {
        Resource::Response(id) => id,
        _ if request.call.operation == Operation::CreateResponse => {
            request.peek.as_ref()?.parameters.previous_response_id.as_ref()?
        }
        _ => return None,
    };
    let is_kept = response_store::is_id(id) && !forbids_keeping(&request.context);
    is_kept.then(|| (store.clone(), id.clone()))
}

/// Puts the turns of a kept response before the input of the request that continues it.
async fn put_turns(
    request: &mut BufferedRequest,
    store: &ResponseStore,
    id: String,
) -> Result<(), GatewayError> {
    let kept = find(request, store, &id, Some("previous_response_id")).await?;
    let body = with_previous(&request.body, &kept).map_err(|error| {
        let message = error.to_string();
        GatewayError::Untranslatable(Refusal { param: None, message, is_of_model: false })
    })?;
    if let Some(share) = &mut request.context.guards.in_flight {
        share.reserve_bytes(body.len()).map_err(GatewayError::Overloaded)?;
    }
    let mut peek = body::peek(request.call.operation, Family::Unknown, &body)?;
    // What the request itself says of the call; turns have no say in it.
    let own = request.peek.take().unwrap_or_default();
    peek.parameters = own.parameters;
    peek.parameters.previous_response_id = None;
    request.peek = Some(Box::new(peek));
    (request.body, request.hash) = (body.into(), None);
    request.continues = Some(id.into());
    Ok(())
}

/// The response that a client has under an id. `param` is the member of the request that names it.
async fn find(
    request: &BufferedRequest,
    store: &ResponseStore,
    id: &str,
    param: Option<&'static str>,
) -> Result<KeptResponse, GatewayError> {
    let found = store.get(owner(&request.context), id).await.map_err(KeptResponseError::from)?;
    let record = found.ok_or_else(|| not_found(id, param))?;
    KeptResponse::from_json(&record).map_err(|error| {
        tracing::error!(%error, "a response that is kept can't be read");
        KeptResponseError::Unavailable.into()
    })
}

async fn answer(request: Box<BufferedRequest>, store: ResponseStore, id: String) -> Answer {
    let written = write_answer(&request, &store, &id).await;
    let context = request.context;
    match written {
        Ok(body) => Ok(own_answer::json(context, body)),
        Err(error) => Err(RequestError { error, context }),
    }
}

async fn write_answer(
    request: &BufferedRequest,
    store: &ResponseStore,
    id: &str,
) -> Result<Bytes, GatewayError> {
    let query = request.head.uri.query().unwrap_or_default();
    match request.call.operation {
        Operation::DeleteResponse => {
            let deleted = store.delete(owner(&request.context), id).await;
            match deleted.map_err(KeptResponseError::from)? {
                true => {
                    let deleted = json!({"id": id, "object": "response", "deleted": true});
                    Ok(deleted.to_string().into())
                }
                false => Err(not_found(id, None)),
            }
        }
        Operation::CancelResponse => {
            find(request, store, id, None).await?;
            Err(KeptResponseError::Synchronous.into())
        }
        Operation::ListInputItems => {
            let kept = find(request, store, id, None).await?;
            let query = PageQuery::read(parameters(query)).map_err(KeptResponseError::from)?;
            let page = input_items(&kept, id, &query).map_err(KeptResponseError::from)?;
            Ok(page.into())
        }
        _ => {
            let kept = find(request, store, id, None).await?;
            let mut parameters = parameters(query);
            if parameters.any(|(name, value)| name == "stream" && value == "true") {
                return Err(KeptResponseError::NotStreamed.into());
            }
            Ok(kept.response().to_owned().into())
        }
    }
}

/// The parameters of a query, with their values.
fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy();
    pairs.map(move |(name, value)| (decoded(name), decoded(value)))
}
