//! The endpoints over HTTP: paths, authentication, requests and responses.
//!
//! With a job queue, the three endpoints that call a model respond at once with a task's id. Without one,
//! or while it can't be reached, they respond with the model's answer. Nothing else differs.

mod endpoint;
mod refusal;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::analysis::{self, Analysis};
use super::chat::{Chat, MissingField};
use super::invoke::{Caller, InvokeError};
use super::job_handler::{ConnectionTest, LegacyJobHandler};
use super::json::{Field, Texts};
use super::pending::PendingChat;
use super::prompts::PromptError;
use super::resets::Resets;
use super::response::{self, NotJson, json, marked, ok, timestamp};
use super::state::LegacyState;
use super::{chat, choice, connection, models, tasks};
use crate::auth::{Peer, admin_key, identify};
use crate::bedrock::error::whole_seconds;
use crate::config::{Config, JobQueue, JobsBackend, LegacyAction};
use crate::fleet::FleetEvent;
use crate::jobs::{Jobs, JobsError, NewJob, Queue, Record, StoreError};
use crate::limits::{CallerKind, ClientRecord, ConcurrencyPermit, LimitExceeded};
use crate::pipeline::body::{self, BodyLimits, head_bytes};
use crate::pipeline::drain;
use crate::pipeline::{Gateway, SharedGateway};
use crate::quota::InFlightGuard;
use crate::storage::redis::{Redis, RedisFailure};
use crate::system::time::timeout;
use crate::telemetry::OTHER;
use crate::telemetry::audit::{self, Actor};
use endpoint::Endpoint;
use refusal::Refusal;

/// Most characters of a subject that a job shows.
const SUBJECT: usize = 200;

