//! The form of a response, whole and as a stream.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::super::produced::{Part, PartKind, Produced};
use super::super::writer::Writer;
use super::store::{Responses, Stored};
use sluice_bedrock::sse;

/// Members of a request that its response repeats, and what stands there if the request has none.
fn repeated() -> [(&'static str, Value); 19] {
    [
        ("background", json!(false)),
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("max_tool_calls", Value::Null),
        ("metadata", json!({})),
        ("parallel_tool_calls", json!(true)),
        ("previous_response_id", Value::Null),
        ("prompt_cache_key", Value::Null),
        ("reasoning", json!({"effort": null, "summary": null})),
        ("safety_identifier", Value::Null),
        ("store", json!(true)),
        ("temperature", json!(1.0)),
        ("text", json!({"format": {"type": "text"}})),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
        ("top_logprobs", json!(0)),
        ("top_p", json!(1.0)),
        ("truncation", json!("disabled")),
        ("user", Value::Null),
    ]
}

/// Writes a response, and stores it when it is complete.
#[derive(Debug, Clone)]
pub(in super::super) struct ResponseWriter {
    /// What ids of the response and its items end with.
    pub(in super::super) unique: String,
    /// Seconds since 1970.
    pub(in super::super) created: u64,
    /// The service tier that serves it.
    pub(in super::super) tier: String,
    /// Whether reasoning comes encrypted too.
    pub(in super::super) encrypted: bool,
    /// The request.
    pub(in super::super) body: Value,
    /// Where it is to be stored, and as what: without its id and the response itself.
    pub(in super::super) storing: Option<(Responses, Stored)>,
    /// Events so far.
    pub(in super::super) sequence: u64,
}

impl ResponseWriter {
    /// The id of the response.
    pub(in super::super) fn id(&self) -> String {
        format!("resp_{}", self.unique)
    }

    /// The whole response, which is stored if that is wanted.
    pub(in super::super) fn whole(&mut self, produced: &Produced) -> Value {
        let response = self.complete(produced);
        self.store(produced, &response);
        response
    }

    fn complete(&self, produced: &Produced) -> Value {
        let is_cut = produced.answer.at_maximum;
        let mut response = self.response(produced, if is_cut { "incomplete" } else { "completed" });
        let items = produced.parts.iter().enumerate();
        let items: Vec<Value> = items.map(|(at, part)| self.item(at, part, Some(part))).collect();
        response.insert("output".to_owned(), items.into());
        response.insert("usage".to_owned(), usage(produced));
        if is_cut {
            let details = json!({"reason": "max_output_tokens"});
            response.insert("incomplete_details".to_owned(), details);
        }
        Value::Object(response)
    }

    /// A response without output.
    fn response(&self, produced: &Produced, status: &str) -> Map<String, Value> {
        let mut response = Map::new();
        for (name, usual) in repeated() {
            let value = self.body.get(name).filter(|value| !value.is_null());
            response.insert(name.to_owned(), value.cloned().unwrap_or(usual));
        }
        let own = json!({
            "id": self.id(),
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": null,
            "incomplete_details": null,
            "model": produced.answer.model,
            "output": [],
            "service_tier": self.tier,
            "usage": null,
        });
        if let Value::Object(own) = own {
            response.extend(own);
        }
        response
    }

    fn store(&mut self, produced: &Produced, response: &Value) {
        let Some((responses, mut stored)) = self.storing.take() else { return };
        let written = produced.parts.iter().map(|part| part.text.chars().count() as u64);
        stored.characters = stored.characters.saturating_add(written.sum());
        let calls = produced.parts.iter().filter_map(|part| match part.kind {
            PartKind::Call { number, .. } => Some(call_id(number)),
            _ => None,
        });
        stored.open_calls = calls.collect();
        stored.id = self.id();
        stored.response = response.clone();
        responses.keep(stored);
    }

    fn item_id(&self, at: usize, part: &Part) -> String {
        let kind = match part.kind {
            PartKind::Reasoning => "rs",
            PartKind::Text => "msg",
            PartKind::Call { takes_text: true, .. } => "ctc",
            PartKind::Call { .. } => "fc",
        };
        format!("{kind}_{}{at:02}", self.unique)
    }

    /// A part as an item of output: complete with its text, or just begun.
    fn item(&self, at: usize, part: &Part, complete: Option<&Part>) -> Value {
        let status = if complete.is_some() { "completed" } else { "in_progress" };
        let id = self.item_id(at, part);
        match &part.kind {
            PartKind::Reasoning => {
                let summary = complete.filter(|part| !part.text.is_empty());
                let summary = summary.map(|part| json!([summary_part(&part.text)]));
                let mut item = json!({
                    "id": id,
                    "type": "reasoning",
                    "summary": summary.unwrap_or_else(|| json!([])),
                });
                if let (true, Some(members)) = (self.encrypted, item.as_object_mut()) {
                    let encrypted = STANDARD.encode(format!("{} tokens", part.tokens));
                    members.insert("encrypted_content".to_owned(), encrypted.into());
                }
                item
            }
            PartKind::Text => {
                let content = complete.map(|part| json!([text_part(&part.text)]));
                json!({
                    "id": id,
                    "type": "message",
                    "status": status,
                    "role": "assistant",
                    "content": content.unwrap_or_else(|| json!([])),
                })
            }
            PartKind::Call { name, number, namespace, takes_text } => {
                let (kind, said) = match takes_text {
                    true => ("custom_tool_call", "input"),
                    false => ("function_call", "arguments"),
                };
                let mut item = Map::new();
                item.insert("id".to_owned(), id.into());
                item.insert("type".to_owned(), kind.into());
                item.insert("status".to_owned(), status.into());
                item.insert("call_id".to_owned(), call_id(*number).into());
                item.insert("name".to_owned(), name.as_str().into());
                if let Some(namespace) = namespace {
                    item.insert("namespace".to_owned(), namespace.as_str().into());
                }
                let text = complete.map_or("", |part| &part.text);
                item.insert(said.to_owned(), text.into());
                Value::Object(item)
            }
        }
    }

    fn event(&mut self, kind: &str, members: Value) -> Bytes {
        let mut event = Map::new();
        event.insert("type".to_owned(), kind.into());
        event.insert("sequence_number".to_owned(), self.sequence.into());
        self.sequence += 1;
        if let Value::Object(members) = members {
            event.extend(members);
        }
        sse::event(Some(kind), &Value::Object(event).to_string())
    }

    /// An event about an item, or about a part of it.
    fn item_event(&mut self, kind: &str, at: usize, part: &Part, more: Value) -> Bytes {
        let mut members = Map::new();
        members.insert("item_id".to_owned(), self.item_id(at, part).into());
        members.insert("output_index".to_owned(), at.into());
        match part.kind {
            PartKind::Text => members.insert("content_index".to_owned(), 0.into()),
            PartKind::Reasoning => members.insert("summary_index".to_owned(), 0.into()),
            PartKind::Call { .. } => None,
        };
        if let Value::Object(more) = more {
            members.extend(more);
        }
        self.event(kind, Value::Object(members))
    }
}

impl Writer for ResponseWriter {
    fn opening(&mut self, produced: &Produced) -> Vec<Bytes> {
        let response = self.response(produced, "in_progress");
        ["response.created", "response.in_progress"]
            .map(|kind| self.event(kind, json!({"response": response})))
            .into()
    }

    fn begin(&mut self, _produced: &Produced, at: usize, part: &Part) -> Vec<Bytes> {
        let item = self.item(at, part, None);
        let added =
            self.event("response.output_item.added", json!({"output_index": at, "item": item}));
        let mut events = vec![added];
        match part.kind {
            PartKind::Text => {
                let more = json!({"part": text_part("")});
                events.push(self.item_event("response.content_part.added", at, part, more));
            }
            PartKind::Reasoning if !part.text.is_empty() => {
                let more = json!({"part": summary_part("")});
                let kind = "response.reasoning_summary_part.added";
                events.push(self.item_event(kind, at, part, more));
            }
            _ => {}
        }
        events
    }

    fn delta(&mut self, _produced: &Produced, at: usize, part: &Part, text: &str) -> Vec<Bytes> {
        let (kind, more) = match part.kind {
            PartKind::Reasoning if part.text.is_empty() => return Vec::new(),
            PartKind::Reasoning => {
                ("response.reasoning_summary_text.delta", json!({"delta": text}))
            }
            PartKind::Text => {
                ("response.output_text.delta", json!({"delta": text, "logprobs": []}))
            }
            PartKind::Call { takes_text: true, .. } => {
                ("response.custom_tool_call_input.delta", json!({"delta": text}))
            }
            PartKind::Call { .. } => {
                ("response.function_call_arguments.delta", json!({"delta": text}))
            }
        };
        vec![self.item_event(kind, at, part, more)]
    }

    fn end(&mut self, _produced: &Produced, at: usize, part: &Part) -> Vec<Bytes> {
        let text = &part.text;
        let mut events = Vec::new();
        match &part.kind {
            PartKind::Reasoning if text.is_empty() => {}
            PartKind::Reasoning => {
                let kind = "response.reasoning_summary_text.done";
                events.push(self.item_event(kind, at, part, json!({"text": text})));
                let kind = "response.reasoning_summary_part.done";
                events.push(self.item_event(kind, at, part, json!({"part": summary_part(text)})));
            }
            PartKind::Text => {
                let more = json!({"text": text, "logprobs": []});
                events.push(self.item_event("response.output_text.done", at, part, more));
                let more = json!({"part": text_part(text)});
                events.push(self.item_event("response.content_part.done", at, part, more));
            }
            PartKind::Call { takes_text: true, .. } => {
                let kind = "response.custom_tool_call_input.done";
                events.push(self.item_event(kind, at, part, json!({"input": text})));
            }
            PartKind::Call { name, .. } => {
                let more = json!({"name": name, "arguments": text});
                let kind = "response.function_call_arguments.done";
                events.push(self.item_event(kind, at, part, more));
            }
        }
        let item = self.item(at, part, Some(part));
        let done = json!({"output_index": at, "item": item});
        events.push(self.event("response.output_item.done", done));
        events
    }

    fn closing(&mut self, produced: &Produced) -> Vec<Bytes> {
        let response = self.whole(produced);
        let kind = match produced.answer.at_maximum {
            true => "response.incomplete",
            false => "response.completed",
        };
        vec![self.event(kind, json!({"response": response}))]
    }
}

fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn summary_part(text: &str) -> Value {
    json!({"type": "summary_text", "text": text})
}

fn call_id(number: u64) -> String {
    format!("call_{number:024}")
}

fn usage(produced: &Produced) -> Value {
    let (input, output) = (produced.whole_input(), produced.answer.usage.output);
    json!({
        "input_tokens": input,
        "input_tokens_details": {
            "cached_tokens": produced.answer.usage.cache_read,
            "cache_write_tokens": produced.answer.usage.cache_write,
        },
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": produced.reasoning},
        "total_tokens": input + output,
    })
}
