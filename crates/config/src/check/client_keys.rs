//! The keys of clients, and how signatures are verified.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::Checker;
use crate::bearer_key::{BearerKey, MIN_KEY_CHARS, presentable};
use crate::document::KeyPath;
use crate::model::{Auth, BearerToken, KeyPair};
use crate::raw::RawClient;

/// The keys that were seen so far: none is two clients', nor twice one's.
#[derive(Default)]
pub(super) struct KeysSeen {
    bearer: HashMap<BearerKey, usize>,
    pairs: HashMap<String, usize>,
}

impl KeysSeen {
    /// The client that has a bearer key already. Keys that could not be read are no one's.
    fn bearer_key(&mut self, key: &BearerKey, index: usize) -> Option<usize> {
        if *key == BearerKey::default() { None } else { self.bearer.insert(key.clone(), index) }
    }
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
        let mut tokens = Vec::new();
        if let Some(key) = &raw.bearer_token {
            self.unique_key(&at.key("bearer_token"), index, seen.bearer_key(key, index));
            tokens.push(BearerToken { key: key.clone(), expires: None });
        }
        for (i, token) in raw.bearer_tokens.iter().enumerate() {
            let at = list.index(i);
            self.expires(&at, token.expires);
            self.unique_key(&at.key("token"), index, seen.bearer_key(&token.key, index));
            tokens.push(token.clone());
        }
        tokens
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
        self.needs_beside(at, "access_key_id", "secret_access_key");
        self.needs_beside(at, "secret_access_key", "access_key_id");
        let mut pairs = Vec::new();
        if let (Some(id), Some(secret)) = (&raw.access_key_id, &raw.secret_access_key) {
            let (access_key_id, secret_access_key) = (id.clone(), secret.clone());
            let pair = KeyPair { access_key_id, secret_access_key, expires: None };
            self.key_pair(at, index, &pair, seen);
            pairs.push(pair);
        }
        for (i, pair) in raw.keys.iter().enumerate() {
            self.expires(&list.index(i), pair.expires);
            self.key_pair(&list.index(i), index, pair, seen);
        }
        pairs.extend_from_slice(&raw.keys);
        pairs
    }

    fn key_pair(&mut self, at: &KeyPath, index: usize, pair: &KeyPair, seen: &mut KeysSeen) {
        let (id, id_at) = (&pair.access_key_id, at.key("access_key_id"));
        let (secret, secret_at) = (pair.secret_access_key.expose(), at.key("secret_access_key"));
        if !self.document.mentions(&id_at) || !self.document.mentions(&secret_at) {
            return;
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if id.is_empty() || id.len() > 128 || !id.chars().all(fits) {
            // Not repeated: it may be a secret key in the wrong place.
            self.problem(&id_at, "is not an access key id: 1 to 128 letters, digits, '-' and '_'");
        }
        self.unique_key(&id_at, index, seen.pairs.insert(id.clone(), index));
        // An empty one was a problem already.
        if let Err(why) = presentable(secret) {
            self.problem(&secret_at, why);
        } else if (1..MIN_KEY_CHARS).contains(&secret.len()) {
            let message = format!("names a key shorter than {MIN_KEY_CHARS} characters");
            self.problem(&secret_at, message);
        }
    }

    fn unique_key(&mut self, at: &KeyPath, index: usize, first: Option<usize>) {
        match first {
            Some(first) if first == index => self.problem(at, "is there twice"),
            Some(_) => self.problem(at, "is the key of another client too"),
            None => {}
        }
    }

    fn expires(&mut self, at: &KeyPath, time: Option<SystemTime>) {
        if time.is_some_and(|time| time <= SystemTime::now()) {
            self.warnings.push(format!("{at} has expired"));
        }
    }
}
