//! The schema is generated from the types.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::raw::RawConfig;
use crate::schema;

/// Where the schema lies.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/schema.json");

fn generated() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<RawConfig>().to_value();
    tidy(&mut schema);
    schema
}

#[test]
fn the_schema_is_that_of_the_types() {
    assert!(
        schema() == generated(),
        "schema.json is old: ./test --lib write_the_schema -- --ignored"
    );
}

/// Not a test: what brings the file to what the types say.
#[test]
#[ignore = "writes crates/config/src/schema.json"]
fn write_the_schema() {
    std::fs::write(FILE, format!("{}\n", generated())).unwrap();
}

/// Brings the generated schema to what TOML can say: no nulls, no unknown keys, and no defaults
/// for keys that must be given. Former names of keys become keys.
pub(super) fn tidy(schema: &mut Value) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(tidy),
        Value::Object(object) => {
            without_null(object);
            if object.contains_key("properties") {
                // A section's default only repeats those of its keys.
                object.remove("default");
                object.entry("additionalProperties").or_insert(Value::Bool(false));
                without_required_defaults(object);
                with_former_names(object);
            }
            object.values_mut().for_each(tidy);
        }
        _ => {}
    }
}

fn without_null(object: &mut Map<String, Value>) {
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            object.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(mut variants)) = object.remove("anyOf") {
        variants.retain(|variant| variant != &json!({"type": "null"}));
        match <[Value; 1]>::try_from(variants) {
            Ok([Value::Object(inner)]) => {
                for (key, value) in inner {
                    object.entry(key).or_insert(value);
                }
            }
            Ok([other]) => drop(object.insert("anyOf".to_owned(), Value::Array(vec![other]))),
            Err(variants) => drop(object.insert("anyOf".to_owned(), Value::Array(variants))),
        }
    }
}

/// Makes a deprecated key of each former name of a key.
fn with_former_names(object: &mut Map<String, Value>) {
    let Some(Value::Object(keys)) = object.get_mut("properties") else { return };
    let mut former = Vec::new();
    for (key, schema) in keys.iter_mut() {
        let Value::Object(schema) = schema else { continue };
        let Some(Value::Object(names)) = schema.remove("x-former-names") else { continue };
        for (name, since) in names {
            let mut of_name = schema.clone();
            of_name.remove("default");
            let since = since.as_str().expect("the version since which the name is deprecated");
            let description = format!("Deprecated since {since}: use `{key}`.");
            of_name.insert("description".to_owned(), description.into());
            of_name.insert("deprecated".to_owned(), true.into());
            of_name.insert("x-deprecated-since".to_owned(), since.into());
            of_name.insert("x-replaced-by".to_owned(), key.as_str().into());
            former.push((name, Value::Object(of_name)));
        }
    }
    keys.extend(former);
}

fn without_required_defaults(object: &mut Map<String, Value>) {
    let required = object.get("required").cloned().unwrap_or_default();
    let required = required.as_array().into_iter().flatten().filter_map(Value::as_str);
    for key in required {
        let property = object.get_mut("properties").and_then(|keys| keys.get_mut(key));
        if let Some(Value::Object(property)) = property {
            property.remove("default");
        }
    }
}
