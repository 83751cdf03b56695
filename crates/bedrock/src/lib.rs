//! The Bedrock Runtime protocol alone: operations and paths, model ids, wire errors, event-stream
//! frames, and request and response bodies as far as a gateway reads them.
//!
//! Everything here is total: input from outside gives a value or an error, never a panic. Nothing
//! here knows of targets, configuration or sockets, so that the gateway and the simulator can
//! share it. Facts come from the service model of `bedrock-runtime` (2023-09-30).

pub mod account;
pub mod api;
pub mod api_path;
pub mod betas;
pub mod body;
mod cached_prompt;
pub mod date;
pub mod dialect;
pub mod error;
pub mod event_stream;
pub mod extent;
mod extras;
pub mod features;
pub mod guardrail;
pub mod json;
pub mod model_id;
pub mod named_limit;
pub mod operation;
pub mod path;
pub mod region;
mod service_tier;
pub mod sigv4;
pub mod sse;
pub mod stop;
pub mod usage;
pub mod usage_reader;

pub use api::{Api, Dialect};
pub use date::Date;
pub use error::{ErrorKind, WireError};
pub use extras::{Extras, is_about_caller};
pub use features::Features;
pub use model_id::{Family, ModelId};
pub use operation::Operation;
pub use service_tier::{SERVICE_TIER_HEADER, ServiceTier};
pub use usage::Usage;
pub use usage_reader::UsageReader;

/// Largest request body that Bedrock Runtime takes, in bytes.
pub const MAX_BODY_BYTES: usize = 25_000_000;

/// The README's example, which `cargo test --doc` runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
