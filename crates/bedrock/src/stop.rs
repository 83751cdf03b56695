//! Whether an event of a stream is one that ends it in order: the stop event of ConverseStream, or the
//! last chunk of InvokeModelWithResponseStream in the schema of each model family.
//!
//! What is not known is not held against a stream: of an event in no known schema nothing is said.

use serde_json::Value;

use super::usage::chunk;

/// How an event relates to the end of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The event is a stop event, or follows one.
    Stopped,
    /// More events must follow.
    Open,
    /// The event does not show it.
    Unknown,
}

/// Classifies an event of ConverseStream by its name. `None`: that operation has no such event.
pub fn of_converse(name: &str) -> Option<Stop> {
    match name {
        "messageStop" => Some(Stop::Stopped),
        "messageStart" | "contentBlockStart" | "contentBlockDelta" | "contentBlockStop" => {
            Some(Stop::Open)
        }
        _ => None,
    }
}

/// Looks at the payload of a `chunk` event of InvokeModelWithResponseStream.
pub fn of_chunk(payload: &[u8]) -> Stop {
    let Some(Value::Object(chunk)) =
        chunk(payload).and_then(|chunk| serde_json::from_slice(&chunk).ok())
    else {
        return Stop::Unknown;
    };
    let is_told = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
    // Bedrock puts the metrics into the last chunk of every family; Nova sends its usage after its
    // stop event.
    if ["amazon-bedrock-invocationMetrics", "messageStop", "metadata"]
        .iter()
        .any(|key| chunk.contains_key(*key))
    {
        return Stop::Stopped;
    }
    // Anthropic's.
    if let Some(kind) = chunk.get("type").and_then(Value::as_str) {
        return match kind {
            "message_stop" => Stop::Stopped,
            "message_start"
            | "content_block_start"
            | "content_block_delta"
            | "content_block_stop"
            | "message_delta"
            | "ping" => Stop::Open,
            _ => Stop::Unknown,
        };
    }
    // Nova's.
    let is_novas = |key| chunk.contains_key(key);
    if ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop"]
        .into_iter()
        .any(is_novas)
    {
        return Stop::Open;
    }
    // Schemas with the reason beside the text: at the top, or in each of several answers.
    const REASONS: [&str; 4] = ["stop_reason", "finish_reason", "completionReason", "is_finished"];
    let reason_in = |value: &Value| {
        REASONS
            .iter()
            .filter_map(|key| value.get(*key))
            .map(is_told)
            .reduce(|one, other| one || other)
    };
    let answers = ["choices", "outputs"].into_iter().find_map(|key| chunk.get(key)?.as_array());
    if let Some(answers) = answers {
        // The usage comes behind the reasons, with no answer beside it.
        if answers.is_empty() && chunk.get("usage").is_some_and(Value::is_object) {
            return Stop::Stopped;
        }
        let told = answers.iter().filter_map(reason_in).collect::<Vec<_>>();
        return match told.is_empty() {
            true => Stop::Unknown,
            false if told.contains(&true) => Stop::Stopped,
            false => Stop::Open,
        };
    }
    match reason_in(&Value::Object(chunk)) {
        Some(true) => Stop::Stopped,
        Some(false) => Stop::Open,
        None => Stop::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn stop(chunk: &str) -> Stop {
        of_chunk(format!(r#"{{"bytes":"{}","p":"ab"}}"#, STANDARD.encode(chunk)).as_bytes())
    }

    #[test]
    fn every_familys_last_chunk_is_told_from_the_others() {
        for stopped in [
            r#"{"type":"message_stop"}"#,
            r#"{"type":"message_delta","amazon-bedrock-invocationMetrics":{"inputTokenCount":1}}"#,
            r#"{"messageStop":{"stopReason":"end_turn"}}"#,
            r#"{"metadata":{"usage":{"inputTokens":1}}}"#,
            r#"{"outputText":"","index":0,"completionReason":"FINISH"}"#,
            r#"{"generation":"","stop_reason":"stop"}"#,
            r#"{"outputs":[{"text":"","stop_reason":"length"}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
            r#"{"choices":[{"text":"","stop_reason":"stop"}]}"#,
            r#"{"is_finished":true,"finish_reason":"COMPLETE"}"#,
        ] {
            assert_eq!(stop(stopped), Stop::Stopped, "{stopped}");
        }
        for open in [
            r#"{"type":"message_start","message":{"stop_reason":null}}"#,
            r#"{"type":"content_block_delta","delta":{"text":"message_stop"}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
            r#"{"contentBlockDelta":{"delta":{"text":"x"}}}"#,
            r#"{"outputText":"x","index":0,"completionReason":null}"#,
            r#"{"generation":"x","stop_reason":null}"#,
            r#"{"outputs":[{"text":"x","stop_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}"#,
            r#"{"is_finished":false,"text":"x"}"#,
        ] {
            assert_eq!(stop(open), Stop::Open, "{open}");
        }
        for unknown in ["", "{", "[]", "{}", r#"{"something":"new"}"#, r#"{"type":"new"}"#] {
            assert_eq!(stop(unknown), Stop::Unknown, "{unknown}");
        }
        assert_eq!(of_chunk(b"no JSON"), Stop::Unknown);
    }
}
