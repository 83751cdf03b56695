//! What Converse refuses, and what it takes, by model.

mod models;
mod turns;

use serde_json::{Value, json};

use super::*;
use crate::thoughts;
use sluice_bedrock::ModelId;

const SONNET_45: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const OPUS_55: &str = "us.anthropic.claude-opus-5-5";
const SONNET_5: &str = "us.anthropic.claude-sonnet-5";
const HAIKU_3: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const NOVA: &str = "us.amazon.nova-lite-v1:0";
const NOVA_2: &str = "us.amazon.nova-2-lite-v1:0";
const LLAMA: &str = "meta.llama3-3-70b-instruct-v1:0";
const MISTRAL_7B: &str = "mistral.mistral-7b-instruct-v0:2";
const R1: &str = "us.deepseek.r1-v1:0";
const GPT_OSS: &str = "openai.gpt-oss-120b-1:0";

/// What a model says to a body: nothing if it takes it.
fn told(id: &str, body: &Value) -> String {
    let model = Model::with_id(&ModelId::new(id).unwrap());
    match check(body, &model, Kind::Converse) {
        Ok(()) => String::new(),
        Err(why) => why.to_string(),
    }
}

fn takes(id: &str, body: &Value) {
    assert_eq!(told(id, body), "", "{id}: {body}");
}

fn refuses(id: &str, body: &Value, part: &str) {
    let told = told(id, body);
    assert!(told.contains(part), "{id}: {body}: {told:?}, not {part:?}");
}

fn user(content: Value) -> Value {
    json!({"role": "user", "content": content})
}

fn model(content: Value) -> Value {
    json!({"role": "assistant", "content": content})
}

fn hello() -> Value {
    user(json!([{"text": "hello"}]))
}

