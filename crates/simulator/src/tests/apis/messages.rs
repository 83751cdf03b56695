//! Messages.

use super::*;

#[tokio::test]
async fn an_answer_has_the_form_of_messages_on_both_endpoints() {
    let simulator = start().await;
    for (model, endpoint) in [(HAIKU_5, "runtime"), (HAIKU_AT_MANTLE, "mantle")] {
        let request = message(model, "hello sim:cache_read=30 sim:cache_write=5");
        let answer = simulator.json(MESSAGES, &request).await;
        assert_eq!((&answer["type"], &answer["role"]), (&json!("message"), &json!("assistant")));
        assert_eq!(answer["content"][0]["type"], "text");
        let text = answer["content"][0]["text"].as_str().unwrap();
        assert!(text.starts_with(&format!("[{model}] hello")), "{text}");
        assert_eq!(answer["stop_reason"], "end_turn");
        let usage = &answer["usage"];
        assert_eq!(
            (&usage["input_tokens"], &usage["cache_read_input_tokens"]),
            (&json!(11), &json!(30))
        );
        let entry = simulator.last().await;
        assert_eq!((entry.operation, entry.endpoint), (Some("CreateMessage"), Some(endpoint)));
        assert_eq!(entry.model.as_deref(), Some(model));
    }
}

#[tokio::test]
async fn a_model_that_always_thinks_signs_a_thought_that_it_shows_only_when_asked() {
    let simulator = start().await;
    let thought = |answer: &Value| {
        let thought = &answer["content"][0];
        assert_eq!(thought["type"], "thinking");
        assert!(!thought["signature"].as_str().unwrap().is_empty());
        thought["thinking"].as_str().unwrap().to_owned()
    };
    let request = message(OPUS, "hello");
    let answer = simulator.json(MESSAGES, &request).await;
    assert_eq!(thought(&answer), "");
    assert_eq!(answer["content"][1]["text"], format!("[{OPUS}] hello"));
    let shown = json!({"thinking": {"type": "adaptive", "display": "summarized"}});
    let answer = simulator.json(MESSAGES, &with(&request, shown)).await;
    assert!(!thought(&answer).is_empty());
    assert_eq!(answer["usage"]["output_tokens_details"], json!({"thinking_tokens": 4}));

    // What was signed is taken again, and nothing else.
    let again = |content: &Value| {
        let messages = json!([{"role": "user", "content": "hello"},
            {"role": "assistant", "content": content}, {"role": "user", "content": "more"}]);
        with(&request, json!({"messages": messages}))
    };
    simulator.json(MESSAGES, &again(&answer["content"])).await;
    let mut forged = answer["content"].clone();
    forged[0]["thinking"] = "something else".into();
    let (status, _, text, _) = error_of(&simulator.ask(MESSAGES, &again(&forged)).await);
    assert!(status == 400 && text.contains("signature"), "{text}");
}

