use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::report::{DropPolicy, Refusal};

const TITAN: &str = "amazon.titan-embed-text-v2:0";
const COHERE: &str = "cohere.embed-v4:0";
const NOVA: &str = "amazon.nova-2-multimodal-embeddings-v1:0";

fn read(body: &Value) -> Result<Plan, Refusal> {
    planned(body, TITAN, &DropPolicy::default())
}

fn planned(body: &Value, model: &str, policy: &DropPolicy) -> Result<Plan, Refusal> {
    plan(&read_request(body.to_string().as_bytes(), policy)?, model, policy)
}

/// An answer in the model's shape, with the number in each text as its vector.
fn answer(call: &Call, shape: &str) -> Value {
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    let vector = |text: &Value| json!([text.as_str().unwrap().parse::<f32>().unwrap(), 0.5]);
    match shape {
        TITAN => json!({"embedding": vector(&body["inputText"]), "inputTextTokenCount": 2}),
        NOVA => {
            let text = &body["singleEmbeddingParams"]["text"]["value"];
            json!({"embeddings": [{"embeddingType": "TEXT", "embedding": vector(text)}]})
        }
        _ => {
            let texts = body["texts"].as_array().unwrap();
            let vectors: Vec<_> = texts.iter().map(vector).collect();
            json!({"embeddings": {"float": vectors}, "response_type": "embeddings_by_type"})
        }
    }
}

fn first_number(item: &Value) -> f32 {
    match &item["embedding"] {
        Value::String(base64) => {
            let bytes = STANDARD.decode(base64).unwrap();
            assert_eq!(bytes.len(), 8);
            f32::from_le_bytes(bytes[..4].try_into().unwrap())
        }
        list => list[0].as_f64().unwrap() as f32,
    }
}

proptest! {
    #[test]
    fn vectors_have_the_order_of_their_texts_however_calls_split_and_end(
        count in 1_usize..300,
        model in prop_oneof![Just(TITAN), Just(COHERE), Just(NOVA)],
        is_base64: bool,
        seed: u64,
    ) {
        let texts: Vec<_> = (0..count).map(|n| n.to_string()).collect();
        let encoding = if is_base64 { "base64" } else { "float" };
        let body = json!({"model": "m", "input": texts, "encoding_format": encoding});
        let plan = planned(&body, model, &DropPolicy::default()).unwrap();
        let covered: Vec<_> = plan.calls.iter().flat_map(|call| call.inputs.clone()).collect();
        prop_assert_eq!(covered, (0..count).collect::<Vec<_>>());
        let mut answers: Vec<_> = plan
            .calls
            .iter()
            .map(|call| call.read_answer(answer(call, model).to_string().as_bytes(), Some(3)).unwrap())
            .collect();
        answers.sort_by_key(|answer| (answer.inputs.start as u64).wrapping_mul(seed | 1));
        let calls = answers.len() as u64;
        let written: Value = serde_json::from_slice(&write_answer("m", answers)).unwrap();
        prop_assert_eq!(&written["usage"], &json!({"prompt_tokens": 3 * calls, "total_tokens": 3 * calls}));
        let data = written["data"].as_array().unwrap();
        prop_assert_eq!(data.len(), count);
        for (index, item) in data.iter().enumerate() {
            prop_assert_eq!(&item["index"], &json!(index));
            prop_assert_eq!(first_number(item), index as f32);
        }
    }

    #[test]
    fn no_body_makes_it_panic(text in "[\\[\\]{}\",:0-9a-z.\\\\-]{0,60}", name in "[a-z_]{0,15}") {
        let policy = DropPolicy::default();
        let members = format!("{{\"model\":\"m\",\"input\":{text},\"{name}\":{text}}}");
        for body in [&text, &members] {
            if let Ok(request) = read_request(body.as_bytes(), &policy) {
                let _ = plan(&request, COHERE, &policy);
            }
        }
        let call = Call { body: Vec::new(), inputs: 0..1, encoding: Encoding::Base64 };
        let _ = call.read_answer(text.as_bytes(), None);
        for name in ["embedding", "embeddings", "embeddingsByType", "meta"] {
            let _ = call.read_answer(format!("{{\"{name}\":{text}}}").as_bytes(), None);
        }
    }
}

