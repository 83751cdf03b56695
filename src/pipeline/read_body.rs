//! Reads the request's body, within its bounds of size and time, and completes the authentication of
//! a client whose signature covers the body's hash.
//!
//! The body is kept in memory: signing needs its hash, and another attempt its bytes. The events of
//! a bidirectional stream are the exception; they are handed on as they are.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tower::{Layer, Service};

use super::authenticate;
use super::body::{self, BodyError, BodyLimits};
use super::drain::{DrainedBody, drain_in_background};
use super::error::{GatewayError, RequestError};
use super::inbound::InboundRequest;
use super::offload::LARGE_TRANSLATION;
use super::policy;
use super::route;
use super::stage::{BufferedRequest, ObservedRequest, ParsedRequest};
use super::streaming_body::StreamingBody;
use crate::auth::PendingAuth;
use crate::bedrock::Operation;
use crate::bedrock::sigv4::{PayloadHash, PayloadHasher};
use crate::limits::PolicyDenial;
use crate::upstream::events::Source;

/// Larger bodies are parsed, and hashed if they are not yet, on a thread that serves no connections:
/// that takes about a millisecond for each megabyte. The thread of the connection reads them. Those that may be
/// translated go there from [`LARGE_TRANSLATION`] on.
const LARGE: usize = 512 * 1024;

/// The layer of [`ReadBody`].
#[derive(Clone, Debug)]
pub(super) struct ReadBodyLayer;

impl<I> Layer<I> for ReadBodyLayer {
    type Service = ReadBody<I>;

    fn layer(&self, inner: I) -> ReadBody<I> {
        ReadBody { inner }
    }
}

/// A service that reads the body, then calls the inner service. Of the steps before the attempts it
/// is the only one that waits.
#[derive(Clone, Debug)]
pub(super) struct ReadBody<I> {
    inner: I,
}

impl<B, I> Service<ParsedRequest<B>> for ReadBody<I>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
    I: Service<Box<BufferedRequest>, Error = RequestError, Future: Send> + Clone + Send + 'static,
{
    type Response = I::Response;
    type Error = RequestError;
    type Future = Pin<Box<dyn Future<Output = Result<I::Response, RequestError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: ParsedRequest<B>) -> Self::Future {
        // The service that was polled ready is the one to call; a clone takes its place.
        let next = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let mut buffered = read(request).await?;
            let length = buffered.body.len();
            let is_small =
                length <= LARGE_TRANSLATION || length <= LARGE && !route::may_translate(&buffered);
            if is_small {
                return ready.call(buffered).await;
            }
            let offload = buffered.context.gateway().offload.clone();
            // The inner steps look into the body, translate it, and hash it to sign it.
            let answering = offload.run(false, move || {
                if length > LARGE {
                    buffered.hash.get_or_insert_with(|| PayloadHash::of(&buffered.body));
                }
                ready.call(buffered)
            });
            answering.await.await
        })
    }
}

async fn read<B>(request: ParsedRequest<B>) -> Result<Box<BufferedRequest>, RequestError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let ParsedRequest { observed, pending, call } = request;
    let ObservedRequest { inbound, mut context } = observed;
    let InboundRequest { head, mut body, .. } = *inbound;
    if call.operation == Operation::InvokeModelWithBidirectionalStream {
        let chain = match authenticate::event_chain(pending) {
            Ok(chain) => chain,
            Err(error) => return Err(RequestError { error, context }),
        };
        let source: Source = Box::pin(DrainedBody::new(body).map_err(Into::into));
        return Ok(Box::new(BufferedRequest {
            head,
            context,
            call,
            body: Bytes::new(),
            hash: None,
            peek: None,
            continues: None,
            events: Some(Box::new(StreamingBody::new(source, chain))),
            was_pending: false,
        }));
    }
    let server = &context.gateway().config.server;
    // The time for the whole request counts from its head.
    let time = server.body_read_timeout.min(server.request_timeout);
    let client_limit = policy::max_body(&context, &head);
    let limits = BodyLimits { bytes: client_limit.unwrap_or(server.max_body), time };
    let hasher = (!matches!(pending, PendingAuth::Nothing)).then(PayloadHasher::new);
    let buffers = context.gateway().buffers.clone();
    let share = context.guards.in_flight.as_mut();
    let (bytes, hash) = match body::read(&mut body, limits, share, hasher, &buffers).await {
        Ok(read) => read,
        Err(error) => {
            if matches!(error, BodyError::Overloaded(_)) {
                drain_in_background(&head, body);
            }
            let error = match error {
                BodyError::TooLarge { limit } if client_limit.is_some() => {
                    GatewayError::PolicyDenied(PolicyDenial::Body { limit })
                }
                error => error.into(),
            };
            return Err(RequestError { error, context });
        }
    };
    context.call.body_bytes = bytes.len() as u64;
    if let Some(hash) = &hash
        && let Err(error) = authenticate::complete(&mut context, &pending, hash)
    {
        return Err(RequestError { error, context });
    }
    let was_pending = matches!(pending, PendingAuth::Signature(_));
    Ok(Box::new(BufferedRequest {
        head,
        context,
        call,
        body: bytes,
        hash,
        peek: None,
        continues: None,
        events: None,
        was_pending,
    }))
}
