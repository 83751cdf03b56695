//! The spans of a request, where its trace is recorded: one for itself, one for each attempt and one
//! for each wait in the queue.
//!
//! They are made when its record ends, of what the record has noted; an attempt or a wait that is cut
//! off ends there too. A request without a trace notes nothing and has no recording.
//!
//! Names are those of OpenTelemetry's conventions for generative AI and for HTTP, as of November 2026
//! (<https://github.com/open-telemetry/semantic-conventions-genai>); what they have no name for begins
//! with `sluice.`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, request};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::{Outcome, RequestContext};
use crate::bedrock::{Family, ModelId, Operation, Usage};
use crate::pipeline::inbound::InternalRequest;
use crate::routing::Target;
use crate::telemetry::traces::{
    Attributes, Span, SpanContext, SpanId, SpanKind, TRACEPARENT, TraceId, TraceParent, TraceState,
    new_span_id, trace_id_of, tracestate, truncate,
};
use crate::upstream::Reply;

/// Most attempts and waits of one request that get a span.
const MAX_PARTS: usize = 100;

/// The outcome of an attempt that was given up before it had one.
const CANCELLED: &str = "cancelled";

/// What a request notes for its spans.
#[derive(Debug)]
pub(super) struct Recording {
    trace_id: TraceId,
    span_id: SpanId,
    parent: Option<TraceParent>,
    state: TraceState,
    /// How it came, unless another room of this process has sent it.
    call: Option<HttpCall>,
    /// Attempts are noted where the request is only looked at.
    parts: Mutex<Vec<Part>>,
}

#[derive(Debug)]
struct HttpCall {
    method: Method,
    path: String,
    host: Option<Authority>,
}

/// An attempt or a wait.
#[derive(Debug)]
struct Part {
    span_id: SpanId,
    began: Instant,
    ended: Option<Instant>,
    what: What,
}

#[derive(Debug)]
enum What {
    Wait {
        is_served: bool,
    },
    Attempt {
        target: Arc<Target>,
        outcome: &'static str,
        status: Option<u16>,
        told: ResponseAttributes,
    },
}

/// The attributes of an attempt from its answer.
#[derive(Debug, Default)]
struct ResponseAttributes {
    request_id: Option<String>,
    error: Option<String>,
    /// Whether it goes on as the request's answer.
    answers: bool,
    first_byte: Option<Duration>,
}

/// An attempt or a wait that goes on. It ends when it is dropped, if it has not before.
#[derive(Debug)]
pub(in crate::pipeline) struct OpenSpan<'a> {
    recording: &'a Recording,
    index: usize,
    span_id: SpanId,
}

impl OpenSpan<'_> {
    /// Tells the upstream of the attempt's span.
    pub(in crate::pipeline) fn mark(&self, headers: &mut HeaderMap) {
        let (trace_id, span_id) = (self.recording.trace_id, self.span_id);
        headers
            .insert(TRACEPARENT, TraceParent { trace_id, span_id, is_sampled: true }.to_header());
    }

    /// Notes that the wait succeeded.
    pub(in crate::pipeline) fn served(&self) {
        self.note(|part| {
            if let What::Wait { is_served } = &mut part.what {
                *is_served = true;
            }
        });
    }

    /// Notes what came of the attempt. One that is answered goes on until its answer has ended.
    pub(in crate::pipeline) fn replied(&self, reply: &Reply) {
        let (name, code, message) = match reply {
            Reply::Success(success) => {
                let told = ResponseAttributes {
                    request_id: request_id(&success.headers),
                    answers: true,
                    ..ResponseAttributes::default()
                };
                ("success", Some(success.status.as_u16()), told)
            }
            Reply::Failure(failure) => {
                let told = ResponseAttributes {
                    request_id: request_id(&failure.headers).filter(|_| failure.from_upstream),
                    error: failure.reported.name.as_deref().map(|name| truncate(name).to_owned()),
                    ..ResponseAttributes::default()
                };
                let status = failure.from_upstream.then_some(failure.status.as_u16());
                (failure.name(), status, told)
            }
        };
        self.note(|part| {
            if let What::Attempt { outcome, status, told, .. } = &mut part.what {
                let first_byte = message.answers.then(|| part.began.elapsed());
                (*outcome, *status) = (name, code);
                *told = ResponseAttributes { first_byte, ..message };
                part.ended = (!told.answers).then(Instant::now);
            }
        });
    }

    fn note(&self, note: impl FnOnce(&mut Part)) {
        if let Some(part) = self.recording.parts().get_mut(self.index) {
            note(part);
        }
    }
}

impl Drop for OpenSpan<'_> {
    fn drop(&mut self) {
        self.note(|part| {
            let goes_on = matches!(&part.what, What::Attempt { told, .. } if told.answers);
            if !goes_on {
                part.ended.get_or_insert_with(Instant::now);
            }
        });
    }
}

