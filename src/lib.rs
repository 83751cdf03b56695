//! Sluice: a gateway in front of Amazon Bedrock.
//!
//! Apps keep their AWS SDK and change only the endpoint URL. The modules below are listed from
//! the socket down to the protocol; each may use those beneath it and none above. The simulator
//! stands apart: it uses `bedrock` and `catalogue` and nothing else.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests may use timers of tokio's"))]

pub mod cli;

pub mod server;

pub mod admin;

pub mod legacy;

pub mod jobs;

pub mod pipeline;

pub mod response_store;

pub mod api;

pub mod auth;

pub mod limits;

pub mod routing;

pub mod media;

pub mod quota;

pub mod upstream;

pub mod fleet;

pub mod storage;

pub mod telemetry;

pub mod system;

pub use sluice_bedrock as bedrock;

pub use sluice_bridge as bridge;

pub use sluice_catalogue as catalogue;
pub use sluice_config as config;
pub use sluice_simulator as simulator;
