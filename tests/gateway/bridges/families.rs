//! Native requests for Claude that another family answers, where the route allows it.

use super::*;

fn invoke() -> Value {
    json!({ "anthropic_version": "bedrock-2023-05-31", "max_tokens": 50,
        "messages": [{ "role": "user", "content": "hi" }] })
}

fn converse_body() -> Value {
    json!({ "messages": [{ "role": "user", "content": [{ "text": "hi" }] }],
        "inferenceConfig": { "maxTokens": 50 } })
}

/// Claude is throttled, and Nova answers.
async fn claude_is_throttled(streams: bool, translate: bool) -> (Bedrock, Gateway) {
    claude_is_throttled_with(streams, |config| {
        if translate { config.of_route("translate", true) } else { config }
    })
    .await
}

async fn claude_is_throttled_with(
    streams: bool,
    change: impl Fn(Config) -> Config,
) -> (Bedrock, Gateway) {
    let upstream = Bedrock::start(move |_, seen| match (seen.path.contains("claude"), streams) {
        (true, _) => throttle(),
        (false, false) => converse_text("hello"),
        (false, true) => stream(&frames(&["hello"])),
    })
    .await;
    let targets = [("claude", CLAUDE), ("nova", NOVA)];
    let gateway = gateway(&upstream, &targets, |config| {
        change(config.set("queue.max_wait", "200ms").route(CLAUDE, &["claude", "nova"]))
    })
    .await;
    (upstream, gateway)
}

