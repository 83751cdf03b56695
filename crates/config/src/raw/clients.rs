//! The keys of `[[clients]]` and `[[issuers]]` whose value must be computed.

#[cfg(test)]
use schemars::JsonSchema;
use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;

use crate::bearer_key::BearerKey;
use crate::model::{BearerToken, Budget, ClientPolicy, Guardrail, Issuer, KeyPair, TokenIdentity};
use crate::secret::Secret;
#[cfg(test)]
use crate::tests::names::GuardrailId;

/// A client that may call.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["name"])))]
pub(crate) struct RawClient {
    /// Its name in logs and metrics.
    #[cfg_attr(test, schemars(example = &"team-a"))]
    pub(crate) name: String,
    /// The key it presents as a bearer token, by reference, or the key's SHA-256 digest.
    pub(crate) bearer_token: Option<BearerKey>,
    /// More such keys, each with the time at which it expires, if it does.
    #[cfg_attr(test, schemars(length(max = 16)))]
    pub(crate) bearer_tokens: Vec<BearerToken>,
    /// Id of the key pair it signs with, as it is.
    #[cfg_attr(test, schemars(example = &"SLUICEKEYOFTEAMA"))]
    pub(crate) access_key_id: Option<String>,
    /// Secret of that key pair, by reference.
    pub(crate) secret_access_key: Option<Secret>,
    /// More such key pairs, each with the time at which it expires, if it does.
    #[cfg_attr(test, schemars(length(max = 16)))]
    pub(crate) keys: Vec<KeyPair>,
    /// The certificates it shows, each by its subject, or by `CN:`, `DNS:`, `URI:`, `IP:` or `email:`
    /// and a name.
    #[cfg_attr(test, schemars(length(max = 64), example = ["CN=team-a,O=Example"]))]
    pub(crate) certificates: Vec<String>,
    /// Its names at issuers of tokens.
    #[cfg_attr(test, schemars(length(max = 64)))]
    pub(crate) identities: Vec<TokenIdentity>,
    /// A guardrail that all its requests have. Another one is refused.
    pub(crate) guardrail: Option<Guardrail>,
    /// Ids or ARNs of the guardrails that its requests may name. Default: any.
    #[cfg_attr(test, schemars(with = "Option<Vec<GuardrailId>>", length(min = 1)))]
    #[cfg_attr(test, schemars(example = ["gr-0123456789"]))]
    pub(crate) allowed_guardrails: Option<Vec<String>>,
    #[serde(flatten)]
    pub(crate) policy: ClientPolicy,
    #[serde(flatten)]
    pub(crate) budget: Budget,
}

/// An issuer of tokens (JWT) that clients may present in the place of a bearer key.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub(crate) struct RawIssuer {
    /// URL of its key set (JWKS). Default: the one in the issuer's
    /// /.well-known/openid-configuration.
    #[cfg_attr(test, schemars(example = &"https://login.example.com/keys"))]
    pub(crate) jwks_url: Option<String>,
    #[serde(flatten)]
    pub(crate) issuer: Issuer,
}
