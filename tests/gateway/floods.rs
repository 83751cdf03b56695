//! Floods over HTTP/2: what costs the client little and the gateway much ends the connection, or
//! waits until the client reads. Everybody else is served all the while.

use std::time::Duration;

use sluice::simulator::{Fault, FaultRule};
use tokio::time::{Instant, timeout};

use crate::support::h2::{Frame, Http2, block, flag, frame, kind, post, settings};
use crate::support::patience::{LONG, eventually};
use crate::support::{Ask, Config, Gateway, PRIMARY, Simulator, bodies};

const ENHANCE_YOUR_CALM: u32 = 11;

/// Memory that a flood may cost, in bytes.
const LITTLE: u64 = 16_000_000;

async fn start(simulator: &Simulator) -> Gateway {
    let config = Config::models(simulator, 1)
        .set("server.header_read_timeout", "3s")
        .set("server.max_resets", 20);
    Gateway::start(&config).await
}

fn request(stream: u32) -> Vec<u8> {
    let path = format!("/model/{PRIMARY}/invoke");
    let mut bytes = frame(kind::HEADERS, flag::END_HEADERS, stream, &post(&path));
    let body = bodies::messages("hello", 16);
    bytes.extend(frame(kind::DATA, flag::END_STREAM, stream, body.as_bytes()));
    bytes
}

