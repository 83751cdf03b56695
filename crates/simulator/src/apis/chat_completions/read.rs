//! What a request for a chat completion must be.

use serde_json::Value;

use super::super::super::reply::Failure;
use super::super::asked::{
    Asked, Tool, ToolChoice, above_cap, flag, invalid, is_allowed_image, maximum, member, sampling,
    thinks, too_long, unsupported, unsupported_value,
};
use super::super::model::Model;
use sluice_bedrock::ErrorKind;

const ROLES: [&str; 6] = ["system", "assistant", "user", "function", "tool", "developer"];
/// GPT from this version on is stricter.
const STRICT_GPT: (u32, u32) = (5, 6);

/// Reads a request.
///
/// # Errors
/// What Bedrock refuses.
pub(in super::super) fn read(body: &Value, model: &Model) -> Result<Asked, Failure> {
    let mut asked = Asked { stream: flag(body, "stream")?.unwrap_or(false), ..Asked::default() };
    read_messages(body, &mut asked)?;
    read_tools(body, &mut asked)?;
    if let Some(options) = member(body, "stream_options") {
        if !asked.stream {
            let message =
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
            return Err(invalid("stream_options", message));
        }
        asked.include_usage = flag(options, "include_usage")?.unwrap_or(false);
    }
    let old = maximum(body, "max_tokens")?;
    asked.prompt.max_output = maximum(body, "max_completion_tokens")?.or(old);
    let effort = member(body, "reasoning_effort");
    if model.is_grok() && effort.and_then(Value::as_str) == Some("none") {
        return Err(unsupported_value("reasoning_effort", "none", ""));
    }
    asked.thinks = thinks(model, effort, "reasoning_effort")?;
    asked.shows_thinking = shows_thinking(model);
    check_model(body, model, &asked)?;
    asked.json_schema = body.pointer("/response_format/json_schema/schema").cloned();
    // gpt-oss takes a format and does not keep to it.
    asked.json_schema.take_if(|_| model.is_gpt_oss());
    if let Some(max) = asked.prompt.max_output.filter(|&max| max > model.cap()) {
        let name = if old == Some(max) { "max_tokens" } else { "max_completion_tokens" };
        return Err(above_cap(name, max, model.cap()));
    }
    let input = asked.prompt.input_tokens();
    match model.most_input() {
        Some(most) if input > most => Err(too_long("messages", input, most)),
        _ => Ok(asked),
    }
}

/// Whether the reasoning of a model stands in the text.
fn shows_thinking(model: &Model) -> bool {
    model.has("chat_completions_inline_reasoning")
}

fn check_model(body: &Value, model: &Model, asked: &Asked) -> Result<(), Failure> {
    let is_strict = model.gpt_version().is_some_and(|version| version >= STRICT_GPT);
    if is_strict && member(body, "max_tokens").is_some() {
        return Err(unsupported("max_tokens", " Use 'max_completion_tokens' instead."));
    }
    if (is_strict || model.is_grok()) && member(body, "stop").is_some() {
        return Err(unsupported("stop", ""));
    }
    if is_strict && asked.thinks {
        if let Some(name) = sampling(body) {
            return Err(unsupported(name, " It is taken with 'reasoning_effort' set to 'none'."));
        }
        if !asked.tools.is_empty() && !model.has("chat_completions_tools_with_reasoning") {
            let message = "Function tools with reasoning are not supported for this model in \
                           /v1/chat/completions. Please use /v1/responses or set reasoning_effort to none.";
            return Err(invalid("tools", message));
        }
    }
    let is_set = |name: &str| member(body, name).is_some_and(|it| it.as_f64() != Some(0.0));
    if model.is_grok() && (is_set("presence_penalty") || is_set("frequency_penalty")) {
        let message = "Bedrock is unable to process your request.";
        return Err(Failure::new(ErrorKind::ServiceUnavailable, message));
    }
    if model.is_gpt_oss() && member(body, "logit_bias").is_some() {
        return Err(unsupported("logit_bias", ""));
    }
    Ok(())
}

