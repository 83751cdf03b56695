//! Where nobody needs a key, pages of other sites in a browser get at nothing all the same: neither
//! by asking across sites, nor by a name of theirs that leads to the gateway.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::h2::{Frame, Http2, block, flag, frame, kind};
use crate::support::patience::LONG;
use crate::support::raw::{Connection, RawResponse};
use crate::support::{Config, Gateway, PRIMARY, Simulator, bodies};

/// What a page of another site has its browser say, in the place of a right host and nothing else.
const FOREIGN: [(&str, &str); 9] = [
    (
        "a page across sites",
        "host: HERE\r\norigin: https://evil.example\r\nsec-fetch-site: cross-site\r\n",
    ),
    ("without metadata", "host: HERE\r\norigin: https://evil.example\r\n"),
    ("without an origin", "host: HERE\r\nsec-fetch-site: cross-site\r\n"),
    ("a sandboxed page", "host: HERE\r\norigin: null\r\n"),
    (
        "another port of this machine",
        "host: HERE\r\norigin: http://127.0.0.1:3000\r\nsec-fetch-site: same-site\r\n",
    ),
    (
        "a rebound name",
        "host: evil.example:8080\r\norigin: http://evil.example:8080\r\nsec-fetch-site: same-origin\r\n",
    ),
    ("a rebound name in a GET", "host: evil.example\r\nsec-fetch-site: same-origin\r\n"),
    ("two origins", "host: HERE\r\norigin: http://HERE\r\norigin: https://evil.example\r\n"),
    ("localhost of another", "host: localhost.evil.example\r\n"),
];

/// What is no such page.
const OWN: [(&str, &str); 5] = [
    ("by the address", "host: HERE\r\n"),
    ("by localhost", "host: localhost:8080\r\n"),
    ("by the whole name", "host: LOCALHOST.\r\n"),
    ("by IPv6", "host: [::1]:8080\r\n"),
    (
        "a page of the gateway",
        "host: HERE\r\norigin: http://HERE\r\nsec-fetch-site: same-origin\r\n",
    ),
];

fn open_to_all(simulator: &Simulator) -> Config {
    Config::models(simulator, 2)
        .set("server.allowed_hosts", Vec::<String>::new())
        .set("legacy.models", vec!["sonnet-35", "sonnet-35-v2"])
        .without_admin_key()
}

async fn ask(address: SocketAddr, line: &str, fields: &str, body: &str) -> RawResponse {
    let fields = fields.replace("HERE", &address.to_string());
    let length = body.len();
    let mut connection = Connection::open(address).await;
    let head = format!("{line} HTTP/1.1\r\n{fields}content-type: text/plain\r\n");
    connection.send(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes()).await;
    connection.response().await.unwrap()
}

/// Every way to ask, with a body where it takes one.
fn calls() -> Vec<(String, bool)> {
    let native = ["invoke", "converse", "invoke-with-response-stream", "converse-stream"];
    let native = native.into_iter().map(|it| (format!("POST /model/{PRIMARY}/{it}"), true));
    let others = [
        "POST /guardrail/g/version/1/apply",
        "POST /async-invoke",
        "GET /async-invoke",
        "OPTIONS /async-invoke",
        "GET /favicon.ico",
    ];
    let legacy = [
        "POST /analyze_section",
        "POST /chat",
        "POST /reset_model_cooldowns",
        "POST /cancel_task/x",
        "GET /test_claude_connection",
        "GET /task_status/x",
        "GET /queue_stats",
        "GET /model_stats",
    ];
    let others = others.into_iter().map(|line| (line.to_owned(), true));
    native.chain(others).chain(legacy.map(|line| (line.to_owned(), false))).collect()
}

