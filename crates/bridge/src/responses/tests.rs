//! How requests are read, and that streams and whole answers say the same.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_bedrock::dialect::DialectError;
use sluice_bedrock::{ErrorKind, Usage};

use super::{StreamWriter, read_request, write_answer};
use crate::answer::{Answer, Content, Event, StopReason};
use crate::conversation::{BlockKind, CacheTtl, Conversation, Json, Role, ToolChoice};
use crate::report::{DropPolicy, Refusal, Report};
use crate::source::Source;
use crate::translation::{AnswerContext, Echo, EchoTool, Stamp};

fn read<'a>(
    body: &'a [u8],
    policy: &DropPolicy,
) -> Result<(Conversation<'a>, Echo, Vec<String>), Refusal> {
    let mut report = Report::new(policy);
    let mut echo = Echo::default();
    let conversation = read_request(body, &mut echo, &mut report);
    let dropped = report.finish()?.into_iter().map(|it| it.into_owned()).collect();
    Ok((conversation, echo, dropped))
}

fn refused(body: Value) -> Refusal {
    read(body.to_string().as_bytes(), &DropPolicy::default()).unwrap_err()
}

fn context(tools: Vec<EchoTool>) -> AnswerContext {
    AnswerContext {
        source: Source::Responses,
        echo: Echo { model: "m".to_owned(), tools, ..Echo::default() },
        renamed_tools: Vec::new(),
        answer_tool: None,
        must_be_json: false,
    }
}

fn stamp() -> Stamp {
    Stamp { request_id: "00000000-0000-4000-8000-000000000001".to_owned(), created: 1 }
}

/// The data of the events in a stream.
fn events(out: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(out).unwrap();
    let mut events = Vec::new();
    for event in text.split_terminator("\n\n") {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        assert_eq!(data["sequence_number"], json!(events.len()));
        events.push(data);
    }
    events
}

#[test]
fn items_of_one_answer_are_one_turn_and_outputs_another() {
    let body = json!({"input": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Go."}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "status": "completed", "id": "msg_1",
            "content": [{"type": "output_text", "text": "Looking.", "annotations": []}]},
        {"type": "function_call", "call_id": "c1", "name": "ls", "arguments": "{\"a\":  1}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "*** \"x\"\n"},
        {"type": "function_call_output", "call_id": "c1", "output": "ok"},
        {"type": "custom_tool_call_output", "call_id": "c2",
            "output": [{"type": "input_text", "text": "done"}]},
        {"role": "user", "content": "Next."},
        {"role": "developer", "content": "Later."},
    ]})
    .to_string();
    let (conversation, _, dropped) = read(body.as_bytes(), &DropPolicy::default()).unwrap();
    assert!(dropped.is_empty(), "{dropped:?}");
    assert_eq!(conversation.system.len(), 1);
    let roles: Vec<_> = conversation.turns.iter().map(|it| (it.role, it.blocks.len())).collect();
    let (user, model) = (Role::User, Role::Assistant);
    assert_eq!(roles, [(user, 1), (model, 4), (user, 2), (user, 1), (Role::System, 1)]);
    let calls = &conversation.turns[1].blocks;
    assert_eq!(
        calls[2].kind,
        BlockKind::ToolUse {
            id: "c1".into(),
            name: "ls".into(),
            input: Json("{\"a\":  1}".into())
        }
    );
    let BlockKind::ToolUse { input, .. } = &calls[3].kind else { panic!() };
    assert_eq!(input.0, r#"{"input":"*** \"x\"\n"}"#);
    assert_eq!(calls[3].at.param(), "input[5]");
}

