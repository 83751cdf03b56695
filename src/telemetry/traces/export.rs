//! The export of finished spans: the SDK's batch processor calls an exporter of ours.
//!
//! The processor collects spans and sends them in batches, one at a time, from a thread of its own.
//! The exporter retries what a collector may still accept, unless the collector has been failing,
//! and counts what becomes of the spans. An outage is logged once, and its end once. At shutdown the
//! spans in the queue are sent in the time that is left.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor,
};
use prometheus::IntCounter;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{QueueRoom, Sampler, Traces};
use crate::config;
use crate::system::time::{sleep, timeout};
use crate::telemetry::{Dependencies, Metrics};

/// Its name among the dependencies.
const DEPENDENCY: &str = "trace_collector";

/// Most spans in one delivery, unless `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` is set.
const MAX_BATCH: usize = 512;

/// Shortest time between two looks of the processor at its queue, which would spin without one.
const MIN_DELAY: Duration = Duration::from_millis(10);

/// Pauses before the retries of a delivery.
const BACKOFF: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// Where spans are sent.
pub trait Collector: Debug + Send + Sync + 'static {
    /// Sends spans and returns how many of them were rejected.
    fn send(
        &self,
        spans: &ExportTraceServiceRequest,
    ) -> impl Future<Output = Result<u64, ExportError>> + Send;
}

/// Why a delivery failed, as a text without secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// A retry may succeed.
    #[error("{0}")]
    Retryable(String),
    /// A retry would fail too.
    #[error("{0}")]
    Permanent(String),
}

/// The running export of spans.
#[derive(Debug)]
pub struct Exporter {
    stop: CancellationToken,
    processor: Arc<BatchSpanProcessor>,
    queue: Arc<QueueRoom>,
    dropped: IntCounter,
}

impl Exporter {
    /// Sends the spans in the queue, until `end` at the latest. Those that are left, and all that end
    /// later, count as dropped.
    pub async fn stop(self, end: Instant) {
        self.stop.cancel();
        self.queue.close();
        let left = end.saturating_duration_since(Instant::now());
        let stopped = spawn_blocking(move || self.processor.shutdown_with_timeout(left)).await;
        if !matches!(stopped, Ok(Ok(()))) {
            tracing::warn!("the last spans could not be sent in time");
        }
        self.dropped.inc_by(self.queue.taken() as u64);
    }
}

/// Starts to export spans to `collector`. Must be called within a tokio runtime.
pub fn start(
    config: &config::Traces,
    collector: impl Collector,
    metrics: &Metrics,
) -> (Traces, Exporter) {
    let stop = CancellationToken::new();
    let queue = Arc::new(QueueRoom::new(config.max_queue));
    let delivery = Arc::new(Delivery::new(config, collector, metrics, stop.clone()));
    let exporter =
        RuntimeExporter { delivery, queue: Arc::clone(&queue), runtime: Handle::current() };
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(config.max_queue)
        .with_scheduled_delay(config.batch_delay.max(MIN_DELAY));
    // A queue that is half full does not wait for the delay.
    let batches = match config.max_queue / 2 {
        half if half < MAX_BATCH => batches.with_max_export_batch_size(half),
        _ => batches,
    };
    let processor = Arc::new(BatchSpanProcessor::new(exporter, batches.build()));
    let dropped = metrics.trace_spans.with_label_values(&["dropped"]);
    let traces = Traces {
        sampler: Sampler::new(config.sample_ratio),
        processor: Arc::clone(&processor),
        queue: Arc::clone(&queue),
        scope: InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
        dropped: dropped.clone(),
    };
    (traces, Exporter { stop, processor, queue, dropped })
}

/// The resource of all spans of this process. `OTEL_RESOURCE_ATTRIBUTES` may add to it and replace
/// everything but the service's name, which the config has decided.
fn resource(service_name: &str) -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
        ])
        .with_detector(Box::new(EnvResourceDetector::new()))
        .with_service_name(service_name.to_owned())
        .build()
}

/// Runs deliveries on the runtime, since the processor's own thread has none.
#[derive(Debug)]
struct RuntimeExporter<C> {
    delivery: Arc<Delivery<C>>,
    queue: Arc<QueueRoom>,
    runtime: Handle,
}

impl<C: Collector> SpanExporter for RuntimeExporter<C> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.queue.release(batch.len());
        let delivery = Arc::clone(&self.delivery);
        let delivered = self.runtime.spawn(async move { delivery.export(batch).await }).await;
        let delivered = delivered.map_err(|error| error.to_string());
        delivered
            .and_then(|delivered| delivered.map_err(|error| error.to_string()))
            .map_err(OTelSdkError::InternalFailure)
    }
}

/// Delivers batches to a collector, with retries and counters.
#[derive(Debug)]
struct Delivery<C> {
    collector: C,
    resource: ResourceAttributesWithSchema,
    timeout: Duration,
    stop: CancellationToken,
    /// Whether the last delivery failed.
    is_failing: AtomicBool,
    sent: IntCounter,
    rejected: IntCounter,
    failed: IntCounter,
    dependencies: Arc<Dependencies>,
}

