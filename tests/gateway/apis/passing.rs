//! What reaches the upstream, and what reaches the client.

use serde_json::Value;

use super::Upstream;
use super::{APIS, gateway, json, post};

#[tokio::test(flavor = "multi_thread")]
async fn a_body_passes_with_the_targets_model_and_every_other_byte_as_it_came() {
    for api in APIS {
        let answer = api.answer();
        let upstream = Upstream::start(move |_, _, _| json(200, &answer)).await;
        let gateway = gateway(&upstream, |config| config).await;
        let body = format!(
            "{{ \"n\\u0061me\" : 1.50e0,\"mod\\u0065l\":\"m\",\n{} , \"unknown\":{{\"a\":[1,  2]}}, \"a\":1, \"a\":2}}",
            api.input
        );
        let got = post(&gateway, api.path, &[], body.clone()).await;
        assert_eq!(got.status, 200, "{}", got.text());
        if api.name != "responses" {
            assert_eq!(got.text(), api.answer());
        }
        let seen = upstream.seen();
        assert_eq!(seen[0].body, body.replace("\"m\"", "\"maker.one\""), "{}", api.name);
        assert_eq!(seen[0].path, api.path);
        assert_eq!(got.header("x-sluice-model"), Some("maker.one"));
        let log = gateway.access_log(1).await;
        assert_eq!(log[0]["usage"]["input"], 4, "{log:?}");
        assert_eq!(log[0]["usage"]["output"], 2);
        assert_eq!(log[0]["requested_model"], "m");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_api_has_a_short_path_too() {
    for api in APIS {
        let answer = api.answer();
        let upstream = Upstream::start(move |_, _, _| json(200, &answer)).await;
        let gateway = gateway(&upstream, |config| config).await;
        let short = api.path.trim_start_matches("/openai").trim_start_matches("/anthropic");
        assert_eq!(post(&gateway, short, &[], api.body(false)).await.status, 200);
        assert_eq!(upstream.seen()[0].path, api.path, "the endpoint's own path");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_clients_authentication_goes_upstream() {
    for api in APIS {
        let answer = api.answer();
        let upstream = Upstream::start(move |_, _, _| json(200, &answer)).await;
        let gateway = gateway(&upstream, |config| config).await;
        let headers = [
            ("x-api-key", "the-clients-key"),
            ("api-key", "the-clients-key"),
            ("cookie", "the-clients-key"),
            ("openai-organization", "the-clients-key"),
            ("x-amz-security-token", "the-clients-key"),
        ];
        assert_eq!(post(&gateway, api.path, &headers, api.body(false)).await.status, 200);
        let head = &upstream.seen()[0].head;
        assert!(!head.contains("the-clients-key"), "{head}");
        assert!(head.contains("AWS4-HMAC-SHA256"), "signed by the gateway: {head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_get_the_betas_that_the_surface_takes() {
    let upstream = Upstream::start(|_, _, _| json(200, &APIS[2].answer())).await;
    let gateway = gateway(&upstream, |config| config).await;
    let beta =
        "context-1m-2025-08-07,fast-mode-2026-02-01,advanced-tool-use-2025-11-20,never-heard-of";
    let got = post(&gateway, APIS[2].path, &[("anthropic-beta", beta)], APIS[2].body(false)).await;
    assert_eq!(got.status, 200);
    let head = upstream.seen()[0].head.to_ascii_lowercase();
    assert!(
        head.contains("anthropic-beta: context-1m-2025-08-07,tool-search-tool-2025-10-19\r\n"),
        "{head}"
    );
    assert!(head.contains("anthropic-version: 2023-06-01"), "{head}");
    assert_eq!(got.header("x-sluice-dropped-betas"), Some("fast-mode-2026-02-01,never-heard-of"));
    let log = gateway.access_log(1).await;
    assert_eq!(log[0]["dropped_betas"], "fast-mode-2026-02-01,never-heard-of");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maximum_above_the_targets_cap_is_lowered() {
    let fields = [
        (APIS[0], r#""max_completion_tokens":900"#, "max_completion_tokens"),
        (APIS[1], r#""max_output_tokens":900"#, "max_output_tokens"),
        (APIS[2], r#""max_tokens":900"#, "max_tokens"),
    ];
    for (api, field, name) in fields {
        let answer = api.answer();
        let upstream = Upstream::start(move |_, _, _| json(200, &answer)).await;
        let gateway =
            gateway(&upstream, |config| config.every_target("max_output_tokens", 100)).await;
        let input = api.input.replace(r#""max_tokens":9,"#, "");
        let body = format!(r#"{{"model":"m",{input},{field}}}"#);
        assert_eq!(post(&gateway, api.path, &[], body).await.status, 200);
        let sent: Value = serde_json::from_str(&upstream.seen()[0].body).unwrap();
        assert_eq!(sent[name], 100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_falls_back_to_a_target_with_the_same_surface() {
    for api in APIS {
        let upstream = Upstream::start(move |number, _, body| match number {
            1 => json(429, r#"{"error":{"message":"slow down","type":"rate_limit_error","code":"rate_limit_exceeded"}}"#),
            _ => {
                assert!(body.contains("maker.two"));
                json(200, &api.answer())
            }
        })
        .await;
        let gateway = gateway(&upstream, |config| config).await;
        let got = post(&gateway, api.path, &[], api.body(false)).await;
        assert_eq!((got.status, got.header("x-sluice-attempts")), (200, Some("2")), "{}", api.name);
        assert_eq!(got.header("x-sluice-model"), Some("maker.two"));
        assert_eq!(gateway.target("first").await["state"], "cooling");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_the_surface_is_no_candidate() {
    let upstream = Upstream::start(|_, _, _| json(200, &APIS[0].answer())).await;
    let gateway = gateway(&upstream, |config| {
        config
            .set("targets.first.surfaces", vec!["messages"])
            .set("targets.second.surfaces", vec!["messages", "chat_completions"])
    })
    .await;
    let chat = post(&gateway, APIS[0].path, &[], APIS[0].body(false)).await;
    assert_eq!(chat.header("x-sluice-model"), Some("maker.two"));
    let responses = post(&gateway, APIS[1].path, &[], APIS[1].body(false)).await;
    assert_eq!(responses.status, 400);
    let error = APIS[1].error(&responses);
    assert_eq!(error["param"], "model");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("serves responses"), "{message}");
    assert!(message.contains("chat_completions, messages"), "{message}");
}
