//! Where the gateway itself keeps responses that it has translated: `[response_store]`.

use std::path::PathBuf;
use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;
use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;
use smart_default::SmartDefault;

#[cfg(test)]
use crate::redis_url::RedisUrl;
use crate::secret::Secret;
use crate::units::{NonZeroDuration, Size, TextForm as _};

/// The store of responses that the gateway keeps itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct ResponseStore {
    /// Where they are kept.
    #[serde(flatten)]
    pub backend: ResponseStoreBackend,
    /// What encrypts the responses, each by reference and at least 32 bytes long. The first one encrypts, and
    /// all decrypt.
    #[cfg_attr(test, schemars(length(max = 8), example = ["env:SLUICE_RESPONSE_KEY"]))]
    pub keys: Vec<Secret>,
    /// How long a response is kept.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(30 * 24 * 60 * 60))]
    pub ttl: Duration,
    /// Longest response that is kept, with the whole conversation before it.
    #[serde(with = "Size")]
    #[default = 8_000_000]
    pub max_response_bytes: usize,
    /// Responses of one client that are kept, in all.
    #[serde(with = "Size")]
    #[default = 256_000_000]
    pub max_bytes_per_client: usize,
    /// Responses of all clients that are kept, in all.
    #[serde(with = "Size")]
    #[default = 4_000_000_000]
    pub max_bytes: usize,
    /// Time for one call to the backend. A slower one counts as unreachable.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(1))]
    pub timeout: Duration,
}

/// Where responses are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema), serde(into = "BackendKeys"))]
#[serde(from = "BackendKeys")]
pub enum ResponseStoreBackend {
    /// Nowhere.
    #[default]
    Off,
    /// In a database file, for one process.
    Sqlite {
        /// The file. Relative to the working directory, unless it is absolute.
        path: PathBuf,
    },
    /// In Redis, for any number of processes.
    Redis {
        /// A `redis://` or `rediss://` URL; may hold a password.
        url: Secret,
        /// What the names of its keys start with: letters, digits, `-` and `_`.
        prefix: String,
    },
}

/// Where responses are kept, as the file has it.
#[derive(Clone, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
struct BackendKeys {
    /// Where responses are kept: nowhere, in a file, or in Redis.
    backend: BackendKind,
    /// Database file of the backend `sqlite`. A relative path starts at the config file's
    /// directory.
    #[cfg_attr(test, schemars(extend("format" = "non-blank")))]
    #[default = "sluice-responses.db"]
    path: PathBuf,
    /// URL of the backend `redis`, as it is or by reference. By reference if it holds a password.
    #[cfg_attr(test, schemars(with = "RedisUrl"))]
    #[default("redis://localhost:6379/0".into())]
    redis_url: Secret,
    /// What the names of keys in Redis start with.
    #[cfg_attr(test, schemars(extend("format" = "redis-prefix")))]
    #[default = "sluice"]
    redis_prefix: String,
}

/// The kind of place where responses are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(rename_all = "snake_case")]
enum BackendKind {
    /// Nowhere.
    #[default]
    Off,
    /// In a database file, for one process.
    Sqlite,
    /// In Redis, for any number of processes.
    Redis,
}

impl From<BackendKeys> for ResponseStoreBackend {
    fn from(keys: BackendKeys) -> ResponseStoreBackend {
        match keys.backend {
            BackendKind::Off => ResponseStoreBackend::Off,
            BackendKind::Sqlite => ResponseStoreBackend::Sqlite { path: keys.path },
            BackendKind::Redis => {
                ResponseStoreBackend::Redis { url: keys.redis_url, prefix: keys.redis_prefix }
            }
        }
    }
}

/// For the defaults in the schema.
#[cfg(test)]
impl From<ResponseStoreBackend> for BackendKeys {
    fn from(_: ResponseStoreBackend) -> BackendKeys {
        BackendKeys::default()
    }
}
