//! Responses.

use super::*;

#[tokio::test]
async fn a_response_is_stored_and_gone_on_from() {
    let simulator = start().await;
    for (path, model) in
        [(RESPONSES, GPT), (RESPONSES, GPT_AT_MANTLE), ("/v1/responses", OSS_AT_MANTLE)]
    {
        let answer = simulator.json(path, &response(model, "hello")).await;
        assert_eq!(
            (&answer["object"], &answer["status"]),
            (&json!("response"), &json!("completed"))
        );
        let output = answer["output"].as_array().unwrap();
        assert_eq!(output[0]["type"], "reasoning");
        assert_eq!(output[1]["content"][0]["text"], format!("[{model}] hello"));
        let id = answer["id"].as_str().unwrap();
        let stored = format!("{path}/{id}");
        let got = simulator.call("GET", &stored, &[], &Value::Null).await;
        assert_eq!(got.json(), answer);
        let further = with(&response(model, "more"), json!({"previous_response_id": id}));
        let further = simulator.json(path, &further).await;
        assert_eq!(further["previous_response_id"], *id);
        let tokens = |answer: &Value| answer["usage"]["input_tokens"].as_u64().unwrap();
        assert!(tokens(&further) > tokens(&answer));
        let deleted = simulator.call("DELETE", &stored, &[], &Value::Null).await;
        assert_eq!(deleted.json(), json!({"id": id, "object": "response", "deleted": true}));
        let gone = simulator.call("GET", &stored, &[], &Value::Null).await;
        assert_eq!(error_of(&gone).0, 404);
    }
}

#[tokio::test]
async fn what_is_not_to_be_stored_is_not_there() {
    let simulator = start().await;
    let request = with(&response(GPT, "hello"), json!({"store": false}));
    let answer = simulator.json(RESPONSES, &request).await;
    assert_eq!(answer["store"], false);
    let id = answer["id"].as_str().unwrap();
    let path = format!("{RESPONSES}/{id}");
    assert_eq!(simulator.call("GET", &path, &[], &Value::Null).await.status, 404);
    let further = with(&response(GPT, "more"), json!({"previous_response_id": id}));
    let (status, _, _, code) = error_of(&simulator.ask(RESPONSES, &further).await);
    assert_eq!((status, code), (404, json!("previous_response_not_found")));
}

#[tokio::test]
async fn a_response_lives_in_the_region_of_the_signature_and_at_its_endpoint() {
    let simulator = start().await;
    let body = response(GPT, "hello");
    let signed = async |region: &str, path: &str, body: &Value| {
        simulator.signed("POST", path, region, "bedrock-mantle", body).await
    };
    let created = signed("eu-west-1", RESPONSES, &body).await;
    assert_eq!(created.status, 200);
    let id = created.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(simulator.last().await.region.as_deref(), Some("eu-west-1"));
    let further = with(&body, json!({"previous_response_id": id}));
    assert_eq!(signed("eu-west-1", RESPONSES, &further).await.status, 200);
    assert_eq!(signed("us-east-1", RESPONSES, &further).await.status, 404);
    let at_mantle = with(&further, json!({"model": GPT_AT_MANTLE}));
    assert_eq!(signed("eu-west-1", RESPONSES, &at_mantle).await.status, 404);
    let path = format!("{RESPONSES}/{id}");
    let got =
        |region: &'static str| simulator.signed("GET", &path, region, "bedrock", &Value::Null);
    assert_eq!(got("us-east-1").await.status, 404);
    assert_eq!(got("eu-west-1").await.status, 200);
    assert_eq!(simulator.last().await.operation, Some("GetResponse"));
}

