use std::convert::Infallible;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

type Rewrite =
    fn(&[u8], fn(&str) -> Result<String, Infallible>) -> Result<Option<Bytes>, Infallible>;

fn mark(id: &str) -> String {
    format!("sealed-{id}")
}

fn marked(id: &str) -> Result<String, Infallible> {
    Ok(mark(id))
}

fn rewritten(rewrite: Rewrite, text: &str) -> Option<String> {
    let Ok(rewritten) = rewrite(text.as_bytes(), marked);
    rewritten.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

fn body(text: &str) -> Option<String> {
    rewritten(|body, seal| rewrite_body(body, seal), text)
}

fn event(text: &str) -> Option<String> {
    rewritten(|data, seal| rewrite_event(data, seal), text)
}

#[test]
fn the_ids_of_a_response_are_replaced_and_nothing_else() {
    let text = r#"{ "id" : "r1","object":"response", "previous_response_id":"r0",
        "output":[{"id":"msg_1","previous_response_id":"x"}], "n": 1.50e2 }"#;
    let wanted = text.replace("\"r1\"", "\"sealed-r1\"").replace("\"r0\"", "\"sealed-r0\"");
    assert_eq!(body(text), Some(wanted));
    let text = r#"{"id":"r1","object":"response.deleted","deleted":true}"#;
    assert_eq!(body(text), Some(text.replace("r1", "sealed-r1")));
}

#[test]
fn an_id_is_written_as_json_whatever_its_characters_are() {
    let text = r#"{"id":"resp_\u0015\"","object":"response"}"#;
    assert_eq!(body(text), Some(text.replace("resp_", "sealed-resp_")));
}

#[test]
fn an_absent_or_null_id_stays() {
    assert_eq!(body(r#"{"object":"response","previous_response_id":null}"#), None);
    assert_eq!(
        body(r#"{"id":"r1","previous_response_id":null}"#).as_deref(),
        Some(r#"{"id":"sealed-r1","previous_response_id":null}"#)
    );
}

#[test]
fn what_is_no_response_stays_as_it_is() {
    for text in [
        r#"{"object":"list","data":[{"id":"msg_1"}],"id":"l1"}"#,
        r#"{"error":{"id":"x","message":"id"}}"#,
        r#"[{"id":"r1"}]"#,
        r#"{"id":"r1""#,
        r#"{"id":"r1"} and more"#,
        "<html>",
        "",
    ] {
        assert_eq!(body(text), None, "{text}");
    }
}

#[test]
fn the_ids_within_the_response_of_an_event_are_replaced() {
    let text = r#"{"type":"response.created","id":"e1","response":{"id":"r1","object":"response",
        "previous_response_id":"r0"},"sequence_number":0}"#;
    let wanted = text.replace("\"r1\"", "\"sealed-r1\"").replace("\"r0\"", "\"sealed-r0\"");
    assert_eq!(event(text), Some(wanted));
    let escaped = text.replace("\"response\":", "\"respons\\u0065\":");
    assert!(event(&escaped).unwrap().contains("sealed-r1"));
}

#[test]
fn an_event_without_a_response_stays_as_it_is() {
    for text in [
        r#"{"type":"response.output_text.delta","item_id":"i1","delta":"the \"response\" is \u00e9"}"#,
        r#"{"type":"error","message":"x"}"#,
        r#"{"response":"r1","id":"x"}"#,
        "[DONE]",
    ] {
        assert_eq!(event(text), None, "{text}");
    }
}

#[test]
fn an_id_that_cannot_be_sealed_is_an_error() {
    assert_eq!(rewrite_body(br#"{"id":"r1"}"#, |_| Err("no")), Err("no"));
    assert_eq!(rewrite_event(br#"{"response":{"id":"r1"}}"#, |_| Err("no")), Err("no"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        let key =
            prop_oneof!["[a-c\"\\\\]{0,4}", Just("id".to_owned()), Just("response".to_owned())];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(key, inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The same value with the ids that a rewriter must replace.
fn with_marks(response: &mut Value) {
    for key in ["id", "previous_response_id"] {
        if let Some(Value::String(id)) = response.get_mut(key) {
            *id = mark(id);
        }
    }
}

proptest! {
    #[test]
    fn a_rewritten_response_differs_in_its_ids_alone(
        id in "\\PC{1,20}", previous in "[a-z\"\\\\\\x15]{0,4}", rest in any_json(), pretty: bool,
    ) {
        let mut value = json!({"id": id, "object": "response", "rest": rest, "previous_response_id": previous});
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let new: Value = serde_json::from_str(&body(&text).unwrap()).unwrap();
        with_marks(&mut value);
        prop_assert_eq!(new, value);
    }

    #[test]
    fn a_rewritten_event_differs_in_its_ids_alone(response in any_json(), rest in any_json()) {
        let mut value = json!({"rest": rest, "response": response, "id": "e1"});
        let new = event(&value.to_string());
        with_marks(&mut value["response"]);
        if let Some(new) = new {
            prop_assert_eq!(serde_json::from_str::<Value>(&new).unwrap(), value);
        } else {
            prop_assert!(!value["response"]["id"].is_string());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(text in r#"[{}\[\]",:a-d\\ ]{0,60}"#) {
        _ = body(&text);
        _ = event(&text);
        _ = event(&format!("{{\"response\":{text}"));
    }
}
