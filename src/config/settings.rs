//! The checked configuration: what the rest of the gateway works with.
//!
//! Units are types here (durations, byte counts, socket addresses), names are resolved to
//! indices, and what one section takes over from another is already filled in. A value of these
//! types that came from [`Config::load`](super::Config::load) needs no further checks.

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderName;
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
    /// Bedrock quotas that several targets draw on, in the order of the file.
    pub quotas: Vec<Quota>,
    /// Which requested models go to which targets. The first route that matches wins.
    pub routes: Vec<Route>,
    /// How the gateway moves from one target to the next.
    pub fallback: Fallback,
    /// Attempts on one target.
    pub retry: Retry,
    /// The queue for requests that find no free target.
    pub queue: Queue,
    /// What each client may ask for.
    pub limits: Limits,
    /// How quotas that are not known are learned.
    pub learning: Learning,
    /// Second attempts for slow answers.
    pub hedge: Hedge,
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
    /// Requests per minute that the target takes. `None`: not known, and learned.
    pub rpm: Option<u32>,
    /// Tokens per minute, input and output together. `None`: not known, and learned.
    pub tpm: Option<u64>,
    /// Index into [`Config::quotas`] of the quota that it draws on with others; instead of `rpm`
    /// and `tpm`.
    pub quota: Option<usize>,
    /// What an output token costs of the quota. `None`: what is known of the model.
    pub output_burndown: Option<u32>,
    /// Cap on the output tokens a request may ask for. `None`: the model's own.
    pub max_output_tokens: Option<u32>,
    /// What requests may use here. `None`: what the model is known for.
    pub features: Option<Vec<Feature>>,
    /// Time from the end of the request to the head of the answer.
    pub first_byte_timeout: Duration,
    /// Longest silence between two frames of a stream.
    pub idle_timeout: Duration,
}

/// What a request may use and not every model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Images in the messages.
    Images,
    /// Documents in the messages.
    Documents,
    /// Video in the messages.
    Video,
    /// Audio in the messages.
    Audio,
    /// Tool definitions, uses and results.
    Tools,
    /// Extended thinking.
    Thinking,
    /// Cache points.
    PromptCaching,
}

/// A Bedrock quota that several targets draw on: same model, region and account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Key of the quota's table in the file; unique.
    pub name: String,
    /// Requests per minute.
    pub rpm: Option<u32>,
    /// Tokens per minute, input and output together.
    pub tpm: Option<u64>,
}

/// Sends requests for some models to an ordered list of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Exact model ids or globs, all of them valid for `globset`. At least one.
    pub models: Vec<String>,
    /// Indices into [`Config::targets`], best first. At least one, none twice.
    pub targets: Vec<usize>,
    /// The order among neighbouring targets of the same model.
    pub balance: Balance,
}

/// The order among neighbouring targets of the same model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// As the route names them.
    #[default]
    Priority,
    /// The one with most free quota first.
    Headroom,
    /// Of two at random, the one that answers faster first.
    Latency,
}

/// How the gateway moves from one target to the next.
#[derive(Clone, Debug, PartialEq)]
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
    /// A target with at least this many attempts in a minute...
    pub eject_min_requests: u32,
    /// ...of which a smaller share than this was answered is taken out, too. 0: never for this.
    pub eject_below_success_rate: f64,
    /// How long a target taken out for failures stays out.
    pub eject_cooldown: Duration,
    /// Cooldown after a throttle of a model that no route names.
    pub unrouted_cooldown: Duration,
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
    /// The highest priority that a client may ask for.
    pub max_priority: Priority,
}

/// How urgent a request is; higher ones get a larger share.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// May wait.
    Low,
    /// As others.
    Normal,
    /// Should not wait.
    High,
}

/// What each client may ask for. A limit that is not set does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What tells clients apart.
    pub key: LimitKey,
    /// Requests per second.
    pub requests_per_second: Option<u32>,
    /// Requests at once before the rate counts. `None`: as many as in a second.
    pub burst: Option<u32>,
    /// Tokens per minute, input and output together.
    pub tokens_per_minute: Option<u64>,
    /// Requests under way at once.
    pub max_concurrent: Option<u32>,
    /// Clients that are told apart at once; further ones share one place.
    pub max_tracked_clients: usize,
}

/// What tells clients apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitKey {
    /// The access key id that a request is signed with, else the address.
    AccessKey,
    /// The address.
    Ip,
    /// The value of a header, else the address.
    Header(HeaderName),
}

/// How quotas that are not known, or lower than configured, are learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Learning {
    /// Whether they are.
    pub enabled: bool,
    /// What a throttle leaves of a limit; between 0 and 1.
    pub decrease: f64,
    /// Share that is added in a minute in which the limit is used and no throttle comes.
    pub increase: f64,
    /// Learned requests per minute fall no lower.
    pub floor_rpm: u32,
    /// Learned tokens per minute fall no lower.
    pub floor_tpm: u64,
}

/// Second attempts for slow answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Hedge {
    /// Whether they are made.
    pub enabled: bool,
    /// Share of requests that may have one, at most.
    pub max_share: f64,
    /// Requests with more input tokens than this have none.
    pub max_input_tokens: u64,
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
