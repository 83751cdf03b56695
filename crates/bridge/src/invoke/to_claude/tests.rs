//! Messages to Claude by InvokeModel, both ways.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_bedrock::ErrorKind;
use sluice_bedrock::dialect::DialectError;
use sluice_bedrock::event_stream::{self, Frame};

use super::*;
use crate::answer::AnswerError;
use crate::report::{DropPolicy, Refusal};

fn sent(body: &str, betas: &[&str]) -> (String, Vec<String>) {
    let betas: Vec<String> = betas.iter().map(|&beta| beta.to_owned()).collect();
    let Request { body, dropped } =
        request(body.as_bytes(), &betas, &DropPolicy::default()).unwrap();
    let dropped = dropped.into_iter().map(std::borrow::Cow::into_owned).collect();
    (String::from_utf8(body).unwrap(), dropped)
}

fn refused(body: &str) -> Refusal {
    request(body.as_bytes(), &[], &DropPolicy::default()).unwrap_err()
}

#[test]
fn a_body_goes_on_byte_for_byte_but_for_what_stands_elsewhere() {
    let body = r#"{ "model": "m", "max_tokens": 1.0e1, "stream": true,
        "messages": [ {"role": "user", "content": "\u00e9 \/"} ], "metadata": {"user_id":"u"}, "x_new": [1 ,2]}"#;
    let expected = r#"{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["b1","b2"],"max_tokens":1.0e1,"messages":[ {"role": "user", "content": "\u00e9 \/"} ],"metadata":{"user_id":"u"},"x_new":[1 ,2]}"#;
    assert_eq!(sent(body, &["b1", "b2"]), (expected.to_owned(), Vec::new()));
}

#[test]
fn a_version_and_flags_in_the_body_are_kept() {
    let body = r#"{"anthropic_version":"v","anthropic_beta":["b0","b1"],"max_tokens":1}"#;
    let expected = r#"{"anthropic_beta":["b0","b1","b2"],"anthropic_version":"v","max_tokens":1}"#;
    assert_eq!(sent(body, &["b1", "b2"]).0, expected);
    assert_eq!(sent("{}", &[]).0, r#"{"anthropic_version":"bedrock-2023-05-31"}"#);
}

#[test]
fn tools_get_the_form_that_bedrock_takes() {
    let body = r#"{"anthropic_version":"v","tools":[ {"name":"a", "input_schema":{}},
        {"name":"b","custom":{"defer_loading":true},"eager_input_streaming":true,"input_schema":{"type":"custom","z":0}},
        {"type":"custom","name":"c","cache_control":{"type":"ephemeral","scope":"global"}}]}"#;
    let expected = r#"{"anthropic_version":"v","tools":[ {"name":"a", "input_schema":{}},
        {"name":"b","input_schema":{"type":"object","z":0},"defer_loading":true},
        {"type":"custom","name":"c","cache_control":{"type":"ephemeral"}}]}"#;
    let dropped = ["tools.eager_input_streaming", "cache_control.scope"].map(str::to_owned);
    assert_eq!(sent(body, &[]), (expected.to_owned(), dropped.to_vec()));
}

#[test]
fn the_scope_of_a_cache_is_left_out_wherever_it_stands() {
    let body = r#"{"anthropic_version":"v","system":[{"type":"text","text":"\"scope\"","cache_control":{"scope":"global","type":"ephemeral","ttl":"1h"}}],
        "messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral","scope":"org"}}]},
        {"type":"tool_use","id":"i","name":"n","input":{"cache_control":{"scope":1}}}]}]}"#;
    let expected = r#"{"anthropic_version":"v","system":[{"type":"text","text":"\"scope\"","cache_control":{"type":"ephemeral","ttl":"1h"}}],"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]},
        {"type":"tool_use","id":"i","name":"n","input":{"cache_control":{"scope":1}}}]}]}"#;
    assert_eq!(sent(body, &[]), (expected.to_owned(), vec!["cache_control.scope".to_owned()]));
}

#[test]
fn the_form_of_the_answer_gets_its_present_name() {
    let alone = r#"{"anthropic_version":"v","output_format":{"type":"json_schema","schema":{}},"max_tokens":1}"#;
    let expected = r#"{"anthropic_version":"v","max_tokens":1,"output_config":{"format":{"type":"json_schema","schema":{}}}}"#;
    assert_eq!(sent(alone, &[]).0, expected);
    let beside = r#"{"anthropic_version":"v","output_config":{"effort":"low","format":null},"output_format":{"type":"json_schema","schema":{}}}"#;
    let expected = r#"{"anthropic_version":"v","output_config":{"format":{"type":"json_schema","schema":{}},"effort":"low"}}"#;
    assert_eq!(sent(beside, &[]).0, expected);
    let twice = r#"{"output_config":{"format":{}},"output_format":{}}"#;
    assert_eq!(refused(twice).param.as_deref(), Some("output_format"));
}

