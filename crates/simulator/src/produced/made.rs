//! Values that fit a JSON schema in its outline: its required members, each text the last one of the user.

use serde_json::{Map, Value};

use crate::answer::ECHO;

/// How deep values are made.
const MAX_DEPTH: usize = 8;

/// A value that fits a schema in its outline.
pub(super) fn made(schema: &Value, text: &str, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
        return first.clone();
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(first) =
        schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(|any| any.get(0))
    {
        return made(first, text, depth + 1);
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        kind => kind.and_then(Value::as_str),
    };
    match kind {
        Some("string") => Value::from(text.chars().take(ECHO).collect::<String>()),
        Some("integer" | "number") => {
            schema.get("minimum").cloned().unwrap_or_else(|| Value::from(1))
        }
        Some("boolean") => Value::Bool(true),
        Some("array") => {
            let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
            let item = schema.get("items").filter(|_| least > 0);
            Value::Array(item.map(|item| made(item, text, depth + 1)).into_iter().collect())
        }
        Some("null") => Value::Null,
        _ => {
            let properties = schema.get("properties");
            let required = schema.get("required").and_then(Value::as_array);
            let names = required.into_iter().flatten().filter_map(Value::as_str);
            let member = |name: &str| {
                let schema = properties.and_then(|properties| properties.get(name))?;
                Some((name.to_owned(), made(schema, text, depth + 1)))
            };
            Value::Object(names.filter_map(member).collect::<Map<_, _>>())
        }
    }
}
