//! Anthropic's Messages schema, as InvokeModel carries it.

use serde_json::{Value, json};

use super::{Answer, Event, Invalid, Prompt, Schema, Streaming, number_at};

pub(super) struct Anthropic;

impl Schema for Anthropic {
    fn read(&self, body: &Value) -> Result<Prompt, Invalid> {
        if body.get("anthropic_version").and_then(Value::as_str).is_none() {
            return Err(Invalid::new("anthropic_version: Field required"));
        }
        let max_output = match body.get("max_tokens") {
            None => return Err(Invalid::new("max_tokens: Field required")),
            Some(value) => value.as_u64().filter(|&max| max > 0).ok_or_else(|| {
                Invalid::new("max_tokens: Input should be a valid integer greater than 0")
            })?,
        };
        let mut prompt = Prompt {
            max_output: Some(max_output),
            thinking_budget: number_at(body, &["thinking", "budget_tokens"]),
            ..Prompt::default()
        };
        if let Some(system) = body.get("system") {
            prompt.read_content("system", system);
        }
        prompt.read_messages(body)?;
        Ok(prompt)
    }

    fn above_cap(&self, asked: u64, cap: u64, model: &str) -> Invalid {
        let name = model.split_once('.').map_or(model, |(_, name)| name);
        Invalid::new(format!(
            "max_tokens: {asked} > {cap}, which is the maximum allowed number of output tokens \
             for {name}"
        ))
    }

    fn whole(&self, answer: &Answer, _latency_ms: u64) -> Value {
        json!({
            "id": id(answer),
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": [{"type": "text", "text": answer.text}],
            "stop_reason": answer.stop("end_turn", "max_tokens"),
            "stop_sequence": null,
            "usage": usage(answer, answer.usage.output),
        })
    }

    fn stream(&self) -> Option<&dyn Streaming> {
        Some(self)
    }
}

impl Streaming for Anthropic {
    fn opening(&self, answer: &Answer) -> Vec<Event> {
        vec![
            Event::chunk(json!({
                "type": "message_start",
                "message": {
                    "id": id(answer),
                    "type": "message",
                    "role": "assistant",
                    "model": answer.model,
                    "content": [],
                    "stop_reason": null,
                    "stop_sequence": null,
                    "usage": usage(answer, 1),
                },
            })),
            Event::chunk(json!({
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            })),
        ]
    }

    fn delta(&self, _answer: &Answer, text: &str, _token: u64) -> Event {
        Event::chunk(json!({
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": text},
        }))
    }

    fn closing(&self, answer: &Answer, _latency_ms: u64) -> Vec<Event> {
        vec![
            Event::chunk(json!({"type": "content_block_stop", "index": 0})),
            Event::chunk(json!({
                "type": "message_delta",
                "delta": {
                    "stop_reason": answer.stop("end_turn", "max_tokens"),
                    "stop_sequence": null,
                },
                "usage": {"output_tokens": answer.usage.output},
            })),
            Event::chunk(json!({"type": "message_stop"})),
        ]
    }
}

fn id(answer: &Answer) -> String {
    format!("msg_bdrk_{:024}", answer.number)
}

fn usage(answer: &Answer, output: u64) -> Value {
    let usage = answer.usage;
    json!({
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write.saturating_sub(usage.cache_write_1h),
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": output,
    })
}
