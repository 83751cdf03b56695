//! The access log: one line per request on standard output, with the caller, the attempts and the
//! outcome. It never contains bodies or secrets.

use std::io::{Write, stdout};
use std::net::SocketAddr;
use std::time::SystemTime;

use prometheus::IntCounter;

use super::json::{self, Object, key};
use super::log_writer::{LogWriter, unlocked};
use super::operation_names::{Names, with_api};
use super::traces::{SpanId, TraceId};
use super::{Failures, Outcome, PassedOverTargets, UpstreamRequestId};
use crate::bedrock::{Operation, Usage};
use crate::config::LogFormat;

/// An entry of the log. Its JSON has members of the same names.
#[derive(Debug)]
pub struct AccessLogEntry<'a> {
    /// When the request arrived.
    pub time: SystemTime,
    /// The gateway's id of the request.
    pub request_id: &'a str,
    /// The trace that the request is part of.
    pub trace_id: Option<TraceId>,
    /// The request's own span, if it is recorded.
    pub span_id: Option<SpanId>,
    /// The caller: an access key id, the subject of a certificate, or `-`.
    pub client: &'a str,
    /// The address the request came from.
    pub peer: SocketAddr,
    /// The operation; `-` in the log, as is its API, for a request that is not one.
    pub operation: Option<Operation>,
    /// The method of a request that is not an operation.
    pub method: Option<&'a str>,
    /// Its path, truncated and without its query.
    pub path: Option<&'a str>,
    /// The requested model.
    pub requested_model: Option<&'a str>,
    /// The model that answered.
    pub model: Option<&'a str>,
    /// The target that answered.
    pub target: Option<&'a str>,
    /// The HTTP status of the answer; 0 if the client went away before it.
    pub status: u16,
    /// The outcome, as in `sluice_requests_total`.
    pub outcome: Outcome,
    /// The error in the answer.
    pub error: Option<&'a str>,
    /// The message in the answer, if the request failed.
    pub message: Option<&'a str>,
    /// The attempts, in order.
    pub attempts: &'a [Attempt],
    /// The better targets that were not attempted; all of them, if no target answered.
    pub passed_over: &'a PassedOverTargets,
    /// Why the best target did not answer, if another one did.
    pub fallback_reason: Option<&'static str>,
    /// Whether the model of the first choice or another one answered.
    pub choice: Option<&'static str>,
    /// Beta flags of the client that the target's surface does not take, with commas between them.
    pub dropped_betas: Option<&'a str>,
    /// The operation into which the request was translated.
    pub translated: Option<&'static str>,
    /// What was left out in the translation, with commas between the names.
    pub dropped: Option<&'a str>,
    /// What was added in the translation, with commas between the names.
    pub added: Option<&'a str>,
    /// Time in the queue.
    pub queued_ms: u64,
    /// Time to the head of the answer; `None` if the client went away before it.
    pub first_byte_ms: Option<u64>,
    /// Time to the last byte.
    pub duration_ms: u64,
    /// Bytes of the request body.
    pub request_bytes: u64,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
    /// Tokens, if the answer reported them.
    pub usage: Option<Usage>,
}

/// One attempt in an [`AccessLogEntry`].
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The target's name.
    pub target: std::sync::Arc<str>,
    /// The outcome.
    pub outcome: &'static str,
    /// The HTTP status of the upstream's answer; 0 if there was none.
    pub status: u16,
    /// Time to the outcome.
    pub ms: u64,
    /// The upstream's own id of the request, if its answer has one.
    pub upstream_request_id: Option<UpstreamRequestId>,
    /// Why it failed, in one line.
    pub error: Option<Box<str>>,
}

/// The access log. Clones share it.
#[derive(Clone, Debug)]
pub struct AccessLog {
    lines: Option<LogWriter>,
    format: LogFormat,
    failures: Failures,
}

impl AccessLog {
    /// Starts the log on standard output, if it is enabled.
    pub fn start(enabled: bool, format: LogFormat, dropped: IntCounter) -> AccessLog {
        if enabled {
            return AccessLog::to(unlocked(stdout()), format, dropped);
        }
        AccessLog { lines: None, format, failures: Failures::default() }
    }

    /// Starts a log that is written to `out`.
    pub fn to(
        out: impl Write + Send + 'static,
        format: LogFormat,
        dropped: IntCounter,
    ) -> AccessLog {
        let lines = LogWriter::to("access-log", out, dropped);
        AccessLog { lines: Some(lines), format, failures: Failures::default() }
    }

