//! Anthropic's Messages: what a request must be, and the form of its answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::super::reply::Failure;
use super::asked::{Asked, Tool, ToolChoice, member};
use super::model::Model;
use super::produced::{Part, PartKind, Produced};
use super::writer::Writer;
use sluice_bedrock::{ErrorKind, sse};
use sluice_catalogue::Endpoint;

/// The least budget of thinking, in tokens.
const LEAST_BUDGET: u64 = 1024;

/// Reads a request. One that only counts tokens needs no maximum.
///
/// # Errors
/// What Bedrock refuses.
pub(super) fn read(body: &Value, model: &Model, is_count: bool) -> Result<Asked, Failure> {
    let mut asked = Asked::default();
    if let Some(stream) = member(body, "stream") {
        let stream = stream.as_bool();
        asked.stream = stream.ok_or_else(|| invalid("stream: Input should be a valid boolean"))?;
    }
    if !is_count {
        read_maximum(body, model, &mut asked)?;
    }
    match member(body, "system") {
        None => {}
        Some(Value::String(text)) => asked.prompt.read_text(text),
        Some(blocks) => read_blocks("system", "system", blocks, &mut asked)?,
    }
    read_messages(body, model, &mut asked)?;
    read_tools(body, model, &mut asked)?;
    read_thinking(body, model, &mut asked)?;
    check_sampling(body, model, &asked)?;
    if let Some(format) = body.pointer("/output_config/format") {
        if model.endpoint == Endpoint::Mantle {
            return Err(invalid("output_config.format: Extra inputs are not permitted"));
        }
        asked.json_schema = format.get("schema").cloned();
    }
    let input = asked.prompt.input_tokens();
    match model.most_input() {
        Some(most) if input > most => {
            Err(invalid(format!("prompt is too long: {input} tokens > {most} maximum")))
        }
        _ => Ok(asked),
    }
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ErrorKind::Validation, message)
}

fn read_maximum(body: &Value, model: &Model, asked: &mut Asked) -> Result<(), Failure> {
    let maximum = body.get("max_tokens").ok_or_else(|| invalid("max_tokens: Field required"))?;
    let maximum = maximum.as_u64().filter(|&maximum| maximum > 0).ok_or_else(|| {
        invalid("max_tokens: Input should be a valid integer greater than or equal to 1")
    })?;
    let cap = model.cap();
    if maximum > cap {
        return Err(invalid(format!(
            "max_tokens: {maximum} > {cap}, which is the maximum allowed number of output tokens \
             for {}",
            model.name
        )));
    }
    asked.prompt.max_output = Some(maximum);
    Ok(())
}

fn read_messages(body: &Value, model: &Model, asked: &mut Asked) -> Result<(), Failure> {
    let messages = member(body, "messages").and_then(Value::as_array);
    let messages = messages.ok_or_else(|| invalid("messages: Field required"))?;
    if messages.is_empty() {
        return Err(invalid("messages: at least one message is required"));
    }
    // The calls of the message before.
    let mut open: Vec<String> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
        let is_system = role == "system" && model.has("mid_conversation_system");
        if !matches!(role, "user" | "assistant") && !is_system {
            let message =
                format!("messages.{at}.role: Input should be 'user' or 'assistant', not '{role}'");
            return Err(invalid(message));
        }
        if at == 0 && role != "user" {
            return Err(invalid("messages: first message must use the \"user\" role"));
        }
        let content = message.get("content");
        let content =
            content.ok_or_else(|| invalid(format!("messages.{at}.content: Field required")))?;
        let results = ids_of(content, "tool_result", "tool_use_id");
        if let Some(id) = results.iter().find(|id| !open.contains(id)) {
            return Err(invalid(format!(
                "messages.{at}: the `tool_result` block of {id} has no `tool_use` block in the \
                 message before it"
            )));
        }
        open.retain(|id| !results.contains(id));
        if !open.is_empty() {
            return Err(unanswered(at, &open));
        }
        let path = format!("messages.{at}.content");
        match content {
            Value::String(text) if text.is_empty() && at + 1 < messages.len() => {
                return Err(invalid(format!("messages.{at}: messages must have content")));
            }
            Value::String(text) => {
                asked.prompt.read_text(text);
                if role == "user" {
                    text.clone_into(&mut asked.prompt.last_text);
                }
            }
            blocks => read_blocks(&path, role, blocks, asked)?,
        }
        open = match role {
            "assistant" => ids_of(content, "tool_use", "id"),
            _ => Vec::new(),
        };
        asked.ends_with_result = !results.is_empty();
    }
    if open.is_empty() { Ok(()) } else { Err(unanswered(messages.len(), &open)) }
}

