//! Whether a JSON schema is one that an answer or a strict tool can be held to.

use serde_json::Value;

/// Deepest schema that is looked into.
const MAX_DEPTH: usize = 64;

/// Where a schema has an object that does not say `"additionalProperties": false`; the path begins with
/// `at`.
pub(super) fn open_object(schema: &Value, at: &str) -> Option<String> {
    look(schema, at, 0)
}

fn look(schema: &Value, at: &str, depth: usize) -> Option<String> {
    let members = schema.as_object().filter(|_| depth < MAX_DEPTH)?;
    let kind = members.get("type");
    let is_object = kind.and_then(Value::as_str) == Some("object")
        || kind.and_then(Value::as_array).is_some_and(|kinds| kinds.contains(&"object".into()));
    let is_open = members.get("additionalProperties") != Some(&Value::Bool(false));
    if is_open && (is_object || members.contains_key("properties")) {
        return Some(at.to_owned());
    }
    for group in ["properties", "$defs", "definitions"] {
        let schemas = members.get(group).and_then(Value::as_object).into_iter().flatten();
        for (name, inner) in schemas {
            let found = look(inner, &format!("{at}.{group}.{name}"), depth + 1);
            if found.is_some() {
                return found;
            }
        }
    }
    let items = members.get("items").map(|inner| look(inner, &format!("{at}.items"), depth + 1));
    if let Some(found @ Some(_)) = items {
        return found;
    }
    ["anyOf", "allOf", "oneOf", "prefixItems"].iter().find_map(|group| {
        let schemas = members.get(*group).and_then(Value::as_array)?;
        let mut places = schemas.iter().enumerate();
        places.find_map(|(n, inner)| look(inner, &format!("{at}.{group}.{n}"), depth + 1))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_open_object_is_found_wherever_it_is() {
        let closed = json!({"type": "object", "additionalProperties": false});
        let open = json!({"type": "object"});
        for (schema, found) in [
            (closed.clone(), None),
            (open.clone(), Some("s")),
            (json!({"type": "object", "additionalProperties": true}), Some("s")),
            (json!({"type": ["null", "object"]}), Some("s")),
            (
                json!({"type": "object", "additionalProperties": false, "properties": {"a": open}}),
                Some("s.properties.a"),
            ),
            (json!({"type": "array", "items": open}), Some("s.items")),
            (json!({"anyOf": [closed, open]}), Some("s.anyOf.1")),
            (json!({"$ref": "#/$defs/x", "$defs": {"x": open}}), Some("s.$defs.x")),
            (json!({"type": "string"}), None),
        ] {
            assert_eq!(open_object(&schema, "s").as_deref(), found, "{schema}");
        }
    }
}
