//! Request bodies: clamped where a fallback needs it, replayed whole, refused when too large.

use std::fmt::Write as _;

use sluice::simulator::sha256_hex;

use crate::support::gateway::ADMIN_KEY;
use crate::support::raw::Connection;
use crate::support::{Call, Client, Config, Gateway, PRIMARY, SECOND, Simulator, bodies, http};

const MEGABYTE: usize = 1_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn only_the_maximum_of_tokens_is_clamped_for_a_fallback() {
    // Odd spacing, an escape, a float and members in an order of their own: what a re-encoded body would lose.
    let messages = r#"{ "anthropic_version":"bedrock-2023-05-31",
        "max_tokens" :  5000, "temperature": 1.0, "metadata": {"user_id": "b", "a": 2},
        "messages":[{"role":"user","content":"caf\u00e9 \"max_tokens\": 5000"}] }"#;
    let conversation = r#"{"messages": [{"role":"user", "content":[{"text":"caf\u00e9"}]}],
        "inferenceConfig": { "temperature": 0.50, "maxTokens":5000 }}"#;
    for (suffix, body, clamped) in [
        ("invoke", messages, messages.replacen(":  5000", ":  100", 1)),
        ("converse", conversation, conversation.replace("5000", "100")),
    ] {
        let simulator = Simulator::start().await;
        let config = Config::models(&simulator, 2)
            .set("targets.sonnet-35.max_output_tokens", 8192)
            .set("targets.sonnet-35-v2.max_output_tokens", 100);
        let gateway = Gateway::start(&config).await;
        simulator.throttles(PRIMARY, 1);
        let url = format!("{}/model/{PRIMARY}/{suffix}", gateway.url());
        let response = http::post(&url, &[], body).await;
        assert_eq!(response.status, 200, "{}", response.text());
        let log = simulator.log();
        assert_eq!(
            (log[0].model.as_deref(), log[1].model.as_deref()),
            (Some(PRIMARY), Some(SECOND))
        );
        assert_eq!(log[0].body, body, "the first target takes it as it is");
        assert_eq!(log[1].body, clamped);
        assert_eq!(log[1].body_sha256, sha256_hex(clamped.as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maximum_above_the_models_own_is_lowered_to_it_on_every_api() {
    let model = "us.anthropic.claude-sonnet-4-6";
    let simulator = Simulator::start().await;
    let config = Config::without_routes(&simulator)
        .set("targets.sonnet.model", model)
        .route(model, &["sonnet"]);
    let gateway = Gateway::start(&config).await;
    let said = r#""messages":[{"role":"user","content":"hi"}]"#;
    let messages = format!(r#"{{"model":"{model}","max_tokens":128000,{said}}}"#);
    let version = r#""anthropic_version":"bedrock-2023-05-31""#;
    let invoke = format!(r#"{{{version}, "max_tokens": 128000,{said}}}"#);
    let converse = r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}],
        "inferenceConfig":{"maxTokens":128000}}"#;
    for (path, body) in [
        ("/v1/messages".to_owned(), messages),
        (format!("/model/{model}/invoke"), invoke),
        (format!("/model/{model}/converse"), converse.to_owned()),
    ] {
        let answer = http::post(&format!("{}{path}", gateway.url()), &[], body.clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let sent = simulator.log().pop().unwrap().body;
        assert_eq!(sent, body.replace("128000", "64000"), "{path}");
    }
    // A budget that would not fit below it stays, so that the model says what is wrong.
    let thinking = r#""thinking":{"type":"enabled","budget_tokens":100000}"#;
    let body = format!(r#"{{{version},"max_tokens":128000,{thinking},{said}}}"#);
    let url = format!("{}/model/{model}/invoke", gateway.url());
    assert_eq!(http::post(&url, &[], body.clone()).await.status, 400);
    assert_eq!(simulator.log().pop().unwrap().body, body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_fits_reaches_every_target_unchanged() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    simulator.throttles(PRIMARY, 1);
    let body = "{\"max_tokens\":7 ,\"anthropic_version\":\"bedrock-2023-05-31\",\"messages\":\
        [{\"role\":\"user\",\"content\":\"\\u00e9\"}]}\n";
    let url = format!("{}/model/{PRIMARY}/invoke", gateway.url());
    assert_eq!(http::post(&url, &[], body).await.status, 200);
    let log = simulator.log();
    assert_eq!(log.len(), 2);
    assert!(log.iter().all(|entry| entry.body == body));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_are_replayed_on_fallback() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::models(&simulator, 2)).await;
    let reset = format!("{}/admin/targets/sonnet-35/reset", gateway.admin_url());
    let key = [("x-sluice-admin-key", ADMIN_KEY)];
    for size in [65 * 1024, MEGABYTE, 20 * MEGABYTE] {
        let body = bodies::messages(&"x".repeat(size), 10);
        let sent = sha256_hex(body.as_bytes());
        for client in [Client::Boto3, Client::JavaScript, Client::Rust] {
            simulator.throttles(PRIMARY, 1);
            let before = simulator.log().len();
            let call = Call::invoke(PRIMARY, "").body(body.clone());
            let answer = gateway.call(client, call).await;
            assert!(answer.error.is_none(), "{client:?} {size}: {:?}", answer.error);
            let log = simulator.log().split_off(before);
            assert_eq!(log.len(), 2, "{client:?} {size}");
            assert_eq!(log[1].model.as_deref(), Some(SECOND), "{client:?} {size}");
            assert!(log.iter().all(|entry| entry.body_sha256 == sent), "{client:?} {size}");
            // The next round starts at the primary again.
            assert_eq!(http::post(&reset, &key, "").await.status, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_above_the_limit_is_refused_in_bedrocks_form() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).set("server.max_body", "1MB");
    let gateway = Gateway::start(&config).await;
    for client in Client::ALL {
        let body = bodies::messages(&"x".repeat(MEGABYTE + MEGABYTE / 4), 10);
        let answer = gateway.call(client, Call::invoke(PRIMARY, "").body(body)).await;
        let raised = answer.raised();
        assert!(raised.is("RequestEntityTooLargeException"), "{client:?} {raised:?}");
        if client != Client::Cli {
            assert_eq!(answer.status, Some(413), "{client:?}");
        }
    }
    let answer = gateway.call(Client::Boto3, Call::invoke(PRIMARY, "hello")).await;
    assert_eq!(answer.text(), format!("[{PRIMARY}] hello"));
    assert_eq!(simulator.log().len(), 1, "nothing too large went upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_announced_or_sent_above_the_limit_is_not_waited_for() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).set("server.max_body", "64KiB");
    let gateway = Gateway::start(&config).await;
    let head = format!("POST /model/{PRIMARY}/invoke HTTP/1.1\r\nhost: x\r\n");

    let mut announced = Connection::open(gateway.address()).await;
    announced.send(format!("{head}content-length: 999999999999\r\n\r\n").as_bytes()).await;
    assert_eq!(announced.response().await.unwrap().status, 413);

    let mut chunked = Connection::open(gateway.address()).await;
    let mut request = format!("{head}transfer-encoding: chunked\r\n\r\n");
    for _ in 0..80 {
        write!(request, "400\r\n{}\r\n", "x".repeat(1024)).unwrap();
    }
    chunked.send(request.as_bytes()).await;
    assert_eq!(chunked.response().await.unwrap().status, 413);
    assert!(simulator.log().is_empty());
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_need_not_be_read_is_relayed_untouched() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let body = "\u{0}{not json, \"max_tokens\": 5000";
    let url = format!("{}/guardrail/gr1/version/1/apply", gateway.url());
    let response = http::post(&url, &[], body).await;
    assert_eq!(response.status, 400);
    assert_eq!(simulator.only_call().body_sha256, sha256_hex(body.as_bytes()));
}
