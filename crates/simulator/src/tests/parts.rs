//! Answers in parts: what is thought, said and called, in Converse and in Claude's own schema, whole and as
//! streams; scripted answers and odd streams.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

const SONNET_45: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const SONNET_5: &str = "us.anthropic.claude-sonnet-5";
const OPUS_55: &str = "us.anthropic.claude-opus-5-5";
const NOVA_2: &str = "us.amazon.nova-2-lite-v1:0";

impl Answered {
    /// The events of a stream: their names and JSON. Of a chunk, the model's own JSON.
    fn events(&self) -> Vec<(String, Value)> {
        let (mut events, mut rest) = (Vec::new(), self.body.as_slice());
        while let Ok(Some(frame)) = Frame::read(rest) {
            let Kind::Event(name) = frame.kind() else { break };
            let json: Value = serde_json::from_slice(frame.payload).unwrap();
            events.push(match json["bytes"].as_str() {
                Some(bytes) => {
                    let own: Value =
                        serde_json::from_slice(&STANDARD.decode(bytes).unwrap()).unwrap();
                    (own["type"].as_str().unwrap().to_owned(), own)
                }
                None => (name.to_owned(), json),
            });
            rest = &rest[frame.len..];
        }
        events
    }

    /// The pieces at a place of all deltas of a block, put together.
    fn joined(&self, index: u64, path: &str) -> String {
        let events = self.events();
        let of_block = events
            .iter()
            .filter(|(_, json)| json["contentBlockIndex"] == index || json["index"] == index);
        of_block.filter_map(|(_, json)| json.pointer(path)?.as_str()).collect()
    }
}

fn asking(text: &str, members: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": [{"text": text}]}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

fn tool_config() -> Value {
    let schema =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let tool = |name| json!({"toolSpec": {"name": name, "inputSchema": {"json": schema}}});
    json!({"tools": [tool("weather"), tool("news")]})
}

#[tokio::test]
async fn converse_calls_several_tools_and_takes_their_results() {
    let simulator = start().await;
    let mut body = asking("sim:tool_calls=2", json!({"toolConfig": tool_config()}));
    let called = simulator.post(SONNET_45, "converse", body.to_string()).await.json();
    assert_eq!(called["stopReason"], "tool_use");
    let content = called["output"]["message"]["content"].as_array().unwrap();
    let names: Vec<&Value> = content.iter().map(|block| &block["toolUse"]["name"]).collect();
    assert_eq!(names, ["weather", "news"]);
    assert_eq!(content[0]["toolUse"]["input"], json!({"city": "sim:tool_calls=2"}));

    let stream = simulator.post(SONNET_45, "converse-stream", body.to_string()).await;
    let (names, _) = stream.frames();
    assert_eq!(names.iter().filter(|name| *name == "contentBlockStart").count(), 2);
    let input: Value = serde_json::from_str(&stream.joined(1, "/delta/toolUse/input")).unwrap();
    assert_eq!(input, json!({"city": "sim:tool_calls=2"}));

    let result =
        |id: &Value| json!({"toolResult": {"toolUseId": id, "content": [{"text": "sunny"}]}});
    let results: Vec<Value> =
        content.iter().map(|block| result(&block["toolUse"]["toolUseId"])).collect();
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(called["output"]["message"].clone());
    messages.push(json!({"role": "user", "content": results}));
    let answered = simulator.post(SONNET_45, "converse", body.to_string()).await.json();
    assert_eq!(answered["stopReason"], "end_turn", "{answered}");
}

#[tokio::test]
async fn a_signed_thought_comes_back_and_a_missing_one_is_missed() {
    let simulator = start().await;
    let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
    let members = json!({
        "toolConfig": tool_config(),
        "inferenceConfig": {"maxTokens": 2000},
        "additionalModelRequestFields": thinking,
        "additionalModelResponseFieldPaths": ["/usage/output_tokens_details", "/stop_sequence"],
    });
    let mut body = asking("sim:tool_calls=1 sim:reasoning_tokens=9", members);
    let called = simulator.post(SONNET_45, "converse", body.to_string()).await.json();
    let content = called["output"]["message"]["content"].as_array().unwrap();
    let thought = &content[0]["reasoningContent"]["reasoningText"];
    assert!(thought["text"].as_str().is_some_and(|text| !text.is_empty()));
    let told =
        json!({"usage": {"output_tokens_details": {"thinking_tokens": 9}}, "stop_sequence": null});
    assert_eq!(called["additionalModelResponseFields"]["usage"], told["usage"]);

    let stream = simulator.post(SONNET_45, "converse-stream", body.to_string()).await;
    let signature = stream.joined(0, "/delta/reasoningContent/signature");
    assert_eq!(Some(signature.as_str()), thought["signature"].as_str());
    assert_eq!(
        Some(stream.joined(0, "/delta/reasoningContent/text").as_str()),
        thought["text"].as_str()
    );

    let id = &content[1]["toolUse"]["toolUseId"];
    let result = json!({"toolResult": {"toolUseId": id, "content": [{"json": {"is": "sunny"}}]}});
    let turns = |content: Value| {
        [
            json!({"role": "assistant", "content": content}),
            json!({"role": "user", "content": [result]}),
        ]
    };
    let first = body["messages"].clone();
    body["messages"].as_array_mut().unwrap().extend(turns(json!(content)));
    assert_eq!(simulator.post(SONNET_45, "converse", body.to_string()).await.status, 200);
    body["messages"] = first;
    body["messages"].as_array_mut().unwrap().extend(turns(json!([content[1]])));
    let refused = simulator.post(SONNET_45, "converse", body.to_string()).await;
    let message = refused.json()["message"].to_string();
    assert!(message.contains("Expected `thinking` or `redacted_thinking`, but found `tool_use`"));
}

#[tokio::test]
async fn thoughts_are_sealed_hidden_or_concealed() {
    let simulator = start().await;
    let adaptive = json!({"additionalModelRequestFields": {"thinking": {"type": "adaptive"}}});
    let body = asking("sim:sealed=2", adaptive).to_string();
    let sealed = simulator.post(SONNET_5, "converse", body.clone()).await.json();
    let content = sealed["output"]["message"]["content"].as_array().unwrap();
    let data: Vec<&str> = content
        .iter()
        .filter_map(|block| block.pointer("/reasoningContent/redactedContent")?.as_str())
        .collect();
    assert_eq!((data.len(), content.len()), (2, 3));
    let stream = simulator.post(SONNET_5, "converse-stream", body).await;
    assert_eq!(stream.joined(1, "/delta/reasoningContent/redactedContent"), data[1]);

    // A model that always thinks hides it: a signature without a text.
    let hidden =
        simulator.post(OPUS_55, "converse", asking("x", json!({})).to_string()).await.json();
    let thought = &hidden["output"]["message"]["content"][0]["reasoningContent"]["reasoningText"];
    assert_eq!((thought["text"].as_str(), thought["signature"].is_string()), (Some(""), true));

    let nova = json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}});
    let body = asking("x", json!({"additionalModelRequestFields": nova})).to_string();
    let concealed = simulator.post(NOVA_2, "converse", body).await.json();
    let thought =
        &concealed["output"]["message"]["content"][0]["reasoningContent"]["reasoningText"];
    assert_eq!(thought, &json!({"text": "[REDACTED]"}));
}