/// Why the endpoints can't be served.
#[derive(Debug, thiserror::Error)]
pub enum LegacyServiceError {
    /// A prompt template can't be used.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The job queue's store is not usable.
    #[error("the job queue: {0}")]
    Jobs(#[from] StoreError),
    /// The address of Redis is invalid.
    #[error(transparent)]
    Redis(#[from] RedisFailure),
}

/// The legacy endpoints of a live gateway.
#[derive(Debug)]
pub struct LegacyService {
    state: Arc<LegacyState>,
    jobs: Option<Jobs>,
    /// Announces resets to other replicas, and the task that follows theirs.
    resets: Option<(Resets, AbortOnDropHandle<()>)>,
}

impl LegacyService {
    /// Starts the endpoints, and the job queue if the config has one. Its store need not be there
    /// yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the config can't work.
    pub fn start(shared_gateway: &Arc<SharedGateway>) -> Result<LegacyService, LegacyServiceError> {
        let gateway = shared_gateway.load_full();
        let state = Arc::new(LegacyState::new(Arc::clone(shared_gateway))?);
        if !gateway.config.legacy.enabled {
            return Ok(LegacyService { state, jobs: None, resets: None });
        }
        let config = &gateway.config.jobs;
        let work = Arc::new(LegacyJobHandler(Arc::clone(&state)));
        let jobs = Jobs::start(config, &gateway.metrics, work)?;
        let resets = match &config.backend {
            JobsBackend::Redis { url, prefix } => {
                let resets = Resets::new(Redis::new(url.expose(), config.timeout)?, prefix);
                let shared_gateway = Arc::clone(shared_gateway);
                let follow = resets.clone().follow(move || reset(&shared_gateway.load()));
                Some((resets, AbortOnDropHandle::new(tokio::spawn(follow))))
            }
            JobsBackend::Off | JobsBackend::Sqlite { .. } => None,
        };
        Ok(LegacyService { state, jobs, resets })
    }

    /// Takes the prompts of a newer config. The rest is seen at each request; the job queue stays
    /// what it was at the start.
    ///
    /// # Errors
    /// When a template can't be used; then all stays as it was.
    pub fn renew(&self, config: &Config) -> Result<(), PromptError> {
        self.state.renew(config)
    }

    /// Stops claiming jobs and waits for the running ones.
    pub async fn stop(&self) {
        if let Some(jobs) = &self.jobs {
            jobs.stop().await;
        }
    }

    /// Whether a path is one of these endpoints, and served.
    pub fn serves(&self, path: &str) -> bool {
        let gateway = self.state.shared_gateway.load();
        let legacy = &gateway.config.legacy;
        legacy.enabled
            && Endpoint::of(path).is_some_and(|it| legacy.endpoints.contains(&it.group()))
    }

    /// Answers a request for a path that [`LegacyService::serves`].
    pub async fn answer<B>(&self, request: Request<B>, peer: Peer) -> Response<Bytes>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let gateway = self.state.gateway();
        let (head, mut body) = request.into_parts();
        let Some(endpoint) = Endpoint::of(head.uri.path()) else {
            return json(StatusCode::NOT_FOUND, &json!({ "error": "Not found" }));
        };
        if head.method == Method::OPTIONS {
            drain::drain_in_background(&head, body);
            return counted(&gateway, &endpoint, options(&endpoint));
        }
        // Bounds the response as a whole, whatever its parts may take.
        let limit = gateway.config.server.request_timeout;
        let responding = self.respond(&gateway, &endpoint, &head, &mut body, peer);
        let response = timeout(limit, responding).await;
        let response = response.unwrap_or(Err(Refusal::RequestTimeout));
        let response = response.unwrap_or_else(|refusal| {
            drain::drain_in_background(&head, body);
            refusal.into_response()
        });
        counted(&gateway, &endpoint, response)
    }

    async fn respond<B>(
        &self,
        gateway: &Gateway,
        endpoint: &Endpoint<'_>,
        head: &Parts,
        body: &mut B,
        peer: Peer,
    ) -> Result<Response<Bytes>, Refusal>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        check_method(endpoint, &head.method)?;
        let address = peer.address;
        let allowed = authenticate(gateway, endpoint, head, &peer);
        let AuthenticatedCaller { client, is_admin } = allowed.inspect_err(|_| {
            if let Some((what, on)) = endpoint.change() {
                audit::record_refusal(what, on, address);
            }
        })?;
        let client_name = client.as_ref().map(|client| Arc::clone(&client.name));
        let mut entry = self.enter(gateway, endpoint, head, client.as_ref(), &peer)?;
        let body = read(gateway, endpoint, client.as_deref(), body, entry.share.as_mut()).await?;
        if let Some((what, on)) = endpoint.change() {
            let name = client_name.as_deref().unwrap_or(audit::ANYONE);
            let who = if is_admin { "admin_key" } else { name };
            audit::record(what, on, Actor { name: who, peer: address });
        }
        let mut caller = Caller::new(gateway, &head.headers, peer, client_name);
        caller.is_counted = entry.is_counted;
        let asked = Asking { gateway, head, body, caller: &caller, entry };
        Ok(match endpoint {
            Endpoint::Health => {
                let now = timestamp(SystemTime::now());
                ok(&json!({ "status": "healthy", "timestamp": now }))
            }
            Endpoint::AnalyzeSection => self.analyze(asked).await,
            Endpoint::Chat => self.chat(asked).await,
            Endpoint::TestConnection => self.test_connection(asked).await,
            Endpoint::TaskStatus(id) => self.task_status(id, Owner::of(&caller, is_admin)).await,
            Endpoint::QueueStats => self.queue_stats().await,
            Endpoint::CancelTask(id) => self.cancel_task(id, Owner::of(&caller, is_admin)).await,
            Endpoint::ModelStats => ok(&models::stats(gateway)),
            Endpoint::ResetCooldowns => self.reset_cooldowns(gateway).await,
        })
    }

