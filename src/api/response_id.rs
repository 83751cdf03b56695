//! The ids of stored responses, as clients get them: sealed, so that an id alone says where its response is.
//!
//! A sealed id holds the place of a response, the client that made it, and the upstream's own id. No store
//! is needed to send a later request to that place. No client can forge an id, or use another client's.
//!
//! The seal is authenticated encryption with AES-256-GCM. Its nonce is a hash of what is sealed, keyed with
//! a key of its own, as in a synthetic IV: the same response has the same id in all events of a stream, and
//! two different texts have the same nonce with a probability that does not count.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::{hkdf, hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::catalogue::Endpoint;
use crate::limits::{Caller, CallerKind};

#[cfg(test)]
mod tests;

/// What all ids begin with, as those of the upstream do.
pub const PREFIX: &str = "resp_";

/// Longest id that clients get, in bytes.
pub const MAX_SEALED: usize = 512;

/// Longest id of an upstream that can be sealed, in bytes.
pub const MAX_UPSTREAM: usize = 256;

/// The form of what is sealed. Ids of another form are malformed.
const VERSION: u8 = 1;

/// Bytes of the hash of a place, and of a client.
const HASH: usize = 16;

/// Bytes of the random secret that stands in for a configured one.
const SECRET: usize = 32;

/// Where a response is stored: a hash of the target's name, its region and its endpoint.
///
/// The region and the endpoint are part of it, so that a target that has moved is another place.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place([u8; HASH]);

impl Place {
    /// The place that a target stores responses at.
    pub fn of(target: &str, region: &str, endpoint: Endpoint) -> Place {
        Place(hash(&[b"place", target.as_bytes(), region.as_bytes(), endpoint.name().as_bytes()]))
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({})", hex::encode(self.0))
    }
}

/// The client that a response belongs to: a hash of the name that it has in the config, or of the key by
/// which limits count an anonymous caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner([u8; HASH]);

impl Owner {
    /// The bytes of the hash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The hash in hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// The owner of what is stored for no caller.
    pub fn nobody() -> Owner {
        Owner(hash(&[b"nobody"]))
    }

    /// The owner of what this caller stores.
    pub fn of(caller: &Caller) -> Owner {
        // An anonymous caller chooses its key, so it must not equal a client's name.
        let kind: &[u8] = match caller.kind {
            CallerKind::Registered(_) | CallerKind::Removed(_) => b"client",
            CallerKind::Anonymous(_) => b"anonymous",
        };
        Owner(hash(&[b"owner", kind, caller.key().as_bytes()]))
    }
}

/// A response at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse<P> {
    /// Where it is, as the caller of [`ResponseIds::open`] found it.
    pub place: P,
    /// The upstream's own id.
    pub id: String,
}

/// Why the id of an upstream can't be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the upstream's id of the response is empty or longer than {MAX_UPSTREAM} bytes")]
pub struct SealError;

/// Why an id can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseIdError {
    /// The gateway has not made it, or has made it with another key.
    #[error("the id is not one that this gateway has given out")]
    Malformed,
    /// Another client made the response. A client must not learn that it exists.
    #[error("the response belongs to another client")]
    OtherClient,
    /// The gateway no longer has the target that stored the response.
    #[error("the target that stored the response is no longer there")]
    UnknownPlace,
}

impl ResponseIdError {
    /// The text for clients. It is the same for an id that is unknown and for another client's.
    pub fn message(self, id: &str) -> String {
        match self {
            ResponseIdError::Malformed | ResponseIdError::OtherClient => {
                let shown: String = id.chars().take(MAX_SEALED).collect();
                format!("Response with id '{shown}' not found.")
            }
            ResponseIdError::UnknownPlace => {
                "The response was stored at a target that this gateway no longer has, so it can't \
                 be read or continued."
                    .to_owned()
            }
        }
    }
}

/// Seals and opens ids.
pub struct ResponseIds {
    encryption: LessSafeKey,
    nonces: hmac::Key,
}

impl fmt::Debug for ResponseIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseIds")
    }
}