#[test]
fn an_edit_that_clears_thinking_goes_on_only_with_thinking() {
    let edits =
        r#"{"edits":[{"type":"clear_tool_uses_20250919"},{"type":"clear_thinking_20251015"}]}"#;
    let beta = r#""anthropic_beta":["context-management-2025-06-27"]"#;
    let members = format!(
        r#""anthropic_version":"v","context_management":{edits},"thinking":{{"type":"enabled","budget_tokens":1024}}"#
    );
    let expected = format!("{{{beta},{members}}}");
    assert_eq!(sent(&format!("{{{members}}}"), &[]), (expected, Vec::new()));
    let body = format!(
        r#"{{"anthropic_version":"v","context_management":{edits},"thinking":{{"type":"disabled"}}}}"#
    );
    let expected = r#"{"anthropic_beta":["context-management-2025-06-27"],"anthropic_version":"v","context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]},"thinking":{"type":"disabled"}}"#;
    let dropped = vec!["context_management.edits.clear_thinking_20251015".to_owned()];
    assert_eq!(sent(&body, &[]), (expected.to_owned(), dropped));
    let body = r#"{"anthropic_version":"v","context_management":{"edits":[{"type":"clear_thinking_20251015"}]}}"#;
    assert_eq!(sent(body, &[]).0, r#"{"anthropic_version":"v"}"#);
}

#[test]
fn an_edit_has_the_flag_that_it_needs_once() {
    let body = r#"{"anthropic_version":"v","context_management":{"edits":[{"type":"compact_20260112"},{"type":"new_1"}]}}"#;
    let expected = format!(r#"{{"anthropic_beta":["compact-2026-01-12"],{}"#, &body[1..]);
    assert_eq!(sent(body, &[]).0, expected);
    assert_eq!(sent(body, &["compact-2026-01-12"]).0, expected);
}

#[test]
fn what_invoke_model_does_not_take_is_refused_by_its_name() {
    for (member, param) in [
        (r#""mcp_servers":[{}]"#, "mcp_servers"),
        (r#""container":"c""#, "container"),
        (r#""inference_geo":"us""#, "inference_geo"),
        (r#""speed":"fast""#, "speed"),
        (r#""service_tier":"flex""#, "service_tier"),
        (r#""cache_control":{"type":"ephemeral"}"#, "cache_control"),
        (
            r#""tools":[{"name":"a"},{"type":"web_search_20250305","name":"web_search"}]"#,
            "tools[1]",
        ),
        (r#""tools":[{"type":"code_execution_20250825"}]"#, "tools[0]"),
    ] {
        let refusal = refused(&format!("{{{member}}}"));
        assert_eq!(refusal.param.as_deref(), Some(param));
        assert!(refusal.is_of_model && refusal.message.contains(param), "{refusal}");
    }
    assert!(refused("[]").message.contains("JSON object"));
    assert!(refused("{\"a\":1").message.contains("not valid JSON"));
    let policy = DropPolicy { drops: true, ..DropPolicy::default() };
    let Request { body, dropped } = request(br#"{"container":"c"}"#, &[], &policy).unwrap();
    assert_eq!(body, br#"{"anthropic_version":"bedrock-2023-05-31"}"#);
    assert_eq!(dropped, ["container"]);
}

#[test]
fn what_asks_for_nothing_is_left_out() {
    let body = r#"{"service_tier":"auto","mcp_servers":[],"container":null,"speed":"standard",
        "output_format":null,"anthropic_version":"v"}"#;
    assert_eq!(sent(body, &[]), (r#"{"anthropic_version":"v"}"#.to_owned(), Vec::new()));
}

/// What the client gets for these chunks, and whether the stream is whole.
fn streamed(chunks: &[&str]) -> (String, Result<(), AnswerError>) {
    let (mut stream, mut out) = (ToSse::new(), Vec::new());
    for chunk in chunks {
        let payload = json!({"bytes": STANDARD.encode(chunk), "p": "abcd"}).to_string();
        let frame = event_stream::event("chunk", payload);
        if let Err(error) = stream.frame(&Frame::read(&frame).unwrap().unwrap(), &mut out) {
            return (String::from_utf8(out).unwrap(), Err(error));
        }
    }
    (String::from_utf8(out).unwrap(), stream.finish())
}

#[test]
fn each_chunk_is_the_event_that_it_holds_without_bedrocks_metrics() {
    let (text, ended) = streamed(&[
        r#"{"type":"message_start","message":{"id":"msg_bdrk_1"}}"#,
        r#"{ "index":0,"type":"content_block_delta" }"#,
        r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":1,"firstByteLatency":9}}"#,
    ]);
    let expected = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_bdrk_1\"}}\n\n\
        event: content_block_delta\ndata: { \"index\":0,\"type\":\"content_block_delta\" }\n\n\
        event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    assert_eq!((text.as_str(), ended), (expected, Ok(())));
}

#[test]
fn a_stream_without_its_last_event_is_a_failure() {
    let (_, ended) = streamed(&[r#"{"type":"message_start"}"#]);
    assert_eq!(ended, Err(AnswerError::Incomplete));
}

#[test]
fn an_exception_and_an_error_event_are_errors_of_their_kind() {
    let (mut stream, mut out) = (ToSse::new(), Vec::new());
    let frame = event_stream::exception("throttlingException", r#"{"message":"too many"}"#);
    let error = stream.frame(&Frame::read(&frame).unwrap().unwrap(), &mut out).unwrap_err();
    let expected =
        AnswerError::Exception { kind: ErrorKind::Throttling, message: "too many".to_owned() };
    assert_eq!(error, expected);
    stream.fail(&DialectError::new(error.kind(), error.to_string()), "req_1", &mut out);
    let text = String::from_utf8(out).unwrap();
    let data = text.strip_prefix("event: error\ndata: ").unwrap().trim_end();
    let expected = json!({"type": "error", "request_id": "req_1",
        "error": {"type": "rate_limit_error", "message": "too many"}});
    assert_eq!(serde_json::from_str::<Value>(data).unwrap(), expected);

    let (_, ended) =
        streamed(&[r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#]);
    let kind = ErrorKind::ServiceUnavailable;
    assert_eq!(ended, Err(AnswerError::Exception { kind, message: "busy".to_owned() }));
}

#[test]
fn a_chunk_that_is_none_is_unreadable() {
    for payload in ["{}", r#"{"bytes":7}"#, r#"{"bytes":"%%"}"#, r#"{"bytes":"e30="}"#, "nonsense"]
    {
        let frame = event_stream::event("chunk", payload);
        let frame = Frame::read(&frame).unwrap().unwrap();
        let read = ToSse::new().frame(&frame, &mut Vec::new());
        assert!(matches!(read, Err(AnswerError::Unreadable(_))), "{payload}");
    }
}

#[test]
fn a_break_of_the_line_in_an_event_stays_within_its_data() {
    let (text, _) = streamed(&["{\"type\":\"ping\",\r\n \"a\":1}"]);
    assert_eq!(text, "event: ping\ndata: {\"type\":\"ping\",   \"a\":1}\n\n");
}

proptest! {
    #[test]
    fn no_body_and_no_frame_makes_it_panic(bytes: Vec<u8>, text in r#"[\[\]{}",:a1\\ ]{0,60}"#) {
        for body in [&bytes[..], text.as_bytes()] {
            let _ = request(body, &[], &DropPolicy::default());
            let frame = event_stream::event("chunk", body.to_vec());
            let _ = ToSse::new().frame(&Frame::read(&frame).unwrap().unwrap(), &mut Vec::new());
            let payload = json!({"bytes": STANDARD.encode(body)}).to_string();
            let frame = event_stream::event("chunk", payload);
            let _ = ToSse::new().frame(&Frame::read(&frame).unwrap().unwrap(), &mut Vec::new());
        }
    }

    #[test]
    fn what_is_sent_has_every_member_of_the_request_and_is_json(
        texts in prop::collection::vec("\\PC{0,12}", 0..5), is_pretty: bool,
    ) {
        let messages: Vec<Value> = texts.iter().map(|text| json!({"role": "user", "content": text})).collect();
        let body = json!({"model": "m", "stream": false, "messages": messages, "max_tokens": 3,
            "tools": [{"name": "f", "custom": {"defer_loading": true}, "input_schema": {"t": texts}}]});
        let text = if is_pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) };
        let (sent, dropped) = sent(&text.unwrap(), &["b"]);
        let expected = json!({"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["b"],
            "messages": messages, "max_tokens": 3,
            "tools": [{"name": "f", "input_schema": {"t": texts}, "defer_loading": true}]});
        prop_assert_eq!(serde_json::from_str::<Value>(&sent).unwrap(), expected);
        prop_assert!(dropped.is_empty());
    }
}