    /// Lets a request in, before its body is read: within the limits of its client, then those of
    /// the gateway. Health takes no place, so that load balancers can check it under load, too.
    fn enter(
        &self,
        gateway: &Gateway,
        endpoint: &Endpoint<'_>,
        head: &Parts,
        client: Option<&Arc<ClientRecord>>,
        peer: &Peer,
    ) -> Result<Entry, Refusal> {
        if *endpoint == Endpoint::Health {
            let mut share = gateway.in_flight.guard_for_bytes();
            share.reserve_head(head_bytes(head))?;
            return Ok(Entry { share: Some(share), ..Entry::default() });
        }
        let mut entry = Entry::default();
        if endpoint.calls_model() {
            let by = &gateway.config.limits.key;
            let kind = client.map(|client| CallerKind::Registered(Arc::clone(client)));
            let caller = identify(&head.headers, peer.address, by, kind);
            // A job's model call counts when it is made.
            let name = client.map_or(OTHER, |client| &*client.name);
            let refused = |limited: &LimitExceeded| {
                gateway.metrics.client_limited.with_label_values(&[name, limited.limit]).inc();
            };
            if self.jobs.is_none() {
                gateway.limits.check_rate(&caller).inspect_err(refused)?;
                entry.is_counted = true;
            }
            entry.slot = gateway.limits.acquire(&caller).inspect_err(refused)?;
        }
        let mut share = gateway.in_flight.enter()?;
        share.reserve_head(head_bytes(head))?;
        entry.share = Some(share);
        Ok(entry)
    }

    async fn analyze(&self, asking: Asking<'_>) -> Response<Bytes> {
        let bad = |error: String| {
            json(StatusCode::BAD_REQUEST, &json!({ "success": false, "error": error }))
        };
        let [choice, members @ ..] = match self.texts(&asking, Analysis::TEXTS).await {
            Ok(members) => members,
            Err(error) => return bad(error.to_string()),
        };
        let Asking { gateway, head, caller, entry, .. } = asking;
        let client = caller.client.as_deref();
        let analysis = match Analysis::read(members, client) {
            Ok(analysis) => Analysis { trace: caller.trace(), ..analysis },
            Err(error) => return bad(error.to_string()),
        };
        let choice = match choice::of(&choice, head) {
            Ok(choice) => choice,
            Err(error) => return bad(error.to_string()),
        };
        self.state.sessions.open(&analysis.session_id, Instant::now());
        if analysis.is_blank() {
            return ok(&analysis::blank());
        }
        let subject = &analysis.section_name;
        match self.submit(Queue::Analysis, choice, client, subject, &analysis).await {
            Submission::Accepted(id) => {
                return ok(&accepted(id, "processing", "Analysis task submitted to queue"));
            }
            Submission::Full(error) => return full(&analysis::failed(&error, "QueueFull")),
            Submission::Impossible => {}
        }
        let deadline = answered_until(gateway);
        // The pipeline takes a place of its own for the question.
        drop(entry);
        let outcome = self.state.analyse(&analysis, caller, deadline).await;
        match self.state.finish(&analysis, outcome) {
            Ok(analysed) => marked(analysis::done(&analysis, &analysed), analysed.is_mock),
            Err(error) => failed(&error, &analysis::failed(&error.to_string(), error.name())),
        }
    }

    async fn chat(&self, asking: Asking<'_>) -> Response<Bytes> {
        let bad = |error: String| json(StatusCode::BAD_REQUEST, &json!({ "error": error }));
        // The application met these in the middle of its work.
        let broken = |error: &str| json(StatusCode::INTERNAL_SERVER_ERROR, &chat::failed(error));
        let [choice, members @ ..] = match self.texts(&asking, Chat::TEXTS).await {
            Ok(members) => members,
            // An empty body names no session.
            Err(NotJson::Empty) => Default::default(),
            Err(error) => return broken(&error.to_string()),
        };
        let Asking { gateway, head, caller, entry, .. } = asking;
        let chat = match self.state.read_chat(members, caller.client.as_deref()) {
            Ok(chat) => Chat { trace: caller.trace(), ..chat },
            Err(error @ MissingField::Text) => return broken(&error.to_string()),
            Err(error) => return bad(error.to_string()),
        };
        let choice = match choice::of(&choice, head) {
            Ok(choice) => choice,
            Err(error) => return bad(error.to_string()),
        };
        let client = caller.client.as_deref();
        match self.submit(Queue::Chat, choice, client, &chat.message, &chat).await {
            Submission::Accepted(id) => {
                let asked = PendingChat { session_id: chat.session_id, question: chat.message };
                self.state.pending.note(id, asked);
                return ok(&accepted(id, "processing", "Chat task submitted to queue"));
            }
            Submission::Full(error) => return full(&chat::failed(&error)),
            Submission::Impossible => {}
        }
        let deadline = answered_until(gateway);
        drop(entry);
        let outcome = self.state.chat(&chat, caller, deadline).await;
        match self.state.finish_chat(&chat, outcome, None) {
            Ok(answered) => marked(chat::done(&answered), answered.is_mock),
            Err(error) => failed(&error, &chat::failed(&error.to_string())),
        }
    }

