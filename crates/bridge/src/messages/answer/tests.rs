//! Whole answers of Messages.

use serde_json::{Value, json};

use super::*;
use crate::conversation::Json;
use crate::source::Source;
use crate::translation::Echo;

fn written(answer: &Answer<'_>) -> Value {
    let context = AnswerContext {
        source: Source::Messages,
        echo: Echo { model: "claude".to_owned(), ..Echo::default() },
        renamed_tools: Vec::new(),
        answer_tool: None,
        must_be_json: false,
    };
    let stamp = Stamp { request_id: "r-1".to_owned(), created: 1 };
    serde_json::from_slice(&write_answer(answer, &context, &stamp)).unwrap()
}

#[test]
fn an_answer_has_its_blocks_in_order_and_its_tokens_in_anthropics_terms() {
    let (input, citation) = (
        r#"{"b":1,"a":2}"#,
        r#"{"title":"d","sourceContent":[{"text":"x"}],
        "location":{"documentChunk":{"documentIndex":0,"start":0,"end":1}}}"#,
    );
    let answer = Answer {
        content: vec![
            Content::Reasoning { text: "hm".into(), signature: Some("c2ln".into()) },
            Content::RedactedReasoning("ZGF0YQ==".into()),
            Content::Text("".into()),
            Content::Text("a\"".into()),
            Content::CitedText { text: "b".into(), citations: vec![Json(citation.into())] },
            Content::ToolUse { id: "t".into(), name: "f".into(), input: Json(input.into()) },
        ],
        stop: StopReason::ToolUse,
        usage: Usage {
            input: 1,
            output: 2,
            cache_read: 3,
            cache_write: 5,
            cache_write_1h: 4,
            tier: None,
        },
        reasoning_tokens: Some(1),
        tier: Some("default".into()),
        ..Answer::default()
    };
    let expected = json!({"id": "msg_r-1", "type": "message", "role": "assistant", "model": "claude",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "ZGF0YQ=="},
            {"type": "text", "text": "a\""},
            {"type": "text", "text": "b", "citations": [{"type": "content_block_location", "cited_text": "x",
                "document_index": 0, "document_title": "d", "start_block_index": 0, "end_block_index": 1}]},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"b": 1, "a": 2}}],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {"input_tokens": 1, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 3,
            "output_tokens": 2, "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 4},
            "output_tokens_details": {"thinking_tokens": 1}, "service_tier": "standard"}});
    assert_eq!(written(&answer), expected);
}

#[test]
fn every_reason_is_one_that_the_sdk_knows() {
    for (stop, expected) in [
        (StopReason::EndTurn, "end_turn"),
        (StopReason::ToolUse, "tool_use"),
        (StopReason::MaxTokens, "max_tokens"),
        (StopReason::StopSequence, "stop_sequence"),
        (StopReason::GuardrailIntervened, "refusal"),
        (StopReason::ContentFiltered, "refusal"),
        (StopReason::ContextWindowExceeded, "model_context_window_exceeded"),
        (StopReason::Refusal, "refusal"),
        (StopReason::PauseTurn, "pause_turn"),
    ] {
        assert_eq!(written(&Answer { stop, ..Answer::default() })["stop_reason"], expected);
    }
}

#[test]
fn a_guardrail_that_intervened_is_named_in_the_details() {
    let stop = StopReason::GuardrailIntervened;
    let details = &written(&Answer { stop, ..Answer::default() })["stop_details"];
    assert_eq!(details["type"], "refusal");
    assert!(details["explanation"].as_str().unwrap().contains("guardrail"));
}

#[test]
fn the_sequence_that_ended_an_answer_is_named() {
    let stop_sequence = Some("\n\n".into());
    let answer = Answer { stop: StopReason::StopSequence, stop_sequence, ..Answer::default() };
    assert_eq!(written(&answer)["stop_sequence"], "\n\n");
}
