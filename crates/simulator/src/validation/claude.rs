//! What a body of Claude's own schema must be in InvokeModel, beyond what every Messages request must be:
//! the members that this way to Claude has, the version, beta flags, tools.

use serde_json::Value;

use super::Model;
use super::converse::{additional_fields, of_model, thinking};
use crate::answer::Invalid;
use sluice_catalogue::BetaSurface;

/// The members of a body.
const MEMBERS: [&str; 15] = [
    "anthropic_beta",
    "anthropic_version",
    "context_management",
    "max_tokens",
    "messages",
    "metadata",
    "output_config",
    "stop_sequences",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];
/// The members of a tool that the client runs.
const TOOL_MEMBERS: [&str; 9] = [
    "allowed_callers",
    "cache_control",
    "description",
    "eager_input_streaming",
    "input_examples",
    "input_schema",
    "name",
    "strict",
    "type",
];
/// A flag that Anthropic's own clients of Bedrock send, and that changes nothing on newer models.
const TAKEN_EVERYWHERE: &str = "interleaved-thinking-2025-05-14";
/// The flag of `context_management`.
const CONTEXT_MANAGEMENT: &str = "context-management-2025-06-27";
/// How the flags of deferred tools begin.
const TOOL_SEARCH: &str = "tool-search-tool-";

/// Refuses a body that Bedrock or the model would refuse.
///
/// # Errors
/// When there is a reason.
pub(in super::super) fn check(body: &Value, model: &Model) -> Result<(), Invalid> {
    let members = body.as_object().into_iter().flatten();
    let known = |name: &str| MEMBERS.contains(&name);
    if let Some((unknown, _)) = members.into_iter().find(|(name, _)| !known(name)) {
        return Err(extra(unknown));
    }
    match body.get("anthropic_version").map(Value::as_str) {
        Some(Some(version)) if is_version(version) => {}
        Some(_) => return Err(Invalid::new("Invalid API version")),
        None => return Err(Invalid::new("anthropic_version: Field required")),
    }
    let flags = flags(body)?;
    let has_flag = |beginning: &str| flags.iter().any(|flag| flag.starts_with(beginning));
    if body.get("context_management").is_some() && !has_flag(CONTEXT_MANAGEMENT) {
        return Err(extra("context_management"));
    }
    if let Some(thinking) = body.get("thinking").filter(|thinking| !thinking.is_null()) {
        thinking::form_of(thinking, model).map_err(bare)?;
    }
    check_output(body, model)?;
    let tools = body.get("tools").and_then(Value::as_array).into_iter().flatten();
    for (at, tool) in tools.enumerate() {
        check_tool(at, tool, has_flag(TOOL_SEARCH), model)?;
    }
    Ok(())
}

/// Whether this is a version of the API: a date, with or without the name of this way to Claude. Anthropic's
/// clients send the newest version that they know.
fn is_version(version: &str) -> bool {
    let date = version.strip_prefix("bedrock-").unwrap_or(version);
    let fits = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    date.len() == 10 && date.bytes().enumerate().all(fits)
}

fn extra(name: &str) -> Invalid {
    Invalid::new(format!("{name}: Extra inputs are not permitted"))
}

/// InvokeModel passes on what a model says without words before it.
fn bare(refusal: Invalid) -> Invalid {
    let told = refusal.to_string();
    let before = of_model("").to_string();
    Invalid::new(told.strip_prefix(&before).unwrap_or(&told))
}

/// The beta flags of a body, all of which are known.
fn flags(body: &Value) -> Result<Vec<&str>, Invalid> {
    let Some(flags) = body.get("anthropic_beta").filter(|flags| !flags.is_null()) else {
        return Ok(Vec::new());
    };
    let listed = flags.as_array().map(|flags| {
        let others = flags.iter().filter(|flag| flag.as_str() != Some(TAKEN_EVERYWHERE));
        Value::Array(others.cloned().collect())
    });
    let checked = listed.as_ref().unwrap_or(flags);
    additional_fields::check_flags(checked, BetaSurface::InvokeModel).map_err(bare)?;
    Ok(flags.as_array().into_iter().flatten().filter_map(Value::as_str).collect())
}

fn check_output(body: &Value, model: &Model) -> Result<(), Invalid> {
    let config = body.get("output_config").and_then(Value::as_object).into_iter().flatten();
    for (name, value) in config {
        match name.as_str() {
            "effort" => {
                let path = "output_config.effort";
                additional_fields::check_effort(value, model, path).map_err(bare)?;
            }
            "format" => {
                if !model.takes("converse_json_schema") && !model.has("structured_output") {
                    return Err(extra("output_config.format"));
                }
                let schema = value.get("schema").unwrap_or(&Value::Null);
                let place = "output_config.format.schema";
                if let Some(open) = super::json_schema::open_object(schema, place) {
                    return Err(Invalid::new(format!(
                        "{open}: For 'object' type, 'additionalProperties' must be explicitly set \
                         to false"
                    )));
                }
            }
            name => return Err(extra(&format!("output_config.{name}"))),
        }
    }
    Ok(())
}

