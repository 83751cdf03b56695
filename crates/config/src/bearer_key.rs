//! The key that a client presents as a bearer token.
//!
//! Owns its digest and nothing else: the key itself is forgotten as soon as it is read, so no log,
//! error or `Debug` can show it. Keys are compared in constant time.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

#[cfg(test)]
use super::units::schema_of;

/// Shortest key, in characters. A digest does not show how long its key is.
pub(super) const MIN_KEY_CHARS: usize = 16;

/// What is wrong with a key that stands in the config itself.
pub(super) const LITERAL: &str = "takes a reference or a digest, not the key itself; write \
                                  \"env:NAME\", \"file:PATH\" or \"sha256:DIGEST\"";

/// What a digest starts with.
const DIGEST: &str = "sha256:";

/// The SHA-256 digest of a bearer key. Usable as a map key, to find the client of a presented key.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct BearerKey([u8; SHA256_OUTPUT_LEN]);

impl BearerKey {
    /// Digests a key.
    pub fn of(key: &str) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
        Self(bytes)
    }

    /// Reads the digest itself: 64 hexadecimal digits.
    fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Whether this is the presented key. Takes the same time for every key of one length.
    pub fn matches(&self, presented: &str) -> bool {
        verify_slices_are_equal(&self.0, &Self::of(presented).0).is_ok()
    }
}

impl fmt::Debug for BearerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerKey(..)")
    }
}

// From the digest that has replaced a reference, or from nothing, where the reference was wrong.
impl<'de> Deserialize<'de> for BearerKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            Ok(Self::default())
        } else {
            read_digest(&text).map_err(Error::custom)
        }
    }
}

/// Whether a text is a digest, right or not.
pub(super) fn is_digest(text: &str) -> bool {
    text.starts_with(DIGEST)
}

/// Checks a text in the place of a key: a digest must be right.
pub(super) fn check(text: &str) -> Result<(), String> {
    if is_digest(text) { read_digest(text).map(drop) } else { Ok(()) }
}

/// The digest of a key, as the config takes it.
///
/// # Errors
/// A sentence for a person, when the config refuses such a key. Never repeats it.
pub fn key_digest(key: &str) -> Result<String, String> {
    digest_of(key).map_err(|why| {
        let why = why.strip_prefix("names ").unwrap_or(&why);
        format!("the config takes no such key: this is {why}")
    })
}

/// The digest of a key that a reference names. The error is a phrase for a person.
pub(super) fn digest_of(key: &str) -> Result<String, String> {
    presentable(key)?;
    if key.len() < MIN_KEY_CHARS {
        return Err(format!("names a key shorter than {MIN_KEY_CHARS} characters"));
    }
    Ok(format!("{DIGEST}{}", hex::encode(BearerKey::of(key).0)))
}

fn read_digest(text: &str) -> Result<BearerKey, String> {
    let digits = text.strip_prefix(DIGEST);
    digits
        .and_then(BearerKey::from_hex)
        .ok_or_else(|| "must have 64 hexadecimal digits after \"sha256:\"".to_owned())
}

/// Whether a key can stand in a header. The error is a phrase for a person.
pub(super) fn presentable(key: &str) -> Result<(), String> {
    if key.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(());
    }
    Err("names a key with blanks, line breaks or other than ASCII characters".to_owned())
}

/// For the defaults in the schema, which are none.
#[cfg(test)]
impl serde::Serialize for BearerKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_none()
    }
}

#[cfg(test)]
schema_of!(BearerKey, {
    "type": "string",
    "format": super::schema::KEY_FORMAT,
    "pattern": "^((env|file):.+|sha256:[0-9a-fA-F]{64})$",
    "examples": ["env:NAME", "file:/run/secrets/name"],
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_matches_itself_and_nothing_else() {
        let key = BearerKey::of("correct horse battery");
        assert!(key.matches("correct horse battery"));
        for other in ["", "correct horse", "correct horse battery "] {
            assert!(!key.matches(other), "{other}");
        }
    }

    #[test]
    fn a_digest_is_read_from_64_digits() {
        // echo -n abc | sha256sum
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(BearerKey::from_hex(abc), Some(BearerKey::of("abc")));
        assert_eq!(BearerKey::from_hex(&abc.to_uppercase()), Some(BearerKey::of("abc")));
        for bad in ["", "abc", &abc[1..], &format!("{abc}00"), &abc.replace('b', "x")] {
            assert_eq!(BearerKey::from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn debug_output_holds_no_digest() {
        assert_eq!(format!("{:?}", BearerKey::of("abc")), "BearerKey(..)");
    }
}
