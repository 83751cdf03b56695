//! What one endpoint has and the other lacks decides where a request goes.

use serde_json::{Value, json};

use super::post;
use crate::support::http::{self, Response, request};
use crate::support::{Config, Gateway, Simulator};

const RESPONSES: &str = "/openai/v1/responses";
const MESSAGES: &str = "/anthropic/v1/messages";
const COUNT: &str = "/anthropic/v1/messages/count_tokens";

/// A gateway with these routes: `gpt` and `claude` have a target at each endpoint, the runtime's first.
async fn gateway(simulator: &Simulator) -> Gateway {
    let mut config = Config::without_routes(simulator);
    for (target, model) in [
        ("gpt", "us.openai.gpt-5.6-sol"),
        ("gpt-mantle", "openai.gpt-5.6-sol"),
        ("sonnet", "us.anthropic.claude-sonnet-5-5"),
        ("sonnet-mantle", "anthropic.claude-sonnet-5-5"),
    ] {
        config = config.set(&format!("targets.{target}.model"), model);
        if target.ends_with("-mantle") {
            config = config
                .set(&format!("targets.{target}.endpoint"), "mantle")
                .set(&format!("targets.{target}.endpoint_url"), simulator.url());
        }
    }
    let config = config
        .route("gpt", &["gpt", "gpt-mantle"])
        .route("gpt-at-runtime", &["gpt"])
        .route("claude", &["sonnet", "sonnet-mantle"])
        .route("claude-at-runtime", &["sonnet"])
        .route("claude-at-mantle", &["sonnet-mantle"]);
    Gateway::start(&config).await
}

fn response(model: &str, more: &Value) -> String {
    with(json!({"model": model, "input": "hi"}), more)
}

fn message(model: &str, more: &Value) -> String {
    let said = json!([{"role": "user", "content": "hi"}]);
    with(json!({"model": model, "max_tokens": 50, "messages": said}), more)
}

fn with(mut body: Value, more: &Value) -> String {
    let members = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(members);
    body.to_string()
}

/// The model that answered.
fn answered(got: &Response) -> &str {
    assert_eq!(got.status, 200, "{}", got.text());
    got.header("x-sluice-model").unwrap()
}

/// The message of a refusal with status 400.
fn refused(got: &Response) -> String {
    assert_eq!(got.status, 400, "{}", got.text());
    got.json()["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_does_itself_goes_to_the_endpoint_that_does_it() {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator).await;
    let search = json!({"tools": [{"type": "web_search"}]});
    let background = json!({"background": true});
    for asked in [&search, &background] {
        let got = post(&gateway, RESPONSES, &[], response("gpt", asked)).await;
        assert_eq!(answered(&got), "openai.gpt-5.6-sol", "{asked}");
        // There is nowhere else to go, so the client learns what it asks for and where that is.
        let got = post(&gateway, RESPONSES, &[], response("gpt-at-runtime", asked)).await;
        let told = refused(&got);
        assert!(told.contains("mantle") && got.header("x-should-retry") == Some("false"), "{told}");
        let param = got.json()["error"]["param"].clone();
        assert_eq!(param, asked.as_object().unwrap().keys().next().unwrap().as_str());
    }
    let search = json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]});
    let got = post(&gateway, MESSAGES, &[], message("claude", &search)).await;
    assert_eq!(answered(&got), "anthropic.claude-sonnet-5-5");
    let got = post(&gateway, MESSAGES, &[], message("claude-at-runtime", &search)).await;
    assert!(refused(&got).contains("web_search"), "{}", got.text());
    // All else goes to the first target, tools that the client runs too.
    let tool = json!({"tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}},
        {"type": "local_shell"}]});
    for plain in [json!({}), tool, json!({"background": false})] {
        let got = post(&gateway, RESPONSES, &[], response("gpt", &plain)).await;
        assert_eq!(answered(&got), "us.openai.gpt-5.6-sol", "{plain}");
    }
    let log = gateway.access_log(9).await;
    assert_eq!(log[0]["passed_over"], json!([{"target": "gpt", "reason": "feature:web_search"}]));
    assert!(
        simulator.log().iter().all(|entry| entry.status == Some(200)),
        "nothing was sent in vain"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_the_background_is_fetched_where_it_is() {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator).await;
    let body = response("gpt", &json!({"background": true}));
    let made = post(&gateway, RESPONSES, &[], body).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let url = format!("{}{RESPONSES}/{id}", gateway.url());
    let got = request("GET", &url, &[], "").await;
    assert_eq!((got.status, &got.json()["id"]), (200, &id.as_str().into()), "{}", got.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_goes_to_the_endpoint_that_takes_it_in_this_form() {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator).await;
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}},
        "required": ["city"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "schema": schema});
    let new = json!({"output_config": {"format": format}});
    let old = json!({"output_format": format});
    let flag = [("anthropic-beta", "other-2026-01-01, structured-outputs-2025-11-13")];
    let runtime = "us.anthropic.claude-sonnet-5-5";
    let mantle = "anthropic.claude-sonnet-5-5";

    let got = post(&gateway, MESSAGES, &[], message("claude", &new)).await;
    assert_eq!(answered(&got), runtime);
    let got = post(&gateway, MESSAGES, &[], message("claude-at-mantle", &new)).await;
    assert!(refused(&got).contains("output_format"), "{}", got.text());

    let got = post(&gateway, MESSAGES, &flag, message("claude", &old)).await;
    assert_eq!(answered(&got), mantle);
    assert_eq!(got.header("x-sluice-dropped-betas"), Some("other-2026-01-01"));
    for path in [MESSAGES, COUNT] {
        let got = post(&gateway, path, &flag, message("claude-at-runtime", &old)).await;
        let told = refused(&got);
        for word in ["output_format", "structured-outputs-2025-11-13", "output_config.format"] {
            assert!(told.contains(word), "{told}");
        }
    }
    // A flag that no member needs is dropped as before, and a member without a flag is the upstream's to judge.
    let got = post(&gateway, MESSAGES, &flag, message("claude", &json!({}))).await;
    assert_eq!(answered(&got), runtime);
    let got = post(&gateway, MESSAGES, &[], message("claude", &old)).await;
    assert_eq!(refused(&got), "output_format: Extra inputs are not permitted");
    let last = gateway.access_log(6).await;
    let reason = json!([{"target": "sonnet", "reason": "beta_flag"}]);
    assert_eq!(last[2]["passed_over"], reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_base_url_lacks_the_prefix_is_told_so_in_its_own_form() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::models(&simulator, 1)).await;
    let headers = [("content-type", "application/json")];
    for path in ["/chat/completions", "/responses", "/embeddings", "/messages", "/models"] {
        let url = format!("{}{path}", gateway.url());
        let got = match path {
            "/models" => http::get(&url).await,
            _ => http::post(&url, &headers, "{}").await,
        };
        assert_eq!(got.status, 404, "{path}: {}", got.text());
        assert_eq!(got.header("x-amzn-errortype"), None, "{path}");
        let answer = got.json();
        let (message, kind) = (&answer["error"]["message"], &answer["error"]["type"]);
        assert!(message.as_str().is_some_and(|it| it.contains("base URL")), "{path}: {answer}");
        let expected =
            if path == "/messages" { "not_found_error" } else { "invalid_request_error" };
        assert_eq!(kind, expected, "{path}: {answer}");
        let is_anthropic = answer.get("type").is_some_and(|it| it == "error");
        assert_eq!(is_anthropic, path == "/messages", "{path}: {answer}");
    }
}
