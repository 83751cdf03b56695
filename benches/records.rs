//! What the gateway learns of a request: token counts from a stream's frames.
//!
//! Run with `cargo bench --bench records`.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use sluice::bedrock::Usage;
use sluice::bedrock::event_stream::{Frame, event};

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