    async fn test_connection(&self, asking: Asking<'_>) -> Response<Bytes> {
        let Asking { gateway, head, caller, entry, .. } = asking;
        let choice = match choice::of(&Field::Absent, head) {
            Ok(choice) => choice,
            Err(error) => {
                let body = connection::failed(&error.to_string());
                return json(StatusCode::BAD_REQUEST, &body);
            }
        };
        let client = caller.client.as_deref();
        let test = ConnectionTest { client: client.map(str::to_owned), trace: caller.trace() };
        match self.submit(Queue::Test, choice, client, "", &test).await {
            Submission::Accepted(id) => {
                return ok(&accepted(id, "testing", "Connection test submitted to queue"));
            }
            Submission::Full(error) => return full(&connection::failed(&error)),
            Submission::Impossible => {}
        }
        let deadline = deadline(&gateway.config.jobs.test);
        drop(entry);
        match self.state.test_connection(caller, deadline).await {
            Ok(status) => ok(&connection::done(&status)),
            Err(error) => {
                json(StatusCode::INTERNAL_SERVER_ERROR, &connection::failed(&error.to_string()))
            }
        }
    }

    /// Reads the members of a body.
    async fn texts<const N: usize>(
        &self,
        asking: &Asking<'_>,
        names: Texts<N>,
    ) -> Result<[Field; N], NotJson> {
        let content_type = asking.head.headers.get(CONTENT_TYPE).cloned();
        let body = asking.body.clone();
        let read = move || response::texts(content_type.as_ref(), &body, names);
        self.state.parse(asking.body.len(), read).await
    }

    async fn task_status(&self, id: &str, owner: Owner<'_>) -> Response<Bytes> {
        let unavailable = |error: String| {
            json(
                StatusCode::SERVICE_UNAVAILABLE,
                &json!({ "error": error, "task_id": id, "state": "UNAVAILABLE" }),
            )
        };
        let Some(jobs) = &self.jobs else { return unavailable("Celery not available".to_owned()) };
        let Ok(job) = id.parse::<Uuid>() else { return ok(&tasks::status(id, None)) };
        match jobs.record(job).await {
            Ok(record) => {
                // The job of another client looks like an unknown one.
                let record = record.filter(|record| owner.owns(record));
                self.state.note_answer(job, record.as_ref());
                let is_mock = record.as_ref().is_some_and(tasks::is_mock);
                let mut response = ok(&tasks::status(id, record.as_ref()));
                if is_mock {
                    let mark = HeaderValue::from_static("true");
                    response.headers_mut().insert(response::MOCK, mark);
                }
                response
            }
            Err(error) => unavailable(error.to_string()),
        }
    }

    async fn queue_stats(&self) -> Response<Bytes> {
        let unavailable = |error: String| ok(&json!({ "available": false, "error": error }));
        let Some(jobs) = &self.jobs else { return unavailable("Celery not configured".to_owned()) };
        match jobs.stats().await {
            Ok(stats) => ok(&tasks::stats(&stats)),
            Err(error) => unavailable(error.to_string()),
        }
    }

