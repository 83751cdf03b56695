//! `additionalModelRequestFields`: which members a family knows, and what conflicts with the rest of the
//! request.

use serde_json::{Map, Value};

use super::{of_model, unsupported};
use crate::answer::Invalid;
use crate::validation::Model;
use sluice_catalogue::{BetaSurface, Catalogue};

/// What Claude knows.
const OF_CLAUDE: [&str; 12] = [
    "anthropic_beta",
    "max_tokens",
    "metadata",
    "output_config",
    "reasoning_config",
    "stop_sequences",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];
/// What only Claude knows.
const OF_CLAUDE_ALONE: [&str; 6] = [
    "anthropic_beta",
    "anthropic_version",
    "context_management",
    "output_config",
    "reasoning_config",
    "thinking",
];
/// Members that a request has a place of its own for.
const ELSEWHERE: [(&str, &str); 8] = [
    ("max_tokens", "/inferenceConfig/maxTokens"),
    ("temperature", "/inferenceConfig/temperature"),
    ("top_p", "/inferenceConfig/topP"),
    ("stop_sequences", "/inferenceConfig/stopSequences"),
    ("messages", "/messages"),
    ("system", "/system"),
    ("output_config/effort", "/outputConfig/effort"),
    ("output_config/format", "/outputConfig/textFormat"),
];
/// Beginnings of the types of tools that the client runs and that Claude knows by type.
const CLIENT_TOOLS: [&str; 5] =
    ["computer_", "bash_", "text_editor_", "memory_", "tool_search_tool"];

pub(super) fn check(body: &Value, model: &Model) -> Result<(), Invalid> {
    let Some(fields) = body.get("additionalModelRequestFields").filter(|it| !it.is_null()) else {
        return Ok(());
    };
    let Some(members) = fields.as_object() else {
        return Err(Invalid::new(
            "The format of the additionalModelRequestFields field is invalid. Provide a json \
             object for the field and try again.",
        ));
    };
    for (name, place) in ELSEWHERE {
        let is_in = |value: &Value, path: &str| value.pointer(path).is_some_and(|it| !it.is_null());
        if is_in(fields, &format!("/{name}")) && is_in(body, place) {
            let place = place.trim_start_matches('/').replace('/', ".");
            return Err(conflict(name, &place));
        }
    }
    if !model.is_known() {
        return Ok(());
    }
    if model.is_claude() {
        return check_of_claude(body, members, model);
    }
    check_of_others(members, model)
}

fn conflict(name: &str, place: &str) -> Invalid {
    Invalid::new(format!(
        "The additional field {name} conflicts with the existing field {place}. Remove {name} and \
         try again."
    ))
}

fn check_of_claude(
    body: &Value,
    members: &Map<String, Value>,
    model: &Model,
) -> Result<(), Invalid> {
    if let Some(unknown) = members.keys().find(|name| !OF_CLAUDE.contains(&name.as_str())) {
        return Err(extra(unknown));
    }
    if let Some(flags) = members.get("anthropic_beta") {
        check_flags(flags, BetaSurface::Converse)?;
    }
    if let Some(choice) = members.get("tool_choice") {
        check_choice(body, choice, members.contains_key("tools"), model)?;
    }
    for (at, tool) in
        members.get("tools").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        let kind = tool.get("type").and_then(Value::as_str).unwrap_or_default();
        if !CLIENT_TOOLS.iter().any(|known| kind.starts_with(known)) {
            return Err(of_model(format!(
                "tools.{at}: Input tag '{kind}' found using 'type' does not match any of the \
                 expected tags"
            )));
        }
    }
    let config = members.get("output_config").and_then(Value::as_object).into_iter().flatten();
    for (name, value) in config {
        match name.as_str() {
            "effort" => check_effort(value, model, "output_config.effort")?,
            "format" if model.takes("converse_json_schema") || model.has("structured_output") => {}
            name => return Err(extra(&format!("output_config.{name}"))),
        }
    }
    Ok(())
}

/// Refuses a beta flag that a way to Claude does not take.
pub(in super::super) fn check_flags(flags: &Value, surface: BetaSurface) -> Result<(), Invalid> {
    let flags =
        flags.as_array().ok_or_else(|| of_model("anthropic_beta: Input should be a valid list"))?;
    let catalogue = Catalogue::shipped();
    let known = |flag: &str| catalogue.betas(surface).values().flatten().any(|known| known == flag);
    match flags.iter().all(|flag| flag.as_str().is_some_and(known)) {
        true => Ok(()),
        false => Err(Invalid::new("invalid beta flag")),
    }
}

fn check_choice(
    body: &Value,
    choice: &Value,
    has_own_tools: bool,
    model: &Model,
) -> Result<(), Invalid> {
    let kind = choice.get("type").and_then(Value::as_str);
    let elsewhere = body.pointer("/toolConfig/toolChoice").and_then(Value::as_object);
    let elsewhere = elsewhere.and_then(|choice| choice.keys().next());
    match (kind, elsewhere) {
        (Some(_), Some(elsewhere)) => {
            return Err(conflict(
                "tool_choice/type",
                &format!("toolConfig.toolChoice.{elsewhere}"),
            ));
        }
        (None, None) => {
            return Err(of_model("tool_choice: Unable to extract tag using discriminator 'type'"));
        }
        (Some("auto" | "any" | "tool" | "none") | None, _) => {}
        (Some(kind), _) => {
            return Err(of_model(format!("tool_choice: Input tag '{kind}' is not expected")));
        }
    }
    if !has_own_tools && body.get("toolConfig").is_none_or(Value::is_null) {
        return Err(of_model("tool_choice: may only be specified while providing tools"));
    }
    if matches!(kind, Some("any" | "tool")) && !model.takes("forced_tool_use") {
        return Err(unsupported("tool_choice"));
    }
    if choice.get("disable_parallel_tool_use").is_some() && !model.takes("parallel_tool_control") {
        return Err(extra("tool_choice.disable_parallel_tool_use"));
    }
    Ok(())
}

/// Refuses an effort that the model does not take.
pub(in super::super) fn check_effort(
    effort: &Value,
    model: &Model,
    path: &str,
) -> Result<(), Invalid> {
    let name = effort.as_str().unwrap_or_default();
    match model.takes_effort(name) {
        true => Ok(()),
        false => Err(of_model(format!("{path}: '{name}' is not supported by this model"))),
    }
}

fn check_of_others(members: &Map<String, Value>, model: &Model) -> Result<(), Invalid> {
    for (name, value) in members {
        let name = name.as_str();
        let is_taken = match name {
            "tool_choice" => value.get("type").is_none(),
            "reasoningConfig" => model.is_nova(),
            "inferenceConfig" if model.is_nova() => {
                let inner = value.as_object();
                inner.is_some_and(|inner| inner.keys().all(|name| name == "topK"))
            }
            "reasoning_effort" => {
                if !model.is_nova() && model.takes_effort(value.as_str().unwrap_or_default()) {
                    continue;
                }
                false
            }
            _ if model.is_nova() || model.is_of("meta.llama") => false,
            _ => !OF_CLAUDE_ALONE.contains(&name),
        };
        if !is_taken {
            return Err(of_model(format!(
                "Malformed input request: extraneous key [{name}] is not permitted, please \
                 reformat your input and try again."
            )));
        }
    }
    Ok(())
}

fn extra(name: &str) -> Invalid {
    of_model(format!("{name}: Extra inputs are not permitted"))
}
