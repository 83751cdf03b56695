//! Traces: which requests have one, and the way of their spans to a collector.
//!
//! Nothing here can hold up a request. Its spans are handed over when it has ended, all of them or
//! none: when too many wait they are dropped and counted.

mod context;
mod export;
mod span;

use std::sync::Arc;

use prometheus::IntCounter;
use tokio::sync::{Notify, mpsc};

pub use context::{Context, Parent, SpanId, TRACEPARENT, TRACESTATE, TraceId, tracestate};
pub use export::{Collector, Exporter, Undelivered, start};
pub use span::{Attributes, Kind, Span, Value, cut};

/// What a random number of seven bytes is below.
const WHOLE: u64 = 1 << 56;

/// Decides on traces and takes in their spans. Clones share one queue.
#[derive(Clone, Debug)]
pub struct Traces {
    sampler: Sampler,
    spans: mpsc::Sender<Span>,
    /// So many wait that they are sent before it is time.
    enough: Arc<Notify>,
    dropped: IntCounter,
}

/// Which requests are traced.
#[derive(Clone, Copy, Debug)]
struct Sampler {
    /// What the randomness of a trace's id must be below.
    below: u64,
}

impl Sampler {
    fn new(ratio: f64) -> Sampler {
        Sampler { below: (ratio.clamp(0.0, 1.0) * WHOLE as f64) as u64 }
    }

    fn takes(self, parent: Option<&Parent>, trace_id: TraceId) -> bool {
        match parent {
            Some(parent) => parent.is_sampled,
            None => trace_id.randomness() < self.below,
        }
    }
}

impl Traces {
    /// Whether a request's trace is recorded: as its client does, or else by chance.
    pub fn samples(&self, parent: Option<&Parent>, trace_id: TraceId) -> bool {
        self.sampler.takes(parent, trace_id)
    }

    /// Takes the spans of a request, or drops them when too many wait.
    pub fn take(&self, spans: Vec<Span>) {
        let Ok(places) = self.spans.try_reserve_many(spans.len()) else {
            self.dropped.inc_by(spans.len() as u64);
            return;
        };
        places.zip(spans).for_each(|(place, span)| place.send(span));
        let most = self.spans.max_capacity();
        if most - self.spans.capacity() >= export::MAX_BATCH.min(most / 2) {
            self.enough.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_client_decides_and_else_the_share_that_is_configured() {
        let traces = || std::iter::repeat_with(|| TraceId::from(Uuid::new_v4())).take(10_000);
        let share = |ratio| {
            let sampler = Sampler::new(ratio);
            traces().filter(|trace_id| sampler.takes(None, *trace_id)).count()
        };
        assert_eq!((share(0.0), share(1.0)), (0, 10_000));
        // 10,000 trials at 0.25 stray by no more than 350 in all but one of a quadrillion runs.
        assert!((2150..=2850).contains(&share(0.25)), "{}", share(0.25));
        for trace_id in traces().take(10) {
            let parent = |is_sampled| Parent { trace_id, span_id: SpanId::random(), is_sampled };
            assert!(Sampler::new(0.0).takes(Some(&parent(true)), trace_id));
            assert!(!Sampler::new(1.0).takes(Some(&parent(false)), trace_id));
        }
    }
}
