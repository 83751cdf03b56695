//! How answers end, for each client's API, whole and as a stream: why, with how many tokens, served by which tier.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sluice_bedrock::ModelId;
use sluice_bedrock::event_stream::{self, Frame};
use sluice_bridge::{AnswerContext, AnswerError, DropPolicy, Model, Source, Stamp, translate};
use sluice_catalogue::Catalogue;

const MODEL: &str = "amazon.nova-2-lite-v1:0";

/// What a client is told of the end.
#[derive(Debug, PartialEq)]
struct End {
    reason: String,
    usage: Value,
    tier: Value,
}

fn context(source: Source) -> AnswerContext {
    let body = match source {
        Source::ChatCompletions => {
            r#"{"model":"m","messages":[{"role":"user","content":"a"}],"stream_options":{"include_usage":true},
                "tools":[{"type":"function","function":{"name":"f"}}]}"#
        }
        Source::Responses => {
            r#"{"model":"m","input":"a","tools":[{"type":"function","name":"f"}]}"#
        }
        Source::Messages => {
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"}],
                "tools":[{"name":"f","input_schema":{"type":"object"}}]}"#
        }
        Source::Converse => {
            r#"{"messages":[{"role":"user","content":[{"text":"a"}]}],
                "toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object"}}}}]}}"#
        }
        Source::InvokeClaude => {
            r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,
                "messages":[{"role":"user","content":"a"}],
                "tools":[{"name":"f","input_schema":{"type":"object"}}]}"#
        }
    };
    let facts = Catalogue::shipped().facts(&ModelId::new(MODEL).unwrap(), "us-east-1").unwrap();
    let model = Model::of(MODEL, &facts);
    translate(source, body.as_bytes(), &model, &DropPolicy::default()).unwrap().answer
}

/// The usage and the tier of an answer of Converse.
fn told() -> Value {
    json!({
        "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 20, "cacheReadInputTokens": 3,
            "cacheWriteInputTokens": 2,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 1}, {"ttl": "5m", "inputTokens": 1}]},
        "metrics": {"latencyMs": 1},
        "serviceTier": {"type": "flex"},
    })
}

fn whole(source: Source, stop: &str, uses_tool: bool) -> Result<End, AnswerError> {
    let mut content = vec![json!({"text": "a"})];
    if uses_tool {
        content.push(json!({"toolUse": {"toolUseId": "c", "name": "f", "input": {}}}));
    }
    let mut answer = told();
    answer["output"] = json!({"message": {"role": "assistant", "content": content}});
    answer["stopReason"] = stop.into();
    let answer = context(source).answer(answer.to_string().as_bytes(), &Stamp::default())?;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    Ok(match source {
        Source::ChatCompletions => End {
            reason: text(&answer["choices"][0]["finish_reason"]),
            usage: answer["usage"].clone(),
            tier: answer["service_tier"].clone(),
        },
        Source::Responses => of_response(&answer),
        Source::Messages | Source::InvokeClaude => End {
            reason: text(&answer["stop_reason"]),
            usage: answer["usage"].clone(),
            tier: answer["usage"]["service_tier"].clone(),
        },
        Source::Converse => End {
            reason: text(&answer["stopReason"]),
            usage: answer["usage"].clone(),
            tier: answer["serviceTier"]["type"].clone(),
        },
    })
}

fn of_response(response: &Value) -> End {
    let status = text(&response["status"]);
    let reason = match response["incomplete_details"]["reason"].as_str() {
        Some(reason) => format!("{status}: {reason}"),
        None => status,
    };
    let tier = response["service_tier"].clone();
    End { reason, usage: response["usage"].clone(), tier }
}

fn stream(source: Source, stop: &str, uses_tool: bool) -> Result<End, AnswerError> {
    let mut frames = vec![
        ("messageStart", json!({"role": "assistant"})),
        ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": "a"}})),
        ("contentBlockStop", json!({"contentBlockIndex": 0})),
    ];
    if uses_tool {
        let start = json!({"toolUse": {"toolUseId": "c", "name": "f"}});
        frames.push(("contentBlockStart", json!({"contentBlockIndex": 1, "start": start})));
        frames.push(("contentBlockStop", json!({"contentBlockIndex": 1})));
    }
    frames.push(("messageStop", json!({"stopReason": stop})));
    frames.push(("metadata", told()));
    let mut translator = context(source).stream(Stamp::default());
    let mut out = Vec::new();
    for (name, payload) in frames {
        let bytes = event_stream::event(name, payload.to_string());
        translator.frame(&Frame::read(&bytes).unwrap().unwrap(), &mut out)?;
    }
    translator.finish(&mut out)?;
    let events = match source {
        Source::Converse | Source::InvokeClaude => payloads(&out),
        _ => data(&out),
    };
    let last = |name: &str| events.iter().rev().find(|event| !event[name].is_null()).unwrap();
    Ok(match source {
        Source::ChatCompletions => {
            let usage = events.last().unwrap();
            assert_eq!(usage["choices"], json!([]), "the usage comes last, without a choice");
            let before = &events[events.len() - 2];
            End {
                reason: text(&before["choices"][0]["finish_reason"]),
                usage: usage["usage"].clone(),
                tier: usage["service_tier"].clone(),
            }
        }
        Source::Responses => of_response(&last("response")["response"]),
        Source::Messages | Source::InvokeClaude => {
            let delta = last("usage");
            let tier = delta["usage"]["service_tier"].clone();
            End {
                reason: text(&delta["delta"]["stop_reason"]),
                usage: delta["usage"].clone(),
                tier,
            }
        }
        Source::Converse => End {
            reason: text(&last("stopReason")["stopReason"]),
            usage: last("usage")["usage"].clone(),
            tier: last("usage")["serviceTier"]["type"].clone(),
        },
    })
}

