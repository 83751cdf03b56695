//! The helpers of the tests: a simulator, a gateway, clients, and raw sockets.
//!
//! Every test runs the real binary against an in-process simulator over real sockets, and observes it
//! from outside: responses, the simulator's log, metrics and log lines.

pub mod api_clients;
pub mod ask;
pub mod bodies;
pub mod certificates;
pub mod clients;
pub mod collector;
pub mod config;
pub mod disk;
pub mod endpoint;
pub mod gateway;
pub mod h2;
pub mod http;
pub mod issuer;
pub mod leaks;
pub mod load;
pub mod metrics;
pub mod patience;
pub mod proxy;
pub mod raw;
pub mod redis;
pub mod screen;
pub mod scripted;
pub mod simulator;
pub mod tls;
pub mod upstream;

pub use api_clients::{ApiCall, ApiJob, Language, Sdk};
pub use ask::Ask;
pub use certificates::{Authority, Issued};
pub use clients::{Answer, Call, Client};
pub use collector::Collector;
pub use config::Config;
pub use disk::SmallDisk;
pub use gateway::Gateway;
pub use issuer::{Issuer, TokenKey};
pub use proxy::Proxy;
pub use redis::{Address, Redis};
pub use scripted::Scripted;
pub use simulator::Simulator;
pub use tls::{Dialer, Terminator};

/// The four models of the default route, best first.
pub const MODELS: [&str; 4] = [
    "anthropic.claude-3-5-sonnet-20240620-v1:0",
    "anthropic.claude-3-5-sonnet-20241022-v2:0",
    "anthropic.claude-3-sonnet-20240229-v1:0",
    "anthropic.claude-3-haiku-20240307-v1:0",
];

/// The first of [`MODELS`].
pub const PRIMARY: &str = MODELS[0];
/// The second of [`MODELS`].
pub const SECOND: &str = MODELS[1];
