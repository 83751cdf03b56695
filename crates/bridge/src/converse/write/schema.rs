//! JSON schemas as Bedrock takes them: objects that say that they have no further members, and roots of the type
//! `object`. What a schema says itself is never overwritten, and its order and texts are kept.

use crate::json::{Array, Object};
use crate::value::{Members, Value};

fn text_of<'j>(members: &Members<'j>, name: &str) -> Option<&'j str> {
    members.get(name).map(Value::get)
}

/// Deepest schema that is changed.
const MAX_DEPTH: u32 = 64;

/// Whether the root of a schema describes an object, or says nothing of its type.
pub(super) fn is_object_schema(schema: &str) -> bool {
    let Some(members) = Value::parse(schema).and_then(Value::members) else { return false };
    text_of(&members, "type").is_none_or(|it| it == "\"object\"")
}

/// The schema with `additionalProperties: false` in each object that does not say anything of them: Bedrock
/// refuses those.
pub(super) fn closed_schema(schema: &str) -> String {
    let Some(value) = Value::parse(schema) else { return schema.to_owned() };
    let mut out = Vec::with_capacity(schema.len() + 64);
    close(value, 0, &mut out);
    String::from_utf8(out).unwrap_or_else(|_| schema.to_owned())
}

fn close(schema: Value<'_>, depth: u32, out: &mut Vec<u8>) {
    // Deeper than any schema of use, and than Bedrock takes.
    let members = if depth < MAX_DEPTH { schema.members() } else { None };
    let depth = depth + 1;
    let Some(members) = members else {
        out.extend_from_slice(schema.get().as_bytes());
        return;
    };
    let has_type = text_of(&members, "type").is_some_and(|it| it.contains("\"object\""));
    let is_object = has_type || text_of(&members, "properties").is_some();
    let is_open = is_object && text_of(&members, "additionalProperties").is_none();
    let mut object = Object::new(out);
    for (key, value) in members.iter() {
        match key {
            "properties" | "$defs" | "definitions" | "patternProperties" | "dependentSchemas" => {
                close_each(value, depth, object.key(key));
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => close_all(value, depth, object.key(key)),
            "items" if value.get().starts_with('[') => close_all(value, depth, object.key(key)),
            "items"
            | "additionalProperties"
            | "contains"
            | "not"
            | "if"
            | "then"
            | "else"
            | "propertyNames"
            | "unevaluatedItems" => close(value, depth, object.key(key)),
            _ => object.raw(key, value.get()),
        }
    }
    if is_open {
        object.bool("additionalProperties", false);
    }
}

fn close_each(schemas: Value<'_>, depth: u32, out: &mut Vec<u8>) {
    let Some(members) = schemas.members() else {
        out.extend_from_slice(schemas.get().as_bytes());
        return;
    };
    let mut object = Object::new(out);
    for (key, value) in members.iter() {
        close(value, depth, object.key(key));
    }
}

fn close_all(schemas: Value<'_>, depth: u32, out: &mut Vec<u8>) {
    let Some(elements) = schemas.elements() else {
        out.extend_from_slice(schemas.get().as_bytes());
        return;
    };
    let mut array = Array::new(out);
    for schema in elements {
        close(schema, depth, array.element());
    }
}

/// The schema of a tool's input, with a root of the type `object`: Bedrock refuses every other, and clients
/// leave it out or write the type of the tool there (`custom`).
pub(super) fn write_input_schema(schema: Option<&str>, out: &mut Vec<u8>) {
    let members = schema.and_then(Value::parse).and_then(Value::members);
    let Some(members) = members else {
        out.extend_from_slice(br#"{"type":"object","properties":{}}"#);
        return;
    };
    match (schema, text_of(&members, "type")) {
        (Some(schema), Some(kind)) if kind != "\"custom\"" => {
            out.extend_from_slice(schema.as_bytes());
        }
        (_, None) => {
            let mut object = Object::new(out);
            object.str("type", "object");
            let others = members.iter().filter(|(key, _)| *key != "type");
            others.for_each(|(key, value)| object.raw(key, value.get()));
        }
        _ => {
            let mut object = Object::new(out);
            for (key, value) in members.iter() {
                object.raw(key, if key == "type" { "\"object\"" } else { value.get() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_closed_at_every_depth_and_nothing_else_changes() {
        let schema = r#"{"type":"object","properties":{"b":{"type":"array","items":{"properties":{"x":{}}}},
            "a":{"type":["object","null"],"additionalProperties":true},"enum":{"enum":[{"type":"object"}]}},
            "$defs":{"d":{"anyOf":[{"type":"object"},{"type":"string"}]}}, "default": {"type":"object"}}"#;
        let expected = r#"{"type":"object","properties":{"b":{"type":"array","items":{"properties":{"x":{}},"additionalProperties":false}},"a":{"type":["object","null"],"additionalProperties":true},"enum":{"enum":[{"type":"object"}]}},"$defs":{"d":{"anyOf":[{"type":"object","additionalProperties":false},{"type":"string"}]}},"default":{"type":"object"},"additionalProperties":false}"#;
        assert_eq!(closed_schema(schema), expected);
        assert_eq!(closed_schema("true"), "true");
    }

    #[test]
    fn the_input_of_a_tool_is_always_an_object() {
        for (schema, expected) in [
            (None, r#"{"type":"object","properties":{}}"#),
            (Some(r#"{"type":"custom","a":1}"#), r#"{"type":"object","a":1}"#),
            (Some(r#"{ "a": 1 }"#), r#"{"type":"object","a":1}"#),
            (Some(r#"{ "type": "object" }"#), r#"{ "type": "object" }"#),
            (Some("{}"), r#"{"type":"object"}"#),
        ] {
            let mut out = Vec::new();
            write_input_schema(schema, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
