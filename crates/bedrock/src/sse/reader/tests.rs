use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::sse::{Piece, Splitter, event};

fn read(api: Api, events: &[(&str, &str)]) -> StreamReader {
    let mut reader = StreamReader::new(api);
    for (name, data) in events {
        let raw = event(Some(*name).filter(|name| !name.is_empty()), data);
        reader.read(&Event::read(&raw));
    }
    reader
}

fn error(api: Api, name: &str, data: &str) -> Option<Reported> {
    let raw = event(Some(name).filter(|name| !name.is_empty()), data);
    reported_error(api, &Event::read(&raw))
}

const CHUNK: &str =
    r#"{"id":"c","choices":[{"index":0,"delta":{"content":"abcdefgh"}}],"usage":null}"#;
const LAST_CHUNK: &str = r#"{"id":"c","choices":[],"service_tier":"flex","usage":{"prompt_tokens":1000,"completion_tokens":4,"total_tokens":1004,"prompt_tokens_details":{"cached_tokens":900}}}"#;

#[test]
fn a_stream_of_chat_completions_is_read() {
    let reader = read(Api::ChatCompletions, &[("", CHUNK), ("", CHUNK)]);
    assert_eq!((reader.usage(), reader.output_so_far()), (None, 4));
    assert!(!reader.has_stopped() && !reader.has_failed());
    let reader = read(Api::ChatCompletions, &[("", CHUNK), ("", LAST_CHUNK), ("", DONE)]);
    let usage = reader.usage().unwrap();
    assert_eq!((usage.input, usage.cache_read, usage.output), (100, 900, 4));
    assert_eq!(usage.tier.map(|tier| tier.name()), Some("flex"));
    assert!(reader.has_stopped() && !reader.has_failed());
    assert_eq!(reader.initial_usage(), None);
}

#[test]
fn a_stream_of_messages_is_read() {
    let start = r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":10,"cache_creation_input_tokens":100,"cache_read_input_tokens":50,"cache_creation":{"ephemeral_5m_input_tokens":40,"ephemeral_1h_input_tokens":60},"output_tokens":1,"service_tier":"priority"}}}"#;
    let delta = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"abcdefghijkl"}}"#;
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":99}}"#;
    let stop = r#"{"type":"message_stop"}"#;
    let named = [
        ("message_start", start),
        ("content_block_delta", delta),
        ("message_delta", end),
        ("message_stop", stop),
    ];
    for names in [true, false] {
        let events = named.map(|(name, data)| if names { (name, data) } else { ("", data) });
        let reader = read(Api::Messages, &events[..2]);
        let initial = reader.initial_usage().unwrap();
        assert_eq!((initial.input, initial.cache_read, initial.output), (10, 50, 1));
        assert_eq!((initial.cache_write, initial.cache_write_1h), (100, 60));
        assert_eq!((reader.usage(), reader.output_so_far()), (None, 3));
        let reader = read(Api::Messages, &events);
        let wanted = Usage { output: 99, ..initial };
        assert_eq!(reader.usage(), Some(wanted));
        assert_eq!(wanted.tier.map(|tier| tier.name()), Some("priority"));
        assert!(reader.has_stopped() && !reader.has_failed());
    }
}

