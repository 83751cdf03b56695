use serde_json::{Value, json};
use sluice_bedrock::dialect::DialectError;
use sluice_bedrock::{ErrorKind, Usage};

use super::*;
use crate::StopReason;

fn text(block: u32, text: &'static str) -> Event<'static> {
    Event::Text { block, text: text.into() }
}

fn tool(block: u32, id: &'static str) -> Event<'static> {
    Event::ToolStart { block, id: id.into(), name: "f".into() }
}

fn input(block: u32, json: &'static str) -> Event<'static> {
    Event::ToolInput { block, json: json.into() }
}

fn stop(reason: StopReason) -> Event<'static> {
    Event::Stop { reason, stop_sequence: None, fields: None }
}

fn usage() -> Event<'static> {
    let usage = Usage { input: 1, output: 2, cache_read: 4, ..Usage::default() };
    Event::Usage {
        usage,
        reasoning_tokens: None,
        tier: Some("flex".into()),
        of_converse: Vec::new(),
    }
}

/// What each choice adds, or the reason of the end.
fn deltas(events: &[Event<'_>]) -> Vec<Value> {
    let parse = |chunk: &String| {
        let mut chunk: Value = serde_json::from_str(chunk).unwrap();
        let mut choice = chunk["choices"][0].take();
        match &choice["finish_reason"] {
            Value::Null => choice["delta"].take(),
            reason => reason.clone(),
        }
    };
    chunks(false, events).iter().map(parse).collect()
}

#[test]
fn a_text_streams_as_role_pieces_end_and_a_usage_if_it_was_asked_for() {
    let events = [
        Event::Start,
        text(0, "Hel"),
        text(0, ""),
        text(0, "lo"),
        stop(StopReason::EndTurn),
        usage(),
    ];
    let head = r#"{"id":"chatcmpl-r-1","object":"chat.completion.chunk","created":7,"model":"my \"model\"","choices":["#;
    let chunk = |delta: &str, reason: &str, end: &str| {
        format!(
            r#"{head}{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}]{end}}}"#
        )
    };
    for (include_usage, end) in [(false, ""), (true, r#","usage":null"#)] {
        let mut wanted = vec![
            chunk(r#"{"role":"assistant","content":""}"#, "null", end),
            chunk(r#"{"content":"Hel"}"#, "null", end),
            chunk(r#"{"content":"lo"}"#, "null", end),
            chunk("{}", r#""stop""#, end),
        ];
        if include_usage {
            wanted.push(format!(
                r#"{head}],"usage":{{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"prompt_tokens_details":{{"cached_tokens":4,"cache_write_tokens":0}}}},"service_tier":"flex"}}"#
            ));
        }
        assert_eq!(chunks(include_usage, &events), wanted);
    }
}

#[test]
fn tools_are_counted_from_0_whatever_blocks_they_are_in() {
    let events = [
        Event::Start,
        text(0, "x"),
        tool(1, "a"),
        tool(3, "b"),
        input(3, "{\"n\":"),
        input(1, "{}"),
        input(3, "1}"),
        Event::BlockStop { block: 1 },
        Event::BlockStop { block: 3 },
        stop(StopReason::ToolUse),
    ];
    let start = |index: u32, id: &str| {
        json!({"tool_calls": [{"index": index, "id": id, "type": "function",
        "function": {"name": "f", "arguments": ""}}]})
    };
    let piece = |index: u32, json: &str| json!({"tool_calls": [{"index": index, "function": {"arguments": json}}]});
    let wanted = [
        start(0, "a"),
        start(1, "b"),
        piece(1, "{\"n\":"),
        piece(0, "{}"),
        piece(1, "1}"),
        json!("tool_calls"),
    ];
    assert_eq!(deltas(&events)[2..], wanted);
}

#[test]
fn a_tool_without_input_gets_an_empty_object_and_not_an_empty_text() {
    for last in [vec![Event::BlockStop { block: 0 }], vec![]] {
        let mut events = vec![Event::Start, tool(0, "a"), input(0, "")];
        events.extend(last);
        events.push(stop(StopReason::ToolUse));
        let wanted = json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]});
        assert_eq!(deltas(&events)[2..], [wanted, json!("tool_calls")]);
    }
}

#[test]
fn thinking_streams_as_text_and_as_blocks_that_clients_can_add_up() {
    let events = [
        Event::Start,
        Event::Reasoning { block: 0, text: "a".into() },
        Event::Reasoning { block: 0, text: "b".into() },
        Event::Signature { block: 0, signature: "s1".into() },
        Event::Signature { block: 1, signature: "s2".into() },
        Event::RedactedReasoning { block: 2, data: "UkVE".into() },
        Event::Reasoning { block: 3, text: "c".into() },
        text(3, "x"),
        stop(StopReason::EndTurn),
    ];
    let block = |index: u32, kind: &str, name: &str, value: &str| json!([{"index": index, "type": kind, name: value}]);
    let signed = |index: u32, signature: &str| json!([{"index": index, "type": "thinking", "thinking": "", "signature": signature}]);
    let piece = |index, text| {
        let blocks = block(index, "thinking", "thinking", text);
        json!({"reasoning_content": text, "thinking_blocks": blocks})
    };
    let wanted = [
        piece(0, "a"),
        piece(0, "b"),
        json!({"thinking_blocks": signed(0, "s1")}),
        json!({"thinking_blocks": signed(1, "s2")}),
        json!({"thinking_blocks": block(2, "redacted_thinking", "data", "UkVE")}),
        piece(3, "c"),
        json!({"content": "x"}),
        json!("stop"),
    ];
    assert_eq!(deltas(&events)[1..], wanted);
}

#[test]
fn nothing_but_the_usage_follows_the_end() {
    let events = [
        Event::Start,
        stop(StopReason::MaxTokens),
        text(0, "late"),
        tool(1, "a"),
        stop(StopReason::EndTurn),
        usage(),
        usage(),
    ];
    let written = chunks(true, &events);
    assert_eq!(written.len(), 3, "{written:?}");
    assert!(written[1].contains(r#""finish_reason":"length""#));
    assert!(written[2].contains(r#""choices":[],"usage":{"prompt_tokens":5"#));
}

#[test]
fn an_ordinary_end_is_done_and_a_failure_an_error_without_it() {
    let mut out = Vec::new();
    StreamWriter::new(&context(false), stamp()).finish(&mut out);
    assert_eq!(String::from_utf8_lossy(&out), "data: [DONE]\n\n");
    out.clear();
    let error = DialectError::new(ErrorKind::Throttling, "slow down");
    StreamWriter::new(&context(false), stamp()).fail(&error, "r-1", &mut out);
    let wanted = "data: {\"error\":{\"message\":\"slow down\",\"type\":\"rate_limit_error\",\
                  \"param\":null,\"code\":\"rate_limit_exceeded\"}}\n\n";
    assert_eq!(String::from_utf8_lossy(&out), wanted);
}
