//! The endpoints that call a model: each is answered by a job if there is a queue, else at once.
//!
//! The three take the same steps: read the request, submit a job, or else call the model. An error
//! of any step is a [`CallError`], and each endpoint writes it in its own JSON.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::LegacyService;
use super::admission::Guards;
use crate::bedrock::error::whole_seconds;
use crate::jobs::{JobsError, NewJob, Queue};
use crate::legacy::analysis::{self, Analysis};
use crate::legacy::chat::{self, Chat};
use crate::legacy::choice::{self, InvalidChoice};
use crate::legacy::connection;
use crate::legacy::invoke::{Caller, InvokeError};
use crate::legacy::job_handler::ConnectionTest;
use crate::legacy::json::{Field, Texts};
use crate::legacy::pending::PendingChat;
use crate::legacy::response::{NotJson, json, marked, ok, texts};
use crate::legacy::text::first_chars;
use crate::pipeline::Gateway;

/// Most characters of a subject that a job shows.
const MAX_SUBJECT: usize = 200;

/// When a client may come again for which the queue has no room, in seconds.
const RETRY_AFTER_FULL: u64 = 10;

/// An admitted request for an endpoint that calls a model.
#[derive(Debug)]
pub(super) struct ModelRequest<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) head: &'a Parts,
    pub(super) body: Bytes,
    pub(super) caller: &'a Caller,
    pub(super) guards: Guards,
}

