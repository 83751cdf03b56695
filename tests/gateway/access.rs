//! What an error answer to one request means for that request, and what for all others.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::Response;
use crate::support::patience::eventually;
use crate::support::scripted::{answer, error, throttle};
use crate::support::{
    Ask, Call, Client, Config, Gateway, Redis, Scripted, Simulator, bodies, http,
};

const FIRST: &str = "us.anthropic.claude-3-7-sonnet-20250219-v1:0";
const SECOND: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const THIRD: &str = "us.amazon.nova-pro-v1:0";

/// Three targets of three models before `upstream`, whose first is asked for.
fn config(simulator: &Simulator, upstream: &Scripted) -> Config {
    Config::without_routes(simulator)
        .set("upstream.endpoint_url", upstream.url())
        .set("queue.max_wait", "0s")
        .set("retry.attempts", 1)
        .set("targets.first.model", FIRST)
        .set("targets.second.model", SECOND)
        .set("targets.third.model", THIRD)
        .route(FIRST, &["first", "second", "third"])
}

async fn start(upstream: &Scripted) -> Gateway {
    Gateway::start(&config(&Simulator::start().await, upstream)).await
}

fn plain() -> Value {
    bodies::conversation("hello", 20)
}

/// The same with these members, too.
fn with(members: Value) -> String {
    let mut body = plain();
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body.to_string()
}

async fn ask(gateway: &Gateway, operation: &'static str, body: String) -> Response {
    Ask::new(gateway, "").of(FIRST).operation(operation, body).send().await
}

async fn converse(gateway: &Gateway) -> Response {
    ask(gateway, "converse", plain().to_string()).await
}

fn model(response: &Response) -> (u16, Option<&str>) {
    (response.status, response.header("x-sluice-model"))
}

fn denied(what: &str) -> String {
    error(403, "AccessDeniedException", &format!("not authorized to perform: bedrock:{what}"))
}

fn count_tokens() -> String {
    json!({ "input": { "converse": { "messages": plain()["messages"] } } }).to_string()
}

