//! What it costs a request to be told of: counted in the metrics, written to the access log and
//! to the records of use. The same lookups and lines as at the end of a request that one target
//! answered; the threads that write the lines run too.
//!
//! Run with `cargo bench --bench telemetry`.

#![allow(clippy::expect_used, reason = "a benchmark's own setup")]

use std::fs::File;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use divan::{Bencher, black_box};
use prometheus::IntCounter;
use sluice::bedrock::{Operation, Usage};
use sluice::config::{self, LogFormat};
use sluice::telemetry::access_log::{AccessLog, AccessLogEntry, Attempt};
use sluice::telemetry::usage_log::{Record, UsageLog};
use sluice::telemetry::{
    Choice, LabelId, Metrics, ModelLatency, Outcome, PassedOverTargets, RequestLabels,
    RequestUsage, SUCCESS,
};
use tempfile::TempDir;
use uuid::Uuid;

const MODEL: &str = "anthropic.claude-3-5-sonnet-20240620-v1:0";
const OPERATION: Operation = Operation::ConverseStream;
const CLIENT: &str = "team-a";
const TARGET: &str = "sonnet-35";

/// Requests between two waits for the writing threads, so that no line is dropped for want of room.
const SAMPLE: u32 = 1000;

fn main() {
    divan::main();
}

/// What is known of a request at its end.
struct Ended {
    request_id: Uuid,
    arrived: SystemTime,
    peer: SocketAddr,
    attempts: [Attempt; 1],
    usage: Usage,
    pattern: ModelLatency,
    client: LabelId,
    answered: OnceLock<IntCounter>,
}

impl Ended {
    fn new() -> Ended {
        Ended {
            request_id: Uuid::new_v4(),
            arrived: SystemTime::now(),
            peer: SocketAddr::from(([127, 0, 0, 1], 50_000)),
            attempts: [Attempt {
                target: TARGET.into(),
                outcome: SUCCESS,
                status: 200,
                ms: 812,
                upstream_request_id: None,
                error: None,
            }],
            usage: Usage {
                input: 250,
                output: 200,
                cache_read: 0,
                cache_write: 0,
                cache_write_1h: 0,
                tier: None,
            },
            pattern: ModelLatency::new(MODEL),
            client: LabelId::default(),
            answered: OnceLock::new(),
        }
    }

    fn count(&self, metrics: &Metrics) {
        self.answered.get_or_init(|| metrics.attempts.with_label_values(&[TARGET, SUCCESS])).inc();
        metrics.totals.request(Outcome::Success);
        metrics.count_answer(Choice::First);
        let operation = Some(OPERATION);
        let model = self.pattern.label_id(metrics);
        let client = self.client.get(|| CLIENT, &metrics.labels);
        let asked =
            RequestLabels { operation, requested: model, client, outcome: Outcome::Success };
        metrics
            .request_counters
            .count(&asked, Some(&RequestUsage { model, usage: self.usage, cost: Some(3_750_000) }));
        let (took, began) = (Duration::from_millis(812), Duration::from_millis(410));
        self.pattern.observe(metrics, operation, took, Some(began));
        metrics.overhead.observe(0.000_08);
    }

    fn log(&self, log: &AccessLog, request_id: &str) {
        log.write(&AccessLogEntry {
            trace_id: None,
            span_id: None,
            time: self.arrived,
            request_id,
            client: CLIENT,
            peer: self.peer,
            operation: Some(OPERATION),
            method: None,
            path: None,
            requested_model: Some(MODEL),
            model: Some(MODEL),
            target: Some(TARGET),
            status: 200,
            outcome: Outcome::Success,
            error: None,
            message: None,
            attempts: &self.attempts,
            passed_over: &PassedOverTargets::default(),
            fallback_reason: None,
            choice: Some(Choice::First.name()),
            dropped_betas: None,
            translated: None,
            dropped: None,
            added: None,
            queued_ms: 0,
            first_byte_ms: Some(410),
            duration_ms: 812,
            request_bytes: 1024,
            response_bytes: 4096,
            usage: Some(self.usage),
        });
    }

