//! Metrics, the access log, health: what an operator sees of what clients met.

use serde_json::{Value, json};
use sluice::simulator::Fault;

use crate::support::patience::eventually;
use crate::support::{
    Call, Client, Collector, Config, Gateway, MODELS, PRIMARY, SECOND, Simulator, bodies, http,
};

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_requests_attempts_fallbacks_and_tokens() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let call = |prompt| gateway.call(Client::Boto3, Call::converse(PRIMARY, prompt));
    let first = call("hello").await.json();
    simulator.strikes(PRIMARY, 1, Fault::Validation);
    call("hello").await.raised();
    simulator.throttles(PRIMARY, 1);
    call("hello").await.text();
    gateway.call(Client::Rust, Call::converse_stream(PRIMARY, "hello")).await.text();
    gateway.access_log(4).await;

    let metrics = gateway.metrics().await;
    let requests = |labels: &[(&str, &str)]| metrics.sum("sluice_requests_total", labels);
    assert_eq!(requests(&[("operation", "Converse"), ("model", PRIMARY)]), 3.0);
    assert_eq!(requests(&[("operation", "ConverseStream"), ("model", PRIMARY)]), 1.0);
    assert_eq!(requests(&[("outcome", "success")]), 3.0);
    let attempts = |target, outcome| {
        metrics.sum("sluice_attempts_total", &[("target", target), ("outcome", outcome)])
    };
    assert_eq!(attempts("sonnet-35", "success"), 1.0);
    assert_eq!(attempts("sonnet-35", "throttled"), 1.0);
    assert_eq!(attempts("sonnet-35-v2", "success"), 2.0);
    assert_eq!(attempts("sonnet-35", "terminal"), 1.0);
    let moved = [("from", "sonnet-35"), ("to", "sonnet-35-v2"), ("reason", "throttled")];
    assert_eq!(metrics.sum("sluice_fallbacks_total", &moved), 1.0);
    assert_eq!(metrics.sum("sluice_target_state", &[("target", "sonnet-35")]), 2.0);
    assert_eq!(metrics.sum("sluice_target_state", &[("target", "sonnet-35-v2")]), 0.0);
    let cooldown = metrics.sum("sluice_target_cooldown_seconds", &[("target", "sonnet-35")]);
    assert!((40.0..=60.0).contains(&cooldown), "{cooldown}");
    // Tokens count for the model that answered, of whole answers and of streams.
    let tokens =
        |model, kind| metrics.sum("sluice_tokens_total", &[("model", model), ("kind", kind)]);
    let usage = &first["usage"];
    assert_eq!(tokens(PRIMARY, "input"), usage["inputTokens"].as_f64().unwrap());
    assert_eq!(tokens(PRIMARY, "output"), usage["outputTokens"].as_f64().unwrap());
    assert_eq!(tokens(SECOND, "input"), 2.0 * usage["inputTokens"].as_f64().unwrap());
    assert!(metrics.sum("sluice_cost_usd_total", &[("model", PRIMARY)]) > 0.0);
    for family in [
        "sluice_request_duration_seconds_count",
        "sluice_time_to_first_byte_seconds_count",
        "sluice_gateway_overhead_seconds_count",
        "sluice_queue_waiting",
        "sluice_queue_wait_seconds_count",
        "sluice_build_info",
    ] {
        assert!(metrics.has(family), "{family}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_come_from_the_config_and_never_from_a_request() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    for n in 0..20 {
        let url = format!("{}/model/made-up-{n}/invoke", gateway.url());
        http::post(&url, &[("x-team", "made-up")], bodies::messages("hello", 10)).await;
        http::get(&format!("{}/made-up-{n}", gateway.url())).await;
    }
    let metrics = gateway.metrics().await;
    let made_up = metrics.label_values().into_iter().find(|value| value.contains("made-up"));
    assert_eq!(made_up, None);
    assert!(metrics.sum("sluice_requests_total", &[("model", "other")]) >= 20.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_has_the_attempts_of_each_request() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    simulator.strikes(PRIMARY, 1, Fault::Validation);
    gateway.call(Client::Boto3, Call::converse(PRIMARY, "a secret")).await.raised();
    simulator.throttles(PRIMARY, 1);
    let answer = gateway.call(Client::Boto3, Call::invoke_stream(PRIMARY, "a secret")).await;

    let log = gateway.access_log(2).await;
    assert_eq!(log.len(), 2, "{log:#?}");
    let (second, first) = (&log[0], &log[1]);
    assert_eq!(first["operation"], "InvokeModelWithResponseStream");
    assert_eq!(first["client"], "AKIDCLIENT");
    assert_eq!(first["requested_model"], PRIMARY);
    assert_eq!(first["model"], SECOND);
    assert_eq!(first["status"], 200);
    assert_eq!(first["outcome"], "success");
    assert_eq!(first["request_id"], answer.header("x-sluice-request-id").unwrap());
    let attempts = first["attempts"].as_array().unwrap();
    let told: Vec<_> =
        attempts.iter().map(|a| (&a["target"], &a["outcome"], &a["status"])).collect();
    assert_eq!(told[0], (&"sonnet-35".into(), &"throttled".into(), &429.into()));
    assert_eq!(told[1], (&"sonnet-35-v2".into(), &"success".into(), &200.into()));
    // Bedrock's support knows a request by Bedrock's own id, which the client sees, too.
    let ids: Vec<_> = attempts.iter().map(|a| a["upstream_request_id"].as_str().unwrap()).collect();
    assert_eq!(ids[1], answer.header("x-amzn-requestid").unwrap());
    assert_eq!([ids[0].len(), ids[1].len()], [36, 36]);
    assert_ne!(ids[0], ids[1]);
    let usage = first["usage"].as_object().unwrap();
    assert!(usage.values().any(|tokens| tokens.as_u64() > Some(0)), "{usage:?}");
    assert!(first["duration_ms"].as_u64().unwrap() >= first["first_byte_ms"].as_u64().unwrap());
    assert_eq!(second["status"], 400);
    assert_eq!(second["error"], "ValidationException");

    let output = gateway.output();
    for secret in ["a secret", Simulator::SECRET, "client-secret-key", "Signature="] {
        assert!(!output.contains(secret), "{secret} was logged: {output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_request_has_its_api() {
    let (simulator, collector) = (Simulator::start().await, Collector::start().await);
    let (claude, gpt) = ("us.anthropic.claude-sonnet-5-5", "us.openai.gpt-5.6-sol");
    let config = Config::without_routes(&simulator)
        .set("targets.claude.model", claude)
        .set("targets.gpt.model", gpt)
        .route(claude, &["claude"])
        .route(gpt, &["gpt"])
        .set("usage_log.enabled", true)
        .set("traces.endpoint_url", collector.url())
        .set("traces.batch_delay", "20ms");
    let gateway = Gateway::start(&config).await;
    let said = json!([{ "role": "user", "content": "hello" }]);
    let requests = [
        (
            "bedrock",
            "Converse",
            format!("/model/{claude}/converse"),
            json!({ "messages": [{ "role": "user", "content": [{ "text": "hello" }] }] }),
        ),
        (
            "chat_completions",
            "CreateChatCompletion",
            "/v1/chat/completions".to_owned(),
            json!({ "model": gpt, "messages": said, "stream": true }),
        ),
        (
            "responses",
            "CreateResponse",
            "/openai/v1/responses".to_owned(),
            json!({ "model": gpt, "input": "hello", "store": false }),
        ),
        (
            "messages",
            "CreateMessage",
            "/anthropic/v1/messages".to_owned(),
            json!({ "model": claude, "messages": said, "max_tokens": 10 }),
        ),
    ];
    for (api, _, path, body) in &requests {
        let url = format!("{}{path}", gateway.url());
        let headers = [("content-type", "application/json"), ("anthropic-version", "2023-06-01")];
        let answer = http::post(&url, &headers, body.to_string()).await;
        assert_eq!(answer.status, 200, "{api}: {}", answer.text());
    }
    http::get(&format!("{}/v1/models", gateway.url())).await;
    http::get(&format!("{}/nonsense", gateway.url())).await;

    let mut wanted: Vec<_> = requests.iter().map(|(api, name, ..)| (*api, *name)).collect();
    wanted.extend([("models", "ListModels"), ("-", "-")]);
    let pair = |record: &Value| {
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        (text("api"), text("operation"))
    };
    let same = |seen: Vec<(String, String)>| {
        let mut seen: Vec<_> = seen.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let mut wanted = wanted.clone();
        seen.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(seen, wanted);
    };
    same(gateway.access_log(6).await.iter().map(pair).collect());
    let records = async || gateway.usage_records().lines().count();
    eventually("the records of use", records, |count| *count == 6).await;
    let records = gateway.usage_records();
    same(records.lines().map(|line| pair(&serde_json::from_str(line).unwrap())).collect());

    let metrics = gateway.metrics().await;
    for (api, operation) in &wanted {
        let [api, operation] =
            [api, operation].map(|name| if *name == "-" { "other" } else { name });
        let labels = [("api", api), ("operation", operation)];
        for family in ["sluice_requests_total", "sluice_request_duration_seconds_count"] {
            assert_eq!(metrics.sum(family, &labels), 1.0, "{family} {labels:?}");
        }
    }
    let status = http::get(&format!("{}/admin/status", gateway.admin_url())).await.json();
    let usage = &status["api_usage"];
    let apis: Vec<_> = usage.as_array().unwrap().iter().map(|it| it["api"].clone()).collect();
    let all = ["bedrock", "chat_completions", "responses", "messages", "models", "other"];
    assert_eq!(apis, all, "{usage}");
    assert!(usage[1]["output"].as_u64() > Some(0), "{usage}");

    // The requests that called a model have a span of their own and one of their attempt.
    let spans = collector.has(10).await;
    for (api, operation, ..) in &requests {
        let of_api = spans.iter().filter(|span| span.get("sluice.api") == *api);
        let names: Vec<&str> = of_api.clone().map(|span| span.get("sluice.operation")).collect();
        assert_eq!(names, [*operation; 2], "{spans:#?}");
        for span in of_api {
            assert_eq!(span.get("gen_ai.provider.name"), "aws.bedrock");
            assert_eq!(span.get("gen_ai.operation.name"), "chat");
            let streams = if *api == "chat_completions" { "true" } else { "" };
            assert_eq!(span.get("gen_ai.request.stream"), streams, "{span:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    for path in ["/healthz", "/readyz"] {
        let response = http::get(&format!("{}{path}", gateway.admin_url())).await;
        assert_eq!(response.status, 200, "{path}");
    }
    // They are not for the clients' listener.
    let outside = http::get(&format!("{}/healthz", gateway.url())).await;
    assert_eq!(outside.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_it_is_healthy_not_ready_and_reports_that() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).without_credentials();
    let gateway = Gateway::start(&config).await;
    let health = http::get(&format!("{}/healthz", gateway.admin_url())).await;
    assert_eq!(health.status, 200);
    let ready = http::get(&format!("{}/readyz", gateway.admin_url())).await;
    assert_eq!(ready.status, 503);
    let answer = gateway.call(Client::Boto3, Call::converse(PRIMARY, "hello")).await;
    assert!(answer.raised().message.to_lowercase().contains("credentials"), "{answer:?}");
    assert!(simulator.log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_listeners_can_share_one_port() {
    let simulator = Simulator::start().await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let config = Config::four_models(&simulator)
        .set("server.listen", address.as_str())
        .set("server.admin_listen", address.as_str());
    let gateway = Gateway::start(&config).await;
    assert_eq!(gateway.url(), gateway.admin_url());
    let answer = gateway.call(Client::Boto3, Call::converse(PRIMARY, "hello")).await;
    assert_eq!(answer.text(), format!("[{}] hello", MODELS[0]));
    assert!(gateway.metrics().await.has("sluice_requests_total"));
}
