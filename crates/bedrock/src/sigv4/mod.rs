//! SigV4 of requests: the `authorization` header, the canonical form, the signing key and the signature.
//! Source: AWS's "Create a signed AWS API request".
//!
//! The module works on the request as it is on the wire. Tests compare it with AWS's own library in both
//! directions: they verify thousands of random requests that the library has signed, and the library
//! computes the same signatures for requests that are signed here. The callers decide who may call, what a
//! refusal says, and which headers are signed.

pub mod amz_date;
mod authorization;
mod canonical;
mod events;
mod key_cache;
#[cfg(test)]
mod tests;

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};

pub use authorization::{Authorization, Malformed, Scope, SignedHeaders};
pub use canonical::{
    CanonicalHead, MissingSignedHeader, PathForm, Received, canonical_hash, canonical_text,
};
pub use events::{BadEvent, CHUNK_SIGNATURE, EventChain};
pub use key_cache::SigningKeyCache;

/// The name of the algorithm.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The service that signatures are scoped to, on the runtime host too.
pub const SERVICE: &str = "bedrock";
/// The service that the SDKs of OpenAI and Anthropic scope their signatures to.
pub const MANTLE_SERVICE: &str = "bedrock-mantle";
/// What ends a scope.
pub const TERMINATOR: &str = "aws4_request";
/// HTTP/2's pseudo-header for the host.
pub const AUTHORITY: &str = ":authority";
/// Header with the time of signing.
pub const DATE: &str = "x-amz-date";
/// Header with the token of temporary credentials.
pub const SECURITY_TOKEN: &str = "x-amz-security-token";
/// Header with the hash of the payload, or with what stands for it.
pub const CONTENT_SHA256: &str = "x-amz-content-sha256";
/// The hash of nothing.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// Stands for the hash of a payload that is not signed.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
/// Stands for the hash of an event stream whose events are signed one by one.
pub const STREAMING_EVENTS: &str = "STREAMING-AWS4-HMAC-SHA256-EVENTS";

/// Digits of a SHA-256 hash or signature in hexadecimal.
const DIGITS: usize = 64;

/// A SHA-256 hash as signatures have it: 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadHash([u8; DIGITS]);

impl PayloadHash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> PayloadHash {
        PayloadHash(lower_hex(digest::digest(&digest::SHA256, bytes).as_ref()))
    }

    /// Reads the digits.
    pub fn parse(text: &str) -> Option<PayloadHash> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let digits: [u8; DIGITS] = text.as_bytes().try_into().ok()?;
        digits.iter().all(is_digit).then_some(PayloadHash(digits))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        #[expect(clippy::expect_used, reason = "hexadecimal digits are ASCII")]
        std::str::from_utf8(&self.0).expect("digits are ASCII")
    }
}

/// Hashes a payload that comes in pieces.
#[derive(Clone)]
pub struct PayloadHasher(digest::Context);

impl PayloadHasher {
    /// Nothing hashed yet.
    #[expect(clippy::new_without_default, reason = "there is no default payload")]
    pub fn new() -> PayloadHasher {
        PayloadHasher(digest::Context::new(&digest::SHA256))
    }

    /// Hashes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The hash of all pieces.
    pub fn finish(self) -> PayloadHash {
        PayloadHash(lower_hex(self.0.finish().as_ref()))
    }
}

impl fmt::Debug for PayloadHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PayloadHasher(..)")
    }
}

/// A key derived from a secret for one day, region and service. As good as the secret for them, so
/// `Debug` hides it.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

impl SigningKey {
    /// Derives the key for a scope.
    pub fn derive(secret: &str, scope: &Scope<'_>) -> SigningKey {
        let seed = ["AWS4", secret].concat();
        let parts = [scope.date, scope.region, scope.service, scope.terminator];
        let first = hmac::Key::new(hmac::HMAC_SHA256, seed.as_bytes());
        SigningKey(parts.iter().fold(first, |key, part| {
            hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref())
        }))
    }

    /// The key that was derived elsewhere.
    pub fn derived(key: &[u8]) -> SigningKey {
        SigningKey(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The signature of a string to sign; it has the form of a hash.
    pub fn sign(&self, string_to_sign: &str) -> PayloadHash {
        PayloadHash(lower_hex(hmac::sign(&self.0, string_to_sign.as_bytes()).as_ref()))
    }

    /// Whether `signature` is this key's of a string to sign. Takes the same time for every
    /// signature of the right length.
    pub fn verifies(&self, string_to_sign: &str, signature: &str) -> bool {
        let expected = self.sign(string_to_sign);
        verify_slices_are_equal(&expected.0, signature.as_bytes()).is_ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// What the derived key signs: algorithm, time, scope, and the hash of the canonical request.
pub fn string_to_sign(date: &str, scope: &Scope<'_>, canonical_request: &PayloadHash) -> String {
    let Scope { date: day, region, service, terminator } = scope;
    let hash = canonical_request.as_str();
    let parts =
        [ALGORITHM, "\n", date, "\n", day, "/", region, "/", service, "/", terminator, "\n", hash];
    let mut text = String::with_capacity(256);
    text.extend(parts);
    text
}

/// The two digits of each byte.
#[expect(clippy::indexing_slicing, reason = "it fails when it is built, if at all")]
const PAIRS: [[u8; 2]; 256] = {
    let (mut pairs, digits) = ([[0; 2]; 256], b"0123456789abcdef");
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

fn lower_hex(bytes: &[u8]) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    for (pair, &byte) in digits.as_chunks_mut().0.iter_mut().zip(bytes) {
        #[expect(clippy::indexing_slicing, reason = "there is a pair for each byte")]
        let digits = PAIRS[usize::from(byte)];
        *pair = digits;
    }
    digits
}