fn tools() -> Value {
    let schema =
        json!({"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}});
    json!({"tools": [{"name": "weather", "input_schema": schema}, {"name": "tides", "input_schema": schema}]})
}

#[tokio::test]
async fn tools_are_used_whole_and_streamed() {
    let simulator = start().await;
    let request = with(&message(HAIKU_5, "sim:tool_calls=2"), tools());
    let answer = simulator.json(MESSAGES, &request).await;
    assert_eq!(answer["stop_reason"], "tool_use");
    let content = answer["content"].as_array().unwrap();
    assert_eq!((content.len(), &content[1]["name"]), (2, &json!("tides")));
    assert_eq!(content[0]["input"], json!({"city": "sim:tool_calls=2"}));
    let results: Vec<Value> = content
        .iter()
        .map(|call| json!({"type": "tool_result", "tool_use_id": call["id"], "content": "mild"}))
        .collect();
    let messages = json!([{"role": "user", "content": "sim:tool_calls=2"},
        {"role": "assistant", "content": content}, {"role": "user", "content": results}]);
    let after = simulator.json(MESSAGES, &with(&request, json!({"messages": messages}))).await;
    assert_eq!(after["stop_reason"], "end_turn");

    let forced = with(
        &request,
        json!({"tool_choice": {"type": "tool", "name": "tides", "disable_parallel_tool_use": true}}),
    );
    let answer = simulator.json(MESSAGES, &forced).await;
    assert_eq!(
        (answer["content"].as_array().unwrap().len(), &answer["content"][0]["name"]),
        (1, &json!("tides"))
    );

    let mut inputs = [String::new(), String::new()];
    for event in simulator.events(MESSAGES, &request).await {
        let event = event.json();
        if let Some(piece) = event["delta"]["partial_json"].as_str() {
            inputs[usize::try_from(event["index"].as_u64().unwrap()).unwrap()] += piece;
        }
    }
    for input in inputs {
        assert_eq!(serde_json::from_str::<Value>(&input).unwrap()["city"], "sim:tool_calls=2");
    }
}

#[tokio::test]
async fn mantle_counts_tokens_and_bedrock_runtime_does_not() {
    let simulator = start().await;
    let path = format!("{MESSAGES}/count_tokens");
    let mut request = message(HAIKU_AT_MANTLE, "hello");
    request.as_object_mut().unwrap().remove("max_tokens");
    assert_eq!(simulator.json(&path, &request).await, json!({"input_tokens": 2}));
    assert_eq!(simulator.last().await.operation, Some("CountMessageTokens"));
    let profile = with(&request, json!({"model": HAIKU_5}));
    assert_eq!(error_of(&simulator.ask(&path, &profile).await).0, 404);
    let runtime = [("host", "bedrock-runtime.us-east-1.amazonaws.com")];
    let (status, kind, ..) = error_of(&simulator.call("POST", &path, &runtime, &request).await);
    assert_eq!((status, kind.as_str()), (404, "not_found_error"));
}

#[tokio::test]
async fn count_tokens_refuses_models_that_mantle_alone_counts() {
    let simulator = start().await;
    let messages = json!([{"role": "user", "content": [{"text": "hello"}]}]);
    let count = json!({"input": {"converse": {"messages": messages}}});
    let haiku_4_5 = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
    for (model, status) in [(HAIKU_5, 400), (haiku_4_5, 200)] {
        let path = format!("/model/{model}/count-tokens");
        let answered = simulator.call("POST", &path, &[], &count).await;
        let text = String::from_utf8_lossy(&answered.body).into_owned();
        assert_eq!(answered.status, status, "{model}: {text}");
        assert_eq!(text.contains("doesn't support counting tokens"), status == 400, "{text}");
    }
}

#[tokio::test]
async fn a_tool_that_must_be_loaded_is_called_once_a_search_has_found_it() {
    let simulator = start().await;
    let later = json!({"name": "later", "input_schema": {"type": "object"}, "defer_loading": true});
    let mut request =
        with(&message(HAIKU_AT_MANTLE, "sim:tool_calls=2"), json!({"tools": [later]}));
    let answer = simulator.json(MESSAGES, &request).await;
    assert_eq!(answer["stop_reason"], "end_turn", "{answer}");
    let found = json!({"type": "tool_search_tool_result", "tool_use_id": "srvtoolu_1", "content": {
        "type": "tool_search_tool_search_result",
        "tool_references": [{"type": "tool_reference", "tool_name": "later"}]}});
    request["messages"] = json!([
        {"role": "user", "content": "find it"},
        {"role": "assistant", "content": [found]},
        {"role": "user", "content": "sim:tool_calls=1"},
    ]);
    let answer = simulator.json(MESSAGES, &request).await;
    assert_eq!(answer["content"][0]["name"], "later", "{answer}");
}

#[tokio::test]
async fn a_format_in_the_old_member_needs_its_flag() {
    let simulator = start().await;
    let schema = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let format = json!({"output_format": {"type": "json_schema", "schema": schema}});
    let request = with(&message(HAIKU_AT_MANTLE, "hello"), format);
    let refused = simulator.ask(MESSAGES, &request).await;
    assert_eq!(error_of(&refused).2, "output_format: Extra inputs are not permitted");
    let flag = [("anthropic-beta", "structured-outputs-2025-11-13")];
    let answered = simulator.call("POST", MESSAGES, &flag, &request).await;
    assert_eq!(answered.status, 200);
    assert_eq!(answered.json()["content"][0]["text"], "{}");
}

#[tokio::test]
async fn each_endpoint_takes_its_own_beta_flags() {
    let simulator = start().await;
    for (model, flag, status) in [
        (HAIKU_5, "context-1m-2025-08-07,effort-2025-11-24", 200),
        (HAIKU_5, "claude-code-20250219", 400),
        (HAIKU_5, "interleaved-thinking-2025-05-14", 400),
        (HAIKU_AT_MANTLE, "claude-code-20250219, interleaved-thinking-2025-05-14", 200),
        (HAIKU_AT_MANTLE, "files-api-2025-04-14", 400),
        (HAIKU_5, "no-such-flag", 400),
    ] {
        let beta = [("anthropic-beta", flag)];
        let answered = simulator.call("POST", MESSAGES, &beta, &message(model, "hello")).await;
        assert_eq!(answered.status, status, "{model} {flag}");
        if status == 400 {
            assert_eq!(error_of(&answered).2, "invalid beta flag");
        }
    }
}

#[tokio::test]
async fn what_bedrock_refuses_is_refused() {
    let simulator = start().await;
    let hello = |more: Value| with(&message(HAIKU_5, "hello"), more);
    let messages = |messages: Value| hello(json!({"messages": messages}));
    let user = json!({"role": "user", "content": "x"});
    let used = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]});
    let result = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1"}]});
    let point = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
    for (body, status, part) in [
        (json!({"max_tokens": 5, "messages": [user]}), 400, "model: Field required"),
        (json!({"model": HAIKU_5, "messages": [user]}), 400, "max_tokens: Field required"),
        (hello(json!({"max_tokens": 200_000})), 400, "128000"),
        (json!({"model": HAIKU_5, "max_tokens": 5}), 400, "messages: Field required"),
        (messages(json!([])), 400, "at least one"),
        (messages(json!([{"role": "tool", "content": "x"}])), 400, "role"),
        (messages(json!([{"role": "assistant", "content": "x"}])), 400, "first message"),
        (messages(json!([user, {"role": "system", "content": "x"}])), 200, ""),
        (
            messages(json!([{"role": "user", "content": [{"type": "text", "text": ""}]}])),
            400,
            "non-empty",
        ),
        (messages(json!([user, used, user])), 400, "t1"),
        (messages(json!([user, used])), 400, "t1"),
        (messages(json!([user, used, result])), 200, ""),
        (messages(json!([result])), 400, "tool_use"),
        (
            messages(json!([{"role": "user", "content": [point, point, point, point, point]}])),
            400,
            "Found 5",
        ),
        (hello(json!({"temperature": 0.5})), 400, "temperature"),
        (hello(json!({"thinking": {"type": "enabled", "budget_tokens": 10}})), 400, "1024"),
        (hello(json!({"thinking": {"type": "enabled", "budget_tokens": 2000}})), 400, "max_tokens"),
        (
            hello(with(
                &tools(),
                json!({"thinking": {"type": "adaptive"}, "tool_choice": {"type": "any"}}),
            )),
            400,
            "tool_choice",
        ),
        (
            hello(
                json!({"max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000},
                "messages": [user, used, result]}),
            ),
            400,
            "Expected `thinking`",
        ),
        (with(&message(OPUS, "x"), json!({"thinking": {"type": "disabled"}})), 400, "disabled"),
        (
            with(&message(OPUS, "x"), with(&tools(), json!({"tool_choice": {"type": "any"}}))),
            400,
            "tool_choice",
        ),
        (
            hello(json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]})),
            400,
            "web_search",
        ),
        (
            with(
                &message(HAIKU_AT_MANTLE, "x"),
                json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
            ),
            200,
            "",
        ),
        (
            hello(json!({"output_config": {"format": {"type": "json_schema", "schema": {}}}})),
            200,
            "",
        ),
        (
            with(
                &message(HAIKU_AT_MANTLE, "x"),
                json!({"output_config": {"format": {"type": "json_schema", "schema": {}}}}),
            ),
            400,
            "output_config",
        ),
        (message("us.anthropic.claude-opus-99", "x"), 404, "claude-opus-99"),
        (message("us.anthropic.claude-haiku-4-5-20251001-v1:0", "x"), 400, "Messages"),
        (message(GPT, "x"), 400, "Messages"),
    ] {
        let answered = simulator.ask(MESSAGES, &body).await;
        let text = String::from_utf8_lossy(&answered.body).into_owned();
        assert_eq!(answered.status, status, "{body}: {text}");
        if status != 200 {
            let error = answered.json();
            assert_eq!(error["type"], "error");
            assert_eq!(error["request_id"], answered.headers["x-amzn-requestid"].to_str().unwrap());
            assert!(error["error"]["message"].as_str().unwrap().contains(part), "{error}");
        }
    }
    let version = [("anthropic-version", "latest")];
    let answered = simulator.call("POST", MESSAGES, &version, &hello(json!({}))).await;
    assert_eq!(error_of(&answered).0, 400);
    let long = message("us.anthropic.claude-opus-4-5-20251101-v1:0", &"word ".repeat(170_000));
    let (status, kind, text, _) = error_of(&simulator.ask(MESSAGES, &long).await);
    assert_eq!((status, kind.as_str()), (400, "invalid_request_error"));
    assert!(text.starts_with("prompt is too long: 212500 tokens > 200000"), "{text}");
}