    fn record(&self, log: &UsageLog, request_id: &str) {
        log.write(&Record {
            time: self.arrived,
            request_id,
            client: CLIENT,
            operation: Some(OPERATION),
            requested_model: Some(MODEL),
            model: Some(MODEL),
            target: Some(TARGET),
            region: Some("us-east-1"),
            status: 200,
            outcome: SUCCESS,
            attempts: 1,
            input_tokens: self.usage.input,
            output_tokens: self.usage.output,
            cache_read_tokens: 0,
            cache_write_tokens: 0,
            cache_write_1h_tokens: 0,
            is_estimated: false,
            service_tier: Some("standard"),
            price_above: None,
            price_assumed: None,
            cost_usd: Some(0.003_75),
            queued_ms: 0,
            first_byte_ms: Some(410),
            duration_ms: 812,
            translated: None,
            dropped: None,
        });
    }
}

/// Where it is told.
struct Told {
    metrics: Metrics,
    access_log: AccessLog,
    usage_log: UsageLog,
    _folder: TempDir,
}

impl Told {
    fn new() -> Told {
        let folder = tempfile::tempdir().expect("a folder");
        let metrics = Metrics::new();
        let file = File::create(folder.path().join("access.jsonl")).expect("a file");
        let config = config::UsageLog {
            enabled: true,
            path: folder.path().join("usage.jsonl"),
            max_size: 16 * 1024 * 1024,
            max_files: 2,
        };
        Told {
            access_log: AccessLog::to(file, LogFormat::Json, metrics.access_log_dropped.clone()),
            usage_log: UsageLog::open(&config, &metrics).expect("a file"),
            metrics,
            _folder: folder,
        }
    }

    /// Times `work` by samples before each of which all lines are written.
    fn time(&self, bencher: Bencher<'_, '_>, work: impl Fn(&Ended)) {
        let ended = Ended::new();
        bencher
            .with_inputs(|| {
                self.access_log.flush();
                self.usage_log.flush();
            })
            .bench_local_values(|()| work(black_box(&ended)));
        let dropped = [&self.metrics.access_log_dropped, &self.metrics.usage_log_dropped];
        assert_eq!(dropped.map(|it| it.get()), [0, 0], "lines were dropped");
    }
}

#[divan::bench(sample_size = SAMPLE)]
fn metrics(bencher: Bencher<'_, '_>) {
    let told = Told::new();
    told.time(bencher, |ended| ended.count(&told.metrics));
}

#[divan::bench(sample_size = SAMPLE)]
fn access_log(bencher: Bencher<'_, '_>) {
    let told = Told::new();
    told.time(bencher, |ended| ended.log(&told.access_log, &ended.request_id.to_string()));
}

#[divan::bench(sample_size = SAMPLE)]
fn record_of_use(bencher: Bencher<'_, '_>) {
    let told = Told::new();
    told.time(bencher, |ended| ended.record(&told.usage_log, &ended.request_id.to_string()));
}

#[divan::bench(sample_size = SAMPLE)]
fn metrics_and_access_log(bencher: Bencher<'_, '_>) {
    let told = Told::new();
    told.time(bencher, |ended| {
        ended.count(&told.metrics);
        ended.log(&told.access_log, &ended.request_id.to_string());
    });
}

#[divan::bench(sample_size = SAMPLE)]
fn metrics_access_log_and_record_of_use(bencher: Bencher<'_, '_>) {
    let told = Told::new();
    told.time(bencher, |ended| {
        let request_id = ended.request_id.to_string();
        ended.count(&told.metrics);
        ended.record(&told.usage_log, &request_id);
        ended.log(&told.access_log, &request_id);
    });
}
