//! Streams of Messages and of InvokeModel, event by event.

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_bedrock::event_stream::{Frame, Kind as FrameKind};

use super::*;
use crate::translation::Echo;

fn writer(source: Source) -> StreamWriter {
    let context = AnswerContext {
        source,
        echo: Echo { model: "m".to_owned(), ..Echo::default() },
        renamed_tools: Vec::new(),
        answer_tool: None,
        must_be_json: false,
    };
    StreamWriter::new(&context, Stamp { request_id: "1".to_owned(), created: 1 })
}

/// The events of a stream of Messages: each with the name that stands before it, which must be its type.
fn sse(out: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(out).unwrap();
    let events = text.split_terminator("\n\n").map(|event| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name, format!("event: {}", data["type"].as_str().unwrap()));
        data
    });
    events.collect()
}

fn chunks(mut out: &[u8]) -> Vec<Value> {
    let mut events = Vec::new();
    while let Some(frame) = Frame::read(out).unwrap() {
        let payload: Value = serde_json::from_slice(frame.payload).unwrap();
        events.push(match frame.kind() {
            FrameKind::Event("chunk") => {
                let bytes = STANDARD.decode(payload["bytes"].as_str().unwrap()).unwrap();
                serde_json::from_slice(&bytes).unwrap()
            }
            kind => json!({"type": format!("{kind:?}"), "payload": payload}),
        });
        out = &out[frame.len..];
    }
    assert!(out.is_empty());
    events
}

fn written(events: &[Event<'_>]) -> Vec<Value> {
    let (mut writer, mut out) = (writer(Source::Messages), Vec::new());
    events.iter().for_each(|event| writer.write(event, &mut out));
    writer.finish(&mut out);
    sse(&out)
}

/// Events in short: `start 0 text`, `delta 0 hello`, `stop 0`..
fn short(events: &[Value]) -> Vec<String> {
    let short = |event: &Value| {
        let index = &event["index"];
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                format!("start {index} {}", event["content_block"]["type"].as_str().unwrap())
            }
            "content_block_delta" => {
                let delta = event["delta"].as_object().unwrap();
                let (name, piece) = delta.iter().find(|(name, _)| *name != "type").unwrap();
                format!("{name} {index} {}", piece.as_str().unwrap_or_default())
            }
            "content_block_stop" => format!("stop {index}"),
            "message_delta" => format!("end {}", event["delta"]["stop_reason"].as_str().unwrap()),
            kind => kind.to_owned(),
        }
    };
    events.iter().map(short).collect()
}

fn text(block: u32, text: &str) -> Event<'_> {
    Event::Text { block, text: text.into() }
}

fn stop(reason: StopReason) -> Event<'static> {
    Event::Stop { reason, stop_sequence: None, fields: None }
}

fn usage() -> Event<'static> {
    let usage = Usage {
        input: 3,
        output: 5,
        cache_read: 7,
        cache_write: 11,
        cache_write_1h: 4,
        tier: None,
    };
    Event::Usage { usage, reasoning_tokens: Some(2), tier: None, of_converse: Vec::new() }
}

