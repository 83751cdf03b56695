//! The record of a sampled request's spans while the request runs: its place in the trace, its
//! attempts, and its waits in the queue.
//!
//! An attempt or a wait ends when its [`OpenSpan`] is dropped, if it has not ended before. An attempt
//! whose response becomes the request's response lasts as long as the request.

use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Method, request};
use opentelemetry::trace::{SpanId, SpanKind, TraceId, TraceState};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::context::{SpanContext, TRACEPARENT, TraceParent, new_span_id, tracestate};
use super::span::truncate;
use crate::bedrock::ModelId;
use crate::telemetry::UpstreamRequestId;

/// Most attempts and waits of one request that get a span.
const MAX_CHILDREN: usize = 100;

/// The record of a sampled request's spans.
#[derive(Debug)]
pub struct SpanRecorder {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) parent: Option<TraceParent>,
    pub(super) state: TraceState,
    /// The HTTP request, if a client sent one.
    pub(super) http: Option<HttpRequest>,
    /// Attempts start while the request is borrowed.
    children: Mutex<Vec<Child>>,
}

/// The parts of a client's HTTP request that its span shows.
#[derive(Debug)]
pub(super) struct HttpRequest {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) host: Option<Authority>,
}

/// An attempt or a wait.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) span_id: SpanId,
    pub(super) started: Instant,
    /// `None`: it lasts as long as the request.
    pub(super) ended: Option<Instant>,
    pub(super) kind: ChildKind,
}

#[derive(Debug)]
pub(super) enum ChildKind {
    Wait { is_served: bool },
    Attempt(Box<Attempt>),
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) target: SpanTarget,
    /// `None` if the attempt was given up before it had a result.
    pub(super) result: Option<AttemptResult>,
    /// Time until the result, which for a response is the time of its head.
    pub(super) latency: Duration,
}

impl Attempt {
    /// Whether its response is the request's response.
    pub(super) fn is_relayed(&self) -> bool {
        self.result.as_ref().is_some_and(|result| result.is_relayed)
    }
}

/// A target, as spans show it.
#[derive(Clone, Debug)]
pub struct SpanTarget {
    /// Its name in the config.
    pub name: Arc<str>,
    /// The model id that its requests name.
    pub model: ModelId,
    /// The region.
    pub region: String,
    /// Host and port that its requests go to, if they are valid.
    pub authority: Option<Authority>,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct AttemptResult {
    /// The outcome, by its name in metrics and in the access log.
    pub outcome: &'static str,
    /// The HTTP status, if the upstream has answered.
    pub status: Option<u16>,
    /// The request id that the upstream has given.
    pub request_id: Option<UpstreamRequestId>,
    /// The name of the upstream's error, if it has named one.
    pub error: Option<String>,
    /// Why it failed, in one line.
    pub message: Option<String>,
    /// Whether the response becomes the request's response.
    pub is_relayed: bool,
}

/// The span of an attempt or of a wait that has not ended. Dropping it ends it.
#[derive(Debug)]
pub struct OpenSpan<'a> {
    recorder: &'a SpanRecorder,
    index: usize,
    span_id: SpanId,
}

impl OpenSpan<'_> {
    /// Adds the `traceparent` of this span to the headers of a request to the upstream.
    pub fn inject(&self, headers: &mut HeaderMap) {
        let (trace_id, span_id) = (self.recorder.trace_id, self.span_id);
        let parent = TraceParent { trace_id, span_id, is_sampled: true };
        headers.insert(TRACEPARENT, parent.to_header());
    }

    /// Records that the wait ended with a target.
    pub fn record_served(&self) {
        self.update(|child| {
            if let ChildKind::Wait { is_served } = &mut child.kind {
                *is_served = true;
            }
        });
    }

    /// Records how the attempt ended.
    pub fn record_result(&self, mut result: AttemptResult) {
        // The upstream chooses these texts, and they are kept until the request ends.
        for text in [&mut result.error, &mut result.message].into_iter().flatten() {
            text.truncate(truncate(text).len());
        }
        self.update(|child| {
            if let ChildKind::Attempt(attempt) = &mut child.kind {
                attempt.latency = child.started.elapsed();
                child.ended = (!result.is_relayed).then(Instant::now);
                attempt.result = Some(result);
            }
        });
    }

    fn update(&self, update: impl FnOnce(&mut Child)) {
        if let Some(child) = self.recorder.children().get_mut(self.index) {
            update(child);
        }
    }
}

