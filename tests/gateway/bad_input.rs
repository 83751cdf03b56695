//! Requests that no SDK sends: a clear 4xx in Bedrock's form, never a panic, never a hang, and
//! the next request is safe. What breaks the protocol itself is in `bad_bytes`.

use serde_json::Value;

use crate::support::h2::{Frame, Http2, block, flag, frame, kind, post};
use crate::support::patience::LONG;
use crate::support::raw::{Connection, RawResponse};
use crate::support::{Gateway, PRIMARY, Simulator, bodies, http};

fn good_request() -> String {
    let body = bodies::messages("hello", 10);
    let length = body.len();
    format!(
        "POST /model/{PRIMARY}/invoke HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[track_caller]
fn is_bedrocks_form(response: &RawResponse, what: &str) {
    assert!(response.header("x-amzn-errortype").is_some(), "{what}: {response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"), "{what}");
    let body: Value = serde_json::from_str(&response.body).unwrap();
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{what}");
}

/// Sends a request and then, on the same connection if it stays open, else on another, one that
/// is well; asserts that the latter is answered.
async fn answer_to(gateway: &Gateway, request: &[u8], what: &str) -> Option<RawResponse> {
    let mut connection = Connection::open(gateway.address()).await;
    connection.send(request).await;
    let response = connection.response().await;
    let closes = response.as_ref().is_none_or(|r| r.header("connection") == Some("close"));
    if closes {
        assert!(connection.closes().await, "{what}: said it closes, and stays open");
        connection = Connection::open(gateway.address()).await;
    }
    connection.send(good_request().as_bytes()).await;
    let next = match connection.response().await {
        Some(next) => next,
        None => {
            // Closed without a word after an error: allowed, but only the connection is lost.
            connection = Connection::open(gateway.address()).await;
            connection.send(good_request().as_bytes()).await;
            connection.response().await.unwrap()
        }
    };
    assert_eq!(next.status, 200, "after {what}: {next:?}");
    assert!(next.body.contains(&format!("[{PRIMARY}] hello")), "after {what}: {next:?}");
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_are_no_operation() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let long = format!("/model/{}/invoke", "a".repeat(3000));
    for path in [
        "/",
        "/favicon.ico",
        "//",
        "/model",
        "/model/",
        "/model//invoke",
        "/model/m",
        "/model/m/unknown",
        "/model/m/invoke/",
        "/model/m/invoke/more",
        "/model/%/invoke",
        "/model/%zz/invoke",
        "/model/%00/invoke",
        "/model/%ff%fe/invoke",
        "/model/a%0d%0ab/invoke",
        "/model/a%20b/invoke",
        "/model/../invoke",
        "/model/%2e%2e/invoke",
        "/model/..%2f..%2fadmin/invoke",
        "/model/%2e%2e%2f%2e%2e%2fadmin/invoke",
        "/model/..%252f..%252fadmin/invoke",
        "/model/..%5c..%5cadmin/invoke",
        "/../../etc/passwd",
        "/guardrail//version//apply",
        "/async-invoke/",
        "/metrics",
        &long,
    ] {
        let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}");
        let response = answer_to(&gateway, request.as_bytes(), path).await.unwrap();
        assert!((400..500).contains(&response.status), "{path}: {response:?}");
        is_bedrocks_form(&response, path);
    }
    let calls = simulator.log();
    assert!(calls.iter().all(|entry| entry.model.as_deref() == Some(PRIMARY)), "{calls:#?}");
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_method_is_answered_with_the_allowed_one() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let request =
            format!("{method} /model/m/invoke HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        let response = answer_to(&gateway, request.as_bytes(), method).await.unwrap();
        assert_eq!(response.status, 405, "{method}");
        assert_eq!(response.header("allow"), Some("POST"), "{method}");
        is_bedrocks_form(&response, method);
    }
    let connect = b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n";
    let response = answer_to(&gateway, connect, "CONNECT").await;
    assert!(response.is_none_or(|r| (400..500).contains(&r.status)));
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_beside_chunks_smuggles_nothing() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let smuggled = "POST /model/smuggled/invoke HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let request = format!(
        "POST /model/{PRIMARY}/invoke HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\
         transfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
    );
    let mut connection = Connection::open(gateway.address()).await;
    connection.send(request.as_bytes()).await;
    let response = connection.response().await;
    assert!(response.is_none_or(|r| (400..500).contains(&r.status)));
    assert!(connection.closes().await, "a connection whose framing is in doubt must end");
    assert!(simulator.models_called().iter().all(|model| model != "smuggled"));
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_doubled_host() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let rest = "content-length: 2\r\n\r\n{}";
    for (what, host) in [("no host", ""), ("two hosts", "host: a\r\nhost: b\r\n")] {
        let request = format!("POST /model/{PRIMARY}/invoke HTTP/1.1\r\n{host}{rest}");
        let response = answer_to(&gateway, request.as_bytes(), what).await;
        let response = response.unwrap_or_else(|| panic!("{what}: closed without an answer"));
        assert_eq!(response.status, 400, "{what}: {response:?}");
        is_bedrocks_form(&response, what);
    }
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_json() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let deep = "[".repeat(100_000);
    for body in ["", "{", "null", "\u{0}", "{\"max_tokens\":}", "{\"max_tokens\":1e999}", &deep] {
        for suffix in ["invoke", "converse", "converse-stream", "count-tokens"] {
            let url = format!("{}/model/{PRIMARY}/{suffix}", gateway.url());
            let response = http::post(&url, &[], body.to_owned()).await;
            let what = format!("{suffix} {:.20}", body);
            assert_eq!(response.status, 400, "{what}: {}", response.text());
            assert!(response.header("x-amzn-errortype").is_some(), "{what}");
            assert!(response.json()["message"].is_string(), "{what}");
        }
    }
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_is_ended() {
    let simulator = Simulator::start().await;
    let config = crate::support::Config::four_models(&simulator)
        .set("server.header_read_timeout", "200ms")
        .set("server.body_read_timeout", "200ms");
    let gateway = Gateway::start(&config).await;

    let mut head = Connection::open(gateway.address()).await;
    head.send(b"POST /model/m/invoke HTTP/1.1\r\nhost: x\r\n").await;
    assert!(head.response().await.is_none_or(|response| response.status == 408));

    let mut body = Connection::open(gateway.address()).await;
    let request = format!(
        "POST /model/{PRIMARY}/invoke HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{"
    );
    body.send(request.as_bytes()).await;
    assert!(body.response().await.is_none_or(|response| response.status == 408));
    assert!(simulator.log().is_empty());
    gateway.is_healthy().await;
}

