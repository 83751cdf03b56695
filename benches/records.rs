//! What the gateway learns and tells of a request: token counts from a stream's frames, and the
//! access-log line.
//!
//! Run with `cargo bench --bench records`.

use std::time::SystemTime;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use sluice::bedrock::Usage;
use sluice::bedrock::event_stream::{Frame, event};
use sluice::telemetry::access_log::{Attempt, Line};

/// Frames of the stream, the last of which has the token counts.
const FRAMES: usize = 200;

fn main() {
    divan::main();
}

fn watch(mut bytes: &[u8]) -> Option<Usage> {
    let mut usage = None;
    while let Ok(Some(frame)) = Frame::read(bytes) {
        usage = Usage::from_frame(&frame).or(usage);
        bytes = bytes.get(frame.len..).unwrap_or_default();
    }
    usage
}

#[divan::bench]
fn converse_stream_200_frames(bencher: Bencher<'_, '_>) {
    let delta = r#"{"contentBlockIndex":0,"delta":{"text":" token"},"p":"abcdefghijklm"}"#;
    let mut stream = event("contentBlockDelta", delta).repeat(FRAMES - 1);
    stream.extend_from_slice(&event(
        "metadata",
        r#"{"metrics":{"latencyMs":1000},"usage":{"inputTokens":250,"outputTokens":199}}"#,
    ));
    bencher
        .counter(ItemsCount::new(FRAMES))
        .counter(BytesCount::new(stream.len()))
        .bench_local(|| watch(black_box(&stream)));
}

#[divan::bench]
fn invoke_stream_200_chunks(bencher: Bencher<'_, '_>) {
    let chunk = r#"{"bytes":"eyJ0eXBlIjoiY29udGVudF9ibG9ja19kZWx0YSIsImluZGV4IjowfQ==","p":"abc"}"#;
    let stream = event("chunk", chunk).repeat(FRAMES);
    bencher
        .counter(ItemsCount::new(FRAMES))
        .counter(BytesCount::new(stream.len()))
        .bench_local(|| watch(black_box(&stream)));
}

#[divan::bench]
fn access_log_line(bencher: Bencher<'_, '_>) {
    let attempts =
        [Attempt { target: "sonnet-35".into(), outcome: "success", status: 200, ms: 812 }];
    let line = Line {
        time: SystemTime::now(),
        request_id: "00000000-0000-4000-8000-000000000000",
        trace_id: None,
        span_id: None,
        client: "AKIDBENCH",
        peer: "127.0.0.1:50000".to_owned(),
        operation: "ConverseStream",
        requested_model: Some("anthropic.claude-3-5-sonnet-20240620-v1:0"),
        model: Some("anthropic.claude-3-5-sonnet-20240620-v1:0"),
        target: Some("sonnet-35"),
        status: 200,
        outcome: "success",
        error: None,
        attempts: &attempts,
        queued_ms: 0,
        first_byte_ms: 410,
        duration_ms: 812,
        request_bytes: 1024,
        response_bytes: 1024,
        usage: Some(Usage { input: 250, output: 200, cache_read: 0, cache_write: 0 }),
    };
    bencher.bench_local(|| serde_json::to_vec(black_box(&line)));
}