#[test]
fn thinking_comes_back_as_it_was_through_the_client() {
    let answer = Answer {
        content: vec![
            Content::Reasoning { text: "a \"b\"\n".into(), signature: Some("sig".into()) },
            Content::Reasoning { text: "".into(), signature: Some("alone".into()) },
            Content::RedactedReasoning("cmVk".into()),
            Content::Reasoning { text: "unsigned".into(), signature: None },
        ],
        ..Answer::default()
    };
    let response = write_answer(&answer, &context(Vec::new()), &stamp());
    let response: Value = serde_json::from_slice(&response).unwrap();
    let body = json!({ "input": response["output"] }).to_string();
    let (conversation, _, dropped) = read(body.as_bytes(), &DropPolicy::default()).unwrap();
    assert!(dropped.is_empty(), "{dropped:?}");
    let kinds: Vec<_> = conversation.turns[0].blocks.iter().map(|it| it.kind.clone()).collect();
    let reasoning = |text: &'static str, signature: Option<&'static str>| BlockKind::Reasoning {
        text: text.into(),
        signature: signature.map(Into::into),
    };
    let expected = [
        reasoning("a \"b\"\n", Some("sig")),
        reasoning("", Some("alone")),
        BlockKind::RedactedReasoning("cmVk".into()),
        reasoning("unsigned", None),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn thinking_of_another_service_is_named_as_left_out() {
    let body = json!({"input": [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}], "content": null,
            "encrypted_content": "gAAAAA"},
    ]})
    .to_string();
    let (conversation, _, dropped) = read(body.as_bytes(), &DropPolicy::default()).unwrap();
    assert_eq!(dropped, ["input.encrypted_content"]);
    assert_eq!(conversation.turns[0].blocks.len(), 1);
    let damaged = json!({"input": [
        {"type": "reasoning", "summary": [], "encrypted_content": "sluice1.!"},
    ]});
    assert_eq!(refused(damaged).param.as_deref(), Some("input[0]"));
}

#[test]
fn what_can_not_be_carried_is_refused_by_its_name() {
    for (member, value, param) in [
        ("previous_response_id", json!("resp_1"), "previous_response_id"),
        ("conversation", json!("conv_1"), "conversation"),
        ("prompt", json!({"id": "p"}), "prompt"),
        ("background", json!(true), "background"),
        ("truncation", json!("auto"), "truncation"),
        ("top_logprobs", json!(3), "top_logprobs"),
        ("reasoning", json!({"mode": "pro"}), "reasoning.mode"),
        ("reasoning", json!({"effort": "huge"}), "reasoning.effort"),
        ("text", json!({"verbosity": "low"}), "text.verbosity"),
        ("service_tier", json!("scale"), "service_tier"),
        ("include", json!(["message.output_text.logprobs"]), "include"),
        ("tools", json!([{"type": "web_search"}]), "tools.web_search"),
        ("tools", json!([{"type": "local_shell"}]), "tools.local_shell"),
        ("tools", json!([{"type": "mcp", "server_label": "x"}]), "tools.mcp"),
        ("tools", json!([{"type": "function", "parameters": {}}]), "tools[0].name"),
        (
            "tools",
            json!([{"type": "function", "name": "f", "defer_loading": true}]),
            "tools.defer_loading",
        ),
        ("tool_choice", json!({"type": "web_search_preview"}), "tool_choice"),
        ("max_output_tokens", json!(0), "max_output_tokens"),
        ("temperature", json!("hot"), "temperature"),
        ("made_up", json!(1), "made_up"),
    ] {
        let refusal = refused(json!({"input": "x", member: value}));
        assert_eq!(refusal.param.as_deref(), Some(param), "{member}: {refusal:?}");
        assert!(!refusal.is_of_model);
    }
    for (item, param) in [
        (json!({"type": "item_reference", "id": "msg_1"}), "input[0]"),
        (json!({"id": "msg_1"}), "input[0]"),
        (json!({"type": "local_shell_call", "call_id": "c"}), "input[0]"),
        (json!({"type": "web_search_call", "id": "ws"}), "input.web_search_call"),
        (
            json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "[1]"}),
            "input[0]",
        ),
        (json!({"type": "function_call_output", "output": "x"}), "input[0]"),
        (json!({"role": "tool", "content": "x"}), "input[0]"),
        (
            json!({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}),
            "input[0].content[0]",
        ),
        (json!({"role": "user", "content": [], "made_up": 1}), "input.made_up"),
    ] {
        let refusal = refused(json!({"input": [item]}));
        assert_eq!(refusal.param.as_deref(), Some(param), "{refusal:?}");
    }
    assert_eq!(refused(json!({})).param.as_deref(), Some("input"));
}