fn reset(stream: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

fn goaway(frames: &[Frame]) -> Option<u32> {
    frames.iter().rev().find(|frame| frame.kind == kind::GOAWAY).map(Frame::code)
}

/// Asserts that others are served, and that the gateway did not grow.
async fn is_unimpressed(gateway: &Gateway, before: u64, what: &str) {
    let answer = Ask::new(gateway, "hello").send();
    let answer = timeout(Duration::from_secs(5), answer).await;
    assert_eq!(answer.expect("others are served").status, 200, "{what}");
    let grown = gateway.resident_bytes().saturating_sub(before);
    assert!(grown < LITTLE, "{what}: {grown} bytes");
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_reset_at_once() {
    let simulator = Simulator::start().await;
    let gateway = start(&simulator).await;
    let before = gateway.resident_bytes();
    let mut connection = Http2::open(gateway.address(), &[]).await;
    let flood = (0..10_000).flat_map(|n| [request(2 * n + 1), reset(2 * n + 1)].concat());
    connection.send(&flood.collect::<Vec<u8>>()).await;
    let frames = connection.end(LONG).await.expect("the connection is ended");
    assert_eq!(goaway(&frames), Some(ENHANCE_YOUR_CALM), "{frames:?}");
    let reached = simulator.log().len();
    assert!(reached < 200, "{reached} of 10,000 reached the upstream");
    is_unimpressed(&gateway, before, "reset at once").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_reset_one_after_the_other() {
    let simulator = Simulator::start().await;
    let gateway = start(&simulator).await;
    let before = gateway.resident_bytes();
    simulator.add(FaultRule::always(Fault::HangBeforeHead));
    let mut connection = Http2::open(gateway.address(), &[]).await;
    let mut sent = 0;
    for stream in (1..400).step_by(2) {
        connection.send(&request(stream)).await;
        // An answer to this tells that what was before it has been read.
        connection.send(&frame(kind::PING, 0, 0, b"and now?")).await;
        let is_pong = |frame: &Frame| frame.kind == kind::PING && frame.flags == flag::ACK;
        if connection.find(LONG, is_pong).await.is_none() || !connection.send(&reset(stream)).await
        {
            break;
        }
        sent += 1;
    }
    assert!((20..=60).contains(&sent), "{sent} requests reset before the connection was ended");
    let reason = [("reason", "resets")];
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("sluice_connections_ended_total", &reason), 1.0);
    simulator.recovers();
    is_unimpressed(&gateway, before, "one after the other").await;

    // One that is answered now and then may go on.
    let mut connection = Http2::open(gateway.address(), &[]).await;
    let mut streams = (1..).step_by(2);
    for _ in 0..6 {
        for stream in streams.by_ref().take(15) {
            connection.send(&[request(stream), reset(stream)].concat()).await;
            connection.send(&frame(kind::PING, 0, 0, b"and now?")).await;
            let is_pong = |frame: &Frame| frame.kind == kind::PING && frame.flags == flag::ACK;
            assert!(connection.find(LONG, is_pong).await.is_some());
        }
        let stream = streams.next().unwrap();
        connection.send(&request(stream)).await;
        let is_end = |frame: &Frame| {
            frame.stream == stream
                && frame.kind == kind::DATA
                && frame.flags & flag::END_STREAM != 0
        };
        assert!(connection.find(LONG, is_end).await.is_some(), "stream {stream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_an_end() {
    let simulator = Simulator::start().await;
    let gateway = start(&simulator).await;
    let before = gateway.resident_bytes();
    let mut connection = Http2::open(gateway.address(), &[]).await;
    connection.send(&frame(kind::HEADERS, 0, 1, &post("/x"))).await;
    let value = "v".repeat(16_000);
    let more = frame(kind::CONTINUATION, 0, 1, &block(&[("x-more", &value)]));
    let mut sent = 0;
    while sent < 200_000_000 && connection.send(&more).await {
        sent += more.len();
    }
    assert!(sent < 50_000_000, "{sent} bytes were taken");
    is_unimpressed(&gateway, before, "CONTINUATION").await;

    // Small pieces are as many.
    let mut connection = Http2::open(gateway.address(), &[]).await;
    connection.send(&frame(kind::HEADERS, 0, 1, &post("/x"))).await;
    let more = frame(kind::CONTINUATION, 0, 1, b"").repeat(1000);
    let mut sent = 0;
    while sent < 10_000 && connection.send(&more).await {
        sent += 1;
    }
    assert!(sent < 10_000, "{sent} thousand empty frames were taken");
    is_unimpressed(&gateway, before, "empty CONTINUATION").await;

    // One that falls silent has the time of a head.
    let mut connection = Http2::open(gateway.address(), &[]).await;
    connection.send(&frame(kind::HEADERS, 0, 1, &post("/x"))).await;
    let began = Instant::now();
    connection.end(LONG).await.expect("the connection is ended");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn control_frames_whose_replies_are_not_read() {
    let simulator = Simulator::start().await;
    let gateway = start(&simulator).await;
    for (what, flood) in [
        ("PING", frame(kind::PING, 0, 0, b"and now?")),
        ("SETTINGS", settings(&[(3, 100)])),
        ("WINDOW_UPDATE", frame(kind::WINDOW_UPDATE, 0, 0, &0_u32.to_be_bytes())),
        ("PRIORITY", frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 3, 7])),
        ("unknown", frame(0xfa, 0, 0, b"whatever")),
    ] {
        let before = gateway.resident_bytes();
        let mut connection = Http2::open(gateway.address(), &[]).await;
        let flood = flood.repeat(4000);
        let began = Instant::now();
        // Until the gateway reads no further, or has had enough; no longer than a head may take.
        let sending = async { while connection.send(&flood).await {} };
        let _ = timeout(Duration::from_secs(1), sending).await;
        is_unimpressed(&gateway, before, what).await;
        // But for the one that asks.
        let ended = async || {
            let metrics = gateway.metrics().await;
            metrics.sum("sluice_connections", &[])
        };
        eventually("the connection is ended", ended, |open| *open <= 1.0).await;
        assert!(began.elapsed() < Duration::from_secs(8), "{what}: {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_is_none() {
    let simulator = Simulator::start().await;
    let gateway = start(&simulator).await;
    let before = gateway.resident_bytes();
    let mut connection = Http2::open(gateway.address(), &[]).await;
    let path = format!("/model/{PRIMARY}/invoke");
    connection.send(&frame(kind::HEADERS, flag::END_HEADERS, 1, &post(&path))).await;
    let empty = frame(kind::DATA, 0, 1, b"").repeat(1000);
    let mut sent = 0;
    while sent < 20_000 && connection.send(&empty).await {
        sent += 1;
    }
    assert!(sent < 20_000, "{sent} thousand empty frames were taken");
    is_unimpressed(&gateway, before, "empty DATA").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_at_once_than_are_allowed() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1).set("server.max_concurrent_streams", 10);
    let gateway = Gateway::start(&config).await;
    simulator.add(FaultRule::always(Fault::HangBeforeHead));
    let mut connection = Http2::open(gateway.address(), &[]).await;
    let told =
        connection.find(LONG, |frame| frame.kind == kind::SETTINGS && frame.flags == 0).await;
    let told = told.unwrap();
    let pairs = told.payload.chunks(6).map(|pair| (pair[1], pair[5])).collect::<Vec<_>>();
    assert!(pairs.contains(&(3, 10)), "{pairs:?}");
    connection.send(&(0..20).flat_map(|n| request(2 * n + 1)).collect::<Vec<u8>>()).await;
    for stream in (21..40).step_by(2) {
        let refused = |frame: &Frame| frame.kind == kind::RST_STREAM && frame.stream == stream;
        let refused = connection.find(LONG, refused).await.unwrap();
        assert_eq!(refused.code(), 7, "REFUSED_STREAM");
    }
    simulator.sees("the tenth", |entry| entry.seq == 10).await;
    assert_eq!(simulator.log().len(), 10);
}
