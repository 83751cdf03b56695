//! Bodies that are too large, too many, too slow or made to be costly, on every endpoint that is
//! not the Bedrock API: whoever sends them, the gateway's memory and its other callers do not
//! notice.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{analyze, get};
use crate::support::gateway::ADMIN_KEY;
use crate::support::patience::{LONG, eventually, within};
use crate::support::raw::Connection;
use crate::support::{Ask, Config, Gateway, Simulator, http};

const KEY: &str = "team-a-bearer-key-0123456789";

/// Every endpoint of the legacy application and of the admin port, by method and path; those of the
/// latter are on a port of their own.
const LEGACY: [(&str, &str); 9] = [
    ("GET", "/health"),
    ("POST", "/analyze_section"),
    ("POST", "/chat"),
    ("GET", "/test_claude_connection"),
    ("GET", "/task_status/1"),
    ("GET", "/queue_stats"),
    ("POST", "/cancel_task/1"),
    ("GET", "/model_stats"),
    ("POST", "/reset_model_cooldowns"),
];
const ADMIN: [(&str, &str); 8] = [
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/status"),
    ("GET", "/admin/targets"),
    ("GET", "/admin/config"),
    ("GET", "/admin/none"),
    ("POST", "/admin/targets/none/reset"),
];

/// The most that memory may grow by while bodies of [`SENT`] bytes are on each of many connections.
const MOST_GROWN: u64 = 48 << 20;
const CONNECTIONS: usize = 24;
const SENT: usize = 6 << 20;

fn config(simulator: &Simulator) -> Config {
    Config::four_models(simulator)
        .client("team-a", "env:TEAM_A_KEY")
        .set("server.max_in_flight_bytes", "10MB")
}

async fn start(config: &Config) -> Gateway {
    Gateway::start_with(config, &[("TEAM_A_KEY", KEY)]).await
}

