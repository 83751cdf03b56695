//! The keys of clients, and how signatures are verified.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::Checker;
use crate::config::bearer_key::{BearerKey, KeyRef, MIN_KEY_CHARS, presentable};
use crate::config::document::KeyPath;
use crate::config::model::{Auth, BearerToken, KeyPair};
use crate::config::raw::RawClient;
use crate::config::reference::SecretRef;
use crate::config::secret::Secret;

/// Most keys of one kind that one client may have.
const MAX_KEYS: usize = 16;

/// The keys that were seen so far: none is two clients', nor twice one's.
#[derive(Default)]
pub(super) struct KeysSeen {
    bearer: HashMap<BearerKey, usize>,
    pairs: HashMap<String, usize>,
}

impl Checker<'_> {
    pub(super) fn auth(&mut self, raw: &Auth) -> Auth {
        let skew = raw.max_clock_skew;
        if skew > Duration::from_secs(24 * 60 * 60) || skew.subsec_nanos() > 0 {
            let at = KeyPath::from(["auth", "max_clock_skew"]);
            self.problem(&at, "must be whole seconds, and at most 24h");
        }
        raw.clone()
    }

    /// The bearer keys of the client at `at`, which is the one with this index.
    pub(super) fn bearer_tokens(
        &mut self,
        at: &KeyPath,
        index: usize,
        raw: &RawClient,
        seen: &mut KeysSeen,
    ) -> Vec<BearerToken> {
        let list = at.key("bearer_tokens");
        self.at_most(&list, raw.bearer_tokens.len());
        let mut tokens = Vec::new();
        let flat = raw.bearer_token.as_ref().map(|token| (at.key("bearer_token"), token));
        if let Some(key) = flat.and_then(|(at, token)| self.bearer_key(&at, index, token, seen)) {
            tokens.push(BearerToken { key, expires: None });
        }
        for (i, token) in raw.bearer_tokens.iter().enumerate() {
            let at = list.index(i);
            let expires = self.expires(&at, token.expires.as_deref());
            let Some(reference) = &token.token else { continue };
            if let Some(key) = self.bearer_key(&at.key("token"), index, reference, seen) {
                tokens.push(BearerToken { key, expires });
            }
        }
        tokens
    }

    fn bearer_key(
        &mut self,
        at: &KeyPath,
        index: usize,
        reference: &KeyRef,
        seen: &mut KeysSeen,
    ) -> Option<BearerKey> {
        match reference.read(self.env, self.base) {
            Ok(key) => {
                match seen.bearer.insert(key.clone(), index) {
                    Some(first) if first == index => self.problem(at, "is there twice"),
                    Some(_) => self.problem(at, "is the key of another client too"),
                    None => {}
                }
                Some(key)
            }
            Err(why) => {
                self.problem(at, why);
                None
            }
        }
    }

    /// The key pairs of the client at `at`, which is the one with this index.
    pub(super) fn key_pairs(
        &mut self,
        at: &KeyPath,
        index: usize,
        raw: &RawClient,
        seen: &mut KeysSeen,
    ) -> Vec<KeyPair> {
        let list = at.key("keys");
        self.at_most(&list, raw.keys.len());
        let mut pairs = Vec::new();
        match (&raw.access_key_id, &raw.secret_access_key) {
            (Some(id), Some(secret)) => {
                pairs.extend(self.key_pair(at, index, id, secret, None, seen));
            }
            (Some(_), None) => {
                self.needs_beside(at, "access_key_id", "secret_access_key");
            }
            (None, Some(_)) => {
                self.needs_beside(at, "secret_access_key", "access_key_id");
            }
            (None, None) => {}
        }
        for (i, pair) in raw.keys.iter().enumerate() {
            let at = list.index(i);
            let expires = self.expires(&at, pair.expires.as_deref());
            let Some(secret) = &pair.secret_access_key else { continue };
            pairs.extend(self.key_pair(&at, index, &pair.access_key_id, secret, expires, seen));
        }
        pairs
    }

    fn key_pair(
        &mut self,
        at: &KeyPath,
        index: usize,
        id: &str,
        secret: &SecretRef,
        expires: Option<SystemTime>,
        seen: &mut KeysSeen,
    ) -> Option<KeyPair> {
        let id_at = at.key("access_key_id");
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !self.document.mentions(&id_at) {
            return None;
        }
        if id.is_empty() || id.len() > 128 || !id.chars().all(fits) {
            // Not repeated: it may be a secret key in the wrong place.
            self.problem(&id_at, "is not an access key id: 1 to 128 letters, digits, '-' and '_'");
        }
        match seen.pairs.insert(id.to_owned(), index) {
            Some(first) if first == index => self.problem(&id_at, "is there twice"),
            Some(_) => self.problem(&id_at, "is the key of another client too"),
            None => {}
        }
        let secret_at = at.key("secret_access_key");
        let secret = Secret::from(self.secret(&secret_at, secret));
        // An empty one was a problem already.
        if let Err(why) = presentable(secret.expose()) {
            self.problem(&secret_at, why);
        } else if (1..MIN_KEY_CHARS).contains(&secret.expose().len()) {
            let message = format!("names a key shorter than {MIN_KEY_CHARS} characters");
            self.problem(&secret_at, message);
        }
        Some(KeyPair { access_key_id: id.to_owned(), secret_access_key: secret, expires })
    }

    fn expires(&mut self, at: &KeyPath, text: Option<&str>) -> Option<SystemTime> {
        let text = text?;
        match humantime::parse_rfc3339(text) {
            Ok(time) => {
                if time <= SystemTime::now() {
                    self.warnings.push(format!("{at} has expired"));
                }
                Some(time)
            }
            Err(_) => {
                let message =
                    format!("'{text}' is not a time; write it like \"2027-01-01T00:00:00Z\"");
                self.problem(&at.key("expires"), message);
                None
            }
        }
    }

    fn at_most(&mut self, at: &KeyPath, count: usize) {
        if count > MAX_KEYS {
            self.problem(at, format!("at most {MAX_KEYS} of them, not {count}"));
        }
    }

    /// A key that is there without the other that it needs, unless that one is bad, which has been
    /// said.
    fn needs_beside(&mut self, at: &KeyPath, key: &str, other: &str) {
        if !self.document.mentions(&at.key(other)) {
            self.problem(&at.key(key), format!("needs '{other}' beside it"));
        }
    }
}
