//! The form of a chat completion, whole and as a stream.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::super::produced::{Part, PartKind, Produced};
use super::super::writer::Writer;
use crate::scripted_answers::StopReason;
use sluice_bedrock::sse;

/// Writes an answer.
#[derive(Debug, Clone)]
pub(in super::super) struct ChatCompletions {
    /// Seconds since 1970.
    pub(in super::super) created: u64,
    /// Whether a stream ends with its usage.
    pub(in super::super) include_usage: bool,
    /// The service tier that serves it.
    pub(in super::super) tier: String,
}

impl ChatCompletions {
    /// A whole answer.
    pub(in super::super) fn whole(&self, produced: &Produced) -> Value {
        let mut content = String::new();
        let mut calls = Vec::new();
        for part in &produced.parts {
            match &part.kind {
                PartKind::Reasoning if part.text.is_empty() => {}
                PartKind::Reasoning => {
                    content.push_str(&format!("<reasoning>{}</reasoning>", part.text));
                }
                PartKind::Text => content.push_str(&part.text),
                PartKind::Call { name, number, .. } => calls.push(json!({
                    "id": call_id(*number),
                    "type": "function",
                    "function": {"name": name, "arguments": part.text},
                })),
            }
        }
        let mut message = Map::new();
        message.insert("role".to_owned(), "assistant".into());
        let is_silent = content.is_empty() && !calls.is_empty();
        message.insert("content".to_owned(), if is_silent { Value::Null } else { content.into() });
        message.insert("refusal".to_owned(), Value::Null);
        if !calls.is_empty() {
            message.insert("tool_calls".to_owned(), calls.into());
        }
        json!({
            "id": id(produced),
            "object": "chat.completion",
            "created": self.created,
            "model": produced.answer.model,
            "choices": [{
                "index": 0,
                "message": message,
                "logprobs": null,
                "finish_reason": finish_reason(produced),
            }],
            "usage": usage(produced),
            "service_tier": self.tier,
        })
    }

    fn chunk(&self, produced: &Produced, choices: Value) -> Map<String, Value> {
        let chunk = json!({
            "id": id(produced),
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": produced.answer.model,
            "service_tier": self.tier,
            "choices": choices,
        });
        let Value::Object(mut chunk) = chunk else { return Map::new() };
        // With the usage to come, every chunk before it has one of null.
        if self.include_usage {
            chunk.insert("usage".to_owned(), Value::Null);
        }
        chunk
    }

    fn delta_event(&self, produced: &Produced, delta: Value, finish: Option<&str>) -> Bytes {
        let choices =
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        sse::event(None, &Value::Object(self.chunk(produced, choices)).to_string())
    }

    /// The place of a call among the calls.
    fn call_at(produced: &Produced, at: usize) -> usize {
        let before = produced.parts.iter().take(at);
        before.filter(|part| matches!(part.kind, PartKind::Call { .. })).count()
    }
}

impl Writer for ChatCompletions {
    fn opening(&mut self, produced: &Produced) -> Vec<Bytes> {
        let delta = json!({"role": "assistant", "content": "", "refusal": null});
        vec![self.delta_event(produced, delta, None)]
    }

    fn begin(&mut self, produced: &Produced, at: usize, part: &Part) -> Vec<Bytes> {
        let delta = match &part.kind {
            PartKind::Reasoning if !part.text.is_empty() => json!({"content": "<reasoning>"}),
            PartKind::Call { name, number, .. } => json!({"tool_calls": [{
                "index": Self::call_at(produced, at),
                "id": call_id(*number),
                "type": "function",
                "function": {"name": name, "arguments": ""},
            }]}),
            _ => return Vec::new(),
        };
        vec![self.delta_event(produced, delta, None)]
    }

    fn delta(&mut self, produced: &Produced, at: usize, part: &Part, text: &str) -> Vec<Bytes> {
        let delta = match part.kind {
            PartKind::Reasoning if part.text.is_empty() => return Vec::new(),
            PartKind::Reasoning | PartKind::Text => json!({"content": text}),
            PartKind::Call { .. } => json!({"tool_calls": [{
                "index": Self::call_at(produced, at),
                "function": {"arguments": text},
            }]}),
        };
        vec![self.delta_event(produced, delta, None)]
    }

    fn end(&mut self, produced: &Produced, _at: usize, part: &Part) -> Vec<Bytes> {
        if part.kind == PartKind::Reasoning && !part.text.is_empty() {
            return vec![self.delta_event(produced, json!({"content": "</reasoning>"}), None)];
        }
        Vec::new()
    }

    fn closing(&mut self, produced: &Produced) -> Vec<Bytes> {
        let mut events = vec![self.delta_event(produced, json!({}), Some(finish_reason(produced)))];
        if self.include_usage {
            let mut chunk = self.chunk(produced, json!([]));
            chunk.insert("usage".to_owned(), usage(produced));
            events.push(sse::event(None, &Value::Object(chunk).to_string()));
        }
        events.push(sse::event(None, sse::DONE));
        events
    }
}

fn id(produced: &Produced) -> String {
    format!("chatcmpl-{:024}", produced.answer.number)
}

fn call_id(number: u64) -> String {
    format!("call_{number:024}")
}

fn finish_reason(produced: &Produced) -> &'static str {
    match produced.stop {
        StopReason::MaxTokens | StopReason::ModelContextWindowExceeded => "length",
        StopReason::ToolUse => "tool_calls",
        StopReason::ContentFiltered | StopReason::GuardrailIntervened => "content_filter",
        _ => "stop",
    }
}

fn usage(produced: &Produced) -> Value {
    let (input, output) = (produced.whole_input(), produced.answer.usage.output);
    json!({
        "prompt_tokens": input,
        "completion_tokens": output,
        "total_tokens": input + output,
        "prompt_tokens_details": {
            "cached_tokens": produced.answer.usage.cache_read,
            "cache_write_tokens": produced.answer.usage.cache_write,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": produced.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}
