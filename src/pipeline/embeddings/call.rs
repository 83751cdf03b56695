//! One call of a request for embeddings: an InvokeModel request of this process, for the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, request, response};
use http_body_util::Full;
use tower::Service as _;

use crate::auth::Peer;
use crate::bedrock::path::model_path;
use crate::bedrock::{Operation, Usage};
use crate::bridge::AnswerError;
use crate::bridge::embeddings::{Call, CallAnswer};
use crate::pipeline::body::{self, BodyError};
use crate::pipeline::context::{CallTotals, RequestContext};
use crate::pipeline::error::GatewayError;
use crate::pipeline::gateway::{Gateway, SharedGateway};
use crate::pipeline::inbound::{InboundRequest, InternalRequest, PartOf};
use crate::pipeline::own_headers::totals_of;
use crate::pipeline::stack;
use crate::quota::InFlightGuard;
use crate::routing::{Route, Target};
use crate::telemetry::ModelLatency;
use crate::telemetry::traces::TRACEPARENT;

/// Longest answer of a call, in bytes.
const MAX_BODY: usize = 16 << 20;

/// Headers of the client that are about its own body.
const OF_BODY: [http::HeaderName; 6] =
    [ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, TRANSFER_ENCODING];

/// What makes the calls of one request.
pub(super) struct Caller {
    gateway: Arc<Gateway>,
    /// The same: all calls see the config that the request sees.
    shared_gateway: Arc<SharedGateway>,
    headers: HeaderMap,
    peer: Peer,
    internal: InternalRequest,
    path: Option<Uri>,
    /// The attempts of the calls so far, and the longest time of one in the queue in milliseconds.
    totals: [AtomicU64; 2],
}

/// What came of a call.
pub(super) struct Made {
    pub(super) answer: CallAnswer,
    /// What answered.
    pub(super) by: Option<Arc<Target>>,
    /// The answer's share of what may be in flight.
    pub(super) held: InFlightGuard,
}

/// Why there is no answer.
pub(super) enum Failed {
    /// The gateway itself ends the request.
    Unanswered(GatewayError),
    /// The call got this answer.
    Refused(Box<(response::Parts, Bytes)>),
}

impl<E: Into<GatewayError>> From<E> for Failed {
    fn from(error: E) -> Failed {
        Failed::Unanswered(error.into())
    }
}

impl Caller {
    /// For a client's request, whose calls take this route. `pattern` is what the requested model matches.
    pub(super) fn new(
        context: &RequestContext,
        head: &request::Parts,
        route: Arc<Route>,
        pattern: Option<Arc<ModelLatency>>,
    ) -> Caller {
        let gateway = Arc::clone(context.gateway());
        let mut headers = head.headers.clone();
        for name in OF_BODY {
            headers.remove(name);
        }
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(value) = context.traceparent() {
            headers.insert(TRACEPARENT, value);
        }
        let first = route.targets.first();
        let path = first.and_then(|it| model_path(Operation::InvokeModel, &it.model.encode()));
        Caller {
            shared_gateway: Arc::new(SharedGateway::new(Arc::clone(&gateway))),
            headers,
            peer: context.peer().clone(),
            internal: InternalRequest {
                route,
                body_family: None,
                client: None,
                is_counted: true,
                deadline: context.timing.started + gateway.config.server.request_timeout,
                part_of: Some(PartOf {
                    operation: Operation::CreateEmbeddings,
                    caller: context.caller.client.as_ref().map(|client| client.kind.clone()),
                    pattern,
                }),
            },
            path: path.and_then(|path| path.parse().ok()),
            totals: Default::default(),
            gateway,
        }
    }

    /// What the calls took that have been answered so far.
    pub(super) fn totals(&self) -> CallTotals {
        let [attempts, queued_ms] = &self.totals;
        let read = |total: &AtomicU64| total.load(Ordering::Relaxed);
        CallTotals { attempts: read(attempts), queued_ms: read(queued_ms) }
    }

    fn add(&self, call: CallTotals) {
        let [attempts, queued_ms] = &self.totals;
        attempts.fetch_add(call.attempts, Ordering::Relaxed);
        queued_ms.fetch_max(call.queued_ms, Ordering::Relaxed);
    }

    /// Makes a call. Dropping the future cancels the upstream's request.
    pub(super) async fn make(&self, mut call: Call) -> Result<Made, Failed> {
        let body = Bytes::from(std::mem::take(&mut call.body));
        let inbound = self.inbound(body).ok_or(GatewayError::NoModel)?;
        let answered = Box::pin(stack::<Full<Bytes>>(&self.shared_gateway).call(inbound)).await;
        let Ok(response) = answered;
        let (head, body) = response.into_parts();
        self.add(totals_of(&head.headers));
        let mut held = self.gateway.in_flight.guard_for_bytes();
        let buffers = &self.gateway.buffers;
        let (body, _) = body::collect(body, MAX_BODY, Some(&mut held), None, buffers)
            .await
            .map_err(unreceived)?;
        if !head.status.is_success() {
            return Err(Failed::Refused(Box::new((head, body))));
        }
        let tokens = Usage::from_headers(&head.headers).map(|usage| usage.input);
        let answer = call.read_answer(&body, tokens)?;
        Ok(Made { answer, by: self.answerer(&head.headers), held })
    }

    fn inbound(&self, body: Bytes) -> Option<InboundRequest<Full<Bytes>>> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = self.path.clone()?;
        *request.headers_mut() = self.headers.clone();
        request.extensions_mut().insert(self.internal.clone());
        let (head, ()) = request.into_parts();
        Some(InboundRequest { head, body: Full::new(body), peer: self.peer.clone() })
    }

    /// The target whose model and region an answer names.
    fn answerer(&self, headers: &HeaderMap) -> Option<Arc<Target>> {
        let told = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let (model, region) = (told("x-sluice-model")?, told("x-sluice-region")?);
        let mut targets = self.internal.route.targets.iter();
        let is_it = |it: &&Arc<Target>| it.model.as_str() == model && it.endpoint.region == region;
        targets.find(is_it).cloned()
    }
}

fn unreceived(error: BodyError) -> GatewayError {
    match error {
        BodyError::Overloaded(overloaded) => GatewayError::Overloaded(overloaded),
        BodyError::TooLarge { limit } => AnswerError::TooLong(limit).into(),
        BodyError::Broken | BodyError::Timeout { .. } => AnswerError::Incomplete.into(),
    }
}