fn unanswered(at: usize, open: &[String]) -> Failure {
    invalid(format!(
        "messages.{at}: `tool_use` ids have no `tool_result` blocks in the message after them: {}",
        open.join(", ")
    ))
}

/// The ids in blocks of one type.
fn ids_of(content: &Value, kind: &str, id: &str) -> Vec<String> {
    let blocks = content.as_array().into_iter().flatten();
    let blocks = blocks.filter(|block| block.get("type").and_then(Value::as_str) == Some(kind));
    blocks.filter_map(|block| Some(block.get(id)?.as_str()?.to_owned())).collect()
}

fn read_blocks(path: &str, role: &str, blocks: &Value, asked: &mut Asked) -> Result<(), Failure> {
    let blocks = blocks.as_array();
    let blocks = blocks.ok_or_else(|| invalid(format!("{path}: Input should be a valid list")))?;
    if blocks.is_empty() && role == "user" {
        return Err(invalid(format!("{path}: messages must have content")));
    }
    for (at, block) in blocks.iter().enumerate() {
        let kind = block.get("type").and_then(Value::as_str);
        let kind = kind.ok_or_else(|| invalid(format!("{path}.{at}.type: Field required")))?;
        match kind {
            "text" => {
                let text = block.get("text").and_then(Value::as_str);
                let text =
                    text.ok_or_else(|| invalid(format!("{path}.{at}.text: Field required")))?;
                if text.is_empty() {
                    let message = format!("{path}.{at}: text content blocks must be non-empty");
                    return Err(invalid(message));
                }
                asked.prompt.read_text(text);
                if role == "user" {
                    text.clone_into(&mut asked.prompt.last_text);
                }
            }
            "tool_result" => match block.get("content") {
                Some(Value::String(text)) => asked.prompt.read_text(text),
                Some(inner) => {
                    read_blocks(&format!("{path}.{at}.content"), "tool", inner, asked)?;
                }
                None => {}
            },
            "tool_use" => {
                let input = block.get("input").map(Value::to_string).unwrap_or_default();
                asked.prompt.read_text(&input);
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_tools(body: &Value, model: &Model, asked: &mut Asked) -> Result<(), Failure> {
    for (at, tool) in
        member(body, "tools").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        let name = tool.get("name").and_then(Value::as_str);
        let name = name.ok_or_else(|| invalid(format!("tools.{at}.name: Field required")))?;
        let kind = tool.get("type").and_then(Value::as_str).unwrap_or("custom");
        let is_of_server =
            ["web_search", "web_fetch", "code_execution"].iter().any(|it| kind.starts_with(it));
        let is_taken = model.endpoint == Endpoint::Mantle && kind.starts_with("web_search");
        if is_of_server && !is_taken {
            return Err(invalid(format!("tools.{at}: Input tag '{kind}' is not supported")));
        }
        if kind == "custom" {
            let schema = tool.get("input_schema");
            let schema = schema
                .ok_or_else(|| invalid(format!("tools.{at}.input_schema: Field required")))?;
            asked.tools.push(Tool { name: name.to_owned(), schema: schema.clone() });
        }
    }
    let Some(choice) = member(body, "tool_choice") else { return Ok(()) };
    let kind = choice.get("type").and_then(Value::as_str).unwrap_or_default();
    asked.one_call =
        choice.get("disable_parallel_tool_use").and_then(Value::as_bool).unwrap_or(false);
    asked.choice = match kind {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::Off,
        "any" => ToolChoice::Any,
        "tool" => {
            let name = choice.get("name").and_then(Value::as_str).unwrap_or_default();
            if !asked.tools.iter().any(|tool| tool.name == name) {
                let message = format!("Tool '{name}' not found in provided tools");
                return Err(invalid(message));
            }
            ToolChoice::Named(name.to_owned())
        }
        other => return Err(invalid(format!("tool_choice.type: '{other}' is not expected"))),
    };
    if asked.choice.is_forced() && model.lacks("forced_tool_use") {
        let message = format!("tool_choice: type '{kind}' is not supported by this model");
        return Err(invalid(message));
    }
    Ok(())
}

fn read_thinking(body: &Value, model: &Model, asked: &mut Asked) -> Result<(), Failure> {
    let is_always_on = model.has("thinking_always_on");
    let Some(thinking) = member(body, "thinking") else {
        asked.thinks = is_always_on;
        return Ok(());
    };
    match thinking.get("type").and_then(Value::as_str).unwrap_or_default() {
        "disabled" if is_always_on => {
            return Err(invalid("thinking.type: 'disabled' is not supported by this model"));
        }
        "disabled" => return Ok(()),
        "adaptive" => {}
        "enabled" => {
            let budget = thinking.get("budget_tokens").and_then(Value::as_u64);
            let budget =
                budget.ok_or_else(|| invalid("thinking.enabled.budget_tokens: Field required"))?;
            if budget < LEAST_BUDGET {
                return Err(invalid(format!(
                    "thinking.enabled.budget_tokens: Input should be greater than or equal to \
                     {LEAST_BUDGET}"
                )));
            }
            if asked.prompt.max_output.is_some_and(|maximum| budget >= maximum) {
                return Err(invalid("`max_tokens` must be greater than `thinking.budget_tokens`."));
            }
        }
        other => return Err(invalid(format!("thinking.type: '{other}' is not expected"))),
    }
    if asked.choice.is_forced() {
        return Err(invalid("Thinking may not be enabled when tool_choice forces tool use."));
    }
    asked.thinks = true;
    // Models that always think show it only to who asks.
    let display = thinking.get("display").and_then(Value::as_str);
    asked.shows_thinking = display.map_or(!is_always_on, |display| display != "omitted");
    Ok(())
}

fn check_sampling(body: &Value, model: &Model, asked: &Asked) -> Result<(), Failure> {
    for name in ["temperature", "top_p", "top_k"] {
        let Some(value) = member(body, name) else { continue };
        if model.lacks("sampling") {
            return Err(invalid(format!("`{name}` is not supported for this model")));
        }
        if name == "temperature"
            && !value.as_f64().is_some_and(|value| (0.0..=1.0).contains(&value))
        {
            return Err(invalid("temperature: range: 0..1"));
        }
        if asked.thinks && name != "top_p" && value.as_f64() != Some(1.0) {
            return Err(invalid(format!("`{name}` may not be set when thinking is enabled")));
        }
    }
    Ok(())
}

/// Writes an answer.
#[derive(Debug, Clone)]
pub(super) struct Messages {
    /// The service tier that serves it.
    pub(super) tier: String,
}

impl Messages {
    /// A whole answer.
    pub(super) fn whole(&self, produced: &Produced) -> Value {
        let content: Vec<Value> = produced.parts.iter().map(block).collect();
        let mut message = self.message(produced, produced.answer.usage.output);
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
        vec![
            event(&json!({
                "type": "message_delta",
                "delta": {"stop_reason": stop_reason(produced), "stop_sequence": null},
                "usage": {
                    "input_tokens": usage.input,
                    "cache_creation_input_tokens": usage.cache_write,
                    "cache_read_input_tokens": usage.cache_read,
                    "output_tokens": usage.output,
                },
            })),
            event(&json!({"type": "message_stop"})),
        ]
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
    STANDARD.encode(format!("signed {} tokens: {}", part.tokens, part.text))
}

fn stop_reason(produced: &Produced) -> &'static str {
    match () {
        () if produced.answer.at_maximum => "max_tokens",
        () if produced.calls() => "tool_use",
        () => "end_turn",
    }
}
