//! Secrets, which `Debug` never shows.
//!
//! A secret is read once, when the config is loaded, and cleaned in one place: a line break at its end
//! is removed, and any other control character is refused.

use std::fmt;
use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

use super::files;
#[cfg(test)]
use super::units::schema_of;

/// Longest secret read from a file, in bytes.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// A secret of a configuration. `Debug` hides it, and it is wiped from memory when it is dropped.
#[derive(Clone, Default)]
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

impl From<Secret> for SecretString {
    fn from(secret: Secret) -> Self {
        secret.0
    }
}

// From the value that has replaced a reference.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(String::deserialize(deserializer)?.into()))
    }
}

/// For the defaults in the schema.
#[cfg(test)]
impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

#[cfg(test)]
schema_of!(Secret, {
    "type": "string",
    "format": super::schema::SECRET_FORMAT,
    "pattern": "^(env|file):.+$",
    "examples": ["env:NAME", "file:/run/secrets/name"],
});

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

/// Reads a secret from a file. The error is a phrase for a person.
pub(super) fn read_file(path: &Path) -> Result<SecretString, String> {
    let secret = files::read_text(path, MAX_SECRET_BYTES).map_err(|e| e.to_string())?;
    let secret = clean_secret(&secret).map_err(|why| format!("the text {why}"))?;
    if secret.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(SecretString::from(secret))
}
