//! ApplyGuardrail and InvokeGuardrailChecks: guardrails that find nothing, in the right shapes.

use serde_json::{Map, Value, json};

use super::answer::Invalid;

/// Text units of a policy: one for each 1,000 characters begun.
fn units(characters: usize) -> usize {
    characters.div_ceil(1_000)
}

/// Answers ApplyGuardrail.
///
/// # Errors
/// A request without `source` or `content`.
pub(super) fn apply(body: &Value) -> Result<Value, Invalid> {
    if !matches!(body.get("source").and_then(Value::as_str), Some("INPUT" | "OUTPUT")) {
        return Err(Invalid::new("source: Member must satisfy enum value set: [INPUT, OUTPUT]"));
    }
    let content = body.get("content").and_then(Value::as_array);
    let content = content.ok_or_else(|| Invalid::new("content: Member must not be null"))?;
    let characters: usize = content
        .iter()
        .filter_map(|block| block.get("text")?.get("text")?.as_str())
        .map(|text| text.chars().count())
        .sum();
    Ok(json!({
        "usage": {
            "topicPolicyUnits": 0,
            "contentPolicyUnits": units(characters),
            "wordPolicyUnits": 0,
            "sensitiveInformationPolicyUnits": 0,
            "sensitiveInformationPolicyFreeUnits": 0,
            "contextualGroundingPolicyUnits": 0,
        },
        "action": "NONE",
        "outputs": [],
        "assessments": [{}],
        "guardrailCoverage": {
            "textCharacters": {"guarded": characters, "total": characters},
        },
    }))
}

/// Answers InvokeGuardrailChecks: every category asked for, with a severity of zero.
///
/// # Errors
/// A request without `messages` or `checks`.
pub(super) fn checks(body: &Value) -> Result<Value, Invalid> {
    let messages = body.get("messages").and_then(Value::as_array);
    let messages = messages.ok_or_else(|| Invalid::new("messages: Member must not be null"))?;
    let checks = body.get("checks").and_then(Value::as_object);
    let checks = checks.ok_or_else(|| Invalid::new("checks: Member must not be null"))?;
    let characters: usize = messages
        .iter()
        .filter_map(|message| message.get("content")?.as_array())
        .flatten()
        .filter_map(|block| block.get("text")?.as_str())
        .map(|text| text.chars().count())
        .sum();
    let (mut results, mut usage) = (Map::new(), Map::new());
    for name in ["contentFilter", "promptAttack", "sensitiveInformation"] {
        let Some(check) = checks.get(name) else { continue };
        let categories = check.get("categories").and_then(Value::as_array);
        let found: Vec<Value> = categories
            .into_iter()
            .flatten()
            .filter_map(|asked| asked.get("category"))
            .map(|category| json!({"category": category, "severityScore": 0.0}))
            .collect();
        results.insert(name.to_owned(), json!({ "results": found }));
        usage.insert(name.to_owned(), json!({ "textUnits": units(characters) }));
    }
    Ok(json!({ "results": results, "usage": usage }))
}
