//! The time limits and the limits of connections: each ends what it is there for, with an error
//! and an outcome of its own, and nothing is held beyond it.

use std::time::Duration;

use sluice::simulator::{Fault, FaultRule, ModelSettings};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::support::h2::{Frame, Http2, PREFACE, flag, frame, kind, post};
use crate::support::patience::{LONG, eventually};
use crate::support::raw::Connection;
use crate::support::upstream::{BareUpstream, UpstreamAction};
use crate::support::{Ask, Config, Gateway, PRIMARY, Simulator, http};

/// A little more than what a limit gives, for a machine with much else to do.
const SLACK: Duration = Duration::from_secs(2);
const TARGET: &str = "sonnet-35";

fn config(simulator: &Simulator) -> Config {
    Config::models(simulator, 1).set("retry.attempts", 1).set("fallback.eject_after", 1000)
}

async fn outcome(gateway: &Gateway, outcome: &str) -> f64 {
    gateway.metrics().await.sum("sluice_requests_total", &[("outcome", outcome)])
}

async fn attempts(gateway: &Gateway, outcome: &str) -> f64 {
    gateway.metrics().await.sum("sluice_attempts_total", &[("outcome", outcome)])
}

async fn ended(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metrics().await.sum("sluice_connections_ended_total", &[("reason", reason)])
}

/// Waits until a count is one.
async fn becomes_one(what: &str, look: impl AsyncFnMut() -> f64) {
    eventually(what, look, |count| *count == 1.0).await;
}