#[test]
fn numbers_are_kept_as_the_model_wrote_them_unless_base64_is_asked_for() {
    let plan = read(&json!({"model": "m", "input": "a"})).unwrap();
    let [call] = plan.calls.as_slice() else { panic!("{plan:?}") };
    let body = br#"{"embedding": [0.10000, -1e-3, 7], "inputTextTokenCount": 4}"#;
    let written = write_answer("m", vec![call.read_answer(body, None).unwrap()]);
    let text = String::from_utf8(written).unwrap();
    assert!(text.contains(r#""embedding":[0.10000,-1e-3,7]"#), "{text}");
    assert!(text.contains(r#""prompt_tokens":4"#), "{text}");
}

#[test]
fn an_answer_without_a_vector_for_each_text_is_an_error_and_never_a_wrong_order() {
    let body = json!({"model": "m", "input": ["a", "b"]});
    let plan = planned(&body, COHERE, &DropPolicy::default()).unwrap();
    let [call] = plan.calls.as_slice() else { panic!("{plan:?}") };
    for body in [
        r#"{"embeddings": {"float": [[1]]}}"#,
        r#"{"embeddings": [[1], [2], [3]]}"#,
        r#"{"embeddings": [[1], null]}"#,
        r#"{"embeddings": [[1], []]}"#,
        r#"{"embeddings": [[1], ["2"]]}"#,
        r#"{"embeddings": [[1], [[2]]]}"#,
        r#"{"embeddings": [[1], [true]]}"#,
        r#"{"embeddings": [[1], [1e39]]}"#,
        r#"{"embeddings": {"int8": [[1], [2]]}}"#,
        r#"{"embedding": [1]}"#,
        "{}",
        "[]",
        "",
    ] {
        assert!(call.read_answer(body.as_bytes(), None).is_err(), "{body}");
    }
    let shapes = [r#"{"embeddings": {"float": [[1], [2]]}}"#, r#"{"embeddings": [[1], [2]]}"#];
    for body in shapes {
        assert!(call.read_answer(body.as_bytes(), None).is_ok(), "{body}");
    }
}

#[test]
fn what_can_not_be_embedded_is_refused_by_name() {
    for (input, param) in [
        (json!([1, 2]), "input"),
        (json!([[1, 2]]), "input"),
        (json!([]), "input"),
        (json!(""), "input"),
        (json!(7), "input"),
        (json!(["a", ""]), "input[1]"),
        (json!(["a", null]), "input[1]"),
        (json!(vec!["a"; MAX_TEXTS + 1]), "input"),
    ] {
        let refusal = read(&json!({"model": "m", "input": input})).unwrap_err();
        assert_eq!(refusal.param.as_deref(), Some(param), "{refusal}");
    }
    for (name, value) in [
        ("encoding_format", json!("int8")),
        ("dimensions", json!(0)),
        ("input_type", json!("image")),
        ("truncate", json!("END")),
    ] {
        let mut body = json!({"model": "m", "input": "a"});
        body[name] = value;
        let refusal = read(&body).unwrap_err();
        assert_eq!(refusal.param.as_deref(), Some(name), "{refusal}");
    }
}

#[test]
fn a_size_that_the_model_lacks_is_refused_for_this_model_or_left_out_by_leave() {
    let body = json!({"model": "m", "input": "a", "dimensions": 300, "user": "u"});
    let refusal = planned(&body, COHERE, &DropPolicy::default()).unwrap_err();
    assert!(refusal.is_of_model && refusal.message.contains("1536 or 1024 or 512 or 256"));
    let lenient = DropPolicy { drops: true, ..DropPolicy::default() };
    let plan = planned(&body, COHERE, &lenient).unwrap();
    assert_eq!(plan.dropped, [Cow::Borrowed("user"), Cow::Borrowed("dimensions")]);
    let text = String::from_utf8_lossy(&plan.calls[0].body).into_owned();
    assert!(!text.contains("output_dimension"), "{text}");
}
