//! Secrets by reference: `env:NAME` or `file:PATH`, never the secret itself.
//!
//! What a reference names is read once, when the config is loaded, and cleaned in one place: a line
//! break at its end is taken away, and any other control character is refused. No message here repeats the
//! text of a value that is not a valid reference, since it may be the secret.

use std::fmt;
use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
#[cfg(test)]
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use super::environment::Env;
use super::files;
use super::otel;

/// Longest secret read from a file, in bytes.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Stands for a text that may be a secret, where a configuration is shown.
const HIDDEN: &str = "(hidden)";

/// A secret of a configuration. `Debug` hides it, and it is wiped from memory when it is dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The secret itself.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether this is the presented secret. Takes the same time for every secret of one length.
    pub fn matches(&self, presented: &str) -> bool {
        let own = digest(&SHA256, self.expose().as_bytes());
        let presented = digest(&SHA256, presented.as_bytes());
        verify_slices_are_equal(own.as_ref(), presented.as_ref()).is_ok()
    }
}

impl From<SecretString> for Secret {
    fn from(secret: SecretString) -> Self {
        Self(secret)
    }
}

impl From<&str> for Secret {
    fn from(secret: &str) -> Self {
        Self(secret.into())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.expose())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The text where a reference to a secret should stand. It may be a secret by mistake, so
/// `Debug` hides it, and it is written as a reference or not at all.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct SecretRef(String);

impl SecretRef {
    /// Reads what the reference names. A relative `file:` path starts at `base`. The error is a
    /// phrase for a person.
    pub(super) fn read(&self, env: &Env, base: Option<&Path>) -> Result<SecretString, String> {
        read_reference(&self.0, env, base).unwrap_or_else(|| {
            Err("takes a reference, not the secret itself; write \"env:NAME\" or \"file:PATH\""
                .to_owned())
        })
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(reference_or_hidden(&self.0))
    }
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretRef(..)")
    }
}

#[cfg(test)]
impl JsonSchema for SecretRef {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SecretRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": super::schema::SECRET_FORMAT,
            "pattern": "^(env|file):.+$",
            "examples": ["env:NAME", "file:/run/secrets/name"],
        })
    }
}

/// A text if it is a reference; else what stands for it where it is shown.
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
        let value = env.get(name).or(listed.as_deref());
        return Some(match value.map(clean_secret) {
            Some(Ok("")) | None => Err(format!("{named}, which is not set or empty")),
            Some(Ok(secret)) => Ok(SecretString::from(secret)),
            Some(Err(why)) => Err(format!("{named}: the value {why}")),
        });
    }
    let path = files::resolve(base, text.strip_prefix("file:")?);
    Some(read_file(&path).map_err(|why| format!("names the file '{}': {why}", path.display())))
}

/// A secret without the line break that a file or a shell often leaves at its end. The error is a
/// phrase for a person, and does not repeat the secret.
///
/// # Errors
/// When there is another control character in it: no header and no key can have one, so that every
/// request with it would fail.
pub fn clean_secret(text: &str) -> Result<&str, String> {
    let secret = text.strip_suffix('\n').map_or(text, |it| it.strip_suffix('\r').unwrap_or(it));
    match secret.chars().position(char::is_control) {
        Some(at) => Err(format!(
            "has a control character, such as a line break or a tab, after {at} characters; only \
             one line break at the end is taken away"
        )),
        None => Ok(secret),
    }
}

fn read_file(path: &Path) -> Result<SecretString, String> {
    let secret = files::read_text(path, MAX_SECRET_BYTES).map_err(|e| e.to_string())?;
    let secret = clean_secret(&secret).map_err(|why| format!("the text {why}"))?;
    if secret.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(SecretString::from(secret))
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
            let secret = SecretRef(text.to_owned()).read(&env, Some(dir.path()));
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
        let literal = SecretRef("wJalrXUtnFEMI".to_owned());
        let error = literal.read(&Env::default(), None).unwrap_err();
        assert!(error.contains("env:NAME") && !error.contains("wJalr"), "{error}");
        assert!(!format!("{literal:?}").contains("wJalr"));
    }
}
