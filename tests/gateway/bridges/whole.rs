//! Whole answers: a chat and a message reach models that know only Converse.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_reaches_claude_and_nova() {
    for (name, model) in [("claude", CLAUDE), ("nova", NOVA)] {
        let upstream = Bedrock::start(|_, _| converse_text("hello")).await;
        let gateway = gateway(&upstream, &[(name, model)], |config| config).await;
        let body = with(chat(), "max_tokens", 20);
        let got = post(&gateway, CHAT, &body).await;
        assert_eq!(got.status, 200, "{}", got.text());
        let answer = got.json();
        assert_eq!(answer["object"], "chat.completion");
        assert_eq!(answer["choices"][0]["message"]["content"], "hello");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        assert_eq!(answer["usage"]["prompt_tokens"], 11);
        assert_eq!(answer["usage"]["completion_tokens"], 7);
        assert_eq!(got.header("content-type"), Some("application/json"));
        assert_eq!(got.header("x-sluice-translated"), Some("converse"));
        assert_eq!(got.header("x-sluice-model"), Some(model));
        let seen = &upstream.seen()[0];
        assert_eq!(seen.path, format!("/model/{model}/converse"));
        assert_eq!(seen.body["inferenceConfig"]["maxTokens"], 20);
        assert_eq!(seen.body["messages"][0]["content"][0]["text"], "hi");
        let log = gateway.access_log(1).await;
        assert_eq!(log[0]["translated"], "converse");
        assert_eq!(
            (&log[0]["usage"]["input"], &log[0]["usage"]["output"]),
            (&11.into(), &7.into())
        );
        let labels = [("api", "chat_completions"), ("to", "converse")];
        let counted = gateway.metrics().await.sum("sluice_translated_requests_total", &labels);
        assert!((counted - 1.0).abs() < f64::EPSILON, "{counted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_nova_without_anything_of_anthropics_in_its_head() {
    let upstream = Bedrock::start(|_, _| converse_text("hello")).await;
    let gateway = gateway(&upstream, &[("nova", NOVA)], |config| config).await;
    let headers = [
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "context-1m-2025-08-07"),
        ("x-api-key", "the-clients-key"),
        ("accept", "text/event-stream"),
    ];
    let got = post_with(&gateway, MESSAGES, &headers, &message()).await;
    assert_eq!(got.status, 200, "{}", got.text());
    let answer = got.json();
    assert_eq!((&answer["type"], &answer["role"]), (&"message".into(), &"assistant".into()));
    assert_eq!(answer["content"][0]["text"], "hello");
    assert_eq!(answer["usage"]["input_tokens"], 11);
    let head = upstream.seen()[0].head.to_ascii_lowercase();
    assert!(!head.contains("anthropic-") && !head.contains("the-clients-key"), "{head}");
    assert!(!head.contains("text/event-stream"), "{head}");
    assert!(head.contains("aws4-hmac-sha256"), "signed by the gateway: {head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_a_claude_without_messages_by_invoke_model_as_it_came() {
    use base64::Engine as _;
    let answer = r#"{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","usage":{"input_tokens":11,"output_tokens":7}}"#;
    let chunk = |event: &str| {
        let bytes = base64::engine::general_purpose::STANDARD.encode(event);
        event_stream::event("chunk", json!({ "bytes": bytes }).to_string())
    };
    let chunks = [
        r#"{"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":11,"output_tokens":1}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hello"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}"#,
        r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":11,"outputTokenCount":7}}"#,
    ];
    let upstream = Bedrock::start(move |_, seen| match seen.path.ends_with("/invoke") {
        true => say(200, "application/json", answer.as_bytes()),
        false => stream(&chunks.map(chunk)),
    })
    .await;
    let surfaces = vec!["invoke_model", "converse"];
    let gateway = gateway(&upstream, &[("claude", CLAUDE)], |config| {
        config.every_target("surfaces", surfaces.clone()).every_target("max_output_tokens", 40)
    })
    .await;
    let got = post(&gateway, MESSAGES, &message()).await;
    assert_eq!((got.status, got.text()), (200, answer.into()));
    assert_eq!(got.header("x-sluice-translated"), Some("invoke_model"));
    let sent = &upstream.seen()[0];
    assert_eq!(sent.path, format!("/model/{CLAUDE}/invoke"));
    assert_eq!(sent.body["anthropic_version"], "bedrock-2023-05-31");
    assert_eq!((&sent.body["model"], &sent.body["max_tokens"]), (&Value::Null, &40.into()));
    let got = post(&gateway, MESSAGES, &with(message(), "stream", true)).await;
    let kinds: Vec<Value> = events(&got.text()).iter().map(|it| it["type"].clone()).collect();
    assert_eq!(kinds, ["message_start", "content_block_delta", "message_delta", "message_stop"]);
    assert_eq!(got.header("content-type"), Some("text/event-stream"));
    let log = gateway.access_log(2).await;
    for line in log {
        assert_eq!((&line["usage"]["input"], &line["usage"]["output"]), (&11.into(), &7.into()));
        assert_eq!(line["outcome"], "success");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_called_and_its_result_comes_back() {
    let upstream = Bedrock::start(|number, _| match number {
        1 => converse(
            &json!([{ "toolUse": { "toolUseId": "t1", "name": "weather", "input": { "city": "Rome" } } }]),
            "tool_use",
        ),
        _ => converse_text("sunny"),
    })
    .await;
    let gateway = gateway(&upstream, &[("claude", CLAUDE)], |config| config).await;
    let tools = json!([{ "type": "function", "function": { "name": "weather",
        "parameters": { "type": "object", "properties": { "city": { "type": "string" } } } } }]);
    let asked = with(chat(), "tools", tools);
    let first = post(&gateway, CHAT, &asked).await.json();
    let choice = &first["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{first}");
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!((&call["id"], &call["function"]["name"]), (&"t1".into(), &"weather".into()));
    let arguments: Value =
        serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({ "city": "Rome" }));
    let mut next = asked.clone();
    let turns = next["messages"].as_array_mut().unwrap();
    turns.push(choice["message"].clone());
    turns.push(json!({ "role": "tool", "tool_call_id": "t1", "content": "22 degrees" }));
    let got = post(&gateway, CHAT, &next).await;
    assert_eq!(got.json()["choices"][0]["message"]["content"], "sunny", "{}", got.text());
    let sent = &upstream.seen()[1].body["messages"];
    assert_eq!(sent[1]["content"][0]["toolUse"]["input"]["city"], "Rome");
    assert_eq!(sent[2]["content"][0]["toolResult"]["toolUseId"], "t1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_serves_the_api_gets_the_request_as_it_came() {
    let upstream = Bedrock::start(|_, _| {
        say(
            200,
            "application/json",
            br#"{"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        )
    })
    .await;
    let gateway = gateway(&upstream, &[("gpt", "us.openai.gpt-5.6-sol")], |config| config).await;
    let got = post(&gateway, CHAT, &chat()).await;
    assert_eq!((got.status, got.header("x-sluice-translated")), (200, None), "{}", got.text());
    assert_eq!(upstream.seen()[0].path, "/openai/v1/chat/completions");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cant_be_translated_is_answered_by_the_next_target() {
    let upstream = Bedrock::start(|number, _| match number {
        1 => say(200, "application/json", b"{\"output\":"),
        _ => converse_text("hello"),
    })
    .await;
    let targets = [("claude", CLAUDE), ("nova", NOVA)];
    let gateway = gateway(&upstream, &targets, |config| config).await;
    let got = post(&gateway, CHAT, &chat()).await;
    assert_eq!((got.status, got.header("x-sluice-model")), (200, Some(NOVA)), "{}", got.text());
    assert_eq!(gateway.access_log(1).await[0]["attempts"][0]["outcome"], "untranslatable");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_upstream_has_the_form_of_the_clients_api() {
    let upstream = Bedrock::start(|_, _| error(400, "ValidationException", "bad roles")).await;
    let gateway = gateway(&upstream, &[("nova", NOVA)], |config| config).await;
    let got = post(&gateway, CHAT, &chat()).await;
    assert_eq!(got.status, 400);
    assert_eq!(got.json()["error"]["type"], "invalid_request_error");
    let got = post(&gateway, MESSAGES, &message()).await;
    assert_eq!((got.status, &got.json()["type"]), (400, &"error".into()));
    assert_eq!(got.header("x-sluice-translated"), Some("converse"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_may_say_that_nothing_is_translated() {
    let upstream = Bedrock::start(|_, _| converse_text("hello")).await;
    let gateway =
        gateway(&upstream, &[("nova", NOVA)], |config| config.of_route("translate", false)).await;
    let got = post(&gateway, CHAT, &chat()).await;
    assert_eq!((got.status, &got.json()["error"]["param"]), (400, &"model".into()));
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_a_route_is_translated_for_likewise() {
    let upstream = Bedrock::start(|_, _| converse_text("hello")).await;
    let gateway = gateway(&upstream, &[("nova", NOVA)], |config| config).await;
    // The last two are newer than the catalogue.
    for model in
        ["us.amazon.nova-lite-v1:0", "us.amazon.nova-9-lite-v1:0", "us.anthropic.claude-opus-99"]
    {
        let got = post(&gateway, CHAT, &with(chat(), "model", model)).await;
        assert_eq!(got.status, 200, "{}", got.text());
        assert_eq!(upstream.seen().pop().unwrap().path, format!("/model/{model}/converse"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_has_the_models_that_a_translation_reaches() {
    let upstream = Bedrock::start(|_, _| converse_text("hello")).await;
    for (translate, listed) in [(None, true), (Some(false), false)] {
        let gateway = gateway(&upstream, &[("nova", NOVA)], |config| match translate {
            Some(translate) => config.of_route("translate", translate),
            None => config,
        })
        .await;
        let url = format!("{}/v1/models", gateway.url());
        let got = request("GET", &url, &[], "").await.json();
        let ids: Vec<&str> =
            got["data"].as_array().unwrap().iter().filter_map(|it| it["id"].as_str()).collect();
        assert_eq!(ids.contains(&"m"), listed, "{ids:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_the_answer_that_the_targets_own_api_leaves_aside_is_enforced_by_a_translation() {
    const OSS: &str = "openai.gpt-oss-120b-1:0";
    let upstream = Bedrock::start(|_, _| converse_text("hello")).await;
    let gateway = gateway(&upstream, &[("oss", OSS)], |config| config).await;
    let schema = json!({ "name": "a", "schema": { "type": "object", "properties": {} } });
    let format = json!({ "type": "json_schema", "json_schema": schema });
    post(&gateway, CHAT, &with(chat(), "response_format", format)).await;
    post(&gateway, CHAT, &with(chat(), "response_format", json!({ "type": "text" }))).await;
    post(&gateway, CHAT, &with(chat(), "response_format", json!({ "type": "json_object" }))).await;
    let seen = upstream.seen();
    assert_eq!(seen[0].path, format!("/model/{OSS}/converse"));
    assert_eq!(seen[0].body["toolConfig"]["toolChoice"]["tool"]["name"], "answer");
    assert_eq!(seen[1].path, CHAT);
    assert_eq!(seen[2].path, format!("/model/{OSS}/converse"));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_for_a_claude_that_may_be_called_by_converse_alone_go_by_converse() {
    let upstream = Bedrock::start(|_, _| converse_text("hello")).await;
    let gateway = gateway(&upstream, &[("claude", CLAUDE)], |config| {
        config.every_target("surfaces", vec!["converse"])
    })
    .await;
    let got = post(&gateway, MESSAGES, &message()).await;
    assert_eq!((got.status, &got.json()["content"][0]["text"]), (200, &"hello".into()));
    assert_eq!(upstream.seen()[0].path, format!("/model/{CLAUDE}/converse"));
}