#[test]
fn a_stream_has_every_event_that_the_sdk_waits_for() {
    let events =
        written(&[Event::Start, text(0, "he\n"), text(0, "y"), stop(StopReason::EndTurn), usage()]);
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 0,
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}}});
    assert_eq!(events[0], json!({"type": "message_start", "message": message}));
    let expected = [
        "message_start",
        "ping",
        "start 0 text",
        "text 0 he\n",
        "text 0 y",
        "stop 0",
        "end end_turn",
        "message_stop",
    ];
    assert_eq!(short(&events), expected);
    let end = json!({"type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": null},
        "usage": {"input_tokens": 3, "cache_creation_input_tokens": 11, "cache_read_input_tokens": 7,
            "output_tokens": 5, "output_tokens_details": {"thinking_tokens": 2},
            "cache_creation": {"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 4}}});
    assert_eq!(events[6], end);
}

#[test]
fn one_block_of_the_upstream_with_two_kinds_becomes_two() {
    let thought = Event::Reasoning { block: 0, text: "hm".into() };
    let sign = |part: &'static str| Event::Signature { block: 0, signature: part.into() };
    let tool = Event::ToolStart { block: 2, id: "t".into(), name: "f".into() };
    let input = |json: &'static str| Event::ToolInput { block: 2, json: json.into() };
    let events = written(&[
        Event::Start,
        thought,
        sign("c2"),
        sign("ln"),
        text(0, "a"),
        Event::BlockStop { block: 0 },
        tool,
        input(""),
        input("{}"),
        Event::BlockStop { block: 2 },
        stop(StopReason::ToolUse),
    ]);
    let expected = [
        "message_start",
        "ping",
        "start 0 thinking",
        "thinking 0 hm",
        "signature 0 c2ln",
        "stop 0",
        "start 1 text",
        "text 1 a",
        "stop 1",
        "start 2 tool_use",
        "partial_json 2 {}",
        "stop 2",
        "end tool_use",
        "message_stop",
    ];
    assert_eq!(short(&events), expected);
    let block = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
    assert_eq!(events[9]["content_block"], block);
}

#[test]
fn inputs_of_tools_that_come_mixed_keep_their_blocks() {
    let tool = |block| Event::ToolStart { block, id: "t".into(), name: "f".into() };
    let input = |block, json: &'static str| Event::ToolInput { block, json: json.into() };
    let events = written(&[
        text(0, "a"),
        tool(1),
        tool(2),
        input(1, "{"),
        input(2, "{}"),
        input(1, "}"),
        Event::BlockStop { block: 2 },
        stop(StopReason::ToolUse),
    ]);
    let expected = [
        "start 0 text",
        "text 0 a",
        "stop 0",
        "start 1 tool_use",
        "start 2 tool_use",
        "partial_json 1 {",
        "partial_json 2 {}",
        "partial_json 1 }",
        "stop 2",
        "stop 1",
        "end tool_use",
        "message_stop",
    ];
    assert_eq!(short(&events)[2..], expected);
}

#[test]
fn thinking_that_is_only_signed_is_not_lost() {
    let events = written(&[
        Event::Signature { block: 0, signature: "c2ln".into() },
        Event::BlockStop { block: 0 },
        Event::RedactedReasoning { block: 1, data: "ZGF0YQ==".into() },
        Event::BlockStop { block: 1 },
        stop(StopReason::EndTurn),
    ]);
    let expected = [
        "message_start",
        "ping",
        "start 0 thinking",
        "signature 0 c2ln",
        "stop 0",
        "start 1 redacted_thinking",
        "stop 1",
        "end end_turn",
        "message_stop",
    ];
    assert_eq!(short(&events), expected);
    assert_eq!(events[5]["content_block"]["data"], "ZGF0YQ==");
}

#[test]
fn the_end_waits_for_the_tokens_and_nothing_follows_it() {
    let (mut writer, mut out) = (writer(Source::Messages), Vec::new());
    writer.write(&text(0, "a"), &mut out);
    writer.write(&stop(StopReason::MaxTokens), &mut out);
    assert_eq!(short(&sse(&out)).last().unwrap(), "stop 0");
    writer.write(&usage(), &mut out);
    assert_eq!(short(&sse(&out)).last().unwrap(), "message_stop");
    let len = out.len();
    writer.write(&text(1, "b"), &mut out);
    writer.finish(&mut out);
    writer.fail(&DialectError::new(ErrorKind::Throttling, "late"), "1", &mut out);
    assert_eq!(out.len(), len);
}

#[test]
fn a_broken_stream_ends_with_an_error_and_no_ordinary_end() {
    let error = DialectError::new(ErrorKind::Throttling, "slow down");
    let (mut broken, mut out) = (writer(Source::Messages), Vec::new());
    broken.write(&text(0, "a"), &mut out);
    broken.write(&Event::Signature { block: 1, signature: "half".into() }, &mut out);
    broken.write(&stop(StopReason::EndTurn), &mut out);
    broken.fail(&error, "req_1", &mut out);
    broken.finish(&mut out);
    let events = sse(&out);
    let expected = json!({"type": "error", "request_id": "req_1",
        "error": {"type": "rate_limit_error", "message": "slow down"}});
    assert_eq!(*events.last().unwrap(), expected);
    assert!(
        !short(&events).iter().any(|event| event == "message_stop" || event.starts_with("end"))
    );

    let (mut broken, mut out) = (writer(Source::InvokeClaude), Vec::new());
    broken.write(&Event::Start, &mut out);
    broken.fail(&error, "req_1", &mut out);
    let events = chunks(&out);
    assert_eq!(events[1]["type"], r#"Exception("throttlingException")"#);
    assert_eq!(events[1]["payload"], json!({"message": "slow down"}));
}

#[test]
fn a_signature_that_was_cut_off_is_not_handed_out() {
    let (mut broken, mut out) = (writer(Source::Messages), Vec::new());
    broken.write(&Event::Signature { block: 0, signature: "half".into() }, &mut out);
    broken.fail(&DialectError::new(ErrorKind::ServiceUnavailable, "broken"), "1", &mut out);
    assert!(!String::from_utf8(out).unwrap().contains("half"));
}

#[test]
fn chunks_hold_the_same_events_and_the_metrics_in_the_last() {
    let (mut writer, mut out) = (writer(Source::InvokeClaude), Vec::new());
    for event in [Event::Start, text(0, "a"), stop(StopReason::EndTurn), usage()] {
        writer.write(&event, &mut out);
    }
    writer.finish(&mut out);
    let events = chunks(&out);
    let expected =
        ["message_start", "start 0 text", "text 0 a", "stop 0", "end end_turn", "message_stop"];
    assert_eq!(short(&events), expected);
    let metrics = json!({"inputTokenCount": 3, "outputTokenCount": 5, "cacheReadInputTokenCount": 7,
        "cacheWriteInputTokenCount": 11});
    assert_eq!(events[5]["amazon-bedrock-invocationMetrics"], metrics);
}

#[test]
fn a_citation_gets_the_form_of_anthropic() {
    let citation = r#"{"title":"d","sourceContent":[{"text":"a"},{"text":"b"}],
        "location":{"documentPage":{"documentIndex":1,"start":2,"end":3}}}"#;
    let odd = r#"{"location":{"web":{"url":"https://x"}}}"#;
    let event = |json: &'static str| Event::Citation { block: 0, citation: Json(json.into()) };
    let events = written(&[text(0, "so"), event(citation), event(odd), stop(StopReason::EndTurn)]);
    let expected = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta",
        "citation": {"type": "page_location", "cited_text": "ab", "document_index": 1,
            "document_title": "d", "start_page_number": 2, "end_page_number": 3}}});
    assert_eq!(events[4], expected);
    assert_eq!(events.len(), 8);
}

