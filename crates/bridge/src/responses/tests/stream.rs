//! How streams are written, and that they say the same as whole answers.

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_bedrock::dialect::DialectError;
use sluice_bedrock::{ErrorKind, Usage};

use super::super::{KeptResponse, StreamWriter, read_request, with_previous, write_answer};
use super::{context, events, stamp};
use crate::answer::{Answer, Content, Event, StopReason};
use crate::conversation::{BlockKind, Json, Role};
use crate::report::{DropPolicy, Report};
use crate::translation::{Echo, EchoTool};

fn write(writer: &mut StreamWriter, events: &[Event<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    events.iter().for_each(|event| writer.write(event, &mut out));
    out
}

#[test]
fn an_event_is_one_line_even_if_the_request_was_several() {
    let body = "{\"input\":\"x\",\"reasoning\":{\r\"effort\": \r\n\"low\"},\"metadata\":{\n  \"a\": \"b\"}}";
    let policy = DropPolicy::default();
    let mut context = context(Vec::new());
    read_request(body.as_bytes(), &mut context.echo, &mut Report::new(&policy));
    let mut writer = StreamWriter::new(&context, stamp());
    let out = write(&mut writer, &[Event::Start]);
    let created = &events(&out)[0]["response"];
    assert_eq!(created["reasoning"], json!({"effort": "low"}));
    assert_eq!(created["metadata"], json!({"a": "b"}));
    assert!(!out.contains(&b'\r'));
}

#[test]
fn a_stream_that_fails_says_so_and_is_never_completed() {
    let mut writer = StreamWriter::new(&context(Vec::new()), stamp());
    let mut out = write(&mut writer, &[Event::Start, Event::Text { block: 0, text: "Hal".into() }]);
    let mut error = DialectError::new(ErrorKind::Throttling, "Too many tokens.");
    writer.fail(&error, "r", &mut out);
    error.message.clear();
    writer.fail(&error, "r", &mut out);
    writer.finish(&mut out);
    let events = events(&out);
    let [.., first, last] = events.as_slice() else { panic!() };
    assert_eq!(first["type"], "error");
    assert_eq!(first["code"], "rate_limit_exceeded");
    assert_eq!(first["error"]["message"], "Too many tokens.");
    assert_eq!(last["type"], "response.failed");
    assert_eq!(last["response"]["status"], "failed");
    assert_eq!(last["response"]["error"]["code"], "rate_limit_exceeded");
    assert!(events.iter().all(|event| event["type"] != "response.completed"));
}

#[test]
fn calls_that_are_streamed_side_by_side_stay_apart() {
    let mut writer = StreamWriter::new(&context(Vec::new()), stamp());
    let start =
        |block, id: &'static str| Event::ToolStart { block, id: id.into(), name: "f".into() };
    let input = |block, json: &'static str| Event::ToolInput { block, json: json.into() };
    let mut out = write(
        &mut writer,
        &[
            start(1, "a"),
            start(2, "b"),
            input(1, "{\"n\""),
            input(2, "{\"n\":2}"),
            input(1, ":1}"),
            Event::BlockStop { block: 1 },
            Event::BlockStop { block: 2 },
            start(3, "c"),
            Event::Stop { reason: StopReason::ToolUse, stop_sequence: None, fields: None },
        ],
    );
    writer.finish(&mut out);
    let last = events(&out).pop().unwrap();
    let calls = last["response"]["output"].as_array().unwrap();
    let calls: Vec<_> = calls.iter().map(|it| (&it["call_id"], &it["arguments"])).collect();
    let expected = [("a", "{\"n\":1}"), ("b", "{\"n\":2}"), ("c", "{}")];
    assert_eq!(
        calls,
        expected.map(|(id, json)| (json!(id), json!(json))).each_ref().map(|it| (&it.0, &it.1))
    );
}

#[test]
fn an_answer_that_was_cut_short_says_where() {
    let mut writer = StreamWriter::new(&context(Vec::new()), stamp());
    let mut out = write(
        &mut writer,
        &[
            Event::Text { block: 0, text: "I will".into() },
            Event::BlockStop { block: 0 },
            Event::ToolStart { block: 1, id: "a".into(), name: "f".into() },
            Event::ToolInput { block: 1, json: "{\"half".into() },
            Event::BlockStop { block: 1 },
            Event::Stop { reason: StopReason::MaxTokens, stop_sequence: None, fields: None },
            Event::Text { block: 2, text: "late".into() },
        ],
    );
    writer.finish(&mut out);
    let last = events(&out).pop().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["incomplete_details"], json!({"reason": "max_output_tokens"}));
    let statuses: Vec<_> = last["response"]["output"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["status"].clone())
        .collect();
    assert_eq!(statuses, ["completed", "incomplete"]);
}

