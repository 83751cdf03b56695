//! The JSON Schema of the config file, and the validation of a document against it.
//!
//! The schema is generated from the types of `raw` and `model`, so known keys, types and bounds have one
//! source. A test generates it into `schema.json`, since the generator would take more memory in each
//! process than the schema itself. Validation reports every unknown key and every value of a wrong type,
//! form or range, and removes it from the document, so that the rest can still be read and checked.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::document::{Document, KeyPath};
use super::endpoint::Endpoint;
use super::error::{Problem, nearest, suggestion};
use super::limit_key::LimitKey;
use super::log_filter::check_filter;
use super::units::{Address, AnyDuration, NonZeroDuration, Size, TextForm as _, UtcTime};
use super::{bearer_key, deprecated, forms, redis_url};

/// The format of a reference to a secret.
pub(super) const SECRET_FORMAT: &str = "secret-reference";

/// The format of a reference to a bearer key, or of the key's digest.
pub(super) const KEY_FORMAT: &str = "key-reference";

/// The format of a text, or a reference to one.
pub(super) const TEXT_FORMAT: &str = "text-reference";

/// The format of URLs of Redis, or a reference to them.
pub(super) const REDIS_FORMAT: &str = "redis-url-reference";

/// The format of a template, as text or `file:PATH`.
pub(super) const TEMPLATE_FORMAT: &str = "template";

/// The JSON Schema (draft 2020-12) of the config file.
pub fn schema() -> Value {
    compiled().clone()
}

/// The same schema, read once.
pub(super) fn compiled() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let schema = serde_json::from_str(include_str!("schema.json"));
        #[expect(clippy::expect_used, reason = "the text is compiled in, and the tests read it")]
        schema.expect("the built-in schema is readable")
    });
    &SCHEMA
}

/// The keys of a table with fixed keys.
pub(super) fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

/// The keys that a message may suggest: those that will last.
pub(super) fn to_suggest(keys: &Map<String, Value>) -> impl Iterator<Item = &str> {
    keys.iter().filter(|(_, inner)| !deprecated::is_deprecated(inner)).map(|(key, _)| key.as_str())
}

/// The schema of the values of a table with free keys.
pub(super) fn map_values(schema: &Value) -> Option<&Value> {
    schema.get("additionalProperties").filter(|inner| inner.is_object())
}

/// The schema of an array's elements.
pub(super) fn items(schema: &Value) -> Option<&Value> {
    schema.get("items")
}

/// The schema of the value of a table's key.
pub(super) fn of_key<'s>(schema: &'s Value, key: &str) -> Option<&'s Value> {
    properties(schema).and_then(|keys| keys.get(key)).or_else(|| map_values(schema))
}

/// Whether a text may be a secret, and is shown only if it is a reference.
pub(super) fn is_secret(schema: &Value) -> bool {
    matches!(format(schema), Some(SECRET_FORMAT | KEY_FORMAT))
}

/// Whether a text may be a reference.
fn is_reference(schema: &Value) -> bool {
    format(schema).is_some_and(|format| format.ends_with("-reference"))
}

/// The form of a text.
pub(super) fn format(schema: &Value) -> Option<&str> {
    schema.get("format").and_then(Value::as_str)
}

/// Whether the schema describes a table.
pub(super) fn is_table(schema: &Value) -> bool {
    kind(schema) == "object"
}

/// Whether the schema describes a table that has required keys.
pub(super) fn is_optional_table(schema: &Value) -> bool {
    is_table(schema) && schema.get("required").is_some()
}

/// Whether the schema wants a string.
pub(super) fn is_string(schema: &Value) -> bool {
    kind(schema) == "string" || !choices(schema).is_empty()
}

/// Whether the schema allows any string, rather than a fixed set of strings.
pub(super) fn is_text(schema: &Value) -> bool {
    kind(schema) == "string"
}

/// What the schema wants, as a phrase with an article.
pub(super) fn wanted(schema: &Value) -> String {
    let choices = choices(schema);
    if !choices.is_empty() {
        return format!("one of \"{}\"", choices.join("\", \""));
    }
    let example = schema.get("examples").and_then(|examples| examples.get(0));
    let example = example.map(|example| format!(" such as {example}")).unwrap_or_default();
    let name = match (kind(schema), format(schema)) {
        (_, Some("duration-text" | "duration-or-zero-text")) => "a duration",
        (_, Some("size-text")) => "a size",
        _ if is_reference(schema) => "a reference",
        ("string", _) => "a string",
        ("integer", _) => "an integer",
        ("number", _) => "a number",
        ("boolean", _) => "true or false",
        ("array", _) => "an array",
        _ => "a table",
    };
    format!("{name}{example}")
}

