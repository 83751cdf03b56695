//! References: texts of the config that name where a value is, `env:NAME` or `file:PATH`.
//!
//! [`resolve`] puts the values in the place of the references of a valid document, by their `format` in
//! the schema. No message repeats a value. Where a secret belongs, no message repeats
//! a text that is not a reference.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value as Schema;

use super::bearer_key;
use super::document::{Document, KeyPath};
use super::environment::Env;
use super::error::Problem;
use super::schema::{self, KEY_FORMAT, REDIS_FORMAT, SECRET_FORMAT, TEMPLATE_FORMAT, TEXT_FORMAT};
use super::secret::{Secret, clean_secret, read_file};
use super::{files, otel, redis_url, template};

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The config file alone. Nothing that it names is read: no variable, secret or other file.
    Syntax,
    /// The config file and all that it names.
    Whole,
}

/// What is wrong with a secret that stands in the config itself.
pub(super) const LITERAL: &str =
    "takes a reference, not the secret itself; write \"env:NAME\" or \"file:PATH\"";

/// Replaces a text that may be a secret, where a configuration is shown.
const HIDDEN: &str = "(hidden)";

/// The document with the values that its references name. Relative `file:` paths start at `base`. For
/// [`Scope::Syntax`] no reference is read, and an empty text stands for its value.
pub(super) fn resolve(
    document: &Document,
    env: &Env,
    base: Option<&Path>,
    scope: Scope,
) -> (toml::Value, Vec<Problem>) {
    let mut root = document.root().clone();
    let mut resolver = Resolver { document, env, base, scope, problems: Vec::new() };
    resolver.resolve(&mut root, schema::compiled(), &KeyPath::default());
    (root, resolver.problems)
}

struct Resolver<'a> {
    document: &'a Document,
    env: &'a Env,
    base: Option<&'a Path>,
    scope: Scope,
    problems: Vec<Problem>,
}

impl Resolver<'_> {
    fn resolve(&mut self, value: &mut toml::Value, schema: &Schema, at: &KeyPath) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table.iter_mut() {
                    if let Some(inner) = schema::of_key(schema, key) {
                        self.resolve(value, inner, &at.key(key));
                    }
                }
            }
            toml::Value::Array(array) => {
                for (index, value) in array.iter_mut().enumerate() {
                    if let Some(inner) = schema::items(schema) {
                        self.resolve(value, inner, &at.index(index));
                    }
                }
            }
            toml::Value::String(text) => match self.read(text, schema, at) {
                Some(Ok(value)) => *text = value,
                Some(Err(why)) => {
                    self.problems.push(self.document.problem(at, why));
                    text.clear();
                }
                None => {}
            },
            _ => {}
        }
    }

    /// What a text names; `None` if it stands for itself.
    fn read(&self, text: &str, schema: &Schema, at: &KeyPath) -> Option<Result<String, String>> {
        let named = |read: fn(&str) -> Result<String, String>| {
            if self.scope == Scope::Syntax {
                return is_reference(text).then(|| Ok(String::new()));
            }
            let secret = read_reference(text, self.env, self.base)?;
            Some(secret.and_then(|secret| read(secret.expose_secret())))
        };
        match schema::format(schema)? {
            TEXT_FORMAT => named(|value| Ok(value.to_owned())),
            SECRET_FORMAT => named(|value| Ok(value.to_owned())).or(Some(Err(LITERAL.to_owned()))),
            KEY_FORMAT if bearer_key::is_digest(text) => None,
            KEY_FORMAT => {
                named(bearer_key::digest_of).or(Some(Err(bearer_key::LITERAL.to_owned())))
            }
            REDIS_FORMAT if self.is_used(at) => {
                named(redis_url::read_named).or_else(|| Some(Ok(text.trim().to_owned())))
            }
            TEMPLATE_FORMAT if self.scope == Scope::Syntax && text.starts_with("file:") => {
                Some(Ok(String::new()))
            }
            TEMPLATE_FORMAT => Some(template::read(text, self.base)),
            _ => None,
        }
    }

    /// Whether the URL of a Redis is looked up: not that of a backend that is not chosen.
    fn is_used(&self, at: &KeyPath) -> bool {
        let is = |section, key, value: &str| {
            let found = self.document.get(&[section, key].into()).and_then(toml::Value::as_str);
            found == Some(value)
        };
        let several = ["sentinel", "cluster"].iter().any(|kind| is("state", "redis_kind", kind));
        match at.to_string().as_str() {
            "jobs.redis_url" => is("jobs", "backend", "redis"),
            "response_store.redis_url" => is("response_store", "backend", "redis"),
            "state.redis_url" => is("state", "backend", "redis") || !several,
            _ => true,
        }
    }
}