impl Recording {
    fn parts(&self) -> MutexGuard<'_, Vec<Part>> {
        self.parts.lock()
    }

    fn open(&self, what: What) -> Option<OpenSpan<'_>> {
        let mut parts = self.parts();
        let (index, span_id) = (parts.len(), new_span_id());
        if index >= MAX_PARTS {
            return None;
        }
        parts.push(Part { span_id, began: Instant::now(), ended: None, what });
        Some(OpenSpan { recording: self, index, span_id })
    }

    /// A span of this trace.
    fn span(&self, span_id: SpanId, name: String, kind: SpanKind, times: [SystemTime; 2]) -> Span {
        let [start, end] = times;
        Span {
            trace_id: self.trace_id,
            span_id,
            parent: Some(self.span_id),
            is_parent_remote: false,
            state: self.state.clone(),
            name,
            kind,
            start,
            end,
            attributes: Attributes::with_capacity(20),
            error: None,
        }
    }
}

impl RequestContext {
    /// Finds out whether the request is part of a trace, and whether that is recorded.
    pub(in crate::pipeline) fn join_trace(&mut self, head: &request::Parts) {
        let Some(traces) = &self.gateway.traces else {
            // The client's trace context is only read if there is a log or a trace to write it to.
            if self.gateway.access_log.is_on() {
                self.trace_context = TraceParent::from_headers(&head.headers).map(without_span);
            }
            return;
        };
        let parent = TraceParent::from_headers(&head.headers);
        let trace_id =
            parent.map_or_else(|| trace_id_of(self.request_id), |parent| parent.trace_id);
        if !traces.samples(parent.as_ref(), trace_id) {
            self.trace_context = parent.map(without_span);
            return;
        }
        let span_id = new_span_id();
        self.trace_context = Some(SpanContext { trace_id, span_id: Some(span_id) });
        let is_clients = head.extensions.get::<InternalRequest>().is_none();
        self.recording = Some(Box::new(Recording {
            trace_id,
            span_id,
            parent,
            state: parent.map_or(TraceState::NONE, |_| tracestate(&head.headers)),
            call: is_clients.then(|| HttpCall::of(head)),
            parts: Mutex::default(),
        }));
    }

