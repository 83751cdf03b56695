//! A TOML document that remembers where each of its values came from.
//!
//! The file is parsed once; environment variables are then set on top of it. A problem found
//! later with any value can so be traced back to its line or its variable.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duplicate::{FirstDefinition, first_definition};
use super::error::{Location, Problem};
use super::excerpt::excerpt;

/// Deepest nesting of a document. The schema needs no more than four levels.
const MAX_DEPTH: usize = 32;

/// How the parser's message about a duplicate begins.
const DUPLICATE: &str = "duplicate key";

/// One step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Step {
    /// Into a table.
    Key(String),
    /// Into an array.
    Index(usize),
}

/// The way from the root of a document to a value; shown as `routes[0].targets`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct KeyPath(Vec<Step>);

/// Values and their locations.
pub(super) struct Document {
    root: toml::Value,
    locations: HashMap<KeyPath, Location>,
}

/// Where the values of a document came from, by their keys.
#[derive(Clone, Debug, Default)]
pub struct Locations(HashMap<KeyPath, Location>);

impl Locations {
    /// Where the value of a key came from, such as `["targets", "a", "model"]`, or else the nearest
    /// table around it.
    pub fn of(&self, keys: &[&str]) -> Location {
        let path = KeyPath(keys.iter().map(|key| Step::Key((*key).to_owned())).collect());
        nearest(&self.0, &path)
    }
}

/// Where the value at a path, or else the nearest table around it, came from.
fn nearest(locations: &HashMap<KeyPath, Location>, path: &KeyPath) -> Location {
    let mut at = Some(path.clone());
    while let Some(path) = at {
        if let Some(location) = locations.get(&path) {
            return location.clone();
        }
        at = path.parent();
    }
    Location::Default
}

