//! The members and the refusals that the APIs share.

use serde_json::Value;

use super::super::reply::Failure;
use super::model::Model;
use sluice_bedrock::ErrorKind;

pub(super) use super::super::asked::{Asked, Tool, ToolChoice};

/// Names of service tiers that a request may have.
const TIERS: [&str; 7] =
    ["auto", "default", "flex", "priority", "reserved", "standard", "standard_only"];

/// A refusal of what a member of the request says.
pub(super) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Failure {
    Failure::new(ErrorKind::Validation, message).about(param)
}

/// The refusal of a member that this model does not take.
pub(super) fn unsupported(param: &str, advice: &str) -> Failure {
    let message =
        format!("Unsupported parameter: '{param}' is not supported with this model.{advice}");
    invalid(param, message).with_code("unsupported_parameter")
}

/// The refusal of a value that this model does not take.
pub(super) fn unsupported_value(param: &str, value: &str, advice: &str) -> Failure {
    let message =
        format!("Unsupported value: '{param}' does not support '{value}' with this model.{advice}");
    invalid(param, message).with_code("unsupported_value")
}

/// A member that is there and not null.
pub(super) fn member<'a>(body: &'a Value, name: &str) -> Option<&'a Value> {
    body.get(name).filter(|value| !value.is_null())
}

/// A member that must be true or false.
pub(super) fn flag(body: &Value, name: &str) -> Result<Option<bool>, Failure> {
    let Some(value) = member(body, name) else { return Ok(None) };
    let flag = value.as_bool().ok_or_else(|| {
        invalid(name, format!("Invalid type for '{name}': expected a boolean."))
            .with_code("invalid_type")
    })?;
    Ok(Some(flag))
}

/// A member that must be a number of tokens.
pub(super) fn maximum(body: &Value, name: &str) -> Result<Option<u64>, Failure> {
    let Some(value) = member(body, name) else { return Ok(None) };
    let number = value.as_u64().filter(|&number| number > 0).ok_or_else(|| {
        let message = format!("Invalid '{name}': expected an integer of at least 1.");
        invalid(name, message).with_code("integer_below_min_value")
    })?;
    Ok(Some(number))
}

/// The service tier of a request.
///
/// # Errors
/// When there is none of this name.
pub(super) fn tier(body: &Value) -> Result<Option<String>, Failure> {
    let Some(value) = member(body, "service_tier") else { return Ok(None) };
    match value.as_str().filter(|tier| TIERS.contains(tier)) {
        Some(tier) => Ok(Some(tier.to_owned())),
        None => Err(invalid("service_tier", format!("Invalid value: {value} is no service tier."))
            .with_code("invalid_value")),
    }
}

/// Reads an effort, and whether the model thinks with it.
///
/// # Errors
/// When the model does not take it.
pub(super) fn thinks(model: &Model, effort: Option<&Value>, param: &str) -> Result<bool, Failure> {
    // GPT reasons unless it is told not to; the others of these families can't be told.
    let reasons = model.gpt_version().is_some() || model.has("thinking");
    let Some(effort) = effort.filter(|effort| !effort.is_null()) else { return Ok(reasons) };
    let name = effort.as_str().unwrap_or_default();
    let efforts = model.efforts();
    if efforts.is_empty() || efforts.iter().any(|known| known == name) {
        return Ok(name != "none" && (reasons || !name.is_empty()));
    }
    let advice = format!(" Supported values are: {}.", efforts.join(", "));
    Err(unsupported_value(
        param,
        &effort.as_str().map_or(effort.to_string(), str::to_owned),
        &advice,
    ))
}

/// A sampling parameter that the request sets to something else than its default.
pub(super) fn sampling(body: &Value) -> Option<&'static str> {
    let differs = |name: &str, usual: f64| {
        member(body, name).is_some_and(|value| value.as_f64() != Some(usual))
    };
    let set = |name: &str| differs(name, f64::NAN);
    [
        ("temperature", differs("temperature", 1.0)),
        ("top_p", differs("top_p", 1.0)),
        ("presence_penalty", differs("presence_penalty", 0.0)),
        ("frequency_penalty", differs("frequency_penalty", 0.0)),
        ("logprobs", member(body, "logprobs").is_some_and(|value| value != &Value::Bool(false))),
        ("top_logprobs", set("top_logprobs")),
        ("logit_bias", set("logit_bias")),
    ]
    .into_iter()
    .find_map(|(name, is_set)| is_set.then_some(name))
}

/// Whether an image is in the body of the request or in S3, as Bedrock wants it.
pub(super) fn is_allowed_image(url: &str) -> bool {
    url.starts_with("data:") || url.starts_with("s3://")
}

/// The refusal of a maximum above the cap of a model.
pub(super) fn above_cap(param: &str, asked: u64, cap: u64) -> Failure {
    let message = format!(
        "{param} is too large: {asked}. This model supports at most {cap} completion tokens."
    );
    invalid(param, message).with_code("invalid_value")
}

/// The refusal of an input that is longer than a model reads.
pub(super) fn too_long(param: &str, tokens: u64, most: u64) -> Failure {
    let message = format!(
        "Your input exceeds the context window of this model: it has {tokens} tokens, and at most \
         {most} fit. Shorten it and try again."
    );
    invalid(param, message).with_code(sluice_bedrock::dialect::CONTEXT_LENGTH_EXCEEDED)
}
