//! Answers, refusals, quotas, credentials and the control API, as clients and SDKs meet them.

use aws_sdk_bedrockruntime as sdk;

use super::*;

#[tokio::test]
async fn every_family_answers_in_its_shape_with_the_same_usage_everywhere() {
    let simulator = start().await;
    let text = "hello there";
    let messages = json!([{"role": "user", "content": [{"text": text}]}]);
    for (model, body) in [
        (
            HAIKU,
            json!({
                "anthropic_version": "bedrock-2023-05-31",
                "max_tokens": 50,
                "messages": [{"role": "user", "content": text}],
            }),
        ),
        (
            "us.amazon.nova-lite-v1:0",
            json!({"messages": messages, "inferenceConfig": {"maxTokens": 50}}),
        ),
        ("amazon.titan-text-express-v1", json!({"inputText": text})),
        ("meta.llama3-8b-instruct-v1:0", json!({"prompt": text, "max_gen_len": 50})),
        ("mistral.mistral-7b-instruct-v0:2", json!({"prompt": text, "max_tokens": 50})),
        ("openai.gpt-oss-20b-1:0", json!({"messages": [{"role": "user", "content": text}]})),
    ] {
        simulator.controls.quotas.set(model, ModelSettings::default());
        let whole = simulator.post(model, "invoke", body.to_string()).await;
        assert_eq!(whole.status, 200, "{model}: {:?}", String::from_utf8_lossy(&whole.body));
        let echo = format!("[{model}] {text}");
        assert!(String::from_utf8_lossy(&whole.body).contains(&echo), "{model}");
        let usage = Usage::from_headers(&whole.headers).unwrap();
        assert_eq!(Usage::from_body(&whole.body), Some(usage), "{model}");
        assert_eq!(usage.input, 3);

        let stream = simulator.post(model, "invoke-with-response-stream", body.to_string()).await;
        assert_eq!(stream.headers["x-amzn-bedrock-content-type"], "application/json");
        let (mut rest, mut last) = (stream.body.as_slice(), None);
        while let Ok(Some(frame)) = Frame::read(rest) {
            last = Usage::from_frame(&frame);
            rest = &rest[frame.len..];
        }
        assert_eq!(last, Some(usage), "{model}: the metrics are in the last chunk");
    }
    for (model, body) in [
        ("amazon.titan-embed-text-v2:0", json!({"inputText": text, "dimensions": 256})),
        ("cohere.embed-english-v3", json!({"texts": [text, "b"], "input_type": "search_query"})),
    ] {
        let whole = simulator.post(model, "invoke", body.to_string()).await;
        assert_eq!(whole.status, 200);
        let stream = simulator.post(model, "invoke-with-response-stream", body.to_string()).await;
        assert_eq!(stream.error(), "ValidationException");
        assert_eq!(
            simulator.post(model, "converse", converse("x")).await.error(),
            "ValidationException"
        );
    }
}

#[tokio::test]
async fn a_model_says_what_it_is_told_whole_and_streamed_and_is_charged_for_that() {
    const SAID: &str = "{\"feedback_items\": []}\nÜber";
    let simulator = start().await;
    let body = json!({
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "hello"}],
    })
    .to_string();
    simulator.controls.quotas.set(HAIKU, ModelSettings { tpm: Some(1000), ..Default::default() });
    let (status, told) =
        simulator.control("PUT", "answers", json!([{"model": HAIKU, "text": SAID}])).await;
    assert_eq!((status.as_u16(), &told["answers"][HAIKU]), (200, &json!(SAID)));

    let whole = simulator.post(HAIKU, "invoke", body.clone()).await;
    assert_eq!(whole.json()["content"][0]["text"], SAID);
    let usage = Usage::from_headers(&whole.headers).unwrap();
    assert_eq!((usage.input, usage.output), (2, 7));
    let converse = simulator.converse("hello").await.json();
    assert_eq!(converse["output"]["message"]["content"][0]["text"], SAID);
    assert_eq!(converse["usage"]["outputTokens"], 7);

    let stream = simulator.stream("hello").await;
    let (mut rest, mut text) = (stream.body.as_slice(), String::new());
    while let Ok(Some(frame)) = Frame::read(rest) {
        let payload: Value = serde_json::from_slice(frame.payload).unwrap();
        text.push_str(payload["delta"]["text"].as_str().unwrap_or_default());
        rest = &rest[frame.len..];
    }
    assert_eq!(text, SAID);
    simulator.last().await;
    let left = simulator.controls.quotas.states()[HAIKU].tokens_left.unwrap();
    assert!((1000.0 - 3.0 * 9.0..=1000.0).contains(&left), "{left}");
    assert_eq!(simulator.controls.quotas.accounts()[HAIKU].output_tokens, 21);

    let echo = format!("us.{HAIKU}");
    let other = simulator.post(&echo, "invoke", body.clone()).await;
    assert_eq!(other.json()["content"][0]["text"], format!("[{echo}] hello"));
    let (_, answers) = simulator.control("DELETE", "answers", Value::Null).await;
    assert_eq!(answers["answers"], json!({}));
    let again = simulator.post(HAIKU, "invoke", body).await;
    assert_eq!(again.json()["content"][0]["text"], format!("[{HAIKU}] hello"));
}

