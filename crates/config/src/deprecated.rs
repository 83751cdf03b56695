//! Deprecated keys: each still works, and its use leads to a warning that says what to write instead.
//!
//! The schema marks them, so that one place defines a key with its former names, and editors and the Helm
//! chart know them too. A deprecated key has `deprecated` and the version since which it is
//! (`x-deprecated-since`), and one of these:
//!
//! - `x-replaced-by`: the name that the key has now, in the same table. The value moves there before anything
//!   else reads the document, so no other code knows the former name. A field gets such a key by the attribute
//!   `extend("x-former-names" = {"old_name": "0.2.0"})`; the test that writes the schema does the rest.
//! - `x-instead`: advice in words, for a key that goes without a successor of the same meaning.

use serde_json::Value;

use super::document::{Document, KeyPath};
use super::error::{Location, Problem};
use super::schema;

/// What came of the deprecated keys of a document.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Keys that are set by two of their names.
    pub(super) problems: Vec<Problem>,
    /// A sentence for each use, with its place, in the order of the document.
    pub(super) warnings: Vec<String>,
}

/// Whether a key is deprecated.
pub(super) fn is_deprecated(schema: &Value) -> bool {
    schema.get("deprecated").and_then(Value::as_bool) == Some(true)
}

/// The name that a key has now, if this one is a former name of it.
pub(super) fn replaced_by(schema: &Value) -> Option<&str> {
    schema.get("x-replaced-by").and_then(Value::as_str)
}

/// Gives every key its present name, and warns of those that are deprecated.
pub(super) fn apply(document: &mut Document, schema: &Value) -> Applied {
    let mut uses = Vec::new();
    find(document.root(), schema, &KeyPath::default(), &mut uses);
    let warnings = uses.iter().map(|found| found.warning(document)).collect();
    // What lies deeper comes later. It is renamed first, so that the paths of the others stay right.
    let renamed = uses.iter().rev().filter_map(|found| rename(document, found));
    Applied { problems: renamed.collect(), warnings }
}

/// A use of a deprecated key.
struct Use<'s> {
    /// The table that has it.
    table: KeyPath,
    /// Its name.
    key: String,
    /// What the schema says of it.
    schema: &'s Value,
}

impl Use<'_> {
    fn warning(&self, document: &Document) -> String {
        let at = self.table.key(&self.key);
        let place = document.location_of(&at);
        let said = |member: &str| self.schema.get(member).and_then(Value::as_str);
        let instead = match replaced_by(self.schema) {
            Some(name) => format!("use {}", self.table.key(name)),
            None => said("x-instead").unwrap_or("remove it").to_owned(),
        };
        let since = said("x-deprecated-since").map(|it| format!(" since {it}")).unwrap_or_default();
        format!("{place}: {at} is deprecated{since}, and a later version refuses it; {instead}")
    }
}

/// The uses of deprecated keys in a value, outer ones before inner ones.
fn find<'s>(value: &toml::Value, schema: &'s Value, path: &KeyPath, uses: &mut Vec<Use<'s>>) {
    match value {
        toml::Value::Table(table) => {
            for (key, inner) in table {
                let Some(of_key) = schema::of_key(schema, key) else { continue };
                if is_deprecated(of_key) {
                    uses.push(Use { table: path.clone(), key: key.clone(), schema: of_key });
                }
                find(inner, of_key, &path.key(key), uses);
            }
        }
        toml::Value::Array(array) => {
            let Some(of_items) = schema::items(schema) else { return };
            for (index, inner) in array.iter().enumerate() {
                find(inner, of_items, &path.index(index), uses);
            }
        }
        _ => {}
    }
}

/// Gives a key its present name. Where a file has one name and a variable the other, the variable wins, as it
/// does for a key with one name; any other key that is set by both names is a problem.
fn rename(document: &mut Document, found: &Use<'_>) -> Option<Problem> {
    let name = replaced_by(found.schema)?;
    let (former, present) = (found.table.key(&found.key), found.table.key(name));
    let Some(value) = document.get(&present) else {
        document.rename(&found.table, &found.key, name);
        return None;
    };
    // Of two tables each may have keys that the other lacks, so that neither may win.
    let is_table = value.is_table() || document.get(&former).is_some_and(toml::Value::is_table);
    let places = [&former, &present].map(|path| document.location_of(path));
    let is_variable = places.each_ref().map(|place| matches!(place, Location::Variable(_)));
    match is_variable {
        [true, false] if !is_table => {
            document.rename(&found.table, &found.key, name);
            None
        }
        [false, true] if !is_table => {
            document.remove(&former);
            None
        }
        _ => {
            let [_, other] = places;
            let problem = document.problem(
                &former,
                format!("is the former name of {present}, which is set too ({other}); remove one"),
            );
            document.remove(&former);
            Some(problem)
        }
    }
}
