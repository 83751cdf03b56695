//! The keys of `[[clients]]`, and `[auth]`, as the file says them.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::bearer_key::KeyRef;
use crate::config::model::TokenAlgorithm;
use crate::config::secret::SecretRef;
use crate::config::units::DurationText;

/// One of several bearer keys of a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[cfg_attr(test, schemars(extend("required" = ["token"])))]
pub(in crate::config) struct RawBearerToken {
    /// The key, by reference, or its SHA-256 digest.
    #[serde(default)]
    pub(in crate::config) token: Option<KeyRef>,
    /// When it is taken no longer, in UTC. Default: never.
    #[cfg_attr(test, schemars(example = &"2027-01-01T00:00:00Z"))]
    pub(in crate::config) expires: Option<String>,
}

/// One of several key pairs of a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[cfg_attr(test, schemars(extend("required" = ["access_key_id", "secret_access_key"])))]
pub(in crate::config) struct RawKeyPair {
    /// Its id, as it is.
    #[serde(default)]
    #[cfg_attr(test, schemars(example = &"SLUICEKEYOFTEAMA"))]
    pub(in crate::config) access_key_id: String,
    /// Its secret, by reference.
    #[serde(default)]
    pub(in crate::config) secret_access_key: Option<SecretRef>,
    /// When it is taken no longer, in UTC. Default: never.
    #[cfg_attr(test, schemars(example = &"2027-01-01T00:00:00Z"))]
    pub(in crate::config) expires: Option<String>,
}

/// Who a client is to an issuer of tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[cfg_attr(test, schemars(extend("required" = ["issuer", "value"])))]
pub(in crate::config) struct RawTokenIdentity {
    /// The name of an issuer.
    #[serde(default)]
    #[cfg_attr(test, schemars(example = &"corp"))]
    pub(in crate::config) issuer: String,
    /// What the issuer's claim says of this client.
    #[serde(default)]
    #[cfg_attr(test, schemars(example = &"team-a-app"))]
    pub(in crate::config) value: String,
}

/// An issuer of tokens (JWT) that clients may present in the place of a bearer key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["name", "issuer", "audiences"])))]
pub(in crate::config) struct RawIssuer {
    /// Its name, for clients and metrics.
    #[cfg_attr(test, schemars(example = &"corp"))]
    pub(in crate::config) name: String,
    /// What its tokens say of it in `iss`.
    #[cfg_attr(test, schemars(example = &"https://login.example.com"))]
    pub(in crate::config) issuer: String,
    /// Whom its tokens must be for, in `aud`: one of these.
    #[cfg_attr(test, schemars(length(max = 16)))]
    pub(in crate::config) audiences: Vec<String>,
    /// URL of its key set (JWKS). Default: what the issuer's /.well-known/openid-configuration says.
    #[cfg_attr(test, schemars(example = &"https://login.example.com/keys"))]
    pub(in crate::config) jwks_url: Option<String>,
    /// The claim that tells whose a token is: a text, or a list of them.
    pub(in crate::config) claim: String,
    /// What its tokens may be signed by.
    pub(in crate::config) algorithms: Vec<TokenAlgorithm>,
    /// How far its clock may be from the gateway's.
    pub(in crate::config) leeway: DurationText,
    /// How often its keys are fetched.
    pub(in crate::config) refresh_interval: DurationText,
    /// How soon they may be fetched again for a token whose key is not known, or after a failure.
    pub(in crate::config) unknown_key_interval: DurationText,
}

impl Default for RawIssuer {
    fn default() -> Self {
        Self {
            name: String::new(),
            issuer: String::new(),
            audiences: Vec::new(),
            jwks_url: None,
            claim: "sub".to_owned(),
            algorithms: vec![TokenAlgorithm::RS256, TokenAlgorithm::ES256],
            leeway: "60s".into(),
            refresh_interval: "15m".into(),
            unknown_key_interval: "30s".into(),
        }
    }
}

/// How signatures of clients are judged.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(in crate::config) struct RawAuth {
    /// How far the time of a signature may be from the gateway's, either way.
    pub(in crate::config) max_clock_skew: DurationText,
    /// Whether a signature is taken only once by this process.
    pub(in crate::config) replay_protection: bool,
    /// Signatures remembered at once for `replay_protection`; beyond them the oldest is forgotten.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub(in crate::config) max_replay_signatures: usize,
}

impl Default for RawAuth {
    fn default() -> Self {
        Self {
            max_clock_skew: "5m".into(),
            replay_protection: false,
            max_replay_signatures: 100_000,
        }
    }
}
