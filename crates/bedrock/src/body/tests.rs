use proptest::prelude::*;

use super::*;
use crate::ServiceTier;

mod api;

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
fn the_requested_form_of_an_answer_is_found_in_every_schema() {
    let (thinks, schema, effort) =
        (Features::REASONING, Features::STRUCTURED_OUTPUT, Features::EFFORT);
    let flat = |body: &str| of(Operation::InvokeModel, Family::OpenAi, body);
    let nova = |body: &str| of(Operation::InvokeModel, Family::Nova, body);
    let fields = |body: &str| converse(&format!(r#"{{"additionalModelRequestFields":{body}}}"#));
    for (peek, wanted) in [
        (fields(r#"{"reasoningConfig":{"type":"enabled","maxReasoningEffort":"low"}}"#), thinks),
        (fields(r#"{"reasoningConfig":{"type":"disabled"}}"#), Features::default()),
        (fields(r#"{"reasoning_effort":"high"}"#), thinks),
        (fields(r#"{"reasoning_effort":null,"top_k":5}"#), Features::default()),
        (fields(r#"{"output_config":{"effort":"low"}}"#), effort),
        (converse(r#"{"outputConfig":{"textFormat":{"type":"json_schema"}}}"#), schema),
        (converse(r#"{"outputConfig":{"effort":"max"}}"#), effort),
        (converse(r#"{"outputConfig":{"textFormat":null}}"#), Features::default()),
        (anthropic(r#"{"output_config":{"format":{"type":"json_schema"}}}"#), schema),
        (anthropic(r#"{"output_format":{"type":"json_schema"}}"#), schema),
        (flat(r#"{"reasoning_effort":"low","messages":[]}"#), thinks),
        (nova(r#"{"inferenceConfig":{"reasoningConfig":{"type":"enabled"}}}"#), thinks),
        (nova(r#"{"reasoningConfig":{"type":"enabled"}}"#), thinks),
    ] {
        assert_eq!(peek.features.without(Features::OF_ENDPOINTS), wanted, "{peek:?}");
    }
    assert!(fields(r#"{"top_k":5}"#).has_model_fields);
    for body in ["{}", "null", "[]", "\"x\""] {
        assert!(!fields(body).has_model_fields, "{body}");
    }
}

#[test]
fn features_are_seen_where_they_count() {
    let peek = anthropic(
        r#"{"system":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}],
        "tools":[{"name":"image"}],
        "messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image"}]}]}]}"#,
    );
    let wanted = ["images", "tools", "prompt_caching"];
    assert_eq!(peek.features, wanted.into_iter().filter_map(Features::by_name).collect());

    let peek = converse(
        r#"{"messages":[{"content":[{"text":"x"},{"document":{}},{"cachePoint":{"type":"default"}},
        {"toolResult":{"content":[{"image":{}}]}}]}],
        "additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":1024}}}"#,
    );
    let wanted = ["images", "documents", "tools", "prompt_caching", "thinking"];
    assert_eq!(peek.features, wanted.into_iter().filter_map(Features::by_name).collect());
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

#[test]
fn content_that_bytes_do_not_bound_is_open_in_every_schema() {
    let invoke = |family, body: &str| of(Operation::InvokeModel, family, body).extent.is_open;
    let block = |block: &str| {
        let body = format!(r#"{{"messages":[{{"content":[{{"text":"x"}},{block}]}}]}}"#);
        assert_eq!(converse(&body).extent.is_open, invoke(Family::Nova, &body));
        converse(&body).extent.is_open
    };
    for open in [
        r#"{"document":{"source":{"bytes":"AAAA"}}}"#,
        r#"{"video":{"source":{"s3Location":{"uri":"s3://b/k"}}}}"#,
        r#"{"audio":{}}"#,
        r#"{"image":{"source":{"s3Location":{"uri":"s3://b/k"}}}}"#,
        r#"{"image":{"source":{"bytes":"AAAA","s3Location":{}}}}"#,
        r#"{"image":"s3://b/k"}"#,
        r#"{"im\u0061ge":{}}"#,
        r#"{"toolResult":{"content":[{"document":{}}]}}"#,
        r#"{"toolResult":{"content":{"document":{}}}}"#,
        r#"{"guardContent":{"image":{"source":{"s3Location":{}}}}}"#,
        r#"{"whatever":{"comes":"next"}}"#,
    ] {
        assert!(block(open), "{open}");
    }
    for known in [
        r#"{"text":"s3://b/k"}"#,
        r#"{"image":{"format":"png","source":{"bytes":"AAAA"}}}"#,
        r#"{"cachePoint":{"type":"default"}}"#,
        r#"{"toolUse":{"toolUseId":"t","name":"n","input":{"document":{"s3Location":1}}}}"#,
        r#"{"toolResult":{"toolUseId":"t","status":"success","content":[{"text":"x"},{"json":{"video":1}}]}}"#,
        r#"{"guardContent":{"text":{"text":"x","qualifiers":["query"]}}}"#,
        r#"{"reasoningContent":{"reasoningText":{"text":"x","signature":"y"}}}"#,
        r#"{"document":null}"#,
    ] {
        assert!(!block(known), "{known}");
    }
    let anthropic = |block: &str| {
        let body = format!(r#"{{"messages":[{{"role":"user","content":[{block}]}}]}}"#);
        invoke(Family::Anthropic, &body)
    };
    for open in [
        r#"{"type":"image","source":{"type":"url","url":"https://x/i.png"}}"#,
        r#"{"source":{"file_id":"f","type":"file"},"type":"image"}"#,
        r#"{"type":"document","source":{"type":"base64","data":"AAAA"}}"#,
        r#"{"type":"text","text":"x","type":"document"}"#,
        r#"{"type":"tool_result","content":[{"type":"image","source":{"type":"url","url":"u"}}]}"#,
        r#"{"type":"container_upload","file_id":"f"}"#,
        r#"{"text":"x"}"#,
    ] {
        assert!(anthropic(open), "{open}");
    }
    for known in [
        r#"{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"1h"}}"#,
        r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}"#,
        r#"{"type":"tool_use","id":"t","name":"n","input":{"type":"document"}}"#,
        r#"{"type":"tool_result","tool_use_id":"t","content":"https://x"}"#,
    ] {
        assert!(!anthropic(known), "{known}");
    }
    for (family, body) in [
        (Family::Anthropic, r#"{"messages":[],"mcp_servers":[{"url":"https://x"}]}"#),
        (Family::Llama, r#"{"prompt":"x","images":["AAAA"]}"#),
        (
            Family::Mistral,
            r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"u"}}]}]}"#,
        ),
        (Family::TitanEmbed, r#"{"inputImage":"/9j/4AAQ"}"#),
        (Family::Cohere, r#"{"images":["data:image/png;base64,AA"],"input_type":"image"}"#),
        (Family::TitanText, r#"{"inputText":"x","attachment":{"uri":"s3://b/k"}}"#),
        (Family::Unknown, r#"{"prompt":"x"}"#),
        (Family::Unknown, "no JSON at all"),
    ] {
        assert!(invoke(family, body), "{family:?} {body}");
    }
    for (family, body) in [
        (
            Family::Anthropic,
            r#"{"anthropic_version":"bedrock-2023-05-31","system":"x","messages":[{"role":"user","content":"https://x"}],"stop_sequences":["a"],"temperature":1}"#,
        ),
        (Family::Llama, r#"{"prompt":"see https://x","max_gen_len":9,"temperature":0.5}"#),
        (
            Family::Mistral,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"https://x"}]}],"tools":[{"type":"function"}]}"#,
        ),
        (Family::TitanEmbed, r#"{"inputText":"https://x","dimensions":256,"normalize":true}"#),
        (
            Family::Cohere,
            r#"{"texts":["https://x"],"input_type":"search_document","truncate":"NONE"}"#,
        ),
        (Family::TitanText, r#"{"inputText":"x","textGenerationConfig":{"maxTokenCount":9}}"#),
    ] {
        assert!(!invoke(family, body), "{family:?} {body}");
    }
    assert!(converse(r#"{"promptVariables":{"v":{"text":"x"}}}"#).extent.is_open);
    let fields = r#"{"additionalModelRequestFields":{"messages":[{"document":1}]}}"#;
    assert!(converse(fields).extent.is_open);
    assert!(
        !converse(r#"{"additionalModelRequestFields":{"top_k":5,"inferenceConfig":{"topK":20}}}"#)
            .extent
            .is_open
    );
}

#[test]
fn what_makes_a_request_dear_is_found() {
    let extent = |body: &str| converse(body).extent;
    let fields = |fields: &str| {
        converse(&format!(
            r#"{{"inferenceConfig":{{"maxTokens":5}},"additionalModelRequestFields":{{{fields}}}}}"#
        ))
    };
    for cap in ["max_tokens", "max_gen_len", "max_completion_tokens", "maxTokenCount"] {
        assert_eq!(fields(&format!(r#""{cap}":900"#)).max_output_tokens(), Some(900));
    }
    let nested = fields(r#""inferenceConfig":{"max_new_tokens":900}"#);
    assert_eq!(nested.max_output_tokens(), Some(900));
    assert_eq!(fields(r#""n":3,"num_generations":4"#).extent.answers, Some(4));
    let jamba = of(Operation::InvokeModel, Family::Ai21, r#"{"messages":[],"n":16,"n":2}"#);
    assert_eq!(jamba.extent.answers, Some(16));
    let tier = |body: &str| extent(body).tier.map(ServiceTier::name);
    assert_eq!(tier("{}"), None);
    assert_eq!(tier(r#"{"serviceTier":{"type":"flex"}}"#), Some("flex"));
    assert_eq!(tier(r#"{"serviceTier":{"type":"priority","type":"flex"}}"#), Some("priority"));
    assert!(extent(r#"{"performanceConfig":{"latency":"optimized"}}"#).is_latency_optimized);
    assert!(fields(r#""anthropic_beta":["context-1m-2025-08-07"]"#).extent.has_long_window);
    assert_eq!(
        fields(r#""tools":[{"type":"bash_20250124"},{"type":"custom"}]"#).extent.built_in_tools,
        1
    );
    let cached = anthropic(r#"{"messages":[],"cache_control":{"type":"ephemeral"}}"#);
    assert!(cached.extent.writes_cache);
}
