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