impl Drop for OpenSpan<'_> {
    fn drop(&mut self) {
        self.update(|child| {
            let lasts = matches!(&child.kind, ChildKind::Attempt(attempt) if attempt.is_relayed());
            if !lasts {
                child.ended.get_or_insert_with(Instant::now);
            }
        });
    }
}

impl SpanRecorder {
    /// A recorder for a request with this head in the trace `trace_id`. `kind` is
    /// [`SpanKind::Server`] for a client's request, and another for one that this process makes.
    pub(super) fn new(
        trace_id: TraceId,
        parent: Option<TraceParent>,
        head: &request::Parts,
        kind: &SpanKind,
    ) -> SpanRecorder {
        SpanRecorder {
            trace_id,
            span_id: new_span_id(),
            parent,
            state: parent.map_or(TraceState::NONE, |_| tracestate(&head.headers)),
            http: (*kind == SpanKind::Server).then(|| HttpRequest::of(head)),
            children: Mutex::default(),
        }
    }

    /// The request's own span.
    pub fn context(&self) -> SpanContext {
        SpanContext { trace_id: self.trace_id, span_id: Some(self.span_id) }
    }

    /// Starts the span of an attempt; `None` if the request has too many spans.
    pub fn start_attempt(&self, target: SpanTarget) -> Option<OpenSpan<'_>> {
        let attempt = Attempt { target, result: None, latency: Duration::ZERO };
        self.start(ChildKind::Attempt(Box::new(attempt)))
    }

    /// Starts the span of a wait in the queue; `None` if the request has too many spans.
    pub fn start_wait(&self) -> Option<OpenSpan<'_>> {
        self.start(ChildKind::Wait { is_served: false })
    }

    /// The attempts and waits, in the order in which they started.
    pub(super) fn take_children(&self) -> Vec<Child> {
        std::mem::take(&mut *self.children())
    }

    fn start(&self, kind: ChildKind) -> Option<OpenSpan<'_>> {
        let mut children = self.children();
        let (index, span_id) = (children.len(), new_span_id());
        if index >= MAX_CHILDREN {
            return None;
        }
        children.push(Child { span_id, started: Instant::now(), ended: None, kind });
        Some(OpenSpan { recorder: self, index, span_id })
    }

    fn children(&self) -> MutexGuard<'_, Vec<Child>> {
        self.children.lock()
    }
}

impl HttpRequest {
    fn of(head: &request::Parts) -> HttpRequest {
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()?.parse().ok());
        HttpRequest {
            method: head.method.clone(),
            // Without its query, which may be signed.
            path: truncate(head.uri.path()).to_owned(),
            host: host.or_else(|| head.uri.authority().cloned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_truncated_and_a_query_is_dropped() {
        let request = |uri: String| {
            let head = http::Request::builder().uri(uri).header(HOST, "h:8080").body(()).unwrap();
            HttpRequest::of(&head.into_parts().0)
        };
        let short = request("/model/m/invoke?X-Amz-Signature=s".to_owned());
        assert_eq!((&*short.path, short.host.unwrap().port_u16()), ("/model/m/invoke", Some(8080)));
        assert_eq!(request(format!("/{}", "x".repeat(5000))).path.len(), 512);
    }

    #[test]
    fn a_request_has_at_most_so_many_children() {
        let head = http::Request::new(()).into_parts().0;
        let recorder = SpanRecorder::new(TraceId::from(1), None, &head, &SpanKind::Internal);
        let started = (0..MAX_CHILDREN + 5).filter(|_| recorder.start_wait().is_some()).count();
        assert_eq!((started, recorder.take_children().len()), (MAX_CHILDREN, MAX_CHILDREN));
    }
}
