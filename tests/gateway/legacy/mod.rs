//! The legacy application's endpoints, as its clients know them.

mod access;
mod bodies;
mod contract;
mod crowd;
mod fallback;
mod families;
mod loss;
mod rates;
mod setups;

use serde_json::{Value, json};

use crate::support::patience::eventually;
use crate::support::{Gateway, http};

/// An answer with one finding that is kept.
const FINDING: &str = r#"Here you are:
```json
{"feedback_items": [{"id": "f1", "type": "critical", "category": "Root Cause Analysis",
  "description": "No root cause is named.", "suggestion": "Name it.", "example": "E.g.: ...",
  "questions": ["Why?", "Since when?", "Who?"], "hawkeye_refs": [11, 99, "2"],
  "risk_level": "High", "confidence": 0.93},
 {"type": "important", "description": "A guess.", "confidence": 0.5}]}
```"#;

/// The path of a task.
fn task_path(of: &str, accepted: &Value) -> String {
    format!("/{of}/{}", accepted["task_id"].as_str().unwrap())
}

async fn post(gateway: &Gateway, path: &str, body: &Value) -> http::Response {
    http::post(&format!("{}{path}", gateway.url()), &[], body.to_string()).await
}

async fn get(gateway: &Gateway, path: &str) -> http::Response {
    http::get(&format!("{}{path}", gateway.url())).await
}

/// Asks for an analysis of a section.
async fn analyze(gateway: &Gateway, session: &str, section: &str) -> http::Response {
    let body = json!({
        "session_id": session, "section_name": section, "content": "We closed the case.",
    });
    post(gateway, "/analyze_section", &body).await
}

/// What `/task_status` says of an accepted task.
async fn status(gateway: &Gateway, accepted: &Value) -> Value {
    get(gateway, &task_path("task_status", accepted)).await.json()
}

/// The same once the task is ready.
async fn ended(gateway: &Gateway, accepted: &Value) -> Value {
    let look = async || status(gateway, accepted).await;
    eventually("the task is ready", look, |status| status["ready"] == true).await
}

/// The names of an object's fields, in order.
#[track_caller]
fn fields(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}
