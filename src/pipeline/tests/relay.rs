//! Answers under way: for any split of the upstream's bytes, and wherever either side leaves, the
//! client has exactly the beginning of what the upstream sent, and what it cost is counted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::time::Instant;

use super::super::Gateway;
use super::super::context::RequestContext;
use super::super::relay::{self, RelayError, RelayPlan, ResponseBody};
use super::{End, MODEL, PEER, Scripted, gateway, outcomes, target};
use crate::bedrock::Operation;
use crate::bedrock::event_stream::{Frame, Kind, event, exception};
use crate::routing::{QuotaDemand, RequestSize};
use crate::telemetry::OTHER;
use crate::telemetry::dashboard_totals::each_sample;
use crate::upstream::Success;

/// The usage that the answers of these tests report.
const USAGE: &str = r#"{"usage":{"inputTokens":11,"outputTokens":7}}"#;
const DEMAND: QuotaDemand = QuotaDemand {
    input: 100,
    max_output: 1000,
    operation: Some(crate::bedrock::Operation::Converse),
    upper_bound: None,
    is_reserved_tier: false,
};
/// More than all cases together use.
const TARGET: &str = "tpm = 1000000000000\noutput_burndown = 5";
const BURNDOWN: f64 = 5.0;
const NEVER_EJECTED: &str = "[fallback]\neject_after = 1000000\neject_below_success_rate = 0\n";

/// A stream's answer that is relayed from `body`.
pub(super) fn relayed(gateway: &Arc<Gateway>, body: Scripted) -> ResponseBody<Scripted> {
    answer(gateway, Operation::ConverseStream, Vec::new(), body)
}

fn answer(
    gateway: &Arc<Gateway>,
    operation: Operation,
    buffered: Vec<Bytes>,
    body: Scripted,
) -> ResponseBody<Scripted> {
    let mut context = Box::new(RequestContext::new(Arc::clone(gateway), PEER.into()));
    context.call.operation = Some(operation);
    let mut permit = target(gateway).enter(DEMAND, Instant::now()).unwrap();
    permit.mark_sending();
    let reservation = permit.succeeded(Duration::from_millis(1));
    let (status, headers) = (StatusCode::OK, HeaderMap::new());
    let success = Success { status, headers, buffered, body, is_close_delimited: false };
    let deadline = Instant::now() + gateway.config.server.request_timeout;
    let response = relay::success(
        context,
        operation,
        RelayPlan { streams: operation.is_stream(), ..RelayPlan::default() },
        success,
        reservation,
        RequestSize::default(),
        deadline,
    );
    response.into_body()
}

/// What a client got of a body before it left or the body ended.
#[derive(Debug)]
struct Received {
    bytes: Vec<u8>,
    error: Option<RelayError>,
    /// Whether the client left first.
    left: bool,
}

/// Reads a body, but for no more than `max_chunks` chunks.
async fn read(mut body: ResponseBody<Scripted>, max_chunks: usize) -> Received {
    let mut got = Received { bytes: Vec::new(), error: None, left: false };
    for _ in 0..max_chunks {
        match body.frame().await {
            Some(Ok(frame)) => got.bytes.extend_from_slice(&frame.into_data().unwrap()),
            Some(Err(error)) => {
                got.error = Some(error);
                return got;
            }
            None => return got,
        }
    }
    got.left = true;
    got
}

/// One answer: its bytes, how they are cut, how far they come, and what becomes of it.
#[derive(Clone, Debug)]
struct Case {
    bytes: Vec<u8>,
    chunks: Vec<Bytes>,
    buffered: usize,
    is_sized: bool,
    is_slow: bool,
    end: End,
    /// Chunks that the client takes before it leaves.
    max_chunks: usize,
}

impl Case {
    /// The bytes that the upstream sends.
    fn sent(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    fn body(&self) -> (Vec<Bytes>, Scripted) {
        let (buffered, rest) = self.chunks.split_at(self.buffered.min(self.chunks.len()));
        let mut body = Scripted::new(rest.iter().cloned(), self.end);
        (body.is_sized, body.is_slow) = (self.is_sized, self.is_slow);
        (buffered.to_vec(), body)
    }
}

fn cut(bytes: &[u8], cuts: &[prop::sample::Index], reach: usize) -> Vec<Bytes> {
    let reached = &bytes[..reach];
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(reach.max(1))).collect();
    at.extend([0, reach]);
    at.sort_unstable();
    at.dedup();
    at.windows(2).map(|two| Bytes::copy_from_slice(&reached[two[0]..two[1]])).collect()
}

/// Any case over answers of `bytes`.
fn cases(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Case> {
    let end = prop::sample::select(vec![End::Complete, End::Complete, End::Breaks, End::Silent]);
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..12);
    let reach = prop::option::of(any::<prop::sample::Index>());
    let max_chunks = prop_oneof![Just(usize::MAX), 0usize..14];
    let flags = (any::<bool>(), any::<bool>(), 0usize..4);
    (bytes, end, cuts, reach, max_chunks, flags).prop_map(
        |(bytes, end, cuts, reach, max_chunks, flags)| {
            let (is_sized, is_slow, buffered) = flags;
            // A sized body that ends well is all there.
            let reach = match reach {
                Some(reach) if !(is_sized && end == End::Complete) => reach.index(bytes.len() + 1),
                _ => bytes.len(),
            };
            let chunks = cut(&bytes, &cuts, reach);
            Case { bytes, chunks, buffered, is_sized, is_slow, end, max_chunks }
        },
    )
}

