//! The spans of a finished request: one for the request, one for each attempt, and one for each wait
//! in the queue.
//!
//! Attributes without a name in OpenTelemetry's conventions, for generative AI and for HTTP, begin
//! with `sluice.`.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::uri::Authority;
use opentelemetry::trace::{SpanId, SpanKind};
use tokio::time::Instant;
use uuid::Uuid;

use super::conventions::{add_operation, add_usage, span_name};
use super::recorder::{Attempt, Child, ChildKind, SpanRecorder, SpanTarget};
use super::span::{Attributes, Span, truncate};
use crate::bedrock::{Operation, Usage};
use crate::telemetry::Outcome;

/// The outcome of an attempt that was given up before it had one.
const CANCELLED: &str = "cancelled";

/// A finished request, as its spans describe it.
#[derive(Debug)]
pub struct RequestRecord<'a> {
    /// The gateway's id of the request.
    pub request_id: Uuid,
    /// The operation, if the request names one.
    pub operation: Option<Operation>,
    /// Whether it asks for a stream.
    pub streams: bool,
    /// The model that the client asked for.
    pub requested_model: Option<&'a str>,
    /// The client's name in the access log.
    pub client: &'a str,
    /// The address that the request came from.
    pub client_address: IpAddr,
    /// When the request arrived.
    pub arrived: SystemTime,
    /// The same time, by the clock of the attempts and waits.
    pub started: Instant,
    /// Time from the arrival to the end.
    pub duration: Duration,
    /// Time in the queue.
    pub queued: Duration,
    /// Time until the head of the response, if there was one.
    pub first_byte: Option<Duration>,
    /// The number of attempts that have an outcome.
    pub attempts: usize,
    /// The targets that it passed over, if there are some, with the reasons.
    pub passed_over: Option<String>,
    /// Why the best target did not answer, if another one did.
    pub fallback_reason: Option<&'static str>,
    /// Whether the model of the first choice or another one answered.
    pub choice: Option<&'static str>,
    /// The operation into which the request was translated for the target.
    pub translated: Option<&'static str>,
    /// The target whose response the client got.
    pub target: Option<SpanTarget>,
    /// The usage that the target reported.
    pub usage: Option<Usage>,
    /// The HTTP status of the response; 0 without a response.
    pub status: u16,
    /// The outcome.
    pub outcome: Outcome,
    /// The name of the error in the response.
    pub error: Option<&'a str>,
    /// The message in the response, if the request failed.
    pub message: Option<&'a str>,
}

