//! Bedrock's own schema: Converse and ConverseStream.

use serde_json::{Map, Value, json};

use super::{Event, Invalid, Prompt, Schema, Streaming, converse_request, number_at};
use crate::asked::Asked;
use crate::produced::{Part, PartKind, Produced};
use crate::validation::Model;
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

    fn asked(&self, body: &Value, model: &Model) -> Result<Asked, Invalid> {
        Ok(converse_request::read(self.read(body)?, body, model))
    }

    fn above_cap(&self, _asked: u64, cap: u64, _model: &str) -> Invalid {
        Invalid::new(format!(
            "The maximum tokens you requested exceeds the model limit of {cap}. Try again with a \
             maximum tokens value that is lower than {cap}."
        ))
    }

    fn whole(&self, produced: &Produced, latency_ms: u64) -> Value {
        let content: Vec<Value> = produced.parts.iter().map(block).collect();
        let answer = with_fields(
            produced,
            json!({
                "output": {"message": {"role": "assistant", "content": content}},
                "stopReason": produced.stop.name(),
                "usage": usage(produced),
                "metrics": {"latencyMs": latency_ms},
            }),
        );
        with_tier(produced, answer)
    }

    fn stream(&self) -> Option<&dyn Streaming> {
        Some(self)
    }
}

impl Streaming for Converse {
    fn opening(&self, _produced: &Produced) -> Vec<Event> {
        vec![Event { name: "messageStart", json: json!({"role": "assistant"}) }]
    }

    fn begin(&self, at: usize, part: &Part) -> Vec<Event> {
        // A block of text has no contentBlockStart: Bedrock sends that for tool use only.
        let PartKind::Call { name, number, .. } = &part.kind else { return Vec::new() };
        let start = json!({"toolUse": {"toolUseId": call_id(*number), "name": name}});
        let json = json!({"contentBlockIndex": at, "start": start});
        vec![Event { name: "contentBlockStart", json }]
    }

    fn delta(
        &self,
        _produced: &Produced,
        at: usize,
        part: &Part,
        text: &str,
        _token: u64,
    ) -> Vec<Event> {
        match part.kind {
            PartKind::Text => vec![delta(at, json!({"text": text}))],
            PartKind::Call { .. } => vec![delta(at, json!({"toolUse": {"input": text}}))],
            // A thought that is not shown has no text, and one that is sealed comes as a whole.
            PartKind::Reasoning if part.text.is_empty() => Vec::new(),
            PartKind::Reasoning => vec![delta(at, json!({"reasoningContent": {"text": text}}))],
        }
    }

    fn end(&self, at: usize, part: &Part) -> Vec<Event> {
        let sealed = part.sealed.as_ref().map(|sealed| json!({"redactedContent": sealed}));
        let signed = part.signature.as_ref().map(|signature| json!({"signature": signature}));
        let last = sealed.or(signed).map(|last| delta(at, json!({"reasoningContent": last})));
        let stop = Event { name: "contentBlockStop", json: json!({"contentBlockIndex": at}) };
        last.into_iter().chain([stop]).collect()
    }

    fn closing(&self, produced: &Produced, latency_ms: u64) -> Vec<Event> {
        let stop = with_fields(produced, json!({"stopReason": produced.stop.name()}));
        vec![
            Event { name: "messageStop", json: stop },
            Event {
                name: "metadata",
                json: with_tier(
                    produced,
                    json!({"usage": usage(produced), "metrics": {"latencyMs": latency_ms}}),
                ),
            },
        ]
    }
}

fn delta(at: usize, delta: Value) -> Event {
    let json = json!({"contentBlockIndex": at, "delta": delta});
    Event { name: "contentBlockDelta", json }
}

fn block(part: &Part) -> Value {
    match &part.kind {
        PartKind::Text => json!({"text": part.text}),
        PartKind::Call { name, number, .. } => json!({"toolUse": {
            "toolUseId": call_id(*number),
            "name": name,
            // Arguments that the maximum has cut are no JSON.
            "input": serde_json::from_str(&part.text).unwrap_or_else(|_| json!({})),
        }}),
        PartKind::Reasoning => {
            if let Some(sealed) = &part.sealed {
                return json!({"reasoningContent": {"redactedContent": sealed}});
            }
            let mut thought = json!({"text": part.text});
            if let (Some(signature), Some(members)) = (&part.signature, thought.as_object_mut()) {
                members.insert("signature".to_owned(), signature.as_str().into());
            }
            json!({"reasoningContent": {"reasoningText": thought}})
        }
    }
}

fn call_id(number: u64) -> String {
    format!("tooluse_{number:022}")
}

/// An answer, with the members of the model's own answer that the request asks for.
fn with_fields(produced: &Produced, mut json: Value) -> Value {
    let paths = produced.answer.request.get("additionalModelResponseFieldPaths");
    let own = json!({
        "stop_reason": produced.stop.name(),
        "stop_sequence": produced.stop_sequence,
        "usage": {
            "input_tokens": produced.answer.usage.input,
            "output_tokens": produced.answer.usage.output,
            "output_tokens_details": {"thinking_tokens": produced.reasoning},
        },
    });
    let mut fields = Map::new();
    for path in paths.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if let Some(found) = own.pointer(path) {
            let names: Vec<&str> = path.split('/').skip(1).collect();
            insert(&mut fields, &names, found);
        }
    }
    if let (false, Some(members)) = (fields.is_empty(), json.as_object_mut()) {
        members.insert("additionalModelResponseFields".to_owned(), Value::Object(fields));
    }
    json
}

fn insert(fields: &mut Map<String, Value>, names: &[&str], value: &Value) {
    match names {
        [] => {}
        [last] => {
            fields.insert((*last).to_owned(), value.clone());
        }
        [first, rest @ ..] => {
            let inner = fields.entry(*first).or_insert_with(|| Value::Object(Map::new()));
            if let Some(inner) = inner.as_object_mut() {
                insert(inner, rest, value);
            }
        }
    }
}

/// An answer, with the service tier that has served it.
fn with_tier(produced: &Produced, mut json: Value) -> Value {
    if let (Some(tier), Some(members)) = (&produced.answer.tier, json.as_object_mut()) {
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

fn usage(produced: &Produced) -> Value {
    let usage = produced.answer.usage;
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
