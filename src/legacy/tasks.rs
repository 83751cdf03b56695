//! `/task_status` and `/queue_stats`: what became of a job, and what goes on in the queue, in the
//! terms of the legacy application's own queue.

use serde_json::{Map, Value, json};

use crate::jobs::{Queue, Record, State, Stats};

/// A job, or an id that no job has, which reads as one that waits.
pub(super) fn status(task_id: &str, record: Option<&Record>) -> Value {
    let mut fields = Map::new();
    let mut set = |key: &str, value: Value| fields.insert(key.to_owned(), value);
    let state = record.map_or(State::Waiting, |record| record.state);
    let (name, text) = described(record.map(|record| record.queue), state);
    let is_ready = matches!(state, State::Done | State::Failed | State::Cancelled);
    let when_ready = |value: bool| if is_ready { value.into() } else { Value::Null };
    set("task_id", task_id.into());
    set("state", name.into());
    set("ready", is_ready.into());
    set("successful", when_ready(state == State::Done));
    set("failed", when_ready(state == State::Failed));
    set("status", text.into());
    let Some(record) = record else { return Value::Object(fields) };
    match state {
        State::Running => {
            set("progress", record.progress.into());
            match record.queue {
                Queue::Analysis => drop(set("section", record.subject.as_str().into())),
                Queue::Chat => drop(set("query", record.subject.as_str().into())),
                Queue::Test => {}
            }
        }
        State::Done => drop(set("result", record.result.clone().unwrap_or_default())),
        State::Failed | State::Retrying => {
            set("error", record.error.clone().unwrap_or_default().into());
        }
        State::Waiting | State::Cancelled => {}
    }
    Value::Object(fields)
}

/// Whether the job's result is a mock.
pub(super) fn is_mock(record: &Record) -> bool {
    record.result.as_ref().is_some_and(|result| result["mock"] == true)
}

fn described(queue: Option<Queue>, state: State) -> (&'static str, &'static str) {
    match state {
        State::Waiting => ("PENDING", "Task is waiting to be processed"),
        State::Running => (
            "PROGRESS",
            match queue {
                Some(Queue::Chat) => "Processing query...",
                Some(Queue::Test) => "Testing connection...",
                Some(Queue::Analysis) | None => "Analyzing section...",
            },
        ),
        State::Retrying => ("RETRY", "Task is being retried"),
        State::Done => ("SUCCESS", "Task completed successfully"),
        State::Failed => ("FAILURE", "Task failed"),
        State::Cancelled => ("REVOKED", "Task was cancelled"),
    }
}

pub(super) fn stats(stats: &Stats) -> Value {
    let sum = |of: fn(&crate::jobs::Counts) -> u64| stats.counts.values().map(of).sum::<u64>();
    let details: Map<String, Value> = stats
        .workers
        .iter()
        .map(|worker| {
            let details = json!({ "queue": worker.queue.name(), "last_seen": worker.seen });
            (worker.name.clone(), details)
        })
        .collect();
    json!({
        "available": true,
        "workers": stats.workers.len(),
        "active_tasks": sum(|counts| counts.running),
        "reserved_tasks": sum(|counts| counts.reserved),
        "total_pending": sum(|counts| counts.waiting),
        "worker_details": details,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(queue: Queue, state: State) -> Record {
        Record {
            queue,
            state,
            owner: None,
            subject: "Summary".to_owned(),
            progress: 30,
            result: (state == State::Done).then(|| json!({ "success": true })),
            error: matches!(state, State::Failed | State::Retrying).then(|| "why".to_owned()),
        }
    }

    #[test]
    fn every_state_reads_as_the_legacy_application_wrote_it() {
        let read = |queue, state| status("t", Some(&record(queue, state)));
        let open = |state: &str, status: &str| {
            json!({
                "task_id": "t", "state": state, "ready": false, "successful": null,
                "failed": null, "status": status,
            })
        };
        let with = |mut value: Value, more: Value| {
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            value
        };
        let pending = open("PENDING", "Task is waiting to be processed");
        assert_eq!(read(Queue::Chat, State::Waiting), pending);
        assert_eq!(status("t", None), pending, "an id that is not known reads the same");
        assert_eq!(
            read(Queue::Analysis, State::Running),
            with(
                open("PROGRESS", "Analyzing section..."),
                json!({ "progress": 30, "section": "Summary" })
            )
        );
        assert_eq!(
            read(Queue::Chat, State::Running),
            with(
                open("PROGRESS", "Processing query..."),
                json!({ "progress": 30, "query": "Summary" })
            )
        );
        assert_eq!(
            read(Queue::Chat, State::Retrying),
            with(open("RETRY", "Task is being retried"), json!({ "error": "why" }))
        );
        assert_eq!(
            read(Queue::Test, State::Done),
            json!({
                "task_id": "t", "state": "SUCCESS", "ready": true, "successful": true,
                "failed": false, "status": "Task completed successfully",
                "result": { "success": true },
            })
        );
        assert_eq!(
            read(Queue::Test, State::Failed),
            json!({
                "task_id": "t", "state": "FAILURE", "ready": true, "successful": false,
                "failed": true, "status": "Task failed", "error": "why",
            })
        );
        assert_eq!(
            read(Queue::Test, State::Cancelled),
            json!({
                "task_id": "t", "state": "REVOKED", "ready": true, "successful": false,
                "failed": false, "status": "Task was cancelled",
            })
        );
    }
}