#[test]
fn a_stream_of_responses_is_read() {
    let created = r#"{"type":"response.created","response":{"id":"r","error":null,"usage":null}}"#;
    let delta = r#"{"type":"response.output_text.delta","item_id":"m","delta":"abcdefgh","obfuscation":"xxxxxxxxxxxxxxxxx"}"#;
    let response = |usage: &str, error: &str| {
        format!(
            r#"{{"response":{{"id":"r","output":[{{"usage":7}}],"error":{error},"service_tier":"default","usage":{usage}}},"type":"x"}}"#
        )
    };
    let usage =
        r#"{"input_tokens":1000,"input_tokens_details":{"cached_tokens":900},"output_tokens":4}"#;
    let end = response(usage, "null");
    for name in ["response.completed", "response.incomplete", "response.cancelled"] {
        let started = [("response.created", created), ("response.output_text.delta", delta)];
        let reader = read(Api::Responses, &started);
        assert_eq!((reader.usage(), reader.output_so_far()), (None, 2));
        assert!(!reader.has_stopped() && !reader.has_failed());
        let reader = read(Api::Responses, &[started[0], started[1], (name, &end)]);
        let usage = reader.usage().unwrap();
        assert_eq!((usage.input, usage.cache_read, usage.output), (100, 900, 4));
        assert!(reader.has_stopped() && !reader.has_failed());
        assert_eq!(error(Api::Responses, name, &end), None);
    }
    let failed = response(usage, r#"{"code":"rate_limit_exceeded","message":"m"}"#);
    let reader = read(Api::Responses, &[("response.failed", &failed)]);
    assert!(reader.has_stopped() && reader.has_failed());
    assert_eq!(reader.usage().unwrap().output, 4);
    let reported = error(Api::Responses, "response.failed", &failed).unwrap();
    assert_eq!(reported.kind(), Some(ErrorKind::Throttling));
    assert_eq!(reported.message, "m");
    let unknown = error(Api::Responses, "response.failed", &response("null", "null")).unwrap();
    assert_eq!(unknown, Reported::default());
}

#[test]
fn errors_are_told_from_events_that_speak_of_them() {
    for (api, name, data, kind) in [
        (
            Api::ChatCompletions,
            "",
            r#"{"error":{"message":"m","type":"server_error","code":null}}"#,
            Some(ErrorKind::InternalServer),
        ),
        (Api::ChatCompletions, "error", r#"{"message":"m"}"#, None),
        (
            Api::ChatCompletions,
            "throttlingException",
            r#"{"message":"m"}"#,
            Some(ErrorKind::Throttling),
        ),
        (Api::ChatCompletions, "", r#"{"choices":[],"error":"m"}"#, None),
        (
            Api::Messages,
            "error",
            r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
            Some(ErrorKind::ServiceUnavailable),
        ),
        (
            Api::Messages,
            "",
            r#"{"error":{"type":"api_error","message":"m"},"type":"error"}"#,
            Some(ErrorKind::InternalServer),
        ),
        (
            Api::Responses,
            "error",
            r#"{"type":"error","code":"server_error","message":"m","param":null}"#,
            Some(ErrorKind::InternalServer),
        ),
        (
            Api::Responses,
            "",
            r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#,
            Some(ErrorKind::Validation),
        ),
    ] {
        let reported = error(api, name, data).unwrap();
        assert_eq!((reported.kind(), &*reported.message), (kind, "m"), "{data}");
        assert!(read(api, &[(name, data)]).has_failed(), "{data}");
        assert!(!read(api, &[(name, data)]).has_stopped(), "{data}");
    }
    for (api, name, data) in [
        (Api::ChatCompletions, "", CHUNK),
        (Api::ChatCompletions, "", DONE),
        (
            Api::ChatCompletions,
            "",
            r#"{"choices":[{"delta":{"content":"{\"error\":1}"}}],"error":null}"#,
        ),
        (
            Api::ChatCompletions,
            "",
            r#"{"choices":[{"delta":{"error":{"message":"m"}}}],"error":{}}"#,
        ),
        (Api::ChatCompletions, "", "no JSON \"error\":1"),
        (Api::Messages, "ping", r#"{"type":"ping"}"#),
        (Api::Messages, "content_block_delta", r#"{"delta":{"text":"x"},"error":{"message":"m"}}"#),
        (Api::Responses, "response.created", r#"{"response":{"error":{"message":"m"}}}"#),
        (Api::Bedrock, "error", r#"{"error":{"message":"m"}}"#),
    ] {
        assert_eq!(error(api, name, data), None, "{data}");
        assert!(!read(api, &[(name, data)]).has_failed(), "{data}");
    }
    let silent = Bytes::from_static(b": keep-alive\n\n");
    assert_eq!(reported_error(Api::ChatCompletions, &Event::read(&silent)), None);
}

#[test]
fn an_event_is_told_from_one_that_the_sdks_of_its_api_can_not_read() {
    use Form::{Error, ForeignError, Unreadable, Usual};
    let openai = r#"{"error":{"message":"m","type":"server_error"}}"#;
    let anthropic = r#"{"type":"error","error":{"type":"api_error","message":"m"}}"#;
    let of_responses = r#"{"type":"error","code":null,"message":"m","param":null}"#;
    let native = r#"{"message":"m"}"#;
    for (name, data, wanted) in [
        ("", openai, [Error, ForeignError, ForeignError]),
        ("error", anthropic, [Error, Error, Error]),
        ("", anthropic, [Error, Error, ForeignError]),
        ("error", of_responses, [ForeignError, Error, ForeignError]),
        ("error", native, [ForeignError; 3]),
        ("throttlingException", native, [ForeignError; 3]),
        ("error", r#"{"error":"m"}"#, [ForeignError; 3]),
        ("error", "m", [Unreadable; 3]),
        ("message_stop", r#"{"type":"#, [Unreadable; 3]),
        ("response.completed", r#"{"type":"response.completed"}}"#, [Unreadable; 3]),
        ("", "[1]", [Unreadable; 3]),
        ("", DONE, [Usual, Unreadable, Unreadable]),
        ("", "", [Usual; 3]),
        ("ping", r#"{"type":"ping"}"#, [Usual; 3]),
    ] {
        let apis = [Api::ChatCompletions, Api::Responses, Api::Messages];
        for (api, wanted) in apis.into_iter().zip(wanted) {
            let raw = event(Some(name).filter(|name| !name.is_empty()), data);
            let event = Event::read(&raw);
            let mut reader = StreamReader::new(api);
            assert_eq!(reader.read(&event), wanted, "{api:?} {name} {data}");
            assert_eq!(is_unreadable(api, &event), wanted == Unreadable);
            assert!(wanted != Unreadable || !reader.has_stopped(), "{api:?} {name} {data}");
        }
    }
}

#[test]
fn only_the_chunk_with_the_usage_and_no_answer_is_only_usage() {
    let is_only_usage = |api, data: &str| {
        let raw = event(None, data);
        StreamReader::new(api).is_only_usage(&Event::read(&raw))
    };
    assert!(is_only_usage(Api::ChatCompletions, LAST_CHUNK));
    assert!(is_only_usage(Api::ChatCompletions, r#"{"usage" : {"a":1}, "choices": [ ]}"#));
    assert!(!is_only_usage(Api::Responses, LAST_CHUNK));
    for other in [
        CHUNK,
        DONE,
        r#"{"choices":[]}"#,
        r#"{"choices":[],"usage":null}"#,
        r#"{"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}"#,
        r#"{"usage":{"prompt_tokens":1}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":1}"#,
    ] {
        assert!(!is_only_usage(Api::ChatCompletions, other), "{other}");
    }
}

#[test]
fn output_is_counted_by_what_is_new_in_an_event() {
    let tokens = |api, data: &str| read(api, &[("", data)]).output_so_far();
    for (delta, wanted) in [
        (r#"{"role":"assistant","content":""}"#, 1),
        (r#"{"content":"abcdefghijklmnop"}"#, 4),
        (r#"{"reasoning_content":"abcdefghijklmnop"}"#, 4),
        (r#"{}"#, 1),
        (r#"null"#, 1),
    ] {
        let data = format!(r#"{{"choices":[{{"index":0,"delta" : {delta}}}]}}"#);
        assert_eq!(tokens(Api::ChatCompletions, &data), wanted, "{delta}");
    }
    let call = format!(r#"[{{"index":0,"function":{{"arguments":"{}"}}}}]"#, "x".repeat(400));
    let data = format!(r#"{{"choices":[{{"delta":{{"tool_calls":{call}}}}}]}}"#);
    assert!((95..105).contains(&tokens(Api::ChatCompletions, &data)));
    let signed = r#"{"type":"content_block_delta","delta":{"type":"signature_delta","signature":"abcdefghijklmnop"}}"#;
    assert_eq!(tokens(Api::Messages, signed), 1);
    assert_eq!(tokens(Api::Messages, r#"{"type":"ping"}"#), 0);
    assert_eq!(tokens(Api::Messages, r#"{"delta":"#), 1);
}

#[test]
fn a_last_event_that_is_too_long_still_ends_the_stream() {
    let long = event(Some("response.completed"), &"x".repeat(1000));
    let (mut splitter, mut reader) = (Splitter::new(100), StreamReader::new(Api::Responses));
    for chunk in long.chunks(64) {
        let mut chunk = Bytes::copy_from_slice(chunk);
        while let Some(piece) = splitter.next(&mut chunk) {
            if let Piece::LongStart(start) = piece {
                reader.read_long_start(&start);
            }
        }
    }
    assert!(reader.has_stopped() && !reader.has_failed());
}

proptest! {
    #[test]
    fn no_event_makes_it_panic(
        name in "(error|message_(start|delta|stop)|response\\.(failed|completed)|x)?",
        data in "\\{?(\"(error|usage|delta|choices|response|message|type|input_tokens)\":[\\[\\]{}0-9\"a,:]{0,8},?){0,5}\\}?",
        bytes in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        for api in Api::ALL {
            let mut reader = StreamReader::new(api);
            for data in [data.as_bytes(), &bytes] {
                let event = Event { name: Some(&*name).filter(|name| !name.is_empty()), data: Some(data.into()) };
                reader.read(&event);
                reader.read_long_start(data);
                _ = (reader.is_only_usage(&event), reported_error(api, &event));
            }
            _ = (reader.usage(), reader.output_so_far());
        }
    }
}
