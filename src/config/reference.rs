//! References: a text of the config that names where a secret is, `env:NAME` or `file:PATH`.
//!
//! A secret may stand there by mistake, so `Debug` hides every such text, and no message repeats one
//! that is not a reference.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

#[cfg(test)]
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::SecretString;
use serde::Deserialize;

use super::environment::Env;
use super::files;
use super::otel;
use super::secret::{clean_secret, read_file};

/// Replaces a text that may be a secret, where a configuration is shown.
const HIDDEN: &str = "(hidden)";

/// A text that refers to a value of this kind.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct Reference<K> {
    text: String,
    kind: PhantomData<K>,
}

/// A kind of value that the config refers to.
#[cfg(test)]
pub(super) trait Kind {
    /// Its schema.
    fn schema() -> serde_json::Value;
}

/// Any secret.
#[derive(Clone)]
pub(super) struct AnySecret;

/// A reference to a secret.
pub(super) type SecretRef = Reference<AnySecret>;

impl<K> Reference<K> {
    /// The text, which may be a secret.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl SecretRef {
    /// Reads what the reference names. A relative `file:` path starts at `base`. The error is a
    /// phrase for a person.
    pub(super) fn read(&self, env: &Env, base: Option<&Path>) -> Result<SecretString, String> {
        read_reference(&self.text, env, base).unwrap_or_else(|| {
            Err("takes a reference, not the secret itself; write \"env:NAME\" or \"file:PATH\""
                .to_owned())
        })
    }
}

#[cfg(test)]
impl Kind for AnySecret {
    fn schema() -> serde_json::Value {
        serde_json::json!({
            "format": super::schema::SECRET_FORMAT,
            "pattern": "^(env|file):.+$",
            "examples": ["env:NAME", "file:/run/secrets/name"],
        })
    }
}

impl<K> From<&str> for Reference<K> {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), kind: PhantomData }
    }
}

impl<K> fmt::Debug for Reference<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reference(..)")
    }
}

#[cfg(test)]
impl<K> serde::Serialize for Reference<K> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
impl<K: Kind> JsonSchema for Reference<K> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        std::any::type_name::<K>().into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "string" });
        if let serde_json::Value::Object(kind) = K::schema() {
            schema.ensure_object().extend(kind);
        }
        schema
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
    use secrecy::ExposeSecret;

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
            let secret = SecretRef::from(text).read(&env, Some(dir.path()));
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
        let literal = SecretRef::from("wJalrXUtnFEMI");
        let error = literal.read(&Env::default(), None).unwrap_err();
        assert!(error.contains("env:NAME") && !error.contains("wJalr"), "{error}");
        assert!(!format!("{literal:?}").contains("wJalr"));
    }
}
