//! The checked configuration: what the rest of the gateway works with.
//!
//! Units are types here (durations, byte counts, socket addresses), names are resolved to
//! indices, and what one section takes over from another is already filled in. A value of these
//! types that came from [`Config::load`](super::Config::load) needs no further checks.

mod clients;
mod jobs;
mod legacy;
mod network;
mod policy;
mod state;
mod traces;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use clients::{
    Auth, BearerToken, Client, Issuer, IssuerKeys, KeyPair, TokenAlgorithm, TokenIdentity,
};
pub use jobs::{JobQueue, Jobs, JobsBackend};
pub use legacy::{Legacy, LegacyAction, LegacyGroup, LegacyMock, LegacyPrompts};
pub use network::{ClientAuth, ClientCertificates, Proxies, Tls, TlsVersion, Trust};
pub use policy::{Budget, BudgetStore, ClientPolicy, Guardrail, Guardrails, OperationName, Price};
pub use state::{RedisKind, SharedRedis, SharedState, State, StateBackend};
pub use traces::{TraceProtocol, Traces};

use super::credentials::Credentials;
use super::effective::Effective;
use super::endpoint::Endpoint;
use super::secret::Secret;

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
    /// What one client may use.
    pub limits: Limits,
    /// Who may call. Empty: everyone.
    pub clients: Vec<Client>,
    /// Whose tokens clients may present.
    pub issuers: Vec<Issuer>,
    /// How signatures of clients are judged.
    pub auth: Auth,
    /// What models cost where the catalogue does not say so, in the order of the file.
    pub prices: Vec<Price>,
    /// What replicas share, and where it is kept what clients have spent.
    pub state: State,
    /// How the gateway learns what a target takes.
    pub learning: Learning,
    /// Second attempts that are sent before the first is answered.
    pub hedge: Hedge,
    /// The endpoints of the legacy application.
    pub legacy: Legacy,
    /// The job queue behind the legacy endpoints.
    pub jobs: Jobs,
    /// The gateway's own log.
    pub log: Log,
    /// Records of what requests have used, if they are wanted.
    pub usage_log: Option<UsageLog>,
    /// Where traces go, if they are wanted.
    pub traces: Option<Traces>,
    /// How all of it was written.
    pub effective: Effective,
}

/// Listeners and the limits of client connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Address of the Bedrock API.
    pub listen: SocketAddr,
    /// Address of health, metrics and status. Equal to `listen`: both share one port.
    pub admin_listen: SocketAddr,
    /// What a caller presents for what is left to administrators. `None`: nobody can, and
    /// `admin_listen` is on loopback or has nothing but health and open metrics.
    pub admin_key: Option<Secret>,
    /// Whether metrics are open to those without the key.
    pub open_metrics: bool,
    /// Names of the gateway in the URLs of its callers, where there are no clients; `*` is any.
    pub allowed_hosts: Vec<String>,
    /// Largest request body in bytes.
    pub max_body: usize,
    /// Time for a whole request, queueing and all attempts included.
    pub request_timeout: Duration,
    /// Time for a whole bidirectional stream, queueing included.
    pub bidirectional_timeout: Duration,
    /// Time for a client to send its request head.
    pub header_read_timeout: Duration,
    /// Time for a client to send its request body.
    pub body_read_timeout: Duration,
    /// How long a client's connection is kept that has no request.
    pub keep_alive_timeout: Duration,
    /// Time between "not ready" and closing the listener when the gateway stops. May be zero.
    pub drain_delay: Duration,
    /// Time that open requests get to finish when the gateway stops. May be zero.
    pub drain_timeout: Duration,
    /// Time between two looks at the config's files. Zero: nobody looks.
    pub config_poll_interval: Duration,
    /// Requests in hand at once, streams and waiting ones included; at least 1.
    pub max_in_flight: usize,
    /// Bytes of the bodies of all requests in hand.
    pub max_in_flight_bytes: usize,
    /// Client connections open at once.
    pub max_connections: usize,
    /// Largest request head in bytes; at least 8 KiB.
    pub max_header_bytes: usize,
    /// Header fields in one request.
    pub max_headers: usize,
    /// Streams open at once on one HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// Requests in a row that a client may reset on one HTTP/2 connection; at least 1.
    pub max_resets: u32,
    /// Threads that serve connections; `None`: one per core.
    pub worker_threads: Option<usize>,
    /// TLS on the listener of the Bedrock API. `None`: it speaks in the clear.
    pub tls: Option<Tls>,
}