#[test]
fn what_is_kept_of_a_stream_goes_before_the_next_input() {
    let mut writer = StreamWriter::new(&context(Vec::new()), stamp());
    let mut out = write(
        &mut writer,
        &[
            Event::Reasoning { block: 0, text: "Hm.".into() },
            Event::Signature { block: 0, signature: "sig".into() },
            Event::ToolStart { block: 1, id: "c1".into(), name: "ls".into() },
            Event::BlockStop { block: 1 },
            Event::Stop { reason: StopReason::ToolUse, stop_sequence: None, fields: None },
        ],
    );
    writer.set_stored(true);
    let response = writer.response().unwrap();
    writer.finish(&mut out);
    let last = events(&out).pop().unwrap();
    assert_eq!(last["response"], serde_json::from_slice::<serde_json::Value>(&response).unwrap());
    assert_eq!(last["response"]["store"], true);
    let kept = KeptResponse::of(br#"{"input":"List."}"#, &response, 10_000).unwrap();
    let next = json!({"previous_response_id": "resp_1", "input": [
        {"type": "function_call_output", "call_id": "c1", "output": "a.txt"},
    ]});
    let body = with_previous(next.to_string().as_bytes(), &kept).unwrap();
    let (policy, mut echo) = (DropPolicy::default(), Echo::default());
    let mut report = Report::new(&policy);
    let conversation = read_request(&body, &mut echo, &mut report);
    assert_eq!(report.finish().unwrap(), Vec::<&str>::new());
    let turns: Vec<_> = conversation.turns.iter().map(|it| (it.role, it.blocks.len())).collect();
    assert_eq!(turns, [(Role::User, 1), (Role::Assistant, 2), (Role::User, 1)]);
    let kind = &conversation.turns[1].blocks[0].kind;
    let signed = BlockKind::Reasoning { text: "Hm.".into(), signature: Some("sig".into()) };
    assert_eq!(kind, &signed);
}

fn contents() -> impl Strategy<Value = Vec<Content<'static>>> {
    let text = "[a-z \"\\\\\n\u{e9}]{1,9}";
    let content = prop_oneof![
        text.prop_map(|it| Content::Text(it.into())),
        (text, prop::option::of("[a-z=]{1,9}")).prop_map(|(text, signature)| Content::Reasoning {
            text: text.into(),
            signature: signature.map(Into::into),
        }),
        "[a-z]{1,9}".prop_map(|it| Content::RedactedReasoning(it.into())),
        (text, prop::bool::ANY).prop_map(|(text, is_custom)| Content::ToolUse {
            id: "c".into(),
            name: if is_custom { "custom" } else { "f" }.into(),
            input: Json(json!({ "input": text }).to_string().into()),
        }),
    ];
    prop::collection::vec(content, 0..6)
}

