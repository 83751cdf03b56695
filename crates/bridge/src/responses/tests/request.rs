//! How requests are read.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{read_request, write_answer};
use super::{context, stamp};
use crate::answer::{Answer, Content};
use crate::conversation::{BlockKind, CacheTtl, Conversation, Json, Role, ToolChoice};
use crate::report::{DropPolicy, Refusal, Report};
use crate::translation::Echo;

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
    let policy = DropPolicy { fields, ..DropPolicy::default() };
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

proptest! {
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
