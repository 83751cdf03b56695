//! The clients that may call, and how their signatures and tokens are verified.

use std::time::{Duration, SystemTime};

use http::Uri;
#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Budget, ClientPolicy};
use crate::config::bearer_key::BearerKey;
use crate::config::secret::Secret;
use crate::config::units::{AnyDuration, NonZeroDuration, TextForm as _};

/// A client that may call. It has at least one credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientConfig {
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

/// The client's name at an issuer of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["issuer", "value"])))]
pub struct TokenIdentity {
    /// The name of an issuer.
    #[cfg_attr(test, schemars(example = &"corp"))]
    pub issuer: String,
    /// The value of the issuer's claim for this client.
    #[cfg_attr(test, schemars(example = &"team-a-app"))]
    pub value: String,
}

/// An issuer of tokens (JWT) that clients may present in the place of a bearer key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["name", "issuer", "audiences"])))]
pub struct Issuer {
    /// Its name, for clients and metrics.
    #[cfg_attr(test, schemars(example = &"corp"))]
    pub name: String,
    /// The value of `iss` in its tokens.
    #[cfg_attr(test, schemars(example = &"https://login.example.com"))]
    pub issuer: String,
    /// Accepted values of `aud`: a token must have one of them.
    #[cfg_attr(test, schemars(length(max = 16)))]
    pub audiences: Vec<String>,
    /// Where its keys are.
    #[serde(skip)]
    pub keys: IssuerKeys,
    /// The claim that identifies the client: a text, or a list of them.
    pub claim: String,
    /// Algorithms that its tokens may be signed with.
    pub algorithms: Vec<TokenAlgorithm>,
    /// How far its clock may be from the gateway's.
    #[serde(with = "AnyDuration")]
    pub leeway: Duration,
    /// How often its keys are fetched.
    #[serde(with = "NonZeroDuration")]
    pub refresh_interval: Duration,
    /// How soon they may be fetched again for a token whose key is not known, or after a failure.
    #[serde(with = "NonZeroDuration")]
    pub unknown_key_interval: Duration,
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            name: String::new(),
            issuer: String::new(),
            audiences: Vec::new(),
            keys: IssuerKeys::At(Uri::default()),
            claim: "sub".to_owned(),
            algorithms: vec![TokenAlgorithm::RS256, TokenAlgorithm::ES256],
            leeway: Duration::from_secs(60),
            refresh_interval: Duration::from_secs(15 * 60),
            unknown_key_interval: Duration::from_secs(30),
        }
    }
}

/// Where the keys of an issuer are. URLs are of HTTPS, or of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerKeys {
    /// In this key set.
    At(Uri),
    /// At the URL in this document of OpenID Connect Discovery.
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

/// How signatures of clients are verified.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Auth {
    /// How far the time of a signature may be from the gateway's, either way.
    #[serde(with = "NonZeroDuration")]
    pub max_clock_skew: Duration,
    /// Whether this process accepts a signature only once.
    pub replay_protection: bool,
    /// Signatures remembered at once for `replay_protection`; beyond them the oldest is forgotten.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub max_replay_signatures: usize,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            max_clock_skew: Duration::from_secs(300),
            replay_protection: false,
            max_replay_signatures: 100_000,
        }
    }
}