/// The message for a key that the table at `path` does not have.
pub(super) fn unknown(key: &str, path: &KeyPath, hint: &str) -> String {
    match path.to_string().as_str() {
        "" => format!("unknown section '{key}'{hint}"),
        section => format!("unknown key '{key}' in [{section}]{hint}"),
    }
}

/// Reports what does not fit the schema, and removes it from the document.
pub(super) fn validate(document: &mut Document) -> Vec<Problem> {
    let mut root = std::mem::replace(document.root_mut(), toml::Value::Boolean(false));
    let mut validator = Validator { document, problems: Vec::new() };
    validator.is_valid(&mut root, compiled(), &KeyPath::default());
    let problems = validator.problems;
    *document.root_mut() = root;
    problems
}

struct Validator<'a> {
    /// For the locations of values only; its root is elsewhere during validation.
    document: &'a Document,
    problems: Vec<Problem>,
}

impl Validator<'_> {
    /// Whether the value may stay. Wrong values inside it are removed.
    fn is_valid(&mut self, value: &mut toml::Value, schema: &Value, path: &KeyPath) -> bool {
        match value {
            toml::Value::Table(table) if kind(schema) == "object" => {
                self.validate_table(table, schema, path);
                true
            }
            // An array stays or goes as a whole, so that the locations of its elements stay right.
            toml::Value::Array(array) if kind(schema) == "array" => {
                if let Some(message) = count_problem(array.len(), schema, path) {
                    self.problems.push(self.document.problem(path, message));
                    return false;
                }
                let is_unique = self.validate_unique(array, schema, path);
                let Some(inner) = items(schema) else { return is_unique };
                let elements = array.iter_mut().enumerate();
                elements.fold(is_unique, |keep, (i, value)| {
                    self.is_valid(value, inner, &path.index(i)) && keep
                })
            }
            scalar => match scalar_problem(scalar, schema) {
                None => true,
                Some(message) => {
                    self.problems.push(self.document.problem(path, message));
                    false
                }
            },
        }
    }

    fn validate_unique(&mut self, array: &[toml::Value], schema: &Value, path: &KeyPath) -> bool {
        let problems = self.problems.len();
        if schema.get("uniqueItems").is_some() {
            for (index, value) in array.iter().enumerate() {
                if array.iter().take(index).any(|earlier| earlier == value) {
                    let problem = self.document.problem(&path.index(index), "stands there twice");
                    self.problems.push(problem);
                }
            }
        }
        self.problems.len() == problems
    }

    fn validate_table(&mut self, table: &mut toml::Table, schema: &Value, path: &KeyPath) {
        if let Some(message) = count_problem(table.len(), schema, path) {
            self.problems.push(self.document.problem(path, message));
        }
        let required = schema.get("required").and_then(Value::as_array);
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            if !table.contains_key(key) {
                self.problems.push(self.document.problem(path, format!("needs '{key}'")));
            }
        }
        table.retain(|key, value| {
            let at = path.key(key);
            if let Some(message) = schema.get("propertyNames").and_then(|it| form_problem(key, it))
            {
                self.problems.push(self.document.problem(&at, message));
                return false;
            }
            if let Some(inner) = of_key(schema, key) {
                return self.is_valid(value, inner, &at);
            }
            let known = properties(schema).into_iter().flat_map(to_suggest);
            let hint = section_with(key).map_or_else(
                || suggestion(key, known),
                |section| format!("; it belongs in [{section}]"),
            );
            let message = unknown(key, path, &hint);
            let location = self.document.location_of(&at);
            self.problems.push(Problem { path: at.to_string(), ..Problem::new(location, message) });
            false
        });
    }
}

/// The one section that has this key, for a key that stands in a wrong one. A list of tables is one
/// too.
fn section_with(key: &str) -> Option<&'static str> {
    let has = |section: &Value| {
        let keys = properties(section).or_else(|| properties(items(section)?));
        keys.is_some_and(|keys| keys.contains_key(key))
    };
    let mut sections = properties(compiled())?.iter().filter(|(_, section)| has(section));
    let (name, _) = sections.next()?;
    sections.next().is_none().then_some(name.as_str())
}

