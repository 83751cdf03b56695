//! What a request for a message must be.

use serde_json::Value;

use super::super::super::reply::Failure;
use super::super::asked::{Asked, member};
use super::super::model::Model;
use super::tools::read_tools;
use crate::thoughts::{is_sealed, is_signed};
use sluice_bedrock::ErrorKind;
use sluice_catalogue::Endpoint;

/// The least budget of thinking, in tokens.
const LEAST_BUDGET: u64 = 1024;
/// The most blocks with `cache_control`.
const MAX_CACHE_POINTS: usize = 4;

/// Reads a request. One that only counts tokens needs no maximum.
///
/// # Errors
/// What Bedrock refuses.
pub(in super::super) fn read(
    body: &Value,
    model: &Model,
    is_count: bool,
) -> Result<Asked, Failure> {
    let mut asked = Asked { signs_thinking: true, ..Asked::default() };
    let stops = member(body, "stop_sequences").and_then(Value::as_array).into_iter().flatten();
    let stops = stops.filter_map(Value::as_str).filter(|stop| !stop.is_empty());
    asked.stops = stops.map(str::to_owned).collect();
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
    check_cache_points(body)?;
    if let Some(format) = body.pointer("/output_config/format") {
        if model.endpoint == Endpoint::Mantle {
            return Err(invalid("output_config.format: Extra inputs are not permitted"));
        }
        asked.json_schema = format.get("schema").cloned();
    }
    if let Some(format) = member(body, "output_format") {
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

/// Refuses more blocks that end a cached prefix than a request may have.
fn check_cache_points(body: &Value) -> Result<(), Failure> {
    let count: usize = ["tools", "system", "messages"]
        .iter()
        .filter_map(|name| body.get(*name))
        .map(cache_points)
        .sum();
    match count > MAX_CACHE_POINTS {
        true => Err(invalid(format!(
            "A maximum of {MAX_CACHE_POINTS} blocks with cache_control may be provided. Found {count}."
        ))),
        false => Ok(()),
    }
}

/// How many blocks below have `cache_control`; what is in the input of a call or in a schema is no block.
fn cache_points(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().map(cache_points).sum(),
        Value::Object(members) => {
            let own = members.get("cache_control").is_some_and(|it| !it.is_null());
            usize::from(own) + members.get("content").map_or(0, cache_points)
        }
        _ => 0,
    }
}

pub(super) fn invalid(message: impl Into<String>) -> Failure {
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
            "thinking" => {
                let signature = block.get("signature").and_then(Value::as_str);
                let signature = signature
                    .ok_or_else(|| invalid(format!("{path}.{at}.signature: Field required")))?;
                let thought = block.get("thinking").and_then(Value::as_str).unwrap_or_default();
                if !is_signed(thought, signature) {
                    let message = format!("{path}.{at}: Invalid `signature` in `thinking` block");
                    return Err(invalid(message));
                }
                asked.prompt.read_text(thought);
            }
            "redacted_thinking" => {
                let data = block.get("data").and_then(Value::as_str).unwrap_or_default();
                if !is_sealed(data) {
                    let message =
                        format!("{path}.{at}: Invalid `data` in `redacted_thinking` block");
                    return Err(invalid(message));
                }
            }
            _ => {}
        }
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
        "between_tools" if !asked.ends_with_result => return Ok(()),
        "between_tools" => {}
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
    if thinking.get("budget_tokens").is_some() {
        check_thought(body)?;
    }
    asked.thinks = true;
    // Models that always think show it only if the request asks for it.
    let display = thinking.get("display").and_then(Value::as_str);
    asked.shows_thinking = display.map_or(!is_always_on, |display| display != "omitted");
    Ok(())
}

/// With a budget, the last message of the model must begin with what it thought if it has a call.
fn check_thought(body: &Value) -> Result<(), Failure> {
    let messages = member(body, "messages").and_then(Value::as_array).into_iter().flatten();
    let of_model = messages
        .enumerate()
        .filter(|(_, message)| message.get("role").and_then(Value::as_str) == Some("assistant"));
    let Some((at, message)) = of_model.last() else { return Ok(()) };
    let kinds = message.get("content").and_then(Value::as_array).into_iter().flatten();
    let kinds: Vec<&str> = kinds.filter_map(|block| block.get("type")?.as_str()).collect();
    let thought = ["thinking", "redacted_thinking"];
    match kinds.first() {
        Some(first) if kinds.contains(&"tool_use") && !thought.contains(first) => {
            Err(invalid(format!(
                "messages.{at}.content.0.type: Expected `thinking` or `redacted_thinking`, but \
                 found `{first}`"
            )))
        }
        _ => Ok(()),
    }
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
