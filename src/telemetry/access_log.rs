//! One line a request on standard output: who asked what, which attempts were made, what came
//! of it. Never bodies, never secrets.

use std::io::{Write, stdout};
use std::net::SocketAddr;
use std::time::SystemTime;

use prometheus::IntCounter;

use super::Failures;
use super::json::Object;
use super::log_writer::{LogWriter, unlocked};
use super::traces::{SpanId, TraceId};
use crate::bedrock::Usage;
use crate::config::LogFormat;

/// The outcome of a request that was answered whole.
pub const SUCCESS: &str = "success";

/// One line, of which the log has these members under the same names.
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
    /// Who asked: an access key id, the subject of a certificate, or `-`.
    pub client: &'a str,
    /// The address the request came from.
    pub peer: SocketAddr,
    /// The operation, or `-` for what is none.
    pub operation: &'a str,
    /// The method of a request that is no operation.
    pub method: Option<&'a str>,
    /// Its path, cut to a bound, without its query.
    pub path: Option<&'a str>,
    /// The model in the client's path.
    pub requested_model: Option<&'a str>,
    /// The model that answered.
    pub model: Option<&'a str>,
    /// The target that answered.
    pub target: Option<&'a str>,
    /// The HTTP status that the client got; 0 if it went away before.
    pub status: u16,
    /// What the client got, as in `sluice_requests_total`.
    pub outcome: &'static str,
    /// The error that the client got.
    pub error: Option<&'a str>,
    /// The attempts in their order.
    pub attempts: &'a [Attempt],
    /// Time in the queue.
    pub queued_ms: u64,
    /// Time to the head of the answer.
    pub first_byte_ms: u64,
    /// Time to the last byte.
    pub duration_ms: u64,
    /// Bytes of the request body.
    pub request_bytes: u64,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
    /// Tokens, if the answer told.
    pub usage: Option<Usage>,
}

/// One attempt in a [`AccessLogEntry`].
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The target's name.
    pub target: std::sync::Arc<str>,
    /// The class of the outcome.
    pub outcome: &'static str,
    /// The HTTP status of the upstream's answer; 0 if there was none.
    pub status: u16,
    /// Time to the outcome.
    pub ms: u64,
}

/// Where lines go.
#[derive(Clone, Debug)]
pub struct AccessLog {
    lines: Option<LogWriter>,
    format: LogFormat,
    failures: Failures,
}

impl AccessLog {
    /// A log on standard output; or none.
    pub fn start(enabled: bool, format: LogFormat, dropped: IntCounter) -> AccessLog {
        if enabled {
            return AccessLog::to(unlocked(stdout()), format, dropped);
        }
        AccessLog { lines: None, format, failures: Failures::default() }
    }

    /// A log that goes to `out` instead.
    pub fn to(
        out: impl Write + Send + 'static,
        format: LogFormat,
        dropped: IntCounter,
    ) -> AccessLog {
        let lines = LogWriter::to("access-log", out, dropped);
        AccessLog { lines: Some(lines), format, failures: Failures::default() }
    }

    /// Whether anybody wants lines.
    pub fn is_on(&self) -> bool {
        self.lines.is_some()
    }

    /// The last requests that failed, whether there is a log or not.
    pub fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Writes a line, or drops it when standard output does not keep up.
    pub fn write(&self, line: &AccessLogEntry<'_>) {
        let has_failed = line.outcome != SUCCESS;
        if self.lines.is_none() && !has_failed {
            return;
        }
        let is_json = self.format == LogFormat::Json;
        let mut text = if has_failed || is_json { json(line) } else { Vec::with_capacity(256) };
        if has_failed {
            self.failures.keep(&text);
        }
        let Some(lines) = &self.lines else { return };
        if !is_json {
            text.clear();
            write_text(&mut text, line);
        }
        text.push(b'\n');
        lines.write(text);
    }

    /// Has a text for people written among the lines, by a command that shows its log to them.
    pub fn say(&self, text: &str) {
        if let Some(lines) = &self.lines {
            lines.write(format!("{text}\n").into_bytes());
        }
    }

    /// Waits until all lines so far are written, or for a moment. Blocks: for the end of the process.
    pub fn flush(&self) {
        if let Some(lines) = &self.lines {
            lines.flush();
        }
    }
}

fn json(line: &AccessLogEntry<'_>) -> Vec<u8> {
    let mut object = Object::with_capacity(1024);
    object
        .time("time", line.time)
        .plain("request_id", line.request_id)
        .some_plain("trace_id", line.trace_id)
        .some_plain("span_id", line.span_id)
        .text("client", line.client)
        .address("peer", line.peer)
        .plain("operation", line.operation)
        .some_text("method", line.method)
        .some_text("path", line.path)
        .some_text("requested_model", line.requested_model)
        .some_text("model", line.model)
        .some_text("target", line.target)
        .number("status", line.status.into())
        .plain("outcome", line.outcome)
        .some_text("error", line.error)
        .objects("attempts", line.attempts, |object, attempt| {
            object
                .text("target", &attempt.target)
                .plain("outcome", attempt.outcome)
                .number("status", attempt.status.into())
                .number("ms", attempt.ms);
        })
        .number("queued_ms", line.queued_ms)
        .number("first_byte_ms", line.first_byte_ms)
        .number("duration_ms", line.duration_ms)
        .number("request_bytes", line.request_bytes)
        .number("response_bytes", line.response_bytes);
    if let Some(usage) = line.usage {
        object.object("usage", |object| {
            object
                .number("input", usage.input)
                .number("output", usage.output)
                .number("cache_read", usage.cache_read)
                .number("cache_write", usage.cache_write);
        });
    }
    object.finish()
}

fn write_text(text: &mut Vec<u8>, line: &AccessLogEntry<'_>) {
    let attempts: Vec<String> = line
        .attempts
        .iter()
        .map(|attempt| format!("{} {}", attempt.target, attempt.outcome))
        .collect();
    // Writing to memory can't fail.
    let _ = write!(
        text,
        "{} {} {} {} -> {}: {} ms{}{}",
        line.status,
        line.outcome,
        line.operation,
        line.requested_model.unwrap_or("-"),
        line.model.unwrap_or("nobody"),
        line.duration_ms,
        if attempts.is_empty() { "" } else { ", " },
        attempts.join(", "),
    );
    if let (Some(method), Some(path)) = (line.method, line.path) {
        let _ = write!(text, ", {method} {}", path.escape_debug());
    }
    if line.queued_ms > 0 {
        let _ = write!(text, ", queued {} ms", line.queued_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object_with_what_counts() {
        let attempts =
            [Attempt { target: "sonnet".into(), outcome: "throttled", status: 429, ms: 3 }];
        let line = AccessLogEntry {
            time: SystemTime::UNIX_EPOCH,
            request_id: "r",
            trace_id: None,
            span_id: None,
            client: "AKID\"\n",
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            operation: "Converse",
            method: None,
            path: None,
            requested_model: Some("m"),
            model: None,
            target: None,
            status: 429,
            outcome: "throttled",
            error: Some("ThrottlingException"),
            attempts: &attempts,
            queued_ms: 1,
            first_byte_ms: 2,
            duration_ms: 3,
            request_bytes: 4,
            response_bytes: 5,
            usage: Some(Usage { input: 6, output: 7, ..Usage::default() }),
        };
        let text = String::from_utf8(json(&line)).unwrap();
        assert_eq!(text.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(value["client"], "AKID\"\n");
        assert_eq!(value["attempts"][0]["outcome"], "throttled");
        assert_eq!(value["usage"]["output"], 7);
    }
}