/// The default upstream, and the limits of upstream connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// AWS region that requests are signed for.
    pub region: String,
    /// Where requests are sent.
    pub endpoint: Endpoint,
    /// Whether the public endpoints are those of FIPS.
    pub use_fips: bool,
    /// Where calls of the control plane are sent; `None` if they are not relayed.
    pub control_plane: Option<Endpoint>,
    /// Whom upstreams' certificates are checked against.
    pub trust: Trust,
    /// What connections go through.
    pub proxies: Proxies,
    /// Time to open a connection, proxy and TLS included.
    pub connect_timeout: Duration,
    /// Time from the end of the request to the head of the answer.
    pub first_byte_timeout: Duration,
    /// Longest silence between two frames of a stream.
    pub idle_timeout: Duration,
    /// How long an unused connection is kept.
    pub pool_idle_timeout: Duration,
    /// Unused connections that each worker thread keeps for one host.
    pub max_idle_per_host: usize,
    /// Output tokens that a request without a maximum is counted with, at most. `None`: the model's
    /// own maximum.
    pub assumed_max_output_tokens: Option<u32>,
    /// Clients' headers that are sent to upstreams beside those that Bedrock knows.
    pub forward_headers: Vec<HeaderName>,
    /// Who signs requests.
    pub credentials: Credentials,
}

impl Upstream {
    /// Whether connections that were opened as `other` says are what this asks for.
    pub fn connects_like(&self, other: &Upstream) -> bool {
        (&self.trust, &self.proxies) == (&other.trust, &other.proxies)
            && self.connect_timeout == other.connect_timeout
            && self.pool_idle_timeout == other.pool_idle_timeout
            && self.max_idle_per_host == other.max_idle_per_host
    }
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
    /// Output tokens that a request without a maximum is counted with, at most. `None`: the model's
    /// own maximum.
    pub assumed_max_output_tokens: Option<u32>,
    /// What requests may use here (images, tools...). `None`: what the model is known for.
    pub features: Option<Vec<Feature>>,
    /// The target's own quota of requests in a minute; at least 1. `None`: it is learned.
    pub rpm: Option<u32>,
    /// The target's own quota of tokens in a minute; at least 1. `None`: it is learned.
    pub tpm: Option<u64>,
    /// Index into [`Config::quotas`] of the quota that the target shares with others. Excludes
    /// `rpm` and `tpm`.
    pub quota: Option<usize>,
    /// Quota tokens that one output token takes; 1 to 100. `None`: what is known of the model.
    pub output_burndown: Option<u32>,
    /// What a request takes of the quota of tokens at its start.
    pub reserve: Reserve,
    /// Time from the end of the request to the head of the answer.
    pub first_byte_timeout: Duration,
    /// Longest silence between two frames of a stream.
    pub idle_timeout: Duration,
}

/// Something that requests may use and that not every model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
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
    /// Tool definitions, uses or results.
    Tools,
    /// Extended thinking.
    Thinking,
    /// Cache points.
    PromptCaching,
}

/// What a request takes of a quota of tokens at its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reserve {
    /// Input as estimated from what the target has taught, and the maximum of output.
    #[default]
    Estimate,
    /// The most input that the request can have, and the maximum of output.
    Maximum,
}

/// One Bedrock quota that several targets draw on: those of one model, region and account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Key of the quota's table in the file; unique. Used in metrics and logs.
    pub name: String,
    /// Requests in a minute; at least 1. `None`: it is learned. Set if `tpm` is not.
    pub rpm: Option<u32>,
    /// Tokens in a minute; at least 1. `None`: it is learned. Set if `rpm` is not.
    pub tpm: Option<u64>,
}

/// Sends requests for some models to an ordered list of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Exact model ids or globs, all of them valid. At least one.
    pub models: Vec<String>,
    /// Indices into [`Config::targets`], best first. At least one, none twice.
    pub targets: Vec<usize>,
    /// The order among neighbouring targets of the same model.
    pub balance: Balance,
}

