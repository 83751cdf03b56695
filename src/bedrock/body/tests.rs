use proptest::prelude::*;

use super::*;

fn of(operation: Operation, family: Family, body: &str) -> Peek {
    peek(operation, family, body.as_bytes()).unwrap()
}

fn anthropic(body: &str) -> Peek {
    of(Operation::InvokeModel, Family::Anthropic, body)
}

fn converse(body: &str) -> Peek {
    of(Operation::Converse, Family::Unknown, body)
}

#[test]
fn every_family_has_its_own_cap() {
    for (family, body) in [
        (Family::Anthropic, r#"{"max_tokens": 9}"#),
        (Family::Nova, r#"{"inferenceConfig": {"maxTokens": 9}}"#),
        (Family::Nova, r#"{"inferenceConfig": {"max_new_tokens": 9}}"#),
        (Family::TitanText, r#"{"inputText": "", "textGenerationConfig": {"maxTokenCount": 9}}"#),
        (Family::Llama, r#"{"prompt": "max_gen_len", "max_gen_len": 9}"#),
        (Family::Mistral, r#"{"max_tokens": 9}"#),
        (Family::OpenAi, r#"{"max_tokens": 5, "max_completion_tokens": 9}"#),
    ] {
        let peek = of(Operation::InvokeModel, family, body);
        assert_eq!(peek.max_output_tokens(), Some(9), "{family:?}");
    }
    assert_eq!(converse(r#"{"inferenceConfig":{"maxTokens":9}}"#).max_output_tokens(), Some(9));
    assert_eq!(converse(r#"{"messages":[]}"#).max_output_tokens(), None);
}

#[test]
fn clamping_changes_the_digits_and_nothing_else() {
    let body = r#"{ "messages": [{"role":"user","content":"max_tokens\": 99999"}],
        "max_tokens" : 99999 , "é": 1.50}"#;
    let clamped = clamp(body.as_bytes(), &anthropic(body), 4096).unwrap();
    assert_eq!(clamped, body.replace(": 99999 ,", ": 4096 ,"));
    assert!(clamp(body.as_bytes(), &anthropic(body), 99_999).is_none());
}

#[test]
fn a_cap_cannot_be_hidden_by_repetition_or_escapes() {
    let body = r#"{"max_tokens": 1, "max\u005ftokens": 90000, "max_tokens": 80000}"#;
    let clamped = clamp(body.as_bytes(), &anthropic(body), 4096).unwrap();
    assert_eq!(clamped, r#"{"max_tokens": 1, "max\u005ftokens": 4096, "max_tokens": 4096}"#);
}

#[test]
fn a_thinking_budget_must_stay_below_the_cap() {
    let peek =
        anthropic(r#"{"thinking":{"type":"enabled","budget_tokens":6000},"max_tokens":8000}"#);
    assert!(peek.features.contains(Features::REASONING));
    assert!(peek.fits(6001));
    assert!(!peek.fits(6000));
    let off = anthropic(r#"{"thinking":{"type":"disabled"},"max_tokens":8000}"#);
    assert_eq!(off.features, Features::default());
}

#[test]
fn features_are_seen_where_they_count() {
    let peek = anthropic(
        r#"{"system":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}],
        "tools":[{"name":"image"}],
        "messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image"}]}]}]}"#,
    );
    let wanted = ["vision", "function_calling", "prompt_caching"];
    assert_eq!(peek.features, Features::from_names(wanted.into_iter()));

    let peek = converse(
        r#"{"messages":[{"content":[{"text":"x"},{"document":{}},{"cachePoint":{"type":"default"}},
        {"toolResult":{"content":[{"image":{}}]}}]}],
        "additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":1024}}}"#,
    );
    let wanted = ["vision", "pdf_input", "function_calling", "prompt_caching", "reasoning"];
    assert_eq!(peek.features, Features::from_names(wanted.into_iter()));
    assert_eq!(peek.thinking_budget, Some(1024));
}

#[test]
fn media_are_counted_with_their_bytes() {
    let image = r#"{"type":"image","source":{"data":"AAAA"}}"#;
    let body = format!(
        r#"{{"messages":[{{"content":[{{"type":"text","text":"hi"}},{image},
        {{"type":"tool_result","content":[{image},{{"type":"text"}}]}}]}}]}}"#
    );
    let peek = anthropic(&body);
    assert_eq!((peek.media, peek.media_bytes), (2, 2 * image.len()));
    let document = r#"{"document":{"source":{"bytes":"AAAA"}}}"#;
    let body = format!(r#"{{"messages":[{{"content":[{{"text":"hi"}},{document}]}}]}}"#);
    let peek = converse(&body);
    assert_eq!((peek.media, peek.media_bytes), (1, document.len()));
}

#[test]
fn the_cached_prefix_is_the_same_however_the_conversation_goes_on() {
    let body = |max: u32, last: &str| {
        format!(
            r#"{{"max_tokens":{max},"system":[{{"type":"text","text":"long","cache_control":
            {{"type":"ephemeral"}}}}],"messages":[{{"role":"user","content":"{last}"}}]}}"#
        )
    };
    let prefix = |body: String| body[anthropic(&body).cached_prefix.unwrap()].to_owned();
    assert_eq!(prefix(body(5, "one")), prefix(body(4000, "another")));
    assert!(prefix(body(5, "one")).contains("long"));
    assert_eq!(anthropic(r#"{"max_tokens":5}"#).cached_prefix, None);
    let in_other_order = r#"{"system":[{"cache_control":{"type":"ephemeral"},"text":"long"}]}"#;
    assert!(prefix(in_other_order.to_owned()).contains("long"));
}

#[test]
fn words_in_a_prompt_or_a_tools_input_are_no_features() {
    let peek = anthropic(
        r#"{"tools":[],"messages":[{"content":"{\"type\":\"image\"}"},{"content":[
        {"type":"text","text":"image"}]}],"metadata":{"type":"image","tools":[1]}}"#,
    );
    assert_eq!(peek.features, Features::default());
}

#[test]
fn a_body_that_is_not_json_is_an_error_only_where_it_is_read() {
    let read = |operation, family| peek(operation, family, b"not json").is_err();
    assert!(read(Operation::InvokeModel, Family::Anthropic));
    assert!(read(Operation::Converse, Family::Unknown));
    assert!(!read(Operation::InvokeModel, Family::Unknown));
}

proptest! {
    #[test]
    fn clamped_bodies_differ_in_the_cap_alone(
        prompt in "\\PC{0,40}", cap in 1u64..200_000, limit in 1u32..10_000
    ) {
        let mut value = serde_json::json!({
            "messages": [{"role": "user", "content": prompt}], "max_tokens": cap, "top_k": 5
        });
        let body = serde_json::to_vec(&value).unwrap();
        let peek = peek(Operation::InvokeModel, Family::Anthropic, &body).unwrap();
        match clamp(&body, &peek, limit) {
            Some(clamped) => {
                prop_assert!(cap > u64::from(limit));
                value["max_tokens"] = limit.into();
                prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&clamped).unwrap(), value);
            }
            None => prop_assert!(cap <= u64::from(limit)),
        }
    }

    #[test]
    fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..100)) {
        for family in [Family::Anthropic, Family::Nova, Family::TitanText, Family::Llama] {
            let _ = peek(Operation::InvokeModel, family, &body);
        }
    }
}