/// What one client asks for of its own, and what is then said of it.
fn poisons() -> Vec<(&'static str, &'static str, String, String)> {
    let guardrail = json!({ "guardrailIdentifier": "gr1", "guardrailVersion": "1" });
    let video = json!({ "messages": [{ "role": "user", "content": [{ "video": {
        "format": "mp4", "source": { "s3Location": { "uri": "s3://b/k" } } } }] }] });
    let not_found = || error(404, "ResourceNotFoundException", "no such guardrail");
    vec![
        ("a guardrail", "converse", with(json!({ "guardrailConfig": guardrail })), denied("x")),
        (
            "an unknown guardrail",
            "converse",
            with(json!({ "guardrailConfig": guardrail })),
            not_found(),
        ),
        ("an object of S3", "converse", with(video), denied("x")),
        ("a stored prompt", "converse", with(json!({ "promptVariables": {} })), not_found()),
        ("a tier", "converse", with(json!({ "serviceTier": { "type": "priority" } })), denied("x")),
        ("what nobody knows", "converse", with(json!({ "newField": 1 })), denied("x")),
        (
            "a stream",
            "converse-stream",
            plain().to_string(),
            denied("InvokeModelWithResponseStream"),
        ),
        ("a count", "count-tokens", count_tokens(), denied("CountTokens")),
        (
            "a count of a profile",
            "count-tokens",
            count_tokens(),
            error(400, "ValidationException", "The provided model identifier is invalid."),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_of_one_request_takes_no_target_from_others() {
    for (what, operation, body, refusal) in poisons() {
        let is_poison = move |path: &str, text: &str| {
            if operation == "converse" {
                text.len() > 200 || !text.contains("\"hello\"")
            } else {
                path.ends_with(operation)
            }
        };
        let marked = body.clone();
        let upstream = Scripted::start(move |path, text| match path.contains("claude-3-7") {
            true => throttle(),
            false if operation != "converse" && is_poison(path, text) => refusal.clone(),
            false if operation == "converse" && text == marked => refusal.clone(),
            false => answer(),
        })
        .await;
        let gateway = start(&upstream).await;
        for _ in 0..5 {
            let refused = ask(&gateway, operation, body.clone()).await;
            assert_ne!(refused.status, 200, "{what}");
            assert_eq!(model(&converse(&gateway).await), (200, Some(SECOND)), "{what}");
        }
        assert_eq!(gateway.target("second").await["state"], "available", "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_for_added_headers_or_policies_takes_no_target_either() {
    // Who has a header of its own, or a guardrail by policy, is denied; all others are answered.
    let own = ["x-amzn-bedrock-guardrailidentifier", "x-amzn-bedrock-performanceconfig-latency"];
    let upstream = Scripted::start_with_heads(move |head, path, _| {
        let head = head.to_ascii_lowercase();
        match path {
            _ if path.contains("claude-3-7") => throttle(),
            _ if own.iter().any(|name| head.contains(name)) => denied("ApplyGuardrail"),
            _ if head.contains("content-type: text/odd") => {
                error(404, "UnknownOperationException", "")
            }
            _ if head.contains("user-agent: odd") => error(403, "ForbiddenException", "firewall"),
            _ => answer(),
        }
    })
    .await;
    let keys = ["KEY_A", "KEY_B"].map(|name| (name, format!("{name}-{}", "x".repeat(40))));
    let guardrail = toml::toml! { identifier = "gr1"
    version = "1" };
    let config = config(&Simulator::start().await, &upstream)
        .client("with-guardrail", "env:KEY_A")
        .of_client("guardrail", guardrail)
        .client("plain", "env:KEY_B");
    let variables: Vec<(&str, &str)> = keys.iter().map(|(name, key)| (*name, &**key)).collect();
    let gateway = Gateway::start_with(&config, &variables).await;
    let invoke = |key: usize| Ask::new(&gateway, "hello").of(FIRST).bearer(&keys[key].1);
    for _ in 0..4 {
        let poisons = [
            invoke(0),
            invoke(1).header("x-amzn-bedrock-performanceconfig-latency", "optimized"),
            invoke(1).header("content-type", "text/odd"),
            invoke(1).header("user-agent", "odd"),
        ];
        for poison in poisons {
            assert_ne!(poison.clone().send().await.status, 200, "{poison:?}");
            assert_eq!(model(&invoke(1).send().await), (200, Some(SECOND)), "{poison:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_confirms_a_denial_for_its_operation_and_all_see_why() {
    let upstream = Scripted::start(|path, _| match path {
        _ if path.contains("claude-3-7") => throttle(),
        _ if path.contains("4-5") && path.ends_with("/converse") => denied("InvokeModel"),
        _ => answer(),
    })
    .await;
    let gateway = start(&upstream).await;
    for _ in 0..4 {
        assert_eq!(model(&converse(&gateway).await), (200, Some(THIRD)));
    }
    assert_eq!(upstream.asked(&["4-5", "/converse"]), 1, "the others keep away");
    let invoke = Ask::new(&gateway, "hello").of(FIRST).send().await;
    assert_eq!(model(&invoke), (200, Some(SECOND)), "another operation");
    let shown = &gateway.target("second").await["denied"][0];
    assert_eq!(shown["operation"], "Converse");
    assert_eq!((&shown["is_confirmed"], &shown["status"]), (&json!(true), &json!(403)));
    assert_eq!(shown["error"], "AccessDeniedException");
    assert_eq!(shown["message"], "not authorized to perform: bedrock:InvokeModel");
    assert!(shown["retry_in"].as_f64().unwrap() > 500.0);
    let lines = gateway.log_lines("target is misconfigured: it denies the operation").await;
    assert_eq!(lines[0]["target_name"], "second");
    assert_eq!(lines[0]["operation"], "Converse");
    assert_eq!(lines[0]["reason"], "not authorized to perform: bedrock:InvokeModel");
    let reset = format!("{}/admin/targets/second/reset", gateway.admin_url());
    let key = format!("Bearer {}", crate::support::gateway::ADMIN_KEY);
    assert_eq!(http::post(&reset, &[("authorization", &key)], "").await.status, 200);
    assert!(gateway.target("second").await.get("denied").is_none());
    converse(&gateway).await;
    assert_eq!(upstream.asked(&["4-5", "/converse"]), 2, "it is tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_throttled_and_denying_targets() {
    let upstream = Scripted::start(|path, _| match path.contains("claude-3-7") {
        true => throttle(),
        false => denied("InvokeModel"),
    })
    .await;
    let gateway = start(&upstream).await;
    // The first time they are asked, the second time they are known to deny it.
    for _ in 0..2 {
        let refused = converse(&gateway).await;
        assert_eq!(refused.status, 429);
        let said = "Of 3 targets 1 is throttled and 2 deny access (403 AccessDeniedException)";
        assert!(refused.text().contains(said), "{}", refused.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_time_one_request_tries_and_an_answer_opens() {
    let deny = |path: &str, _: &str| match path {
        _ if path.contains("claude-3-7") => throttle(),
        _ if path.contains("4-5") => denied("InvokeModel"),
        _ => answer(),
    };
    let upstream = Scripted::start(deny).await;
    let simulator = Simulator::start().await;
    let config = config(&simulator, &upstream).set("fallback.misconfigured_cooldown", "400ms");
    let gateway = Gateway::start(&config).await;
    assert_eq!(model(&converse(&gateway).await), (200, Some(THIRD)));
    let asked = async || {
        converse(&gateway).await;
        upstream.asked(&["4-5"])
    };
    eventually("it is tried again", asked, |asked| *asked >= 2).await;
    assert_eq!(gateway.target("second").await["denied"][0]["is_confirmed"], true);
    upstream.turns(|path, _| if path.contains("claude-3-7") { throttle() } else { answer() });
    let answered = async || converse(&gateway).await.header("x-sluice-model").map(str::to_owned);
    eventually("it answers", answered, |model| model.as_deref() == Some(SECOND)).await;
    assert!(gateway.target("second").await.get("denied").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_clients_confirm_a_denial_that_one_does_not() {
    let upstream = Scripted::start(|path, _| match path {
        _ if path.contains("claude-3-7") => throttle(),
        _ if path.contains("4-5") => denied("InvokeModel"),
        _ => answer(),
    })
    .await;
    let mut config = config(&Simulator::start().await, &upstream);
    let keys = ["KEY_A", "KEY_B", "KEY_C"].map(|name| (name, format!("{name}-{}", "x".repeat(40))));
    for (name, _) in &keys {
        config = config.client(name, &format!("env:{name}"));
    }
    let variables: Vec<(&str, &str)> = keys.iter().map(|(name, key)| (*name, &**key)).collect();
    let gateway = Gateway::start_with(&config, &variables).await;
    let ask = async |key: &str| {
        let body = with(json!({ "newField": 1 }));
        let ask = Ask::new(&gateway, "").of(FIRST).operation("converse", body).bearer(key);
        assert_eq!(model(&ask.send().await), (200, Some(THIRD)));
        upstream.asked(&["4-5"])
    };
    for times in 1..=5 {
        assert_eq!(ask(&keys[0].1).await, times, "one client alone");
    }
    assert_eq!(ask(&keys[1].1).await, 6);
    assert_eq!(ask(&keys[2].1).await, 7, "that is the third");
    for (_, key) in &keys {
        assert_eq!(ask(key).await, 7, "all keep away");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_confirmed_denials_only() {
    let upstream = Scripted::start(|path, body| match path {
        _ if path.contains("claude-3-7") => throttle(),
        _ if path.ends_with("/converse") && body.contains("guardrailConfig") => denied("x"),
        _ if path.contains("sonnet-4-5") && path.ends_with("/invoke") => denied("InvokeModel"),
        _ => answer(),
    })
    .await;
    let redis = Redis::start().await;
    let simulator = Simulator::start().await;
    // Of one family, so that InvokeModel has three targets.
    let config = config(&simulator, &upstream)
        .set("targets.third.model", "us.anthropic.claude-haiku-4-5-20251001-v1:0")
        .set("state.backend", "redis")
        .set("state.redis_url", redis.reference());
    let (one, other) = (Gateway::start(&config).await, Gateway::start(&config).await);
    let replicas = async || {
        let metrics = other.metrics().await;
        metrics.sum("sluice_fleet_replicas", &[])
    };
    eventually("they know of each other", replicas, |it| *it >= 2.0).await;
    ask(&one, "converse", with(json!({ "guardrailConfig": { "guardrailIdentifier": "g" } }))).await;
    Ask::new(&one, "hello").of(FIRST).send().await;
    let shown = async || other.target("second").await["denied"].clone();
    let shown = eventually("the other hears of it", shown, |shown| shown.is_array()).await;
    assert_eq!(shown.as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(shown[0]["operation"], "InvokeModel");
    assert_eq!(other.target("second").await["state"], "available");
    Ask::new(&other, "hello").of(FIRST).send().await;
    assert_eq!(upstream.asked(&["sonnet-4-5", "/invoke"]), 1);
}

/// What fallbacks say of themselves, as publicly reported.
const MISFITS: [&str; 11] = [
    "The model returned the following errors: `temperature` and `top_p` cannot both be specified for this model. Please use only one.",
    "messages.1.content.0: Invalid `signature` in `thinking` block",
    "Malformed input request: extraneous key [top_k] is not permitted, please reformat your input and try again.",
    "invalid beta flag",
    "This model doesn't support tool use.",
    "This model doesn't support tool use in streaming mode.",
    "thinking.type: Input should be 'enabled' or 'disabled'",
    "`temperature` may only be set to 1 when thinking is enabled.",
    "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
    "1 validation error detected: Value at 'inferenceConfig.maxTokens' is wrong",
    "messages: roles must alternate between \"user\" and \"assistant\"",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_of_another_model_is_left_whatever_it_finds_wrong() {
    for (status, name) in [
        (400, "ValidationException"),
        (413, "RequestEntityTooLargeException"),
        (422, "UnprocessableEntityException"),
        (424, "ModelErrorException"),
    ] {
        for message in MISFITS {
            let misfit = error(status, name, message);
            let upstream = Scripted::start(move |path, _| match path {
                _ if path.contains("claude-3-7") => throttle(),
                _ if path.contains("4-5") => misfit.clone(),
                _ => answer(),
            })
            .await;
            let gateway = start(&upstream).await;
            assert_eq!(model(&converse(&gateway).await), (200, Some(THIRD)), "{status} {message}");
            assert_eq!(gateway.target("second").await["state"], "available");
            assert!(gateway.target("second").await.get("denied").is_none());
            if status != 400 {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_first_target_and_misfits_are_a_throttle() {
    let upstream = Scripted::start(|path, _| match path.contains("claude-3-7") {
        true => throttle(),
        false => error(400, "ValidationException", MISFITS[0]),
    })
    .await;
    let gateway = start(&upstream).await;
    // The first time it is asked, the second time it is known to be out.
    for _ in 0..2 {
        let refused = converse(&gateway).await;
        assert_eq!(refused.status, 429, "{}", refused.text());
        let said = "Of 3 targets 1 is throttled and 2 do not support this request";
        assert!(refused.text().contains(said), "{}", refused.text());
        assert_eq!(refused.header("x-amzn-errortype"), Some("ThrottlingException"));
        assert!(refused.header("retry-after").is_some());
    }
    let answer = gateway.call(Client::Boto3, Call::converse(FIRST, "hello")).await;
    assert!(answer.raised().is("ThrottlingException"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_first_target_speaks_where_only_misfits_are_left() {
    let upstream = Scripted::start(|path, _| match path {
        _ if path.contains("claude-3-7") => error(500, "InternalServerException", "first"),
        _ if path.contains("4-5") => error(400, "ValidationException", "second"),
        _ => error(400, "ValidationException", "third"),
    })
    .await;
    let gateway = start(&upstream).await;
    let failed = converse(&gateway).await;
    assert_eq!((failed.status, failed.json()["message"].as_str()), (500, Some("first")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validation_error_of_the_same_model_is_relayed() {
    let upstream = Scripted::start(|path, _| match path {
        _ if path.contains("/us.") => throttle(),
        _ => error(400, "ValidationException", "wrong"),
    })
    .await;
    let simulator = Simulator::start().await;
    let eu = FIRST.replace("us.", "eu.");
    let config = config(&simulator, &upstream).set("targets.second.model", eu.as_str());
    let gateway = Gateway::start(&config).await;
    let refused = converse(&gateway).await;
    assert_eq!((refused.status, refused.json()["message"].as_str()), (400, Some("wrong")));
    assert_eq!(upstream.asked(&["nova"]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_or_unknown_first_target_falls_back_and_is_reported() {
    for (status, name, message) in [
        (400, "ValidationException", "The provided model identifier is invalid."),
        (404, "ResourceNotFoundException", "This model version has reached the end of its life."),
        (400, "ValidationException", "This model has reached its end of life."),
        (
            400,
            "ValidationException",
            "Invocation of model ID x with on-demand throughput isn\u{2019}t supported.",
        ),
    ] {
        let gone = error(status, name, message);
        let all = gone.clone();
        let upstream = Scripted::start(move |path, _| match path.contains("claude-3-7") {
            true => gone.clone(),
            false => answer(),
        })
        .await;
        let gateway = start(&upstream).await;
        assert_eq!(model(&converse(&gateway).await), (200, Some(SECOND)), "{message}");
        let lines = gateway.log_lines(if status == 400 && message.contains("end of") {
            "a target denied a request"
        } else {
            "target is misconfigured"
        });
        assert_eq!(lines.await[0]["reason"], message);
        // With nothing else left, its own word is what the client gets, each time.
        upstream.turns(move |_, _| all.clone());
        for _ in 0..3 {
            let refused = converse(&gateway).await;
            assert_eq!(
                (refused.status, refused.json()["message"].as_str()),
                (status, Some(message))
            );
            assert_eq!(refused.header("x-amzn-errortype"), Some(name));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_quoted_from_a_request_shut_no_target_out() {
    let quoted = "role 'The provided model identifier is invalid.' is not one of user, assistant";
    let upstream = Scripted::start(move |_, body| match body.contains("identifier is invalid") {
        true => error(400, "ValidationException", quoted),
        false => answer(),
    })
    .await;
    let gateway = start(&upstream).await;
    let body = plain().to_string().replace("user", "The provided model identifier is invalid.");
    for _ in 0..3 {
        let refused = ask(&gateway, "converse", body.clone()).await;
        assert_eq!((refused.status, refused.json()["message"].as_str()), (400, Some(quoted)));
    }
    assert_eq!(model(&converse(&gateway).await), (200, Some(FIRST)));
    assert!(gateway.target("first").await.get("denied").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_by_the_first_target_is_relayed_and_shown() {
    let upstream = Scripted::start(|path, _| match path.contains("claude-3-7") {
        true => denied("InvokeModel"),
        false => answer(),
    })
    .await;
    let gateway = start(&upstream).await;
    for _ in 0..3 {
        let refused = converse(&gateway).await;
        assert_eq!(refused.status, 403);
        assert_eq!(refused.header("x-amzn-errortype"), Some("AccessDeniedException"));
    }
    let shown = gateway.target("first").await["denied"][0].clone();
    assert_eq!((&shown["operation"], &shown["is_confirmed"]), (&json!("Converse"), &json!(false)));
    let lines = gateway.log_lines("a target denied a request").await;
    assert_eq!(lines[0]["reason"], "not authorized to perform: bedrock:InvokeModel");
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_all_deny_are_asked_again_and_mended_at_once() {
    let unknown = || error(404, "ResourceNotFoundException", "no such model");
    let upstream = Scripted::start(move |_, _| unknown()).await;
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&config(&simulator, &upstream)).await;
    for _ in 0..3 {
        let refused = converse(&gateway).await;
        assert_eq!(refused.status, 404);
        assert_eq!(refused.header("x-amzn-errortype"), Some("ResourceNotFoundException"));
    }
    assert_eq!(upstream.asked(&["4-5"]), 1, "the others keep away");
    upstream.turns(|_, _| answer());
    assert_eq!(model(&converse(&gateway).await), (200, Some(FIRST)));
}

#[tokio::test(flavor = "multi_thread")]
async fn features_of_a_body_rule_targets_out_beforehand() {
    for (what, members, asked) in [
        ("nothing", json!({}), ["second", "third"].as_slice()),
        (
            "thinking",
            json!({ "additionalModelRequestFields":
                { "reasoningConfig": { "type": "enabled", "maxReasoningEffort": "low" } } }),
            &["second"],
        ),
        (
            "an effort",
            json!({ "additionalModelRequestFields": { "reasoning_effort": "high" } }),
            &["second"],
        ),
        (
            "another family's field",
            json!({ "additionalModelRequestFields": { "top_k": 5 } }),
            &["second"],
        ),
        (
            "a schema",
            json!({ "outputConfig": { "textFormat": { "type": "json_schema" } } }),
            &["second"],
        ),
        ("an effort of output", json!({ "outputConfig": { "effort": "low" } }), &[]),
    ] {
        let upstream = Scripted::start(|_, _| throttle()).await;
        let gateway = start(&upstream).await;
        assert_eq!(ask(&gateway, "converse", with(members)).await.status, 429);
        for (name, part) in [("second", "4-5"), ("third", "nova")] {
            assert_eq!(upstream.asked(&[part]) > 0, asked.contains(&name), "{what}: {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_while_others_wait_does_not_turn_them_away() {
    let upstream = Scripted::start(|path, _| match path {
        _ if path.contains("claude-3-7") => {
            error(404, "ResourceNotFoundException", "no such model")
        }
        _ => answer(),
    })
    .await;
    let gateway = start(&upstream).await;
    let all: Vec<_> = (0..50)
        .map(|_| {
            Ask::new(&gateway, "").of(FIRST).operation("converse", plain().to_string()).start()
        })
        .collect();
    for one in all {
        let response = tokio::time::timeout(Duration::from_secs(60), one).await.unwrap().unwrap();
        assert_eq!(model(&response), (200, Some(SECOND)));
    }
}
