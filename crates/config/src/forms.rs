//! Forms of texts that the config keeps as they are, each by its `format` in the schema.

use http::HeaderName;

use super::endpoint::Endpoint;
use super::glob::Glob;

/// A model id, profile or ARN. Its alphabet is that of `modelId` in the Bedrock Runtime API.
pub(super) fn model_id(model: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".:/_-".contains(c);
    if model.contains('%') {
        Err(format!("'{model}' must be written without percent-encoding"))
    } else if model.len() > 2048 || !model.chars().all(fits) {
        Err("a model is at most 2048 letters, digits and '.:/_-'".to_owned())
    } else {
        non_blank(model)
    }
}

/// Exact model ids or globs.
pub(super) fn model_pattern(pattern: &str) -> Result<(), String> {
    if pattern.trim().is_empty() {
        return Err("a model must not be empty".to_owned());
    }
    Glob::new(pattern).map(drop).map_err(|error| format!("'{pattern}' is not a glob: {error}"))
}

/// An AWS region, known or not.
pub(super) fn region(region: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let has_endpoint = || Endpoint::of_region(region, false).is_ok();
    if (1..=40).contains(&region.len()) && region.chars().all(fits) && has_endpoint() {
        return Ok(());
    }
    Err(format!("'{region}' is not a region; write it like \"us-east-1\""))
}

/// A text that must say something.
pub(super) fn non_blank(text: &str) -> Result<(), String> {
    if text.trim().is_empty() { Err("must not be empty".to_owned()) } else { Ok(()) }
}

/// The start of the names of keys in Redis.
pub(super) fn redis_prefix(prefix: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if (1..=64).contains(&prefix.len()) && prefix.chars().all(fits) {
        return Ok(());
    }
    Err("is 1 to 64 letters, digits, '_' and '-'".to_owned())
}

/// The ARN of a role.
pub(super) fn role_arn(arn: &str) -> Result<(), String> {
    non_blank(arn)?;
    if arn.starts_with("arn:") && arn.contains(":role/") {
        return Ok(());
    }
    Err(format!("'{arn}' is not the ARN of a role"))
}

/// The id or ARN of a guardrail.
pub(super) fn guardrail_id(id: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || ":/_-".contains(c);
    if (1..=2048).contains(&id.len()) && id.chars().all(fits) {
        return Ok(());
    }
    Err("a guardrail is an id or an ARN: letters, digits and ':/_-'".to_owned())
}

/// The version of a guardrail.
pub(super) fn guardrail_version(version: &str) -> Result<(), String> {
    let is_number = version.bytes().all(|digit| digit.is_ascii_digit());
    if version == "DRAFT" || (1..=8).contains(&version.len()) && is_number {
        return Ok(());
    }
    Err("must be a number or \"DRAFT\"".to_owned())
}

/// A text that is compared with those of tokens.
pub(super) fn short_text(text: &str) -> Result<(), String> {
    const MAX_BYTES: usize = 1024;
    if (1..=MAX_BYTES).contains(&text.len()) {
        return Ok(());
    }
    Err(format!("must have 1 to {MAX_BYTES} bytes"))
}

/// What the paths of an API begin with, such as `/openai/v1`.
pub(super) fn path_prefix(prefix: &str) -> Result<(), String> {
    const MAX_SEGMENTS: usize = 5;
    const MAX_BYTES: usize = 256;
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_segment = |segment: &str| {
        !segment.is_empty() && segment.chars().all(fits) && segment.chars().any(|c| c != '.')
    };
    let is_prefix = |segments: &str| {
        segments.split('/').count() <= MAX_SEGMENTS && segments.split('/').all(is_segment)
    };
    if prefix.len() <= MAX_BYTES && prefix.strip_prefix('/').is_some_and(is_prefix) {
        return Ok(());
    }
    Err(format!(
        "'{prefix}' is not the beginning of a path; write it like \"/openai/v1\": 1 to {MAX_SEGMENTS} \
         segments of letters, digits and '._-', and no slash at the end"
    ))
}

/// The name of a header.
pub(super) fn header_name(name: &str) -> Result<(), String> {
    name.parse::<HeaderName>().map(drop).map_err(|_| "is not the name of a header".to_owned())
}
