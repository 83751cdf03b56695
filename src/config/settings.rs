//! The checked configuration: what the rest of the gateway works with.
//!
//! Units are types here (durations, byte counts, socket addresses), names are resolved to
//! indices, and what one section takes over from another is already filled in. A value of these
//! types that came from [`Config::load`](super::Config::load) needs no further checks.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::credentials::Credentials;
use super::endpoint::Endpoint;

/// The whole configuration of one gateway process.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Listeners and the limits of client connections.
    pub server: Server,
    /// The default upstream, and the limits of upstream connections.
    pub upstream: Upstream,
    /// The places that can answer, in the order of the file.
    pub targets: Vec<Target>,
    /// Which requested models go to which targets. The first route that matches wins.
    pub routes: Vec<Route>,
    /// How the gateway moves from one target to the next.
    pub fallback: Fallback,
    /// Attempts on one target.
    pub retry: Retry,
    /// The queue for requests that find no free target.
    pub queue: Queue,
    /// The gateway's own log.
    pub log: Log,
}

/// Listeners and the limits of client connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Address of the Bedrock API.
    pub listen: SocketAddr,
    /// Address of health, metrics and status. Equal to `listen`: both share one port.
    pub admin_listen: SocketAddr,
    /// Largest request body in bytes.
    pub max_body: usize,
    /// Time for a whole request, queueing and all attempts included.
    pub request_timeout: Duration,
    /// Time for a client to send its request head.
    pub header_read_timeout: Duration,
    /// Time for a client to send its request body.
    pub body_read_timeout: Duration,
    /// Time between "not ready" and closing the listener when the gateway stops. May be zero.
    pub drain_delay: Duration,
    /// Time that open requests get to finish when the gateway stops. May be zero.
    pub drain_timeout: Duration,
    /// Client connections open at once.
    pub max_connections: usize,
    /// Largest request head in bytes; at least 8 KiB.
    pub max_header_bytes: usize,
    /// Header fields in one request.
    pub max_headers: usize,
    /// Streams open at once on one HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// Worker threads; `None`: one per core.
    pub worker_threads: Option<usize>,
}

/// The default upstream, and the limits of upstream connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// AWS region that requests are signed for.
    pub region: String,
    /// Where requests are sent.
    pub endpoint: Endpoint,
    /// Time to open a connection, TLS included.
    pub connect_timeout: Duration,
    /// Time from the end of the request to the head of the answer.
    pub first_byte_timeout: Duration,
    /// Longest silence between two frames of a stream.
    pub idle_timeout: Duration,
    /// How long an unused connection is kept.
    pub pool_idle_timeout: Duration,
    /// Unused connections kept for one host.
    pub max_idle_per_host: usize,
    /// Who signs requests.
    pub credentials: Credentials,
}

/// One place that can answer: a model in a region, called with one set of credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Key of the target's table in the file; unique. Used in routes, metrics and logs.
    pub name: String,
    /// Model id, inference profile or ARN that is put in the path. Not percent-encoded.
    pub model: String,
    /// Model behind an opaque `model` (an application inference profile, say). Limits, price and
    /// family come from it.
    pub base_model: Option<String>,
    /// Name for people.
    pub display_name: Option<String>,
    /// AWS region that requests are signed for.
    pub region: String,
    /// Where requests are sent.
    pub endpoint: Endpoint,
    /// Who signs requests.
    pub credentials: Credentials,
    /// Cooldown after one throttle; grows with consecutive throttles.
    pub cooldown: Duration,
    /// Cap on the output tokens a request may ask for. `None`: the model's own.
    pub max_output_tokens: Option<u32>,
    /// What requests may use here (images, tools...). `None`: what the model is known for.
    pub features: Option<Vec<String>>,
    /// Time from the end of the request to the head of the answer.
    pub first_byte_timeout: Duration,
    /// Longest silence between two frames of a stream.
    pub idle_timeout: Duration,
}

/// Sends requests for some models to an ordered list of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Exact model ids or globs, all of them valid for `globset`. At least one.
    pub models: Vec<String>,
    /// Indices into [`Config::targets`], best first. At least one, none twice.
    pub targets: Vec<usize>,
}

/// How the gateway moves from one target to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// What comes first after a throttle: the next target or another attempt.
    pub strategy: Strategy,
    /// What happens to a model that no route names.
    pub unrouted: Unrouted,
    /// Cooldown after a "tokens per day" throttle.
    pub daily_cooldown: Duration,
    /// How long a fallback target that answered 403 or 404 stays out.
    pub misconfigured_cooldown: Duration,
    /// Consecutive throttles multiply a cooldown at most by this.
    pub max_cooldown_multiplier: u32,
    /// Consecutive transient failures that take a target out.
    pub eject_after: u32,
    /// How long a target taken out for failures stays out.
    pub eject_cooldown: Duration,
    /// Models without a route whose state is kept at once.
    pub max_unrouted_models: usize,
}

/// What comes first after a throttle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Leave a throttled target at once for the next one.
    FallbackFirst,
    /// Use up the attempts on a target before the next one.
    RetryFirst,
}

/// What happens to a model that no route names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unrouted {
    /// It goes through to the upstream as it is.
    Pass,
    /// It is refused.
    Reject,
}

/// Attempts on one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts on one target, the first included; at least 1.
    pub attempts: u32,
    /// Wait before the second attempt; doubles with each further one. May be zero.
    pub base_delay: Duration,
    /// Longest wait between two attempts; not below `base_delay`.
    pub max_delay: Duration,
}

/// The queue for requests that find no free target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Requests that wait at once. Zero: none waits.
    pub max_waiting: usize,
    /// Bytes of the bodies of all waiting requests.
    pub max_waiting_bytes: usize,
    /// Longest wait of one request. May be zero.
    pub max_wait: Duration,
}

/// The gateway's own log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Form of a line.
    pub format: LogFormat,
    /// Filter directives in the syntax of `tracing_subscriber::EnvFilter`; known to parse.
    pub level: String,
    /// Whether each request gets an access-log line.
    pub access: bool,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Plain text for a terminal.
    Text,
}