#[tokio::test]
async fn an_answer_keeps_to_a_schema_and_ends_at_a_stop_sequence() {
    let simulator = start().await;
    let schema = json!({"type": "object", "properties": {"sum": {"type": "integer"}},
        "required": ["sum"], "additionalProperties": false});
    let structure = json!({"jsonSchema": {"schema": schema.to_string(), "name": "sums"}});
    let format =
        json!({"outputConfig": {"textFormat": {"type": "json_schema", "structure": structure}}});
    let body = asking("2 and 3?", format).to_string();
    let answered = simulator.post(SONNET_5, "converse", body).await.json();
    assert_eq!(answered["output"]["message"]["content"], json!([{"text": "{\"sum\":1}"}]));

    let stops = json!({"inferenceConfig": {"stopSequences": ["!", " you"]}});
    let body = asking("how are you today!", stops).to_string();
    let answered = simulator.post(SONNET_5, "converse", body).await.json();
    assert_eq!(answered["stopReason"], "stop_sequence");
    let text = format!("[{SONNET_5}] how are");
    assert_eq!(answered["output"]["message"]["content"], json!([{"text": text}]));
}

#[tokio::test]
async fn claude_answers_in_its_own_schema_with_the_same_parts() {
    let simulator = start().await;
    let tool = json!({"name": "weather", "input_schema": {"type": "object"}});
    let mut body = json!({
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 2000, "tools": [tool],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [{"role": "user", "content": "sim:tool_calls=1 sim:cache_write=9 sim:cache_write_1h=4"}],
    });
    let called = simulator.post(SONNET_45, "invoke", body.to_string()).await.json();
    assert_eq!(called["stop_reason"], "tool_use");
    assert_eq!(called["content"][0]["type"], "thinking");
    assert_eq!(called["content"][1]["type"], "tool_use");
    assert_eq!(called["usage"]["cache_creation"]["ephemeral_1h_input_tokens"], 4);
    assert!(called["usage"].get("service_tier").is_none());

    let stream = simulator.post(SONNET_45, "invoke-with-response-stream", body.to_string()).await;
    let signature = stream.joined(0, "/delta/signature");
    assert_eq!(Some(signature.as_str()), called["content"][0]["signature"].as_str());
    let events = stream.events();
    let (last, json) = events.last().unwrap();
    assert_eq!(last, "message_stop");
    assert!(json["amazon-bedrock-invocationMetrics"].is_object());
    assert!(events.iter().all(|(name, _)| name != "ping"));

    let result = json!({"type": "tool_result", "tool_use_id": called["content"][1]["id"], "content": "sunny"});
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": called["content"]}));
    messages.push(json!({"role": "user", "content": [result]}));
    assert_eq!(simulator.post(SONNET_45, "invoke", body.to_string()).await.status, 200);
}