    async fn cancel_task(&self, id: &str, owner: Owner<'_>) -> Response<Bytes> {
        let unavailable = |error: String| {
            let body = json!({ "error": error, "cancelled": false });
            json(StatusCode::SERVICE_UNAVAILABLE, &body)
        };
        let Some(jobs) = &self.jobs else { return unavailable("Celery not available".to_owned()) };
        if let Ok(job) = id.parse::<Uuid>() {
            let cancelled = async {
                match jobs.record(job).await? {
                    Some(record) if owner.owns(&record) => jobs.cancel(job).await,
                    // Whether there is such a task is its owner's to know.
                    _ => Ok(()),
                }
            };
            if let Err(error) = cancelled.await {
                return unavailable(error.to_string());
            }
        }
        ok(&json!({
            "success": true,
            "task_id": id,
            "cancelled": true,
            "message": "Task cancellation requested",
        }))
    }

    async fn reset_cooldowns(&self, gateway: &Gateway) -> Response<Bytes> {
        if !models::has_fallback(gateway) {
            let error = "Multi-model fallback not configured";
            let body = json!({ "success": false, "error": error });
            return json(StatusCode::SERVICE_UNAVAILABLE, &body);
        }
        reset(gateway);
        if let Some(fleet) = &gateway.fleet {
            fleet.publish(FleetEvent::Reset);
        }
        if let Some((resets, _)) = &self.resets
            && let Err(error) = resets.announce().await
        {
            tracing::warn!(%error, "cannot notify other replicas to reset their cooldowns");
        }
        ok(&json!({ "success": true, "message": "All model cooldowns have been reset" }))
    }

    /// Hands work to the queue, if there is one and the request does not choose otherwise.
    async fn submit(
        &self,
        queue: Queue,
        choice: Option<bool>,
        client: Option<&str>,
        subject: &str,
        payload: &impl serde::Serialize,
    ) -> Submission {
        let Some(jobs) = self.jobs.as_ref().filter(|_| choice != Some(false)) else {
            return Submission::Impossible;
        };
        let subject = super::text::first_chars(subject, SUBJECT).to_owned();
        // A struct of texts always is JSON.
        let Ok(payload) = serde_json::to_value(payload) else { return Submission::Impossible };
        let owner = client.map(str::to_owned);
        match jobs.submit(NewJob { queue, owner, subject, payload }).await {
            Ok(id) => Submission::Accepted(id),
            Err(error @ JobsError::Full { .. }) => Submission::Full(error.to_string()),
            Err(JobsError::Unreachable(_)) => Submission::Impossible,
        }
    }
}

/// What became of the wish to do something later.
enum Submission {
    Accepted(Uuid),
    Full(String),
    /// There is no queue, or not now, or the request does not want it: it is done at once.
    Impossible,
}

fn accepted(id: Uuid, status: &str, message: &str) -> Value {
    json!({
        "success": true,
        "task_id": id.to_string(),
        "status": status,
        "message": message,
        "async": true,
    })
}

fn full(body: &Value) -> Response<Bytes> {
    let mut response = json(StatusCode::TOO_MANY_REQUESTS, body);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
    response
}

/// The response to a failed model call, with the time to retry if that is known.
fn failed(error: &InvokeError, body: &Value) -> Response<Bytes> {
    let mut response = json(StatusCode::INTERNAL_SERVER_ERROR, body);
    if let Some(after) = error.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
    }
    response
}

/// Until when a request that is answered at once may wait for its answer: the time limits of jobs
/// are those of jobs alone.
fn answered_until(gateway: &Gateway) -> Instant {
    Instant::now() + gateway.config.server.request_timeout
}

fn deadline(queue: &JobQueue) -> Instant {
    Instant::now() + queue.soft_time_limit
}

fn reset(gateway: &Gateway) {
    gateway.router.targets().iter().for_each(|target| target.reset());
    tracing::info!("cooldowns reset");
}

fn check_method(endpoint: &Endpoint<'_>, method: &Method) -> Result<(), Refusal> {
    let allowed = endpoint.method();
    if method == allowed || *method == Method::HEAD && allowed == Method::GET {
        return Ok(());
    }
    Err(Refusal::Method { allow: endpoint.allow() })
}

/// Says which methods an endpoint takes. It allows nothing to pages of other sites.
fn options(endpoint: &Endpoint<'_>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(endpoint.allow()));
    response
}

