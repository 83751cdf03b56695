use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::body::peek;
use crate::{Family, Operation};

fn key(operation: Operation, body: &str) -> Option<u64> {
    peek(operation, Family::Anthropic, body.as_bytes()).unwrap().cached_prefix
}

fn converse(body: &str) -> Option<u64> {
    key(Operation::Converse, body)
}

fn invoke(body: &str) -> Option<u64> {
    key(Operation::InvokeModel, body)
}

/// The JSON of members in this order.
fn object(members: &[(&str, &Value)]) -> String {
    let members = members.iter().map(|(key, value)| format!("\"{key}\":{value}"));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// All orders of members.
fn orders<'a>(members: &[(&'a str, &'a Value)]) -> Vec<String> {
    fn go<'a>(
        done: &mut Vec<(&'a str, &'a Value)>,
        left: &[(&'a str, &'a Value)],
        all: &mut Vec<String>,
    ) {
        if left.is_empty() {
            all.push(object(done));
        }
        for (index, member) in left.iter().enumerate() {
            done.push(*member);
            go(done, &[&left[..index], &left[index + 1..]].concat(), all);
            done.pop();
        }
    }
    let mut all = Vec::new();
    go(&mut Vec::new(), members, &mut all);
    all
}

/// Where a conversation has its cache points.
#[derive(Clone, Copy, Debug)]
struct Points {
    tools: bool,
    system: bool,
    /// On how many of the last messages of the user.
    rolling: usize,
}

const POINTS: [Points; 6] = [
    Points { tools: false, system: true, rolling: 0 },
    Points { tools: false, system: true, rolling: 2 },
    Points { tools: true, system: true, rolling: 2 },
    Points { tools: true, system: false, rolling: 0 },
    Points { tools: false, system: false, rolling: 1 },
    Points { tools: false, system: false, rolling: 2 },
];