/// The highest that memory is while `work` is done.
async fn most_resident<T>(gateway: &Gateway, work: impl Future<Output = T>) -> (u64, T) {
    let mut most = 0;
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return (most.max(gateway.resident_bytes()), done),
            () = sleep(Duration::from_millis(5)) => most = most.max(gateway.resident_bytes()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_endpoint_keeps_a_body_that_it_does_not_want() {
    let simulator = Simulator::start().await;
    let gateway = start(&config(&simulator)).await;
    let endpoints = LEGACY.map(|it| (gateway.address(), it)).into_iter();
    let endpoints = endpoints.chain(ADMIN.map(|it| (gateway.admin_address(), it)));
    let piece = vec![b' '; 64 * 1024];
    for (address, (method, path)) in endpoints {
        for key in [None, Some(KEY), Some(ADMIN_KEY)] {
            let before = gateway.resident_bytes();
            let authorization =
                key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{authorization}\
                 content-type: application/json\r\ncontent-length: 24000000\r\n\r\n"
            );
            let mut open = Vec::new();
            for _ in 0..CONNECTIONS {
                let mut connection = Connection::open(address).await;
                connection.send(head.as_bytes()).await;
                open.push(connection);
            }
            let send = async {
                for connection in &mut open {
                    let sending = async {
                        for _ in 0..SENT / piece.len() {
                            connection.send(&piece).await;
                        }
                    };
                    // What is not read does not get further than the sockets.
                    let _ = tokio::time::timeout(Duration::from_millis(100), sending).await;
                }
            };
            let (most, ()) = most_resident(&gateway, send).await;
            let grown = most.saturating_sub(before);
            assert!(grown < MOST_GROWN, "{method} {path} {key:?}: {} MB", grown >> 20);
            let others = get(&gateway, "/health").await;
            assert_eq!(others.status, 200, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_http2_connection_are_bounded_as_well() {
    let simulator = Simulator::start().await;
    let gateway = start(&config(&simulator)).await;
    let before = gateway.resident_bytes();
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let health = format!("{}/health", gateway.url());
    let mut open = Vec::new();
    let flood = async {
        for _ in 0..60 {
            // A body that goes on for 20 MB, and then for ever.
            let pieces = stream::repeat(Bytes::from_static(&[b' '; 16 * 1024])).take(1280);
            let pieces = pieces.chain(stream::pending()).map(|piece| Ok(Frame::data(piece)));
            let body = StreamBody::new(pieces.map(|it: Result<_, Infallible>| it));
            let request = Request::get(health.as_str()).body(body).unwrap();
            open.push(tokio::spawn(client.request(request)));
        }
        sleep(Duration::from_secs(1)).await;
    };
    let (most, ()) = most_resident(&gateway, flood).await;
    let grown = most.saturating_sub(before);
    assert!(grown < MOST_GROWN, "{} MB", grown >> 20);
    for answer in open {
        let answer = within(LONG, "an answer", answer).await.unwrap();
        assert_eq!(answer.map(|answer| answer.status().as_u16()).ok(), Some(413));
    }
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_endpoint_has_a_bound_of_its_own() {
    let simulator = Simulator::start().await;
    let gateway = start(&config(&simulator)).await;
    let bearer = format!("Bearer {KEY}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    for (method, path) in LEGACY {
        let reads = ["/analyze_section", "/chat"].contains(&path);
        let bound = if reads { 1_000_000 } else { 8 * 1024 };
        let url = format!("{}{path}", gateway.url());
        let large = http::request(method, &url, &headers, vec![b' '; bound + 1]).await;
        assert_eq!(large.status, 413, "{path}");
        assert_eq!(large.json()["error"], "The request body is too large", "{path}");
        let fits = http::request(method, &url, &headers, vec![b' '; bound]).await;
        assert_ne!(fits.status, 413, "{path}");
    }
    // Of a body that is not taken nothing was asked.
    let asked = simulator.log();
    assert!(asked.len() <= 1, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_a_legacy_endpoint_counts_among_all() {
    let simulator = Simulator::start().await;
    let config = config(&simulator)
        .set("server.max_in_flight", 2)
        .set("server.max_in_flight_bytes", "1200KB");
    let gateway = start(&config).await;
    let head = |length: usize| {
        format!(
            "POST /analyze_section HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let held = async || gateway.metrics().await.sum("sluice_in_flight_bytes", &[]);
    let mut first = Connection::open(gateway.address()).await;
    first.send(head(900_000).as_bytes()).await;
    eventually("its body is counted", held, |bytes| *bytes == 900_000.0).await;
    let mut second = Connection::open(gateway.address()).await;
    second.send(head(900_000).as_bytes()).await;
    let refused = second.response().await.unwrap();
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    let mut second = Connection::open(gateway.address()).await;
    second.send(head(200_000).as_bytes()).await;
    eventually("so is the other's", held, |bytes| *bytes == 1_100_000.0).await;
    // There are two places, and both are taken: for the Bedrock API, too. Health needs none.
    assert_eq!(Ask::new(&gateway, "hi").bearer(KEY).send().await.status, 503);
    assert_eq!(get(&gateway, "/health").await.status, 200);
    drop((first, second));
    eventually("nothing is counted any more", held, |bytes| *bytes == 0.0).await;
    let bearer = format!("Bearer {KEY}");
    let body = json!({ "session_id": "s", "section_name": "S", "content": "text" });
    let url = format!("{}/analyze_section", gateway.url());
    let analysed = http::post(&url, &[("authorization", &bearer)], body.to_string()).await;
    assert_eq!(analysed.status, 200, "{}", analysed.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_at_its_limit_is_refused_before_its_body_is_read() {
    let simulator = Simulator::start().await;
    let gateway = start(&config(&simulator).of_client("rpm", 1)).await;
    let bearer = format!("Bearer {KEY}");
    let body = json!({ "session_id": "s", "section_name": "S", "content": "text" });
    let url = format!("{}/analyze_section", gateway.url());
    let first = http::post(&url, &[("authorization", &bearer)], body.to_string()).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let mut second = Connection::open(gateway.address()).await;
    let head = format!(
        "POST /analyze_section HTTP/1.1\r\nhost: localhost\r\nauthorization: {bearer}\r\n\
         content-type: application/json\r\ncontent-length: 1000\r\n\r\n"
    );
    // Its body never comes.
    second.send(head.as_bytes()).await;
    let refused = second.response().await.unwrap();
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert!(refused.header("retry-after").is_some());
    assert!(refused.body.contains("rpm"), "{}", refused.body);
    let limited = gateway.metrics().await.sum("sluice_client_limited_total", &[("limit", "rpm")]);
    assert_eq!(limited, 1.0);
}

/// Bodies that a tree of values would be many times as large as, all just within the bound.
fn costly() -> Vec<(&'static str, String)> {
    let list = |element: &str| {
        let count = 990_000 / (element.len() + 1);
        format!("{{\"session_id\":\"s\",\"a\":[{}]}}", vec![element; count].join(","))
    };
    let keys: Vec<String> = (0..95_000).map(|n| format!("\"{n:x}\":0")).collect();
    vec![
        ("objects", list("{}")),
        ("lists", list("[]")),
        ("numbers", list("0")),
        ("texts", list("\"a\"")),
        ("members", list("{\"a\":0}")),
        ("keys", format!("{{{}}}", keys.join(","))),
        ("depth", format!("{{\"a\":{}", "[".repeat(900_000))),
        ("escapes", format!("{{\"content\":\"{}\"}}", "\\u0061".repeat(160_000))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn json_costs_no_more_than_its_bytes() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::four_models(&simulator)).await;
    assert_eq!(analyze(&gateway, "s", "S").await.status, 200);
    let before = gateway.resident_bytes();
    let url = format!("{}/analyze_section", gateway.url());
    for (kind, body) in costly() {
        let sending = async {
            let mut asked = tokio::task::JoinSet::new();
            for _ in 0..8 {
                let (url, body) = (url.clone(), body.clone());
                asked.spawn(async move { http::post(&url, &[], body).await });
            }
            asked.join_all().await
        };
        let (most, answers) = most_resident(&gateway, sending).await;
        for answer in answers {
            assert_eq!(answer.status, 400, "{kind}: {}", answer.text());
        }
        // Eight bodies of 1 MB, what the connections read at a go, and threads that read JSON.
        let grown = most.saturating_sub(before);
        assert!(grown < MOST_GROWN, "{kind}: {} MB", grown >> 20);
    }
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_bounded_and_said_to_be() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::four_models(&simulator)).await;
    for member in ["section_name", "doc_type"] {
        let mut body = json!({ "session_id": "s", "section_name": "S", "content": "text" });
        body[member] = "x".repeat(1001).into();
        let refused = super::post(&gateway, "/analyze_section", &body).await;
        assert_eq!(refused.status, 400);
        let error = format!("{member} is longer than 1000 characters");
        assert_eq!(refused.json()["error"], error);
        body[member] = "x".repeat(1000).into();
        assert_eq!(super::post(&gateway, "/analyze_section", &body).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_ends_in_time() {
    let simulator = Simulator::start().await;
    let config = config(&simulator).set("server.body_read_timeout", "1s");
    let gateway = start(&config).await;
    for (method, path) in [("GET", "/health"), ("POST", "/chat")] {
        let mut connection = Connection::open(gateway.address()).await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n\
             content-length: 1000\r\n\r\n"
        );
        let began = Instant::now();
        connection.send(head.as_bytes()).await;
        let answer = connection.response().await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (408, Some("close")), "{path}");
        assert!(began.elapsed() >= Duration::from_secs(1), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_heads_count_as_well_before_they_end_and_after() {
    let simulator = Simulator::start().await;
    let config = config(&simulator).set("server.max_in_flight_bytes", "500KB");
    let gateway = start(&config).await;
    let held = async || gateway.metrics().await.sum("sluice_in_flight_bytes", &[]);
    let large = format!("GET /health HTTP/1.1\r\nhost: localhost\r\nx: {}", "y".repeat(50_000));
    let ended = [("reason", "overloaded")];
    let ended = async || gateway.metrics().await.sum("sluice_connections_ended_total", &ended);
    // Heads without an end.
    let mut open = Vec::new();
    for _ in 0..20 {
        let mut connection = Connection::open(gateway.address()).await;
        connection.send(large.as_bytes()).await;
        open.push(connection);
    }
    eventually("some are closed for want of room", ended, |count| *count >= 8.0).await;
    assert!(held().await <= 500_000.0);
    assert_eq!(get(&gateway, "/health").await.status, 200, "an ordinary head takes no room");
    drop(open);
    eventually("nothing is held", held, |bytes| *bytes == 0.0).await;
    // Heads of requests whose bodies do not come.
    let large = format!("{large}\r\ncontent-length: 10\r\n\r\n");
    let mut open = Vec::new();
    for _ in 0..10 {
        let mut connection = Connection::open(gateway.address()).await;
        connection.send(large.as_bytes()).await;
        open.push(connection);
    }
    eventually("their heads are counted", held, |bytes| *bytes > 450_000.0).await;
    let mut one_more = Connection::open(gateway.address()).await;
    one_more.send(large.as_bytes()).await;
    // It is refused, or closed before its head has ended.
    let refused = one_more.response().await.map(|response| response.status);
    assert!(matches!(refused, None | Some(503)), "{refused:?}");
    drop(open);
    eventually("nothing is held any more", held, |bytes| *bytes == 0.0).await;
}
