//! The end of the process: open requests finish, new ones go elsewhere, the exit is clean.

use std::time::Duration;

use ::http::Request;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sluice::simulator::Fault;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::load::{Load, Protocol};
use crate::support::patience::{LONG, eventually, within};
use crate::support::raw::Connection;
use crate::support::{Ask, Call, Client, Config, Gateway, PRIMARY, Simulator, bodies};

fn slow_stream() -> Call {
    let prompt = "hello sim:tokens=100 sim:token_ms=20";
    Call::invoke_stream(PRIMARY, "").body(bodies::messages(prompt, 200))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_finishes_and_the_exit_is_clean() {
    for client in Client::SDKS {
        let simulator = Simulator::start().await;
        let mut gateway = Gateway::with_four_models(&simulator).await;
        let url = gateway.url();
        let streaming = tokio::spawn(client.call_owned(url, slow_stream()));
        simulator.sees("the stream", |entry| entry.frames >= 5).await;
        gateway.terminate().await;
        let ended = gateway.ended();
        let answer = streaming.await.unwrap();
        let text = answer.text();
        assert!(text.starts_with(&format!("[{PRIMARY}] hello")), "{client:?}: {text}");
        assert!(answer.events.last().unwrap().to_string().contains("invocationMetrics"));
        assert!(ended.await.success(), "{client:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_drains_it_is_not_ready_and_takes_no_connections() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).set("server.drain_delay", "500ms");
    let mut gateway = Gateway::start(&config).await;
    let url = gateway.url();
    let streaming = tokio::spawn(Client::Rust.call_owned(url, slow_stream()));
    simulator.sees("the stream", |entry| entry.frames >= 5).await;
    gateway.begins_to_drain().await;
    gateway.closes_its_listener().await;
    streaming.await.unwrap().text();
    assert!(gateway.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_timeout_ends_requests_that_do_not_end() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).set("server.drain_timeout", "300ms");
    let mut gateway = Gateway::start(&config).await;
    let endless = "hello sim:tokens=4000 sim:token_ms=100";
    let call = Call::invoke_stream(PRIMARY, "").body(bodies::messages(endless, 4000));
    let url = gateway.url();
    let streaming = tokio::spawn(Client::Rust.call_owned(url, call));
    simulator.sees("the stream", |entry| entry.frames >= 3).await;
    gateway.terminate().await;
    let began = Instant::now();
    gateway.ended().await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(streaming.await.unwrap().raised().in_stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_gateway_stops_at_once() {
    let simulator = Simulator::start().await;
    let mut gateway = Gateway::with_four_models(&simulator).await;
    // An idle connection is no reason to stay.
    let _idle = TcpStream::connect(gateway.address()).await.unwrap();
    let began = Instant::now();
    gateway.terminate().await;
    assert!(gateway.ended().await.success());
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let simulator = Simulator::start().await;
    let mut gateway = Gateway::with_four_models(&simulator).await;
    let endless = "hello sim:tokens=4000 sim:token_ms=100";
    let call = Call::invoke_stream(PRIMARY, "").body(bodies::messages(endless, 4000));
    let streaming = tokio::spawn(Client::Rust.call_owned(gateway.url(), call));
    simulator.sees("the stream", |entry| entry.frames >= 3).await;
    gateway.begins_to_drain().await;
    let began = Instant::now();
    gateway.terminate().await;
    assert!(!gateway.ended().await.success());
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(streaming.await.unwrap().raised().in_stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_gets_connection_close_before_it_is_closed() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).set("server.drain_delay", "1m");
    let mut gateway = Gateway::start(&config).await;
    let request = Ask::new(&gateway, "hello").into_http1();
    let mut kept = Connection::open(gateway.address()).await;
    kept.send(request.as_bytes()).await;
    assert_eq!(kept.response().await.unwrap().header("connection"), None);
    gateway.begins_to_drain().await;
    let mut new = Connection::open(gateway.address()).await;
    for connection in [&mut kept, &mut new] {
        connection.send(request.as_bytes()).await;
        let response = connection.response().await.unwrap();
        assert_eq!((response.status, response.header("connection")), (200, Some("close")));
        assert!(connection.closes().await);
    }
    // Probes and scrapes have a listener of their own and go on.
    let open = async || gateway.metrics().await.sum("sluice_connections", &[]);
    eventually("this look alone", open, |open| *open == 1.0).await;
    gateway.terminate().await;
    gateway.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_on_its_way_to_an_idle_connection_is_answered() {
    let simulator = Simulator::start().await;
    let mut gateway = Gateway::with_four_models(&simulator).await;
    let request = Ask::new(&gateway, "hello").into_http1();
    let mut kept = Connection::open(gateway.address()).await;
    kept.send(request.as_bytes()).await;
    assert_eq!(kept.response().await.unwrap().status, 200);
    let mut silent = Connection::open(gateway.address()).await;
    // Listeners are closed in their order, so both are accepted when nobody else is.
    gateway.terminate().await;
    gateway.closes_its_listener().await;
    for connection in [&mut kept, &mut silent] {
        connection.send(request.as_bytes()).await;
        let response = connection.response().await.unwrap();
        assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    }
    assert!(gateway.ended().await.success());
}

async fn by_http2(
    connection: &mut http2::SendRequest<Full<Bytes>>,
    prompt: &str,
) -> hyper::Result<::http::Response<hyper::body::Incoming>> {
    let request = Request::post(format!("http://x/model/{PRIMARY}/invoke-with-response-stream"))
        .header("content-type", "application/json")
        .body(Full::from(bodies::messages(prompt, 200)))
        .unwrap();
    connection.send_request(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_connection_gets_goaway_at_once_and_its_streams_finish() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).set("server.drain_delay", "1m");
    let mut gateway = Gateway::start(&config).await;
    let socket = TokioIo::new(TcpStream::connect(gateway.address()).await.unwrap());
    let (mut requests, connection) = http2::handshake(TokioExecutor::new(), socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let slow = "hello sim:tokens=100 sim:token_ms=20";
    let streaming = by_http2(&mut requests, slow).await.unwrap();
    simulator.sees("the stream", |entry| entry.frames >= 5).await;
    gateway.begins_to_drain().await;
    // Another stream is no longer taken, while the listener still is open.
    eventually("going away", async || requests.ready().await.is_err(), |gone| *gone).await;
    TcpStream::connect(gateway.address()).await.unwrap();
    let body = streaming.into_body().collect().await.unwrap().to_bytes();
    assert!(body.len() > 5_000, "{}", body.len());
    within(LONG, "the connection ends", connection).await.unwrap().unwrap();
    gateway.terminate().await;
    gateway.ended().await;
}

/// One target that is out for `cooldown`, and a request that waits for it.
async fn one_waits(
    simulator: &Simulator,
    cooldown: &str,
    drain_timeout: &str,
) -> (Gateway, tokio::task::JoinHandle<crate::support::http::Response>) {
    let config = Config::models(simulator, 1)
        .set("fallback.daily_cooldown", cooldown)
        .set("queue.max_wait", "60s")
        .set("server.drain_timeout", drain_timeout);
    let gateway = Gateway::start(&config).await;
    simulator.strikes(PRIMARY, 1, Fault::ThrottleDaily);
    let waiting = Ask::new(&gateway, "hello").start();
    gateway.has_waiting(1).await;
    (gateway, waiting)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_request_is_served_if_a_target_recovers_in_time() {
    let simulator = Simulator::start().await;
    let (mut gateway, waiting) = one_waits(&simulator, "3s", "20s").await;
    gateway.terminate().await;
    let ended = gateway.ended();
    assert_eq!(waiting.await.unwrap().status, 200);
    assert!(ended.await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_request_that_can_not_be_served_is_refused_before_shutdown() {
    let simulator = Simulator::start().await;
    let (mut gateway, waiting) = one_waits(&simulator, "50s", "20s").await;
    gateway.terminate().await;
    let began = Instant::now();
    let ended = gateway.ended();
    let response = waiting.await.unwrap();
    assert_eq!(response.status, 429, "{}", response.text());
    assert_eq!(response.header("x-amzn-errortype"), Some("ThrottlingException"));
    let after: u64 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=50).contains(&after), "{after}");
    assert!(ended.await.success());
    // The target is not back in time, and there is no use in waiting until that is so.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_may_come_back_is_waited_for_until_shortly_before_the_end() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("targets.sonnet-35.tpm", 5_000)
        .set("queue.max_wait", "60s")
        .set("server.drain_timeout", "4s");
    let mut gateway = Gateway::start(&config).await;
    let slow = Ask::new(&gateway, "slow sim:head_ms=3500").max_tokens(4_000).start();
    simulator.sees("it", |entry| entry.seq == 1).await;
    let waiting = Ask::new(&gateway, "hello").max_tokens(4_000).start();
    gateway.has_waiting(1).await;
    gateway.terminate().await;
    let ended = gateway.ended();
    let response = waiting.await.unwrap();
    assert_eq!(response.status, 429, "{}", response.text());
    assert!(response.header("retry-after").is_some());
    assert_eq!(slow.await.unwrap().status, 200);
    assert!(ended.await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_request() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let simulator = Simulator::start().await;
        let config = Config::four_models(&simulator).set("server.drain_delay", "300ms");
        let configs = [config.clone().on_known_ports(), config.on_known_ports()];
        let mut gateways = Vec::new();
        for config in &configs {
            gateways.push(Gateway::start(config).await);
        }
        let urls: Vec<String> = gateways.iter().map(Gateway::url).collect();
        let load = Load::start(&urls, 8, protocol);
        for _ in 0..2 {
            for (gateway, config) in gateways.iter_mut().zip(&configs) {
                load.goes_on(100).await;
                gateway.terminate().await;
                assert!(gateway.ended().await.success(), "{}", gateway.output());
                load.goes_on(20).await;
                *gateway = Gateway::start(config).await;
            }
        }
        load.goes_on(100).await;
        let tally = load.stop().await;
        assert!(tally.failures.is_empty(), "{protocol:?}: {tally:?}");
        assert!(tally.moved > 0, "{protocol:?}: {tally:?}");
        assert_eq!(simulator.log().len(), tally.answered, "each was sent on once");
        println!("{protocol:?}: {} answered, {} moved", tally.answered, tally.moved);
    }
}