#[tokio::test]
async fn items_of_input_come_in_pages() {
    let simulator = start().await;
    let message = |text: &str| json!({"role": "user", "content": text});
    let input: Vec<Value> = ["one", "two", "three"].map(message).into();
    let created = simulator.json(RESPONSES, &json!({"model": GPT, "input": input})).await;
    let path = format!("{RESPONSES}/{}/input_items", created["id"].as_str().unwrap());
    let page = async |query: &str| {
        simulator.call("GET", &format!("{path}{query}"), &[], &Value::Null).await.json()
    };
    let texts = |page: &Value| {
        let items = page["data"].as_array().unwrap().iter();
        items.map(|item| item["content"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = page("").await;
    assert_eq!(texts(&all), ["three", "two", "one"]);
    let first = page("?order=asc&limit=2").await;
    assert_eq!(
        (texts(&first), &first["has_more"]),
        (vec!["one".into(), "two".into()], &json!(true))
    );
    let after = format!("?order=asc&limit=2&after={}", first["last_id"].as_str().unwrap());
    let rest = page(&after).await;
    assert_eq!((texts(&rest), &rest["has_more"]), (vec!["three".into()], &json!(false)));
    for wrong in ["?limit=0", "?limit=1000", "?order=up", "?after=none"] {
        assert_eq!(page(wrong).await["error"]["type"], "invalid_request_error", "{wrong}");
    }
}

#[tokio::test]
async fn mantle_makes_responses_in_the_background_and_cancels_them() {
    let simulator = start().await;
    let ask = |text: &str| with(&response(GPT_AT_MANTLE, text), json!({"background": true}));
    let begun = simulator.json(RESPONSES, &ask("hello")).await;
    assert_eq!((&begun["status"], &begun["output"]), (&json!("queued"), &json!([])));
    let path = |answer: &Value| format!("{RESPONSES}/{}", answer["id"].as_str().unwrap());
    let done = simulator.call("GET", &path(&begun), &[], &Value::Null).await.json();
    assert_eq!(done["status"], "completed");
    let cancel = async |answer: &Value| {
        simulator.call("POST", &format!("{}/cancel", path(answer)), &[], &Value::Null).await
    };
    assert_eq!(error_of(&cancel(&begun).await).0, 400);

    let slow = simulator.json(RESPONSES, &ask("sim:head_ms=3600000")).await;
    let now = simulator.call("GET", &path(&slow), &[], &Value::Null).await.json();
    assert_eq!(now["status"], "in_progress");
    assert_eq!(cancel(&slow).await.json()["status"], "cancelled");
    assert_eq!(cancel(&slow).await.status, 200);

    let waited_for = simulator.json(RESPONSES, &response(GPT, "hello")).await;
    assert_eq!(error_of(&cancel(&waited_for).await).0, 400);
    assert_eq!(error_of(&cancel(&json!({"id": "resp_none"})).await).0, 404);
}

#[tokio::test]
async fn the_request_is_repeated_and_its_usage_told() {
    let simulator = start().await;
    let more = json!({"instructions": "Be brief.", "metadata": {"a": "b"}, "service_tier": "flex",
        "reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"]});
    let request = with(&response(GPT, "sim:cache_read=30 sim:reasoning_tokens=7"), more);
    let answer = simulator.json(RESPONSES, &request).await;
    for name in ["instructions", "metadata", "service_tier", "reasoning"] {
        assert_eq!(answer[name], request[name], "{name}");
    }
    let reasoning = &answer["output"][0];
    assert_eq!(reasoning["summary"][0]["type"], "summary_text");
    assert!(reasoning["encrypted_content"].is_string());
    let usage = &answer["usage"];
    let fresh = simulator.last().await.input_tokens;
    assert_eq!(usage["input_tokens"].as_u64(), Some(fresh + 30));
    assert_eq!(usage["input_tokens_details"]["cached_tokens"], 30);
    assert_eq!(usage["output_tokens_details"]["reasoning_tokens"], 7);
}

fn tools() -> Value {
    let parameters =
        json!({"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}});
    let function = |name: &str| json!({"type": "function", "name": name, "parameters": parameters});
    json!({"tools": [function("weather"), function("tides")]})
}

#[tokio::test]
async fn functions_are_called_and_their_results_must_come() {
    let simulator = start().await;
    let request = with(&response(GPT, "sim:tool_calls=2"), tools());
    let answer = simulator.json(RESPONSES, &request).await;
    let calls = answer["output"].as_array().unwrap().iter();
    let calls: Vec<&Value> = calls.filter(|item| item["type"] == "function_call").collect();
    assert_eq!(
        calls.iter().map(|call| call["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["weather", "tides"]
    );
    assert_eq!(calls[0]["arguments"], r#"{"city":"sim:tool_calls=2"}"#);
    let id = &answer["id"];
    let go_on = |input: Value| json!({"model": GPT, "previous_response_id": id, "input": input});
    let output = |call: &Value| json!({"type": "function_call_output", "call_id": call["call_id"], "output": "mild"});
    for (input, status) in [
        (json!("more"), 400),
        (json!([output(calls[0])]), 400),
        (json!([output(calls[0]), output(calls[1])]), 200),
        (json!([output(&json!({"call_id": "call_other"}))]), 400),
    ] {
        assert_eq!(simulator.ask(RESPONSES, &go_on(input.clone())).await.status, status, "{input}");
    }
    let forced = with(
        &request,
        json!({"tool_choice": {"type": "function", "name": "tides"}, "parallel_tool_calls": false}),
    );
    let events = simulator.events(RESPONSES, &forced).await;
    let pieces = events
        .iter()
        .filter(|event| event.name.as_deref() == Some("response.function_call_arguments.delta"));
    let arguments: String =
        pieces.map(|event| event.json()["delta"].as_str().unwrap().to_owned()).collect();
    assert_eq!(arguments, r#"{"city":"sim:tool_calls=2"}"#);
}

#[tokio::test]
async fn tools_come_in_items_too_and_are_called_in_their_own_form() {
    let simulator = start().await;
    let empty = json!({"type": "object", "properties": {}});
    let tools = json!([
        {"type": "namespace", "name": "functions", "tools": [
            {"type": "custom", "name": "exec"},
            {"type": "function", "name": "wait", "parameters": empty},
        ]},
        {"type": "namespace", "name": "agents", "tools": [
            {"type": "function", "name": "spawn", "parameters": empty},
            {"type": "function", "name": "later", "parameters": empty, "defer_loading": true},
        ]},
    ]);
    let ask = |more: &[Value]| {
        let mut input =
            vec![json!({"type": "additional_tools", "role": "developer", "tools": tools})];
        input.extend(more.iter().cloned());
        input.push(json!({"role": "user", "content": "sim:tool_calls=4"}));
        json!({"model": GPT, "input": input})
    };
    let called = |answer: &Value| {
        let text = |item: &Value, name: &str| item[name].as_str().unwrap_or("-").to_owned();
        let items = answer["output"].as_array().unwrap().iter();
        let calls = items.filter(|item| item.get("call_id").is_some());
        calls.map(|it| ["type", "namespace", "name"].map(|name| text(it, name)).join(" ")).collect()
    };
    let answer = simulator.json(RESPONSES, &ask(&[])).await;
    let calls: Vec<String> = called(&answer);
    let all = [
        "custom_tool_call - exec",
        "function_call - wait",
        "function_call agents spawn",
        "custom_tool_call - exec",
    ];
    assert_eq!(calls, all);
    let items = answer["output"].as_array().unwrap();
    let exec = items.iter().find(|item| item["name"] == "exec").unwrap();
    assert_eq!(
        (&exec["input"], &exec["status"]),
        (&json!("sim:tool_calls=4"), &json!("completed"))
    );
    // A search loads the deferred one.
    let found = json!({"type": "tool_search_output", "tools": [tools[1]]});
    let calls: Vec<String> = called(&simulator.json(RESPONSES, &ask(&[found])).await);
    assert_eq!(calls[3], "function_call agents later");

    let events = simulator.events(RESPONSES, &ask(&[])).await;
    let of = |name: &str| -> Vec<Value> {
        let named = events.iter().filter(|event| event.name.as_deref() == Some(name));
        named.map(|event| event.json()).collect()
    };
    let deltas = of("response.custom_tool_call_input.delta");
    let first: String = deltas
        .iter()
        .filter(|it| it["output_index"] == deltas[0]["output_index"])
        .map(|it| it["delta"].as_str().unwrap())
        .collect();
    assert_eq!(first, "sim:tool_calls=4");
    assert_eq!(of("response.custom_tool_call_input.done").len(), 2);
    let of_others = json!({"model": GPT, "input": [
        {"type": "additional_tools", "role": "user", "tools": tools}]});
    assert_eq!(simulator.ask(RESPONSES, &of_others).await.status, 400);
}

#[tokio::test]
async fn a_response_that_its_maximum_cuts_is_incomplete() {
    let simulator = start().await;
    let request = with(&response(GPT, "hello sim:tokens=50"), json!({"max_output_tokens": 16}));
    let answer = simulator.json(RESPONSES, &request).await;
    assert_eq!(answer["status"], "incomplete");
    assert_eq!(answer["incomplete_details"], json!({"reason": "max_output_tokens"}));
    let events = simulator.events(RESPONSES, &request).await;
    assert_eq!(events.last().unwrap().name.as_deref(), Some("response.incomplete"));
}

#[tokio::test]
async fn what_bedrock_refuses_is_refused() {
    let simulator = start().await;
    let hello = |more: Value| with(&response(GPT, "hello"), more);
    let mantle = |more: Value| with(&response(GPT_AT_MANTLE, "hello"), more);
    let stored = simulator.json(RESPONSES, &hello(json!({}))).await["id"].clone();
    let at_mantle = simulator.json(RESPONSES, &mantle(json!({}))).await["id"].clone();
    let profile = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc";
    for (body, status, param, part) in [
        (json!({"input": "x"}), 400, "model", "model"),
        (json!({"input": "x", "previous_response_id": stored}), 400, "model", "model"),
        (json!({"model": GPT}), 400, "input", "input"),
        (hello(json!({"input": 5})), 400, "input", "input"),
        (hello(json!({"input": [{"role": "tool", "content": "x"}]})), 400, "input[0].role", "tool"),
        (hello(json!({"input": [{"type": "dance"}]})), 400, "input[0].type", "dance"),
        (
            hello(
                json!({"input": [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]}),
            ),
            400,
            "input[0].content[0].type",
            "output_text",
        ),
        (
            hello(
                json!({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://x.example/a"}]}]}),
            ),
            400,
            "input[0].content[0].image_url",
            "S3",
        ),
        (hello(json!({"background": true})), 400, "background", "background"),
        (mantle(json!({"background": true, "store": false})), 400, "background", "stored"),
        (
            hello(json!({"previous_response_id": "resp_none"})),
            404,
            "previous_response_id",
            "resp_none",
        ),
        (hello(json!({"tools": [{"type": "web_search"}]})), 400, "tools[0].type", "web_search"),
        (mantle(json!({"tools": [{"type": "web_search"}]})), 200, "", ""),
        (hello(json!({"tools": [{"type": "function"}]})), 400, "tools[0].name", "name"),
        (
            hello(json!({"tool_choice": {"type": "function", "name": "f"}})),
            400,
            "tool_choice",
            "'f'",
        ),
        (hello(json!({"temperature": 0.1})), 400, "temperature", "temperature"),
        (hello(json!({"max_output_tokens": 900_000})), 400, "max_output_tokens", "128000"),
        (hello(json!({"reasoning": {"effort": "huge"}})), 400, "reasoning.effort", "huge"),
        (response(OSS, "x"), 400, "model", "Responses"),
        (response(profile, "x"), 400, "model", "Application"),
        (response("openai.gpt-99", "x"), 404, "model", "gpt-99"),
    ] {
        let answered = simulator.ask(RESPONSES, &body).await;
        let text = String::from_utf8_lossy(&answered.body).into_owned();
        assert_eq!(answered.status, status, "{body}: {text}");
        if status != 200 {
            let error = answered.json()["error"].clone();
            assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{body}");
            assert!(error["message"].as_str().unwrap().contains(part), "{error}");
        }
    }
    let project = [("openai-project", "mine")];
    let answered = simulator.call("POST", RESPONSES, &project, &hello(json!({}))).await;
    assert_eq!(answered.status, 400);
    // Mantle knows the model of the response that it goes on from.
    let host = [("host", "bedrock-mantle.us-east-1.api.aws")];
    let body = json!({"input": "x", "previous_response_id": at_mantle});
    assert_eq!(simulator.call("POST", RESPONSES, &host, &body).await.status, 200);
}
