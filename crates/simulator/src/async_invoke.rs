//! StartAsyncInvoke, GetAsyncInvoke, ListAsyncInvokes: invocations kept in memory.
//!
//! Each is complete at once; nothing is written to S3. The oldest are forgotten first.

use std::collections::VecDeque;
use std::time::SystemTime;

use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};

use super::answer::Invalid;

/// Invocations kept.
const MAX_INVOCATIONS: usize = 1_000;

/// The invocations that were started.
#[derive(Debug, Default)]
pub(super) struct Invocations {
    kept: Mutex<VecDeque<Value>>,
}

impl Invocations {
    /// Answers StartAsyncInvoke; `id` names the new invocation. The same client token gives the
    /// same invocation.
    ///
    /// # Errors
    /// A request without model, input or place for the output.
    pub(super) fn start(&self, body: &Value, id: &str) -> Result<Value, Invalid> {
        let missing = |key: &str| Invalid::new(format!("{key}: Member must not be null"));
        let model =
            body.get("modelId").and_then(Value::as_str).ok_or_else(|| missing("modelId"))?;
        body.get("modelInput").ok_or_else(|| missing("modelInput"))?;
        let output = body.get("outputDataConfig").ok_or_else(|| missing("outputDataConfig"))?;
        let token = body.get("clientRequestToken").and_then(Value::as_str);
        let mut kept = self.lock();
        if let Some(known) = token.and_then(|token| {
            kept.iter().find(|invocation| {
                invocation.get("clientRequestToken").and_then(Value::as_str) == Some(token)
            })
        }) {
            return Ok(json!({ "invocationArn": known.get("invocationArn") }));
        }
        let arn = format!("arn:aws:bedrock:us-east-1:123456789012:async-invoke/{id}");
        let model_arn = match model.starts_with("arn:") {
            true => model.to_owned(),
            false => format!("arn:aws:bedrock:us-east-1::foundation-model/{model}"),
        };
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        if kept.len() >= MAX_INVOCATIONS {
            kept.pop_front();
        }
        kept.push_back(json!({
            "invocationArn": arn,
            "modelArn": model_arn,
            "clientRequestToken": token,
            "status": "Completed",
            "submitTime": now,
            "lastModifiedTime": now,
            "endTime": now,
            "outputDataConfig": output,
        }));
        Ok(json!({ "invocationArn": arn }))
    }

    /// Answers GetAsyncInvoke.
    pub(super) fn get(&self, arn: &str) -> Option<Value> {
        let is_it =
            |known: &&Value| known.get("invocationArn").and_then(Value::as_str) == Some(arn);
        self.lock().iter().find(is_it).cloned()
    }

    /// Answers ListAsyncInvokes, the newest first; of its filters, `statusEquals` and
    /// `maxResults` are known, and one page holds all.
    pub(super) fn list(&self, query: &str) -> Value {
        let parameter = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let limit = parameter("maxResults").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
        let status = parameter("statusEquals");
        let kept = self.lock();
        let found: Vec<&Value> = kept
            .iter()
            .rev()
            .filter(|known| {
                status.is_none() || known.get("status").and_then(Value::as_str) == status
            })
            .take(limit)
            .collect();
        json!({ "asyncInvokeSummaries": found })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Value>> {
        self.kept.lock()
    }
}