fn read_messages(body: &Value, asked: &mut Asked) -> Result<(), Failure> {
    let Some(messages) = member(body, "messages") else {
        return Err(invalid("messages", "Missing required parameter: 'messages'.")
            .with_code("missing_required_parameter"));
    };
    let messages = messages.as_array().ok_or_else(|| {
        invalid("messages", "Invalid type for 'messages': expected an array of objects.")
            .with_code("invalid_type")
    })?;
    if messages.is_empty() {
        return Err(
            invalid("messages", "Invalid 'messages': the array is empty.").with_code("empty_array")
        );
    }
    // The calls that results must still come for.
    let mut open: Vec<&str> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
        if !ROLES.contains(&role) {
            let message = format!("Invalid value: '{role}'. Supported values are: {ROLES:?}.");
            return Err(invalid(format!("messages[{at}].role"), message).with_code("invalid_value"));
        }
        if role == "tool" {
            let id = message.get("tool_call_id").and_then(Value::as_str).ok_or_else(|| {
                let param = format!("messages[{at}].tool_call_id");
                let message = format!("Missing required parameter: '{param}'.");
                invalid(param, message).with_code("missing_required_parameter")
            })?;
            let Some(found) = open.iter().position(|open| *open == id) else {
                let message = "A message with role 'tool' must answer a call in the 'tool_calls' of \
                               the message before it.";
                return Err(invalid(format!("messages[{at}].role"), message));
            };
            open.swap_remove(found);
        } else if !open.is_empty() {
            return Err(unanswered(at, &open));
        }
        read_content(at, role, message, asked)?;
        let calls = message.get("tool_calls").and_then(Value::as_array);
        for call in calls.into_iter().flatten() {
            open.extend(call.get("id").and_then(Value::as_str));
            let arguments = call.pointer("/function/arguments").and_then(Value::as_str);
            asked.prompt.read_text(arguments.unwrap_or_default());
        }
        asked.ends_with_result = role == "tool";
    }
    if open.is_empty() { Ok(()) } else { Err(unanswered(messages.len(), &open)) }
}

fn unanswered(at: usize, open: &[&str]) -> Failure {
    let message = format!(
        "An assistant message with 'tool_calls' must be followed by tool messages that answer each \
         'tool_call_id'. These have no answer: {}",
        open.join(", ")
    );
    invalid(format!("messages[{at}].role"), message)
}

fn read_content(at: usize, role: &str, message: &Value, asked: &mut Asked) -> Result<(), Failure> {
    let param = format!("messages[{at}].content");
    let has_calls = message.get("tool_calls").is_some() || message.get("function_call").is_some();
    let mut read = |text: &str| {
        asked.prompt.read_text(text);
        if role == "user" {
            text.clone_into(&mut asked.prompt.last_text);
        }
    };
    match member(message, "content") {
        None if role == "assistant" && has_calls => {}
        Some(Value::String(text)) => read(text),
        Some(Value::Array(parts)) => {
            for (part_at, part) in parts.iter().enumerate() {
                let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
                match kind {
                    "text" => read(part.get("text").and_then(Value::as_str).unwrap_or_default()),
                    "image_url" => {
                        let url = part.pointer("/image_url/url").and_then(Value::as_str);
                        if !url.is_some_and(is_allowed_image) {
                            let param = format!("{param}[{part_at}].image_url.url");
                            let message = "The image must be a data URL or an S3 URI.";
                            return Err(invalid(param, message).with_code("invalid_image_url"));
                        }
                    }
                    "file" | "input_audio" | "refusal" => {}
                    other => {
                        let message = format!("Invalid value: '{other}'.");
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

fn read_tools(body: &Value, asked: &mut Asked) -> Result<(), Failure> {
    for (at, tool) in
        member(body, "tools").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        let function = tool.get("function").unwrap_or(&Value::Null);
        let Some(name) = function.get("name").and_then(Value::as_str) else {
            let param = format!("tools[{at}].function.name");
            let message = format!("Missing required parameter: '{param}'.");
            return Err(invalid(param, message).with_code("missing_required_parameter"));
        };
        let schema = function.get("parameters").cloned().unwrap_or_default();
        asked.tools.push(Tool { name: name.to_owned(), schema, ..Tool::default() });
    }
    asked.one_call = flag(body, "parallel_tool_calls")? == Some(false);
    let Some(choice) = member(body, "tool_choice") else { return Ok(()) };
    if asked.tools.is_empty() {
        return Err(invalid(
            "tool_choice",
            "'tool_choice' is only allowed when 'tools' are specified.",
        ));
    }
    asked.choice = match choice.as_str() {
        Some("auto") => ToolChoice::Auto,
        Some("none") => ToolChoice::Off,
        Some("required") => ToolChoice::Any,
        Some(other) => {
            let message = format!("Invalid value: '{other}'.");
            return Err(invalid("tool_choice", message).with_code("invalid_value"));
        }
        None => match choice.pointer("/function/name").and_then(Value::as_str) {
            Some(name) if asked.tools.iter().any(|tool| tool.name == name) => {
                ToolChoice::Named(name.to_owned())
            }
            Some(name) => {
                let message = format!("The function '{name}' is not in 'tools'.");
                return Err(invalid("tool_choice.function.name", message));
            }
            None if choice.pointer("/allowed_tools/mode").and_then(Value::as_str)
                == Some("required") =>
            {
                ToolChoice::Any
            }
            None => ToolChoice::Auto,
        },
    };
    Ok(())
}
