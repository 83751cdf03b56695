//! What a request to create a response must be.

use serde_json::Value;

use super::super::super::reply::Failure;
use super::super::asked::{
    Asked, ToolChoice, above_cap, flag, invalid, is_allowed_image, maximum, member, sampling,
    thinks, too_long, unsupported,
};
use super::super::model::Model;
use super::store::Stored;
use super::tools::ToolList;
use sluice_catalogue::Endpoint;

const ROLES: [&str; 4] = ["user", "assistant", "system", "developer"];
/// What a request to create a response asks for, beyond what all APIs have.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Wanted {
    pub(in super::super) asked: Asked,
    /// Its items of input.
    pub(in super::super) input: Vec<Value>,
    /// Whether the response is to be stored.
    pub(in super::super) store: bool,
    /// Whether it is to be made while nobody waits.
    pub(in super::super) background: bool,
    /// Whether reasoning is to come encrypted too.
    pub(in super::super) encrypted: bool,
}

/// Reads a request; `before` is the response that it goes on from.
///
/// # Errors
/// What Bedrock refuses.
pub(in super::super) fn read(
    body: &Value,
    model: &Model,
    before: Option<&Stored>,
) -> Result<Wanted, Failure> {
    let mut wanted = Wanted {
        store: flag(body, "store")?.unwrap_or(true),
        background: flag(body, "background")?.unwrap_or(false),
        ..Wanted::default()
    };
    wanted.asked.stream = flag(body, "stream")?.unwrap_or(false);
    if wanted.background && model.endpoint == Endpoint::Runtime {
        return Err(unsupported("background", ""));
    }
    if wanted.background && !wanted.store {
        return Err(invalid("background", "A response in the background must be stored."));
    }
    let includes = member(body, "include").and_then(Value::as_array).into_iter().flatten();
    wanted.encrypted = includes.into_iter().any(|it| it == "reasoning.encrypted_content");
    let asked = &mut wanted.asked;
    if let Some(instructions) = member(body, "instructions").and_then(Value::as_str) {
        asked.prompt.read_text(instructions);
    }
    let mut open: Vec<String> = before.map(|before| before.open_calls.clone()).unwrap_or_default();
    asked.prompt.characters += before.map_or(0, |before| before.characters);
    let items = match member(body, "input") {
        Some(Value::String(text)) => vec![serde_json::json!({
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": text}],
        })],
        Some(Value::Array(items)) => items.clone(),
        Some(_) => {
            let message = "Invalid type for 'input': expected a string or an array of items.";
            return Err(invalid("input", message).with_code("invalid_type"));
        }
        None => {
            return Err(invalid("input", "Missing required parameter: 'input'.")
                .with_code("missing_required_parameter"));
        }
    };
    ToolList { path: "tools", ..ToolList::default() }.read(body.get("tools"), model, asked)?;
    for (at, item) in items.iter().enumerate() {
        read_item(at, item, model, asked, &mut open)?;
    }
    if let Some(id) = open.first() {
        let message = format!("No tool output found for function call {id}.");
        return Err(invalid("input", message));
    }
    wanted.input = items;
    read_choice(body, asked)?;
    asked.prompt.max_output = maximum(body, "max_output_tokens")?;
    asked.thinks = thinks(model, body.pointer("/reasoning/effort"), "reasoning.effort")?;
    let summary = body.pointer("/reasoning/summary").filter(|summary| !summary.is_null());
    asked.shows_thinking = summary.is_some();
    if let Some(name) = sampling(body).filter(|_| asked.thinks && model.gpt_version().is_some()) {
        return Err(unsupported(name, ""));
    }
    asked.json_schema = body.pointer("/text/format/schema").cloned();
    if let Some(max) = asked.prompt.max_output.filter(|&max| max > model.cap()) {
        return Err(above_cap("max_output_tokens", max, model.cap()));
    }
    let tokens = asked.prompt.input_tokens();
    match model.most_input() {
        Some(most) if tokens > most => Err(too_long("input", tokens, most)),
        _ => Ok(wanted),
    }
}

