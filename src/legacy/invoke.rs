//! A question to a model, through the same pipeline that clients' requests take: quotas, fallback,
//! the queue and the metrics apply.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use serde::Deserialize;
use tokio::time::Instant;
use tower::Service;

use super::answer::{self, MAX_BODY_BYTES, NoText, Question};
use super::prompts::Rendered;
use super::state::LegacyState;
use crate::auth::Peer;
use crate::bedrock::error::{ERROR_TYPE, short_name};
use crate::bedrock::path::model_path;
use crate::bedrock::{ErrorKind, Family, Operation};
use crate::config::LimitKey;
use crate::pipeline::body::{self, BodyError};
use crate::pipeline::{Gateway, InboundRequest, InternalRequest, ResponseBody, stack};
use crate::quota::InFlightGuard;
use crate::routing::Target;
use crate::system::time::{timeout, timeout_at};
use crate::telemetry::traces::{TRACEPARENT, TraceParent};

/// How long a question waits for credentials that were not tried yet.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long before its deadline a question without an answer is given up.
const LAST_WORD: Duration = Duration::from_millis(200);

/// The caller that a model call is made for.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) peer: Peer,
    /// The client's name, if clients have keys.
    pub(super) client: Option<Arc<str>>,
    /// The header that identifies clients, if one does.
    limit_header: Option<HeaderValue>,
    /// The `traceparent` it came with, if that is right.
    traceparent: Option<HeaderValue>,
    /// Whether its request has counted against the rate of its client already.
    pub(super) is_counted: bool,
}

impl Caller {
    pub(super) fn new(
        gateway: &Gateway,
        headers: &HeaderMap,
        peer: Peer,
        client: Option<Arc<str>>,
    ) -> Caller {
        let limit_header = match &gateway.config.limits.key {
            LimitKey::Header(name) => headers.get(name).cloned(),
            LimitKey::AccessKey | LimitKey::Ip => None,
        };
        let traceparent = TraceParent::from_headers(headers).map(TraceParent::to_header);
        Caller { peer, client, limit_header, traceparent, is_counted: false }
    }

    /// The trace that its request is part of, for a job to keep.
    pub(super) fn trace(&self) -> Option<String> {
        self.traceparent.as_ref()?.to_str().ok().map(str::to_owned)
    }

    /// The caller that submitted a job; the job stores its name and its trace only.
    pub(super) fn of_job(client: Option<String>, trace: Option<&str>) -> Caller {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Caller {
            peer: nowhere.into(),
            client: client.map(Arc::from),
            limit_header: None,
            traceparent: trace.and_then(|trace| HeaderValue::from_str(trace).ok()),
            is_counted: false,
        }
    }
}

/// Which model is called first, and whether the others may replace it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ModelPreference {
    pub(super) first: usize,
    pub(super) alone: bool,
}

/// All models, the primary first.
pub(super) const ALL_MODELS: ModelPreference = ModelPreference { first: 0, alone: false };

