//! What one client may do and spend, and what that costs.
//!
//! Owns the checked form of the policy and budget keys of `[[clients]]`, of `[prices]` and of
//! `[state]`. Money is a whole number of nano-dollars, prices a whole number of pico-dollars for
//! one token, so that sums are exact.

use std::path::PathBuf;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Priority;
use crate::config::secret::Secret;

/// What a client may ask for. What is `None` is as for everyone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientPolicy {
    /// Models it may use: exact ids or globs, all of them valid. At least one.
    pub allowed_models: Option<Vec<String>>,
    /// Operations it may call. At least one.
    pub allowed_operations: Option<Vec<OperationName>>,
    /// Requests in a minute, instead of [`Limits::requests_per_second`](super::Limits); at least 1.
    pub rpm: Option<u32>,
    /// Tokens in a minute, instead of those of [`Limits`](super::Limits); at least 1.
    pub tpm: Option<u64>,
    /// Requests open at once, instead of those of [`Limits`](super::Limits); at least 1.
    pub max_concurrent: Option<u32>,
    /// Highest priority that it may ask for; [`Queue::max_priority`](super::Queue) counts too.
    pub max_priority: Option<Priority>,
    /// The guardrails of its requests.
    pub guardrails: Guardrails,
    /// Largest request body in bytes; [`Server::max_body`](super::Server) counts too.
    pub max_body: Option<usize>,
}

/// The guardrails that a client's requests may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Guardrails {
    /// Any, or none.
    #[default]
    Any,
    /// This one, which the gateway names where the client does not.
    Forced(Guardrail),
    /// Those with these ids or ARNs, or none. At least one.
    Allowed(Vec<String>),
}

/// One version of a guardrail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guardrail {
    /// Its id or ARN: what may stand in a header.
    pub identifier: String,
    /// A number, or `DRAFT`.
    pub version: String,
}

/// What a client may spend.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Nano-dollars in a UTC day. Set if `monthly` is not.
    pub daily: Option<u64>,
    /// Nano-dollars in a UTC month. Set if `daily` is not.
    pub monthly: Option<u64>,
    /// The share of a budget from which on answers tell what is left; 0.0 to 1.0.
    pub soft_limit: f64,
}

// The share is never NaN.
impl Eq for Budget {}

/// The prices of the models that match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// An exact id, or a valid glob.
    pub models: String,
    /// Pico-dollars for a token of fresh input.
    pub input: u64,
    /// Pico-dollars for a token of output.
    pub output: u64,
    /// Pico-dollars for a token read from a prompt cache. `None`: as fresh input.
    pub cache_read: Option<u64>,
    /// Pico-dollars for a token written to a prompt cache. `None`: as fresh input.
    pub cache_write: Option<u64>,
    /// Pico-dollars for a token written to a prompt cache for an hour. `None`: twice fresh input, or as
    /// other writes if those cost more.
    pub cache_write_1h: Option<u64>,
}

/// A store for what clients have spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetStore {
    /// The process, which forgets it at its end.
    Memory,
    /// A database file, for the processes of one machine.
    Sqlite {
        /// The file. Relative to the working directory, unless it is absolute.
        path: PathBuf,
    },
    /// Redis, for any number of processes.
    Redis {
        /// A `redis://` or `rediss://` URL; may hold a password.
        url: Secret,
        /// What the names of its keys start with: letters, digits, `-` and `_`.
        prefix: String,
    },
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// An operation of the Bedrock Runtime API, by its name in the service model.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(test, derive(JsonSchema))]
        pub enum OperationName {
            $($(#[$doc])* $name,)*
        }

        impl OperationName {
            /// Every operation that is served.
            pub const ALL: &[OperationName] = &[$(OperationName::$name,)*];

            /// The name.
            pub fn as_str(self) -> &'static str {
                match self { $(OperationName::$name => stringify!($name),)* }
            }
        }
    };
}

operations! {
    /// One request, one answer in the model's own schema.
    InvokeModel,
    /// The same, as a stream.
    InvokeModelWithResponseStream,
    /// Streams both ways, at once.
    InvokeModelWithBidirectionalStream,
    /// One request, one answer in the schema of all models.
    Converse,
    /// The same, as a stream.
    ConverseStream,
    /// Counts the input tokens of a request.
    CountTokens,
    /// Checks a text against a guardrail.
    ApplyGuardrail,
    /// Checks a text against checks given in the request.
    InvokeGuardrailChecks,
    /// Starts an invocation that writes its answer to S3.
    StartAsyncInvoke,
    /// Lists such invocations.
    ListAsyncInvokes,
    /// Describes one such invocation.
    GetAsyncInvoke,
    /// Lists inference profiles, where `upstream.control_plane` is on.
    ListInferenceProfiles,
    /// Describes an inference profile, where `upstream.control_plane` is on.
    GetInferenceProfile,
    /// Lists foundation models, where `upstream.control_plane` is on.
    ListFoundationModels,
    /// Describes a foundation model, where `upstream.control_plane` is on.
    GetFoundationModel,
}