proptest! {
    #[test]
    fn a_stream_ends_with_the_response_that_a_whole_answer_is(
        content in contents(),
        is_cut in prop::bool::ANY,
        piece in 1_usize..5,
    ) {
        let custom = EchoTool {
            name: "custom".into(), client_name: "custom".into(), is_custom: true, namespace: None,
        };
        let context = context(vec![custom]);
        let stop = if is_cut { StopReason::MaxTokens } else { StopReason::EndTurn };
        let usage = Usage { input: 1, output: 2, cache_read: 3, ..Usage::default() };
        let answer = Answer { content: content.clone(), stop, usage, ..Answer::default() };
        let whole: Value = serde_json::from_slice(&write_answer(&answer, &context, &stamp())).unwrap();
        let mut writer = StreamWriter::new(&context, stamp());
        let mut out = Vec::new();
        let cut = |text: &str| -> Vec<String> {
            text.chars().collect::<Vec<_>>().chunks(piece).map(|it| it.iter().collect()).collect()
        };
        for (block, content) in (0..).zip(&content) {
            let events: Vec<Event<'_>> = match content {
                Content::Text(text) => {
                    cut(text).into_iter().map(|it| Event::Text { block, text: it.into() }).collect()
                }
                Content::Reasoning { text, signature } => {
                    let pieces = cut(text).into_iter();
                    let pieces = pieces.map(|it| Event::Reasoning { block, text: it.into() });
                    let signature = signature.iter().map(|it| Event::Signature {
                        block,
                        signature: it.as_ref().into(),
                    });
                    pieces.chain(signature).collect()
                }
                Content::RedactedReasoning(data) => {
                    vec![Event::RedactedReasoning { block, data: data.as_ref().into() }]
                }
                Content::ToolUse { id, name, input } => {
                    let start = Event::ToolStart {
                        block,
                        id: id.as_ref().into(),
                        name: name.as_ref().into(),
                    };
                    let pieces = cut(&input.0).into_iter();
                    let pieces = pieces.map(|it| Event::ToolInput { block, json: it.into() });
                    std::iter::once(start).chain(pieces).collect()
                }
                Content::CitedText { .. } => Vec::new(),
            };
            events.iter().for_each(|event| writer.write(event, &mut out));
            writer.write(&Event::BlockStop { block }, &mut out);
        }
        writer.write(&Event::Stop { reason: stop, stop_sequence: None, fields: None }, &mut out);
        let usage = Event::Usage { usage, reasoning_tokens: None, tier: None, of_converse: Vec::new() };
        writer.write(&usage, &mut out);
        writer.finish(&mut out);
        let events = events(&out);
        prop_assert_eq!(&events.last().unwrap()["response"], &whole);
        for (index, item) in whole["output"].as_array().unwrap().iter().enumerate() {
            let done: Vec<_> = events.iter().filter(|event| {
                event["type"] == "response.output_item.done" && event["output_index"] == index
            }).collect();
            prop_assert_eq!(done.len(), 1);
            prop_assert_eq!(&done[0]["item"], item);
            let deltas: String = events.iter().filter(|event| {
                event["output_index"] == index && event["delta"].is_string()
            }).filter_map(|event| event["delta"].as_str()).collect();
            let parts = |name: &str| -> String {
                let parts = item[name].as_array().into_iter().flatten();
                parts.filter_map(|part| part["text"].as_str()).collect()
            };
            let text = match item["type"].as_str().unwrap() {
                "message" => parts("content"),
                "reasoning" => parts("summary"),
                "function_call" => item["arguments"].as_str().unwrap().to_owned(),
                _ => item["input"].as_str().unwrap().to_owned(),
            };
            prop_assert_eq!(deltas, text);
        }
    }

    #[test]
    fn no_order_of_events_makes_it_panic_or_write_what_is_no_json(
        steps in prop::collection::vec((0_u8..9, 0_u32..3), 0..24),
    ) {
        let custom = EchoTool { name: "custom".into(), is_custom: true, ..EchoTool::default() };
        let mut writer = StreamWriter::new(&context(vec![custom]), stamp());
        let mut out = Vec::new();
        for (step, block) in steps {
            let event = match step {
                0 => Event::Start,
                1 => Event::Text { block, text: "t\"".into() },
                2 => Event::Reasoning { block, text: "r".into() },
                3 => Event::Signature { block, signature: "s".into() },
                4 => Event::RedactedReasoning { block, data: "d".into() },
                5 => Event::ToolStart { block, id: "c".into(), name: "custom".into() },
                6 => Event::ToolInput { block, json: "{\"input\":\"x".into() },
                7 => Event::BlockStop { block },
                _ => Event::Stop { reason: StopReason::ToolUse, stop_sequence: None, fields: None },
            };
            writer.write(&event, &mut out);
        }
        writer.finish(&mut out);
        let _ = events(&out);
    }
}