#[test]
fn what_the_operator_lets_drop_is_left_out_by_name_but_never_content() {
    let fields = ["tools.web_search", "text.verbosity", "previous_response_id"];
    let fields: BTreeMap<_, _> = fields.iter().map(|name| ((*name).to_owned(), true)).collect();
    let policy = DropPolicy { drops: false, fields };
    let body = json!({"input": "x", "text": {"verbosity": "low"}, "tools": [
        {"type": "function", "name": "f"}, {"type": "web_search", "external_web_access": true},
    ]})
    .to_string();
    let (conversation, echo, dropped) = read(body.as_bytes(), &policy).unwrap();
    assert_eq!(dropped, ["text.verbosity", "tools.web_search"]);
    assert_eq!(conversation.tools.len(), 1);
    assert!(echo.members.contains(r#""tools":[{"name":"f","type":"function"}]"#), "{echo:?}");
    let body = br#"{"input":"x","previous_response_id":"resp_1"}"#;
    assert!(read(body, &policy).is_err());
}

#[test]
fn values_that_mean_nothing_pass() {
    let body = json!({
        "input": "x", "background": false, "truncation": "disabled", "top_logprobs": 0,
        "previous_response_id": null, "conversation": null, "prompt": null, "store": true,
        "include": ["reasoning.encrypted_content"], "max_tool_calls": 3, "context_management": [],
        "reasoning": {"effort": null, "context": "all_turns"}, "text": {"verbosity": "medium"},
        "stream_options": {"include_obfuscation": false}, "tool_choice": "auto", "stream": false,
    })
    .to_string();
    let (_, _, dropped) = read(body.as_bytes(), &DropPolicy::default()).unwrap();
    assert!(dropped.is_empty(), "{dropped:?}");
}

#[test]
fn tools_of_namespaces_and_custom_tools_are_functions_to_the_model() {
    let namespaced = json!([
        {"type": "namespace", "name": "functions", "description": "", "tools": [
            {"type": "custom", "name": "exec", "description": "Runs code.",
                "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}},
        ]},
        {"type": "namespace", "name": "agents", "description": "For agents.", "tools": [
            {"type": "function", "name": "spawn", "strict": false, "parameters": {"type": "object"}},
            {"type": "function", "name": "wait", "description": "Waits."},
        ]},
    ]);
    let body = json!({
        "input": [
            {"type": "additional_tools", "role": "developer", "tools": namespaced},
            {"role": "user", "content": "x"},
            {"type": "function_call", "call_id": "c", "name": "spawn", "namespace": "agents",
                "arguments": ""},
        ],
        "tool_choice": {"type": "allowed_tools", "mode": "required",
            "tools": [{"type": "custom", "name": "exec"}]},
    })
    .to_string();
    let (conversation, echo, dropped) = read(body.as_bytes(), &DropPolicy::default()).unwrap();
    assert_eq!(dropped, ["tools.format"]);
    let tools: Vec<_> =
        conversation.tools.iter().map(|it| (it.name.as_ref(), it.description.as_ref())).collect();
    assert_eq!(
        tools,
        [
            ("exec", "Runs code.\n\nThe input must follow this Lark grammar:\nstart: /.+/"),
            ("agents__spawn", "About all tools of `agents`: For agents."),
            ("agents__wait", "Waits."),
        ]
    );
    let echoes: Vec<_> = echo
        .tools
        .iter()
        .map(|it| {
            (it.name.as_str(), it.client_name.as_str(), it.namespace.as_deref(), it.is_custom)
        })
        .collect();
    assert_eq!(
        echoes,
        [
            ("exec", "exec", None, true),
            ("agents__spawn", "spawn", Some("agents"), false),
            ("agents__wait", "wait", Some("agents"), false),
        ]
    );
    let BlockKind::ToolUse { name, input, .. } = &conversation.turns[1].blocks[0].kind else {
        panic!()
    };
    assert_eq!((name.as_ref(), input.0.as_ref()), ("agents__spawn", "{}"));
    let names = vec!["exec".into()];
    assert_eq!(conversation.tool_choice, Some(ToolChoice::Allowed { must: true, names }));
}

#[test]
fn tools_that_an_earlier_turn_had_keep_their_place() {
    let list = |description: &str| {
        json!([
            {"type": "function", "name": "a", "description": description},
            {"type": "function", "name": "b"},
        ])
    };
    let body = json!({"tools": list("old"), "input": [
        {"type": "additional_tools", "role": "developer", "tools": list("new")},
    ]})
    .to_string();
    let (conversation, ..) = read(body.as_bytes(), &DropPolicy::default()).unwrap();
    let tools: Vec<_> = conversation.tools.iter().map(|it| it.name.as_ref()).collect();
    assert_eq!(tools, ["a", "b"]);
    assert_eq!(conversation.tools[0].description, "new");
    let twice = json!({"input": "x", "tools": [
        {"type": "function", "name": "a", "description": "1"},
        {"type": "function", "name": "a", "description": "2"},
    ]});
    assert_eq!(refused(twice).param.as_deref(), Some("tools[1].name"));
}

#[test]
fn cache_points_stand_after_the_part_that_has_them() {
    let body = json!({
        "input": [{"role": "user", "content": [
            {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "input_text", "text": "b", "cache_control": {"type": "ephemeral"}},
        ]}],
        "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
    })
    .to_string();
    let (conversation, _, dropped) = read(body.as_bytes(), &DropPolicy::default()).unwrap();
    assert!(dropped.is_empty(), "{dropped:?}");
    let kinds: Vec<_> = conversation.turns[0].blocks.iter().map(|it| it.kind.clone()).collect();
    let expected = [
        BlockKind::Text("a".into()),
        BlockKind::CachePoint(CacheTtl::Hour),
        BlockKind::Text("b".into()),
        BlockKind::CachePoint(CacheTtl::FiveMinutes),
    ];
    assert_eq!(kinds, expected);
}

fn write(writer: &mut StreamWriter, events: &[Event<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    events.iter().for_each(|event| writer.write(event, &mut out));
    out
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
            Event::Stop { reason: StopReason::ToolUse, stop_sequence: None },
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
            Event::Stop { reason: StopReason::MaxTokens, stop_sequence: None },
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
        writer.write(&Event::Stop { reason: stop, stop_sequence: None }, &mut out);
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
                _ => Event::Stop { reason: StopReason::ToolUse, stop_sequence: None },
            };
            writer.write(&event, &mut out);
        }
        writer.finish(&mut out);
        let _ = events(&out);
    }

    #[test]
    fn no_body_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = read(&bytes, &DropPolicy::default());
    }

    #[test]
    fn no_json_in_the_shape_of_a_request_makes_it_panic(
        members in prop::collection::vec((0_usize..NAMES.len(), 0_usize..VALUES.len()), 0..5),
        items in prop::collection::vec(
            prop::collection::vec((0_usize..NAMES.len(), 0_usize..VALUES.len()), 0..5), 0..4),
        drops in prop::bool::ANY,
    ) {
        let object = |members: &[(usize, usize)]| {
            let members: Vec<_> = members.iter().map(|(name, value)| {
                format!("\"{}\":{}", NAMES[*name], VALUES[*value])
            }).collect();
            format!("{{{}}}", members.join(","))
        };
        let items: Vec<_> = items.iter().map(|item| object(item)).collect();
        let rest = object(&members);
        let comma = if rest == "{}" { "" } else { "," };
        let body = format!("{{\"input\":[{}]{comma}{}", items.join(","), &rest[1..]);
        let policy = DropPolicy { drops, ..DropPolicy::default() };
        if let Ok((_, echo, _)) = read(body.as_bytes(), &policy) {
            let members = format!("{{{}}}", echo.members);
            prop_assert!(serde_json::from_str::<Value>(&members).is_ok(), "{}", members);
        }
    }
}