/// The JSON of server-sent events.
fn data(out: &[u8]) -> Vec<Value> {
    let lines = std::str::from_utf8(out).unwrap().lines();
    let data = lines.filter_map(|line| line.strip_prefix("data: ")).filter(|it| *it != "[DONE]");
    data.map(|json| serde_json::from_str(json).unwrap()).collect()
}

/// The JSON of frames, and of the chunks in them.
fn payloads(mut out: &[u8]) -> Vec<Value> {
    let mut payloads = Vec::new();
    while let Some(frame) = Frame::read(out).unwrap() {
        let payload: Value = serde_json::from_slice(frame.payload).unwrap();
        payloads.push(match payload["bytes"].as_str() {
            Some(bytes) => serde_json::from_slice(&STANDARD.decode(bytes).unwrap()).unwrap(),
            None => payload,
        });
        out = &out[frame.len..];
    }
    payloads
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// The reason in Chat Completions, Responses, Messages (and InvokeModel) and Converse.
type Reasons = [&'static str; 4];

#[test]
fn each_reason_of_an_end_is_told_in_the_clients_words() {
    const CUT: &str = "incomplete: max_output_tokens";
    const FILTERED: &str = "incomplete: content_filter";
    let cases: [(&str, bool, Reasons); 10] = [
        ("end_turn", false, ["stop", "completed", "end_turn", "end_turn"]),
        ("stop_sequence", false, ["stop", "completed", "stop_sequence", "stop_sequence"]),
        ("max_tokens", false, ["length", CUT, "max_tokens", "max_tokens"]),
        ("tool_use", true, ["tool_calls", "completed", "tool_use", "tool_use"]),
        // Some models end so although they wait for a tool.
        ("end_turn", true, ["tool_calls", "completed", "tool_use", "tool_use"]),
        // A use that was cut off is no use.
        ("max_tokens", true, ["length", CUT, "max_tokens", "max_tokens"]),
        (
            "guardrail_intervened",
            false,
            ["content_filter", FILTERED, "refusal", "guardrail_intervened"],
        ),
        ("content_filtered", false, ["content_filter", FILTERED, "refusal", "content_filtered"]),
        (
            "guardrail_intervened",
            true,
            ["content_filter", FILTERED, "refusal", "guardrail_intervened"],
        ),
        (
            "model_context_window_exceeded",
            false,
            ["length", CUT, "model_context_window_exceeded", "model_context_window_exceeded"],
        ),
    ];
    for (stop, uses_tool, [chat, responses, messages, converse]) in cases {
        for source in Source::ALL {
            let wanted = match source {
                Source::ChatCompletions => chat,
                Source::Responses => responses,
                Source::Messages | Source::InvokeClaude => messages,
                Source::Converse => converse,
            };
            let whole = whole(source, stop, uses_tool).unwrap().reason;
            let stream = stream(source, stop, uses_tool).unwrap().reason;
            assert_eq!((whole.as_str(), stream.as_str()), (wanted, wanted), "{source:?} {stop}");
        }
    }
}

#[test]
fn malformed_output_and_unknown_reasons_are_errors_and_no_ends() {
    for stop in ["malformed_model_output", "malformed_tool_use", "later_reason", ""] {
        for source in Source::ALL {
            assert!(whole(source, stop, false).is_err(), "{source:?} {stop}");
            assert!(stream(source, stop, true).is_err(), "{source:?} {stop}");
        }
    }
}

#[test]
fn tokens_are_counted_in_the_terms_of_each_api() {
    let openai = |input: &str, output: &str| {
        json!({format!("{input}_tokens"): 15, format!("{output}_tokens"): 5, "total_tokens": 20,
            format!("{input}_tokens_details"): {"cached_tokens": 3, "cache_write_tokens": 2}})
    };
    let anthropic = json!({"input_tokens": 10, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 3,
        "output_tokens": 5,
        "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 1}});
    for source in Source::ALL {
        let wanted = match source {
            Source::ChatCompletions => openai("prompt", "completion"),
            Source::Responses => {
                let mut usage = openai("input", "output");
                usage["output_tokens_details"] = json!({"reasoning_tokens": 0});
                usage
            }
            Source::Messages | Source::InvokeClaude => anthropic.clone(),
            Source::Converse => {
                let mut usage = told()["usage"].clone();
                usage["cacheDetails"] =
                    json!([{"ttl": "5m", "inputTokens": 1}, {"ttl": "1h", "inputTokens": 1}]);
                usage
            }
        };
        assert_eq!(whole(source, "end_turn", false).unwrap().usage, wanted, "{source:?} whole");
        assert_eq!(stream(source, "end_turn", false).unwrap().usage, wanted, "{source:?} stream");
    }
}

#[test]
fn the_tier_that_served_is_in_the_answer_where_the_api_has_a_name_for_it() {
    for source in Source::ALL {
        let wanted = match source {
            Source::ChatCompletions | Source::Responses | Source::Converse => json!("flex"),
            // Anthropic's API has no such tier.
            Source::Messages | Source::InvokeClaude => Value::Null,
        };
        assert_eq!(whole(source, "end_turn", false).unwrap().tier, wanted, "{source:?} whole");
        assert_eq!(stream(source, "end_turn", false).unwrap().tier, wanted, "{source:?} stream");
    }
}