/// A request with more members than a message.
fn with(members: Value) -> Value {
    let mut body = json!({"messages": [hello()]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

fn tools() -> Value {
    json!({"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}]})
}

fn call(id: &str) -> Value {
    json!({"toolUse": {"toolUseId": id, "name": "look", "input": {}}})
}

fn result(id: &str) -> Value {
    json!({"toolResult": {"toolUseId": id, "content": [{"text": "found"}]}})
}

fn talk(messages: Value) -> Value {
    json!({"messages": messages, "toolConfig": tools()})
}

fn thought(text: &str, signature: Option<&str>) -> Value {
    match signature {
        Some(signature) => {
            json!({"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}})
        }
        None => json!({"reasoningContent": {"reasoningText": {"text": text}}}),
    }
}

#[test]
fn a_full_request_is_taken() {
    let body = json!({
        "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
        "messages": [
            hello(),
            model(json!([{"text": "I look."}, call("t1"), call("t2")])),
            user(json!([result("t2"), result("t1"), {"text": "go on"}, {"cachePoint": {"type": "default"}}])),
        ],
        "inferenceConfig": {"maxTokens": 5000, "temperature": 1.0, "stopSequences": ["END"]},
        "toolConfig": {"tools": tools()["tools"], "toolChoice": {"auto": {}}},
        "additionalModelRequestFields": {"thinking": {"type": "disabled"}, "top_k": 5},
        "additionalModelResponseFieldPaths": ["/usage"],
        "requestMetadata": {"team": "a/b"},
        "performanceConfig": {"latency": "standard"},
        "serviceTier": {"type": "flex"},
        "guardrailConfig": {"guardrailIdentifier": "gr1", "guardrailVersion": "DRAFT"},
    });
    takes(SONNET_45, &body);
    refuses(
        SONNET_45,
        &with(json!({"guardrailConfig": {"streamProcessingMode": "async"}})),
        "no member",
    );
}

#[test]
fn members_types_and_sets_are_those_of_the_service() {
    for (members, part) in [
        (json!({"model": "x"}), "no member 'model'"),
        (json!({"inferenceConfig": {"maxTokens": 0}}), "greater than or equal to 1"),
        (json!({"inferenceConfig": {"temperature": 1.5}}), "less than or equal to 1"),
        (json!({"inferenceConfig": {"topK": 1}}), "no member 'inferenceConfig.topK'"),
        (json!({"inferenceConfig": {"stopSequences": [""]}}), "length greater than or equal to 1"),
        (json!({"serviceTier": {"type": "auto"}}), "[priority, default, flex, reserved]"),
        (json!({"requestMetadata": {}}), "length greater than or equal to 1"),
        (json!({"requestMetadata": {"a": "b\u{e9}"}}), "regular expression"),
        (json!({"toolConfig": {"tools": []}}), "at 'toolConfig.tools' failed"),
        (json!({"outputConfig": {"textFormat": {"type": "json_schema"}}}), "structure"),
        (json!({"additionalModelRequestFields": []}), "Provide a json object"),
        (json!({"additionalModelResponseFieldPaths": ["usage"]}), "JSON pointer"),
        (json!({"promptVariables": {"a": {"text": "b"}}}), "promptVariables"),
    ] {
        refuses(SONNET_45, &with(members), part);
    }
    let metadata: serde_json::Map<_, _> = (0..17).map(|n| (format!("k{n}"), "v".into())).collect();
    refuses(SONNET_45, &with(json!({"requestMetadata": metadata})), "less than or equal to 16");
    let none = json!({"toolConfig": {"tools": tools()["tools"], "toolChoice": {"none": {}}}});
    refuses(SONNET_45, &with(none), "toolChoice.none");
}

#[test]
fn tools_are_described_as_the_model_takes_them() {
    let spec = |members: Value| {
        let mut spec = json!({"name": "look", "inputSchema": {"json": {"type": "object"}}});
        spec.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        with(json!({"toolConfig": {"tools": [{"toolSpec": spec}]}}))
    };
    for (members, part) in [
        (json!({"name": "a.b"}), "regular expression pattern: [a-zA-Z0-9_-]+"),
        (json!({"name": "a".repeat(65)}), "less than or equal to 64"),
        (json!({"description": ""}), "greater than or equal to 1"),
        (json!({"inputSchema": {"json": {}}}), "json.type must be one of the following: object"),
        (
            json!({"inputSchema": {"json": {"type": "custom"}}}),
            "must be one of the following: object",
        ),
        (json!({"inputSchema": {"json": "{}"}}), "Provide a json object"),
        (json!({"strict": true}), "'additionalProperties' must be explicitly set to false"),
    ] {
        refuses(SONNET_45, &spec(members), part);
    }
    let closed = json!({"type": "object", "additionalProperties": false});
    takes(SONNET_45, &spec(json!({"strict": true, "inputSchema": {"json": closed}})));
    for lacks in [NOVA, "us.anthropic.claude-opus-4-8"] {
        let body = spec(json!({"strict": true, "inputSchema": {"json": closed}}));
        refuses(lacks, &body, "toolConfig.tools.0.toolSpec.strict");
    }
    refuses(MISTRAL_7B, &spec(json!({})), "doesn't support tool use");
    let tool = &tools()["tools"][0];
    refuses(NOVA, &with(json!({"toolConfig": {"tools": [tool, tool]}})), "must be unique");
}

#[test]
fn a_choice_of_tools_is_one_that_the_model_takes() {
    let choice = |choice: Value| {
        with(json!({"toolConfig": {"tools": tools()["tools"], "toolChoice": choice}}))
    };
    takes(SONNET_45, &choice(json!({"tool": {"name": "look"}})));
    refuses(SONNET_45, &choice(json!({"tool": {"name": "hear"}})), "Tool 'hear' not found");
    refuses(LLAMA, &choice(json!({"any": {}})), "Remove toolConfig.toolChoice.any and try again");
    refuses(OPUS_55, &choice(json!({"any": {}})), "toolConfig.toolChoice.any");
    takes(OPUS_55, &choice(json!({"auto": {}})));
    let mut both = choice(json!({"any": {}}));
    both["additionalModelRequestFields"] = json!({"tool_choice": {"type": "any"}});
    refuses(
        SONNET_45,
        &both,
        "tool_choice/type conflicts with the existing field toolConfig.toolChoice.any",
    );
    both["additionalModelRequestFields"] =
        json!({"tool_choice": {"disable_parallel_tool_use": true}});
    takes(SONNET_45, &both);
    both["toolConfig"].as_object_mut().unwrap().remove("toolChoice");
    refuses(SONNET_45, &both, "discriminator 'type'");
    both["additionalModelRequestFields"] = json!({"tool_choice": {"type": "none"}});
    takes(SONNET_45, &both);
}

#[test]
fn cache_points_are_few_and_the_lasting_ones_come_first() {
    let point = |ttl: Option<&str>| match ttl {
        Some(ttl) => json!({"cachePoint": {"type": "default", "ttl": ttl}}),
        None => json!({"cachePoint": {"type": "default"}}),
    };
    let text = json!({"text": "a"});
    let content = |blocks: Value| json!({"messages": [user(blocks)]});
    takes(SONNET_45, &content(json!([text, point(Some("1h")), text, point(None)])));
    refuses(SONNET_45, &content(json!([text, point(None), text, point(Some("1h"))])), "ttl='1h'");
    refuses(SONNET_45, &content(json!([point(None), text])), "no block before it");
    let pair = [text.clone(), point(None)];
    let five: Vec<Value> = pair.iter().cycle().take(10).cloned().collect();
    refuses(
        SONNET_45,
        &content(five.into()),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    );
    for lacks in [HAIKU_3, LLAMA, "us.openai.gpt-6-sol"] {
        refuses(lacks, &content(json!([text, point(None)])), "did not allow prompt caching");
    }
    takes(NOVA, &content(json!([text, point(None)])));
    let tools = json!([tools()["tools"][0], point(None)]);
    takes(SONNET_45, &with(json!({"toolConfig": {"tools": tools}})));
    refuses(NOVA, &with(json!({"toolConfig": {"tools": tools}})), "did not allow prompt caching");
}

#[test]
fn media_are_what_they_say_and_what_the_model_takes() {
    let image = |format: &str, bytes: &str| json!({"image": {"format": format, "source": {"bytes": bytes}}});
    let file = |name: &str| json!({"document": {"format": "txt", "name": name, "source": {"bytes": "aGk="}}});
    let text = json!({"text": "what is it?"});
    let content = |blocks: Value| json!({"messages": [user(blocks)]});
    takes(SONNET_45, &content(json!([image("png", "iVBORw0KGgo="), text, file("a (1)_b")])));
    let linked = json!({"image": {"format": "png", "source": {"url": "https://a"}}});
    let in_text = json!({"document": {"name": "a", "source": {"text": "hi"}}});
    for (blocks, part) in [
        (json!([image("jpeg", "iVBORw0KGgo="), text]), "does not match the provided media type"),
        (json!([image("bmp", "aGk="), text]), "[png, jpeg, gif, webp]"),
        (json!([linked, text]), "no member"),
        (json!([image("png", &"A".repeat(5_300_000))]), "image exceeds 5 MB maximum"),
        (json!([file("a")]), "has a document and no text"),
        (json!([file("a.txt"), text]), "The document file name can only contain"),
        (json!([file("a  b"), text]), "The document file name can only contain"),
        (json!([file("a"), file("a"), text]), "duplicate document names"),
        (json!([in_text, text]), "must set one of the following keys: bytes, s3Location"),
    ] {
        refuses(SONNET_45, &content(blocks), part);
    }
    let many: Vec<Value> = (0..6).map(|n| file(&n.to_string())).chain([text.clone()]).collect();
    refuses(SONNET_45, &content(many.into()), "maximum number of document blocks is 5");
    refuses(
        LLAMA,
        &content(json!([image("png", "iVBORw0KGgo="), text])),
        "doesn't support the image field",
    );
    refuses("amazon.nova-micro-v1:0", &content(json!([file("a"), text])), "the document field");
}