    /// Whether the log is enabled.
    pub fn is_on(&self) -> bool {
        self.lines.is_some()
    }

    /// The last failed requests, which are kept even if the log is off.
    pub fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Writes an entry, or drops it if standard output does not keep up.
    pub fn write(&self, line: &AccessLogEntry<'_>) {
        let has_failed = line.outcome != Outcome::Success;
        if self.lines.is_none() && !has_failed {
            return;
        }
        let is_json = self.format == LogFormat::Json;
        let mut text = match has_failed || is_json {
            true => json(line, line.attempts),
            false => Vec::with_capacity(256),
        };
        if has_failed {
            let cut = |left| json(line, last(line.attempts, left));
            let is_failure = line.outcome.is_failure();
            self.failures.keep(&text, is_failure, line.attempts.len(), cut);
        }
        let Some(lines) = &self.lines else { return };
        if !is_json {
            text.clear();
            write_text(&mut text, line);
        }
        text.push(b'\n');
        lines.write(&text);
        json::reuse(text);
    }

    /// Writes a message for people among the entries, for commands that print their log.
    pub fn write_message(&self, text: &str) {
        if let Some(lines) = &self.lines {
            lines.write(format!("{text}\n").as_bytes());
        }
    }

    /// Waits until all entries so far are written, for a bounded time. Blocks: for the end of the
    /// process.
    pub fn flush(&self) {
        if let Some(lines) = &self.lines {
            lines.flush();
        }
    }
}

/// The last ones of these attempts, which led to the end of the request.
fn last(attempts: &[Attempt], count: usize) -> &[Attempt] {
    attempts.get(attempts.len().saturating_sub(count)..).unwrap_or_default()
}

/// An entry in JSON, with these of its attempts.
fn json(line: &AccessLogEntry<'_>, attempts: &[Attempt]) -> Vec<u8> {
    let Names { api, operation } = Names::in_logs(line.operation);
    let mut object = Object::new();
    object
        .time(key!("time"), line.time)
        .plain(key!("request_id"), line.request_id)
        .some_value(key!("trace_id"), line.trace_id)
        .some_value(key!("span_id"), line.span_id)
        .text(key!("client"), line.client)
        .address(key!("peer"), line.peer)
        .plain(key!("api"), api)
        .plain(key!("operation"), operation)
        .some_text(key!("method"), line.method)
        .some_text(key!("path"), line.path)
        .some_text(key!("requested_model"), line.requested_model)
        .some_text(key!("model"), line.model)
        .some_text(key!("target"), line.target)
        .number(key!("status"), line.status.into())
        .plain(key!("outcome"), line.outcome.name())
        .some_text(key!("error"), line.error)
        .some_text(key!("message"), line.message)
        .objects(key!("attempts"), attempts, |object, attempt| {
            object
                .text(key!("target"), &attempt.target)
                .plain(key!("outcome"), attempt.outcome)
                .number(key!("status"), attempt.status.into())
                .number(key!("ms"), attempt.ms)
                .some_plain(
                    key!("upstream_request_id"),
                    attempt.upstream_request_id.as_ref().map(UpstreamRequestId::as_str),
                )
                .some_text(key!("error"), attempt.error.as_deref());
        });
    if attempts.len() < line.attempts.len() {
        object.number(key!("attempts_left_out"), (line.attempts.len() - attempts.len()) as u64);
    }
    if !line.passed_over.listed().is_empty() {
        object.objects(key!("passed_over"), line.passed_over.listed(), |object, passed_over| {
            object
                .text(key!("target"), &passed_over.target)
                .plain(key!("reason"), passed_over.reason.name());
        });
    }
    if line.passed_over.more() > 0 {
        object.number(key!("passed_over_more"), line.passed_over.more() as u64);
    }
    object
        .some_plain(key!("fallback_reason"), line.fallback_reason)
        .some_plain(key!("choice"), line.choice)
        .some_text(key!("dropped_betas"), line.dropped_betas)
        .some_plain(key!("translated"), line.translated)
        .some_text(key!("dropped"), line.dropped)
        .some_text(key!("added"), line.added)
        .number(key!("queued_ms"), line.queued_ms)
        .some_number(key!("first_byte_ms"), line.first_byte_ms)
        .number(key!("duration_ms"), line.duration_ms)
        .number(key!("request_bytes"), line.request_bytes)
        .number(key!("response_bytes"), line.response_bytes);
    if let Some(usage) = line.usage {
        object.object(key!("usage"), |object| {
            object
                .number(key!("input"), usage.input)
                .number(key!("output"), usage.output)
                .number(key!("cache_read"), usage.cache_read)
                .number(key!("cache_write"), usage.cache_write);
        });
    }
    object.finish()
}

