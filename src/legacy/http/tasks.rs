//! The endpoints about the job queue: the state of a task, its cancellation, the state of the queue.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;
use uuid::Uuid;

use super::LegacyService;
use crate::jobs::Record;
use crate::legacy::invoke::Caller;
use crate::legacy::response::{MOCK, json, ok};
use crate::legacy::tasks;

/// The caller that reads or cancels a task.
#[derive(Clone, Copy, Debug)]
pub(super) enum TaskAccess<'a> {
    /// An administrator, with access to all tasks.
    All,
    /// A client with access to its own tasks, or anybody where clients have no keys.
    Own(Option<&'a str>),
}

impl<'a> TaskAccess<'a> {
    pub(super) fn of(caller: &'a Caller, is_admin: bool) -> TaskAccess<'a> {
        if is_admin { TaskAccess::All } else { TaskAccess::Own(caller.client.as_deref()) }
    }

    fn allows(self, record: &Record) -> bool {
        match self {
            TaskAccess::All => true,
            TaskAccess::Own(client) => record.owner.as_deref() == client,
        }
    }
}

impl LegacyService {
    /// Answers `/task_status/{id}`.
    pub(super) async fn task_status(&self, id: &str, access: TaskAccess<'_>) -> Response<Bytes> {
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
                // The task of another client reads as one that is not known.
                let record = record.filter(|record| access.allows(record));
                self.state.note_answer(job, record.as_ref());
                let mut response = ok(&tasks::status(id, record.as_ref()));
                if record.as_ref().is_some_and(tasks::is_mock) {
                    response.headers_mut().insert(MOCK, HeaderValue::from_static("true"));
                }
                response
            }
            Err(error) => unavailable(error.to_string()),
        }
    }

    /// Answers `/queue_stats`.
    pub(super) async fn queue_stats(&self) -> Response<Bytes> {
        let unavailable = |error: String| ok(&json!({ "available": false, "error": error }));
        let Some(jobs) = &self.jobs else { return unavailable("Celery not configured".to_owned()) };
        match jobs.stats().await {
            Ok(stats) => ok(&tasks::stats(&stats)),
            Err(error) => unavailable(error.to_string()),
        }
    }

    /// Answers `/cancel_task/{id}`.
    pub(super) async fn cancel_task(&self, id: &str, access: TaskAccess<'_>) -> Response<Bytes> {
        let unavailable = |error: String| {
            let body = json!({ "error": error, "cancelled": false });
            json(StatusCode::SERVICE_UNAVAILABLE, &body)
        };
        let Some(jobs) = &self.jobs else { return unavailable("Celery not available".to_owned()) };
        if let Ok(job) = id.parse::<Uuid>() {
            let cancelled = async {
                match jobs.record(job).await? {
                    Some(record) if access.allows(&record) => jobs.cancel(job).await,
                    // Only the owner of a task may learn that it exists.
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
}