const NAMES: &[&str] = &[
    "type",
    "role",
    "content",
    "call_id",
    "name",
    "arguments",
    "output",
    "summary",
    "id",
    "tools",
    "encrypted_content",
    "tool_choice",
    "reasoning",
    "text",
    "include",
    "instructions",
    "status",
    "service_tier",
    "stream",
    "namespace",
    "prompt_cache_options",
    "stream_options",
    "max_output_tokens",
];

const VALUES: &[&str] = &[
    "null",
    "1",
    "true",
    "\"\"",
    "\"x\"",
    "\"message\"",
    "\"function_call\"",
    "\"user\"",
    "\"assistant\"",
    "\"reasoning\"",
    "\"function_call_output\"",
    "[]",
    "{}",
    "[{}]",
    "[1]",
    "\"\\ud800\"",
    "[{\"type\":\"input_text\",\"text\":\"a\"}]",
    "{\"type\":\"function\",\"name\":\"f\"}",
    "[{\"type\":\"function\",\"name\":\"f\"}]",
    "\"{}\"",
    "\"sluice1.W10\"",
    "{\"effort\":\"low\"}",
    "{\"format\":{\"type\":\"json_object\"}}",
    "[{\"type\":\"input_image\",\"image_url\":\"data:image/png;base64,AA\"}]",
];
