//! Environment variables: the injected set of them, and the `SLUICE__SECTION__KEY` overrides.
//!
//! Loading never touches the process environment itself, so tests bring their own. An override
//! may name any key of the schema; upper and lower case, `-`, `_` and `.` are the same. An empty
//! variable counts as not set.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value as Schema;

use super::document::{Document, KeyPath};
use super::error::{Location, Problem, suggestion};
use super::schema;

/// What the names of override variables start with.
const PREFIX: &str = "SLUICE__";

/// A set of environment variables. `Debug` shows the names only.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// The environment of this process. Variables that are not UTF-8 are left out.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of a variable, unless it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Sets the values of the `SLUICE__` variables in the document.
pub(super) fn override_keys(document: &mut Document, env: &Env, schema: &Schema) -> Vec<Problem> {
    let mut overrides: Vec<_> = env
        .0
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| {
            let segments: Vec<&str> = name.strip_prefix(PREFIX)?.split("__").collect();
            // By number, so that index 10 is set after index 9.
            let order: Vec<_> = segments.iter().map(|s| (s.parse::<usize>().ok(), *s)).collect();
            Some((order, name, segments, value))
        })
        .collect();
    overrides.sort();
    let mut problems = Vec::new();
    for (_, name, segments, value) in overrides {
        let location = Location::Variable(name.clone());
        match locate(document, &segments, schema).and_then(|(path, schema)| {
            let value = read_value(value, schema).map_err(|why| format!("{path}: {why}"))?;
            Ok((path, value))
        }) {
            Ok((path, value)) => document.set(&path, value, location),
            Err(message) => problems.push(Problem::new(location, message)),
        }
    }
    problems
}

/// Finds the key that a variable's segments name, and the key's schema.
fn locate<'s>(
    document: &Document,
    segments: &[&str],
    mut schema: &'s Schema,
) -> Result<(KeyPath, &'s Schema), String> {
    let mut path = KeyPath::default();
    for segment in segments {
        if let Some(properties) = schema::properties(schema) {
            let Some((key, inner)) = properties.iter().find(|(key, _)| same(key, segment)) else {
                let hint = suggestion(&segment.to_lowercase(), schema::to_suggest(properties));
                return Err(schema::unknown(&segment.to_lowercase(), &path, &hint));
            };
            (path, schema) = (path.key(key), inner);
        } else if let Some(inner) = schema::map_values(schema) {
            if segment.is_empty() {
                return Err(format!("{path}: a name is missing after it"));
            }
            let existing = document.get(&path).and_then(toml::Value::as_table);
            let existing =
                existing.and_then(|table| table.keys().find(|key| same(key, segment)).cloned());
            let key = existing.unwrap_or_else(|| segment.to_lowercase().replace('_', "-"));
            (path, schema) = (path.key(&key), inner);
        } else if let Some(inner) = schema::items(schema) {
            let len = document.get(&path).and_then(toml::Value::as_array).map_or(0, Vec::len);
            let index = segment.parse::<usize>().ok().filter(|index| *index <= len);
            let index = index.ok_or_else(|| {
                format!("{path}: '{segment}' is not an index; the next new one is {len}")
            })?;
            (path, schema) = (path.index(index), inner);
        } else {
            return Err(format!(
                "{path}: has no keys below it, so no '{}'",
                segment.to_lowercase()
            ));
        }
    }
    Ok((path, schema))
}

/// Reads a variable's text as the schema wants it: as it is for a string, else as TOML.
fn read_value(text: &str, schema: &Schema) -> Result<toml::Value, String> {
    if schema::is_string(schema) {
        return Ok(toml::Value::String(text.to_owned()));
    }
    let table = format!("value = {text}").parse::<toml::Table>().unwrap_or_default();
    match (table.len(), table.get("value")) {
        (1, Some(value)) => Ok(value.clone()),
        _ => Err(format!("must be {}, written as in TOML", schema::wanted(schema))),
    }
}

/// Whether a variable's segment names this key.
fn same(key: &str, segment: &str) -> bool {
    let normal = |text: &str| text.to_lowercase().replace(['-', '.'], "_");
    normal(key) == normal(segment)
}
