//! What holds for every request, answer and stream: no input makes a translation panic, nothing is lost unsaid,
//! and events come in an order that every writer can rely on.

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_bedrock::ModelId;
use sluice_bedrock::event_stream::{self, Frame};
use sluice_catalogue::Catalogue;

use crate::answer::Event;
use crate::translation::{AnswerContext, Echo};
use crate::{DropPolicy, Model, Source, translate};

use super::StreamReader;

const MODELS: [&str; 5] = [
    "anthropic.claude-opus-4-8",
    "anthropic.claude-sonnet-4-20250514-v1:0",
    "amazon.nova-2-lite-v1:0",
    "openai.gpt-oss-120b-1:0",
    "example.unknown",
];

fn model(id: &str) -> Model {
    let facts = Catalogue::shipped().facts(&ModelId::new(id).unwrap(), "us-east-1");
    Model::of(id, &facts.unwrap_or_default())
}

fn context(answer_tool: Option<&str>, must_be_json: bool) -> AnswerContext {
    AnswerContext {
        source: Source::Converse,
        echo: Echo::default(),
        renamed_tools: Vec::new(),
        answer_tool: answer_tool.map(str::to_owned),
        must_be_json,
    }
}

/// JSON with the names that Converse has, in places where they belong and where they do not.
fn converse_like() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z /.]{0,6}".prop_map(Value::from),
        prop::sample::select(vec!["user", "assistant", "system", "enabled", "{\"a\":1}", "1h"])
            .prop_map(Value::from),
    ];
    let names = vec![
        "messages",
        "role",
        "content",
        "text",
        "toolUse",
        "toolUseId",
        "name",
        "input",
        "toolResult",
        "document",
        "source",
        "bytes",
        "format",
        "cachePoint",
        "reasoningContent",
        "reasoningText",
        "signature",
        "toolConfig",
        "tools",
        "toolSpec",
        "inputSchema",
        "json",
        "toolChoice",
        "any",
        "additionalModelRequestFields",
        "thinking",
        "type",
        "budget_tokens",
        "system",
        "outputConfig",
        "textFormat",
        "structure",
        "jsonSchema",
        "schema",
        "inferenceConfig",
        "maxTokens",
    ];
    leaf.prop_recursive(6, 60, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(prop::sample::select(names.clone()), inner, 0..5).prop_map(
                |map| map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            ),
        ]
    })
}

/// A block that Claude's Converse carries as it is.
fn block() -> impl Strategy<Value = Value> {
    let text = "[a-z\"\\\\\n]{1,8}x";
    prop_oneof![
        text.prop_map(|text| json!({"text": text})),
        "[A-Za-z0-9]{4}".prop_map(
            |data| json!({"image": {"format": "png", "source": {"bytes": data}}})
        ),
        text.prop_map(|text| json!({"guardContent": {"text": {"text": text}}})),
        text.prop_map(
            |text| json!({"searchResult": {"source": "s", "title": text, "content": [{"text": "c"}]}})
        ),
    ]
}