fn counted(
    gateway: &Gateway,
    endpoint: &Endpoint<'_>,
    response: Response<Bytes>,
) -> Response<Bytes> {
    let status = response.status();
    let labels = [endpoint.name(), status.as_str()];
    gateway.metrics.legacy_requests.with_label_values(&labels).inc();
    response
}

/// A request for an endpoint that calls a model, and the guards that it holds.
struct Asking<'a> {
    gateway: &'a Gateway,
    head: &'a Parts,
    body: Bytes,
    caller: &'a Caller,
    entry: Entry,
}

/// The caller that reads or cancels a task.
#[derive(Clone, Copy)]
enum Owner<'a> {
    /// An administrator, with access to all tasks.
    Administrator,
    /// A client, or anybody where clients have no keys.
    Client(Option<&'a str>),
}

impl<'a> Owner<'a> {
    fn of(caller: &'a Caller, is_admin: bool) -> Owner<'a> {
        if is_admin { Owner::Administrator } else { Owner::Client(caller.client.as_deref()) }
    }

    fn owns(self, record: &Record) -> bool {
        match self {
            Owner::Administrator => true,
            Owner::Client(name) => record.owner.as_deref() == name,
        }
    }
}

/// What a request takes of the limits until it is read.
#[derive(Default)]
struct Entry {
    /// Its place, and the room for its body.
    share: Option<InFlightGuard>,
    /// Its place among those that its client has at once.
    slot: Option<ConcurrencyPermit>,
    /// Whether it counted against the rate of its client.
    is_counted: bool,
}

/// The authenticated caller of an endpoint.
#[derive(Default)]
struct AuthenticatedCaller {
    /// The client's record; `None` without configured clients and for the admin key.
    client: Option<Arc<ClientRecord>>,
    /// Whether the caller presented the admin key.
    is_admin: bool,
}

/// Authenticates the caller: by the admin key where the config requires it, else as a client.
/// Health is for load balancers, which have no key and name the host as they like.
fn authenticate(
    gateway: &Gateway,
    endpoint: &Endpoint<'_>,
    head: &Parts,
    peer: &Peer,
) -> Result<AuthenticatedCaller, Refusal> {
    let admin_only = &gateway.config.legacy.admin_only;
    let guarded = match endpoint {
        Endpoint::Health => return Ok(AuthenticatedCaller::default()),
        Endpoint::CancelTask(_) => admin_only.contains(&LegacyAction::CancelTask),
        Endpoint::ResetCooldowns => admin_only.contains(&LegacyAction::ResetModelCooldowns),
        _ => false,
    };
    if !guarded {
        let certificate = peer.certificate.as_deref();
        let client =
            gateway.authenticator.authenticate_unsigned(head, certificate, SystemTime::now())?;
        return Ok(AuthenticatedCaller { client, is_admin: false });
    }
    let key = gateway.config.server.admin_key.as_ref();
    let is_admin = key.is_some_and(|key| admin_key::is_presented(key, &head.headers));
    if is_admin {
        Ok(AuthenticatedCaller { client: None, is_admin })
    } else {
        Err(Refusal::AdminKey)
    }
}

/// Reads the body of a request for an endpoint, or throws it away where the endpoint has no use for
/// it: within the bounds of the endpoint, of all requests, and of its client.
async fn read<B>(
    gateway: &Gateway,
    endpoint: &Endpoint<'_>,
    client: Option<&ClientRecord>,
    body: &mut B,
    share: Option<&mut InFlightGuard>,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Send + Unpin,
{
    let server = &gateway.config.server;
    let most = endpoint.max_body().min(server.max_body);
    let own = client.and_then(ClientRecord::policy).and_then(|policy| policy.max_body(most));
    let limits = BodyLimits { bytes: own.unwrap_or(most), time: server.body_read_timeout };
    if endpoint.reads_body() {
        Ok(body::read(body, limits, share, None, &gateway.buffers).await?.0)
    } else {
        body::discard(body, limits).await?;
        Ok(Bytes::new())
    }
}