fn check_tool(at: usize, tool: &Value, may_defer: bool, model: &Model) -> Result<(), Invalid> {
    let kind = tool.get("type").and_then(Value::as_str).unwrap_or("custom");
    if kind != "custom" {
        return Ok(());
    }
    let members = tool.as_object().into_iter().flatten();
    for (name, value) in members {
        let path = format!("tools.{at}.custom.{name}");
        match name.as_str() {
            "defer_loading" if may_defer => {}
            // A member `custom` is none: its own members are named.
            "custom" => {
                let inner = value.as_object().and_then(|inner| inner.keys().next());
                return Err(extra(&format!("{path}.{}", inner.map_or("", String::as_str))));
            }
            "strict" if !model.takes("strict_tools") => return Err(extra(&path)),
            name if TOOL_MEMBERS.contains(&name) => {}
            _ => return Err(extra(&path)),
        }
    }
    let schema = tool.get("input_schema");
    let schema = schema
        .ok_or_else(|| Invalid::new(format!("tools.{at}.custom.input_schema: Field required")))?;
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => Ok(()),
        Some(_) => Err(Invalid::new(format!(
            "tools.{at}.custom.input_schema.type: Input should be 'object'"
        ))),
        None => Err(Invalid::new(format!("tools.{at}.custom.input_schema.type: Field required"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use sluice_bedrock::ModelId;

    const SONNET_45: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

    fn told(id: &str, change: Value) -> String {
        let mut body = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 10,
            "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let model = Model::with_id(&ModelId::new(id).unwrap());
        check(&body, &model).map_or_else(|why| why.to_string(), |()| "taken".to_owned())
    }

    #[test]
    fn a_body_has_the_members_of_this_way_only() {
        let fine = json!({"temperature": 1, "metadata": {"user_id": "u"}, "stop_sequences": ["x"]});
        assert_eq!(told(SONNET_45, fine), "taken");
        for name in ["model", "stream", "service_tier", "mcp_servers", "container", "output_format"]
        {
            let change = json!({name: "x"});
            assert_eq!(told(SONNET_45, change), format!("{name}: Extra inputs are not permitted"));
        }
        assert_eq!(told(SONNET_45, json!({"anthropic_version": "v1"})), "Invalid API version");
    }

    #[test]
    fn only_known_flags_are_taken() {
        let flags = |flags: Value| told(SONNET_45, json!({"anthropic_beta": flags}));
        assert_eq!(flags(json!([TAKEN_EVERYWHERE, "effort-2025-11-24"])), "taken");
        assert_eq!(flags(json!(["claude-code-20250219"])), "invalid beta flag");
        assert_eq!(
            flags(json!("effort-2025-11-24")),
            "anthropic_beta: Input should be a valid list"
        );
        let edits = json!({"context_management": {"edits": []}});
        assert_eq!(told(SONNET_45, edits), "context_management: Extra inputs are not permitted");
        let edits = json!({"context_management": {}, "anthropic_beta": [CONTEXT_MANAGEMENT]});
        assert_eq!(told(SONNET_45, edits), "taken");
    }

    #[test]
    fn a_tool_has_a_schema_and_is_deferred_only_with_the_flag() {
        let tool = |change: Value, flags: Value| {
            let mut tool = json!({"name": "look", "input_schema": {"type": "object"}});
            tool.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            told(SONNET_45, json!({"tools": [tool], "anthropic_beta": flags}))
        };
        let deferred = json!({"defer_loading": true});
        assert_eq!(tool(json!({"type": "custom", "strict": true}), json!([])), "taken");
        assert_eq!(tool(deferred.clone(), json!(["tool-search-tool-2025-10-19"])), "taken");
        let extra = "tools.0.custom.defer_loading: Extra inputs are not permitted";
        assert_eq!(tool(deferred.clone(), json!([])), extra);
        let extra = "tools.0.custom.custom.defer_loading: Extra inputs are not permitted";
        assert_eq!(tool(json!({"custom": deferred}), json!([])), extra);
        for (schema, part) in
            [(json!({}), "Field required"), (json!({"type": "custom"}), "'object'")]
        {
            let told = tool(json!({"input_schema": schema}), json!([]));
            assert!(told.starts_with("tools.0.custom.input_schema.type") && told.contains(part));
        }
    }

    #[test]
    fn thinking_effort_and_formats_are_those_of_the_model() {
        let budget = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
        assert_eq!(told(SONNET_45, budget.clone()), "taken");
        let told_of = told("us.anthropic.claude-opus-4-7", budget);
        assert!(told_of.starts_with("\"thinking.type.enabled\" is not supported"), "{told_of}");
        let effort = json!({"output_config": {"effort": "low"}});
        assert_eq!(told("us.anthropic.claude-opus-4-7", effort.clone()), "taken");
        assert!(told(SONNET_45, effort).starts_with("output_config.effort: 'low'"));
        let format = json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}});
        assert!(told(SONNET_45, format.clone()).contains("explicitly set to false"));
        let haiku = "anthropic.claude-3-haiku-20240307-v1:0";
        assert_eq!(told(haiku, format), "output_config.format: Extra inputs are not permitted");
    }
}