fn write_text(text: &mut Vec<u8>, line: &AccessLogEntry<'_>) {
    let attempts: Vec<String> = line
        .attempts
        .iter()
        .map(|attempt| match &attempt.error {
            Some(error) => format!("{} {} ({error})", attempt.target, attempt.outcome),
            None => format!("{} {}", attempt.target, attempt.outcome),
        })
        .collect();
    // Writing to memory can't fail.
    let _ = write!(
        text,
        "{} {} {} {} -> {}: {} ms{}{}",
        line.status,
        line.outcome.name(),
        with_api(line.operation),
        line.requested_model.unwrap_or("-"),
        line.model.unwrap_or("nobody"),
        line.duration_ms,
        if attempts.is_empty() { "" } else { ", " },
        attempts.join(", "),
    );
    if line.passed_over.first().is_some() {
        let _ = write!(text, ", passed over {}", line.passed_over);
    }
    if let (Some(method), Some(path)) = (line.method, line.path) {
        let _ = write!(text, ", {method} {}", path.escape_debug());
    }
    if line.queued_ms > 0 {
        let _ = write!(text, ", queued {} ms", line.queued_ms);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::PassedOverReason;
    use super::*;

    #[test]
    fn an_entry_is_one_json_object() {
        let attempts = [Attempt {
            target: "sonnet".into(),
            outcome: "throttled",
            status: 429,
            ms: 3,
            upstream_request_id: None,
            error: Some("ThrottlingException: Too many tokens".into()),
        }];
        let mut passed_over = PassedOverTargets::default();
        passed_over.push(&"haiku".into(), PassedOverReason::NoQuota);
        let line = AccessLogEntry {
            time: SystemTime::UNIX_EPOCH,
            request_id: "r",
            trace_id: None,
            span_id: None,
            client: "AKID\"\n",
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            operation: Some(Operation::CreateMessage),
            method: None,
            path: None,
            requested_model: Some("m"),
            model: None,
            target: None,
            status: 429,
            outcome: Outcome::Throttled,
            error: Some("ThrottlingException"),
            message: Some("Too many tokens"),
            attempts: &attempts,
            passed_over: &passed_over,
            fallback_reason: None,
            choice: None,
            dropped_betas: None,
            translated: None,
            dropped: None,
            added: None,
            queued_ms: 1,
            first_byte_ms: Some(2),
            duration_ms: 3,
            request_bytes: 4,
            response_bytes: 5,
            usage: Some(Usage { input: 6, output: 7, ..Usage::default() }),
        };
        let text = String::from_utf8(json(&line, &attempts)).unwrap();
        assert_eq!(text.lines().count(), 1);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(value["client"], "AKID\"\n");
        assert_eq!(
            (&value["api"], &value["operation"]),
            (&"messages".into(), &"CreateMessage".into())
        );
        assert_eq!(value["attempts"][0]["outcome"], "throttled");
        assert_eq!(value["attempts"][0]["error"], "ThrottlingException: Too many tokens");
        assert_eq!(value["message"], "Too many tokens");
        assert_eq!(value["usage"]["output"], 7);
        let passed_over = serde_json::json!([{ "target": "haiku", "reason": "no_quota" }]);
        assert_eq!(value["passed_over"], passed_over);
        assert_eq!(value.get("attempts_left_out"), None);
        let mut text = Vec::new();
        write_text(&mut text, &line);
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(" sonnet throttled (ThrottlingException: "), "{text}");
        assert!(text.starts_with("429 throttled messages CreateMessage m -> nobody: "), "{text}");
        assert!(text.contains("), passed over haiku no_quota, queued 1 ms"), "{text}");
        let cut: Value = serde_json::from_slice(&json(&line, &[])).unwrap();
        assert_eq!(cut["attempts"], Value::Array(Vec::new()));
        assert_eq!(cut["attempts_left_out"], 1);
    }
}
