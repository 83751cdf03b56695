//! The configuration in force as it was written: the keys of the file, with those that the environment
//! has set and with defaults. Secrets are references here; anything else in their place is hidden.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::deprecated;
use super::reference::reference_or_hidden;
use super::schema;

/// The keys in force. Two of them are always equal: what they mean is compared elsewhere.
#[derive(Clone)]
pub struct Effective(Arc<toml::Value>);

impl Effective {
    /// Takes a document that is valid by the schema.
    pub(super) fn new(root: toml::Value) -> Effective {
        Effective(Arc::new(root))
    }

    /// The keys as the file has them. Secrets are the references to them, digests of keys are
    /// hidden.
    ///
    /// # Errors
    /// None is known: every key has a form in JSON.
    pub fn to_json(&self) -> serde_json::Result<Value> {
        Ok(completed(Some(serde_json::to_value(&*self.0)?), schema::compiled()))
    }
}

impl Default for Effective {
    fn default() -> Effective {
        Effective::new(toml::Value::Table(toml::Table::new()))
    }
}

impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Effective(..)")
    }
}

// Configurations that mean the same are the same, however they were written.
impl PartialEq for Effective {
    fn eq(&self, _: &Effective) -> bool {
        true
    }
}

impl Eq for Effective {}

/// A value with defaults for the keys that it does not have, and without secrets.
fn completed(value: Option<Value>, schema: &Value) -> Value {
    match value {
        Some(Value::Object(mut table)) => match schema::properties(schema) {
            Some(keys) => {
                let present = keys.iter().filter(|(_, it)| deprecated::replaced_by(it).is_none());
                let keys =
                    present.map(|(key, inner)| (key.clone(), completed(table.remove(key), inner)));
                Value::Object(keys.collect())
            }
            None => {
                let inner = schema::map_values(schema).unwrap_or(&Value::Null);
                let keys = table.into_iter().map(|(key, it)| (key, completed(Some(it), inner)));
                Value::Object(keys.collect())
            }
        },
        Some(Value::Array(array)) => {
            let inner = schema::items(schema).unwrap_or(&Value::Null);
            array.into_iter().map(|it| completed(Some(it), inner)).collect()
        }
        Some(Value::String(text)) if schema::is_secret(schema) => reference_or_hidden(&text).into(),
        Some(value) => value,
        None => match schema.get("default") {
            Some(default) => default.clone(),
            // A table with required keys is there or not; any other always is.
            None if schema::is_optional_table(schema) => Value::Null,
            None if schema::is_table(schema) => {
                completed(Some(Value::Object(serde_json::Map::new())), schema)
            }
            None => Value::Null,
        },
    }
}