/// The order among neighbouring targets of the same model in a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// As the route lists them.
    #[default]
    Priority,
    /// The one with the largest share of its quota left comes first.
    Headroom,
    /// The one that answers fastest comes first.
    Latency,
}

/// How the gateway moves from one target to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Fallback {
    /// What comes first after a throttle: the next target or another attempt.
    pub strategy: Strategy,
    /// What happens to a model that no route names.
    pub unrouted: Unrouted,
    /// Cooldown of a model that no route names, after one throttle; grows with consecutive ones.
    pub unrouted_cooldown: Duration,
    /// Cooldown after a "tokens per day" throttle.
    pub daily_cooldown: Duration,
    /// How long a fallback target that answered 403 or 404 stays out.
    pub misconfigured_cooldown: Duration,
    /// Consecutive throttles multiply a cooldown at most by this.
    pub max_cooldown_multiplier: u32,
    /// Consecutive transient failures that take a target out.
    pub eject_after: u32,
    /// A target is taken out when a smaller share of its attempts in the last minute was
    /// answered; 0.0 to 1.0. Zero: never.
    pub eject_below_success_rate: f64,
    /// Attempts in the last minute from which on `eject_below_success_rate` counts; at least 1.
    pub eject_min_requests: u32,
    /// How long a target taken out for failures stays out.
    pub eject_cooldown: Duration,
    /// Models without a route whose state is kept at once.
    pub max_unrouted_models: usize,
}

/// What comes first after a throttle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Leave a throttled target at once for the next one.
    FallbackFirst,
    /// Use up the attempts on a target before the next one.
    RetryFirst,
}

/// What happens to a model that no route names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
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
    /// Highest priority that a client may ask for with `x-sluice-priority`. Requests without the
    /// header are [`Priority::Normal`], or this if it is lower.
    pub max_priority: Priority,
}

/// Who goes first in the queue. Ordered: [`Priority::High`] is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// After all others: batch work.
    Low,
    /// Before `low`.
    Normal,
    /// Before all others: somebody waits for the answer.
    High,
}

/// What one client may use. A limit that is `None` does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What tells one client from another.
    pub key: LimitKey,
    /// Requests in a second; at least 1.
    pub requests_per_second: Option<u32>,
    /// Requests at once after a pause; at least 1. `Some` exactly if `requests_per_second` is,
    /// and the same where the file does not say.
    pub burst: Option<u32>,
    /// Tokens in a minute, input and output; at least 1.
    pub tokens_per_minute: Option<u64>,
    /// Requests open at once; at least 1.
    pub max_concurrent: Option<u32>,
    /// Clients whose use is kept at once; at least 1.
    pub max_tracked_clients: usize,
}

/// What tells one client from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitKey {
    /// The access key id that the client signs with.
    AccessKey,
    /// The client's IP address.
    Ip,
    /// The value of this header.
    Header(HeaderName),
}

/// How the gateway learns what a target takes: a throttle lowers the limit it keeps to, time
/// without one raises it.
#[derive(Clone, Debug, PartialEq)]
pub struct Learning {
    /// Whether limits are learned.
    pub enabled: bool,
    /// What a throttle leaves of a limit, as a share; 0.1 to 0.95.
    pub decrease: f64,
    /// Share that each minute without a throttle adds to a limit in use; 0.001 to 1.0.
    pub increase: f64,
    /// Lowest learned limit of requests in a minute; at least 1.
    pub floor_rpm: u32,
    /// Lowest learned limit of tokens in a minute; at least 1.
    pub floor_tpm: u64,
}

/// Second attempts that are sent, to another target, before the first is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Hedge {
    /// Whether there are any.
    pub enabled: bool,
    /// Largest share of requests that get one; 0.0 to 0.5.
    pub max_share: f64,
    /// Largest request that gets one, in input tokens; at least 1.
    pub max_input_tokens: u64,
}

/// The gateway's own log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Form of a line.
    pub format: LogFormat,
    /// Filter directives: levels, and levels of modules; known to parse.
    pub level: String,
    /// Whether each request gets an access-log line.
    pub access: bool,
}

/// Records of what each request has used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageLog {
    /// The file.
    pub path: PathBuf,
    /// Largest size of a file, in bytes; at least 1.
    pub max_size: usize,
    /// Files that are kept, the one that is written included; at least 1.
    pub max_files: usize,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Plain text for a terminal.
    Text,
}
