//! Who may call, and how what they present is judged.

use std::time::{Duration, SystemTime};

use http::Uri;
#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Budget, ClientPolicy};
use crate::config::bearer_key::BearerKey;
use crate::config::secret::Secret;

/// Somebody who may call. It has at least one means to show who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// The certificates that it may show, each by a name: a whole subject in the form of RFC 4514,
    /// or `CN:`, `DNS:`, `URI:`, `IP:` or `email:` and such a name of it; unique. Names of hosts are
    /// in lower case, addresses as Rust writes them.
    pub certificates: Vec<String>,
    /// Who it is to issuers of tokens.
    pub identities: Vec<TokenIdentity>,
}

/// Who a client is to an issuer of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenIdentity {
    /// The name of an [`Issuer`].
    pub issuer: String,
    /// What the issuer's claim says of this client; unique for the issuer.
    pub value: String,
}

/// Whose tokens (JWT) clients may present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Its name; unique. 1 to 64 letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What its tokens say of it, `iss`.
    pub issuer: String,
    /// Whom its tokens must be for, `aud`: one of these.
    pub audiences: Vec<String>,
    /// Where its keys are.
    pub keys: IssuerKeys,
    /// The claim that tells whose a token is: a text, or a list of them.
    pub claim: String,
    /// What its tokens may be signed by; at least one.
    pub algorithms: Vec<TokenAlgorithm>,
    /// How far its clock may be from the gateway's.
    pub leeway: Duration,
    /// How often its keys are fetched.
    pub refresh_interval: Duration,
    /// How soon its keys may be fetched again for a token whose key is not known, or after a failure.
    pub unknown_key_interval: Duration,
}

/// Where the keys of an issuer are. URLs are of HTTPS, or of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerKeys {
    /// In this key set.
    At(Uri),
    /// Where this document of OpenID Connect Discovery says.
    Discovered(Uri),
}

/// What a token may be signed by. None has a secret that the gateway would have to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub enum TokenAlgorithm {
    /// RSA, PKCS #1 v1.5, SHA-256.
    RS256,
    /// RSA, PKCS #1 v1.5, SHA-384.
    RS384,
    /// RSA, PKCS #1 v1.5, SHA-512.
    RS512,
    /// RSA, PSS, SHA-256.
    PS256,
    /// RSA, PSS, SHA-384.
    PS384,
    /// RSA, PSS, SHA-512.
    PS512,
    /// ECDSA on P-256, SHA-256.
    ES256,
    /// ECDSA on P-384, SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
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
