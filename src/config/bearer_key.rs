//! The key that a client presents as a bearer token.
//!
//! Owns its digest and nothing else: the key itself is forgotten as soon as it is read, so no log,
//! error or `Debug` can show it. Keys are compared in constant time.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

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
    pub(super) fn from_hex(text: &str) -> Option<Self> {
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