/// What is wrong with a value that is neither a wanted table nor a wanted array.
fn scalar_problem(value: &toml::Value, schema: &Value) -> Option<String> {
    let choices = choices(schema);
    match (value, kind(schema)) {
        (toml::Value::String(text), _) if !choices.is_empty() => {
            (!choices.contains(&text.as_str())).then(|| {
                // The choices are listed already.
                let hint = nearest(text, choices.iter().copied()).unwrap_or_default();
                format!("must be {}, not \"{text}\"{hint}", wanted(schema))
            })
        }
        (toml::Value::String(text), "string") => form_problem(text, schema),
        (toml::Value::Boolean(_), "boolean") => None,
        (toml::Value::Integer(number), "integer") => range_problem(*number, schema),
        // A whole number may be written without a point.
        (toml::Value::Integer(number), "number") => number_problem(*number as f64, schema),
        (toml::Value::Float(number), "number") => number_problem(*number, schema),
        _ => Some(format!("must be {}, not {}", wanted(schema), found(value, schema))),
    }
}

/// What is wrong with the number of an array's elements or a table's keys.
fn count_problem(count: usize, schema: &Value, path: &KeyPath) -> Option<String> {
    let bound = |key| schema.get(key).and_then(Value::as_u64);
    if count == 0 && bound("minItems").is_some() {
        return Some("must not be empty".to_owned());
    }
    let max = bound("maxItems").or_else(|| bound("maxProperties"))?;
    (count as u64 > max).then(|| format!("at most {max} {}, not {count}", path.name()))
}

/// What is wrong with a text that has a form.
fn form_problem(text: &str, schema: &Value) -> Option<String> {
    let read = match format(schema)? {
        "duration-text" => NonZeroDuration::read(text).map(drop),
        "duration-or-zero-text" => AnyDuration::read(text).map(drop),
        "size-text" => Size::read(text).map(drop),
        "socket-address" => Address::read(text).map(drop),
        "limit-key" => LimitKey::read(text).map(drop),
        "utc-time" => UtcTime::read(text).map(drop),
        "log-filter" => check_filter(text),
        "model-id" => forms::model_id(text),
        "model-pattern" => forms::model_pattern(text),
        "region" => forms::region(text),
        "endpoint-url" => Endpoint::read(text).map(drop),
        "non-blank" => forms::non_blank(text),
        "role-arn" => forms::role_arn(text),
        "redis-prefix" => forms::redis_prefix(text),
        "guardrail-id" => forms::guardrail_id(text),
        "guardrail-version" => forms::guardrail_version(text),
        "short-text" => forms::short_text(text),
        "header-name" => forms::header_name(text),
        "path-prefix" => forms::path_prefix(text),
        KEY_FORMAT => bearer_key::check(text),
        REDIS_FORMAT => redis_url::check(text),
        _ => Ok(()),
    };
    read.err()
}

fn range_problem(number: i64, schema: &Value) -> Option<String> {
    let min = schema.get("minimum").and_then(Value::as_i64).unwrap_or(i64::MIN);
    let max = schema.get("maximum").and_then(Value::as_i64).unwrap_or(i64::MAX);
    let outside = !(min..=max).contains(&number);
    outside.then(|| format!("must be from {min} to {max}, not {number}"))
}

/// The same for numbers with a point. NaN is outside of every range.
fn number_problem(number: f64, schema: &Value) -> Option<String> {
    let min = schema.get("minimum").and_then(Value::as_f64).unwrap_or(f64::MIN);
    let max = schema.get("maximum").and_then(Value::as_f64).unwrap_or(f64::MAX);
    let outside = !(min..=max).contains(&number);
    outside.then(|| format!("must be from {min} to {max}, not {number}"))
}

/// A wrong value as a phrase; secrets are not repeated.
fn found(value: &toml::Value, schema: &Value) -> String {
    let secret = is_reference(schema);
    match value {
        toml::Value::Integer(number) if !secret => format!("the number {number}"),
        toml::Value::Float(number) if !secret => format!("the number {number}"),
        toml::Value::Boolean(truth) if !secret => truth.to_string(),
        toml::Value::Integer(_) | toml::Value::Float(_) => "a number".to_owned(),
        toml::Value::Boolean(_) => "true or false".to_owned(),
        toml::Value::String(_) => "a string".to_owned(),
        toml::Value::Datetime(_) => "a date".to_owned(),
        toml::Value::Array(_) => "an array".to_owned(),
        toml::Value::Table(_) => "a table".to_owned(),
    }
}

fn kind(schema: &Value) -> &str {
    schema.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// The words of an enumeration; empty for any other schema.
fn choices(schema: &Value) -> Vec<&str> {
    let variants = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    variants.filter_map(|variant| variant.get("const")?.as_str()).collect()
}