    /// Begins the span of an attempt.
    pub(in crate::pipeline) fn begins_attempt(&self, target: &Arc<Target>) -> Option<OpenSpan<'_>> {
        self.recording.as_ref()?.open(What::Attempt {
            target: Arc::clone(target),
            outcome: CANCELLED,
            status: None,
            told: ResponseAttributes::default(),
        })
    }

    /// Begins the span of a wait in the line.
    pub(in crate::pipeline) fn begins_wait(&self) -> Option<OpenSpan<'_>> {
        self.recording.as_ref()?.open(What::Wait { is_served: false })
    }

    /// Hands the spans of the request, which has ended after `duration`, to the exporter.
    pub(super) fn hand_over_spans(&mut self, duration: Duration) {
        let Some(recording) = self.recording.take() else { return };
        let Some(traces) = &self.gateway.traces else { return };
        let end = self.timing.started + duration;
        let at = |instant: Instant| {
            self.timing.arrived + instant.min(end).saturating_duration_since(self.timing.started)
        };
        let own = self.request_span(&recording, [at(self.timing.started), at(end)]);
        let parts = std::mem::take(&mut *recording.parts());
        let mut spans = Vec::with_capacity(parts.len() + 1);
        spans.push(own);
        let mut attempts = 0;
        for part in parts {
            let times = [at(part.began), at(part.ended.unwrap_or(end))];
            spans.push(match part.what {
                What::Wait { is_served } => {
                    let name = "wait for a target".to_owned();
                    let mut span = recording.span(part.span_id, name, SpanKind::Internal, times);
                    span.attributes.add("sluice.served", is_served);
                    span
                }
                What::Attempt { target, outcome, status, told } => {
                    attempts += 1;
                    let name = span_name(self.call.operation, Some(target.model.as_str()));
                    let mut span = recording.span(part.span_id, name, SpanKind::Client, times);
                    span.attributes.add("sluice.attempt", attempts as u64);
                    self.describe_attempt(&mut span, &target, outcome, status, told);
                    span
                }
            });
        }
        traces.export(spans);
    }

    fn request_span(&self, recording: &Recording, times: [SystemTime; 2]) -> Span {
        let kind = if recording.call.is_some() { SpanKind::Server } else { SpanKind::Internal };
        let requested = self.call.requested_model.as_deref();
        let name = match (self.call.operation, &recording.call) {
            (None, Some(call)) => call.method.to_string(),
            (operation, _) => span_name(operation, requested),
        };
        let mut span = recording.span(recording.span_id, name, kind, times);
        span.parent = recording.parent.map(|parent| parent.span_id);
        span.is_parent_remote = recording.parent.is_some();
        span.error = self.answer.outcome.is_failure().then(|| {
            let error = self.answer.error.clone().map(Cow::Owned);
            error.unwrap_or(Cow::Borrowed(self.answer.outcome.name()))
        });
        let it = &mut span.attributes;
        self.describe_operation(it, requested);
        let answered_by = self.answer.target.as_deref();
        it.add_known("gen_ai.response.model", answered_by.map(|it| it.model.to_string()));
        it.add_known("cloud.region", answered_by.map(|target| target.endpoint.region.clone()));
        if let Some(usage) = &self.consumption.reported {
            add_usage(it, usage);
        }
        if self.call.operation.is_some_and(Operation::is_stream)
            && let Some(head) = self.timing.first_byte.filter(|_| answered_by.is_some())
        {
            it.add("gen_ai.response.time_to_first_chunk", head.as_secs_f64());
        }
        if let Some(call) = &recording.call {
            it.add("http.request.method", call.method.to_string());
            it.add("url.path", call.path.clone());
            it.add_known("server.address", call.host.as_ref().map(|it| it.host().to_owned()));
            it.add_known("server.port", call.host.as_ref().and_then(Authority::port_u16));
            it.add("client.address", self.caller.peer.address.ip().to_string());
            it.add_known(
                "http.response.status_code",
                Some(self.answer.status).filter(|it| *it != 0),
            );
        }
        if self.answer.outcome != Outcome::Success {
            let error = self.answer.error.clone().map(Cow::Owned);
            let error = error.unwrap_or(Cow::Borrowed(self.answer.outcome.name()));
            it.add("error.type", error.into_owned());
        }
        it.add("sluice.request_id", self.request_id.to_string());
        it.add("sluice.client", self.logged_name().to_owned());
        it.add("sluice.outcome", self.answer.outcome.name());
        it.add("sluice.attempts", self.answer.attempts.len());
        it.add_known("sluice.target", answered_by.map(|target| Arc::clone(&target.name)));
        if !self.timing.queued.is_zero() {
            it.add("sluice.queued", self.timing.queued.as_secs_f64());
        }
        it.add("sluice.in_process", recording.call.is_none());
        span
    }

    fn describe_operation(&self, it: &mut Attributes, model: Option<&str>) {
        it.add("gen_ai.provider.name", "aws.bedrock");
        let Some(operation) = self.call.operation else { return };
        it.add_known("gen_ai.operation.name", operation_name(operation, model));
        it.add_known("gen_ai.request.model", model.map(str::to_owned));
        if operation.is_stream() {
            it.add("gen_ai.request.stream", true);
        }
        it.add("sluice.operation", operation.name());
    }

    fn describe_attempt(
        &self,
        span: &mut Span,
        target: &Target,
        outcome: &'static str,
        status: Option<u16>,
        told: ResponseAttributes,
    ) {
        let it = &mut span.attributes;
        self.describe_operation(it, Some(target.model.as_str()));
        let host = target.endpoint.origin.host();
        let host = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
        it.add_known("server.address", host.as_ref().map(|it| it.host().to_owned()));
        it.add_known("server.port", host.as_ref().and_then(Authority::port_u16));
        it.add("cloud.region", target.endpoint.region.clone());
        it.add_known("http.response.status_code", status);
        it.add_known("aws.request_id", told.request_id);
        it.add("sluice.target", Arc::clone(&target.name));
        it.add("sluice.outcome", outcome);
        if told.answers {
            it.add("gen_ai.response.model", target.model.to_string());
            if let Some(usage) = &self.consumption.reported {
                add_usage(it, usage);
            }
            if let Some(first) = told.first_byte {
                it.add("gen_ai.response.time_to_first_chunk", first.as_secs_f64());
            }
            // Of an answer that has begun the request knows the end.
            if self.answer.outcome.is_failure() {
                it.add("error.type", self.answer.outcome.name());
                span.error = Some(self.answer.outcome.name().into());
            }
        } else if outcome != CANCELLED {
            let error = told.error.unwrap_or_else(|| outcome.to_owned());
            it.add("error.type", error.clone());
            span.error = Some(error.into());
        }
    }
}

impl HttpCall {
    fn of(head: &request::Parts) -> HttpCall {
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()?.parse().ok());
        HttpCall {
            method: head.method.clone(),
            // Without its query, which may be signed.
            path: truncate(head.uri.path()).to_owned(),
            host: host.or_else(|| head.uri.authority().cloned()),
        }
    }
}

