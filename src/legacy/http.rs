//! The endpoints over HTTP: paths, authentication, requests and responses.
//!
//! With a job queue, the three endpoints that call a model respond at once with a task's id. Without one,
//! or while it can't be reached, they respond with the model's answer. Nothing else differs.

mod admission;
mod endpoint;
mod model_calls;
mod refusal;
mod tasks;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::ALLOW;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use super::job_handler::LegacyJobHandler;
use super::models;
use super::prompts::PromptError;
use super::resets::Resets;
use super::response::{json, ok, timestamp};
use super::state::LegacyState;
use crate::auth::Peer;
use crate::config::{Config, JobsBackend};
use crate::fleet::FleetEvent;
use crate::jobs::Jobs;
use crate::pipeline::drain;
use crate::pipeline::{Gateway, SharedGateway};
use crate::storage::StoreError;
use crate::storage::redis::{Redis, RedisFailure};
use crate::system::time::timeout;
use admission::{Admitted, admit};
use endpoint::Endpoint;
use model_calls::ModelRequest;
use refusal::Refusal;
use tasks::TaskAccess;

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
        let counts_rate = self.jobs.is_none();
        let admitted = admit(gateway, endpoint, head, body, peer, counts_rate).await?;
        let Admitted { caller, is_admin, body, guards } = admitted;
        let access = TaskAccess::of(&caller, is_admin);
        let request = ModelRequest { gateway, head, body, caller: &caller, guards };
        Ok(match endpoint {
            Endpoint::Health => {
                let now = timestamp(SystemTime::now());
                ok(&json!({ "status": "healthy", "timestamp": now }))
            }
            Endpoint::AnalyzeSection => self.analyze(request).await,
            Endpoint::Chat => self.chat(request).await,
            Endpoint::TestConnection => self.test_connection(request).await,
            Endpoint::TaskStatus(id) => self.task_status(id, access).await,
            Endpoint::QueueStats => self.queue_stats().await,
            Endpoint::CancelTask(id) => self.cancel_task(id, access).await,
            Endpoint::ModelStats => ok(&models::stats(gateway)),
            Endpoint::ResetCooldowns => self.reset_cooldowns(gateway).await,
        })
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
}

fn reset(gateway: &Gateway) {
    gateway.router.targets().iter().for_each(|target| target.reset());
    tracing::info!("cooldowns reset");
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