impl KeyPath {
    /// This path and one more key.
    pub(super) fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// This path and one more index.
    pub(super) fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    /// The keys on it, without indices.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
    }

    /// The last key on it; empty for the root.
    pub(super) fn name(&self) -> &str {
        self.names().last().unwrap_or("")
    }

    fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    fn parent(&self) -> Option<Self> {
        self.0.split_last().map(|(_, parent)| Self(parent.to_vec()))
    }

    /// This path below another one, if it is below the first.
    fn moved(&self, from: &Self, to: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(from.0.as_slice())?;
        Some(Self(to.0.iter().chain(rest).cloned().collect()))
    }

    fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl<const N: usize> From<[&str; N]> for KeyPath {
    fn from(keys: [&str; N]) -> Self {
        Self(keys.iter().map(|key| Step::Key((*key).to_owned())).collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if depth == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl Document {
    /// Parses a file's text; `name` stands for the file in messages.
    pub(super) fn parse(text: &str, name: &str) -> Result<Self, Problem> {
        let lines = Lines::new(text, name);
        // Only the parser's message is passed on: its full form quotes the line, secrets included.
        let problem = |error: toml::de::Error| lines.syntax_problem(&error);
        let parsed = DeTable::parse(text).map_err(problem)?;
        let mut locations = HashMap::new();
        locate_table(parsed.get_ref(), &KeyPath::default(), &lines, &mut locations)?;
        let root = toml::Value::deserialize(toml::Deserializer::from(parsed)).map_err(problem)?;
        Ok(Self { root, locations })
    }

    /// The value at a path.
    pub(super) fn get(&self, path: &KeyPath) -> Option<&toml::Value> {
        path.0.iter().try_fold(&self.root, |value, step| match step {
            Step::Key(key) => value.get(key.as_str()),
            Step::Index(index) => value.get(*index),
        })
    }

    /// Sets a value, and the tables and arrays on the way to it. A step into a value of another
    /// kind replaces it. An index past the end of an array appends.
    pub(super) fn set(
        &mut self,
        path: &KeyPath,
        value: impl Into<toml::Value>,
        location: Location,
    ) {
        let mut around = path.parent();
        while let Some(new) = around.filter(|around| self.get(around).is_none()) {
            around = new.parent();
            self.locations.insert(new, location.clone());
        }
        let root = std::mem::replace(&mut self.root, toml::Value::Boolean(false));
        self.root = with_value_at(root, &path.0, value.into());
        self.locations.retain(|at, _| !at.starts_with(path));
        self.locations.insert(path.clone(), location);
    }

    /// Removes a key of a table.
    pub(super) fn remove(&mut self, path: &KeyPath) {
        self.take(path);
        self.locations.retain(|at, _| !at.starts_with(path));
    }

    /// Gives a key of a table another name, in place of whatever has that name. Its value, and what is in
    /// it, keep their locations.
    pub(super) fn rename(&mut self, table: &KeyPath, from: &str, to: &str) {
        let (old, new) = (table.key(from), table.key(to));
        let location = self.location_of(&old);
        let Some(value) = self.take(&old) else { return };
        let moved: Vec<_> = self
            .locations
            .iter()
            .filter_map(|(at, place)| Some((at.moved(&old, &new)?, place.clone())))
            .collect();
        self.locations.retain(|at, _| !at.starts_with(&old));
        self.set(&new, value, location);
        self.locations.extend(moved);
    }

    /// Takes a key out of its table.
    fn take(&mut self, path: &KeyPath) -> Option<toml::Value> {
        let (last, steps) = path.0.split_last()?;
        let table = steps.iter().try_fold(&mut self.root, |value, step| match step {
            Step::Key(key) => value.get_mut(key.as_str()),
            Step::Index(index) => value.get_mut(*index),
        })?;
        match (table, last) {
            (toml::Value::Table(table), Step::Key(key)) => table.remove(key.as_str()),
            _ => None,
        }
    }

    /// Where the value at a path, or else the nearest table around it, came from.
    pub(super) fn location_of(&self, path: &KeyPath) -> Location {
        nearest(&self.locations, path)
    }

    /// Whether the file or a variable sets a value at a path, valid or not.
    pub(super) fn mentions(&self, path: &KeyPath) -> bool {
        self.locations.contains_key(path)
    }

    /// A problem with the value at a path.
    pub(super) fn problem(&self, path: &KeyPath, message: impl fmt::Display) -> Problem {
        let problem = Problem::new(self.location_of(path), format!("{path}: {message}"));
        Problem { path: path.to_string(), ..problem }
    }

    /// The whole document as one table.
    pub(super) fn root(&self) -> &toml::Value {
        &self.root
    }

    /// The whole document, and where its values came from.
    pub(super) fn into_parts(self) -> (toml::Value, Locations) {
        (self.root, Locations(self.locations))
    }

    /// The whole document, to be changed in place.
    pub(super) fn root_mut(&mut self) -> &mut toml::Value {
        &mut self.root
    }
}

/// Turns byte offsets into locations.
struct Lines<'a> {
    text: &'a str,
    /// Offset of the first byte of each line.
    starts: Vec<usize>,
    name: Arc<str>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str, name: &str) -> Self {
        let newlines = text.match_indices('\n').map(|(newline, _)| newline + 1);
        Self { text, starts: std::iter::once(0).chain(newlines).collect(), name: name.into() }
    }

    fn location(&self, span: Option<Range<usize>>) -> Location {
        let Some(at) = span.map(|span| span.start) else { return Location::Default };
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts.get(line.saturating_sub(1));
        let Some(before) = start.and_then(|start| self.text.get(*start..at)) else {
            return Location::Default;
        };
        Location::File { name: self.name.clone(), line, column: before.chars().count() + 1 }
    }

    fn syntax_problem(&self, error: &toml::de::Error) -> Problem {
        let location = self.location(error.span());
        let message = error.message().trim().replace('\n', "; ");
        if message.starts_with(DUPLICATE) {
            let first = error.span().and_then(|again| first_definition(self.text, again));
            return first.map_or_else(
                || Problem::new(location.clone(), "this key is set twice"),
                |first| self.duplicate(location.clone(), &first),
            );
        }
        let excerpt = match location {
            Location::File { line, column, .. } => excerpt(self.text, line, column),
            _ => None,
        };
        Problem { excerpt, ..Problem::new(location, message) }
    }

    fn duplicate(&self, location: Location, first: &FirstDefinition) -> Problem {
        let FirstDefinition { path, offset, is_table } = first;
        let line = self.starts.partition_point(|start| start <= offset);
        let message = if *is_table {
            format!("[{path}] is defined twice; the first definition is in line {line}")
        } else {
            format!("{path} is set twice; the first value is in line {line}")
        };
        Problem { path: path.to_string(), ..Problem::new(location, message) }
    }
}

/// Where the values of a table came from, into `locations`.
fn locate_table(
    table: &DeTable<'_>,
    path: &KeyPath,
    lines: &Lines<'_>,
    locations: &mut HashMap<KeyPath, Location>,
) -> Result<(), Problem> {
    for (key, value) in table {
        let at = path.key(key.get_ref());
        locations.insert(at.clone(), lines.location(Some(key.span())));
        locate_inside(value, &at, lines, locations)?;
    }
    Ok(())
}

fn locate_inside(
    value: &Spanned<DeValue<'_>>,
    path: &KeyPath,
    lines: &Lines<'_>,
    locations: &mut HashMap<KeyPath, Location>,
) -> Result<(), Problem> {
    if path.0.len() > MAX_DEPTH {
        let message = format!("nested deeper than {MAX_DEPTH} levels");
        let problem = Problem::new(lines.location(Some(value.span())), message);
        return Err(Problem { path: path.to_string(), ..problem });
    }
    match value.get_ref() {
        DeValue::Table(table) => locate_table(table, path, lines, locations)?,
        DeValue::Array(array) => {
            for (index, element) in array.iter().enumerate() {
                let at = path.index(index);
                locations.insert(at.clone(), lines.location(Some(element.span())));
                locate_inside(element, &at, lines, locations)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// `around` with `value` at the end of `steps`.
fn with_value_at(around: toml::Value, steps: &[Step], value: toml::Value) -> toml::Value {
    let nothing = || toml::Value::Boolean(false);
    let Some((step, rest)) = steps.split_first() else { return value };
    match step {
        Step::Key(key) => {
            let mut table = match around {
                toml::Value::Table(table) => table,
                _ => toml::Table::new(),
            };
            // In place, since the order of keys is kept.
            let slot = table.entry(key.as_str()).or_insert_with(nothing);
            *slot = with_value_at(std::mem::replace(slot, nothing()), rest, value);
            toml::Value::Table(table)
        }
        Step::Index(index) => {
            let mut array = match around {
                toml::Value::Array(array) => array,
                _ => Vec::new(),
            };
            match array.get_mut(*index) {
                Some(slot) => {
                    *slot = with_value_at(std::mem::replace(slot, nothing()), rest, value);
                }
                None => array.push(with_value_at(nothing(), rest, value)),
            }
            toml::Value::Array(array)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(document: &Document, path: &KeyPath) -> String {
        document.location_of(path).to_string()
    }

    #[test]
    fn values_know_their_line_and_column() {
        let text = "a = 1\n[b]\n  c = 'x'\n[[r]]\nt = ['é', 'y']\n";
        let document = Document::parse(text, "f.toml").unwrap();
        assert_eq!(shown(&document, &["a"].into()), "f.toml:1:1");
        assert_eq!(shown(&document, &["b", "c"].into()), "f.toml:3:3");
        let element = KeyPath::from(["r"]).index(0).key("t").index(1);
        assert_eq!(shown(&document, &element), "f.toml:5:11");
        assert_eq!(document.get(&element).and_then(|v| v.as_str()), Some("y"));
        assert_eq!(shown(&document, &["b", "missing"].into()), "f.toml:2:2");
    }

    #[test]
    fn syntax_errors_have_a_place_and_do_not_quote_the_line() {
        let error = Document::parse("a = 1\nsecret = \"hush\n", "f.toml").err().unwrap();
        assert!(error.to_string().starts_with("f.toml:2:"), "{error}");
        assert!(!error.to_string().contains("hush"), "{error}");
    }

    #[test]
    fn a_duplicate_names_both_lines() {
        let twice = "[targets.a]\nmodel = 'm'\n[targets.b]\nmodel = 'n'\nrpm = 1\n";
        for (again, wanted) in [
            (
                "[targets.a]",
                "6:10: [targets.a] is defined twice; the first definition is in line 1",
            ),
            ("rpm = 2", "6:1: targets.b.rpm is set twice; the first value is in line 5"),
            ("model = 'o'", "6:1: targets.b.model is set twice; the first value is in line 4"),
            (
                "[[c]]\nx = 1\n[[c]]\nx = 2\nx = 3",
                "10:1: c[1].x is set twice; the first value is in line 9",
            ),
            ("x = { y = 1, y = 2 }", "6:14: this key is set twice"),
        ] {
            let error = Document::parse(&format!("{twice}{again}\n"), "f.toml").err().unwrap();
            assert_eq!(error.to_string(), format!("f.toml:{wanted}"), "{again}");
        }
    }

    #[test]
    fn a_set_value_replaces_the_old_one_and_its_place() {
        let mut document = Document::parse("[a]\nb = { c = 1 }\n", "f.toml").unwrap();
        document.set(&["a", "b"].into(), 2, Location::Variable("X".into()));
        assert_eq!(shown(&document, &["a", "b", "c"].into()), "environment variable X");
        let new = KeyPath::from(["list"]).index(0).key("k");
        document.set(&new, "v", Location::Variable("Y".into()));
        assert_eq!(document.get(&new).and_then(|v| v.as_str()), Some("v"));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let keys = vec!["a"; 60].join(".");
        assert!(Document::parse(&format!("[{keys}]\nb = 1\n"), "f.toml").is_err());
    }
}
