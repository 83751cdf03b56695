//! The wish for thinking: in which form a model takes it, and what stands against it.

use serde_json::Value;

use super::blocks::messages;
use super::{additional_fields, of_model, tools};
use crate::answer::Invalid;
use crate::validation::Model;

/// The least budget of thinking, in tokens.
const LEAST_BUDGET: u64 = 1024;

pub(super) fn check(body: &Value, model: &Model) -> Result<(), Invalid> {
    let fields = body.get("additionalModelRequestFields").unwrap_or(&Value::Null);
    let there = |name: &str| fields.get(name).filter(|value| !value.is_null());
    if let Some(effort) = body.pointer("/outputConfig/effort") {
        additional_fields::check_effort(effort, model, "outputConfig.effort")?;
    }
    if model.is_nova() {
        return match there("reasoningConfig") {
            Some(config) => check_of_nova(body, config, model),
            None => Ok(()),
        };
    }
    if !model.is_claude() {
        return Ok(());
    }
    match there("thinking").or_else(|| there("reasoning_config")) {
        Some(thinking) => {
            let form = form_of(thinking, model)?;
            check_of_claude(body, fields, form)
        }
        None => Ok(()),
    }
}

/// How Claude is to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Form {
    Off,
    Budget,
    Adaptive,
}

/// Reads Claude's `thinking`.
///
/// # Errors
/// When the model does not take it in this form.
pub(in super::super) fn form_of(thinking: &Value, model: &Model) -> Result<Form, Invalid> {
    if !model.takes("thinking") {
        return Err(of_model("thinking: Extra inputs are not permitted"));
    }
    let known = ["type", "budget_tokens", "display"];
    let members = thinking.as_object().into_iter().flatten();
    if let Some((unknown, _)) =
        members.into_iter().find(|(name, _)| !known.contains(&name.as_str()))
    {
        return Err(of_model(format!("thinking.{unknown}: Extra inputs are not permitted")));
    }
    let kind = thinking.get("type").and_then(Value::as_str);
    match kind.ok_or_else(|| of_model("thinking.type: Field required"))? {
        "disabled" if model.has("thinking_always_on") => {
            Err(of_model("thinking.type: \"disabled\" is not supported for this model."))
        }
        "disabled" => Ok(Form::Off),
        "adaptive" | "between_tools" if !model.takes("adaptive_thinking") => {
            Err(of_model("adaptive thinking is not supported on this model"))
        }
        "adaptive" | "between_tools" => Ok(Form::Adaptive),
        "enabled" if model.has("adaptive_thinking") && !model.has("legacy_thinking") => {
            Err(of_model(
                "\"thinking.type.enabled\" is not supported for this model. Use \
                 \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking \
                 behavior.",
            ))
        }
        "enabled" => {
            let budget = thinking.get("budget_tokens").and_then(Value::as_u64);
            let budget =
                budget.ok_or_else(|| of_model("thinking.enabled.budget_tokens: Field required"))?;
            if budget < LEAST_BUDGET {
                return Err(of_model(format!(
                    "thinking.enabled.budget_tokens: Input should be greater than or equal to \
                     {LEAST_BUDGET}"
                )));
            }
            Ok(Form::Budget)
        }
        other => Err(of_model(format!(
            "thinking: Input tag '{other}' found using 'type' does not match any of the expected \
             tags"
        ))),
    }
}

fn check_of_claude(body: &Value, fields: &Value, form: Form) -> Result<(), Invalid> {
    if form == Form::Off {
        return Ok(());
    }
    if tools::is_forced(body) {
        return Err(of_model("Thinking may not be enabled when tool_choice forces tool use."));
    }
    let number = |path: &str| body.pointer(path).and_then(Value::as_f64);
    if number("/inferenceConfig/temperature").is_some_and(|temperature| temperature < 1.0) {
        return Err(of_model(
            "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.",
        ));
    }
    if number("/inferenceConfig/topP").is_some_and(|top_p| top_p < 0.95) {
        return Err(of_model(
            "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled or in \
             adaptive mode.",
        ));
    }
    if fields.get("top_k").is_some_and(|it| !it.is_null()) {
        return Err(of_model(
            "`top_k` must be unset when thinking is enabled or in adaptive mode.",
        ));
    }
    let messages = messages(body);
    if messages.last().is_some_and(|last| last.role == "assistant") {
        return Err(of_model("Assistant messages cannot be pre-filled when thinking is enabled."));
    }
    // A model that decides by itself may have called a tool without a thought.
    let last = messages.iter().rev().find(|message| message.role == "assistant");
    let Some(last) = last.filter(|_| form == Form::Budget) else { return Ok(()) };
    let first = last.blocks().next().map(|block| block.kind).unwrap_or_default();
    if last.of_kind("toolUse").next().is_none() || first == "reasoningContent" {
        return Ok(());
    }
    let found = if first == "toolUse" { "tool_use" } else { first };
    Err(of_model(format!(
        "messages.{}.content.0.type: Expected `thinking` or `redacted_thinking`, but found \
         `{found}`. When `thinking` is enabled, a final `assistant` message must start with a \
         thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks).",
        last.at
    )))
}

fn check_of_nova(body: &Value, config: &Value, model: &Model) -> Result<(), Invalid> {
    let kind = config.get("type").and_then(Value::as_str).unwrap_or_default();
    let effort = config.get("maxReasoningEffort");
    let is_effort = |effort: &Value| {
        effort.as_str().is_some_and(|effort| ["low", "medium", "high"].contains(&effort))
    };
    let is_valid = match kind {
        "disabled" => effort.is_none(),
        "enabled" => effort.is_some_and(is_effort),
        _ => false,
    };
    if !model.takes("thinking") || !is_valid {
        return Err(of_model(
            "Malformed input request: the provided reasoning config value is invalid, please \
             reformat your input and try again.",
        ));
    }
    let is_high = effort.and_then(Value::as_str) == Some("high");
    let is_set = |name: &&&str| {
        body.pointer(&format!("/inferenceConfig/{name}")).is_some_and(|it| !it.is_null())
    };
    match ["maxTokens", "temperature", "topP"].iter().find(is_set).filter(|_| is_high) {
        Some(name) => Err(of_model(format!(
            "Malformed input request: {name} must be unset when maxReasoningEffort is high, please \
             reformat your input and try again."
        ))),
        None => Ok(()),
    }
}
