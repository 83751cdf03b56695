//! What a translation can't carry, and what else must hold for translated requests.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_no_translation_carries_is_refused_by_name_before_anything_is_spent() {
    let upstream = Bedrock::start(|_, _| converse_text("hello")).await;
    let targets = [("claude", CLAUDE), ("nova", NOVA)];
    let gateway = gateway(&upstream, &targets, |config| config).await;
    let got = post(&gateway, CHAT, &with(chat(), "logit_bias", json!({ "50256": -100 }))).await;
    assert_eq!(got.status, 400, "{}", got.text());
    let refused = got.json();
    assert_eq!(refused["error"]["param"], "logit_bias");
    assert_eq!(refused["error"]["type"], "invalid_request_error");
    assert!(refused["error"]["message"].as_str().unwrap().contains("logit_bias"));
    assert!(upstream.seen().is_empty());
    let log = gateway.access_log(1).await;
    assert_eq!(log[0]["outcome"], "bad_request");
    assert_eq!(log[0]["passed_over"][0]["reason"], "translation");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_dropped_is_named_in_the_answer_and_the_log() {
    for config in [("apis.on_unsupported", "drop"), ("apis.drop_parameters", "list")] {
        let upstream = Bedrock::start(|_, _| converse_text("hello")).await;
        let gateway = gateway(&upstream, &[("nova", NOVA)], |it| match config {
            (key, "list") => it.set(key, vec!["logit_bias"]),
            (key, value) => it.set(key, value),
        })
        .await;
        let got = post(&gateway, CHAT, &with(chat(), "logit_bias", json!({ "50256": -100 }))).await;
        assert_eq!(got.status, 200, "{}", got.text());
        assert_eq!(got.header("x-sluice-dropped"), Some("logit_bias"));
        assert_eq!(gateway.access_log(1).await[0]["dropped"], "logit_bias");
        assert!(!upstream.seen()[0].body.to_string().contains("50256"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_one_model_cant_carry_goes_to_the_next_that_can() {
    let upstream = Bedrock::start(|_, _| converse_text("hello")).await;
    let gpt = "us.openai.gpt-5.6-sol";
    let gateway = gateway(&upstream, &[("nova", NOVA), ("gpt", gpt)], |config| config).await;
    post(&gateway, CHAT, &with(chat(), "logit_bias", json!({ "50256": -100 }))).await;
    assert_eq!(upstream.seen()[0].path, "/openai/v1/chat/completions", "it takes the API itself");
    let log = gateway.access_log(1).await;
    let passed_over = &log[0]["passed_over"][0];
    assert_eq!(
        (&passed_over["target"], &passed_over["reason"]),
        (&"nova".into(), &"translation".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cap_of_a_target_holds_for_translated_requests() {
    let upstream = Bedrock::start(|_, _| converse_text("hello")).await;
    let gateway = gateway(&upstream, &[("nova", NOVA)], |config| {
        config.every_target("max_output_tokens", 100)
    })
    .await;
    let got = post(&gateway, CHAT, &with(chat(), "max_completion_tokens", 900)).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(upstream.seen()[0].body["inferenceConfig"]["maxTokens"], 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guardrail_of_a_header_goes_into_the_body() {
    let upstream = Bedrock::start(|_, _| converse_text("hello")).await;
    let gateway = gateway(&upstream, &[("nova", NOVA)], |config| config).await;
    let headers =
        [("x-amzn-bedrock-guardrailidentifier", "gr-1"), ("x-amzn-bedrock-guardrailversion", "2")];
    let got = post_with(&gateway, CHAT, &headers, &chat()).await;
    assert_eq!(got.status, 200, "{}", got.text());
    let seen = &upstream.seen()[0];
    assert_eq!(seen.body["guardrailConfig"]["guardrailIdentifier"], "gr-1");
    assert_eq!(seen.body["guardrailConfig"]["guardrailVersion"], "2");
    assert!(!seen.head.to_ascii_lowercase().contains("guardrail"), "{}", seen.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_guardrail_is_on_every_translated_request() {
    let key = "a-long-enough-key-of-one";
    let upstream = Bedrock::start(|_, _| converse_text("hello")).await;
    let gateway = gateway(&upstream, &[("nova", NOVA)], |config| {
        let digest = format!("sha256:{}", sluice::simulator::sha256_hex(key.as_bytes()));
        let guardrail = toml::toml! { identifier = "gr-1"
        version = "2" };
        config.client("one", &digest).of_client("guardrail", guardrail)
    })
    .await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    for (path, body) in [(CHAT, chat()), (MESSAGES, message())] {
        let got = post_with(&gateway, path, &headers, &body).await;
        assert_eq!(got.status, 200, "{path} {}", got.text());
        let sent = &upstream.seen().pop().unwrap().body["guardrailConfig"];
        assert_eq!(sent["guardrailIdentifier"], "gr-1", "{path}");
    }
}

/// More than half of what may be in flight.
const LARGE: usize = 60_000;

/// A gateway with little room, and a first request that has taken most of it.
async fn with_little_room(upstream: &Bedrock, body: &Value) -> (Gateway, JoinHandle<Response>) {
    let targets = [("nova", NOVA), ("claude", CLAUDE)];
    let little = |config: Config| config.set("server.max_in_flight_bytes", "100KB");
    let gateway = gateway(upstream, &targets, little).await;
    let (url, body) = (format!("{}{CHAT}", gateway.url()), body.to_string());
    let first = tokio::spawn(async move { crate::support::http::post(&url, &[], body).await });
    in_flight(&gateway, |bytes| bytes > 50_000.0).await;
    (gateway, first)
}

async fn in_flight(gateway: &Gateway, wanted: impl Fn(f64) -> bool) {
    let bytes = async || gateway.metrics().await.sum("sluice_in_flight_bytes", &[]);
    crate::support::patience::eventually("in flight", bytes, |bytes| wanted(*bytes)).await;
}

async fn unheld(gateway: &Gateway, reason: &str) -> f64 {
    let reason = [("reason", reason)];
    gateway.metrics().await.sum("sluice_unheld_answers_total", &reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_translation_counts_as_in_flight_until_the_answer_begins() {
    let long = |length| with(chat(), "user", "x".repeat(length));
    let upstream = Bedrock::start(|number, _| match number {
        1 => PAUSE.to_vec(),
        _ => converse_text("hello"),
    })
    .await;
    let (gateway, first) = with_little_room(&upstream, &long(30_000)).await;
    let refused = post(&gateway, CHAT, &long(25_000)).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("overloaded"), "{}", refused.text());
    assert_eq!(gateway.access_log(1).await[0]["outcome"], "overloaded");
    assert_eq!(upstream.seen().len(), 1, "it is refused before a target is asked");
    assert_eq!(post(&gateway, CHAT, &long(10_000)).await.status, 200);
    first.abort();
    in_flight(&gateway, |bytes| bytes == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_finds_no_room_is_an_overload_and_blames_no_target() {
    let upstream = Bedrock::start(|number, _| match number {
        1 | 2 => {
            let whole = converse_text(&"x".repeat(LARGE));
            let (most, rest) = whole.split_at(whole.len() - 10);
            [most, PAUSE, rest].concat()
        }
        _ => converse_text("hello"),
    })
    .await;
    let (gateway, first) = with_little_room(&upstream, &chat()).await;
    let refused = post(&gateway, CHAT, &chat()).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));
    let error = &refused.json()["error"];
    assert_eq!(error["type"], "server_error");
    assert!(error["message"].as_str().unwrap().contains("overloaded"), "{error}");
    assert_eq!(unheld(&gateway, "no_room").await, 1.0);
    let log = gateway.access_log(1).await;
    assert_eq!(log[0]["outcome"], "overloaded", "{}", log[0]);
    assert_eq!(upstream.seen().len(), 2, "no other target is asked");
    assert_eq!(gateway.target("nova").await["state"], "available");
    first.abort();
    in_flight(&gateway, |bytes| bytes == 0.0).await;
    assert_eq!(post(&gateway, CHAT, &chat()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_a_stream_holds_for_a_check_counts_as_in_flight() {
    let upstream = Bedrock::start(|_, _| {
        let piece = "x".repeat(LARGE / 10);
        let all = frames(&[piece.as_str(); 10]);
        let head =
            format!("HTTP/1.1 200 X\r\ncontent-type: {}\r\n\r\n", event_stream::CONTENT_TYPE);
        let (texts, end) = all.split_at(11);
        [head.as_bytes(), &texts.concat(), PAUSE, &end.concat()].concat()
    })
    .await;
    let json = with(chat(), "response_format", json!({ "type": "json_object" }));
    let body = with(json, "stream", true);
    let (gateway, first) = with_little_room(&upstream, &body).await;
    let text = post(&gateway, CHAT, &body).await.text();
    let all = events(&text);
    let error = &all.last().unwrap()["error"];
    assert!(error["message"].as_str().unwrap().contains("overloaded"), "{text}");
    assert!(!text.contains("[DONE]"), "{text}");
    assert_eq!(unheld(&gateway, "no_room").await, 1.0);
    assert_eq!(gateway.access_log(1).await[0]["outcome"], "overloaded");
    first.abort();
    in_flight(&gateway, |bytes| bytes == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_frame_finds_no_room_ends_with_an_error() {
    let upstream = Bedrock::start(|_, _| {
        let all = frames(&["hello", &"x".repeat(LARGE)]);
        let long = &all[2];
        let (most, rest) = long.split_at(long.len() - 10);
        let head =
            format!("HTTP/1.1 200 X\r\ncontent-type: {}\r\n\r\n", event_stream::CONTENT_TYPE);
        [head.as_bytes(), &all[..2].concat(), most, PAUSE, rest].concat()
    })
    .await;
    let body = with(chat(), "stream", true);
    let (gateway, first) = with_little_room(&upstream, &body).await;
    let text = post(&gateway, CHAT, &body).await.text();
    let all = events(&text);
    assert!(text.contains("hello") && !text.contains("[DONE]"), "{text}");
    let error = &all.last().unwrap()["error"];
    assert!(error["message"].as_str().unwrap().contains("overloaded"), "{text}");
    assert_eq!(unheld(&gateway, "no_room").await, 1.0);
    assert_eq!(gateway.access_log(1).await[0]["outcome"], "overloaded");
    first.abort();
    in_flight(&gateway, |bytes| bytes == 0.0).await;
}
