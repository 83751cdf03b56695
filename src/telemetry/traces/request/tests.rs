//! The spans of finished requests.

use opentelemetry::KeyValue;
use opentelemetry::trace::TraceId;

use super::*;
use crate::bedrock::ModelId;
use crate::telemetry::traces::recorder::AttemptResult;

const MODEL: &str = "anthropic.claude-3-haiku-20240307-v1:0";

fn target() -> SpanTarget {
    SpanTarget {
        name: "primary".into(),
        model: ModelId::new(MODEL).unwrap(),
        region: "us-east-1".to_owned(),
        authority: Some(Authority::from_static("bedrock.example:8443")),
    }
}

fn recorder() -> SpanRecorder {
    let head = http::Request::post("/model/m/converse").body(()).unwrap().into_parts().0;
    SpanRecorder::new(TraceId::from(7), None, &head, &SpanKind::Server)
}

fn record(started: Instant, outcome: Outcome) -> RequestRecord<'static> {
    RequestRecord {
        request_id: Uuid::from_u128(9),
        streams: false,
        operation: Some(Operation::Converse),
        requested_model: Some(MODEL),
        client: "alice",
        client_address: IpAddr::from([192, 0, 2, 1]),
        arrived: SystemTime::UNIX_EPOCH,
        started,
        duration: started.elapsed(),
        queued: Duration::ZERO,
        first_byte: None,
        attempts: 1,
        passed_over: None,
        fallback_reason: None,
        translated: None,
        choice: None,
        target: None,
        usage: None,
        status: 0,
        outcome,
        error: None,
        message: None,
    }
}

fn result(is_relayed: bool, outcome: &'static str) -> AttemptResult {
    AttemptResult {
        outcome,
        status: Some(200),
        request_id: None,
        error: None,
        message: None,
        is_relayed,
    }
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let named = |it: &KeyValue| (it.key.as_str() == name).then(|| it.value.to_string());
    span.attributes.iter().find_map(named)
}

/// The milliseconds since the request's arrival at which a span starts and ends.
fn times(span: &Span) -> [u128; 2] {
    [span.start, span.end]
        .map(|time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis())
}

async fn pass(millis: u64) {
    tokio::time::advance(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_relayed_lasts_until_the_request_ends() {
    let (recorder, started) = (recorder(), Instant::now());
    pass(10).await;
    {
        let span = recorder.start_attempt(target()).unwrap();
        pass(20).await;
        span.record_result(result(true, "success"));
    }
    pass(30).await;
    let usage = Usage { input: 5, output: 6, cache_read: 7, ..Usage::default() };
    let record = RequestRecord {
        target: Some(target()),
        usage: Some(usage),
        status: 200,
        ..record(started, Outcome::Success)
    };
    let spans = record.spans(&recorder);
    let [own, attempt] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((times(own), times(attempt)), ([0, 60], [10, 60]));
    assert_eq!((own.parent, attempt.parent), (None, Some(own.span_id)));
    assert_eq!((own.error.as_deref(), attempt.error.as_deref()), (None, None));
    for span in [own, attempt] {
        assert_eq!(span.name, format!("chat {MODEL}"));
        assert_eq!(attribute(span, "gen_ai.usage.input_tokens").as_deref(), Some("12"));
        assert_eq!(attribute(span, "cloud.region").as_deref(), Some("us-east-1"));
    }
    let first_chunk = attribute(attempt, "gen_ai.response.time_to_first_chunk");
    assert_eq!(first_chunk.as_deref(), Some("0.02"));
    assert_eq!(attribute(attempt, "server.port").as_deref(), Some("8443"));
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_ends_with_its_failure_and_names_the_error() {
    let (recorder, started) = (recorder(), Instant::now());
    {
        let span = recorder.start_attempt(target()).unwrap();
        pass(20).await;
        let error = Some("ThrottlingException".to_owned());
        span.record_result(AttemptResult { error, ..result(false, "throttled") });
        pass(5).await;
    }
    pass(30).await;
    let spans = record(started, Outcome::Throttled).spans(&recorder);
    let [own, attempt] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((times(own), times(attempt)), ([0, 55], [0, 20]));
    assert_eq!(attempt.error.as_deref(), Some("ThrottlingException"));
    assert_eq!(attribute(attempt, "sluice.outcome").as_deref(), Some("throttled"));
    assert_eq!(own.error.as_deref(), Some("throttled"));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_a_result_is_cancelled_and_no_error() {
    let (recorder, started) = (recorder(), Instant::now());
    let span = recorder.start_attempt(target()).unwrap();
    pass(20).await;
    drop(span);
    pass(30).await;
    let spans = record(started, Outcome::ClientGone).spans(&recorder);
    let [own, attempt] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(times(attempt), [0, 20]);
    assert_eq!(attribute(attempt, "sluice.outcome").as_deref(), Some("cancelled"));
    assert_eq!((own.error.as_deref(), attempt.error.as_deref()), (None, None));
    assert_eq!(attribute(own, "error.type").as_deref(), Some("client_gone"));
}

#[tokio::test(start_paused = true)]
async fn a_wait_has_a_span_that_tells_whether_it_was_served() {
    let (recorder, started) = (recorder(), Instant::now());
    for is_served in [false, true] {
        let span = recorder.start_wait().unwrap();
        pass(10).await;
        if is_served {
            span.record_served();
        }
    }
    let spans = record(started, Outcome::Success).spans(&recorder);
    let [_, lost, served] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((times(lost), times(served)), ([0, 10], [10, 20]));
    assert_eq!(attribute(lost, "sluice.served").as_deref(), Some("false"));
    assert_eq!(attribute(served, "sluice.served").as_deref(), Some("true"));
}