/// Parts of a stream, in any order.
fn frame() -> impl Strategy<Value = (&'static str, Value)> {
    let index = 0_u32..3;
    prop_oneof![
        Just(("messageStart", json!({"role": "assistant"}))),
        (index.clone(), "[af]").prop_map(|(index, name)| (
            "contentBlockStart",
            json!({"contentBlockIndex": index,
                "start": {"toolUse": {"toolUseId": "t", "name": name}}})
        )),
        (index.clone(), "[a{}]{0,3}").prop_map(|(index, text)| (
            "contentBlockDelta",
            json!({"contentBlockIndex": index, "delta": {"text": text}})
        )),
        (index.clone(), "[a{}]{0,3}").prop_map(|(index, text)| (
            "contentBlockDelta",
            json!({"contentBlockIndex": index, "delta": {"toolUse": {"input": text}}})
        )),
        (index.clone(), "[a-c]").prop_map(|(index, text)| (
            "contentBlockDelta",
            json!({"contentBlockIndex": index, "delta": {"reasoningContent": {"text": text}}})
        )),
        index.prop_map(|index| ("contentBlockStop", json!({"contentBlockIndex": index}))),
        prop::sample::select(vec!["end_turn", "tool_use", "max_tokens", "odd"])
            .prop_map(|reason| ("messageStop", json!({"stopReason": reason}))),
        Just(("metadata", json!({"usage": {"inputTokens": 1, "outputTokens": 1}}))),
        converse_like().prop_map(|odd| ("contentBlockDelta", odd)),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = translate(Source::Converse, &body, &model(MODELS[0]), &DropPolicy::default());
        let _ = super::read_answer(&body, &context(Some("a"), true));
    }

    #[test]
    fn what_is_written_is_json_whatever_is_read(
        body in converse_like(), messages in prop::collection::vec(converse_like(), 0..4)
    ) {
        let mut body = body;
        if let Some(object) = body.as_object_mut() {
            object.entry("messages").or_insert(messages.into());
        }
        let body = body.to_string();
        let drops = DropPolicy { drops: true, ..DropPolicy::default() };
        for id in MODELS {
            if let Ok(written) = translate(Source::Converse, body.as_bytes(), &model(id), &drops) {
                prop_assert!(serde_json::from_slice::<Value>(&written.body).is_ok());
            }
        }
        let _ = super::read_answer(body.as_bytes(), &context(Some("a"), true));
    }

    #[test]
    fn a_conversation_for_claude_is_carried_whole(
        turns in prop::collection::vec((block(), block()), 1..5), last in block(), max in 1_u32..1000
    ) {
        let mut messages = Vec::new();
        for (user, assistant) in turns {
            messages.push(json!({"role": "user", "content": [user]}));
            messages.push(json!({"role": "assistant", "content": [{"text": "so"}, assistant]}));
        }
        messages.push(json!({"role": "user", "content": [last]}));
        let body = json!({
            "messages": messages, "system": [{"text": "s"}], "inferenceConfig": {"maxTokens": max},
            "requestMetadata": {"a": "b"}, "performanceConfig": {"latency": "optimized"},
        });
        let policy = DropPolicy::default();
        let text = body.to_string();
        let written = translate(Source::Converse, text.as_bytes(), &model(MODELS[0]), &policy);
        let written = written.unwrap();
        prop_assert!(written.dropped.is_empty());
        prop_assert_eq!(serde_json::from_slice::<Value>(&written.body).unwrap(), body);
    }

    #[test]
    fn blocks_of_a_stream_open_and_close_in_order(
        frames in prop::collection::vec(frame(), 0..20), answers: bool, must_be_json: bool
    ) {
        let mut reader = StreamReader::new(context(answers.then_some("a"), must_be_json));
        let (mut open, mut closed, mut has_stopped) = (Vec::new(), Vec::new(), false);
        for (name, payload) in frames {
            let bytes = event_stream::event(name, payload.to_string());
            let frame = Frame::read(&bytes).unwrap().unwrap();
            let read = reader.read(&frame, &mut |event| match event {
                Event::ToolStart { block, .. } => {
                    assert!(!open.contains(&block) && !closed.contains(&block));
                    open.push(block);
                }
                Event::ToolInput { block, .. } => assert!(open.contains(&block)),
                Event::Text { block, .. } | Event::Reasoning { block, .. } => {
                    assert!(!closed.contains(&block));
                    if !open.contains(&block) {
                        open.push(block);
                    }
                }
                Event::BlockStop { block } => {
                    open.retain(|it| *it != block);
                    closed.push(block);
                }
                Event::Stop { .. } => {
                    assert!(open.is_empty() && !has_stopped);
                    has_stopped = true;
                }
                _ => {}
            });
            if read.is_err() {
                break;
            }
        }
    }
}
