//! Chat Completions.

use super::*;

#[tokio::test]
async fn an_answer_has_the_form_of_chat_completions_on_both_endpoints() {
    let simulator = start().await;
    for (path, model, endpoint) in [
        (CHAT, GPT, "runtime"),
        (CHAT, GPT_AT_MANTLE, "mantle"),
        (CHAT, OSS, "runtime"),
        ("/v1/chat/completions", OSS_AT_MANTLE, "mantle"),
    ] {
        let answer = simulator.json(path, &chat(model, "hello")).await;
        assert_eq!(
            (&answer["object"], &answer["model"]),
            (&json!("chat.completion"), &json!(model))
        );
        let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(content.ends_with(&format!("[{model}] hello")), "{content}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        let usage = &answer["usage"];
        assert_eq!(usage["prompt_tokens"], 2);
        let total = usage["total_tokens"].as_u64().unwrap();
        assert_eq!(total, 2 + usage["completion_tokens"].as_u64().unwrap());
        let entry = simulator.last().await;
        assert_eq!(entry.operation, Some("CreateChatCompletion"));
        assert_eq!(entry.model.as_deref(), Some(model));
        assert_eq!(entry.endpoint, Some(endpoint));
    }
}

#[tokio::test]
async fn the_input_counts_what_was_cached() {
    let simulator = start().await;
    let request = chat(GPT, "sim:cache_read=30 sim:cache_write=5 sim:reasoning_tokens=7");
    let usage = simulator.json(CHAT, &request).await["usage"].clone();
    let fresh = simulator.last().await.input_tokens;
    assert_eq!(usage["prompt_tokens"].as_u64(), Some(fresh + 35));
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 30);
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 7);
    assert!(usage["completion_tokens"].as_u64() > Some(7));
}