fn path(operation: &str) -> String {
    format!("/model/{CLAUDE}/{operation}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoke_body_of_claude_is_answered_by_nova_in_claudes_form() {
    let (upstream, gateway) = claude_is_throttled(false, true).await;
    let got = post(&gateway, &path("invoke"), &invoke()).await;
    assert_eq!(got.status, 200, "{}", got.text());
    let answer = got.json();
    assert_eq!(
        (&answer["type"], &answer["content"][0]["text"]),
        (&"message".into(), &"hello".into())
    );
    assert_eq!((&answer["stop_reason"], &answer["model"]), (&"end_turn".into(), &CLAUDE.into()));
    let count = |what: &str| got.header(&format!("x-amzn-bedrock-{what}-token-count"));
    assert_eq!((count("input"), count("output")), (Some("11"), Some("7")), "{answer}");
    assert_eq!(got.header("x-sluice-model"), Some(NOVA));
    assert_eq!(upstream.seen()[1].path, format!("/model/{NOVA}/converse"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoke_stream_of_claude_is_answered_by_nova_in_claudes_form() {
    use base64::Engine as _;
    let (_upstream, gateway) = claude_is_throttled(true, true).await;
    let got = post(&gateway, &path("invoke-with-response-stream"), &invoke()).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(got.header("content-type"), Some(event_stream::CONTENT_TYPE));
    let mut kinds = Vec::new();
    let mut rest = &got.body[..];
    while let Some(frame) = event_stream::Frame::read(rest).unwrap() {
        let payload: Value = serde_json::from_slice(frame.payload).unwrap();
        let bytes = payload["bytes"].as_str().unwrap();
        let chunk = base64::engine::general_purpose::STANDARD.decode(bytes).unwrap();
        let chunk: Value = serde_json::from_slice(&chunk).unwrap();
        kinds.push(chunk["type"].as_str().unwrap().to_owned());
        rest = &rest[frame.len..];
    }
    assert_eq!(kinds.first().map(String::as_str), Some("message_start"));
    assert_eq!(kinds.last().map(String::as_str), Some("message_stop"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_converse_request_is_adapted_to_the_other_family() {
    let (upstream, gateway) = claude_is_throttled(false, true).await;
    let got = post(&gateway, &path("converse"), &converse_body()).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(got.json()["output"]["message"]["content"][0]["text"], "hello");
    assert_eq!(got.header("x-sluice-translated"), Some("converse"));
    let sent = &upstream.seen()[1].body;
    assert_eq!(sent["messages"][0]["content"][0]["text"], "hi");
    assert_eq!(sent["inferenceConfig"]["maxTokens"], 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_advises_or_tunes_claude_is_left_out_for_a_model_without_it_and_named_unless_refused()
{
    let thinking = json!({ "thinking": { "type": "enabled", "budget_tokens": 2000 } });
    let body = with(converse_body(), "additionalModelRequestFields", thinking);
    let body = with(body, "inferenceConfig", json!({ "maxTokens": 4000 }));
    for (refuses, status) in [(true, 429), (false, 200)] {
        let (upstream, gateway) = claude_is_throttled_with(false, |config| {
            let config = config.of_route("translate", true);
            let thinking = vec!["additionalModelRequestFields.thinking".to_owned()];
            if refuses { config.set("apis.refuse_parameters", thinking) } else { config }
        })
        .await;
        let got = post(&gateway, &path("converse"), &body).await;
        assert_eq!(got.status, status, "{}", got.text());
        if !refuses {
            let sent = upstream.seen()[1].body.to_string();
            assert!(!sent.contains("budget_tokens"), "{sent}");
            let dropped = got.header("x-sluice-dropped").unwrap();
            assert!(dropped.contains("thinking"), "{dropped}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_converse_stream_is_answered_by_the_other_family() {
    let (_upstream, gateway) = claude_is_throttled(true, true).await;
    let got = post(&gateway, &path("converse-stream"), &converse_body()).await;
    assert_eq!(got.header("content-type"), Some(event_stream::CONTENT_TYPE), "{}", got.text());
    let mut kinds = Vec::new();
    let mut rest = &got.body[..];
    while let Some(frame) = event_stream::Frame::read(rest).unwrap() {
        if let event_stream::Kind::Event(kind) = frame.kind() {
            kinds.push(kind.to_owned());
        }
        rest = &rest[frame.len..];
    }
    assert_eq!(kinds.first().map(String::as_str), Some("messageStart"), "{kinds:?}");
    assert!(kinds.contains(&"messageStop".to_owned()), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_leave_a_body_of_claude_stays_with_claude() {
    let (upstream, gateway) = claude_is_throttled(false, false).await;
    let got = post(&gateway, &path("invoke"), &invoke()).await;
    assert_eq!(got.status, 429, "{}", got.text());
    assert!(upstream.seen().iter().all(|seen| seen.path.contains("claude")));
    // A Converse body is common to all models.
    let got = post(&gateway, &path("converse"), &converse_body()).await;
    assert_eq!((got.status, got.header("x-sluice-translated")), (200, None), "{}", got.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_model_gets_by_translation_what_no_model_of_its_family_serves() {
    const RESPONSES: &str = "/openai/v1/responses";
    let (claude, nova) = ("us.anthropic.claude-opus-9", "us.amazon.nova-ultra-v9:0");
    let response = json!({ "input": "hi", "store": false });
    for (model, path, body, is_translated) in [
        (claude, CHAT, chat(), true),
        (claude, RESPONSES, response.clone(), true),
        (claude, MESSAGES, message(), false),
        (nova, CHAT, chat(), true),
        (nova, MESSAGES, message(), true),
        ("openai.gpt-9", MESSAGES, message(), true),
        // What such a model has is the upstream's to say.
        ("openai.gpt-9", CHAT, chat(), false),
        ("openai.gpt-9", RESPONSES, response, false),
        ("maker.new", CHAT, chat(), false),
        ("maker.new", MESSAGES, message(), false),
    ] {
        let upstream = Bedrock::start(|_, _| converse_text("hello")).await;
        let gateway = gateway(&upstream, &[("routed", NOVA)], |config| config).await;
        let got = post(&gateway, path, &with(body, "model", model)).await;
        let sent = upstream.seen().pop().unwrap().path;
        let wanted = if is_translated { format!("/model/{model}/converse") } else { path.into() };
        assert_eq!(sent, wanted, "{model} {}", got.text());
        if is_translated {
            assert_eq!(got.status, 200, "{model} {path} {}", got.text());
            assert!(got.text().contains("hello"), "{}", got.text());
        }
    }
}
