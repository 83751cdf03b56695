use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::event_stream;

fn usage(input: u64, output: u64, cache_read: u64, cache_write: u64) -> Usage {
    Usage { input, output, cache_read, cache_write, ..Usage::default() }
}

#[test]
fn the_tier_that_served_is_read_wherever_it_stands() {
    let counts = r#""usage":{"inputTokens":3,"outputTokens":4}"#;
    let tier = |body: String| Usage::from_body(body.as_bytes()).unwrap().tier;
    assert_eq!(tier(format!("{{{counts}}}")), None);
    let of_converse = format!(r#"{{{counts},"serviceTier":{{"type":"flex"}}}}"#);
    assert_eq!(tier(of_converse.clone()), Some(ServiceTier::Flex));
    assert_eq!(
        tier(format!(r#"{{"service_tier":"priority",{counts}}}"#)),
        Some(ServiceTier::Priority)
    );
    assert_eq!(tier(format!(r#"{{"service_tier":null,{counts}}}"#)), None);
    let metadata = event_stream::event("metadata", of_converse);
    let usage = Usage::from_frame(&Frame::read(&metadata).unwrap().unwrap()).unwrap();
    assert_eq!(usage.tier, Some(ServiceTier::Flex));
    let mut headers = HeaderMap::new();
    headers.insert("x-amzn-bedrock-input-token-count", HeaderValue::from_static("3"));
    headers.insert("x-amzn-bedrock-service-tier", HeaderValue::from_static("default"));
    let of_headers = Usage::from_headers(&headers).unwrap();
    assert_eq!(of_headers.refined_by(usage).tier, Some(ServiceTier::Standard));
}

#[test]
fn every_familys_body_is_read() {
    for (body, wanted) in [
        (
            r#"{"usage":{"input_tokens":3,"output_tokens":4,"cache_read_input_tokens":5,"cache_creation_input_tokens":6}}"#,
            usage(3, 4, 5, 6),
        ),
        (
            r#"{"output":{},"usage":{"inputTokens":3,"outputTokens":4,"totalTokens":7}}"#,
            usage(3, 4, 0, 0),
        ),
        (
            r#"{"usage":{"inputTokens":3,"outputTokens":4,"cacheReadInputTokenCount":5,"cacheWriteInputTokenCount":6}}"#,
            usage(3, 4, 5, 6),
        ),
        (
            r#"{"inputTextTokenCount":3,"results":[{"tokenCount":1},{"tokenCount":2}]}"#,
            usage(3, 3, 0, 0),
        ),
        (r#"{"embedding":[0.1],"inputTextTokenCount":3}"#, usage(3, 0, 0, 0)),
        (
            r#"{"generation":"x","prompt_token_count":3,"generation_token_count":4}"#,
            usage(3, 4, 0, 0),
        ),
        (
            r#"{"choices":[{"usage":9}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
            usage(3, 4, 0, 0),
        ),
    ] {
        assert_eq!(Usage::from_body(body.as_bytes()), Some(wanted), "{body}");
    }
    assert_eq!(Usage::from_body(b"{\"content\":[]}"), None);
    assert_eq!(Usage::from_body(b"nonsense"), None);
}

fn hour(usage: Usage, cache_write_1h: u64) -> Usage {
    Usage { cache_write_1h, ..usage }
}

#[test]
fn cached_input_is_counted_once_by_whatever_meaning_of_input() {
    for (body, wanted) in [
        // Within the input.
        (
            r#"{"usage":{"prompt_tokens":1000,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":900}}}"#,
            usage(100, 4, 900, 0),
        ),
        (
            r#"{"usage":{"prompt_tokens_details":{"cached_tokens":900,"cache_write_tokens":50},"completion_tokens":4,"prompt_tokens":1000}}"#,
            usage(50, 4, 900, 50),
        ),
        (
            r#"{"usage":{"input_tokens":1000,"output_tokens":4,"input_tokens_details":{"cached_tokens":900}}}"#,
            usage(100, 4, 900, 0),
        ),
        (
            r#"{"usage":{"prompt_tokens":1000,"completion_tokens":4,"prompt_cache_hit_tokens":900,"prompt_cache_miss_tokens":100}}"#,
            usage(100, 4, 900, 0),
        ),
        (
            r#"{"usage":{"prompt_tokens":1000,"completion_tokens":4,"cached_tokens":900}}"#,
            usage(100, 4, 900, 0),
        ),
        (
            r#"{"usage":{"prompt_tokens":1000,"completion_tokens":4,"cache_read_input_tokens":900,"prompt_tokens_details":{"cached_tokens":900}}}"#,
            usage(100, 4, 900, 0),
        ),
        (
            r#"{"usage":{"prompt_tokens":1000,"completion_tokens":4,"prompt_tokens_details":null}}"#,
            usage(1000, 4, 0, 0),
        ),
        // More than all of it can't be within it.
        (
            r#"{"usage":{"prompt_tokens":100,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":900}}}"#,
            usage(100, 4, 900, 0),
        ),
        // The metrics of the same answer.
        (
            r#"{"usage":{"prompt_tokens":1000,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":900}},"amazon-bedrock-invocationMetrics":{"inputTokenCount":1000,"outputTokenCount":4}}"#,
            usage(100, 4, 900, 0),
        ),
        (
            r#"{"amazon-bedrock-invocationMetrics":{"inputTokenCount":1000,"outputTokenCount":4,"cacheReadInputTokenCount":7},"type":"message_stop"}"#,
            usage(1000, 4, 7, 0),
        ),
        // Beside it.
        (
            r#"{"usage":{"input_tokens":100,"output_tokens":4,"cache_read_input_tokens":900,"cache_creation_input_tokens":0,"output_tokens_details":{"thinking_tokens":3}}}"#,
            usage(100, 4, 900, 0),
        ),
        (
            r#"{"usage":{"inputTokens":100,"outputTokens":4,"totalTokens":1004,"cacheReadInputTokens":900}}"#,
            usage(100, 4, 900, 0),
        ),
        // Thinking, within the output and beside it.
        (
            r#"{"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30,"completion_tokens_details":{"reasoning_tokens":15}}}"#,
            usage(10, 20, 0, 0),
        ),
        (
            r#"{"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":45,"completion_tokens_details":{"reasoning_tokens":15}}}"#,
            usage(10, 35, 0, 0),
        ),
    ] {
        assert_eq!(Usage::from_body(body.as_bytes()), Some(wanted), "{body}");
    }
}

#[test]
fn writes_for_an_hour_are_told_apart() {
    let whole = usage(1, 2, 0, 100);
    for (body, wanted) in [
        (
            r#"{"usage":{"input_tokens":1,"output_tokens":2,"cache_creation_input_tokens":100,"cache_creation":{"ephemeral_5m_input_tokens":40,"ephemeral_1h_input_tokens":60}}}"#,
            hour(whole, 60),
        ),
        (
            r#"{"usage":{"cache_creation":{"ephemeral_1h_input_tokens":100},"input_tokens":1,"output_tokens":2}}"#,
            hour(whole, 100),
        ),
        (
            r#"{"usage":{"input_tokens":1,"output_tokens":2,"cache_creation_input_tokens":100,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}}}"#,
            whole,
        ),
        (
            r#"{"usage":{"inputTokens":1,"outputTokens":2,"cacheWriteInputTokens":100,"cacheDetails":[{"ttl":"1h","inputTokens":60},{"inputTokens":40,"ttl":"5m"}]}}"#,
            hour(whole, 60),
        ),
        (
            r#"{"usage":{"cacheDetails":[{"inputTokens":60,"ttl":"1h"},{"ttl":"1h","inputTokens":10}],"inputTokens":1,"outputTokens":2,"cacheWriteInputTokens":70}}"#,
            hour(usage(1, 2, 0, 70), 70),
        ),
        (
            r#"{"usage":{"inputTokens":1,"outputTokens":2,"cacheWriteInputTokens":100,"cacheDetails":[{"ttl":7,"inputTokens":100},null,[]]}}"#,
            whole,
        ),
        // Writes that are counted twice in their sum.
        (
            r#"{"usage":{"inputTokens":1,"outputTokens":2,"cacheWriteInputTokens":200,"cacheDetails":[{"ttl":"5m","inputTokens":100}]}}"#,
            whole,
        ),
        (
            r#"{"usage":{"inputTokens":1,"outputTokens":2,"cacheWriteInputTokens":100,"cacheDetails":[]}}"#,
            whole,
        ),
    ] {
        assert_eq!(Usage::from_body(body.as_bytes()), Some(wanted), "{body}");
    }
}

#[test]
fn cache_details_in_one_part_refine_the_others() {
    let split = hour(usage(10, 1, 5, 100), 60);
    // The metrics at the end of Claude's stream, and the headers of its answer.
    assert_eq!(usage(10, 99, 5, 100).refined_by(split), Usage { output: 99, ..split });
    // Without cache counts: all of the input, or its fresh part.
    for input in [10, 115] {
        assert_eq!(usage(input, 99, 0, 0).refined_by(split), Usage { output: 99, ..split });
    }
    // Other counts stand.
    for other in [usage(50, 9, 0, 0), usage(10, 9, 5, 101), usage(10, 9, 6, 0)] {
        assert_eq!(other.refined_by(split), other);
    }
}

proptest! {
    #[test]
    fn no_counts_are_ever_more_than_was_told(
        input: u32, read: u32, written_5m: u32, written_1h: u32, output: u32
    ) {
        let body = format!(
            r#"{{"usage":{{"prompt_tokens":{input},"completion_tokens":{output},"prompt_tokens_details":{{"cached_tokens":{read}}},"cache_creation":{{"ephemeral_5m_input_tokens":{written_5m},"ephemeral_1h_input_tokens":{written_1h}}}}}}}"#
        );
        let usage = Usage::from_body(body.as_bytes()).unwrap();
        prop_assert!(usage.input <= u64::from(input) && usage.cache_read == u64::from(read));
        prop_assert!(usage.cache_write_1h <= usage.cache_write);
        let all = usage.input + usage.cache_read + usage.cache_write;
        let cached = u64::from(read) + u64::from(written_5m) + u64::from(written_1h);
        prop_assert!(all == u64::from(input) || all == u64::from(input) + cached);
    }

    #[test]
    fn openais_usage_and_claudes_split_are_found_at_every_alignment(before in "[a-z]{0,9}") {
        let frame_of = |inner: String| {
            let payload = format!(r#"{{"bytes":"{}"}}"#, STANDARD.encode(inner));
            event_stream::event("chunk", payload)
        };
        let bytes = frame_of(format!(
            r#"{{"id":"{before}","usage":{{"prompt_tokens":1000,"completion_tokens":4,"prompt_tokens_details":{{"cached_tokens":900}}}}}}"#
        ));
        let frame = Frame::read(&bytes).unwrap().unwrap();
        prop_assert_eq!(Usage::from_frame(&frame), Some(usage(100, 4, 900, 0)));
        let bytes = frame_of(format!(
            r#"{{"id":"{before}","message":{{"usage":{{"input_tokens":1,"cache_creation":{{"ephemeral_1h_input_tokens":9}}}}}}}}"#
        ));
        let frame = Frame::read(&bytes).unwrap().unwrap();
        prop_assert!(Usage::is_split_in(&frame));
        prop_assert_eq!(Usage::from_first_frame(&frame), Some(hour(usage(1, 0, 0, 9), 9)));
    }
}

#[test]
fn headers_serve_every_family() {
    let mut headers = HeaderMap::new();
    assert_eq!(Usage::from_headers(&headers), None);
    headers.insert("x-amzn-bedrock-input-token-count", HeaderValue::from_static("3"));
    headers.insert("x-amzn-bedrock-output-token-count", HeaderValue::from_static("4"));
    assert_eq!(Usage::from_headers(&headers), Some(usage(3, 4, 0, 0)));
}

#[test]
fn the_vectors_frames_are_read() {
    let vectors: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../../vectors/eventstream.json")).unwrap();
    let mut found = Vec::new();
    for vector in vectors {
        let hex = vector["hex"].as_str().unwrap();
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect();
        found.extend(Usage::from_frame(&Frame::read(&bytes).unwrap().unwrap()));
    }
    assert_eq!(found, [usage(11, 7, 0, 0), usage(11, 7, 5, 0)]);
}

proptest! {
    #[test]
    fn metrics_are_found_at_every_alignment(before in "[a-z]{0,9}", input: u32, output: u32) {
        let inner = format!(
            r#"{{"t":"{before}","amazon-bedrock-invocationMetrics":{{"inputTokenCount":{input},"outputTokenCount":{output}}}}}"#
        );
        let payload = format!(r#"{{"bytes":"{}","p":"ab"}}"#, STANDARD.encode(inner));
        let bytes = event_stream::event("chunk", payload);
        let frame = Frame::read(&bytes).unwrap().unwrap();
        prop_assert_eq!(Usage::from_frame(&frame), Some(usage(input.into(), output.into(), 0, 0)));
    }
}

#[test]
fn the_input_of_each_api_includes_what_that_api_says() {
    let read = |api, body: &str| Usage::from_api_body(api, body.as_bytes()).unwrap();
    let chat = r#"{"usage":{"prompt_tokens":1000,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":900,"cache_write_tokens":50}},"service_tier":"flex"}"#;
    let flex = Some(ServiceTier::Flex);
    let wanted = Usage { tier: flex, ..usage(50, 4, 900, 50) };
    assert_eq!(read(Api::ChatCompletions, chat), wanted);
    let response = r#"{"output":[{"usage":{"input_tokens":7}}],"usage":{"input_tokens":1000,"input_tokens_details":{"cached_tokens":900},"output_tokens":4,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":1004}}"#;
    assert_eq!(read(Api::Responses, response), usage(100, 4, 900, 0));
    // The same names, with and without what is cached.
    let cached = r#"{"usage":{"input_tokens":1000,"output_tokens":4,"cache_read_input_tokens":900,"service_tier":"priority"}}"#;
    let priority = Some(ServiceTier::Priority);
    assert_eq!(read(Api::Messages, cached), Usage { tier: priority, ..usage(1000, 4, 900, 0) });
    assert_eq!(read(Api::Responses, cached), usage(100, 4, 900, 0));
    // What Anthropic's count of tokens answers.
    assert_eq!(read(Api::Messages, r#"{"input_tokens":9}"#), usage(9, 0, 0, 0));
    for api in [Api::ChatCompletions, Api::Responses, Api::Messages] {
        for none in ["{}", r#"{"usage":null}"#, r#"{"results":[{"tokenCount":3}]}"#, "[]", "{"] {
            assert_eq!(Usage::from_api_body(api, none.as_bytes()), None, "{none}");
        }
    }
}