#[tokio::test]
async fn open_weight_models_write_their_reasoning_into_the_text() {
    let simulator = start().await;
    let whole = simulator.json(CHAT, &chat(OSS, "hello")).await;
    let whole = whole["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(whole.starts_with("<reasoning>") && whole.contains("</reasoning>["), "{whole}");
    let events = simulator.events(CHAT, &chat(OSS, "hello")).await;
    let deltas = events.iter().map(|event| event.json()["choices"][0]["delta"].clone());
    let streamed: String =
        deltas.filter_map(|delta| Some(delta["content"].as_str()?.to_owned())).collect();
    assert_eq!(streamed, whole);
}

fn tools() -> Value {
    let parameters = json!({"type": "object", "required": ["city", "days"], "properties": {
        "city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"type": "string"}}});
    let function = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": parameters}});
    json!({"tools": [function("weather"), function("tides")], "reasoning_effort": "none"})
}

#[tokio::test]
async fn functions_are_called_as_the_text_or_the_choice_asks() {
    let simulator = start().await;
    let ask = |text: &str, more: Value| with(&with(&chat(GPT, text), tools()), more);
    let text = "sim:tool_calls=2";
    let answer = simulator.json(CHAT, &ask(text, json!({}))).await;
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &Value::Null)
    );
    let calls = choice["message"]["tool_calls"].as_array().unwrap().clone();
    let names: Vec<&str> =
        calls.iter().filter_map(|call| call["function"]["name"].as_str()).collect();
    assert_eq!(names, ["weather", "tides"]);
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    let arguments = calls[0]["function"]["arguments"].as_str().unwrap();
    let arguments: Value = serde_json::from_str(arguments).unwrap();
    assert_eq!(arguments, json!({"city": text, "days": 1}));

    // With the results there, the model answers.
    let results = calls
        .iter()
        .map(|call| json!({"role": "tool", "tool_call_id": call["id"], "content": "mild"}));
    let mut messages = vec![json!({"role": "user", "content": text}), choice["message"].clone()];
    messages.extend(results);
    let after = simulator.json(CHAT, &ask(text, json!({"messages": messages}))).await;
    assert_eq!(after["choices"][0]["finish_reason"], "stop");

    let called = |answer: Value| {
        let calls = answer["choices"][0]["message"]["tool_calls"].clone();
        let calls = calls.as_array().cloned().unwrap_or_default();
        calls
            .iter()
            .map(|call| call["function"]["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    for (text, more, wanted) in [
        ("hi", json!({}), vec![]),
        ("hi", json!({"tool_choice": "required"}), vec!["weather"]),
        (
            "hi",
            json!({"tool_choice": {"type": "function", "function": {"name": "tides"}}}),
            vec!["tides"],
        ),
        (text, json!({"tool_choice": "none"}), vec![]),
        (text, json!({"parallel_tool_calls": false}), vec!["weather"]),
    ] {
        assert_eq!(called(simulator.json(CHAT, &ask(text, more.clone())).await), wanted, "{more}");
    }
}

#[tokio::test]
async fn a_stream_of_calls_numbers_them_and_their_pieces_are_the_arguments() {
    let simulator = start().await;
    let request = with(&chat(GPT, "sim:tool_calls=2"), tools());
    let mut arguments = [String::new(), String::new()];
    let events = simulator.events(CHAT, &request).await;
    for event in &events {
        for call in
            event.json()["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten()
        {
            let at = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            arguments[at] += call["function"]["arguments"].as_str().unwrap();
        }
    }
    for arguments in arguments {
        assert_eq!(serde_json::from_str::<Value>(&arguments).unwrap()["days"], 1);
    }
    assert_eq!(events[events.len() - 2].json()["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn a_maximum_ends_the_answer_and_a_schema_shapes_it() {
    let simulator = start().await;
    let short = with(&chat(GPT, "hello there, sim:tokens=50"), json!({"max_completion_tokens": 9}));
    let answer = simulator.json(CHAT, &short).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 9);
    let schema =
        json!({"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}});
    let format = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}});
    let answer = simulator.json(CHAT, &with(&chat(GPT, "Ulm"), format)).await;
    assert_eq!(answer["choices"][0]["message"]["content"], r#"{"city":"Ulm"}"#);
}

#[tokio::test]
async fn what_bedrock_refuses_is_refused() {
    let simulator = start().await;
    let hello = |more: Value| with(&chat(GPT, "hello"), more);
    let messages = |messages: Value| hello(json!({"messages": messages}));
    let grok = |more: Value| with(&chat("us.xai.grok-4.7", "hello"), more);
    let call =
        json!([{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    for (body, status, param, part) in [
        (json!({"messages": []}), 400, "model", "model"),
        (json!({"model": GPT}), 400, "messages", "messages"),
        (messages(json!([])), 400, "messages", "empty"),
        (messages(json!([{"role": "robot", "content": "x"}])), 400, "messages[0].role", "robot"),
        (messages(json!([{"role": "user"}])), 400, "messages[0].content", "content"),
        (
            messages(json!([{"role": "tool", "content": "x"}])),
            400,
            "messages[0].tool_call_id",
            "tool_call_id",
        ),
        (
            messages(
                json!([{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "a", "content": "x"}]),
            ),
            400,
            "messages[1].role",
            "tool_calls",
        ),
        (
            messages(
                json!([{"role": "assistant", "content": null, "tool_calls": call}, {"role": "user", "content": "x"}]),
            ),
            400,
            "messages[1].role",
            "call_1",
        ),
        (
            messages(
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]}]),
            ),
            400,
            "messages[0].content[0].image_url.url",
            "S3",
        ),
        (chat("us.openai.gpt-99", "x"), 404, "model", "gpt-99"),
        (chat(HAIKU_5, "x"), 400, "model", "Chat Completions"),
        (chat("openai.gpt-oss-120b-1:0", "x"), 200, "", ""),
        (hello(json!({"max_tokens": 5})), 400, "max_tokens", "max_completion_tokens"),
        (hello(json!({"max_completion_tokens": 0})), 400, "max_completion_tokens", "at least 1"),
        (hello(json!({"max_completion_tokens": 900_000})), 400, "max_completion_tokens", "128000"),
        (hello(json!({"stop": ["x"]})), 400, "stop", "stop"),
        (hello(json!({"temperature": 0.2})), 400, "temperature", "reasoning_effort"),
        (hello(json!({"temperature": 0.2, "reasoning_effort": "none"})), 200, "", ""),
        (hello(json!({"reasoning_effort": "enormous"})), 400, "reasoning_effort", "enormous"),
        (hello(with(&tools(), json!({"reasoning_effort": "low"}))), 400, "tools", "/v1/responses"),
        (hello(json!({"stream_options": {}})), 400, "stream_options", "stream"),
        (hello(json!({"tool_choice": "auto"})), 400, "tool_choice", "tools"),
        (hello(json!({"service_tier": "scale"})), 400, "service_tier", "scale"),
        (grok(json!({"reasoning_effort": "none"})), 400, "reasoning_effort", "none"),
        (grok(json!({"presence_penalty": 0.5})), 503, "", "unable"),
        (grok(json!({"max_tokens": 5})), 200, "", ""),
        (with(&chat(OSS, "x"), json!({"logit_bias": {"1": 2}})), 400, "logit_bias", "logit_bias"),
    ] {
        let answered = simulator.ask(CHAT, &body).await;
        assert_eq!(answered.status, status, "{body}");
        if status != 200 {
            let error = answered.json()["error"].clone();
            assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{body}");
            assert!(error["message"].as_str().unwrap().contains(part), "{error}");
            assert!(answered.headers.contains_key("x-amzn-requestid"));
        }
    }
    let long = chat(OSS, &"word ".repeat(110_000));
    let (status, kind, _, code) = error_of(&simulator.ask(CHAT, &long).await);
    assert_eq!(
        (status, kind.as_str(), code),
        (400, "invalid_request_error", json!("context_length_exceeded"))
    );
}