#[tokio::test]
async fn requests_that_bedrock_refuses_are_refused() {
    let simulator = start().await;
    let anthropic = |change: Value| {
        let mut body = json!({
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 50,
            "messages": [{"role": "user", "content": "x"}],
        });
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        body.to_string()
    };
    let thinking =
        json!({"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 2000}});
    for (suffix, body, message) in [
        ("invoke", "{".to_owned(), "Malformed input request"),
        ("invoke", "[]".to_owned(), "Malformed input request"),
        (
            "invoke",
            json!({"anthropic_version": "bedrock-2023-05-31", "messages": []}).to_string(),
            "max_tokens: Field required",
        ),
        ("invoke", anthropic(json!({"anthropic_version": "v1"})), "Invalid API version"),
        ("invoke", anthropic(json!({"model": HAIKU})), "model: Extra inputs are not permitted"),
        ("invoke", anthropic(json!({"max_tokens": 4097})), "4097 > 4096"),
        ("invoke", anthropic(json!({"messages": []})), "at least one message"),
        ("invoke", anthropic(thinking.clone()), "thinking: Extra inputs are not permitted"),
        ("converse", converse("x").replace("100", "4097"), "exceeds the model limit of 4096"),
        ("converse", "{}".to_owned(), "messages"),
        ("count-tokens", "{}".to_owned(), "input"),
        ("invoke", "x".repeat(sluice_bedrock::MAX_BODY_BYTES + 1), "25000000"),
    ] {
        let answered = simulator.post(HAIKU, suffix, body).await;
        assert_eq!(
            (answered.status.as_u16(), answered.error().as_str()),
            (400, "ValidationException")
        );
        let got = answered.json()["message"].to_string();
        assert!(got.contains(message), "{got}");
    }
    let thinks = "anthropic.claude-sonnet-4-5-20250929-v1:0";
    let answered = simulator.post(thinks, "invoke", anthropic(thinking)).await;
    assert!(answered.json()["message"].to_string().contains("thinking.budget_tokens"));
    let unknown = simulator.post("nobody.knows-v1:0", "converse", converse("x")).await;
    assert_eq!(unknown.json()["message"], "The provided model identifier is invalid.");
    let path = simulator.post(HAIKU, "unknown-operation", "{}").await;
    assert_eq!((path.status.as_u16(), path.error().as_str()), (404, "UnknownOperationException"));
}

#[tokio::test]
async fn quotas_set_over_the_control_api_throttle() {
    let simulator = start().await;
    let (status, _) = simulator.control("PUT", "quotas", json!({"model": HAIKU, "rpm": 1})).await;
    assert_eq!(status, 200);
    assert_eq!(simulator.converse("a").await.status, 200);
    let refused = simulator.converse("b").await;
    assert_eq!((refused.status.as_u16(), refused.error().as_str()), (429, "ThrottlingException"));
    assert!(!refused.headers.contains_key("retry-after"));
    let profile = format!("us.{HAIKU}");
    assert_eq!(simulator.post(&profile, "converse", converse("c")).await.status, 200);
    let (_, books) = simulator.control("GET", "books", Value::Null).await;
    assert_eq!(books["models"][HAIKU]["calls"], 1);
    assert_eq!(books["models"][HAIKU]["throttled"], 1);
    simulator.control("DELETE", "quotas", Value::Null).await;
    assert_eq!(simulator.converse("d").await.status, 200);
}

#[tokio::test]
async fn the_control_api_scripts_reads_and_clears() {
    let simulator = start().await;
    let rule = json!([
        {"model": HAIKU, "times": 1, "fault": {"kind": "throttle"}},
        {"operation": "Converse", "skip": 9, "fault": {"kind": "slow_head", "ms": 1}},
    ]);
    let (status, rules) = simulator.control("POST", "faults", rule).await;
    assert_eq!((status.as_u16(), rules["faults"].as_array().unwrap().len()), (200, 2));
    assert_eq!(simulator.converse("a").await.status, 429);
    let (_, log) = simulator.control("GET", "log?since=0", Value::Null).await;
    let entry = &log["entries"][0];
    assert_eq!((entry["fault"].as_str(), entry["status"].as_u64()), (Some("throttle"), Some(429)));
    assert_eq!(entry["body_sha256"], sha256_hex(converse("a").as_bytes()));
    let (_, log) = simulator.control("GET", "log?since=1", Value::Null).await;
    assert_eq!(log["entries"], json!([]));
    for (method, resource, body, status) in [
        ("POST", "faults", json!({"fault": {"kind": "nonsense"}}), 400),
        ("PUT", "quotas", json!({"model": HAIKU, "rmp": 3}), 400),
        ("PUT", "answers", json!({"model": HAIKU, "txt": "x"}), 400),
        ("POST", "answers", json!({}), 405),
        ("PUT", "log", json!({}), 405),
        ("GET", "nothing", json!({}), 404),
    ] {
        let (got, answer) = simulator.control(method, resource, body).await;
        assert_eq!(got.as_u16(), status);
        assert!(answer["message"].is_string());
    }
    simulator.controls.answers.set(HAIKU, "x").unwrap();
    simulator.control("DELETE", "", Value::Null).await;
    assert!(simulator.controls.faults.rules().is_empty());
    assert!(simulator.controls.answers.all().is_empty());
    assert!(simulator.controls.log.entries().is_empty());
}

#[tokio::test]
async fn cleartext_http2_is_spoken_on_the_same_port() {
    let simulator = start().await;
    let request = simulator.request(HAIKU, "converse-stream", converse("hello sim:tokens=3"));
    let answered = answered(send(request, true).await).await;
    assert_eq!(answered.frames().0.len(), 7);
    assert_eq!(simulator.last().await.protocol, "HTTP/2.0");
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_logged() {
    let simulator = start().await;
    let mut request = simulator.request(HAIKU, "converse", converse("x"));
    request.headers_mut().remove("authorization");
    let none = answered(send(request, false).await).await;
    assert_eq!(
        (none.status.as_u16(), none.error().as_str()),
        (403, "MissingAuthenticationTokenException")
    );
    let entry = simulator.last().await;
    assert_eq!(entry.signature, Some("MissingAuthenticationTokenException"));
    assert_eq!(simulator.controls.quotas.accounts().len(), 0);
}

fn sdk_client(simulator: &Running, secret: &str) -> sdk::Client {
    let keys = sdk::config::Credentials::new(
        DEFAULT_ACCESS_KEY_ID,
        secret,
        Some("a-session/token==".to_owned()),
        None,
        "test",
    );
    let config = sdk::Config::builder()
        .behavior_version(sdk::config::BehaviorVersion::latest())
        .region(sdk::config::Region::new("eu-west-1"))
        .credentials_provider(keys)
        .endpoint_url(&simulator.url)
        .retry_config(sdk::config::retry::RetryConfig::disabled())
        .build();
    sdk::Client::from_conf(config)
}

#[tokio::test]
async fn an_aws_sdk_is_understood_and_understands() {
    use sdk::types::{ContentBlock, ConversationRole, Message};
    let simulator = start().await;
    let client = sdk_client(&simulator, DEFAULT_SECRET_ACCESS_KEY);
    let message = Message::builder()
        .role(ConversationRole::User)
        .content(ContentBlock::Text("hello".to_owned()))
        .build()
        .unwrap();
    let arn = format!("arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.{HAIKU}");
    let output = client.converse().model_id(&arn).messages(message.clone()).send().await.unwrap();
    let text = output.output().unwrap().as_message().unwrap().content()[0].as_text().unwrap();
    assert_eq!(text, &format!("[eu.{HAIKU}] hello"));

    let mut stream =
        client.converse_stream().model_id(HAIKU).messages(message.clone()).send().await.unwrap();
    let mut events = 0;
    while stream.stream.recv().await.unwrap().is_some() {
        events += 1;
    }
    assert!(events > 4);
    client.list_async_invokes().max_results(3).send().await.unwrap();
    for entry in simulator.controls.log.entries() {
        assert_eq!((entry.signature, entry.region.as_deref()), (Some("valid"), Some("eu-west-1")));
    }

    let wrong = sdk_client(&simulator, "wrong");
    let error = wrong.converse().model_id(HAIKU).messages(message).send().await.unwrap_err();
    assert_eq!(error.into_service_error().meta().code(), Some("InvalidSignatureException"));
}
