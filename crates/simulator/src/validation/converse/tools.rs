//! The tools of a request, and the choice among them.

use serde_json::Value;

use super::blocks::{blocks, list_of, messages};
use super::{of_model, unsupported};
use crate::answer::Invalid;
use crate::validation::{Model, json_schema};

pub(super) fn check(body: &Value, model: &Model) -> Result<(), Invalid> {
    let Some(config) = body.get("toolConfig").filter(|config| !config.is_null()) else {
        return check_absence(body);
    };
    if !model.takes("tools") {
        return Err(Invalid::new("This model doesn't support tool use."));
    }
    let mut names: Vec<&str> = Vec::new();
    for tool in blocks(list_of(config, "tools")) {
        let name = tool.text_of("name");
        match tool.kind {
            "toolSpec" => check_spec(tool.at, tool.value, model)?,
            "systemTool" if model.is_known() && !model.is_of("amazon.nova-2") => {
                return Err(Invalid::new(format!(
                    "This model doesn't support the system tool {name}. Remove it and try again."
                )));
            }
            "systemTool" => {}
            _ => continue,
        }
        if names.contains(&name) {
            return Err(of_model("tools: Tool names must be unique."));
        }
        names.push(name);
    }
    check_choice(config, &names, model)
}

/// Without tools, there may be no trace of tools in the conversation.
fn check_absence(body: &Value) -> Result<(), Invalid> {
    let is_of_tools = |kind: &str| matches!(kind, "toolUse" | "toolResult");
    let has_traces =
        messages(body).iter().any(|message| message.blocks().any(|block| is_of_tools(block.kind)));
    match has_traces {
        true => Err(Invalid::new(
            "The toolConfig field must be defined when using toolUse and toolResult content \
             blocks.",
        )),
        false => Ok(()),
    }
}

fn check_spec(at: usize, spec: &Value, model: &Model) -> Result<(), Invalid> {
    let schema = spec.pointer("/inputSchema/json").unwrap_or(&Value::Null);
    let place = format!("toolConfig.tools.{at}.toolSpec.inputSchema.json");
    if !schema.is_object() {
        return Err(Invalid::new(format!(
            "The format of the value at {place} is invalid. Provide a json object for the field \
             and try again."
        )));
    }
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(Invalid::new(format!(
            "The value at {place}.type must be one of the following: object."
        )));
    }
    if spec.get("description").and_then(Value::as_str).is_some_and(|text| text.trim().is_empty()) {
        return Err(Invalid::new(format!(
            "The description field in the ToolSpecification object at \
             toolConfig.tools.{at}.toolSpec is blank. Add text to the description field, and try \
             again."
        )));
    }
    let Some(strict) = spec.get("strict").and_then(Value::as_bool) else { return Ok(()) };
    if !model.takes("strict_tools") {
        return Err(unsupported(&format!("toolConfig.tools.{at}.toolSpec.strict")));
    }
    match json_schema::open_object(schema, &format!("tools.{at}.custom.input_schema")) {
        Some(open) if strict => Err(of_model(format!(
            "{open}: For 'object' type, 'additionalProperties' must be explicitly set to false"
        ))),
        _ => Ok(()),
    }
}

fn check_choice(config: &Value, names: &[&str], model: &Model) -> Result<(), Invalid> {
    let choice = config.get("toolChoice").and_then(Value::as_object);
    let choice = choice.and_then(|choice| choice.iter().find(|(_, value)| !value.is_null()));
    let Some((kind, value)) = choice else { return Ok(()) };
    let takes = match kind.as_str() {
        "auto" => model.takes("tool_choice"),
        _ => model.takes("tool_choice") && model.takes("forced_tool_use"),
    };
    if !takes {
        return Err(unsupported(&format!("toolConfig.toolChoice.{kind}")));
    }
    let named = value.get("name").and_then(Value::as_str);
    match named.filter(|name| !names.contains(name)) {
        Some(name) => {
            Err(of_model(format!("tool_choice.tool: Tool '{name}' not found in provided tools")))
        }
        None => Ok(()),
    }
}

/// Whether a request forces the use of a tool.
pub(super) fn is_forced(body: &Value) -> bool {
    let of_config = ["any", "tool"].iter().any(|kind| {
        body.pointer(&format!("/toolConfig/toolChoice/{kind}")).is_some_and(|it| !it.is_null())
    });
    let of_claude = body.pointer("/additionalModelRequestFields/tool_choice/type");
    of_config || of_claude.is_some_and(|kind| kind == "any" || kind == "tool")
}