#[track_caller]
fn is_refused(response: &RawResponse, is_native: bool, what: &str) {
    assert_eq!(response.status, 403, "{what}: {response:?}");
    let body: Value = serde_json::from_str(&response.body).unwrap();
    let message = if is_native {
        assert_eq!(response.header("x-amzn-errortype"), Some("AccessDeniedException"), "{what}");
        &body["message"]
    } else {
        assert_eq!(body["success"], false, "{what}");
        &body["error"]
    };
    assert!(message.as_str().unwrap().contains("server.allowed_hosts"), "{what}: {message}");
    let cors = response.head.to_ascii_lowercase().contains("access-control");
    assert!(!cors, "{what}: {}", response.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_reaches_no_model_and_changes_nothing() {
    let simulator = Simulator::start().await;
    for own_listener in [false, true] {
        let config = open_to_all(&simulator);
        let config = if own_listener { config.set("legacy.listen", "127.0.0.1:0") } else { config };
        let gateway = Gateway::start(&config).await;
        let body = bodies::messages("hello", 10);
        for (line, is_native) in calls() {
            let legacy = gateway.legacy_address();
            let address = if is_native { gateway.address() } else { legacy };
            for (who, fields) in FOREIGN {
                let response = ask(address, &line, fields, &body).await;
                is_refused(&response, is_native, &format!("{line} {who}"));
            }
        }
        assert!(simulator.log().is_empty(), "{:?}", simulator.log());
        let metrics = gateway.metrics().await;
        let foreign = [("by", "none"), ("result", "foreign")];
        let count = (calls().len() * FOREIGN.len()) as f64;
        assert_eq!(metrics.sum("sluice_authentications_total", &foreign), count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_else_is_served_as_before() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&open_to_all(&simulator)).await;
    let body = bodies::messages("hello", 10);
    for (who, fields) in OWN {
        let line = format!("POST /model/{PRIMARY}/invoke");
        assert_eq!(ask(gateway.address(), &line, fields, &body).await.status, 200, "{who}");
        let stats = ask(gateway.legacy_address(), "GET /model_stats", fields, "").await;
        assert_eq!(stats.status, 200, "{who}");
    }
    // Load balancers ask by whatever name they like.
    for (who, fields) in FOREIGN {
        let health = ask(gateway.legacy_address(), "GET /health", fields, "").await;
        assert_eq!(health.status, 200, "{who}");
    }
    // By HTTP/1.0 nobody need name a host.
    let mut connection = Connection::open(gateway.address()).await;
    let length = body.len();
    let old =
        format!("POST /model/{PRIMARY}/invoke HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{body}");
    connection.send(old.as_bytes()).await;
    assert_eq!(connection.response().await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_can_be_allowed_and_pages_of_other_sites_can_not() {
    let simulator = Simulator::start().await;
    let line = format!("POST /model/{PRIMARY}/invoke");
    let body = bodies::messages("hello", 10);
    let asked = async |gateway: &Gateway, host: &str, more: &str| {
        let fields = format!("host: {host}\r\n{more}");
        ask(gateway.address(), &line, &fields, &body).await.status
    };
    let config = open_to_all(&simulator);
    let some = config.clone().set("server.allowed_hosts", vec!["sluice", "Sluice.Apps.svc."]);
    let some = Gateway::start(&some).await;
    let any = Gateway::start(&config.clone().set("server.allowed_hosts", vec!["*"])).await;
    for host in ["sluice", "SLUICE:8080", "sluice.", "sluice.apps.svc:80", "localhost"] {
        assert_eq!(asked(&some, host, "").await, 200, "{host}");
    }
    for host in ["x.sluice", "sluice.apps", "evil.example"] {
        assert_eq!(asked(&some, host, "").await, 403, "{host}");
        assert_eq!(asked(&any, host, "").await, 200, "{host}");
    }
    for gateway in [&some, &any] {
        let own = "origin: http://sluice:8080\r\n";
        assert_eq!(asked(gateway, "sluice:8080", own).await, 200);
        let foreign = "origin: https://evil.example\r\n";
        assert_eq!(asked(gateway, "sluice:8080", foreign).await, 403);
    }
    // Who has a key is no page of another site.
    let config = config.client("team-a", "env:TEAM_A_KEY");
    let gateway = Gateway::start_with(&config, &[("TEAM_A_KEY", "the-key-of-team-a-0123")]).await;
    let with_key = "authorization: Bearer the-key-of-team-a-0123\r\norigin: https://a.example\r\n";
    assert_eq!(asked(&gateway, "gateway.example", with_key).await, 200);
}

/// The status of a request by HTTP/2 with these header fields.
async fn by_http2(address: SocketAddr, fields: &[(&str, &str)]) -> u16 {
    let mut connection = Http2::open(address, &[]).await;
    let end = flag::END_HEADERS | flag::END_STREAM;
    connection.send(&frame(kind::HEADERS, end, 1, &block(fields))).await;
    let is_headers = |frame: &Frame| frame.kind == kind::HEADERS;
    let headers = connection.find(LONG, is_headers).await.expect("an answer").payload;
    // The status comes first: from the static table of HPACK, or in Huffman's code.
    if headers.starts_with(&[0x88]) {
        200
    } else if headers.starts_with(&[0x8c]) {
        400
    } else if headers.starts_with(&[0x48, 0x83, 0x68, 0x0c, 0xff]) {
        403
    } else {
        panic!("{headers:x?}")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_that_counts_is_looked_at_on_every_listener() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&open_to_all(&simulator)).await;
    for (address, path) in [
        (gateway.address(), "/async-invoke"),
        (gateway.legacy_address(), "/model_stats"),
        (gateway.admin_address(), "/admin/targets"),
    ] {
        let here = address.to_string();
        // An absolute target overrides the host, whichever of them is foreign.
        let absolute = format!("GET http://evil.example{path}");
        assert_eq!(ask(address, &absolute, "host: HERE\r\n", "").await.status, 403, "{path}");
        let absolute = format!("GET http://{here}{path}");
        let answer = ask(address, &absolute, "host: evil.example\r\n", "").await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        for fields in ["", "host: HERE\r\nhost: evil.example\r\n", "host: evil.example@HERE\r\n"] {
            let answer = ask(address, &format!("GET {path}"), fields, "").await;
            assert_eq!(answer.status, 400, "{path} {fields:?}: {answer:?}");
        }
        let base = [(":method", "GET"), (":scheme", "http"), (":path", path)];
        let with = |more: &[(&'static str, &'static str)]| [&base[..], more].concat();
        let ours = by_http2(address, &[&base[..], &[(":authority", &here)]].concat()).await;
        assert_eq!(ours, 200, "{path}");
        for (status, more) in [
            (403, &[(":authority", "evil.example")][..]),
            (403, &[(":authority", "evil.example"), ("host", "evil.example")]),
            (400, &[(":authority", "localhost"), ("host", "evil.example")]),
            (400, &[(":authority", "evil.example"), ("host", "localhost")]),
            (403, &[("host", "evil.example")]),
            (400, &[]),
        ] {
            assert_eq!(by_http2(address, &with(more)).await, status, "{path} {more:?}");
        }
    }
}