impl ResponseIds {
    /// Ids that every process with this secret can open. The secret has 32 bytes or more.
    pub fn with_secret(secret: &[u8]) -> ResponseIds {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"ids of stored responses");
        let derived = salt.extract(secret);
        ResponseIds {
            encryption: LessSafeKey::new(encryption_key(&derived)),
            nonces: nonce_key(&derived),
        }
    }

    /// Ids that only this object can open: they end with the process.
    pub fn random() -> ResponseIds {
        let mut secret = [0; SECRET];
        #[expect(clippy::expect_used, reason = "the process can do nothing without random bytes")]
        rand::fill(&mut secret).expect("the system has random bytes");
        ResponseIds::with_secret(&secret)
    }

    /// The id that `owner` gets for the response that the upstream at `place` calls `id`.
    ///
    /// # Errors
    /// When the upstream's id is empty or too long.
    pub fn seal(&self, place: Place, owner: Owner, id: &str) -> Result<String, SealError> {
        if id.is_empty() || id.len() > MAX_UPSTREAM {
            return Err(SealError);
        }
        let mut text = Vec::with_capacity(1 + 2 * HASH + id.len() + AES_256_GCM.tag_len());
        text.push(VERSION);
        text.extend_from_slice(&place.0);
        text.extend_from_slice(&owner.0);
        text.extend_from_slice(id.as_bytes());
        let nonce = self.nonce_of(&text);
        let unique = Nonce::assume_unique_for_key(nonce);
        self.encryption
            .seal_in_place_append_tag(unique, Aad::empty(), &mut text)
            .map_err(|_| SealError)?;
        let mut sealed = String::with_capacity(MAX_SEALED);
        sealed.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string([&nonce, text.as_slice()].concat(), &mut sealed);
        Ok(sealed)
    }

    /// The response behind an id that `owner` names. `find` looks up its place.
    ///
    /// # Errors
    /// When the id is not one of the gateway's, is another client's, or `find` does not know the place.
    pub fn open<P>(
        &self,
        sealed: &str,
        owner: Owner,
        find: impl FnOnce(Place) -> Option<P>,
    ) -> Result<StoredResponse<P>, ResponseIdError> {
        let text = self.unsealed(sealed).ok_or(ResponseIdError::Malformed)?;
        let (place, maker, id) = parts(&text).ok_or(ResponseIdError::Malformed)?;
        if maker != owner {
            return Err(ResponseIdError::OtherClient);
        }
        let place = find(place).ok_or(ResponseIdError::UnknownPlace)?;
        Ok(StoredResponse { place, id: id.to_owned() })
    }

    /// What is sealed in an id, if the id is genuine.
    fn unsealed(&self, sealed: &str) -> Option<Vec<u8>> {
        let encoded = sealed.strip_prefix(PREFIX).filter(|_| sealed.len() <= MAX_SEALED)?;
        let mut bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
        let mut text = bytes.split_off_checked(NONCE_LEN)?;
        let nonce: [u8; NONCE_LEN] = bytes.try_into().ok()?;
        let unique = Nonce::assume_unique_for_key(nonce);
        let len = self.encryption.open_in_place(unique, Aad::empty(), &mut text).ok()?.len();
        text.truncate(len);
        (self.nonce_of(&text) == nonce).then_some(text)
    }

    fn nonce_of(&self, text: &[u8]) -> [u8; NONCE_LEN] {
        first_bytes(hmac::sign(&self.nonces, text).as_ref())
    }
}

/// `Vec::split_off` without a panic.
trait SplitOffChecked: Sized {
    fn split_off_checked(&mut self, at: usize) -> Option<Self>;
}

impl SplitOffChecked for Vec<u8> {
    fn split_off_checked(&mut self, at: usize) -> Option<Vec<u8>> {
        (at <= self.len()).then(|| self.split_off(at))
    }
}

/// The place, the owner and the upstream's id.
fn parts(text: &[u8]) -> Option<(Place, Owner, &str)> {
    let (&[VERSION], rest) = text.split_first_chunk()? else { return None };
    let (place, rest) = rest.split_first_chunk()?;
    let (owner, id) = rest.split_first_chunk()?;
    Some((Place(*place), Owner(*owner), std::str::from_utf8(id).ok()?))
}

#[expect(clippy::expect_used, reason = "the length is that of the algorithm")]
fn encryption_key(derived: &hkdf::Prk) -> UnboundKey {
    derived.expand(&[b"encryption"], &AES_256_GCM).expect("a key can be derived").into()
}

#[expect(clippy::expect_used, reason = "the length is that of the algorithm")]
fn nonce_key(derived: &hkdf::Prk) -> hmac::Key {
    derived.expand(&[b"nonces"], hmac::HMAC_SHA256).expect("a key can be derived").into()
}

/// The start of a hash of these parts. No two lists of parts are the same bytes.
fn hash(parts: &[&[u8]]) -> [u8; HASH] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    first_bytes(context.finish().as_ref())
}

/// The first bytes of a digest, which is longer.
fn first_bytes<const N: usize>(digest: &[u8]) -> [u8; N] {
    digest.first_chunk().copied().unwrap_or([0; N])
}
