//! The tools that a request for a message offers, and the choice of them.

use serde_json::Value;

use super::super::super::reply::Failure;
use super::super::asked::{Asked, Tool, ToolChoice, member};
use super::super::model::Model;
use super::read::invalid;
use sluice_catalogue::Endpoint;

/// Reads the tools and the choice of them.
///
/// # Errors
/// What Bedrock refuses.
pub(super) fn read_tools(body: &Value, model: &Model, asked: &mut Asked) -> Result<(), Failure> {
    let mut loaded = Vec::new();
    references(body.get("messages").unwrap_or(&Value::Null), &mut loaded);
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
            let must_load = tool.get("defer_loading") == Some(&Value::Bool(true));
            asked.tools.push(Tool {
                name: name.to_owned(),
                schema: schema.clone(),
                is_deferred: must_load && !loaded.contains(&name),
                ..Tool::default()
            });
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

/// The tools that a search has found, by the references to them.
fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        Value::Object(members) => {
            if members.get("type").is_some_and(|kind| kind == "tool_reference") {
                found.extend(members.get("tool_name").and_then(Value::as_str));
            }
            members.values().for_each(|value| references(value, found));
        }
        _ => {}
    }
}