/// A request with these fields and this body.
fn with_fields(fields: &str, body: &str) -> String {
    format!("POST /model/{PRIMARY}/invoke HTTP/1.1\r\nhost: x\r\n{fields}\r\n\r\n{body}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_length_is_refused_wherever_it_stands() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let body = bodies::messages("hello", 10);
    let length = body.len();
    for fields in [
        format!("content-length: {length}\r\ncontent-length: {length}"),
        format!("Content-Length: {length}\r\nx: y\r\nCONTENT-LENGTH:{length}"),
        format!("content-length: {length}\r\ncontent-length: {}", length + 1),
        format!("content-length: {length}, {length}"),
        format!("content-length: +{length}"),
        format!("content-length : {length}"),
        "content-length: 0x20".to_owned(),
        "content-length: ".to_owned(),
        "transfer-encoding: gzip, chunked".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked".to_owned(),
        "transfer-encoding: chunked, chunked".to_owned(),
        "transfer-encoding: identity".to_owned(),
        "transfer-encoding: xchunked".to_owned(),
    ] {
        let response = answer_to(&gateway, with_fields(&fields, &body).as_bytes(), &fields).await;
        let response = response.expect(&fields);
        assert_eq!(
            (response.status, response.header("connection")),
            (400, Some("close")),
            "{fields}"
        );
        is_bedrocks_form(&response, &fields);
    }
    let twice =
        with_fields(&format!("content-length: {length}\r\ncontent-length: {length}"), &body);
    // After others on its connection, and right behind them.
    let chunked =
        with_fields("transfer-encoding: chunked", &format!("{length:x}\r\n{body}\r\n0\r\n\r\n"));
    for before in [good_request(), chunked] {
        let mut connection = Connection::open(gateway.address()).await;
        connection.send(before.as_bytes()).await;
        assert_eq!(connection.response().await.unwrap().status, 200);
        connection.send(twice.as_bytes()).await;
        assert_eq!(connection.response().await.unwrap().status, 400);
        assert!(connection.closes().await);

        let mut connection = Connection::open(gateway.address()).await;
        connection
            .send([before.as_str(), before.as_str(), &twice, &before].concat().as_bytes())
            .await;
        for status in [200, 200, 400] {
            assert_eq!(connection.response().await.unwrap().status, status);
        }
        assert!(connection.closes().await);
    }
    // Other listeners say the same.
    let mut connection = Connection::open(gateway.admin_address()).await;
    connection
        .send(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(connection.response().await.unwrap().status, 400);
    let bad = [("outcome", "bad_request")];
    assert!(gateway.metrics().await.sum("sluice_requests_total", &bad) >= 6.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_http2_too() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let body = bodies::messages("hello", 10);
    let (length, path) = (body.len().to_string(), format!("/model/{PRIMARY}/invoke"));
    let list = format!("{length}, {length}");
    for lengths in [vec![length.as_str(), &length], vec![&list], vec!["+5"]] {
        let mut connection = Http2::open(gateway.address(), &[]).await;
        let mut fields = post(&path);
        for length in &lengths {
            fields.extend(block(&[("content-length", length)]));
        }
        connection.send(&frame(kind::HEADERS, flag::END_HEADERS, 1, &fields)).await;
        connection.send(&frame(kind::DATA, flag::END_STREAM, 1, body.as_bytes())).await;
        let is_answer = |frame: &Frame| {
            frame.stream == 1 && [kind::HEADERS, kind::RST_STREAM].contains(&frame.kind)
        };
        let answer = connection.find(LONG, is_answer).await.unwrap();
        // 400 stands in the table of fields that everybody knows, where 200 is another.
        assert!(answer.kind == kind::RST_STREAM || answer.payload[0] == 0x8c, "{lengths:?}");
    }
    assert!(simulator.log().is_empty());
    gateway.is_healthy().await;
}
