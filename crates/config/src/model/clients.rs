//! The clients that may call, and how their signatures and tokens are verified.

use std::time::{Duration, SystemTime};

use http::Uri;
#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

use super::{Budget, ClientPolicy};
use crate::bearer_key::BearerKey;
use crate::secret::Secret;
#[cfg(test)]
use crate::tests::names::ShortText;
use crate::units::{AnyDuration, NonZeroDuration, Optional, TextForm as _, UtcTime};

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
    #[cfg_attr(test, schemars(example = &"team-a-app", extend("format" = "short-text")))]
    pub value: String,
}

/// An issuer of tokens (JWT) that clients may present in the place of a bearer key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["name", "issuer", "audiences"])))]
pub struct Issuer {
    /// Its name, for clients and metrics.
    #[cfg_attr(test, schemars(example = &"corp"))]
    pub name: String,
    /// The value of `iss` in its tokens.
    #[cfg_attr(test, schemars(example = &"https://login.example.com", extend("format" = "short-text")))]
    pub issuer: String,
    /// Accepted values of `aud`: a token must have one of them.
    #[cfg_attr(test, schemars(with = "Vec<ShortText>", length(min = 1, max = 16)))]
    pub audiences: Vec<String>,
    /// Where its keys are.
    #[serde(skip)]
    #[default(IssuerKeys::At(Uri::default()))]
    pub keys: IssuerKeys,
    /// The claim that identifies the client: a text, or a list of them.
    #[cfg_attr(test, schemars(extend("format" = "short-text")))]
    #[default = "sub"]
    pub claim: String,
    /// Algorithms that its tokens may be signed with.
    #[cfg_attr(test, schemars(length(min = 1)))]
    #[default(vec![TokenAlgorithm::RS256, TokenAlgorithm::ES256])]
    pub algorithms: Vec<TokenAlgorithm>,
    /// How far its clock may be from the gateway's.
    #[serde(with = "AnyDuration")]
    #[default(Duration::from_secs(60))]
    pub leeway: Duration,
    /// How often its keys are fetched.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(15 * 60))]
    pub refresh_interval: Duration,
    /// How soon they may be fetched again for a token whose key is not known, or after a failure.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(30))]
    pub unknown_key_interval: Duration,
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

/// One of several bearer keys of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["token"])))]
pub struct BearerToken {
    /// The key, by reference, or its SHA-256 digest.
    #[serde(rename = "token")]
    pub key: BearerKey,
    /// When it expires, in UTC. Default: never.
    #[serde(with = "Optional::<UtcTime>")]
    pub expires: Option<SystemTime>,
}

/// One of several key pairs of a client, for AWS signatures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["access_key_id", "secret_access_key"])))]
pub struct KeyPair {
    /// Its id, as it is: 1 to 128 letters, digits, `-` and `_`; unique.
    #[cfg_attr(test, schemars(example = &"SLUICEKEYOFTEAMA"))]
    pub access_key_id: String,
    /// Its secret, by reference; at least 16 characters.
    pub secret_access_key: Secret,
    /// When it expires, in UTC. Default: never.
    #[serde(with = "Optional::<UtcTime>")]
    pub expires: Option<SystemTime>,
}

/// How signatures of clients are verified.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Auth {
    /// How far the time of a signature may be from the gateway's, either way.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(300))]
    pub max_clock_skew: Duration,
    /// Whether this process accepts a signature only once.
    pub replay_protection: bool,
    /// Signatures remembered at once for `replay_protection`; beyond them the oldest is forgotten.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    #[default = 100_000]
    pub max_replay_signatures: usize,
}
