//! The public keys of an issuer, read from its key set (JWKS, RFC 7517).
//!
//! Keys that are not for signatures, or of an unknown kind, are skipped; the rest of the set is used.
//! Symmetric keys are never accepted.

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::Value;

/// Longest key set, in bytes.
pub(super) const MAX_BYTES: usize = 256 * 1024;

/// Shortest RSA modulus that is accepted: 2,048 bits.
const MIN_RSA_BYTES: usize = 256;

/// Most keys of a set.
pub(super) const MAX_KEYS: usize = 100;

/// Why a key set can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// The document is not a key set.
    #[error("it is no key set: {0}")]
    Unreadable(String),
    /// The set has too many keys.
    #[error("it has {0} keys, more than {MAX_KEYS}")]
    TooMany(usize),
    /// No key of the set can be used.
    #[error("it has no key for signatures of a kind that is known")]
    Empty,
}

/// The keys of an issuer.
#[derive(Clone, Debug)]
pub struct KeySet(Vec<Key>);

#[derive(Clone, Debug)]
struct Key {
    id: Option<String>,
    /// The only algorithm that the key may be used with. `None`: all of its kind.
    algorithm: Option<KeyAlgorithm>,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// The number of its keys.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Reads a key set.
    ///
    /// # Errors
    /// If the document is not a key set, or if the set has too many keys or no usable key.
    pub fn read(document: &[u8]) -> Result<KeySet, KeySetError> {
        let Document { keys } = serde_json::from_slice(document)
            .map_err(|error| KeySetError::Unreadable(error.to_string()))?;
        if keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany(keys.len()));
        }
        let keys: Vec<Key> = keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() { Err(KeySetError::Empty) } else { Ok(KeySet(keys)) }
    }

    /// The key with this id that fits the algorithm; without an id, the key that fits, if there is one only.
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let fits = |it: &&Key| it.fits(algorithm);
        let mut found = match id {
            Some(id) => self.0.iter().find(|it| it.id.as_deref() == Some(id) && it.fits(algorithm)),
            None => {
                let mut fitting = self.0.iter().filter(fits);
                fitting.next().filter(|_| fitting.next().is_none())
            }
        };
        found.take().map(|it| &it.key)
    }
}

impl Key {
    fn read(value: Value) -> Option<Key> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        // A key on a curve has one algorithm. An RSA key has several, unless it names one.
        let only = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => None,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                Some(KeyAlgorithm::ES256)
            }
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => {
                Some(KeyAlgorithm::ES384)
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                Some(KeyAlgorithm::EdDSA)
            }
            _ => return None,
        };
        let common = &jwk.common;
        let is_for_signatures =
            common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature);
        let verifies = common
            .key_operations
            .as_ref()
            .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        if !is_for_signatures || !verifies {
            return None;
        }
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        if let DecodingKeyKind::RsaModulusExponent { n, .. } = key.kind()
            && n.len() < MIN_RSA_BYTES
        {
            return None;
        }
        let Jwk { common, .. } = jwk;
        Some(Key { id: common.key_id, algorithm: common.key_algorithm.or(only), key })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.key.family() == algorithm.family()
            && self.algorithm.is_none_or(|own| own == KeyAlgorithm::from(algorithm))
    }
}
