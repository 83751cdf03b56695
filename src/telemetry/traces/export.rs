//! Finished spans on their way out: gathered for a moment, and sent in batches by a task of its own.
//!
//! A collector that does not take them is told of once, and once when it does again. What fails in
//! passing is tried again a few times, unless the collector has been failing; meanwhile spans wait,
//! within the bounds of the queue. At the end of the process what waits is sent, in the time that is
//! left.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus::{IntCounter, IntGauge};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::span::{self, Span};
use super::{Sampler, Traces};
use crate::config;
use crate::system::time::{sleep, timeout, timeout_at};
use crate::telemetry::Metrics;

/// Most spans in one delivery.
pub(super) const MAX_BATCH: usize = 512;

/// Pauses before a delivery is tried again.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// Where spans are delivered.
pub trait Collector: Send + Sync + 'static {
    /// Delivers some, and says how many of them were refused.
    fn deliver(
        &self,
        spans: &ExportTraceServiceRequest,
    ) -> impl Future<Output = Result<u64, Undelivered>> + Send;
}

/// Why a delivery came to nothing. The text has no secret in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// Another try may go better.
    #[error("{0}")]
    InPassing(String),
    /// It would not.
    #[error("{0}")]
    ForGood(String),
}

/// The task that sends spans.
#[derive(Debug)]
pub struct Exporter {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Sends what waits, until `end` at the latest.
    pub async fn stop(self, end: Instant) {
        self.stop.cancel();
        let mut task = self.task;
        if timeout_at(end, &mut task).await.is_err() {
            task.abort();
            tracing::warn!("the last spans were not sent in time");
        }
    }
}

/// Starts to send spans to `collector`. Must be called within a tokio runtime.
pub fn start(
    config: &config::Traces,
    collector: impl Collector,
    metrics: &Metrics,
) -> (Traces, Exporter) {
    let (sender, spans) = mpsc::channel(config.max_queue);
    let enough = Arc::new(Notify::new());
    let count = |result| metrics.trace_spans.with_label_values(&[result]);
    let traces = Traces {
        sampler: Sampler::new(config.sample_ratio),
        spans: sender,
        enough: Arc::clone(&enough),
        dropped: count("dropped"),
    };
    let stop = CancellationToken::new();
    let sending = Sending {
        spans,
        enough,
        collector,
        resource: span::resource(&config.service_name),
        delay: config.batch_delay,
        timeout: config.timeout,
        stop: stop.clone(),
        is_failing: false,
        sent: count("sent"),
        refused: count("refused"),
        failed: count("failed"),
        is_up: metrics.dependency_up.with_label_values(&["trace_collector"]),
    };
    sending.is_up.set(1);
    (traces, Exporter { stop, task: tokio::spawn(sending.run()) })
}

struct Sending<C> {
    spans: mpsc::Receiver<Span>,
    enough: Arc<Notify>,
    collector: C,
    resource: Resource,
    delay: Duration,
    timeout: Duration,
    stop: CancellationToken,
    /// Whether the last delivery came to nothing.
    is_failing: bool,
    sent: IntCounter,
    refused: IntCounter,
    failed: IntCounter,
    is_up: IntGauge,
}