fn streams() -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(0usize..60, 0..6), any::<bool>()).prop_map(|(sizes, has_usage)| {
        let mut bytes = Vec::new();
        for size in sizes {
            let text = format!("{{\"delta\":{{\"text\":\"{}\"}}}}", "x".repeat(size));
            bytes.extend_from_slice(&event("contentBlockDelta", text));
        }
        if has_usage {
            bytes.extend_from_slice(&event("metadata", USAGE));
        }
        bytes
    })
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    "[a-z]{0,300}".prop_map(|text| format!("{{\"a\":\"{text}\",{}", &USAGE[1..]).into_bytes())
}

/// What the complete frames in `bytes` show: the number of events, whether one had the usage, and
/// whether the bytes end with a frame.
fn frames(bytes: &[u8]) -> (u64, bool, bool) {
    let (mut events, mut has_usage, mut rest) = (0, false, bytes);
    while let Ok(Some(frame)) = Frame::read(rest) {
        events += u64::from(matches!(frame.kind(), Kind::Event(_)));
        has_usage |= frame.kind() == Kind::Event("metadata");
        rest = &rest[frame.len..];
    }
    (events, has_usage, rest.is_empty())
}

/// What is counted of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Counted {
    /// Without reported usage: the reserved input, and one output token per event.
    input: u64,
    output: u64,
    /// Tokens of the quota; not known once time has passed, since then it fills again.
    quota: Option<f64>,
    in_flight: u64,
}

fn counted(gateway: &Gateway) -> Counted {
    let tokens = |kind| {
        let mut sum = 0.0;
        each_sample(&gateway.metrics.tokens, |labels, count| {
            assert_eq!((labels.get("model"), labels.get("client")), (MODEL, OTHER));
            sum += if labels.get("kind") == kind { count } else { 0.0 };
        });
        sum as u64
    };
    let quota = target(gateway).quota().snapshot(Instant::now());
    Counted {
        input: tokens("input"),
        output: tokens("output"),
        quota: quota.tokens_available,
        in_flight: quota.in_flight,
    }
}

/// Runs any number of cases on one gateway and a paused clock.
fn check(
    operation: Operation,
    cases: impl Strategy<Value = Case>,
    holds: impl Fn(&Case, &Received, Counted) -> Result<(), TestCaseError>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().start_paused(true).build().unwrap();
    let gateway = runtime.block_on(async { gateway(TARGET, NEVER_EJECTED) });
    TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(600) })
        .run(&cases, |case| {
            let (got, before, after) = runtime.block_on(async {
                let (began, before) = (Instant::now(), counted(&gateway));
                let (buffered, body) = case.body();
                let got = read(answer(&gateway, operation, buffered, body), case.max_chunks).await;
                let mut after = counted(&gateway);
                after.quota = after.quota.filter(|_| began == Instant::now());
                (got, before, after)
            });
            let spent = Counted {
                input: after.input - before.input,
                output: after.output - before.output,
                quota: after.quota.map(|after| before.quota.unwrap() - after),
                in_flight: after.in_flight,
            };
            prop_assert_eq!(spent.in_flight, 0);
            holds(&case, &got, spent)
        })
        .unwrap();
}

/// Asserts that an answer was counted with the usage that it reported.
fn counts_reported_usage(spent: Counted) -> Result<(), TestCaseError> {
    prop_assert_eq!((spent.input, spent.output), (11, 7));
    prop_assert!(spent.quota.is_none_or(|quota| quota == 11.0 + 7.0 * BURNDOWN), "{:?}", spent);
    Ok(())
}

