//! Bedrock's own schema: Converse and ConverseStream.

use serde_json::{Value, json};

use super::{Answer, Event, Invalid, Prompt, Schema, Streaming, number_at};
use sluice_bedrock::Usage;

pub(super) struct Converse;

impl Schema for Converse {
    fn read(&self, body: &Value) -> Result<Prompt, Invalid> {
        let max_output = number_at(body, &["inferenceConfig", "maxTokens"]);
        if max_output == Some(0) {
            return Err(Invalid::new(
                "1 validation error detected: Value '0' at 'inferenceConfig.maxTokens' failed to \
                 satisfy constraint: Member must have value greater than or equal to 1",
            ));
        }
        let mut prompt = Prompt {
            max_output,
            thinking_budget: ["thinking", "reasoning_config"].iter().find_map(|name| {
                number_at(body, &["additionalModelRequestFields", name, "budget_tokens"])
            }),
            ..Prompt::default()
        };
        if let Some(system) = body.get("system") {
            prompt.read_content("system", system);
        }
        prompt.read_messages(body).map_err(|_| {
            Invalid::new(
                "The messages field of the request is empty or not well formed. Add a message \
                 with a role and content to the request and try again.",
            )
        })?;
        Ok(prompt)
    }

    fn above_cap(&self, _asked: u64, cap: u64, _model: &str) -> Invalid {
        Invalid::new(format!(
            "The maximum tokens you requested exceeds the model limit of {cap}. Try again with a \
             maximum tokens value that is lower than {cap}."
        ))
    }

    fn whole(&self, answer: &Answer, latency_ms: u64) -> Value {
        with_tier(
            answer,
            json!({
                "output": {"message": {"role": "assistant", "content": [{"text": answer.text}]}},
                "stopReason": answer.stop("end_turn", "max_tokens"),
                "usage": usage(answer),
                "metrics": {"latencyMs": latency_ms},
            }),
        )
    }

    fn stream(&self) -> Option<&dyn Streaming> {
        Some(self)
    }
}

impl Streaming for Converse {
    fn opening(&self, _answer: &Answer) -> Vec<Event> {
        // A block of text has no contentBlockStart: Bedrock sends that for tool use only.
        vec![Event { name: "messageStart", json: json!({"role": "assistant"}) }]
    }

    fn delta(&self, _answer: &Answer, text: &str, _token: u64) -> Event {
        Event {
            name: "contentBlockDelta",
            json: json!({"contentBlockIndex": 0, "delta": {"text": text}}),
        }
    }

    fn closing(&self, answer: &Answer, latency_ms: u64) -> Vec<Event> {
        let stop = answer.stop("end_turn", "max_tokens");
        vec![
            Event { name: "contentBlockStop", json: json!({"contentBlockIndex": 0}) },
            Event { name: "messageStop", json: json!({"stopReason": stop}) },
            Event {
                name: "metadata",
                json: with_tier(
                    answer,
                    json!({"usage": usage(answer), "metrics": {"latencyMs": latency_ms}}),
                ),
            },
        ]
    }
}

/// An answer, with the service tier that has served it.
fn with_tier(answer: &Answer, mut json: Value) -> Value {
    if let (Some(tier), Some(members)) = (&answer.tier, json.as_object_mut()) {
        members.insert("serviceTier".to_owned(), json!({"type": tier}));
    }
    json
}

/// What was written to a cache, by how long it stays: the longest first.
fn cache_details(usage: Usage) -> Vec<Value> {
    let parts = [
        ("1h", usage.cache_write_1h),
        ("5m", usage.cache_write.saturating_sub(usage.cache_write_1h)),
    ];
    let written = parts.into_iter().filter(|(_, tokens)| *tokens > 0);
    written.map(|(ttl, tokens)| json!({"ttl": ttl, "inputTokens": tokens})).collect()
}

fn usage(answer: &Answer) -> Value {
    let usage = answer.usage;
    let total = usage.input + usage.output + usage.cache_read + usage.cache_write;
    let mut json = json!({
        "inputTokens": usage.input,
        "outputTokens": usage.output,
        "totalTokens": total,
        "cacheReadInputTokens": usage.cache_read,
        "cacheWriteInputTokens": usage.cache_write,
    });
    let details = cache_details(usage);
    if let (false, Some(members)) = (details.is_empty(), json.as_object_mut()) {
        members.insert("cacheDetails".to_owned(), details.into());
    }
    json
}