fn any_event() -> impl Strategy<Value = Event<'static>> {
    let piece = || "[a-z\"\n]{0,3}".prop_map(std::borrow::Cow::<'static, str>::Owned);
    let block = || 0_u32..3;
    prop_oneof![
        Just(Event::Start),
        (block(), piece()).prop_map(|(block, text)| Event::Text { block, text }),
        (block(), piece()).prop_map(|(block, text)| Event::Reasoning { block, text }),
        (block(), piece()).prop_map(|(block, signature)| Event::Signature { block, signature }),
        (block(), piece()).prop_map(|(block, data)| Event::RedactedReasoning { block, data }),
        (block(), piece()).prop_map(|(block, id)| Event::ToolStart { block, id, name: "f".into() }),
        (block(), piece()).prop_map(|(block, json)| Event::ToolInput { block, json }),
        (block(), piece())
            .prop_map(|(block, json)| Event::Citation { block, citation: Json(json) }),
        block().prop_map(|block| Event::BlockStop { block }),
        Just(stop(StopReason::ToolUse)),
        Just(usage()),
    ]
}

proptest! {
    /// Whatever comes in whatever order: blocks are opened in turn, written into only while they are open, and
    /// closed; only tools are open together; the stream has one start and one end.
    #[test]
    fn every_order_of_events_gives_a_stream_that_the_sdk_can_read(
        events in prop::collection::vec(any_event(), 0..40),
    ) {
        let (mut open, mut next) = (Vec::new(), 0);
        let written = written(&events);
        for (number, event) in written.iter().enumerate() {
            let index = event["index"].as_u64();
            match event["type"].as_str().unwrap() {
                "message_start" => prop_assert_eq!(number, 0),
                "ping" => prop_assert_eq!(number, 1),
                "content_block_start" => {
                    prop_assert_eq!(index, Some(next));
                    prop_assert!(open.iter().all(|(_, is_tool)| *is_tool));
                    open.push((index, event["content_block"]["type"] == "tool_use"));
                    next += 1;
                }
                "content_block_delta" => {
                    prop_assert!(open.iter().any(|(open, _)| *open == index));
                }
                "content_block_stop" => {
                    let at = open.iter().position(|(open, _)| *open == index);
                    prop_assert!(at.is_some());
                    open.remove(at.unwrap());
                }
                "message_delta" => {
                    prop_assert!(open.is_empty());
                    prop_assert_eq!(number, written.len() - 2);
                }
                "message_stop" => prop_assert_eq!(number, written.len() - 1),
                other => prop_assert!(false, "{}", other),
            }
        }
        prop_assert_eq!(written.last().unwrap()["type"].as_str(), Some("message_stop"));
    }
}