impl<C: Collector> Sending<C> {
    async fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                // Nobody is woken for the spans that come while these are gathered.
                some = self.spans.recv_many(&mut batch, MAX_BATCH) => if some == 0 { return },
                () = self.stop.cancelled() => {}
            }
            if batch.len() < MAX_BATCH {
                tokio::select! {
                    () = sleep(self.delay) => {}
                    () = self.enough.notified() => {}
                    () = self.stop.cancelled() => {}
                }
            }
            // All that is there, so that a queue that has filled up is empty again.
            loop {
                while batch.len() < MAX_BATCH
                    && let Ok(span) = self.spans.try_recv()
                {
                    batch.push(span);
                }
                if batch.is_empty() {
                    break;
                }
                self.deliver(std::mem::take(&mut batch)).await;
            }
            if self.stop.is_cancelled() {
                return;
            }
        }
    }

    async fn deliver(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let request = span::request(&self.resource, spans);
        match self.try_to_deliver(&request).await {
            Ok(refused) => {
                let refused = refused.min(count);
                self.sent.inc_by(count - refused);
                self.refused.inc_by(refused);
                self.is_up.set(1);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(why) => {
                self.failed.inc_by(count);
                self.is_up.set(0);
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(%why, "the collector takes no spans, which are lost until it does");
                }
            }
        }
    }

    async fn try_to_deliver(
        &self,
        request: &ExportTraceServiceRequest,
    ) -> Result<u64, Undelivered> {
        // Who has been failing is tried once.
        let mut pauses = PAUSES.into_iter().filter(|_| !self.is_failing);
        loop {
            let delivered = timeout(self.timeout, self.collector.deliver(request)).await;
            let late = || {
                let limit = humantime::format_duration(self.timeout);
                Err(Undelivered::InPassing(format!("it did not answer within {limit}")))
            };
            match (delivered.unwrap_or_else(|_| late()), pauses.next()) {
                (Err(Undelivered::InPassing(_)), Some(pause)) if !self.stop.is_cancelled() => {
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = self.stop.cancelled() => {}
                    }
                }
                (delivered, _) => return delivered,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::time::SystemTime;

    use super::*;
    use crate::config::TraceProtocol;
    use crate::telemetry::traces::{Attributes, Kind, SpanId, TraceId};

    type Outcome = Result<u64, Undelivered>;

    /// Answers in turn, then takes everything; keeps the sizes of what it was sent.
    #[derive(Clone, Default)]
    struct Script {
        outcomes: Arc<Mutex<VecDeque<Outcome>>>,
        sizes: Arc<Mutex<Vec<usize>>>,
    }

    impl Script {
        fn sizes(&self) -> Vec<usize> {
            self.sizes.lock().unwrap().clone()
        }
    }

    impl Collector for Script {
        async fn deliver(&self, request: &ExportTraceServiceRequest) -> Outcome {
            let size = request.resource_spans[0].scope_spans[0].spans.len();
            self.sizes.lock().unwrap().push(size);
            let next = self.outcomes.lock().unwrap().pop_front();
            next.unwrap_or(Ok(0))
        }
    }

    /// Never answers.
    struct Hung;

    impl Collector for Hung {
        async fn deliver(&self, _: &ExportTraceServiceRequest) -> Outcome {
            std::future::pending().await
        }
    }

    fn config(max_queue: usize) -> config::Traces {
        config::Traces {
            endpoint: "http://localhost".parse().unwrap(),
            protocol: TraceProtocol::Grpc,
            sample_ratio: 1.0,
            service_name: "test".to_owned(),
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            batch_delay: Duration::from_secs(1),
            max_queue,
        }
    }

    fn spans(count: usize) -> Vec<Span> {
        let span = || Span {
            trace_id: TraceId::from(uuid::Uuid::new_v4()),
            span_id: SpanId::random(),
            parent: None,
            is_parent_remote: false,
            state: "".into(),
            name: String::new(),
            kind: Kind::Internal,
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

    #[tokio::test(start_paused = true)]
    async fn spans_are_gathered_for_a_moment_and_sent_together() {
        let (script, metrics) = (Script::default(), Metrics::new());
        let (traces, exporter) = start(&config(8192), script.clone(), &metrics);
        traces.take(spans(2));
        sleep(Duration::from_millis(500)).await;
        traces.take(spans(3));
        assert_eq!(script.sizes(), [0; 0]);
        sleep(Duration::from_millis(600)).await;
        assert_eq!(script.sizes(), [5]);
        // A whole batch does not wait.
        traces.take(spans(1));
        sleep(Duration::from_millis(1)).await;
        traces.take(spans(MAX_BATCH + 10));
        sleep(Duration::from_millis(1)).await;
        assert_eq!(script.sizes(), [5, MAX_BATCH, 11]);
        traces.take(spans(4));
        exporter.stop(Instant::now() + Duration::from_secs(1)).await;
        assert_eq!(script.sizes(), [5, MAX_BATCH, 11, 4]);
        assert_eq!(counted(&metrics), [MAX_BATCH as u64 + 20, 0, 0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_in_passing_is_tried_again_and_what_fails_for_good_is_not() {
        let (script, metrics) = (Script::default(), Metrics::new());
        let passing = || Err(Undelivered::InPassing("busy".to_owned()));
        script.outcomes.lock().unwrap().extend([
            passing(),
            passing(),
            Ok(1),
            Err(Undelivered::ForGood("no".to_owned())),
            passing(),
        ]);
        let (traces, exporter) = start(&config(8192), script.clone(), &metrics);
        traces.take(spans(3));
        sleep(Duration::from_secs(10)).await;
        assert_eq!(counted(&metrics), [2, 1, 0, 0]);
        traces.take(spans(5));
        sleep(Duration::from_secs(10)).await;
        // It has been failing, so that it is tried once.
        traces.take(spans(7));
        sleep(Duration::from_secs(10)).await;
        assert_eq!(counted(&metrics), [2, 1, 12, 0]);
        let is_up = || metrics.dependency_up.with_label_values(&["trace_collector"]).get();
        assert_eq!(is_up(), 0);
        traces.take(spans(1));
        sleep(Duration::from_secs(10)).await;
        assert_eq!((counted(&metrics), is_up()), ([3, 1, 12, 0], 1));
        assert_eq!(script.sizes(), [3, 3, 3, 5, 7, 1]);
        exporter.stop(Instant::now()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_hangs_costs_spans_and_nothing_else() {
        let metrics = Metrics::new();
        let (traces, exporter) = start(&config(128), Hung, &metrics);
        traces.take(spans(1));
        sleep(Duration::from_secs(2)).await;
        // One is being delivered.
        traces.take(spans(127));
        traces.take(spans(2));
        assert_eq!(counted(&metrics), [0, 0, 0, 2], "all of a request or none");
        traces.take(spans(1));
        traces.take(spans(1));
        assert_eq!(counted(&metrics), [0, 0, 0, 3]);
        let began = Instant::now();
        exporter.stop(began + Duration::from_secs(3)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(3));
    }
}