/// A text if it is a reference; else what is shown in its place.
pub(super) fn reference_or_hidden(text: &str) -> &str {
    if is_reference(text) { text } else { HIDDEN }
}

/// Whether a text is a reference.
pub(super) fn is_reference(text: &str) -> bool {
    ["env:", "file:"].iter().any(|kind| text.starts_with(kind))
}

/// Reads the secret that an argument of a command names, `env:NAME` or `file:PATH`.
///
/// # Errors
/// A phrase for a person, when it can't be read or the text is no reference. Never repeats the text.
pub fn secret_named(reference: &str, env: &Env) -> Result<Secret, String> {
    let read = read_reference(reference, env, None);
    read.unwrap_or_else(|| Err(LITERAL.to_owned())).map(Secret::from)
}

/// Reads `env:NAME` or `file:PATH`; `None` for any other text.
pub(super) fn read_reference(
    text: &str,
    env: &Env,
    base: Option<&Path>,
) -> Option<Result<SecretString, String>> {
    if let Some(name) = text.strip_prefix("env:") {
        let named = format!("names the environment variable '{name}'");
        let listed = otel::header(env, name);
        return Some(match env.get(name).or(listed.as_deref()).map(clean_secret) {
            Some(Ok("")) | None => Err(format!("{named}, which is not set or empty")),
            Some(Ok(secret)) => Ok(SecretString::from(secret)),
            Some(Err(why)) => Err(format!("{named}: the value {why}")),
        });
    }
    let path = files::resolve(base, text.strip_prefix("file:")?);
    Some(read_file(&path).map_err(|why| format!("names the file '{}': {why}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_name_a_variable_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "from-file\r\n").unwrap();
        std::fs::write(dir.path().join("empty"), "\n").unwrap();
        std::fs::write(dir.path().join("lines"), "from-file\n\n").unwrap();
        std::fs::write(dir.path().join("spaced"), " of words \n").unwrap();
        let env: Env = [
            ("KEY", "from-env"),
            ("BLANK", ""),
            ("LINE", "from-env\n"),
            ("DOS_LINE", "from-env\r\n"),
            ("LINES", "from-env\n\n"),
            ("TAB", "a\tb"),
            ("INNER", "a\nb"),
            ("BREAK", "\n"),
        ]
        .into_iter()
        .collect();
        let read = |text: &str| {
            let secret = read_reference(text, &env, Some(dir.path())).unwrap();
            secret.map(|s| s.expose_secret().to_owned())
        };
        assert_eq!(read("env:KEY"), Ok("from-env".to_owned()));
        assert_eq!(read("file:key"), Ok("from-file".to_owned()));
        let absolute = format!("file:{}", dir.path().join("key").display());
        assert_eq!(read(&absolute), Ok("from-file".to_owned()));
        assert_eq!(read("env:LINE"), Ok("from-env".to_owned()));
        assert_eq!(read("env:DOS_LINE"), Ok("from-env".to_owned()));
        assert_eq!(read("file:spaced"), Ok(" of words ".to_owned()));
        for (broken, at) in [("env:LINES", 8), ("env:TAB", 1), ("env:INNER", 1), ("file:lines", 9)]
        {
            let why = read(broken).unwrap_err();
            assert!(why.contains(&format!("after {at} characters")), "{broken}: {why}");
            assert!(!why.contains("from"), "{broken}: {why}");
        }
        assert!(read("env:BREAK").unwrap_err().contains("not set or empty"));
        assert!(read("env:MISSING").unwrap_err().contains("'MISSING'"));
        assert!(read("env:BLANK").unwrap_err().contains("'BLANK'"));
        assert!(read("file:empty").unwrap_err().contains("empty"));
        assert!(read("file:missing").unwrap_err().contains("missing"));
    }

    #[test]
    fn a_literal_secret_is_refused_without_repeating_it() {
        let text = "[server]\nadmin_key = 'wJalrXUtnFEMI'";
        let document = Document::parse(text, "config.toml").unwrap();
        let (resolved, problems) = resolve(&document, &Env::default(), None, Scope::Whole);
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        assert!(problem.message.contains("env:NAME"), "{problem}");
        assert!(!format!("{problem} {resolved}").contains("wJalr"));
    }
}
