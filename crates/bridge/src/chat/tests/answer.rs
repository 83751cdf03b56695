use std::borrow::Cow;

use serde_json::{Value, json};
use sluice_bedrock::Usage;

use super::*;
use crate::conversation::Json;
use crate::{Answer, Content, StopReason};

fn written(answer: &Answer<'_>) -> Value {
    serde_json::from_slice(&write_answer(answer, &context(false), &stamp())).unwrap()
}

fn tool_use() -> Content<'static> {
    Content::ToolUse {
        id: Cow::Borrowed("call_1"),
        name: Cow::Borrowed("f"),
        input: Json(Cow::Borrowed(r#"{"a": "b"}"#)),
    }
}

#[test]
fn an_answer_has_everything_that_the_sdk_requires() {
    let answer = Answer {
        content: vec![Content::Text("Hello ".into()), Content::Text("\"you\"".into())],
        usage: Usage { input: 3, output: 5, ..Usage::default() },
        tier: Some("priority".into()),
        ..Answer::default()
    };
    let wanted = json!({
        "id": "chatcmpl-r-1", "object": "chat.completion", "created": 7, "model": "my \"model\"",
        "choices": [{"index": 0, "logprobs": null, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "Hello \"you\"", "refusal": null}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}},
        "service_tier": "priority",
    });
    assert_eq!(written(&answer), wanted);
}

#[test]
fn cached_tokens_are_part_of_the_prompt_and_reasoning_is_named_if_it_is_known() {
    let usage =
        Usage { input: 10, output: 20, cache_read: 100, cache_write: 1000, ..Usage::default() };
    let answer = Answer { usage, reasoning_tokens: Some(15), ..Answer::default() };
    let wanted = json!({"prompt_tokens": 1110, "completion_tokens": 20, "total_tokens": 1130,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 1000},
        "completion_tokens_details": {"reasoning_tokens": 15}});
    assert_eq!(written(&answer)["usage"], wanted);
}

#[test]
fn uses_of_tools_have_their_input_as_a_text_and_no_empty_content() {
    let answer = Answer {
        content: vec![Content::Text("".into()), tool_use()],
        stop: StopReason::ToolUse,
        ..Answer::default()
    };
    let choice = &written(&answer)["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let wanted = json!([{"id": "call_1", "type": "function",
        "function": {"name": "f", "arguments": "{\"a\": \"b\"}"}}]);
    assert_eq!(choice["message"]["tool_calls"], wanted);
}

#[test]
fn thinking_is_shown_and_can_be_sent_back() {
    let thinking = |text: &'static str, signature: Option<&'static str>| Content::Reasoning {
        text: text.into(),
        signature: signature.map(Cow::Borrowed),
    };
    let answer = Answer {
        content: vec![
            thinking("one ", Some("s1")),
            thinking("", Some("s2")),
            Content::RedactedReasoning("UkVE".into()),
            Content::Text("x".into()),
        ],
        ..Answer::default()
    };
    let mut message = written(&answer)["choices"][0]["message"].take();
    assert_eq!(message["reasoning_content"], "one ");
    let blocks = json!([{"type": "thinking", "thinking": "one ", "signature": "s1"},
        {"type": "thinking", "thinking": "", "signature": "s2"},
        {"type": "redacted_thinking", "data": "UkVE"}]);
    assert_eq!(message["thinking_blocks"], blocks);
    // What a client got it may send back as it is.
    message["content"] = json!([{"type": "text", "text": "x"}]);
    let read_back = messages(&format!(r#"{message},{{"role":"user","content":"go on"}}"#));
    read(&read_back, |it, _| assert_eq!(it.turns[0].blocks.len(), 4));
}

#[test]
fn each_reason_of_an_end_has_its_own_name_and_a_cut_wins_over_tools() {
    for (stop, alone, with_tool) in [
        (StopReason::EndTurn, "stop", "tool_calls"),
        (StopReason::ToolUse, "stop", "tool_calls"),
        (StopReason::StopSequence, "stop", "stop"),
        (StopReason::PauseTurn, "stop", "stop"),
        (StopReason::MaxTokens, "length", "length"),
        (StopReason::ContextWindowExceeded, "length", "length"),
        (StopReason::GuardrailIntervened, "content_filter", "content_filter"),
        (StopReason::ContentFiltered, "content_filter", "content_filter"),
        (StopReason::Refusal, "content_filter", "content_filter"),
    ] {
        for (content, wanted) in [(Content::Text("x".into()), alone), (tool_use(), with_tool)] {
            let answer = Answer { content: vec![content], stop, ..Answer::default() };
            assert_eq!(written(&answer)["choices"][0]["finish_reason"], wanted, "{stop:?}");
        }
    }
}
