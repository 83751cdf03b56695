//! Requests of Messages, read into the hub's form.

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_catalogue::Effort;

use super::{read_invoke, read_request};
use crate::conversation::{AnswerFormat, BlockKind, Conversation, Thinking, ThinkingDisplay};
use crate::report::{DropPolicy, Refusal, Report};
use crate::translation::Echo;

/// What is read, with the names of what was left out.
fn try_read<T>(
    body: &str,
    policy: &DropPolicy,
    look: impl FnOnce(&Conversation<'_>) -> T,
) -> Result<(T, Vec<String>), Refusal> {
    let mut report = Report::new(policy);
    let conversation = read_request(body.as_bytes(), &mut Echo::default(), &mut report);
    let looked = look(&conversation);
    let dropped = report.finish()?;
    Ok((looked, dropped.into_iter().map(std::borrow::Cow::into_owned).collect()))
}

/// A request with these members besides those that it must have.
fn body(members: &str) -> String {
    let has = |name: &str| members.contains(&format!("\"{name}\":"));
    let mut text = String::from("{\"model\":\"m\"");
    if !has("max_tokens") {
        text.push_str(",\"max_tokens\":9");
    }
    if !has("messages") {
        text.push_str(",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]");
    }
    if !members.is_empty() {
        text.push(',');
    }
    format!("{text}{members}}}")
}

pub(super) fn read<T>(
    members: &str,
    look: impl FnOnce(&Conversation<'_>) -> T,
) -> (T, Vec<String>) {
    try_read(&body(members), &DropPolicy::default(), look).unwrap()
}

pub(super) fn refusal(members: &str) -> Refusal {
    try_read(&body(members), &DropPolicy::default(), |_| ()).unwrap_err()
}

#[test]
fn the_parameters_are_read() {
    let members = r#""stream":true,"temperature":0.50,"top_p":1e-1,"top_k":5,
        "stop_sequences":["a","","b\n"],"service_tier":"auto","metadata":{"user_id":"u"},
        "thinking":{"type":"enabled","budget_tokens":2048,"display":"omitted"},
        "output_config":{"effort":"xhigh","format":{"type":"json_schema","schema":{"b":1,"a":2}}}"#;
    let ((), dropped) = read(members, |it| {
        assert!(it.streams);
        assert_eq!(it.max_tokens, Some(9));
        assert_eq!(it.temperature.as_deref(), Some("0.50"));
        assert_eq!(it.top_p.as_deref(), Some("1e-1"));
        assert_eq!(it.top_k.as_deref(), Some("5"));
        assert_eq!(it.stop_sequences, ["a", "b\n"]);
        assert_eq!(it.service_tier, None);
        assert_eq!(it.thinking, Some(Thinking::Budget(2048)));
        assert_eq!(it.thinking_display, Some(ThinkingDisplay::Omitted));
        assert_eq!(it.effort, Some(Effort::Xhigh));
        let Some(AnswerFormat::JsonSchema { schema, strict: true, .. }) = &it.format else {
            panic!("{:?}", it.format)
        };
        assert_eq!(schema.0, r#"{"b":1,"a":2}"#);
    });
    assert_eq!(dropped, ["metadata.user_id"]);
}

#[test]
fn null_is_as_if_a_member_were_not_there() {
    let members = r#""system":null,"temperature":null,"thinking":null,"tools":null,"tool_choice":null,
        "stop_sequences":null,"metadata":null,"output_config":null,"output_format":null,"stream":null,
        "container":null,"mcp_servers":null,"context_management":null,"cache_control":null,"new":null"#;
    let (is_plain, dropped) = read(members, |it| {
        let mut plain = Conversation { turns: it.turns.clone(), ..Conversation::default() };
        plain.max_tokens = Some(9);
        *it == plain
    });
    assert!(is_plain && dropped.is_empty());
}

#[test]
fn values_that_ask_for_nothing_pass() {
    let members = r#""mcp_servers":[],"speed":"standard","metadata":{},"stop_sequences":[""],
        "service_tier":"standard_only","tools":[],"output_config":{"effort":null,"format":null}"#;
    assert_eq!(read(members, |it| it.stop_sequences.len()), (0, Vec::new()));
}

#[test]
fn edits_that_clear_thinking_need_thinking() {
    let edits = r#"{"edits":[{"type":"clear_thinking_20251015","keep":"all"},{"type":"clear_tool_uses_20250919"}]}"#;
    let of_claude = |it: &Conversation<'_>| {
        it.of_claude.iter().map(|(name, json)| format!("{name} {}", json.0)).collect::<Vec<_>>()
    };
    let dropped_name = "context_management.edits.clear_thinking_20251015";
    let (found, dropped) = read(&format!("\"context_management\":{edits}"), of_claude);
    assert_eq!(found, [r#"context_management {"edits":[{"type":"clear_tool_uses_20250919"}]}"#]);
    assert_eq!(dropped, [dropped_name]);
    let thinking = r#""thinking":{"type":"adaptive"}"#;
    let (found, dropped) = read(&format!("\"context_management\":{edits},{thinking}"), of_claude);
    assert_eq!(found, [format!("context_management {edits}")]);
    assert!(dropped.is_empty());
    let alone = r#""context_management":{"edits":[{"type":"clear_thinking_20251015"}]}"#;
    assert_eq!(read(alone, of_claude), (Vec::new(), vec![dropped_name.to_owned()]));
}

#[test]
fn thinking_between_tools_is_for_claude_alone() {
    let found = read(r#""thinking":{"type":"between_tools"}"#, |it| {
        (it.thinking, format!("{} {}", it.of_claude[0].0, it.of_claude[0].1.0))
    });
    assert_eq!(found.0, (None, r#"thinking {"type":"between_tools"}"#.to_owned()));
}

#[test]
fn what_is_wrong_is_refused_by_its_name() {
    let content = |block: &str| format!(r#""messages":[{{"role":"user","content":[{block}]}}]"#);
    for (members, param) in [
        (r#""max_tokens":null"#.to_owned(), "max_tokens"),
        (r#""max_tokens":"9""#.to_owned(), "max_tokens"),
        (r#""max_tokens":-1"#.to_owned(), "max_tokens"),
        (r#""messages":[]"#.to_owned(), "messages"),
        (r#""messages":{}"#.to_owned(), "messages"),
        (r#""messages":[{"role":"tool","content":"a"}]"#.to_owned(), "messages[0].role"),
        (r#""messages":[{"content":"a"}]"#.to_owned(), "messages[0].role"),
        (r#""messages":[{"role":"user","content":7}]"#.to_owned(), "messages[0].content"),
        (r#""messages":[{"role":"user","content":"a","name":"n"}]"#.to_owned(), "messages[0].name"),
        (r#""temperature":"hot""#.to_owned(), "temperature"),
        (r#""temperature":01"#.to_owned(), "temperature"),
        (r#""stop_sequences":[1]"#.to_owned(), "stop_sequences"),
        (r#""stream":"yes""#.to_owned(), "stream"),
        (r#""thinking":{"type":"enabled"}"#.to_owned(), "thinking.budget_tokens"),
        (r#""thinking":{"type":"deep"}"#.to_owned(), "thinking.type"),
        (r#""output_config":{"effort":"huge"}"#.to_owned(), "output_config.effort"),
        (
            r#""output_config":{"format":{"type":"json_schema"}}"#.to_owned(),
            "output_config.format.schema",
        ),
        (r#""tools":[{"input_schema":{}}]"#.to_owned(), "tools[0].name"),
        (r#""tools":[{"name":"a","input_schema":[]}]"#.to_owned(), "tools[0].input_schema"),
        (content(r#"{"text":"a"}"#), "messages[0].content[0].type"),
        (content(r#"{"type":"text"}"#), "messages[0].content[0].text"),
        (content(r#"{"type":"text","text":"a","x":1}"#), "messages[0].content[0].x"),
        (
            content(
                r#"{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"2h"}}"#,
            ),
            "messages[0].content[0].cache_control.ttl",
        ),
        (
            content(
                r#"{"type":"image","source":{"type":"base64","media_type":"image/bmp","data":""}}"#,
            ),
            "messages[0].content[0].source.media_type",
        ),
        (
            content(r#"{"type":"tool_use","id":"i","name":"n","input":"{}"}"#),
            "messages[0].content[0].input",
        ),
        (
            content(r#"{"type":"tool_use","id":"i","name":"n","input":{"a":tru}}"#),
            "messages[0].content[0].input",
        ),
        (content(r#"{"type":"tool_result","content":"a"}"#), "messages[0].content[0].tool_use_id"),
    ] {
        let refused = refusal(&members);
        assert_eq!(refused.param.as_deref(), Some(param), "{members}: {refused}");
        assert!(refused.message.starts_with(&format!("`{param}`")), "{refused}");
    }
}

#[test]
fn what_only_anthropic_has_is_refused_by_its_name() {
    for (name, value) in [
        ("mcp_servers", r#"[{"type":"url"}]"#),
        ("container", r#""c""#),
        ("inference_geo", r#""eu""#),
        ("speed", r#""fast""#),
        ("fallbacks", "[]"),
        ("a_new_one", "1"),
    ] {
        let refused = refusal(&format!("\"{name}\":{value}"));
        assert_eq!(refused.param.as_deref(), Some(name));
        let body = body(&format!("\"{name}\":{value}"));
        let policy = DropPolicy { drops: true, ..DropPolicy::default() };
        let ((), dropped) = try_read(&body, &policy, |_| ()).unwrap();
        assert_eq!(dropped, [name]);
    }
    for kind in ["server_tool_use", "web_search_tool_result", "container_upload", "brand_new"] {
        let refused = refusal(&format!(
            r#""messages":[{{"role":"assistant","content":[{{"type":"{kind}","content":[{{"type":"x"}}]}}]}}]"#
        ));
        assert_eq!(refused.param.as_deref(), Some("messages[0].content[0]"));
        assert!(refused.message.contains(kind) && refused.is_of_model, "{refused}");
    }
}

#[test]
fn a_body_of_invoke_model_has_its_version_and_its_flags_within() {
    let policy = DropPolicy::default();
    let mut report = Report::new(&policy);
    let body = r#"{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["a","b"],"max_tokens":1,
        "messages":[{"role":"user","content":"hi"}]}"#;
    let conversation = read_invoke(body.as_bytes(), &mut report);
    assert_eq!(conversation.betas, ["a", "b"]);
    assert!(report.finish().unwrap().is_empty());
    let mut report = Report::new(&policy);
    read_invoke(
        br#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}"#,
        &mut report,
    );
    assert_eq!(report.finish().unwrap_err().param.as_deref(), Some("model"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z\"\\\\\n]{0,6}".prop_map(Value::from),
        prop::sample::select(vec![
            "text",
            "image",
            "user",
            "base64",
            "ephemeral",
            "tool",
            "custom",
            "url"
        ])
        .prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "type",
        "text",
        "source",
        "content",
        "role",
        "cache_control",
        "data",
        "media_type",
        "name",
        "input",
        "id",
        "tool_use_id",
        "input_schema",
        "citations",
        "edits",
        "thinking",
        "ttl",
        "format",
    ]);
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..5).prop_map(|members| {
                members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, text in r#"[\[\]{}",:a1\\ ]{0,60}"#) {
        let policy = DropPolicy::default();
        for body in [&bytes[..], text.as_bytes()] {
            read_request(body, &mut Echo::default(), &mut Report::new(&policy));
            read_invoke(body, &mut Report::new(&policy));
        }
    }

    #[test]
    fn no_json_in_any_member_makes_it_panic(
        name in prop::sample::select(vec!["messages", "system", "tools", "tool_choice", "thinking",
            "output_config", "output_format", "context_management", "metadata", "cache_control",
            "stop_sequences", "max_tokens", "service_tier"]),
        value in any_json(),
    ) {
        let policy = DropPolicy::default();
        let body = json!({"messages": [{"role": "user", "content": [value.clone()]}], name: value});
        read_request(body.to_string().as_bytes(), &mut Echo::default(), &mut Report::new(&policy));
    }

    #[test]
    fn every_text_of_a_request_is_in_what_is_read(
        texts in prop::collection::vec("\\PC{1,20}", 1..6), is_escaped: bool,
    ) {
        let blocks: Vec<Value> = texts.iter().map(|text| json!({"text": text, "type": "text"})).collect();
        let mut body = json!({"max_tokens": 1, "messages": [{"content": blocks, "role": "user"}]}).to_string();
        if is_escaped {
            // Names of members may have escapes as well.
            body = body.replace('e', "\\u0065");
        }
        let policy = DropPolicy::default();
        let mut report = Report::new(&policy);
        let conversation = read_request(body.as_bytes(), &mut Echo::default(), &mut report);
        prop_assert!(report.finish().is_ok(), "{}", body);
        let found: Vec<_> = conversation.turns[0].blocks.iter().map(|block| match &block.kind {
            BlockKind::Text(text) => text.to_string(),
            kind => format!("{kind:?}"),
        }).collect();
        prop_assert_eq!(found, texts);
    }
}
