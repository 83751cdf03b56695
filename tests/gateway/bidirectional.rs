//! The bidirectional stream, by the JavaScript SDK over HTTP/2.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use sluice::simulator::Fault;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::patience::{LONG, eventually, within};
use crate::support::{Authority, Config, Gateway, PRIMARY, SECOND, Simulator, Terminator, http};

const OPERATION: &str = "InvokeModelWithBidirectionalStream";

/// Has a conversation and gives what came back.
async fn converse(gateway: &Gateway, job: Value) -> Vec<Value> {
    converse_with(&gateway.url(), Path::new(""), job).await
}

/// The same at this URL, trusting in the authority of this file.
async fn converse_with(endpoint: &str, ca: &Path, job: Value) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut job = job;
    job["endpoint"] = endpoint.into();
    job["model"] = PRIMARY.into();
    let mut node = Command::new("node")
        .arg("bidirectional.mjs")
        .current_dir(folder)
        .env("NODE_EXTRA_CA_CERTS", ca)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = node.stdin.take().unwrap();
    input.write_all(job.to_string().as_bytes()).await.unwrap();
    drop(input);
    let output = within(LONG, "the conversation ends", node.wait_with_output()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_talk_in_turn_and_every_event_is_signed_for_the_target() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::four_models(&simulator)).await;
    let got = converse(&gateway, json!({ "says": ["one", "two", "three"] })).await;
    let echo = |said: &str| json!({ "event": { "echo": { "say": said } } });
    let usage = json!({ "event": { "usageEvent": {
        "totalInputTokens": 3, "totalOutputTokens": 3,
    } } });
    assert_eq!(got, [echo("one"), echo("two"), echo("three"), usage, json!({ "end": true })]);

    // The simulator has verified the request's signature and each event's, by the gateway's key.
    let call = simulator.only_call();
    assert_eq!(call.operation, Some(OPERATION));
    assert_eq!((call.signature, call.error.as_deref()), (Some("valid"), None));
    assert_eq!(call.access_key_id.as_deref(), Some(simulator.access_key_id()));
    assert_eq!(call.protocol, "HTTP/2.0");
    let log = gateway.access_log(1).await;
    assert_eq!(log[0]["operation"], OPERATION);
    assert_eq!(log[0]["outcome"], "success");
    assert_eq!(log[0]["usage"]["output"], 3);
    let in_flight = async || gateway.quota("sonnet-35").await.in_flight;
    eventually("the reservation is settled", in_flight, |count| *count == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_through_tls_on_both_sides() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let server = authority.server();
    let before = Terminator::start(&server, &["h2", "http/1.1"], simulator.address()).await;
    let config = Config::four_models(&simulator)
        .tls(&server)
        .set("upstream.endpoint_url", format!("https://localhost:{}", before.port()))
        .set("upstream.ca_file", authority.path());
    let gateway = Gateway::start(&config).await;
    let says = json!({ "says": ["one", "two"] });
    let got = converse_with(&gateway.https_url(), &authority.file(), says).await;
    assert_eq!(got.last(), Some(&json!({ "end": true })), "{got:?}");
    assert_eq!(simulator.only_call().signature, Some("valid"));
    assert_eq!(before.agreed(), ["h2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_fails_is_not_replaced_and_says_so_itself() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).set("queue.max_wait", "0s");
    let gateway = Gateway::start(&config).await;
    simulator.strikes(PRIMARY, 1, Fault::Throttle);
    let got = converse(&gateway, json!({ "says": ["one"] })).await;
    assert_eq!(got[0]["error"], "ThrottlingException", "{got:?}");
    assert!(simulator.calls_to(SECOND).is_empty());
    // It cools like any throttled target.
    assert_eq!(gateway.target("sonnet-35").await["consecutive_throttles"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_it_at_the_target() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::four_models(&simulator)).await;
    let got = converse(&gateway, json!({ "says": ["one"], "gives_up": true })).await;
    assert_eq!(got.len(), 1, "{got:?}");
    let in_flight = async || gateway.quota("sonnet-35").await.in_flight;
    eventually("the reservation is settled", in_flight, |count| *count == 0).await;
    let log = gateway.access_log(1).await;
    assert_eq!(log[0]["outcome"], "client_gone");
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_has_a_time_limit_of_its_own() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator)
        .set("server.request_timeout", "100ms")
        .set("server.bidirectional_timeout", "1500ms");
    let gateway = Gateway::start(&config).await;
    // The client never stops to talk.
    let says: Vec<String> = (0..200_000).map(|number| number.to_string()).collect();
    let got = converse(&gateway, json!({ "says": says })).await;
    assert!(got.last().unwrap()["error"].is_string(), "{:?}", got.last());
    assert_eq!(gateway.access_log(1).await[0]["outcome"], "request_timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_can_not_carry_it() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::four_models(&simulator)).await;
    let path = format!("/model/{PRIMARY}/invoke-with-bidirectional-stream");
    let answer = http::post(&format!("{}{path}", gateway.url()), &[], "").await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("x-amzn-errortype"), Some("ValidationException"));
    assert!(answer.text().contains("needs HTTP/2"), "{}", answer.text());
    assert!(simulator.log().is_empty());
}
