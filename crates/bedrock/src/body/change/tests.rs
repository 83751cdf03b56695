use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::body::peek;
use crate::{Family, Operation};

const CHAT: Operation = Operation::CreateChatCompletion;
const RESPONSE: Operation = Operation::CreateResponse;

fn changed(operation: Operation, body: &str, changes: &Changes<'_>) -> Option<String> {
    let peek = peek(operation, Family::Unknown, body.as_bytes()).unwrap();
    let changed = change(body.as_bytes(), &peek, changes)?;
    Some(String::from_utf8(changed.to_vec()).unwrap())
}

#[test]
fn the_model_is_replaced_wherever_it_stands_or_inserted() {
    let changes = Changes { model: Some("b/\"c\""), ..Changes::default() };
    for (body, wanted) in [
        (r#"{"model":"a"}"#, r#"{"model":"b/\"c\""}"#),
        (r#" { "n":1, "model" : "a" , "z":2}"#, r#" { "n":1, "model" : "b/\"c\"" , "z":2}"#),
        (
            r#"{"mod\u0065l":"a","model":7,"x":{"model":"a"}}"#,
            r#"{"mod\u0065l":"b/\"c\"","model":"b/\"c\"","x":{"model":"a"}}"#,
        ),
        ("{}", r#"{"model":"b/\"c\""}"#),
        ("{ }", r#"{"model":"b/\"c\"" }"#),
        (r#"{ "n":1}"#, r#"{"model":"b/\"c\"", "n":1}"#),
    ] {
        for operation in [CHAT, RESPONSE, Operation::CreateMessage, Operation::CountMessageTokens] {
            assert_eq!(changed(operation, body, &changes).unwrap(), wanted);
        }
    }
    for no_object in ["[]", "null", "\"model\""] {
        assert_eq!(changed(CHAT, no_object, &changes), None);
    }
}

#[test]
fn a_body_that_needs_no_change_is_left_alone() {
    let changes = Changes {
        model: Some("a"),
        cap: Some(5),
        include_usage: true,
        store: Some(false),
        previous_response_id: None,
    };
    let body =
        r#"{"model":"a","max_tokens":5,"stream_options":{"include_usage":true},"store":false}"#;
    assert_eq!(changed(CHAT, body, &changes), None);
    assert_eq!(changed(CHAT, body, &Changes::default()), None);
}

#[test]
fn usage_is_asked_for_whatever_options_a_stream_has() {
    let changes = Changes { include_usage: true, ..Changes::default() };
    let on = r#"{"include_usage":true}"#;
    for (options, wanted) in [
        ("null", Some(on)),
        ("{}", Some(on)),
        (r#"{"include_usage":false}"#, Some(on)),
        (r#"{"include_usage":null}"#, Some(on)),
        (r#"{"x":1}"#, Some(r#"{"include_usage":true,"x":1}"#)),
        (
            r#"{"include_usage":true,"include_usage":false}"#,
            Some(r#"{"include_usage":true,"include_usage":true}"#),
        ),
        (on, None),
        // The upstream refuses these.
        (r#""x""#, None),
        ("[1]", None),
        (r#"{"include_usage":"yes"}"#, None),
    ] {
        let body = |options: &str| format!(r#"{{"stream":true,"stream_options":{options}}}"#);
        assert_eq!(changed(CHAT, &body(options), &changes), wanted.map(body), "{options}");
    }
    let wanted = r#"{"stream_options":{"include_usage":true},"stream":true}"#;
    assert_eq!(changed(CHAT, r#"{"stream":true}"#, &changes).unwrap(), wanted);
    let twice = r#"{"stream_options":{"include_usage":true},"stream_options":null}"#;
    let wanted = twice.replace("null", on);
    assert_eq!(changed(CHAT, twice, &changes).unwrap(), wanted);
}

#[test]
fn several_changes_are_made_at_once() {
    let changes = Changes {
        model: Some("m"),
        cap: Some(10),
        include_usage: false,
        store: Some(false),
        previous_response_id: Some("resp_2"),
    };
    let body = r#"{"previous_response_id":"resp_1","input":"x","max_output_tokens":99}"#;
    let wanted = r#"{"model":"m","store":false,"previous_response_id":"resp_2","input":"x","max_output_tokens":10}"#;
    assert_eq!(changed(RESPONSE, body, &changes).unwrap(), wanted);
}

/// A key as it may be written, and the key that it is.
fn key() -> impl Strategy<Value = (String, String)> {
    let known = ["model", "store", "previous_response_id", "stream_options", "max_output_tokens"];
    let other = ["include_usage", "input", "messages", "stream", "a\"b", "é\\", ""];
    let keys = prop_oneof![
        4 => prop::sample::select(known.to_vec()),
        1 => prop::sample::select(other.to_vec())
    ];
    (keys, any::<prop::sample::Index>(), any::<bool>()).prop_map(|(key, at, is_escaped)| {
        let plain = json!(key).to_string();
        let text = match key.as_bytes() {
            bytes if is_escaped && bytes.iter().all(u8::is_ascii_lowercase) && !key.is_empty() => {
                let at = at.index(key.len());
                format!("\"{}\\u{:04x}{}\"", &key[..at], bytes[at], &key[at + 1..])
            }
            _ => plain,
        };
        (text, key.to_owned())
    })
}

/// The text of a value.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "null",
            "true",
            "false",
            "0",
            "7",
            "8192.0",
            "9e3",
            "-1.50e+2",
            "123456789012345678901234567890",
            "\"x\"",
            "\"\\ud83d\\ude00 \\\"model\\\":\"",
            "\"\\/\"",
            "\" }{][,:\"",
            "[]",
            "{}",
            "{ }",
            r#"{"include_usage":false}"#,
            r#"{"x":[1],"include_usage" : true}"#,
            r#"{"include\u005fusage":null}"#,
        ])
        .prop_map(str::to_owned),
        "\\PC{0,8}".prop_map(|text| json!(text).to_string()),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let member =
            (key(), inner.clone()).prop_map(|((key, _), value)| format!("{key} : {value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|all| format!("[ {} ]", all.join(" ,"))),
            prop::collection::vec(member, 0..4).prop_map(|all| format!("{{{}}}", all.join(", "))),
        ]
    })
}

#[derive(Clone, Debug)]
struct Member {
    space: [&'static str; 4],
    key: (String, String),
    value: String,
}

fn member() -> impl Strategy<Value = Member> {
    let space = || prop::sample::select(vec!["", " ", "\n\t", "\r\n  "]);
    let spaces = [space(), space(), space(), space()];
    (spaces, key(), value()).prop_map(|(space, key, value)| Member { space, key, value })
}

fn body(inserted: &[String], members: &[Member]) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|Member { space: [a, b, c, d], key, value }| format!("{a}{}{b}:{c}{value}{d}", key.0))
        .collect();
    let comma = if inserted.is_empty() || members.is_empty() { "" } else { "," };
    format!(" {{{}{comma}{}}}\n", inserted.join(","), members.join(","))
}

/// The value of options of a stream that tell the usage, as a change makes it.
fn telling(options: &str) -> String {
    match options {
        "null" => r#"{"include_usage":true}"#.to_owned(),
        r#"{"include_usage":false}"# => r#"{"include_usage":true}"#.to_owned(),
        r#"{"include\u005fusage":null}"# => r#"{"include\u005fusage":true}"#.to_owned(),
        other => other.to_owned(),
    }
}

fn changes() -> impl Strategy<Value = (Option<String>, Option<u32>, Option<bool>, Option<String>)> {
    let text = || prop::option::of(prop_oneof!["[a-z.:/]{0,6}", "\\PC{0,4}", Just("x".to_owned())]);
    (text(), prop::option::of(0u32..9000), prop::option::of(any::<bool>()), text())
}

proptest! {
    /// The expected body is made of the same texts as the original one, so that every other byte is compared.
    #[test]
    fn a_changed_body_differs_in_the_named_places_alone(
        members in prop::collection::vec(member(), 0..7), (model, cap, store, previous) in changes()
    ) {
        let original = body(&[], &members);
        let changes = Changes {
            model: model.as_deref(),
            cap,
            include_usage: false,
            store,
            previous_response_id: previous.as_deref(),
        };
        let named = [
            ("model", model.as_ref().map(|model| json!(model).to_string())),
            ("store", store.map(|store| store.to_string())),
            ("previous_response_id", previous.as_ref().map(|id| json!(id).to_string())),
        ];
        let mut wanted = members.clone();
        let mut inserted = Vec::new();
        for (name, value) in &named {
            let Some(value) = value else { continue };
            let places = wanted.iter_mut().filter(|member| member.key.1 == *name);
            let count = places.map(|member| member.value.clone_from(value)).count();
            if count == 0 {
                inserted.push(format!("\"{name}\":{value}"));
            }
        }
        if let Some(cap) = cap {
            for member in wanted.iter_mut().filter(|member| member.key.1 == "max_output_tokens") {
                let value = member.value.parse::<f64>().unwrap_or(0.0);
                if value.fract() == 0.0 && value > f64::from(cap) && value < 9e15 {
                    member.value = cap.to_string();
                }
            }
        }
        let wanted_body = body(&inserted, &wanted);
        let made = changed(RESPONSE, &original, &changes);
        prop_assert_eq!(made.is_some(), wanted_body != original);
        prop_assert_eq!(made.as_deref().unwrap_or(&original), &*wanted_body);
        // And as JSON parsers see it.
        let (before, after): (Value, Value) = (
            serde_json::from_str(&original).unwrap(),
            serde_json::from_str(made.as_deref().unwrap_or(&original)).unwrap(),
        );
        let (before, after) = (before.as_object().unwrap(), after.as_object().unwrap());
        for key in before.keys().chain(after.keys()) {
            match named.iter().find(|(name, value)| name == key && value.is_some()) {
                Some((_, value)) => {
                    let value: Value = serde_json::from_str(value.as_ref().unwrap()).unwrap();
                    prop_assert_eq!(&after[key], &value);
                }
                None if key == "max_output_tokens" => {}
                None => prop_assert_eq!(before.get(key), after.get(key)),
            }
        }
    }

    #[test]
    fn a_changed_stream_tells_its_usage_and_differs_in_nothing_else(
        members in prop::collection::vec(member(), 0..7)
    ) {
        let original = body(&[], &members);
        let changes = Changes { include_usage: true, ..Changes::default() };
        let made = changed(CHAT, &original, &changes).unwrap_or_else(|| original.clone());
        let (mut before, mut after): (Value, Value) =
            (serde_json::from_str(&original).unwrap(), serde_json::from_str(&made).unwrap());
        let options = |value: &mut Value| value.as_object_mut().unwrap().remove("stream_options");
        let (told, tells) = (options(&mut before), options(&mut after));
        prop_assert_eq!(before, after);
        match told.unwrap_or_default() {
            Value::Object(mut told) => {
                let mut tells = tells.unwrap();
                let now = tells.as_object_mut().unwrap().remove("include_usage").unwrap();
                let was = told.remove("include_usage").unwrap_or_default();
                match was {
                    Value::Null | Value::Bool(_) => prop_assert_eq!(now, true),
                    was => prop_assert_eq!(now, was),
                }
                prop_assert_eq!(tells, Value::Object(told));
            }
            Value::Null => prop_assert_eq!(tells.unwrap(), json!({"include_usage": true})),
            told => prop_assert_eq!(tells.unwrap(), told),
        }
        // Where only values change, every other byte is the same.
        let has_options = members.iter().any(|member| member.key.1 == "stream_options");
        let is_plain = |member: &&Member| member.key.1 == "stream_options" && member.value.starts_with('{');
        let plain = ["{\"include_usage\":false}", "{\"include\\u005fusage\":null}", "null"];
        let mut options = members.iter().filter(is_plain);
        if has_options && options.all(|member| plain.contains(&&*member.value)) {
            let mut wanted = members.clone();
            for member in wanted.iter_mut().filter(|member| member.key.1 == "stream_options") {
                member.value = telling(&member.value);
            }
            prop_assert_eq!(made, body(&[], &wanted));
        }
    }
}