/// A model's answer.
#[derive(Clone, Debug)]
pub(super) struct ModelReply {
    pub(super) text: String,
    pub(super) by: Arc<Target>,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum InvokeError {
    #[error("No AWS credentials found")]
    NoCredentials,
    /// Throttled, out of order or overloaded: another try later may go better.
    #[error("{message}")]
    Busy { name: String, message: String, retry_after: Option<Duration> },
    #[error("no model answered within {} s", .0.as_secs())]
    TooSlow(Duration),
    /// The request is invalid or not allowed.
    #[error("{message}")]
    Refused { name: String, message: String },
    #[error(transparent)]
    NoText(#[from] NoText),
    #[error("the model's answer ended early")]
    Broken,
}

impl InvokeError {
    /// The error's name, in Bedrock's terms where it has one.
    pub(super) fn name(&self) -> &str {
        match self {
            InvokeError::NoCredentials => "NoCredentialsError",
            InvokeError::Busy { name, .. } | InvokeError::Refused { name, .. } => name,
            InvokeError::TooSlow(_) => "ModelTimeoutException",
            InvokeError::NoText(_) | InvokeError::Broken => "ModelErrorException",
        }
    }

    /// When another try may do better, if that is known.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            InvokeError::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether it is for want of models: the case for a mock answer.
    pub(super) fn is_want_of_models(&self) -> bool {
        matches!(
            self,
            InvokeError::NoCredentials | InvokeError::Busy { .. } | InvokeError::TooSlow(_)
        )
    }
}

impl LegacyState {
    /// Asks, until `deadline`. Dropping the future cancels the upstream's request.
    pub(super) async fn invoke(
        &self,
        rendered: &Rendered,
        order: ModelPreference,
        caller: &Caller,
        deadline: Instant,
    ) -> Result<ModelReply, InvokeError> {
        let began = Instant::now();
        let gateway = self.gateway();
        let unknown = || InvokeError::Refused {
            name: "ValidationException".to_owned(),
            message: "the legacy endpoints have no models".to_owned(),
        };
        let route = gateway.router.legacy(order.first, order.alone).ok_or_else(unknown)?;
        let first = route.targets.first().ok_or_else(unknown)?;
        // At the start of the process a question may come before the credentials.
        let _ = timeout(CREDENTIALS_TIMEOUT, first.endpoint.credentials.settled()).await;
        if route.targets.iter().all(|target| target.endpoint.credentials.auth().is_none()) {
            return Err(InvokeError::NoCredentials);
        }
        // The legacy default is more than some of its own models take.
        let known_cap = first.model_info.as_ref().and_then(|it| it.max_output_tokens);
        let max_tokens = gateway.config.legacy.max_tokens;
        // What takes the question as it is can't be adapted to; translations are.
        let mut as_it_is = route
            .with_capabilities()
            .filter(|(_, capabilities)| capabilities.takes_claude_bodies())
            .map(|(target, _)| target);
        let question = Question {
            system: rendered.system.as_deref(),
            user: &rendered.user,
            max_tokens: known_cap.map_or(max_tokens, |cap| max_tokens.min(cap)),
            // Newer models refuse a request that has one.
            temperature: as_it_is
                .all(|target| takes(target, "sampling"))
                .then_some(gateway.config.legacy.temperature),
            takes_system: route.targets.iter().all(|target| takes(target, "system")),
        };
        let own = InternalRequest {
            route: Arc::clone(route),
            body_family: Some(Family::Anthropic),
            client: caller.client.clone(),
            is_counted: caller.is_counted,
            deadline: waits_until(began, deadline),
            part_of: None,
        };
        let arrival =
            inbound_request(&gateway, first, question.body(), own, caller).ok_or_else(unknown)?;
        let answered = timeout_at(deadline, async {
            let Ok(response) = stack::<Full<Bytes>>(&self.shared_gateway).call(arrival).await;
            read(&gateway, response).await
        });
        let (head, body, _share) =
            answered.await.map_err(|_| InvokeError::TooSlow(began.elapsed()))??;
        if !head.status.is_success() {
            return Err(failure(head.status, &head.headers, &body));
        }
        let by = answerer(&route.targets, &head.headers).unwrap_or(first);
        let text = self.parse(body.len(), move || answer::text(&body)).await?;
        Ok(ModelReply { text, by: Arc::clone(by) })
    }
}

/// Whether a target's model takes this, as far as is known.
fn takes(target: &Target, feature: &str) -> bool {
    target.model_info.as_ref().and_then(|facts| facts.has(feature)).unwrap_or(true)
}

/// Until when a question may wait for a model: a moment before its deadline, so that the pipeline
/// still says what it waited for.
fn waits_until(now: Instant, deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(now);
    now + left.saturating_sub(LAST_WORD.min(left / 10))
}

fn inbound_request(
    gateway: &Gateway,
    first: &Target,
    body: Bytes,
    own: InternalRequest,
    caller: &Caller,
) -> Option<InboundRequest<Full<Bytes>>> {
    let mut request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_11)
        .uri(model_path(Operation::InvokeModel, &first.model.encode())?)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .extension(own);
    if let (LimitKey::Header(name), Some(value)) =
        (&gateway.config.limits.key, &caller.limit_header)
    {
        request = request.header(name, value.clone());
    }
    if let Some(value) = &caller.traceparent {
        request = request.header(TRACEPARENT, value.clone());
    }
    let (head, ()) = request.body(()).ok()?.into_parts();
    Some(InboundRequest { head, body: Full::new(body), peer: caller.peer.clone() })
}

/// Takes in an answer, whose bytes count in what is returned with it.
async fn read(
    gateway: &Gateway,
    response: Response<ResponseBody>,
) -> Result<(http::response::Parts, Bytes, InFlightGuard), InvokeError> {
    let (head, body) = response.into_parts();
    let mut share = gateway.in_flight.guard_for_bytes();
    let body = body::collect(body, MAX_BODY_BYTES, Some(&mut share), None, &gateway.buffers).await;
    match body {
        Ok((body, _)) => Ok((head, body, share)),
        Err(BodyError::TooLarge { .. }) => Err(NoText::TooLong.into()),
        Err(BodyError::Overloaded(_)) => Err(InvokeError::Busy {
            name: ErrorKind::ServiceUnavailable.name().to_owned(),
            message: "The gateway is overloaded, please try again".to_owned(),
            retry_after: None,
        }),
        Err(BodyError::Broken | BodyError::Timeout { .. }) => Err(InvokeError::Broken),
    }
}

#[derive(Deserialize)]
struct Reported {
    #[serde(alias = "Message")]
    message: Option<String>,
}

fn failure(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> InvokeError {
    let name = headers.get(ERROR_TYPE).and_then(|name| name.to_str().ok()).map(short_name);
    let name = name.unwrap_or("InternalServerException").to_owned();
    let reported = serde_json::from_slice::<Reported>(body).ok();
    let message = reported.and_then(|reported| reported.message);
    let message = message.unwrap_or_else(|| format!("the model answered with status {status}"));
    let may_pass = status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::FAILED_DEPENDENCY
        );
    if !may_pass {
        return InvokeError::Refused { name, message };
    }
    let seconds = headers.get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
    InvokeError::Busy { name, message, retry_after: seconds.map(Duration::from_secs) }
}

/// The target whose model and region the answer names.
fn answerer<'a>(targets: &'a [Arc<Target>], headers: &HeaderMap) -> Option<&'a Arc<Target>> {
    let told = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let (model, region) = (told("x-sluice-model")?, told("x-sluice-region")?);
    targets.iter().find(|it| it.model.as_str() == model && it.endpoint.region == region)
}