impl<C: Collector> Delivery<C> {
    fn new(
        config: &config::Traces,
        collector: C,
        metrics: &Metrics,
        stop: CancellationToken,
    ) -> Delivery<C> {
        let count = |result| metrics.trace_spans.with_label_values(&[result]);
        let dependencies = Arc::clone(&metrics.dependencies);
        dependencies.works(DEPENDENCY);
        Delivery {
            collector,
            resource: (&resource(&config.service_name)).into(),
            timeout: config.timeout,
            stop,
            is_failing: AtomicBool::new(false),
            sent: count("sent"),
            rejected: count("refused"),
            failed: count("failed"),
            dependencies,
        }
    }

    async fn export(&self, batch: Vec<SpanData>) -> Result<(), ExportError> {
        let count = batch.len() as u64;
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let sent = self.send_with_retries(&ExportTraceServiceRequest { resource_spans }).await;
        let was_failing = self.is_failing.swap(sent.is_err(), Ordering::Relaxed);
        match &sent {
            Ok(_) => self.dependencies.works(DEPENDENCY),
            Err(error) => self.dependencies.fails(DEPENDENCY, error),
        }
        match sent {
            Ok(rejected) => {
                let rejected = rejected.min(count);
                self.sent.inc_by(count - rejected);
                self.rejected.inc_by(rejected);
                if was_failing {
                    tracing::info!("trace collector available again");
                }
                Ok(())
            }
            Err(error) => {
                self.failed.inc_by(count);
                if !was_failing {
                    tracing::warn!(why = %error, "trace collector unavailable; dropping spans");
                }
                Err(error)
            }
        }
    }

