//! The key that a client presents as a bearer token.
//!
//! Owns its digest and nothing else: the key itself is forgotten as soon as it is read, so no log,
//! error or `Debug` can show it. Keys are compared in constant time.

use std::fmt;
use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::environment::Env;
#[cfg(test)]
use super::reference::Kind;
use super::reference::{Reference, read_reference};
use super::secret::Secret;

/// Shortest key, in characters. A digest does not show how long its key is.
pub(super) const MIN_KEY_CHARS: usize = 16;

/// The SHA-256 digest of a bearer key. Usable as a map key, to find the client of a presented key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BearerKey([u8; SHA256_OUTPUT_LEN]);

impl BearerKey {
    /// Digests a key.
    pub fn of(key: &str) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        for (byte, digested) in bytes.iter_mut().zip(digest(&SHA256, key.as_bytes()).as_ref()) {
            *byte = *digested;
        }
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

/// A client's bearer key, or its digest.
#[derive(Clone)]
pub(super) struct ClientKey;

/// A reference to a bearer key, or the digest of one.
pub(super) type KeyRef = Reference<ClientKey>;

impl KeyRef {
    /// Reads the digest, or digests what the reference names. A relative `file:` path starts at
    /// `base`. The error is a phrase for a person.
    pub(super) fn read(&self, env: &Env, base: Option<&Path>) -> Result<BearerKey, String> {
        if let Some(digits) = self.text().strip_prefix("sha256:") {
            return BearerKey::from_hex(digits)
                .ok_or_else(|| "must have 64 hexadecimal digits after \"sha256:\"".to_owned());
        }
        let Some(key) = read_reference(self.text(), env, base) else {
            return Err("takes a reference or a digest, not the key itself; write \"env:NAME\", \
                        \"file:PATH\" or \"sha256:DIGEST\""
                .to_owned());
        };
        let key = Secret::from(key?);
        presentable(key.expose())?;
        if key.expose().len() < MIN_KEY_CHARS {
            return Err(format!("names a key shorter than {MIN_KEY_CHARS} characters"));
        }
        Ok(BearerKey::of(key.expose()))
    }
}

/// Whether a key can stand in a header. The error is a phrase for a person.
pub(super) fn presentable(key: &str) -> Result<(), String> {
    if key.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(());
    }
    Err("names a key with blanks, line breaks or other than ASCII characters".to_owned())
}

#[cfg(test)]
impl Kind for ClientKey {
    fn schema() -> serde_json::Value {
        serde_json::json!({
            "format": super::schema::SECRET_FORMAT,
            "pattern": "^((env|file):.+|sha256:[0-9a-fA-F]{64})$",
            "examples": ["env:NAME", "file:/run/secrets/name"],
        })
    }
}

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
