//! The form of a message, whole and as a stream.

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::produced::{Part, PartKind, Produced};
use super::super::writer::Writer;
use crate::thoughts;
use sluice_bedrock::sse;

/// Writes an answer.
#[derive(Debug, Clone)]
pub(in super::super) struct Messages {
    /// The service tier that serves it.
    pub(in super::super) tier: String,
}

impl Messages {
    /// A whole answer.
    pub(in super::super) fn whole(&self, produced: &Produced) -> Value {
        let content: Vec<Value> = produced.parts.iter().map(block).collect();
        let mut message = self.message(produced, produced.answer.usage.output);
        if let Some(usage) = message.get_mut("usage") {
            add_thinking(usage, produced);
        }
        if let Some(members) = message.as_object_mut() {
            members.insert("content".to_owned(), content.into());
            members.insert("stop_reason".to_owned(), stop_reason(produced).into());
        }
        message
    }

    /// An answer that has just begun.
    fn message(&self, produced: &Produced, output: u64) -> Value {
        let answer = &produced.answer;
        let usage = answer.usage;
        json!({
            "id": format!("msg_bdrk_{:024}", answer.number),
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": {
                "input_tokens": usage.input,
                "cache_creation_input_tokens": usage.cache_write,
                "cache_read_input_tokens": usage.cache_read,
                "cache_creation": {
                    "ephemeral_5m_input_tokens":
                        usage.cache_write.saturating_sub(usage.cache_write_1h),
                    "ephemeral_1h_input_tokens": usage.cache_write_1h,
                },
                "output_tokens": output,
                "service_tier": self.tier,
            },
        })
    }
}

impl Writer for Messages {
    fn opening(&mut self, produced: &Produced) -> Vec<Bytes> {
        let message = self.message(produced, 1);
        vec![
            event(&json!({"type": "message_start", "message": message})),
            event(&json!({"type": "ping"})),
        ]
    }

    fn begin(&mut self, _produced: &Produced, at: usize, part: &Part) -> Vec<Bytes> {
        let block = match &part.kind {
            PartKind::Reasoning => json!({"type": "thinking", "thinking": "", "signature": ""}),
            PartKind::Text => json!({"type": "text", "text": ""}),
            PartKind::Call { name, number } => {
                json!({"type": "tool_use", "id": call_id(*number), "name": name, "input": {}})
            }
        };
        vec![event(&json!({"type": "content_block_start", "index": at, "content_block": block}))]
    }

    fn delta(&mut self, _produced: &Produced, at: usize, part: &Part, text: &str) -> Vec<Bytes> {
        let delta = match part.kind {
            PartKind::Reasoning if part.text.is_empty() => return Vec::new(),
            PartKind::Reasoning => json!({"type": "thinking_delta", "thinking": text}),
            PartKind::Text => json!({"type": "text_delta", "text": text}),
            PartKind::Call { .. } => json!({"type": "input_json_delta", "partial_json": text}),
        };
        vec![event(&json!({"type": "content_block_delta", "index": at, "delta": delta}))]
    }

    fn end(&mut self, _produced: &Produced, at: usize, part: &Part) -> Vec<Bytes> {
        let mut events = Vec::new();
        if part.kind == PartKind::Reasoning {
            let delta = json!({"type": "signature_delta", "signature": signature(part)});
            let event_of = json!({"type": "content_block_delta", "index": at, "delta": delta});
            events.push(event(&event_of));
        }
        events.push(event(&json!({"type": "content_block_stop", "index": at})));
        events
    }

    fn closing(&mut self, produced: &Produced) -> Vec<Bytes> {
        let usage = produced.answer.usage;
        let mut told = json!({
            "input_tokens": usage.input,
            "cache_creation_input_tokens": usage.cache_write,
            "cache_read_input_tokens": usage.cache_read,
            "output_tokens": usage.output,
        });
        add_thinking(&mut told, produced);
        vec![
            event(&json!({
                "type": "message_delta",
                "delta": {"stop_reason": stop_reason(produced), "stop_sequence": null},
                "usage": told,
            })),
            event(&json!({"type": "message_stop"})),
        ]
    }
}

/// Says how much of the output the model thought.
fn add_thinking(usage: &mut Value, produced: &Produced) {
    if let (true, Some(members)) = (produced.reasoning > 0, usage.as_object_mut()) {
        let details = json!({"thinking_tokens": produced.reasoning});
        members.insert("output_tokens_details".to_owned(), details);
    }
}

fn event(json: &Value) -> Bytes {
    sse::event(json.get("type").and_then(Value::as_str), &json.to_string())
}

fn block(part: &Part) -> Value {
    match &part.kind {
        PartKind::Reasoning => {
            json!({"type": "thinking", "thinking": part.text, "signature": signature(part)})
        }
        PartKind::Text => json!({"type": "text", "text": part.text}),
        PartKind::Call { name, number } => json!({
            "type": "tool_use",
            "id": call_id(*number),
            "name": name,
            // Arguments that the maximum has cut are no JSON.
            "input": serde_json::from_str(&part.text).unwrap_or_else(|_| json!({})),
        }),
    }
}

fn call_id(number: u64) -> String {
    format!("toolu_bdrk_{number:024}")
}

fn signature(part: &Part) -> String {
    thoughts::sign(&part.text)
}

fn stop_reason(produced: &Produced) -> &'static str {
    match () {
        () if produced.answer.at_maximum => "max_tokens",
        () if produced.calls() => "tool_use",
        () => "end_turn",
    }
}
