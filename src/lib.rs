//! Sluice: a gateway in front of Amazon Bedrock.
//!
//! Apps keep their AWS SDK and change only the endpoint URL. The modules below are listed from
//! the socket down to the protocol; each may use those beneath it and none above.

pub mod pipeline;

pub mod admission;
pub mod routing;
pub mod upstream;

pub mod bedrock;
pub mod telemetry;

pub mod config;

pub mod simulator;