impl RequestRecord<'_> {
    /// The spans of the request, its own first.
    pub(super) fn spans(&self, recorder: &SpanRecorder) -> Vec<Span> {
        let children = recorder.take_children();
        let mut spans = Vec::with_capacity(children.len() + 1);
        spans.push(self.request_span(recorder));
        let mut attempts = 0_u64;
        for Child { span_id, started, ended, kind } in children {
            let times = [self.time(started), ended.map_or(self.end(), |ended| self.time(ended))];
            spans.push(match kind {
                ChildKind::Wait { is_served } => {
                    let name = "wait for a target".to_owned();
                    let mut span = child_span(recorder, span_id, name, SpanKind::Internal, times);
                    span.attributes.add("sluice.served", is_served);
                    span
                }
                ChildKind::Attempt(attempt) => {
                    attempts += 1;
                    let name = span_name(self.operation, Some(attempt.target.model.as_str()));
                    let mut span = child_span(recorder, span_id, name, SpanKind::Client, times);
                    span.attributes.add("sluice.attempt", attempts);
                    self.describe_attempt(&mut span, *attempt);
                    span
                }
            });
        }
        spans
    }

    /// The time of an instant within the request.
    fn time(&self, instant: Instant) -> SystemTime {
        let since_start = instant.saturating_duration_since(self.started);
        self.arrived + since_start.min(self.duration)
    }

    fn end(&self) -> SystemTime {
        self.arrived + self.duration
    }

    fn request_span(&self, recorder: &SpanRecorder) -> Span {
        let kind = if recorder.http.is_some() { SpanKind::Server } else { SpanKind::Internal };
        let name = match (self.operation, &recorder.http) {
            (None, Some(http)) => http.method.to_string(),
            (operation, _) => span_name(operation, self.requested_model),
        };
        let times = [self.arrived, self.end()];
        let mut span = child_span(recorder, recorder.span_id, name, kind, times);
        span.parent = recorder.parent.map(|parent| parent.span_id);
        span.is_parent_remote = recorder.parent.is_some();
        span.error = self.outcome.is_failure().then(|| Cow::Owned(self.error_name().to_owned()));
        let attributes = &mut span.attributes;
        add_operation(attributes, self.operation, self.requested_model, self.streams);
        let target = self.target.as_ref();
        attributes
            .add_known("gen_ai.response.model", target.map(|target| target.model.to_string()));
        attributes.add_known("cloud.region", target.map(|target| target.region.clone()));
        if let Some(usage) = &self.usage {
            add_usage(attributes, usage);
        }
        if self.streams
            && let Some(first_byte) = self.first_byte.filter(|_| target.is_some())
        {
            attributes.add("gen_ai.response.time_to_first_chunk", first_byte.as_secs_f64());
        }
        if let Some(http) = &recorder.http {
            attributes.add("http.request.method", http.method.to_string());
            attributes.add("url.path", http.path.clone());
            add_server(attributes, http.host.as_ref());
            attributes.add("client.address", self.client_address.to_string());
            let status = Some(self.status).filter(|status| *status != 0);
            attributes.add_known("http.response.status_code", status);
        }
        if self.outcome != Outcome::Success {
            attributes.add("error.type", self.error_name().to_owned());
            attributes.add_known("error.message", self.message.map(str::to_owned));
        }
        attributes.add("sluice.request_id", self.request_id.to_string());
        attributes.add("sluice.client", self.client.to_owned());
        attributes.add("sluice.outcome", self.outcome.name());
        attributes.add("sluice.attempts", self.attempts);
        attributes.add_known("sluice.passed_over", self.passed_over.clone());
        attributes.add_known("sluice.fallback_reason", self.fallback_reason);
        attributes.add_known("sluice.choice", self.choice);
        attributes.add_known("sluice.translated", self.translated);
        attributes.add_known("sluice.target", target.map(|target| target.name.clone()));
        if !self.queued.is_zero() {
            attributes.add("sluice.queued", self.queued.as_secs_f64());
        }
        attributes.add("sluice.in_process", recorder.http.is_none());
        span
    }

    /// The error of the response, or the outcome of a request without one.
    fn error_name(&self) -> &str {
        self.error.map_or(self.outcome.name(), truncate)
    }

    fn describe_attempt(&self, span: &mut Span, attempt: Attempt) {
        let Attempt { target, result, latency } = attempt;
        let attributes = &mut span.attributes;
        add_operation(attributes, self.operation, Some(target.model.as_str()), self.streams);
        add_server(attributes, target.authority.as_ref());
        attributes.add("cloud.region", target.region);
        attributes.add("sluice.target", target.name);
        let Some(result) = result else {
            attributes.add("sluice.outcome", CANCELLED);
            return;
        };
        attributes.add_known("http.response.status_code", result.status);
        let request_id = result.request_id.map(|id| id.as_str().to_owned());
        attributes.add_known("aws.request_id", request_id);
        attributes.add("sluice.outcome", result.outcome);
        if result.is_relayed {
            attributes.add("gen_ai.response.model", target.model.to_string());
            if let Some(usage) = &self.usage {
                add_usage(attributes, usage);
            }
            attributes.add("gen_ai.response.time_to_first_chunk", latency.as_secs_f64());
            // How the response ended is the request's outcome.
            if self.outcome.is_failure() {
                attributes.add("error.type", self.outcome.name());
                span.error = Some(self.outcome.name().into());
            }
        } else {
            let error = result.error.unwrap_or_else(|| result.outcome.to_owned());
            attributes.add("error.type", error.clone());
            attributes.add_known("error.message", result.message);
            span.error = Some(error.into());
        }
    }
}

/// A span of the request's trace whose parent is the request's own span.
fn child_span(
    recorder: &SpanRecorder,
    span_id: SpanId,
    name: String,
    kind: SpanKind,
    times: [SystemTime; 2],
) -> Span {
    let [start, end] = times;
    Span {
        trace_id: recorder.trace_id,
        span_id,
        parent: Some(recorder.span_id),
        is_parent_remote: false,
        state: recorder.state.clone(),
        name,
        kind,
        start,
        end,
        attributes: Attributes::with_capacity(20),
        error: None,
    }
}

fn add_server(attributes: &mut Attributes, authority: Option<&Authority>) {
    attributes.add_known("server.address", authority.map(|it| it.host().to_owned()));
    attributes.add_known("server.port", authority.and_then(Authority::port_u16));
}

#[cfg(test)]
mod tests;
