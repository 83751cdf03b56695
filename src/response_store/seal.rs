//! The encryption of records: AES-256-GCM under a key of each record's own, which is derived from a configured key
//! and the record's name.
//!
//! The name is a hash of the client and the id, and the additional data of the encryption, too. So a record that
//! is copied under another name can't be read. A sealed record is a version, a random nonce, and the encrypted
//! text with its tag.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use aws_lc_rs::{hkdf, rand};

use crate::api::response_id::Owner;
use crate::config::Secret;

/// The form of a sealed record.
const VERSION: u8 = 1;

/// The name of a record: who has it, and under which id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Name([u8; SHA256_OUTPUT_LEN]);

impl Name {
    pub(super) fn of(owner: Owner, id: &str) -> Name {
        let mut context = Context::new(&SHA256);
        context.update(b"kept response");
        // The owner's length is always the same.
        context.update(owner.as_bytes());
        context.update(id.as_bytes());
        let digest = context.finish();
        Name(digest.as_ref().first_chunk().copied().unwrap_or([0; SHA256_OUTPUT_LEN]))
    }

    pub(super) fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

/// Encrypts records by the first of its keys, and decrypts them by any.
pub(super) struct Sealer {
    keys: Vec<hkdf::Prk>,
}

impl Sealer {
    pub(super) fn new(keys: &[Secret]) -> Sealer {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"kept responses");
        Sealer { keys: keys.iter().map(|key| salt.extract(key.expose().as_bytes())).collect() }
    }

    /// A record as it is stored; `None` if it can't be encrypted.
    pub(super) fn seal(&self, name: &Name, text: &[u8]) -> Option<Vec<u8>> {
        let key = key_of(self.keys.first()?, name)?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut encrypted = text.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(unique, Aad::from(name.0), &mut encrypted).ok()?;
        Some([&[VERSION], nonce.as_slice(), &encrypted].concat())
    }

    /// The text of a stored record; `None` if no key decrypts it under this name.
    pub(super) fn open(&self, name: &Name, sealed: &[u8]) -> Option<Vec<u8>> {
        let (&[VERSION], rest) = sealed.split_first_chunk()? else { return None };
        let (nonce, encrypted) = rest.split_first_chunk::<NONCE_LEN>()?;
        self.keys.iter().find_map(|key| {
            let key = key_of(key, name)?;
            let mut text = encrypted.to_vec();
            let unique = Nonce::assume_unique_for_key(*nonce);
            let len = key.open_in_place(unique, Aad::from(name.0), &mut text).ok()?.len();
            text.truncate(len);
            Some(text)
        })
    }
}

fn key_of(key: &hkdf::Prk, name: &Name) -> Option<LessSafeKey> {
    let info = [b"record".as_slice(), &name.0];
    let derived: UnboundKey = key.expand(&info, &AES_256_GCM).ok()?.into();
    Some(LessSafeKey::new(derived))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::limits::{Caller, CallerKind};

    fn sealer(keys: &[&str]) -> Sealer {
        Sealer::new(&keys.iter().map(|key| Secret::from(*key)).collect::<Vec<_>>())
    }

    fn owner(name: &str) -> Owner {
        let kind = CallerKind::Removed(Arc::from(name));
        Owner::of(&Caller { kind, access_key_id: None })
    }

    #[test]
    fn a_record_is_read_under_its_own_name_alone() {
        let sealer = sealer(&["a key of thirty-two bytes or more"]);
        let name = Name::of(owner("a"), "resp_1");
        let sealed = sealer.seal(&name, b"hello there").unwrap();
        assert!(!sealed.windows(5).any(|it| it == b"hello"));
        assert_ne!(sealer.seal(&name, b"hello there"), Some(sealed.clone()));
        assert_eq!(sealer.open(&name, &sealed).unwrap(), b"hello there");
        for other in [Name::of(owner("b"), "resp_1"), Name::of(owner("a"), "resp_2")] {
            assert_eq!(sealer.open(&other, &sealed), None);
        }
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(sealer.open(&name, &changed), None, "{index}");
            assert_eq!(sealer.open(&name, &sealed[..index]), None, "{index}");
        }
    }

    #[test]
    fn a_new_key_reads_on_with_the_old_one() {
        let (old, new) = ("the old key of 32 bytes or longer", "the new key of 32 bytes or longer");
        let name = Name::of(Owner::nobody(), "resp_1");
        let sealed = sealer(&[old]).seal(&name, b"x").unwrap();
        assert_eq!(sealer(&[new, old]).open(&name, &sealed).unwrap(), b"x");
        assert_eq!(sealer(&[new]).open(&name, &sealed), None);
        let sealed = sealer(&[new, old]).seal(&name, b"x").unwrap();
        assert!(sealer(&[new]).open(&name, &sealed).is_some(), "the first key encrypts");
    }
}
