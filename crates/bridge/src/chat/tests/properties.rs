use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_bedrock::Usage;

use super::*;
use crate::StopReason;
use crate::conversation::BlockKind;

fn names() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "model",
        "messages",
        "role",
        "content",
        "type",
        "text",
        "tool_calls",
        "tool_call_id",
        "id",
        "function",
        "name",
        "arguments",
        "tools",
        "tool_choice",
        "allowed_tools",
        "mode",
        "parameters",
        "response_format",
        "json_schema",
        "schema",
        "thinking_blocks",
        "thinking",
        "signature",
        "data",
        "image_url",
        "url",
        "file",
        "file_data",
        "input_audio",
        "format",
        "cache_control",
        "ttl",
        "stop",
        "stream_options",
        "metadata",
        "max_tokens",
        "n",
    ])
    .prop_map(str::to_owned)
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "user",
            "assistant",
            "system",
            "tool",
            "text",
            "function",
            "image_url",
            "file",
            "thinking",
            "redacted_thinking",
            "data:image/png;base64,AA",
            "{}",
            "json_schema",
            "allowed_tools",
            "ephemeral",
            "1h",
            "auto",
            "",
            "\u{1f600}",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,8}",
    ]
}

fn odd_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i16>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names(), inner, 0..6)
                .prop_map(|map: BTreeMap<_, _>| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A request that is whole, with all of its texts in order.
fn conversations() -> impl Strategy<Value = (Value, Vec<String>)> {
    let text = "[a-z\\\\\"\u{e9} ]{1,8}";
    let message = (0..5_usize, prop::collection::vec(text, 1..4), any::<bool>());
    prop::collection::vec(message, 1..8).prop_map(|messages| {
        let mut all = Vec::new();
        let mut list = Vec::new();
        for (index, (kind, texts, in_parts)) in messages.into_iter().enumerate() {
            let id = format!("call_{index}");
            let content = |texts: &[String]| match in_parts {
                true => texts.iter().map(|text| json!({"type": "text", "text": text})).collect(),
                false => json!(texts.concat()),
            };
            let role = ["system", "developer", "user", "assistant", "tool"][kind];
            let mut message = json!({"role": role, "content": content(&texts)});
            all.push(texts.concat());
            if role == "tool" {
                message["tool_call_id"] = json!(id);
            }
            if role == "assistant" {
                let arguments = json!({"q": texts}).to_string();
                all.push(arguments.clone());
                message["tool_calls"] = json!([{"id": id, "type": "function",
                    "function": {"name": "f", "arguments": arguments}}]);
            }
            list.push(message);
        }
        (json!({"model": "m", "messages": list}), all)
    })
}

fn events() -> impl Strategy<Value = Vec<Event<'static>>> {
    let block = 0..4_u32;
    let piece = "[a-z\"\\\\\n\u{e9}]{0,4}";
    let event = (0..10_usize, block, piece).prop_map(|(kind, block, piece)| {
        let piece = std::borrow::Cow::<str>::Owned(piece);
        match kind {
            0 => Event::Start,
            1 => Event::ToolStart { block, id: piece.clone(), name: piece },
            2 => Event::ToolInput { block, json: piece },
            3 => Event::Reasoning { block, text: piece },
            4 => Event::Signature { block, signature: piece },
            5 => Event::RedactedReasoning { block, data: piece },
            6 => Event::BlockStop { block },
            7 if block == 0 => Event::Stop {
                reason: StopReason::EndTurn,
                stop_sequence: Some(piece),
                fields: None,
            },
            8 if block == 0 => Event::Usage {
                usage: Usage { input: u64::MAX, output: u64::MAX, ..Usage::default() },
                reasoning_tokens: Some(1),
                tier: Some(piece),
                of_converse: Vec::new(),
            },
            _ => Event::Text { block, text: piece },
        }
    });
    prop::collection::vec(event, 0..40)
}

/// The texts of a conversation and the inputs of its tools, in order; parts of one message as one.
fn texts(conversation: &Conversation<'_>) -> Vec<String> {
    let in_turns = conversation.turns.iter().flat_map(|turn| &turn.blocks);
    let mut found: Vec<(Option<u32>, String)> = Vec::new();
    for block in conversation.system.iter().chain(in_turns) {
        let (is_input, text) = match &block.kind {
            BlockKind::Text(text) => (false, text.to_string()),
            BlockKind::ToolUse { input, .. } => (true, input.0.to_string()),
            BlockKind::ToolResult { content, .. } => {
                let text = |kind: &BlockKind<'_>| match kind {
                    BlockKind::Text(text) => text.to_string(),
                    other => panic!("{other:?}"),
                };
                (false, content.iter().map(|block| text(&block.kind)).collect())
            }
            other => panic!("{other:?}"),
        };
        match found.last_mut() {
            Some((index, last)) if *index == block.at.index && !is_input => last.push_str(&text),
            _ => found.push((block.at.index, text)),
        }
    }
    found.into_iter().map(|(_, text)| text).collect()
}

proptest! {
    #[test]
    fn no_request_makes_it_panic(value in odd_json(), bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let lenient = DropPolicy { drops: true, ..DropPolicy::default() };
        let wrapped = json!({"model": "m", "messages": [value], "tools": [value]});
        for text in [value.to_string(), wrapped.to_string(), String::from_utf8_lossy(&bytes).into_owned()] {
            let _ = read_with(&text, &lenient, |_, _| {});
        }
        let mut report = Report::new(&lenient);
        let _ = read_request(&bytes, &mut Echo::default(), &mut report);
    }

    #[test]
    fn no_text_of_a_conversation_is_lost_or_moved((body, wanted) in conversations()) {
        let mut found = Vec::new();
        let dropped = read(&body.to_string(), |it, _| found = texts(it));
        prop_assert_eq!(found, wanted);
        prop_assert!(dropped.is_empty());
    }

    #[test]
    fn events_in_any_order_make_valid_chunks_and_no_panic(events in events(), include_usage: bool) {
        let mut has_finished = false;
        for chunk in chunks(include_usage, &events) {
            let chunk: Value = serde_json::from_str(&chunk).unwrap();
            let is_usage = chunk["choices"].as_array().unwrap().is_empty();
            prop_assert!(!has_finished || is_usage);
            has_finished |= !chunk["choices"][0]["finish_reason"].is_null();
        }
    }

    #[test]
    fn the_pieces_of_a_stream_add_up_to_what_came(events in events()) {
        let end = events.iter().position(|event| matches!(event, Event::Stop { .. }));
        let until_end = &events[..end.unwrap_or(events.len())];
        let wanted: String = until_end.iter().filter_map(|event| match event {
            Event::Text { text, .. } => Some(text.as_ref()),
            _ => None,
        }).collect();
        let mut found = String::new();
        for chunk in chunks(false, &events) {
            let chunk: Value = serde_json::from_str(&chunk).unwrap();
            found.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
        }
        prop_assert_eq!(found, wanted);
    }
}
