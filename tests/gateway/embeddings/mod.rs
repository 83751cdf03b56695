//! OpenAI's Embeddings by the models of Bedrock: lists of texts as one or more calls, and what holds for each.

mod sdks;

use bytes::Bytes;
use serde_json::{Value, json};
use sluice::simulator::Entry;

use crate::support::http::{Response, request};
use crate::support::{Config, Gateway, Simulator};

const TITAN: &str = "amazon.titan-embed-text-v2:0";
const COHERE: &str = "cohere.embed-english-v3";
const NOVA: &str = "amazon.nova-2-multimodal-embeddings-v1:0";
const PATH: &str = "/openai/v1/embeddings";

/// A gateway with a route for each of the models.
fn config(simulator: &Simulator) -> Config {
    Config::without_routes(simulator)
        .set("queue.max_wait", "200ms")
        .set("targets.titan.model", TITAN)
        .set("targets.cohere.model", COHERE)
        .route("titan", &["titan"])
        .route("cohere", &["cohere"])
}

async fn ask(gateway: &Gateway, body: &Value) -> Response {
    ask_with(gateway, &[], body).await
}

async fn ask_with(gateway: &Gateway, headers: &[(&str, &str)], body: &Value) -> Response {
    let url = format!("{}{PATH}", gateway.url());
    request("POST", &url, headers, Bytes::from(body.to_string())).await
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("text number {number}")).collect()
}