#[test]
fn any_stream_is_its_upstreams_and_is_charged_as_reported() {
    check(Operation::ConverseStream, cases(streams()), |case, got, spent| {
        let sent = case.sent();
        let (_, _, at_a_border) = frames(&sent);
        let own = got.bytes.strip_prefix(&*sent).unwrap_or_default();
        if got.left && case.max_chunks <= case.chunks.len() {
            let taken: usize = case.chunks.iter().take(case.max_chunks).map(Bytes::len).sum();
            prop_assert_eq!(&got.bytes, &sent[..taken]);
        } else {
            prop_assert!(got.bytes.starts_with(&sent), "all that came is passed on");
            match case.end {
                End::Complete => prop_assert_eq!(
                    got.error,
                    (!at_a_border).then_some(RelayError::Broken),
                    "an end is one only where a frame ends"
                ),
                // If the stream stalls or breaks at the end of a frame, the gateway reports it with an exception frame.
                End::Silent | End::Breaks if at_a_border && !case.is_sized => {
                    prop_assert_eq!(got.error, None);
                    let frame = Frame::read(own).unwrap().unwrap();
                    prop_assert_eq!(frame.kind(), Kind::Exception("modelStreamErrorException"));
                    prop_assert_eq!(frame.len, own.len());
                }
                End::Breaks => prop_assert_eq!(got.error, Some(RelayError::Broken)),
                End::Silent => prop_assert_eq!(got.error, Some(RelayError::Idle)),
                End::Panics => unreachable!(),
            }
            prop_assert!(own.is_empty() || case.end != End::Complete);
        }
        // Depends only on the relayed bytes.
        let passed = &got.bytes[..got.bytes.len() - own.len()];
        let (events, has_usage, _) = frames(passed);
        if has_usage {
            counts_reported_usage(spent)?;
        } else {
            prop_assert_eq!((spent.input, spent.output), (DEMAND.input, events));
            // Until something came, it is what such answers cost.
            let cost = DEMAND.input as f64 + events as f64 * BURNDOWN;
            let is_right = passed.is_empty() || spent.quota.is_none_or(|quota| quota == cost);
            prop_assert!(is_right, "{:?}, not {}", spent, cost);
        }
        Ok(())
    });
}

#[test]
fn any_whole_answer_is_its_upstreams_and_is_charged_as_reported() {
    check(Operation::Converse, cases(bodies()), |case, got, spent| {
        let sent = case.sent();
        let taken: usize = case.chunks.iter().take(case.max_chunks).map(Bytes::len).sum();
        prop_assert_eq!(&got.bytes, &sent[..taken]);
        if !got.left {
            let error = match case.end {
                End::Complete => None,
                End::Breaks => Some(RelayError::Broken),
                End::Silent | End::Panics => Some(RelayError::Idle),
            };
            prop_assert_eq!(got.error, error);
        }
        if got.bytes.len() == case.bytes.len() {
            counts_reported_usage(spent)?;
        } else {
            prop_assert_eq!((spent.input, spent.output), (DEMAND.input, 0));
        }
        Ok(())
    });
}

#[tokio::test(start_paused = true)]
async fn an_exception_that_stalls_is_not_followed_by_another() {
    let gateway = gateway(TARGET, "");
    let frame = exception("throttlingException", "{}");
    let got = read(relayed(&gateway, Scripted::new([frame.clone()], End::Silent)), 9).await;
    assert_eq!(got.bytes, frame);
    assert_eq!(got.error, Some(RelayError::Idle));
}

#[tokio::test(start_paused = true)]
async fn each_end_has_its_outcome() {
    let frame = event("contentBlockDelta", "{}");
    let whole = [frame.clone(), event("messageStop", "{}")];
    let gateway_of_whole = gateway(TARGET, "");
    read(relayed(&gateway_of_whole, Scripted::new(whole, End::Complete)), usize::MAX).await;
    assert_eq!(outcomes(&gateway_of_whole, "success"), 1.0);
    let ends = [
        (End::Complete, usize::MAX, "incomplete"),
        (End::Breaks, usize::MAX, "stream_broken"),
        (End::Silent, usize::MAX, "stream_idle"),
        (End::Panics, usize::MAX, "panic"),
        (End::Silent, 1, "client_gone"),
    ];
    for (end, max_chunks, outcome) in ends {
        let gateway = gateway(TARGET, "");
        read(relayed(&gateway, Scripted::new([frame.clone()], end)), max_chunks).await;
        assert_eq!(outcomes(&gateway, outcome), 1.0, "{outcome}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_for_the_whole_request_is_told_apart_from_silence_and_from_a_client_that_stalls() {
    let frame = event("contentBlockDelta", "{}");
    let gateway = gateway("idle_timeout = '1h'", "[server]\nrequest_timeout = '30s'\n");
    let silent = || relayed(&gateway, Scripted::new([frame.clone()], End::Silent));
    let got = read(silent(), 9).await;
    let own = got.bytes.strip_prefix(&*frame).unwrap();
    let own = Frame::read(own).unwrap().unwrap();
    assert!(String::from_utf8_lossy(own.payload).contains("not answered within 30s"));
    assert_eq!(outcomes(&gateway, "request_timeout"), 1.0);

    let mut unread = silent();
    unread.frame().await.unwrap().unwrap();
    tokio::time::advance(Duration::from_secs(31)).await;
    drop(unread);
    assert_eq!(outcomes(&gateway, "client_stalled"), 1.0);

    // Data that has arrived is still relayed; it is not the cause of the timeout.
    let twice = Scripted::new([frame.clone(), frame.clone()], End::Silent);
    let mut unread = relayed(&gateway, twice);
    unread.frame().await.unwrap().unwrap();
    tokio::time::advance(Duration::from_secs(31)).await;
    unread.frame().await.unwrap().unwrap();
    assert!(unread.frame().now_or_never().is_none());
    drop(unread);
    assert_eq!(outcomes(&gateway, "client_stalled"), 2.0);
    assert_eq!(outcomes(&gateway, "request_timeout"), 1.0);
}
