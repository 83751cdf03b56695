//! What jobs do: the same analyses, chats and tests as requests that are answered at once.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;
use tokio::time::Instant;

use super::analysis::{self, Analysis};
use super::chat::{self, Chat};
use super::connection;
use super::invoke::{Caller, InvokeError};
use super::state::{LegacyState, seconds_since};
use crate::jobs::{Failure, Job, JobHandler, ProgressReporter, Queue};

/// The progress of a job, in percent, during the model call and after it.
const ASKED: u8 = 10;
const ANSWERED: u8 = 90;

/// The work of the legacy endpoints' jobs.
pub(super) struct LegacyJobHandler(pub(super) Arc<LegacyState>);

/// What a connection test keeps as its payload.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct ConnectionTest {
    pub(super) client: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<String>,
}

impl JobHandler for LegacyJobHandler {
    fn run(
        &self,
        job: Job,
        progress: ProgressReporter,
    ) -> BoxFuture<'static, Result<Value, Failure>> {
        let state = Arc::clone(&self.0);
        async move {
            progress.report(ASKED).await;
            let began = Instant::now();
            match job.queue {
                Queue::Analysis => analyse(&state, job, &progress, began).await,
                Queue::Chat => answer(&state, job, &progress, began).await,
                Queue::Test => {
                    let test: ConnectionTest = payload(job.payload)?;
                    let caller = Caller::of_job(test.client, test.trace.as_deref());
                    let status = state.test_connection(&caller, job.soft_deadline).await;
                    Ok(connection::result(&status, seconds_since(began)))
                }
            }
        }
        .boxed()
    }
}

async fn analyse(
    state: &LegacyState,
    job: Job,
    progress: &ProgressReporter,
    began: Instant,
) -> Result<Value, Failure> {
    let analysis: Analysis = payload(job.payload)?;
    let caller = Caller::of_job(analysis.client.clone(), analysis.trace.as_deref());
    let outcome = state.analyse(&analysis, &caller, job.soft_deadline).await;
    let outcome = unless_tried_again(outcome, job.is_last_try)?;
    progress.report(ANSWERED).await;
    let analysed = state.finish(&analysis, outcome).map_err(|error| failure(&error, false))?;
    Ok(analysis::result(&analysis, &analysed, seconds_since(began)))
}

async fn answer(
    state: &LegacyState,
    job: Job,
    progress: &ProgressReporter,
    began: Instant,
) -> Result<Value, Failure> {
    let chat: Chat = payload(job.payload)?;
    let caller = Caller::of_job(chat.client.clone(), chat.trace.as_deref());
    let outcome = state.chat(&chat, &caller, job.soft_deadline).await;
    let outcome = unless_tried_again(outcome, job.is_last_try)?;
    progress.report(ANSWERED).await;
    let key = job.id.to_string();
    let answered = state.finish_chat(&chat, outcome, Some(&key));
    let answered = answered.map_err(|error| failure(&error, false))?;
    Ok(chat::result(&answered, seconds_since(began)))
}

/// Leaves what may pass to another try, if there is one.
fn unless_tried_again<T>(
    outcome: Result<T, InvokeError>,
    is_last_try: bool,
) -> Result<Result<T, InvokeError>, Failure> {
    match outcome {
        Err(error @ (InvokeError::Busy { .. } | InvokeError::Broken)) if !is_last_try => {
            Err(failure(&error, true))
        }
        outcome => Ok(outcome),
    }
}

fn failure(error: &InvokeError, is_transient: bool) -> Failure {
    Failure { message: error.to_string(), is_transient, retry_after: error.retry_after() }
}

fn payload<T: DeserializeOwned>(payload: Value) -> Result<T, Failure> {
    serde_json::from_value(payload).map_err(|error| Failure {
        message: format!("the job can't be read: {error}"),
        is_transient: false,
        retry_after: None,
    })
}
