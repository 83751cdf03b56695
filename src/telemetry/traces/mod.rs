//! Traces: which requests are sampled, and the export of their spans to a collector.
//!
//! Span data, batches and the wire form are those of OpenTelemetry's SDK. Sampling and the
//! `traceparent` header are our own: an unsampled request creates no span.
//!
//! A sampled request records its attempts and waits with a [`SpanRecorder`]. At its end it hands over
//! the recorder and a [`RequestRecord`], which become its spans.
//!
//! No request waits for the export. All spans of a request are exported or none: if the queue has no
//! room they are dropped and counted.

mod context;
mod conventions;
mod export;
mod otlp;
mod recorder;
mod request;
mod span;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::request::Parts;
use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanProcessor};
use prometheus::IntCounter;
use uuid::Uuid;

pub use context::{SpanContext, TRACEPARENT, TRACESTATE, TraceParent};
pub use export::{Collector, ExportError, Exporter, start};
pub use opentelemetry::trace::{SpanId, SpanKind, TraceId};
pub use otlp::Otlp;
pub use recorder::{AttemptResult, OpenSpan, SpanRecorder, SpanTarget};
pub use request::RequestRecord;

use context::trace_id_of;
use span::Span;

/// The range of a random number of seven bytes.
const RANDOM_RANGE: u64 = 1 << 56;

/// Samples traces and takes in their spans. Clones share one queue.
#[derive(Clone, Debug)]
pub struct Traces {
    sampler: Sampler,
    processor: Arc<BatchSpanProcessor>,
    queue: Arc<QueueRoom>,
    scope: InstrumentationScope,
    dropped: IntCounter,
}

/// The free places of the processor's queue. A request reserves places for all its spans at once.
#[derive(Debug)]
struct QueueRoom {
    places: usize,
    free: AtomicUsize,
    is_closed: AtomicBool,
}

impl QueueRoom {
    fn new(places: usize) -> QueueRoom {
        QueueRoom { places, free: AtomicUsize::new(places), is_closed: AtomicBool::new(false) }
    }

    fn reserve(&self, count: usize) -> bool {
        let reserve = |free: usize| free.checked_sub(count);
        !self.is_closed.load(Ordering::Acquire)
            && self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_ok()
    }

    fn release(&self, count: usize) {
        self.free.fetch_add(count, Ordering::Relaxed);
    }

    fn taken(&self) -> usize {
        self.places.saturating_sub(self.free.load(Ordering::Relaxed))
    }

    /// Refuses all spans from now on.
    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }
}

/// Decides which requests are traced.
#[derive(Clone, Copy, Debug)]
struct Sampler {
    /// Traces are sampled whose randomness is below this.
    threshold: u64,
}

impl Sampler {
    fn new(ratio: f64) -> Sampler {
        Sampler { threshold: (ratio.clamp(0.0, 1.0) * RANDOM_RANGE as f64) as u64 }
    }

    fn samples(self, parent: Option<&TraceParent>, trace_id: TraceId) -> bool {
        match parent {
            Some(parent) => parent.is_sampled,
            None => randomness(trace_id) < self.threshold,
        }
    }
}

/// The last seven bytes of a trace id as a number. They are random in every form of id.
fn randomness(trace_id: TraceId) -> u64 {
    let [.., a, b, c, d, e, f, g] = trace_id.to_bytes();
    u64::from_be_bytes([0, a, b, c, d, e, f, g])
}

impl Traces {
    /// A recorder for the spans of a request, if its trace is sampled: as its client decided in
    /// `parent`, otherwise by chance. `kind` is [`SpanKind::Server`] for a request that a client sent,
    /// and [`SpanKind::Internal`] for one that this process makes.
    pub fn sample(
        &self,
        request_id: Uuid,
        parent: Option<TraceParent>,
        head: &Parts,
        kind: SpanKind,
    ) -> Option<Box<SpanRecorder>> {
        let trace_id = parent.map_or_else(|| trace_id_of(request_id), |parent| parent.trace_id);
        let is_sampled = self.sampler.samples(parent.as_ref(), trace_id);
        is_sampled.then(|| Box::new(SpanRecorder::new(trace_id, parent, head, &kind)))
    }

    /// Exports the spans of a finished request.
    pub fn record(&self, recorder: &SpanRecorder, record: &RequestRecord<'_>) {
        self.export(record.spans(recorder));
    }

    /// Queues the spans of a request for export, or drops them if the queue has no room or the export
    /// has been stopped.
    fn export(&self, spans: Vec<Span>) {
        if !self.queue.reserve(spans.len()) {
            self.dropped.inc_by(spans.len() as u64);
            return;
        }
        for span in spans {
            self.processor.on_end(span.into_data(self.scope.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::context::new_span_id;
    use super::*;

    #[test]
    fn the_client_decides_and_otherwise_the_configured_ratio() {
        let traces = || std::iter::repeat_with(|| trace_id_of(Uuid::new_v4())).take(10_000);
        let share = |ratio| {
            let sampler = Sampler::new(ratio);
            traces().filter(|trace_id| sampler.samples(None, *trace_id)).count()
        };
        assert_eq!((share(0.0), share(1.0)), (0, 10_000));
        // 10,000 trials at 0.25 stray by no more than 350 in all but one of a quadrillion runs.
        assert!((2150..=2850).contains(&share(0.25)), "{}", share(0.25));
        for trace_id in traces().take(10) {
            let parent = |is_sampled| TraceParent { trace_id, span_id: new_span_id(), is_sampled };
            assert!(Sampler::new(0.0).samples(Some(&parent(true)), trace_id));
            assert!(!Sampler::new(1.0).samples(Some(&parent(false)), trace_id));
        }
    }
}