/// Asserts that an error is in Bedrock's form, and tells its status and name.
#[track_caller]
fn error(response: &http::Response) -> (u16, String) {
    assert!(response.json()["message"].as_str().is_some_and(|it| !it.is_empty()), "{response:?}");
    (response.status, response.header("x-amzn-errortype").unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_in_time() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(
        &config(&simulator)
            .set("server.header_read_timeout", "400ms")
            .set("server.max_connections", 5),
    )
    .await;
    // What is said without a request: nothing, parts of a head, the beginning of HTTP/2.
    let first = &b"POST /model/m/invoke HTTP/1.1\r\nhost: x\r\n"[..];
    let preface = [PREFACE, &crate::support::h2::settings(&[])].concat();
    let cases = [&b""[..], first, b"P", &PREFACE[..14], &preface];
    let mut slow = Vec::new();
    for said in cases {
        let mut connection = Connection::open(gateway.address()).await;
        connection.send(said).await;
        slow.push(connection);
    }
    let began = Instant::now();
    for (said, mut connection) in cases.iter().zip(slow) {
        // Every byte more gives no more time.
        let trickle = async {
            loop {
                sleep(Duration::from_millis(50)).await;
                if said.starts_with(b"POST") {
                    connection.send(b"x").await;
                }
            }
        };
        let _ = timeout(Duration::from_millis(300), trickle).await;
        let said = String::from_utf8_lossy(said);
        if said.starts_with("PRI * HTTP/2.0\r\n\r\nSM") {
            assert!(timeout(LONG, connection.ends()).await.is_ok(), "{said}");
        } else if said.len() < 2 || said.starts_with("PRI") {
            assert!(connection.response().await.is_none(), "{said}");
        } else {
            let response = connection.response().await.unwrap();
            assert_eq!(response.status, 408, "{said}: {response:?}");
            assert_eq!(response.header("x-amzn-errortype"), Some("RequestTimeoutException"));
            assert_eq!(response.header("connection"), Some("close"));
            assert!(connection.closes().await, "{said}");
        }
    }
    assert!(began.elapsed() < Duration::from_millis(400) + 2 * SLACK, "{:?}", began.elapsed());
    // All five places are free again.
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
    assert_eq!(ended(&gateway, "header_timeout").await, 5.0);
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_waits_for_its_next_request() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(
        &config(&simulator)
            .set("server.header_read_timeout", "200ms")
            .set("server.keep_alive_timeout", "800ms"),
    )
    .await;
    let request = Ask::new(&gateway, "hello").into_http1();
    let mut connection = Connection::open(gateway.address()).await;
    for _ in 0..3 {
        connection.send(request.as_bytes()).await;
        assert_eq!(connection.response().await.unwrap().status, 200);
        // Longer than a head may take, since none has begun.
        sleep(Duration::from_millis(400)).await;
    }
    let waiting = Instant::now();
    assert!(connection.closes().await);
    assert!(waiting.elapsed() < SLACK, "{:?}", waiting.elapsed());
    becomes_one("the idle connection", async || ended(&gateway, "idle").await).await;

    // A head that has begun has the time of a head.
    let mut connection = Connection::open(gateway.address()).await;
    connection.send(request.as_bytes()).await;
    assert_eq!(connection.response().await.unwrap().status, 200);
    connection.send(b"POST /model").await;
    assert_eq!(connection.response().await.unwrap().status, 408);
    becomes_one("the slow head", async || ended(&gateway, "header_timeout").await).await;

    // The same by HTTP/2, where control frames are no requests.
    let mut connection = Http2::open(gateway.address(), &[]).await;
    let end = flag::END_HEADERS | flag::END_STREAM;
    connection.send(&frame(kind::HEADERS, end, 1, &post("/nothing"))).await;
    connection.find(LONG, |frame| frame.kind == kind::HEADERS).await.unwrap();
    let waiting = Instant::now();
    let frames = loop {
        connection.send(&frame(kind::PING, 0, 0, b"and now?")).await;
        if let Some(frames) = connection.end(Duration::from_millis(50)).await {
            break frames;
        }
        assert!(waiting.elapsed() < 2 * SLACK);
    };
    let _ = frames;
    assert!(waiting.elapsed() > Duration::from_millis(600), "{:?}", waiting.elapsed());
    eventually("the idle connection", async || ended(&gateway, "idle").await, |n| *n == 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_in_time() {
    let simulator = Simulator::start().await;
    // The time of a body is part of the time of the whole.
    for (key, other) in [("body_read", "request"), ("request", "body_read")] {
        let config = config(&simulator)
            .set(&format!("server.{key}_timeout"), "300ms")
            .set(&format!("server.{other}_timeout"), "30s");
        let gateway = Gateway::start(&config).await;
        let mut connection = Connection::open(gateway.address()).await;
        let began = Instant::now();
        let head = format!("POST /model/{PRIMARY}/invoke HTTP/1.1\r\nhost: x\r\n");
        connection.send(format!("{head}content-length: 100\r\n\r\n{{").as_bytes()).await;
        let response = connection.response().await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(300) + SLACK, "{key}");
        assert_eq!(response.status, 408, "{key}");
        assert_eq!(response.header("x-amzn-errortype"), Some("RequestTimeoutException"), "{key}");
        assert!(response.body.contains("did not arrive within 300ms"), "{key}: {response:?}");
        assert!(connection.closes().await, "{key}");
        assert_eq!(outcome(&gateway, "body_timeout").await, 1.0, "{key}");
    }
    assert!(simulator.log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_does_not_let_connect() {
    // A listener whose queue of connections is full answers no more of them.
    let listener = TcpSocket::new_v4().unwrap();
    listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener: TcpListener = listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(Ok(stream)) =
        timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        queued.push(stream);
    }
    let simulator = Simulator::start().await;
    let config = config(&simulator)
        .set("upstream.endpoint_url", format!("http://{address}"))
        .set("upstream.connect_timeout", "300ms");
    let gateway = Gateway::start(&config).await;
    let began = Instant::now();
    let response = Ask::new(&gateway, "hello").send().await;
    assert!(began.elapsed() < Duration::from_millis(300) + SLACK);
    assert_eq!(error(&response), (503, "ServiceUnavailableException".to_owned()));
    assert!(response.text().contains("no connection within 300ms"), "{}", response.text());
    assert_eq!(outcome(&gateway, "connect_timeout").await, 1.0);
    assert_eq!(attempts(&gateway, "connect_timeout").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_begin_or_goes_silent_or_takes_too_long() {
    let simulator = Simulator::start().await;
    simulator.limits(
        PRIMARY,
        ModelSettings { max_output_tokens: Some(1_000_000), ..ModelSettings::default() },
    );
    let endless = "hello sim:tokens=100000 sim:token_ms=20";
    let after_three = Fault::StallAfterFrames { frames: 3 };
    for (key, fault, prompt, outcome_name, wanted) in [
        (
            "upstream.first_byte_timeout",
            Some(Fault::HangBeforeHead),
            "hello",
            "first_byte_timeout",
            "the upstream did not begin its answer within 400ms",
        ),
        (
            "server.request_timeout",
            Some(Fault::HangBeforeHead),
            "hello",
            "request_timeout",
            "the request was not answered within 400ms",
        ),
        (
            "upstream.idle_timeout",
            Some(after_three.clone()),
            "hello",
            "stream_idle",
            "the upstream's answer stalled: nothing came for 400ms",
        ),
        (
            "server.request_timeout",
            Some(after_three),
            "hello",
            "request_timeout",
            "the request was not answered within 400ms",
        ),
        (
            "server.request_timeout",
            None,
            endless,
            "request_timeout",
            "the request was not answered within 400ms",
        ),
    ] {
        simulator.recovers();
        let begins = fault != Some(Fault::HangBeforeHead);
        if let Some(fault) = fault {
            simulator.add(FaultRule::always(fault));
        }
        let gateway = Gateway::start(&config(&simulator).set(key, "400ms")).await;
        let began = Instant::now();
        let response = Ask::new(&gateway, prompt).max_tokens(100_000).stream().send().await;
        let took = began.elapsed();
        assert!(took > Duration::from_millis(300), "{key}: {took:?}");
        assert!(took < Duration::from_millis(400) + SLACK, "{key}: {took:?}");
        assert!(response.text().contains(wanted), "{key}: {}", response.text());
        if begins {
            assert!(response.text().contains("modelStreamErrorException"), "{key}");
            assert!(!response.broken, "{key}: where a frame may follow, it says why it ends");
        } else {
            assert_eq!(error(&response), (408, "ModelTimeoutException".to_owned()), "{key}");
        }
        let counted = async || outcome(&gateway, outcome_name).await;
        becomes_one(outcome_name, counted).await;
        if key.ends_with("first_byte_timeout") {
            assert_eq!(attempts(&gateway, "first_byte_timeout").await, 1.0);
        }
        let quota = async || gateway.quota(TARGET).await.in_flight;
        eventually("the settlement", quota, |in_flight| *in_flight == 0).await;
    }
}

/// A gateway in front of an upstream whose streams never end, and take what they can get.
async fn endless(timeout: &str) -> (BareUpstream, Gateway) {
    let upstream = BareUpstream::start(|_, _| UpstreamAction::Endless).await;
    let simulator = Simulator::start().await;
    let config = config(&simulator)
        .set("upstream.endpoint_url", upstream.url())
        .set("server.request_timeout", timeout);
    (upstream, Gateway::start(&config).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_holds_nothing_for_longer_than_a_request_may_take() {
    let (upstream, gateway) = endless("3s").await;
    let before = gateway.resident_bytes();
    let ask = Ask::new(&gateway, "hello").stream();
    let (path, body) = (ask.path(), ask.to_body());
    let began = Instant::now();
    let mut unread = Vec::new();
    for _ in 0..10 {
        let mut connection = Connection::open_narrow(gateway.address()).await;
        connection.send(ask.clone().into_http1().as_bytes()).await;
        unread.push(connection);
    }
    // The same by HTTP/2: one connection whose window is never opened again.
    let mut connection = Http2::open(gateway.address(), &[]).await;
    for stream in (1..20).step_by(2) {
        connection.send(&frame(kind::HEADERS, flag::END_HEADERS, stream, &post(&path))).await;
        connection.send(&frame(kind::DATA, flag::END_STREAM, stream, body.as_bytes())).await;
    }
    let streams = async || upstream.endless();
    let all_begun = eventually("all twenty", streams, |streams| streams.len() == 20).await;
    assert!(all_begun.iter().all(|stream| !stream.is_over));
    assert_eq!(gateway.quota(TARGET).await.in_flight, 20);
    // Filled up to where the client holds it up.
    let taken = async || upstream.endless().iter().map(|stream| stream.taken).sum::<usize>();
    let mut last = 0;
    eventually("they are held up", taken, |taken| std::mem::replace(&mut last, *taken) == *taken)
        .await;
    let grown = gateway.resident_bytes().saturating_sub(before);
    assert!(grown < 40_000_000, "{grown} bytes more for twenty clients that do not read");
    let over = async || upstream.endless().iter().filter(|stream| stream.is_over).count();
    eventually("the upstream is let go", over, |count| *count == 20).await;
    assert!(began.elapsed() > Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(3) + 2 * SLACK, "{:?}", began.elapsed());
    let stalled = async || outcome(&gateway, "client_stalled").await;
    eventually("they are counted", stalled, |count| *count == 20.0).await;
    assert_eq!(gateway.quota(TARGET).await.in_flight, 0);
    let open = async || gateway.metrics().await.sum("sluice_connections", &[]);
    // The one that asks for the metrics, and the one by HTTP/2.
    eventually("their places are free", open, |open| *open <= 2.0).await;
    assert_eq!(ended(&gateway, "stalled").await, 10.0);
    let reset = connection.find(LONG, |frame| frame.kind == kind::RST_STREAM).await;
    assert!(reset.is_some(), "each stream by itself");
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_in_time_gets_it_all() {
    let simulator = Simulator::start().await;
    let gateway =
        Gateway::start(&config(&simulator).set("server.keep_alive_timeout", "300ms")).await;
    let ask = Ask::new(&gateway, "hello sim:tokens=500").max_tokens(4000).stream();
    let whole = ask.clone().send().await.body.len();
    let mut connection = Connection::open_narrow(gateway.address()).await;
    connection.send(ask.into_http1().as_bytes()).await;
    // Longer than the connection could wait for another request.
    let mut read = 0;
    loop {
        let some = connection.some(64 * 1024).await;
        read += some.len();
        if some.is_empty() || some.ends_with(b"0\r\n\r\n") {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert!(read > whole, "{read} of {whole} bytes and more");
    assert_eq!(outcome(&gateway, "success").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_that_is_not_read_costs_the_others_nothing() {
    let (_upstream, gateway) = endless("1s").await;
    let ask = Ask::new(&gateway, "hello").stream();
    // A wide window for the connection, a narrow one for each stream.
    let mut connection = Http2::open(gateway.address(), &[(4, 1000)]).await;
    let wide = 1_000_000_u32.to_be_bytes();
    connection.send(&frame(kind::WINDOW_UPDATE, 0, 0, &wide)).await;
    connection.send(&frame(kind::HEADERS, flag::END_HEADERS, 1, &post(&ask.path()))).await;
    connection.send(&frame(kind::DATA, flag::END_STREAM, 1, ask.to_body().as_bytes())).await;
    let is_reset = |frame: &Frame| frame.kind == kind::RST_STREAM && frame.stream == 1;
    connection.find(LONG, is_reset).await.unwrap();
    let end = flag::END_HEADERS | flag::END_STREAM;
    connection.send(&frame(kind::HEADERS, end, 3, &post("/nothing"))).await;
    let answer = connection.find(LONG, |it| it.kind == kind::DATA && it.stream == 3).await.unwrap();
    assert!(String::from_utf8_lossy(&answer.payload).contains("message"));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_above_the_bound() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&config(&simulator).set("server.max_connections", 3)).await;
    let request = Ask::new(&gateway, "hello").into_http1();
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut connection = Connection::open(gateway.address()).await;
        connection.send(request.as_bytes()).await;
        assert_eq!(connection.response().await.unwrap().status, 200);
        open.push(connection);
    }
    let mut refused = Connection::open(gateway.address()).await;
    assert!(refused.closes().await);
    // Health and metrics have places of their own.
    gateway.is_healthy().await;
    assert_eq!(gateway.metrics().await.sum("sluice_connections_refused_total", &[]), 1.0);
    open.pop();
    let asked = async || {
        let mut connection = Connection::open(gateway.address()).await;
        connection.send(request.as_bytes()).await;
        connection.response().await.map(|response| response.status)
    };
    eventually("a place is free again", asked, |status| *status == Some(200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_over() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&config(&simulator).set("queue.max_wait", "300ms")).await;
    simulator.throttles(PRIMARY, 1);
    let response = Ask::new(&gateway, "hello").send().await;
    assert_eq!(error(&response), (429, "ThrottlingException".to_owned()));
    assert_eq!(outcome(&gateway, "throttled").await, 1.0);
}
