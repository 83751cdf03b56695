//! Hands a sampled request to telemetry, which makes spans of it: the target and the result of each
//! attempt while it runs, and its record when it ends. Any other request records nothing.

use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderValue, request};

use super::RequestContext;
use crate::bedrock::ErrorKind;
use crate::pipeline::inbound::InternalRequest;
use crate::routing::Target;
use crate::telemetry::Choice;
use crate::telemetry::SUCCESS;
pub(in crate::pipeline) use crate::telemetry::traces::OpenSpan;
use crate::telemetry::traces::{
    AttemptResult, RequestRecord, SpanContext, SpanKind, SpanRecorder, SpanTarget, TraceParent,
};
use crate::upstream::{FailureClass, Reply};

impl RequestContext {
    /// Determines the request's trace, and whether it is sampled.
    pub(in crate::pipeline) fn join_trace(&mut self, head: &request::Parts) {
        let traces = self.gateway.traces.as_ref();
        if traces.is_none() && !self.gateway.access_log.is_on() {
            // Nothing would show the client's trace.
            return;
        }
        let parent = TraceParent::from_headers(&head.headers);
        let is_internal = head.extensions.get::<InternalRequest>().is_some();
        let kind = if is_internal { SpanKind::Internal } else { SpanKind::Server };
        self.spans = traces.and_then(|it| it.sample(self.request_id, parent, head, kind));
        let sampled = self.spans.as_deref().map(SpanRecorder::context);
        self.trace_context = sampled.or(parent.map(TraceParent::unsampled));
    }

    /// The header that makes another request of this process a part of the same trace, if this one is sampled.
    pub(in crate::pipeline) fn traceparent(&self) -> Option<HeaderValue> {
        let SpanContext { trace_id, span_id } = self.spans.as_deref()?.context();
        Some(TraceParent { trace_id, span_id: span_id?, is_sampled: true }.to_header())
    }

    /// Starts the span of an attempt, if the request is sampled.
    pub(in crate::pipeline) fn start_attempt(&self, target: &Target) -> Option<OpenSpan<'_>> {
        self.spans.as_ref()?.start_attempt(span_target(target))
    }

    /// Starts the span of a wait in the queue, if the request is sampled.
    pub(in crate::pipeline) fn start_wait(&self) -> Option<OpenSpan<'_>> {
        self.spans.as_ref()?.start_wait()
    }

    /// Exports the spans of the request, which has ended after `duration`.
    pub(super) fn export_spans(&self, duration: Duration) {
        let (Some(traces), Some(spans)) = (&self.gateway.traces, &self.spans) else { return };
        let passed_over = &self.answer.passed_over;
        traces.record(
            spans,
            &RequestRecord {
                request_id: self.request_id,
                operation: self.call.operation,
                streams: self.call.streams,
                requested_model: self.call.requested_model.as_deref(),
                client: self.logged_name(),
                client_address: self.caller.peer.address.ip(),
                arrived: self.timing.arrived,
                started: self.timing.started,
                duration,
                queued: self.timing.queued,
                first_byte: self.timing.first_byte,
                attempts: self.answer.attempts.len(),
                passed_over: passed_over.first().map(|_| passed_over.to_string()),
                fallback_reason: self.answer.fallback_reason,
                choice: self.answer.choice.map(Choice::name),
                translated: self.answer.translated,
                target: self.answer.target.as_deref().map(span_target),
                usage: self.consumption.reported,
                status: self.answer.status,
                outcome: self.answer.outcome,
                error: self.answer.error.as_deref(),
                message: self.answer.message.as_deref(),
            },
        );
    }
}

/// The result of an attempt, as its span shows it.
pub(in crate::pipeline) fn attempt_result(reply: &Reply) -> AttemptResult {
    match reply {
        Reply::Success(success) => AttemptResult {
            outcome: SUCCESS,
            status: Some(success.status.as_u16()),
            request_id: success.request_id(),
            error: None,
            message: None,
            is_relayed: true,
        },
        Reply::Failure(failure) => AttemptResult {
            outcome: failure.name(),
            status: failure.from_upstream.then_some(failure.status.as_u16()),
            request_id: failure.request_id,
            error: failure.reported.name.clone(),
            message: Some(failure.reason()),
            is_relayed: false,
        },
    }
}

/// The result of an attempt that the client itself ended, by an error of this name.
pub(in crate::pipeline) fn client_error_result(error: ErrorKind, message: String) -> AttemptResult {
    AttemptResult {
        outcome: FailureClass::Terminal.name(),
        status: None,
        request_id: None,
        error: Some(error.name().to_owned()),
        message: Some(message),
        is_relayed: false,
    }
}

fn span_target(target: &Target) -> SpanTarget {
    let host = target.endpoint.origin.host();
    SpanTarget {
        name: Arc::clone(&target.name),
        model: target.model.clone(),
        region: target.endpoint.region.clone(),
        authority: host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
    }
}