fn read_item(
    at: usize,
    item: &Value,
    model: &Model,
    asked: &mut Asked,
    open: &mut Vec<String>,
) -> Result<(), Failure> {
    let text_of = |name: &str| item.get(name).and_then(Value::as_str);
    let call_id = || {
        text_of("call_id").map(str::to_owned).ok_or_else(|| {
            let param = format!("input[{at}].call_id");
            let message = format!("Missing required parameter: '{param}'.");
            invalid(param, message).with_code("missing_required_parameter")
        })
    };
    let kind = text_of("type").unwrap_or("message");
    if ["additional_tools", "tool_search_output"].contains(&kind) {
        return read_list_of_tools(at, item, kind, model, asked);
    }
    asked.ends_with_result = false;
    match kind {
        "message" => read_message(at, item, asked)?,
        "function_call" | "custom_tool_call" | "local_shell_call" => {
            asked.prompt.read_text(text_of("arguments").or(text_of("input")).unwrap_or_default());
            open.push(call_id()?);
        }
        "function_call_output" | "custom_tool_call_output" | "local_shell_call_output" => {
            let id = call_id()?;
            let Some(found) = open.iter().position(|open| *open == id) else {
                let message =
                    format!("No tool call found for function call output with call_id {id}.");
                return Err(invalid("input", message));
            };
            open.swap_remove(found);
            asked.prompt.read_text(text_of("output").unwrap_or_default());
            asked.ends_with_result = true;
        }
        "reasoning" | "item_reference" | "compaction" | "web_search_call" | "tool_search_call" => {}
        other => {
            let message = format!("Invalid value: '{other}'.");
            return Err(invalid(format!("input[{at}].type"), message).with_code("invalid_value"));
        }
    }
    Ok(())
}

/// Reads an item that brings tools: more of the developer's, or what a search has found and loaded.
fn read_list_of_tools(
    at: usize,
    item: &Value,
    kind: &str,
    model: &Model,
    asked: &mut Asked,
) -> Result<(), Failure> {
    let is_loaded = kind == "tool_search_output";
    let role = item.get("role").and_then(Value::as_str).unwrap_or_default();
    if !is_loaded && role != "developer" {
        let message = format!("Invalid value: '{role}'. Supported values are: 'developer'.");
        return Err(invalid(format!("input[{at}].role"), message).with_code("invalid_value"));
    }
    let path = format!("input[{at}].tools");
    let tools = member(item, "tools").ok_or_else(|| {
        let message = format!("Missing required parameter: '{path}'.");
        invalid(&path, message).with_code("missing_required_parameter")
    })?;
    ToolList { path: &path, is_loaded, ..ToolList::default() }.read(Some(tools), model, asked)
}

fn read_message(at: usize, item: &Value, asked: &mut Asked) -> Result<(), Failure> {
    let role = item.get("role").and_then(Value::as_str).unwrap_or_default();
    if !ROLES.contains(&role) {
        let message = format!("Invalid value: '{role}'. Supported values are: {ROLES:?}.");
        return Err(invalid(format!("input[{at}].role"), message).with_code("invalid_value"));
    }
    let mut read = |text: &str| {
        asked.prompt.read_text(text);
        if role == "user" {
            text.clone_into(&mut asked.prompt.last_text);
        }
    };
    let param = format!("input[{at}].content");
    match member(item, "content") {
        Some(Value::String(text)) => read(text),
        Some(Value::Array(parts)) => {
            for (part_at, part) in parts.iter().enumerate() {
                let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
                match (kind, role) {
                    ("input_text", "user" | "system" | "developer")
                    | ("output_text", "assistant") => {
                        read(part.get("text").and_then(Value::as_str).unwrap_or_default());
                    }
                    ("input_image", "user") => {
                        let url = part.get("image_url").and_then(Value::as_str);
                        if !url.is_some_and(is_allowed_image) {
                            let param = format!("{param}[{part_at}].image_url");
                            let message = "The image must be a data URL or an S3 URI.";
                            return Err(invalid(param, message).with_code("invalid_image_url"));
                        }
                    }
                    ("input_file" | "input_audio", "user") | ("refusal", "assistant") => {}
                    _ => {
                        let message = format!("Invalid value: '{kind}'.");
                        let param = format!("{param}[{part_at}].type");
                        return Err(invalid(param, message).with_code("invalid_value"));
                    }
                }
            }
        }
        _ => {
            let message =
                format!("Invalid type for '{param}': expected a string or an array of objects.");
            return Err(invalid(param, message).with_code("invalid_type"));
        }
    }
    Ok(())
}

fn read_choice(body: &Value, asked: &mut Asked) -> Result<(), Failure> {
    asked.one_call = flag(body, "parallel_tool_calls")? == Some(false);
    let Some(choice) = member(body, "tool_choice") else { return Ok(()) };
    asked.choice = match choice.as_str() {
        Some("auto") => ToolChoice::Auto,
        Some("none") => ToolChoice::Off,
        Some("required") => ToolChoice::Any,
        Some(other) => {
            let message = format!("Invalid value: '{other}'.");
            return Err(invalid("tool_choice", message).with_code("invalid_value"));
        }
        None => match choice.get("name").and_then(Value::as_str) {
            Some(name) if asked.tools.iter().any(|tool| tool.name == name) => {
                ToolChoice::Named(name.to_owned())
            }
            Some(name) => {
                let message = format!("Tool choice '{name}' not found in 'tools'.");
                return Err(invalid("tool_choice", message));
            }
            None if choice.get("mode").and_then(Value::as_str) == Some("required") => {
                ToolChoice::Any
            }
            None => ToolChoice::Auto,
        },
    };
    Ok(())
}
