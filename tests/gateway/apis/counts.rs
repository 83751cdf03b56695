//! Counts of tokens, and the list of models.

use base64::Engine as _;
use serde_json::Value;

use super::{Upstream, digest, gateway, json, post};
use crate::support::http::request;
use crate::support::{Config, Gateway, Simulator};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_counted_by_the_runtimes_own_operation() {
    let upstream = Upstream::start(|_, _, _| json(200, r#"{"inputTokens":12}"#)).await;
    let gateway = gateway(&upstream, |config| config).await;
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"system":"s"}"#;
    let got = post(&gateway, "/v1/messages/count_tokens", &[], body).await;
    assert_eq!((got.status, got.text()), (200, r#"{"input_tokens":12}"#.to_owned()));
    let seen = upstream.seen();
    assert_eq!(seen[0].path, "/model/maker.one/count-tokens");
    let request: Value = serde_json::from_str(&seen[0].body).unwrap();
    let native = request["input"]["invokeModel"]["body"].as_str().unwrap();
    let native = base64::engine::general_purpose::STANDARD.decode(native).unwrap();
    let native: Value = serde_json::from_slice(&native).unwrap();
    assert_eq!(native["anthropic_version"], "bedrock-2023-05-31");
    assert_eq!(native["system"], "s");
    assert!(native.get("model").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_counted_by_mantle_where_the_target_is_there() {
    let upstream = Upstream::start(|_, _, _| json(200, r#"{"input_tokens":12}"#)).await;
    let gateway = gateway(&upstream, |config| config.every_target("endpoint", "mantle")).await;
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let got = post(&gateway, "/v1/messages/count_tokens", &[], body).await;
    assert_eq!((got.status, got.text()), (200, r#"{"input_tokens":12}"#.to_owned()));
    let seen = upstream.seen();
    assert_eq!(seen[0].path, "/anthropic/v1/messages/count_tokens");
    assert_eq!(seen[0].body, body.replace("\"m\"", "\"maker.one\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_count_that_only_mantle_can_make_is_refused_with_the_way_to_it() {
    let simulator = Simulator::start().await;
    let model = "us.anthropic.claude-opus-5-5";
    let config = Config::without_routes(&simulator)
        .set("targets.opus.model", model)
        .set("targets.sonnet.model", "us.anthropic.claude-sonnet-4-6")
        .route(model, &["opus", "sonnet"]);
    let gateway = Gateway::start(&config).await;
    let body = r#"{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"hi"}]}]}}}"#;
    let got = post(&gateway, &format!("/model/{model}/count-tokens"), &[], body).await;
    assert_eq!(got.status, 400, "{}", got.text());
    assert_eq!(got.header("x-amzn-errortype"), Some("ValidationException"));
    assert!(got.text().contains("/anthropic/v1/messages/count_tokens"), "{}", got.text());
    assert!(simulator.log().is_empty(), "no other model counts for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_fails_is_an_error_and_no_estimate() {
    let upstream = Upstream::start(|_, _, _| {
        json(400, r#"{"message":"The provided model doesn't support counting tokens."}"#)
    })
    .await;
    let gateway = gateway(&upstream, |config| config).await;
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let got = post(&gateway, "/v1/messages/count_tokens", &[], body).await;
    assert_eq!(got.status, 400, "{}", got.text());
    assert_eq!(got.json()["error"]["type"], "invalid_request_error");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_for_a_model_of_another_family_is_a_clear_error_and_no_estimate() {
    let simulator = Simulator::start().await;
    for model in ["us.amazon.nova-pro-v1:0", "us.openai.gpt-5.6-sol"] {
        let config =
            Config::without_routes(&simulator).set("targets.one.model", model).route("m", &["one"]);
        let gateway = Gateway::start(&config).await;
        let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
        let got = post(&gateway, "/v1/messages/count_tokens", &[], body).await;
        assert_eq!(got.status, 400, "{model}: {}", got.text());
        let error = &got.json()["error"];
        assert_eq!(error["type"], "invalid_request_error", "{model}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("count"), "{model}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_models_has_those_that_the_client_may_call_in_its_dialect() {
    let upstream = Upstream::start(|_, _, _| json(200, "{}")).await;
    let key = "a-long-enough-key-of-the-team";
    let gateway = gateway(&upstream, |config| {
        config
            .set("fallback.unrouted", "reject")
            .route("other", &["second"])
            .client("team", &digest(key))
            .of_client("allowed_models", vec!["m", "maker.*"])
    })
    .await;
    let list = async |path: &str, more: (&str, &str)| {
        let url = format!("{}{path}", gateway.url());
        request("GET", &url, &[("x-api-key", key), more], "").await.json()
    };
    let openai = list("/v1/models", ("accept", "*/*")).await;
    assert_eq!(openai["object"], "list");
    let ids: Vec<&Value> = openai["data"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(ids, ["m"], "{openai}");
    let anthropic = list("/v1/models", ("anthropic-version", "2023-06-01")).await;
    assert_eq!(
        (&anthropic["data"][0]["id"], &anthropic["data"][0]["type"]),
        (&"m".into(), &"model".into())
    );
    let one = list("/openai/v1/models/m", ("accept", "*/*")).await;
    assert_eq!((&one["id"], &one["object"]), (&"m".into(), &"model".into()));
    let hidden = list("/openai/v1/models/other", ("accept", "*/*")).await;
    assert_eq!(hidden["error"]["code"], "model_not_found");
    assert!(upstream.seen().is_empty());
}