/// Why such a request fails.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Body(#[from] NotJson),
    #[error(transparent)]
    Analysis(#[from] analysis::MissingField),
    #[error(transparent)]
    Chat(#[from] chat::MissingField),
    #[error(transparent)]
    Choice(#[from] InvalidChoice),
    #[error("{0}")]
    QueueFull(JobsError),
    #[error(transparent)]
    Model(#[from] InvokeError),
}

impl CallError {
    fn status(&self) -> StatusCode {
        match self {
            CallError::Body(_)
            | CallError::Analysis(_)
            | CallError::Chat(_)
            | CallError::Choice(_) => StatusCode::BAD_REQUEST,
            CallError::QueueFull(_) => StatusCode::TOO_MANY_REQUESTS,
            CallError::Model(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Seconds until the client may come again, if they are known.
    fn retry_after(&self) -> Option<HeaderValue> {
        match self {
            CallError::QueueFull(_) => Some(RETRY_AFTER_FULL.into()),
            CallError::Model(error) => error.retry_after().map(|it| whole_seconds(it).into()),
            _ => None,
        }
    }

    fn response(&self, status: StatusCode, body: &Value) -> Response<Bytes> {
        let mut response = json(status, body);
        response.headers_mut().extend(self.retry_after().map(|seconds| (RETRY_AFTER, seconds)));
        response
    }
}

impl LegacyService {
    /// Answers `/analyze_section`.
    pub(super) async fn analyze(&self, request: ModelRequest<'_>) -> Response<Bytes> {
        self.try_analyze(request).await.unwrap_or_else(|error| {
            let message = error.to_string();
            let body = match &error {
                CallError::QueueFull(_) => analysis::failed(&message, "QueueFull"),
                CallError::Model(model) => analysis::failed(&message, model.name()),
                _ => json!({ "success": false, "error": message }),
            };
            error.response(error.status(), &body)
        })
    }

    /// Answers `/chat`.
    pub(super) async fn chat(&self, request: ModelRequest<'_>) -> Response<Bytes> {
        self.try_chat(request).await.unwrap_or_else(|error| {
            let message = error.to_string();
            match error {
                // The legacy application failed at these in the middle of its work.
                CallError::Body(_) | CallError::Chat(chat::MissingField::Text) => {
                    error.response(StatusCode::INTERNAL_SERVER_ERROR, &chat::failed(&message))
                }
                CallError::QueueFull(_) | CallError::Model(_) => {
                    error.response(error.status(), &chat::failed(&message))
                }
                _ => error.response(error.status(), &json!({ "error": message })),
            }
        })
    }

    /// Answers `/test_claude_connection`.
    pub(super) async fn test_connection(&self, request: ModelRequest<'_>) -> Response<Bytes> {
        self.try_test_connection(request).await.unwrap_or_else(|error| {
            error.response(error.status(), &connection::failed(&error.to_string()))
        })
    }

    async fn try_analyze(&self, request: ModelRequest<'_>) -> Result<Response<Bytes>, CallError> {
        let [choice, fields @ ..] = self.fields(&request, Analysis::TEXTS).await?;
        let ModelRequest { gateway, head, caller, guards, .. } = request;
        let analysis = Analysis::read(fields, caller.client.as_deref())?;
        let analysis = Analysis { trace: caller.trace(), ..analysis };
        let choice = choice::of(&choice, head)?;
        self.state.sessions.open(&analysis.session_id, Instant::now());
        if analysis.is_blank() {
            return Ok(ok(&analysis::blank()));
        }
        let subject = &analysis.section_name;
        if let Some(id) = self.submit(Queue::Analysis, choice, caller, subject, &analysis).await? {
            return Ok(accepted(id, "processing", "Analysis task submitted to queue"));
        }
        let deadline = request_deadline(gateway);
        // The pipeline takes a place of its own for the model call.
        drop(guards);
        let outcome = self.state.analyse(&analysis, caller, deadline).await;
        let analysed = self.state.finish(&analysis, outcome)?;
        Ok(marked(analysis::done(&analysis, &analysed), analysed.is_mock))
    }

    async fn try_chat(&self, request: ModelRequest<'_>) -> Result<Response<Bytes>, CallError> {
        let [choice, fields @ ..] = match self.fields(&request, Chat::TEXTS).await {
            // An empty body names no session.
            Err(NotJson::Empty) => Default::default(),
            fields => fields?,
        };
        let ModelRequest { gateway, head, caller, guards, .. } = request;
        let chat = self.state.read_chat(fields, caller.client.as_deref())?;
        let chat = Chat { trace: caller.trace(), ..chat };
        let choice = choice::of(&choice, head)?;
        if let Some(id) = self.submit(Queue::Chat, choice, caller, &chat.message, &chat).await? {
            let pending = PendingChat { session_id: chat.session_id, question: chat.message };
            self.state.pending.note(id, pending);
            return Ok(accepted(id, "processing", "Chat task submitted to queue"));
        }
        let deadline = request_deadline(gateway);
        drop(guards);
        let outcome = self.state.chat(&chat, caller, deadline).await;
        let answered = self.state.finish_chat(&chat, outcome, None)?;
        Ok(marked(chat::done(&answered), answered.is_mock))
    }

    async fn try_test_connection(
        &self,
        request: ModelRequest<'_>,
    ) -> Result<Response<Bytes>, CallError> {
        let ModelRequest { gateway, head, caller, guards, .. } = request;
        let choice = choice::of(&Field::Absent, head)?;
        let client = caller.client.as_deref().map(str::to_owned);
        let test = ConnectionTest { client, trace: caller.trace() };
        if let Some(id) = self.submit(Queue::Test, choice, caller, "", &test).await? {
            return Ok(accepted(id, "testing", "Connection test submitted to queue"));
        }
        let deadline = Instant::now() + gateway.config.jobs.test.soft_time_limit;
        drop(guards);
        Ok(ok(&connection::done(&self.state.test_connection(caller, deadline).await)))
    }

    /// Reads the members of a request's JSON.
    async fn fields<const N: usize>(
        &self,
        request: &ModelRequest<'_>,
        names: Texts<N>,
    ) -> Result<[Field; N], NotJson> {
        let content_type = request.head.headers.get(CONTENT_TYPE).cloned();
        let body = request.body.clone();
        let read = move || texts(content_type.as_ref(), &body, names);
        self.state.parse(request.body.len(), read).await
    }

    /// Submits a job. `None` if the request is to be answered at once: by its own choice, or because
    /// there is no queue, or none that can be reached.
    async fn submit(
        &self,
        queue: Queue,
        choice: Option<bool>,
        caller: &Caller,
        subject: &str,
        payload: &impl Serialize,
    ) -> Result<Option<Uuid>, CallError> {
        let Some(jobs) = self.jobs.as_ref().filter(|_| choice != Some(false)) else {
            return Ok(None);
        };
        // A struct of texts always is JSON.
        let Ok(payload) = serde_json::to_value(payload) else { return Ok(None) };
        let owner = caller.client.as_deref().map(str::to_owned);
        let subject = first_chars(subject, MAX_SUBJECT).to_owned();
        match jobs.submit(NewJob { queue, owner, subject, payload }).await {
            Ok(id) => Ok(Some(id)),
            Err(error @ JobsError::Full { .. }) => Err(CallError::QueueFull(error)),
            Err(JobsError::Unreachable(_)) => Ok(None),
        }
    }
}

/// The response to a request that a job will answer.
fn accepted(id: Uuid, status: &str, message: &str) -> Response<Bytes> {
    ok(&json!({
        "success": true,
        "task_id": id.to_string(),
        "status": status,
        "message": message,
        "async": true,
    }))
}

/// The deadline of a request that is answered at once: the time limits of jobs apply to jobs alone.
fn request_deadline(gateway: &Gateway) -> Instant {
    Instant::now() + gateway.config.server.request_timeout
}