impl Outcome {
    /// Whether an operator should look into it: not if the client caused it, or has gone.
    fn is_failure(self) -> bool {
        match self {
            Outcome::Success
            | Outcome::ClientError
            | Outcome::ClientLimited
            | Outcome::ClientDenied
            | Outcome::Unauthenticated
            | Outcome::BadRequest
            | Outcome::BodyTooLarge
            | Outcome::BodyTimeout
            | Outcome::ClientGone
            | Outcome::ClientStalled => false,
            Outcome::UpstreamError
            | Outcome::ConnectTimeout
            | Outcome::FirstByteTimeout
            | Outcome::Throttled
            | Outcome::Overloaded
            | Outcome::ResourceExhausted
            | Outcome::QueueFull
            | Outcome::RequestTimeout
            | Outcome::StreamBroken
            | Outcome::StreamIdle
            | Outcome::StreamException
            | Outcome::Incomplete
            | Outcome::Panic => true,
        }
    }
}

fn without_span(parent: TraceParent) -> SpanContext {
    SpanContext { trace_id: parent.trace_id, span_id: None }
}

/// The id that Bedrock has given a request.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let id: &HeaderValue = headers.get("x-amzn-requestid")?;
    id.to_str().ok().map(|id| truncate(id).to_owned())
}

/// `{gen_ai.operation.name} {gen_ai.request.model}`, as far as there are both.
fn span_name(operation: Option<Operation>, model: Option<&str>) -> String {
    let Some(operation) = operation else { return "request".to_owned() };
    match (operation_name(operation, model), model) {
        (Some(name), Some(model)) => format!("{name} {}", truncate(model)),
        _ => operation.name().to_owned(),
    }
}

/// The semantic conventions' name of the operation; `None` if the operation generates nothing.
fn operation_name(operation: Operation, model: Option<&str>) -> Option<&'static str> {
    let family = || ModelId::new(model?).ok().map(|model| (model.family(), model));
    match operation {
        Operation::Converse | Operation::ConverseStream => Some("chat"),
        Operation::InvokeModel | Operation::InvokeModelWithResponseStream => match family() {
            Some((Family::TitanEmbed, _)) => Some("embeddings"),
            Some((_, model)) if model.as_str().contains("embed") => Some("embeddings"),
            Some((Family::TitanText, _)) => Some("text_completion"),
            _ => Some("chat"),
        },
        Operation::InvokeModelWithBidirectionalStream | Operation::StartAsyncInvoke => {
            Some("generate_content")
        }
        Operation::CountTokens
        | Operation::ApplyGuardrail
        | Operation::InvokeGuardrailChecks
        | Operation::ListAsyncInvokes
        | Operation::GetAsyncInvoke
        | Operation::ListInferenceProfiles
        | Operation::GetInferenceProfile
        | Operation::ListFoundationModels
        | Operation::GetFoundationModel => None,
    }
}

/// The convention counts what came from a cache, or went to one, as input too.
fn add_usage(it: &mut Attributes, usage: &Usage) {
    let Usage { input, output, cache_read, cache_write, .. } = *usage;
    let all = input.saturating_add(cache_read).saturating_add(cache_write);
    it.add("gen_ai.usage.input_tokens", all);
    it.add("gen_ai.usage.output_tokens", output);
    it.add_known("gen_ai.usage.cache_read.input_tokens", Some(cache_read).filter(|it| *it > 0));
    it.add_known("gen_ai.usage.cache_write.input_tokens", Some(cache_write).filter(|it| *it > 0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_named_by_the_convention() {
        let name = |operation, model| span_name(Some(operation), model);
        let claude = Some("anthropic.claude-3-haiku-20240307-v1:0");
        assert_eq!(
            name(Operation::Converse, claude).as_str(),
            "chat anthropic.claude-3-haiku-20240307-v1:0"
        );
        assert_eq!(name(Operation::InvokeModel, Some("m")), "chat m");
        for embedding in ["amazon.titan-embed-text-v2:0", "cohere.embed-english-v3"] {
            let wanted = format!("embeddings {embedding}");
            assert_eq!(name(Operation::InvokeModel, Some(embedding)), wanted);
        }
        assert_eq!(name(Operation::CountTokens, claude), "CountTokens");
        assert_eq!(name(Operation::ApplyGuardrail, None), "ApplyGuardrail");
        assert_eq!(span_name(None, None), "request");
    }

    #[test]
    fn a_long_path_is_truncated_and_a_query_is_dropped() {
        let call = |uri: String| {
            let head = http::Request::builder().uri(uri).header(HOST, "h:8080").body(()).unwrap();
            HttpCall::of(&head.into_parts().0)
        };
        let short = call("/model/m/invoke?X-Amz-Signature=s".to_owned());
        assert_eq!((&*short.path, short.host.unwrap().port_u16()), ("/model/m/invoke", Some(8080)));
        assert_eq!(call(format!("/{}", "x".repeat(5000))).path.len(), 512);
    }
}
