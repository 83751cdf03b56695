//! Who may call, and how what they present is judged.

use std::time::{Duration, SystemTime};

use super::{Budget, ClientPolicy};
use crate::config::bearer_key::BearerKey;
use crate::config::secret::Secret;

/// Somebody who may call. It has at least one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its name; unique. 1 to 64 letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The keys that it may present as a bearer token.
    pub bearer_tokens: Vec<BearerToken>,
    /// The key pairs that it may sign with.
    pub keys: Vec<KeyPair>,
    /// What it may ask for.
    pub policy: ClientPolicy,
    /// What it may spend. `None`: any amount.
    pub budget: Option<Budget>,
}

/// A bearer key of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerToken {
    /// The key; unique.
    pub key: BearerKey,
    /// When it is taken no longer. `None`: never.
    pub expires: Option<SystemTime>,
}

/// A key pair of a client, for AWS signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// Its id, which is no secret; unique. 1 to 128 letters, digits, `-` and `_`.
    pub access_key_id: String,
    /// Its secret; at least 16 characters.
    pub secret_access_key: Secret,
    /// When it is taken no longer. `None`: never.
    pub expires: Option<SystemTime>,
}

/// How signatures of clients are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// How far the time of a signature may be from the gateway's, either way; whole seconds.
    pub max_clock_skew: Duration,
    /// Whether a signature is taken only once.
    pub replay_protection: bool,
    /// Signatures remembered at once; at least 1.
    pub max_replay_signatures: usize,
}
