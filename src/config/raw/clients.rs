//! The keys of `[[clients]]` and `[[issuers]]` whose value must be computed.

#[cfg(test)]
use schemars::JsonSchema;
use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;

use crate::config::bearer_key::KeyRef;
use crate::config::model::{Budget, ClientPolicy, Guardrail, Issuer, TokenIdentity};
use crate::config::reference::SecretRef;

/// A client that may call.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["name"])))]
pub(in crate::config) struct RawClient {
    /// Its name in logs and metrics.
    #[cfg_attr(test, schemars(example = &"team-a"))]
    pub(in crate::config) name: String,
    /// The key it presents as a bearer token, by reference, or the key's SHA-256 digest.
    pub(in crate::config) bearer_token: Option<KeyRef>,
    /// More such keys, each with the time at which it expires, if it does.
    pub(in crate::config) bearer_tokens: Vec<RawBearerToken>,
    /// Id of the key pair it signs with, as it is.
    #[cfg_attr(test, schemars(example = &"SLUICEKEYOFTEAMA"))]
    pub(in crate::config) access_key_id: Option<String>,
    /// Secret of that key pair, by reference.
    pub(in crate::config) secret_access_key: Option<SecretRef>,
    /// More such key pairs, each with the time at which it expires, if it does.
    pub(in crate::config) keys: Vec<RawKeyPair>,
    /// The certificates it shows, each by its subject, or by `CN:`, `DNS:`, `URI:`, `IP:` or `email:`
    /// and a name.
    #[cfg_attr(test, schemars(example = ["CN=team-a,O=Example"]))]
    pub(in crate::config) certificates: Vec<String>,
    /// Its names at issuers of tokens.
    pub(in crate::config) identities: Vec<TokenIdentity>,
    /// A guardrail that all its requests have. Another one is refused.
    pub(in crate::config) guardrail: Option<Guardrail>,
    /// Ids or ARNs of the guardrails that its requests may name. Default: any.
    #[cfg_attr(test, schemars(example = ["gr-0123456789"]))]
    pub(in crate::config) allowed_guardrails: Option<Vec<String>>,
    #[serde(flatten)]
    pub(in crate::config) policy: ClientPolicy,
    #[serde(flatten)]
    pub(in crate::config) budget: Budget,
}

/// One of several bearer keys of a client.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["token"])))]
pub(in crate::config) struct RawBearerToken {
    /// The key, by reference, or its SHA-256 digest.
    pub(in crate::config) token: Option<KeyRef>,
    /// When it expires, in UTC. Default: never.
    #[cfg_attr(test, schemars(example = &"2027-01-01T00:00:00Z"))]
    pub(in crate::config) expires: Option<String>,
}

/// One of several key pairs of a client.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["access_key_id", "secret_access_key"])))]
pub(in crate::config) struct RawKeyPair {
    /// Its id, as it is.
    #[cfg_attr(test, schemars(example = &"SLUICEKEYOFTEAMA"))]
    pub(in crate::config) access_key_id: String,
    /// Its secret, by reference.
    pub(in crate::config) secret_access_key: Option<SecretRef>,
    /// When it expires, in UTC. Default: never.
    #[cfg_attr(test, schemars(example = &"2027-01-01T00:00:00Z"))]
    pub(in crate::config) expires: Option<String>,
}

/// An issuer of tokens (JWT) that clients may present in the place of a bearer key.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub(in crate::config) struct RawIssuer {
    /// URL of its key set (JWKS). Default: the one in the issuer's
    /// /.well-known/openid-configuration.
    #[cfg_attr(test, schemars(example = &"https://login.example.com/keys"))]
    pub(in crate::config) jwks_url: Option<String>,
    #[serde(flatten)]
    pub(in crate::config) issuer: Issuer,
}