#[tokio::test]
async fn scripted_parts_are_the_answer_of_every_api() {
    let simulator = start().await;
    let answer = json!({"model": SONNET_5, "parts": [
        {"thought": "hm"}, {"text": "I look."}, {"call": {"name": "look", "input": {"at": 1}}},
    ], "stop": "malformed_tool_use"});
    let (status, told) = simulator.control("PUT", "answers", answer).await;
    assert_eq!(
        (status.as_u16(), &told["answers"][SONNET_5]["stop"]),
        (200, &json!("malformed_tool_use"))
    );
    let body = asking("x", json!({})).to_string();
    let whole = simulator.post(SONNET_5, "converse", body.clone()).await.json();
    assert_eq!(whole["stopReason"], "malformed_tool_use");
    let content = whole["output"]["message"]["content"].as_array().unwrap();
    assert_eq!((content.len(), &content[2]["toolUse"]["input"]), (3, &json!({"at": 1})));
    let stream = simulator.post(SONNET_5, "converse-stream", body).await;
    let events = stream.events();
    let stop = events.iter().find(|(name, _)| name == "messageStop").unwrap();
    assert_eq!(stop.1["stopReason"], "malformed_tool_use");
    let wrong =
        [json!({"model": SONNET_5}), json!({"model": SONNET_5, "text": "x", "stop": "end_turn"})];
    for answer in wrong {
        assert_eq!(simulator.control("PUT", "answers", answer).await.0, 400);
    }
}

#[tokio::test]
async fn every_stop_reason_can_be_scripted() {
    let simulator = start().await;
    for (stop, in_messages) in [
        (StopReason::StopSequence, "stop_sequence"),
        (StopReason::GuardrailIntervened, "refusal"),
        (StopReason::ContentFiltered, "refusal"),
        (StopReason::MaxTokens, "max_tokens"),
        (StopReason::ModelContextWindowExceeded, "model_context_window_exceeded"),
    ] {
        let parts = vec![ScriptedPart::Text("so".to_owned())];
        let answer = ScriptedAnswer { parts, stop: Some(stop), ..ScriptedAnswer::default() };
        simulator.controls.answers.set_parts(HAIKU, answer).unwrap();
        assert_eq!(simulator.converse("x").await.json()["stopReason"], stop.name());
        let body = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9,
            "messages": [{"role": "user", "content": "x"}]});
        let invoked = simulator.post(HAIKU, "invoke", body.to_string()).await.json();
        assert_eq!(invoked["stop_reason"], in_messages);
    }
}

#[tokio::test]
async fn odd_streams_are_well_formed_but_odd() {
    let simulator = start().await;
    let script = |odd| ScriptedAnswer {
        parts: vec![
            ScriptedPart::Text("I look.".to_owned()),
            ScriptedPart::Call { name: "look".to_owned(), input: json!({}) },
        ],
        odd_stream: Some(odd),
        ..ScriptedAnswer::default()
    };
    let stream = async |odd| {
        simulator.controls.answers.set_parts(HAIKU, script(odd)).unwrap();
        simulator.stream("x").await.events()
    };
    let events = stream(OddStream::WithoutStop).await;
    assert!(events.iter().all(|(name, _)| name != "messageStop"));
    assert_eq!(events.last().unwrap().0, "metadata");
    let events = stream(OddStream::SharedIndex).await;
    let indices = events.iter().filter_map(|(_, json)| json.get("contentBlockIndex"));
    assert!(indices.clone().count() > 4 && indices.into_iter().all(|index| index == 0));
    let events = stream(OddStream::EmptyDeltas).await;
    let texts: Vec<&str> =
        events.iter().filter_map(|(_, json)| json.pointer("/delta/text")?.as_str()).collect();
    assert_eq!(texts, ["", "I l", "", "ook."]);
}
