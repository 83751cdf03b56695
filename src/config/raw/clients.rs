//! The keys of `[[clients]]`, and `[auth]`, as the file says them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::bearer_key::KeyRef;
use crate::config::secret::SecretRef;
use crate::config::units::DurationText;

/// One of several bearer keys of a client.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("required" = ["token"]))]
pub(in crate::config) struct RawBearerToken {
    /// The key, by reference, or its SHA-256 digest.
    #[serde(default)]
    pub(in crate::config) token: Option<KeyRef>,
    /// When it is taken no longer, in UTC. Default: never.
    #[schemars(example = &"2027-01-01T00:00:00Z")]
    pub(in crate::config) expires: Option<String>,
}

/// One of several key pairs of a client.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("required" = ["access_key_id", "secret_access_key"]))]
pub(in crate::config) struct RawKeyPair {
    /// Its id, as it is.
    #[serde(default)]
    #[schemars(example = &"SLUICEKEYOFTEAMA")]
    pub(in crate::config) access_key_id: String,
    /// Its secret, by reference.
    #[serde(default)]
    pub(in crate::config) secret_access_key: Option<SecretRef>,
    /// When it is taken no longer, in UTC. Default: never.
    #[schemars(example = &"2027-01-01T00:00:00Z")]
    pub(in crate::config) expires: Option<String>,
}

/// How signatures of clients are judged.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::config) struct RawAuth {
    /// How far the time of a signature may be from the gateway's, either way.
    pub(in crate::config) max_clock_skew: DurationText,
    /// Whether a signature is taken only once by this process.
    pub(in crate::config) replay_protection: bool,
    /// Signatures remembered at once for `replay_protection`; beyond them the oldest is forgotten.
    #[schemars(range(min = 1, max = 10_000_000))]
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
