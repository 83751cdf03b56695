//! The form of a message, whole and as a stream.

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::produced::{Part, PartKind, Produced};
use super::super::writer::Writer;
use crate::scripted_answers::StopReason;
use crate::thoughts;
use sluice_bedrock::sse;

/// Writes an answer.
#[derive(Debug, Clone)]
pub(crate) struct Messages {
    /// The service tier that serves it, where the message tells it.
    pub(crate) tier: Option<String>,
}

impl Messages {
    /// A whole answer.
    pub(crate) fn whole(&self, produced: &Produced) -> Value {
        let content: Vec<Value> = produced.parts.iter().map(block).collect();
        let mut message = self.message(produced, produced.answer.usage.output);
        if let Some(usage) = message.get_mut("usage") {
            add_thinking(usage, produced);
        }
        if let Some(members) = message.as_object_mut() {
            members.insert("content".to_owned(), content.into());
            members.insert("stop_reason".to_owned(), stop_reason(produced).into());
            members.insert("stop_sequence".to_owned(), produced.stop_sequence.clone().into());
        }
        message
    }

    /// The event at the beginning of an answer.
    pub(crate) fn start(&self, produced: &Produced) -> Value {
        json!({"type": "message_start", "message": self.message(produced, 1)})
    }

    /// The event at the beginning of a block.
    pub(crate) fn block_start(&self, at: usize, part: &Part) -> Value {
        let block = match &part.kind {
            PartKind::Reasoning if part.sealed.is_some() => block(part),
            PartKind::Reasoning => json!({"type": "thinking", "thinking": "", "signature": ""}),
            PartKind::Text => json!({"type": "text", "text": ""}),
            PartKind::Call { name, number, .. } => {
                json!({"type": "tool_use", "id": call_id(*number), "name": name, "input": {}})
            }
        };
        json!({"type": "content_block_start", "index": at, "content_block": block})
    }

    /// The event for a piece of a block.
    pub(crate) fn block_delta(&self, at: usize, part: &Part, text: &str) -> Option<Value> {
        let delta = match part.kind {
            PartKind::Reasoning if part.text.is_empty() => return None,
            PartKind::Reasoning => json!({"type": "thinking_delta", "thinking": text}),
            PartKind::Text => json!({"type": "text_delta", "text": text}),
            PartKind::Call { .. } => json!({"type": "input_json_delta", "partial_json": text}),
        };
        Some(json!({"type": "content_block_delta", "index": at, "delta": delta}))
    }

    /// The events at the end of a block.
    pub(crate) fn block_end(&self, at: usize, part: &Part) -> Vec<Value> {
        let mut events = Vec::new();
        if part.kind == PartKind::Reasoning && part.sealed.is_none() {
            let delta = json!({"type": "signature_delta", "signature": signature(part)});
            events.push(json!({"type": "content_block_delta", "index": at, "delta": delta}));
        }
        events.push(json!({"type": "content_block_stop", "index": at}));
        events
    }

    /// The events at the end of an answer.
    pub(crate) fn end(&self, produced: &Produced) -> Vec<Value> {
        let usage = produced.answer.usage;
        let mut told = json!({
            "input_tokens": usage.input,
            "cache_creation_input_tokens": usage.cache_write,
            "cache_read_input_tokens": usage.cache_read,
            "output_tokens": usage.output,
        });
        add_thinking(&mut told, produced);
        let delta = json!({
            "stop_reason": stop_reason(produced),
            "stop_sequence": produced.stop_sequence,
        });
        vec![
            json!({"type": "message_delta", "delta": delta, "usage": told}),
            json!({"type": "message_stop"}),
        ]
    }

    /// An answer that has just begun.
    fn message(&self, produced: &Produced, output: u64) -> Value {
        let answer = &produced.answer;
        let usage = answer.usage;
        let mut told = json!({
            "input_tokens": usage.input,
            "cache_creation_input_tokens": usage.cache_write,
            "cache_read_input_tokens": usage.cache_read,
            "cache_creation": {
                "ephemeral_5m_input_tokens":
                    usage.cache_write.saturating_sub(usage.cache_write_1h),
                "ephemeral_1h_input_tokens": usage.cache_write_1h,
            },
            "output_tokens": output,
        });
        if let (Some(tier), Some(members)) = (&self.tier, told.as_object_mut()) {
            members.insert("service_tier".to_owned(), tier.as_str().into());
        }
        json!({
            "id": format!("msg_bdrk_{:024}", answer.number),
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": told,
        })
    }
}

impl Writer for Messages {
    fn opening(&mut self, produced: &Produced) -> Vec<Bytes> {
        vec![event(&self.start(produced)), event(&json!({"type": "ping"}))]
    }

    fn begin(&mut self, _produced: &Produced, at: usize, part: &Part) -> Vec<Bytes> {
        vec![event(&self.block_start(at, part))]
    }

    fn delta(&mut self, _produced: &Produced, at: usize, part: &Part, text: &str) -> Vec<Bytes> {
        self.block_delta(at, part, text).iter().map(event).collect()
    }

    fn end(&mut self, _produced: &Produced, at: usize, part: &Part) -> Vec<Bytes> {
        self.block_end(at, part).iter().map(event).collect()
    }

    fn closing(&mut self, produced: &Produced) -> Vec<Bytes> {
        Messages::end(self, produced).iter().map(event).collect()
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
        PartKind::Reasoning if part.sealed.is_some() => {
            json!({"type": "redacted_thinking", "data": part.sealed})
        }
        PartKind::Reasoning => {
            json!({"type": "thinking", "thinking": part.text, "signature": signature(part)})
        }
        PartKind::Text => json!({"type": "text", "text": part.text}),
        PartKind::Call { name, number, .. } => json!({
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
    match produced.stop {
        StopReason::ContentFiltered | StopReason::GuardrailIntervened => "refusal",
        // This API has no words for an answer that is broken.
        StopReason::MalformedModelOutput | StopReason::MalformedToolUse => "end_turn",
        stop => stop.name(),
    }
}