    async fn send_with_retries(
        &self,
        request: &ExportTraceServiceRequest,
    ) -> Result<u64, ExportError> {
        // A collector that has been failing gets no retries.
        let is_failing = self.is_failing.load(Ordering::Relaxed);
        let mut backoff = BACKOFF.into_iter().filter(|_| !is_failing);
        loop {
            let sent = timeout(self.timeout, self.collector.send(request)).await;
            let late = || {
                let limit = humantime::format_duration(self.timeout);
                Err(ExportError::Retryable(format!("no answer within {limit}")))
            };
            match (sent.unwrap_or_else(|_| late()), backoff.next()) {
                (Err(ExportError::Retryable(_)), Some(pause)) if !self.stop.is_cancelled() => {
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = self.stop.cancelled() => {}
                    }
                }
                (sent, _) => return sent,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::SystemTime;

    use parking_lot::Mutex;

    use super::*;
    use crate::config::TraceProtocol;
    use crate::telemetry::traces::context::{new_span_id, trace_id_of};
    use crate::telemetry::traces::span::{Attributes, Span};
    use crate::telemetry::traces::{SpanKind, TraceId};

    type Outcome = Result<u64, ExportError>;

    /// Answers in turn, then accepts everything; keeps the sizes of the batches.
    #[derive(Clone, Debug, Default)]
    struct Script {
        outcomes: Arc<Mutex<VecDeque<Outcome>>>,
        sizes: Arc<Mutex<Vec<usize>>>,
    }

    impl Script {
        fn sizes(&self) -> Vec<usize> {
            self.sizes.lock().clone()
        }
    }

    impl Collector for Script {
        async fn send(&self, request: &ExportTraceServiceRequest) -> Outcome {
            let size = request.resource_spans[0].scope_spans[0].spans.len();
            self.sizes.lock().push(size);
            let next = self.outcomes.lock().pop_front();
            next.unwrap_or(Ok(0))
        }
    }

    /// Never answers.
    #[derive(Debug)]
    struct Hung;

    impl Collector for Hung {
        async fn send(&self, _: &ExportTraceServiceRequest) -> Outcome {
            std::future::pending().await
        }
    }

    fn config(max_queue: usize, batch_delay: Duration) -> config::Traces {
        config::Traces {
            endpoint: "http://localhost".parse().unwrap(),
            protocol: TraceProtocol::Grpc,
            sample_ratio: 1.0,
            service_name: "test".to_owned(),
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            batch_delay,
            max_queue,
        }
    }

    fn spans(count: usize) -> Vec<Span> {
        let trace_id: TraceId = trace_id_of(Uuid::new_v4());
        let span = || Span {
            trace_id,
            span_id: new_span_id(),
            parent: None,
            is_parent_remote: false,
            state: opentelemetry::trace::TraceState::NONE,
            name: String::new(),
            kind: SpanKind::Internal,
            start: SystemTime::UNIX_EPOCH,
            end: SystemTime::UNIX_EPOCH,
            attributes: Attributes::default(),
            error: None,
        };
        std::iter::repeat_with(span).take(count).collect()
    }

    fn counted(metrics: &Metrics) -> [u64; 4] {
        ["sent", "refused", "failed", "dropped"]
            .map(|result| metrics.trace_spans.with_label_values(&[result]).get())
    }

    async fn eventually(what: impl Fn() -> bool) {
        let began = Instant::now();
        while !what() {
            assert!(began.elapsed() < Duration::from_secs(20), "it did not happen");
            sleep(Duration::from_millis(5)).await;
        }
    }

    // The processor's thread keeps real time.
    #[tokio::test(flavor = "multi_thread")]
    async fn spans_are_collected_for_the_delay_and_sent_together() {
        let (script, metrics) = (Script::default(), Metrics::new());
        let (traces, exporter) =
            start(&config(8192, Duration::from_secs(1)), script.clone(), &metrics);
        traces.export(spans(2));
        traces.export(spans(3));
        assert_eq!(script.sizes(), [0; 0]);
        eventually(|| !script.sizes().is_empty()).await;
        assert_eq!(script.sizes(), [5]);
        exporter.stop(Instant::now() + Duration::from_secs(10)).await;

        let (script, metrics) = (Script::default(), Metrics::new());
        let (traces, exporter) =
            start(&config(8192, Duration::from_secs(1000)), script.clone(), &metrics);
        // A full batch does not wait.
        traces.export(spans(1));
        assert_eq!(script.sizes(), [0; 0]);
        traces.export(spans(MAX_BATCH + 10));
        let sent = || script.sizes().iter().sum::<usize>();
        eventually(|| sent() >= MAX_BATCH).await;
        traces.export(spans(4));
        exporter.stop(Instant::now() + Duration::from_secs(10)).await;
        assert_eq!(sent(), MAX_BATCH + 15);
        assert!(script.sizes().iter().all(|size| *size <= MAX_BATCH), "{:?}", script.sizes());
        assert_eq!(counted(&metrics), [MAX_BATCH as u64 + 15, 0, 0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn retryable_errors_are_retried_and_permanent_ones_are_not() {
        let (script, metrics) = (Script::default(), Metrics::new());
        let retryable = || Err(ExportError::Retryable("busy".to_owned()));
        script.outcomes.lock().extend([
            retryable(),
            retryable(),
            Ok(1),
            Err(ExportError::Permanent("no".to_owned())),
            retryable(),
        ]);
        let config = config(8192, Duration::from_secs(1));
        let delivery = Delivery::new(&config, script.clone(), &metrics, CancellationToken::new());
        let export = async |count| {
            let scope = InstrumentationScope::default();
            let spans = spans(count).into_iter().map(|span| span.into_data(scope.clone()));
            let _ = delivery.export(spans.collect()).await;
        };
        export(3).await;
        assert_eq!(counted(&metrics), [2, 1, 0, 0]);
        export(5).await;
        // The collector has been failing, so there is one attempt.
        export(7).await;
        assert_eq!(counted(&metrics), [2, 1, 12, 0]);
        let is_up = || metrics.dependencies.gauges().with_label_values(&[DEPENDENCY]).get();
        assert_eq!(is_up(), 0);
        export(1).await;
        assert_eq!((counted(&metrics), is_up()), ([3, 1, 12, 0], 1));
        assert_eq!(script.sizes(), [3, 3, 3, 5, 7, 1]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_collector_that_hangs_costs_spans_and_nothing_else() {
        let metrics = Metrics::new();
        let (traces, exporter) = start(&config(128, Duration::ZERO), Hung, &metrics);
        traces.export(spans(1));
        // One is being delivered.
        eventually(|| traces.queue.taken() == 0).await;
        traces.export(spans(127));
        traces.export(spans(2));
        assert_eq!(counted(&metrics), [0, 0, 0, 2], "all of a request or none");
        traces.export(spans(1));
        traces.export(spans(1));
        assert_eq!(counted(&metrics), [0, 0, 0, 3]);
        let began = Instant::now();
        exporter.stop(began + Duration::from_millis(300)).await;
        let took = began.elapsed();
        assert!((300..3000).contains(&took.as_millis()), "{took:?}");
        assert_eq!(counted(&metrics), [0, 0, 0, 3 + 128], "what was left is counted, too");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spans_that_end_after_the_export_count_as_dropped() {
        let (script, metrics) = (Script::default(), Metrics::new());
        let (traces, exporter) = start(&config(128, Duration::ZERO), script.clone(), &metrics);
        traces.export(spans(2));
        exporter.stop(Instant::now() + Duration::from_secs(10)).await;
        traces.export(spans(3));
        assert_eq!(counted(&metrics), [2, 0, 0, 3]);
        assert_eq!(script.sizes(), [2]);
    }

    #[test]
    fn the_resource_has_the_services_name_and_version() {
        let resource = resource("gate");
        let get = |name: &'static str| resource.get(&name.into()).map(|value| value.to_string());
        assert_eq!(get("service.name").as_deref(), Some("gate"));
        assert_eq!(get("service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert!(get("service.instance.id").is_some());
    }
}
