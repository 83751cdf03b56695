//! Sampling, stop sequences, the form of the answer, and what else a request may set.

use serde_json::Value;

use super::blocks::list_of;
use super::{of_model, unsupported};
use crate::answer::Invalid;
use crate::validation::{Model, json_schema};

/// Models of Claude that take one of temperature and top P, not both.
const ONE_OF_BOTH: [&str; 5] = [
    "anthropic.claude-opus-4-1",
    "anthropic.claude-opus-4-5",
    "anthropic.claude-opus-4-6",
    "anthropic.claude-sonnet-4-",
    "anthropic.claude-haiku-4-5",
];

pub(super) fn check(body: &Value, model: &Model) -> Result<(), Invalid> {
    check_sampling(body, model)?;
    let stops = body.get("inferenceConfig").map(|it| list_of(it, "stopSequences"));
    let is_blank = |stop: &Value| stop.as_str().is_some_and(|stop| stop.trim().is_empty());
    if model.is_claude() && stops.unwrap_or_default().iter().any(is_blank) {
        return Err(of_model("stop_sequences: each stop sequence must contain non-whitespace"));
    }
    let is_pointer = |path: &Value| path.as_str().is_some_and(|path| path.starts_with('/'));
    if !list_of(body, "additionalModelResponseFieldPaths").iter().all(is_pointer) {
        return Err(Invalid::new(
            "The additionalModelResponseFieldPaths field has a value that is no JSON pointer. Begin \
             each with a slash and try again.",
        ));
    }
    if body.get("promptVariables").is_some_and(|it| !it.is_null()) && model.is_known() {
        return Err(Invalid::new(
            "The promptVariables field is only supported when the model ID is the ARN of a prompt.",
        ));
    }
    check_format(body, model)
}

fn check_sampling(body: &Value, model: &Model) -> Result<(), Invalid> {
    let is_set = |path: &str| body.pointer(path).is_some_and(|value| !value.is_null());
    let set: Vec<&str> = [
        ("temperature", "/inferenceConfig/temperature"),
        ("temperature", "/additionalModelRequestFields/temperature"),
        ("top_p", "/inferenceConfig/topP"),
        ("top_p", "/additionalModelRequestFields/top_p"),
        ("top_k", "/additionalModelRequestFields/top_k"),
    ]
    .into_iter()
    .filter_map(|(name, path)| is_set(path).then_some(name))
    .collect();
    if let Some(name) = set.first().filter(|_| model.lacks("sampling")) {
        return Err(of_model(format!("`{name}` is deprecated for this model.")));
    }
    let has_both = set.contains(&"temperature") && set.contains(&"top_p");
    // Sonnet 4 itself takes both.
    let is_first = model.is_of("anthropic.claude-sonnet-4-2");
    match has_both && !is_first && ONE_OF_BOTH.iter().any(|beginning| model.is_of(beginning)) {
        true => Err(of_model(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only \
             one.",
        )),
        false => Ok(()),
    }
}

fn check_format(body: &Value, model: &Model) -> Result<(), Invalid> {
    let Some(format) = body.pointer("/outputConfig/textFormat").filter(|it| !it.is_null()) else {
        return Ok(());
    };
    if !model.takes("converse_json_schema") && !model.has("structured_output") {
        return Err(unsupported("outputConfig.textFormat"));
    }
    let schema = format.pointer("/structure/jsonSchema/schema").and_then(Value::as_str);
    let schema = schema.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let Some(schema) = schema.filter(Value::is_object) else {
        return Err(Invalid::new(
            "The value at outputConfig.textFormat.structure.jsonSchema.schema is not a JSON schema. \
             Provide one as a string and try again.",
        ));
    };
    match json_schema::open_object(&schema, "output_config.format.schema") {
        Some(open) => Err(of_model(format!(
            "{open}: For 'object' type, 'additionalProperties' must be explicitly set to false"
        ))),
        None => Ok(()),
    }
}
