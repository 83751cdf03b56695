//! What a request to Converse asks of a model beside its texts: tools, thinking, a schema, stop sequences.

use serde_json::Value;

use super::Prompt;
use crate::asked::{Asked, Tool, ToolChoice};
use crate::validation::Model;

/// What Nova shows in place of its thoughts.
const CONCEALED: &str = "[REDACTED]";

/// Reads a request that was found valid.
pub(super) fn read(mut prompt: Prompt, body: &Value, model: &Model) -> Asked {
    read_tool_turns(&mut prompt, body);
    let fields = body.get("additionalModelRequestFields").unwrap_or(&Value::Null);
    let schema = body.pointer("/outputConfig/textFormat/structure/jsonSchema/schema");
    let schema = schema.and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok());
    let stops = body.pointer("/inferenceConfig/stopSequences").and_then(Value::as_array);
    let stops = stops.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let one_call = fields.pointer("/tool_choice/disable_parallel_tool_use");
    let mut asked = Asked {
        tools: tools(body),
        choice: choice(body, fields),
        one_call: one_call.and_then(Value::as_bool).unwrap_or(false),
        ends_with_result: ends_with_result(body),
        json_schema: schema.or_else(|| fields.pointer("/output_config/format/schema").cloned()),
        stops: stops.filter(|stop| !stop.is_empty()).collect(),
        prompt,
        ..Asked::default()
    };
    read_thinking(&mut asked, fields, model);
    asked
}

/// Counts the inputs of calls and the texts of results.
fn read_tool_turns(prompt: &mut Prompt, body: &Value) {
    for block in blocks(body) {
        if let Some(input) = block.pointer("/toolUse/input") {
            prompt.read_text(&input.to_string());
        }
        let results = block.pointer("/toolResult/content").and_then(Value::as_array);
        for result in results.into_iter().flatten() {
            if let Some(text) = result.get("text").and_then(Value::as_str) {
                prompt.read_text(text);
            }
            if let Some(json) = result.get("json") {
                prompt.read_text(&json.to_string());
            }
        }
    }
}

fn blocks(body: &Value) -> impl Iterator<Item = &Value> {
    let messages = body.get("messages").and_then(Value::as_array).into_iter().flatten();
    messages.filter_map(|message| message.get("content")?.as_array()).flatten()
}

fn ends_with_result(body: &Value) -> bool {
    let last = body.get("messages").and_then(Value::as_array).and_then(|messages| messages.last());
    let content = last.and_then(|last| last.get("content")?.as_array());
    content.into_iter().flatten().any(|block| block.get("toolResult").is_some())
}

fn tools(body: &Value) -> Vec<Tool> {
    let tools = body.pointer("/toolConfig/tools").and_then(Value::as_array);
    let specs = tools.into_iter().flatten().filter_map(|tool| tool.get("toolSpec"));
    let tool = |spec: &Value| {
        let name = spec.get("name")?.as_str()?.to_owned();
        let schema = spec.pointer("/inputSchema/json").cloned().unwrap_or_default();
        Some(Tool { name, schema, ..Tool::default() })
    };
    specs.filter_map(tool).collect()
}

fn choice(body: &Value, fields: &Value) -> ToolChoice {
    let named = |name: &Value| ToolChoice::Named(name.as_str().unwrap_or_default().to_owned());
    let there = |path: &str| body.pointer(path).filter(|value| !value.is_null());
    if let Some(name) = there("/toolConfig/toolChoice/tool/name") {
        return named(name);
    }
    if there("/toolConfig/toolChoice/any").is_some() {
        return ToolChoice::Any;
    }
    match fields.pointer("/tool_choice/type").and_then(Value::as_str) {
        Some("none") => ToolChoice::Off,
        Some("any") => ToolChoice::Any,
        Some("tool") => fields.pointer("/tool_choice/name").map(named).unwrap_or_default(),
        _ => ToolChoice::Auto,
    }
}

fn read_thinking(asked: &mut Asked, fields: &Value, model: &Model) {
    let text = |path: &str| fields.pointer(path).and_then(Value::as_str);
    asked.shows_thinking = true;
    if model.is_claude() {
        let kind = text("/thinking/type").or(text("/reasoning_config/type"));
        let is_always_on = model.has("thinking_always_on");
        asked.thinks = match kind {
            None => is_always_on,
            Some("disabled") => false,
            Some("between_tools") => asked.ends_with_result,
            Some(_) => true,
        };
        // Models that always think show it only if the request asks for it.
        let display = text("/thinking/display");
        asked.shows_thinking = display.map_or(!is_always_on, |display| display != "omitted");
        asked.signs_thinking = true;
        return;
    }
    if model.is_nova() {
        asked.thinks = text("/reasoningConfig/type") == Some("enabled");
        asked.conceals_thinking = Some(CONCEALED);
        return;
    }
    let is_asked = asked.prompt.directive("reasoning_tokens").is_some()
        || text("/reasoning_effort").is_some_and(|effort| effort != "none");
    asked.thinks = model.has("thinking") && is_asked;
}