fn conversation(turn: usize, points: Points, name: &str) -> Vec<String> {
    let point = json!({"cachePoint": {"type": "default"}});
    let with = |mut blocks: Vec<Value>, has_point: bool| {
        blocks.extend(has_point.then(|| point.clone()));
        json!(blocks)
    };
    let tool = json!({"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}});
    let tools = json!({ "tools": with(vec![tool], points.tools) });
    let system = with(vec![json!({"text": format!("{name} system")})], points.system);
    let mut messages = Vec::new();
    for number in 0..=turn {
        let text = json!({"text": format!("{name} question {number}")});
        let content = with(vec![text], number + points.rolling > turn);
        messages.push(json!({"role": "user", "content": content}));
        if number < turn {
            messages.push(json!({"role": "assistant", "content": [{"text": "answer"}]}));
        }
    }
    let settings = json!({ "maxTokens": 100 + turn });
    orders(&[
        ("toolConfig", &tools),
        ("system", &system),
        ("messages", &json!(messages)),
        ("inferenceConfig", &settings),
    ])
}

fn invoked(turn: usize, points: Points, name: &str) -> Vec<String> {
    let point = json!({"type": "ephemeral", "ttl": "1h"});
    let text = |text: String, has_point: bool| match has_point {
        true => json!([{"type": "text", "text": text, "cache_control": point}]),
        false => json!(text),
    };
    let mut tool = json!({"name": name, "input_schema": {"type": "object"}});
    if points.tools {
        tool["cache_control"] = point.clone();
    }
    let system = text(format!("{name} system"), points.system);
    let mut messages = Vec::new();
    for number in 0..=turn {
        let content = text(format!("{name} question {number}"), number + points.rolling > turn);
        messages.push(json!({"role": "user", "content": content}));
        if number < turn {
            messages.push(json!({"role": "assistant", "content": "answer"}));
        }
    }
    orders(&[
        ("tools", &json!([tool])),
        ("system", &system),
        ("messages", &json!(messages)),
        ("max_tokens", &json!(100 + turn)),
    ])
}

#[test]
fn a_conversation_keeps_its_key_in_every_order_and_as_it_grows() {
    for points in POINTS {
        for (bodies, key) in [
            (conversation as fn(usize, Points, &str) -> Vec<String>, converse as fn(&str) -> _),
            (invoked, invoke),
        ] {
            let keys = |name: &str| {
                let bodies = (0..6).flat_map(|turn| bodies(turn, points, name));
                bodies.map(|body| key(&body).unwrap()).collect::<HashSet<u64>>()
            };
            let (one, other) = (keys("one"), keys("other"));
            assert_eq!((one.len(), other.len()), (1, 1), "{points:?}");
            assert_ne!(one, other, "{points:?}");
        }
    }
}

#[test]
fn content_after_the_first_cache_point_is_not_part_of_the_key() {
    let body = |tool: &str, system: &str, message: &str| {
        let body = json!({
            "toolConfig": {"tools": [{"toolSpec": {"name": tool}}]},
            "system": [{"text": system}, {"cachePoint": {"type": "default"}}, {"text": message}],
            "messages": [{"role": "user", "content": [{"text": message}]}],
        });
        converse(&body.to_string()).unwrap()
    };
    assert_eq!(body("a", "b", "c"), body("a", "b", "d"));
    assert_ne!(body("a", "b", "c"), body("x", "b", "c"), "tools come before the system prompt");
    assert_ne!(body("a", "b", "c"), body("a", "x", "c"));
}

#[test]
fn members_of_a_block_stand_in_any_order() {
    let bodies = orders(&[
        ("type", &json!("text")),
        ("text", &json!("long")),
        ("cache_control", &json!({"type": "ephemeral"})),
    ]);
    let keys = bodies.iter().map(|block| {
        let escaped = format!(r#"{{ "\u0073ystem" : [ {block} ] }}"#);
        assert_eq!(invoke(&escaped), invoke(&format!(r#"{{"system":[{block}]}}"#)));
        invoke(&escaped).unwrap()
    });
    assert_eq!(keys.collect::<HashSet<_>>().len(), 1);
}

#[test]
fn there_is_a_key_only_with_a_cache_point() {
    for without in [
        r#"{"max_tokens":5}"#,
        r#"{"system":[{"type":"text","text":"x","cache_control":null}],"messages":[]}"#,
        r#"{"messages":[{"content":[{"type":"text","text":"\"cache_control\":{}"}]}]}"#,
    ] {
        assert_eq!(invoke(without), None, "{without}");
    }
    let automatic = |last: &str| {
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":"a"}},{{"content":"{last}"}}],
            "cache_control":{{"type":"ephemeral"}},"system":"s"}}"#
        );
        invoke(&body)
    };
    assert!(automatic("b").is_some());
    assert_eq!(automatic("b"), automatic("c"));
}

#[test]
fn a_point_within_a_block_of_nova_ends_the_prompt_there() {
    let body = |point: &str, last: &str| {
        let body = format!(
            r#"{{"messages":[{{"content":[{{"text":"{last}"}}]}}],
            "system":[{{{point}"text":"s"}},{{"text":"{last}"}}]}}"#
        );
        peek(Operation::InvokeModel, Family::Nova, body.as_bytes()).unwrap().cached_prefix
    };
    let point = r#""cachePoint":{"type":"default"},"#;
    assert!(body(point, "a").is_some());
    assert_eq!(body(point, "a"), body(point, "b"));
    assert_eq!(body("", "a"), None);
}

#[test]
fn a_long_value_is_told_by_its_start_and_length() {
    let body = |text: &str| {
        let system = json!([{"text": text}, {"cachePoint": {}}]);
        converse(&json!({ "system": system }).to_string()).unwrap()
    };
    let long = "a".repeat(3 * super::MAX_HASHED);
    assert_eq!(body(&long), body(&long));
    assert_ne!(body(&long), body(&format!("{long}a")));
    assert_ne!(body(&long), body(&format!("b{}", &long[1..])));
}

proptest! {
    #[test]
    fn different_prompts_have_different_keys(one in "\\PC{0,20}", other in "\\PC{0,20}") {
        let body = |text: &str| {
            let message = json!({"role": "user", "content": [{"text": text}, {"cachePoint": {}}]});
            converse(&json!({ "messages": [message] }).to_string()).unwrap()
        };
        prop_assert_eq!(body(&one) == body(&other), one == other);
    }
}