fn body_of(entry: &Entry) -> Value {
    serde_json::from_str(&entry.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_text_of_a_list_is_a_call_of_titan_and_its_vector_has_the_place_of_the_text() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&config(&simulator)).await;
    let all = texts(40);
    let got = ask(&gateway, &json!({"model": "titan", "input": all, "dimensions": 256})).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(got.header("x-sluice-model"), Some(TITAN));
    assert_eq!(got.header("x-sluice-translated"), Some("invoke_model"));
    let got = got.json();
    assert_eq!((&got["object"], &got["model"]), (&json!("list"), &json!("titan")));
    let data = got["data"].as_array().unwrap();
    assert_eq!((data.len(), simulator.calls_to(TITAN).len()), (40, 40));
    for index in [0, 7, 39] {
        let alone = json!({"model": "titan", "input": all[index], "dimensions": 256});
        let alone = ask(&gateway, &alone).await.json();
        assert_eq!(data[index]["index"], index);
        assert_eq!(data[index]["embedding"], alone["data"][0]["embedding"], "{index}");
        assert_eq!(alone["data"][0]["embedding"].as_array().unwrap().len(), 256);
    }
    let calls = simulator.calls_to(TITAN);
    assert!(calls.iter().all(|call| body_of(call)["dimensions"] == 256));
    assert!(got["usage"]["prompt_tokens"].as_u64() >= Some(40), "{}", got["usage"]);
    assert_eq!(got["usage"]["total_tokens"], got["usage"]["prompt_tokens"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cohere_gets_many_texts_at_once_and_what_they_are_for() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&config(&simulator)).await;
    let body = json!({"model": "cohere", "input": texts(100), "input_type": "search_query"});
    let got = ask(&gateway, &body).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(got.json()["data"].as_array().unwrap().len(), 100);
    let calls: Vec<Value> = simulator.calls_to(COHERE).iter().map(body_of).collect();
    let mut sizes: Vec<_> = calls.iter().map(|it| it["texts"].as_array().unwrap().len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [4, 96]);
    assert!(calls.iter().all(|call| call["input_type"] == "search_query"), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_text_of_a_list_is_a_call_of_nova_with_what_it_is_for() {
    let simulator = Simulator::start().await;
    let config = config(&simulator).set("targets.nova.model", NOVA).route("nova", &["nova"]);
    let gateway = Gateway::start(&config).await;
    let mut body = json!({"model": "nova", "input": texts(3), "dimensions": 256});
    let got = ask(&gateway, &body).await;
    assert_eq!((got.status, got.header("x-sluice-model")), (200, Some(NOVA)), "{}", got.text());
    let got = got.json();
    let data = got["data"].as_array().unwrap();
    assert!(data.iter().all(|one| one["embedding"].as_array().unwrap().len() == 256));
    assert!(data[0]["embedding"] != data[1]["embedding"]);
    assert!(got["usage"]["prompt_tokens"].as_u64() > Some(0), "{}", got["usage"]);
    let calls: Vec<Value> = simulator.calls_to(NOVA).iter().map(body_of).collect();
    assert_eq!(calls.len(), 3);
    for call in &calls {
        assert_eq!(call["taskType"], "SINGLE_EMBEDDING");
        let params = &call["singleEmbeddingParams"];
        assert_eq!(params["embeddingDimension"], 256);
        assert_eq!(params["embeddingPurpose"], "GENERIC_INDEX", "{params}");
    }
    body["input_type"] = "search_query".into();
    assert_eq!(ask(&gateway, &body).await.status, 200);
    let last = body_of(simulator.calls_to(NOVA).last().unwrap());
    assert_eq!(last["singleEmbeddingParams"]["embeddingPurpose"], "GENERIC_RETRIEVAL", "{last}");
    body["dimensions"] = 512.into();
    let refused = ask(&gateway, &body).await;
    assert_eq!(
        (refused.status, refused.json()["error"]["param"].as_str()),
        (400, Some("dimensions"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_headers_tell_of_the_attempts_of_all_calls_and_of_the_longest_wait() {
    let simulator = Simulator::start().await;
    let config =
        config(&simulator).set("queue.max_wait", "10s").set("targets.titan.cooldown", "300ms");
    let gateway = Gateway::start(&config).await;
    let body = json!({"model": "titan", "input": texts(6)});
    let got = ask(&gateway, &body).await;
    assert_eq!(got.header("x-sluice-attempts"), Some("6"), "{}", got.text());
    assert_eq!(got.header("x-sluice-queued-ms"), Some("0"));
    // One call is throttled, and waits for the end of the cooldown with the others.
    simulator.throttles(TITAN, 1);
    let got = ask(&gateway, &body).await;
    assert_eq!((got.status, got.header("x-sluice-attempts")), (200, Some("7")), "{}", got.text());
    let queued: u64 = got.header("x-sluice-queued-ms").unwrap().parse().unwrap();
    assert!(queued > 0);
    // Of a request that fails the calls that were answered count.
    let mut all = texts(3);
    all[1] = "word ".repeat(9_000);
    let alone = config.set("apis.embeddings.max_concurrent_calls", 1);
    let gateway = Gateway::start(&alone).await;
    let got = ask(&gateway, &json!({"model": "titan", "input": all})).await;
    assert_eq!((got.status, got.header("x-sluice-attempts")), (400, Some("2")), "{}", got.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_takes_its_own_part_of_the_quota() {
    let simulator = Simulator::start().await;
    let config = config(&simulator).set("targets.titan.rpm", 5);
    let gateway = Gateway::start(&config.set("apis.embeddings.max_concurrent_calls", 1)).await;
    let got = ask(&gateway, &json!({"model": "titan", "input": texts(9)})).await;
    assert_eq!(got.status, 429, "{}", got.text());
    assert_eq!(got.json()["error"]["type"], "rate_limit_error");
    assert!(got.header("retry-after").is_some());
    let made = simulator.calls_to(TITAN).len();
    assert!((1..=5).contains(&made), "no call goes out beyond the quota: {made}");
    // The calls that were made, the one that had no quota, and the request.
    let log = gateway.access_log(made + 2).await;
    let of = |operation: &str| {
        log.iter().filter(|line| line["operation"] == operation).collect::<Vec<_>>()
    };
    assert_eq!(of("InvokeModel").len(), made + 1, "each call has its line: {log:#?}");
    assert_eq!(of("CreateEmbeddings")[0]["outcome"], "throttled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_falls_back_to_the_same_model_and_never_to_another() {
    let simulator = Simulator::start().await;
    let config = config(&simulator)
        .set("targets.west.model", TITAN)
        .set("targets.west.region", "us-west-2")
        .route("all", &["titan", "west", "cohere"])
        .route("mixed", &["titan", "cohere"]);
    let gateway = Gateway::start(&config).await;
    simulator.throttles(TITAN, 1);
    let got = ask(&gateway, &json!({"model": "all", "input": texts(20)})).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(simulator.calls_to(TITAN).len(), 21);
    simulator.always_throttles(TITAN);
    let got = ask(&gateway, &json!({"model": "mixed", "input": texts(20)})).await;
    assert_eq!(got.status, 429, "{}", got.text());
    assert!(simulator.calls_to(COHERE).is_empty(), "vectors of two models must not mix");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_call_that_fails_fails_the_request_and_ends_the_others() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&config(&simulator)).await;
    let mut all = texts(300);
    // Longer than the model takes.
    all[3] = "word ".repeat(9_000);
    let got = ask(&gateway, &json!({"model": "titan", "input": all})).await;
    assert_eq!(got.status, 400, "{}", got.text());
    let error = &got.json()["error"];
    assert_eq!(error["type"], "invalid_request_error");
    assert!(error["message"].as_str().unwrap().contains("Too many input tokens"), "{error}");
    assert!(simulator.calls_to(TITAN).len() < 100, "the rest of the calls are not made");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_embedded_is_refused_by_name_before_any_call() {
    let simulator = Simulator::start().await;
    let config = config(&simulator)
        .set("targets.nova.model", "us.amazon.nova-pro-v1:0")
        .route("nova", &["nova"])
        .set("fallback.unrouted", "reject");
    let gateway = Gateway::start(&config).await;
    for (body, status, param) in [
        (json!({"model": "titan", "input": [1, 2]}), 400, "input"),
        (json!({"model": "titan", "input": ["a", ""]}), 400, "input[1]"),
        (json!({"model": "titan", "input": "a", "dimensions": 7}), 400, "dimensions"),
        (json!({"model": "titan", "input": "a", "truncate": "END"}), 400, "truncate"),
        (json!({"model": "nova", "input": "a"}), 400, "model"),
        (json!({"model": "nothing", "input": "a"}), 404, "model"),
        (json!({"input": "a"}), 400, "model"),
    ] {
        let got = ask(&gateway, &body).await;
        assert_eq!(got.status, status, "{body}: {}", got.text());
        assert_eq!(got.json()["error"]["param"], param, "{}", got.text());
    }
    assert!(simulator.log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_needs_leave_for_embeddings_alone_and_a_request_counts_once() {
    let simulator = Simulator::start().await;
    let key = "a-bearer-key-of-the-tests";
    let digest = format!("sha256:{}", sluice::simulator::sha256_hex(key.as_bytes()));
    let config = config(&simulator)
        .client("app", &digest)
        .set("limits.max_concurrent", 1)
        .set("limits.requests_per_second", 1)
        .of_client("allowed_operations", vec!["CreateEmbeddings"]);
    let gateway = Gateway::start(&config).await;
    let bearer = format!("Bearer {key}");
    let body = json!({"model": "titan", "input": texts(20)});
    let got = ask_with(&gateway, &[("authorization", &bearer)], &body).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(ask(&gateway, &body).await.status, 401);
    let log = gateway.access_log(22).await;
    let calls = log.iter().filter(|line| line["operation"] == "InvokeModel");
    assert!(calls.clone().all(|line| line["client"] == "app"), "{log:?}");
    assert_eq!(calls.count(), 20);
    assert!(simulator.log().iter().all(|it| !format!("{:?}", it.headers).contains(key)));
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_are_off_where_the_config_says_so() {
    let simulator = Simulator::start().await;
    let config = config(&simulator);
    for enabled in [true, false] {
        let config = config.clone().set("apis.embeddings.enabled", enabled);
        let gateway = Gateway::start(&config).await;
        let listed = crate::support::http::get(&format!("{}/v1/models", gateway.url())).await;
        assert_eq!(listed.text().contains(r#""titan""#), enabled, "{}", listed.text());
        let got = ask(&gateway, &json!({"model": "titan", "input": "a"})).await;
        assert_eq!(got.status, if enabled { 200 } else { 404 }, "{}", got.text());
    }
}
