//! What the gateway must hold of an answer before it passes it on: it counts as in flight, and is bounded.

use super::{APIS, Upstream, gateway, post};
use crate::support::patience::eventually;
use crate::support::{Config, Gateway};

/// More than half of what may be in flight.
const LARGE: usize = 60_000;

fn little_room(config: Config) -> Config {
    config.set("server.max_in_flight_bytes", "100KB").set("apis.responses.store", "allow")
}

/// The beginning of an answer whose end does not come.
fn begun(kind: &str, start: &str, bytes: usize) -> String {
    let text = "x".repeat(bytes);
    format!(
        "HTTP/1.1 200 X\r\ncontent-type: {kind}\r\ncontent-length: 99999999\r\n\r\n{start}{text}"
    )
}

/// Waits until this much is in flight.
async fn held(gateway: &Gateway, wanted: impl Fn(f64) -> bool) {
    let bytes = async || gateway.metrics().await.sum("sluice_in_flight_bytes", &[]);
    eventually("bytes in flight", bytes, |bytes| wanted(*bytes)).await;
}

async fn unheld(gateway: &Gateway, reason: &str) -> f64 {
    let reason = [("reason", reason)];
    gateway.metrics().await.sum("sluice_unheld_answers_total", &reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_finds_no_room_gets_an_error_and_leaves_the_others_alone() {
    let body = r#"{"model":"m","input":"hi"}"#;
    let upstream = Upstream::start(|number, _, _| match number {
        1 | 2 => {
            begun("application/json", r#"{"id":"resp_1","object":"response","output":[""#, LARGE)
        }
        _ => super::json(200, &APIS[1].answer()),
    })
    .await;
    let gateway = gateway(&upstream, little_room).await;
    let url = format!("{}/v1/responses", gateway.url());
    let first = tokio::spawn(async move { crate::support::http::post(&url, &[], body).await });
    held(&gateway, |bytes| bytes > 50_000.0).await;
    let refused = post(&gateway, "/v1/responses", &[], body).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));
    let error = APIS[1].error(&refused);
    assert_eq!(error["type"], "server_error");
    assert!(error["message"].as_str().unwrap().contains("overloaded"), "{error}");
    assert_eq!(unheld(&gateway, "no_room").await, 1.0);
    assert_eq!(gateway.access_log(1).await[0]["outcome"], "overloaded");
    assert_eq!(gateway.target("first").await["state"], "available");
    // The first one ends with its client, and gives its room back.
    first.abort();
    held(&gateway, |bytes| bytes == 0.0).await;
    assert_eq!(post(&gateway, "/v1/responses", &[], body).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_event_finds_no_room_ends_with_an_error() {
    let upstream = Upstream::start(|_, _, _| {
        begun("text/event-stream", &format!("{}data: ", APIS[0].events()[0]), LARGE)
    })
    .await;
    let gateway = gateway(&upstream, little_room).await;
    let (url, body) = (format!("{}{}", gateway.url(), APIS[0].path), APIS[0].body(true));
    let first = tokio::spawn(async move { crate::support::http::post(&url, &[], body).await });
    held(&gateway, |bytes| bytes > 50_000.0).await;
    let ended = post(&gateway, APIS[0].path, &[], APIS[0].body(true)).await;
    let text = ended.text();
    let last = text.strip_prefix(APIS[0].events()[0]).unwrap_or_else(|| panic!("{text}"));
    assert!(last.contains("overloaded") && last.contains("server_error"), "{last}");
    assert_eq!(unheld(&gateway, "no_room").await, 1.0);
    first.abort();
    held(&gateway, |bytes| bytes == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_long_to_be_changed_gets_an_error() {
    let upstream = Upstream::start(|_, _, _| {
        begun("application/json", r#"{"id":"resp_1","object":"response","output":[""#, 33 << 20)
    })
    .await;
    let gateway = gateway(&upstream, |config| config.set("apis.responses.store", "allow")).await;
    let refused = post(&gateway, "/v1/responses", &[], r#"{"model":"m","input":"hi"}"#).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    let message = APIS[1].error(&refused)["message"].as_str().unwrap().to_owned();
    assert!(message.contains("longer than"), "{message}");
    assert_eq!(unheld(&gateway, "too_long").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_answer_that_breaks_off_or_stalls_has_the_status_of_an_error() {
    let upstream =
        Upstream::start(|_, _, _| begun("application/json", r#"{"id":"resp_1","#, 9)).await;
    let gateway = gateway(&upstream, |config| {
        config.set("apis.responses.store", "allow").set("upstream.idle_timeout", "300ms")
    })
    .await;
    let refused = post(&gateway, "/v1/responses", &[], r#"{"model":"m","input":"hi"}"#).await;
    assert_eq!(refused.status, 504, "{}", refused.text());
    assert!(refused.text().contains("stalled"), "{}", refused.text());
    let log = &gateway.access_log(1).await[0];
    assert_eq!((&log["status"], &log["outcome"]), (&504.into(), &"stream_idle".into()));
}
