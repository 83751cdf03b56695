//! The configuration that the rest of the gateway works with.
//!
//! Most sections are read from the file straight into these types: a field here is a key there, its
//! doc comment is the description in the JSON Schema, and `Default` has its default. Fields that serde
//! skips are computed by `check` from keys that only `raw` knows: names become indices, references
//! become secrets, and what one section takes over from another is filled in. A value that came from
//! [`Config::load`](super::Config::load) needs no further checks.

mod apis;
mod clients;
mod jobs;
mod legacy;
mod money;
mod network;
mod policy;
mod prices;
mod response_store;
mod state;
mod targets;
mod traces;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

pub use apis::{
    ApiSettings, Apis, CacheTtl, EmbeddingsSettings, OnUnsupported, PromptCaching,
    RecordedParameter, RemoteMediaSettings, ResponsesSettings, StoreResponses, Translate,
    UnsupportedParameters,
};
pub use clients::{
    Auth, BearerToken, ClientConfig, Issuer, IssuerKeys, KeyPair, TokenAlgorithm, TokenIdentity,
};
pub use jobs::{JobQueue, Jobs, JobsBackend};
pub use legacy::{Legacy, LegacyAction, LegacyGroup, LegacyMock, LegacyPrompts};
pub use network::{
    ClientAuth, ClientCertificates, Proxies, Server, Tls, TlsVersion, Trust, Upstream,
};
pub use policy::{Budget, BudgetStore, ClientPolicy, Guardrail, Guardrails};
pub use prices::{Price, PriceRate, PriceTier};
pub use response_store::{ResponseStore, ResponseStoreBackend};
pub use state::{RedisKind, SharedRedis, SharedState, State, StateBackend};
pub use targets::{Quota, Reserve, Target};
pub use traces::{TraceProtocol, Traces};

use super::effective::Effective;
pub use super::limit_key::LimitKey;
use super::units::{AnyDuration, NonZeroDuration, Size, TextForm as _};
use sluice_bedrock::Date;
use sluice_catalogue::Catalogue;

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
    /// What follows from the facts about models.
    pub catalogue: CatalogueSettings,
    /// What is known of models: what is built in, with the file of `catalogue` on top.
    pub known_models: Arc<Catalogue>,
    /// Attempts on one target.
    pub retry: Retry,
    /// The queue for requests that find no free target.
    pub queue: Queue,
    /// What one client may use.
    pub limits: Limits,
    /// The APIs of OpenAI and Anthropic that are served beside Bedrock's own.
    pub apis: Apis,
    /// Who may call. Empty: everyone.
    pub clients: Vec<ClientConfig>,
    /// Whose tokens clients may present.
    pub issuers: Vec<Issuer>,
    /// How signatures of clients are judged.
    pub auth: Auth,
    /// Prices of models that the catalogue does not have, in the order of the file.
    pub prices: Vec<Price>,
    /// What replicas share, and where clients' spending is stored.
    pub state: State,
    /// How the gateway learns what a target takes.
    pub learning: Learning,
    /// Second attempts that are sent before the first is answered.
    pub hedge: Hedge,
    /// The endpoints of the legacy application.
    pub legacy: Legacy,
    /// The job queue behind the legacy endpoints.
    pub jobs: Jobs,
    /// The store of responses that the gateway keeps itself.
    pub response_store: ResponseStore,
    /// The gateway's own log.
    pub log: Log,
    /// Records of what requests have used, if they are wanted.
    pub usage_log: Option<UsageLog>,
    /// Where traces go, if they are wanted.
    pub traces: Option<Traces>,
    /// The keys in force, as the file and the environment wrote them.
    pub effective: Effective,
    /// The day, in UTC, on which models count as retired or not. Until
    /// [`on`](Config::on) sets it, none is retired.
    pub day: Date,
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
    /// How long a request stays with the model that it asks for before another may answer.
    pub wait_before_fallback: Duration,
    /// Whether upstreams may store responses.
    pub store: StoreResponses,
    /// Which requests are translated.
    pub translate: Translate,
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
#[derive(Clone, Debug, PartialEq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Fallback {
    /// What comes first after a throttle: the next target, or the attempts left on this one.
    pub strategy: Strategy,
    /// What happens to a model that no route names.
    pub unrouted: Unrouted,
    /// Cooldown of a model that no route names.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(30))]
    pub unrouted_cooldown: Duration,
    /// Cooldown after a "tokens per day" throttle.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(4 * 60 * 60))]
    pub daily_cooldown: Duration,
    /// How long requests keep away from an operation that a target is known to deny.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(600))]
    pub misconfigured_cooldown: Duration,
    /// Consecutive throttles multiply a cooldown at most by this.
    #[cfg_attr(test, schemars(range(min = 1, max = 1000)))]
    #[default = 5]
    pub max_cooldown_multiplier: u32,
    /// Consecutive transient failures that take a target out.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    #[default = 5]
    pub eject_after: u32,
    /// A target is taken out when a smaller share of its attempts in the last minute was answered.
    /// 0: never.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    #[default = 0.5]
    pub eject_below_success_rate: f64,
    /// Attempts in the last minute from which on `eject_below_success_rate` counts.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    #[default = 20]
    pub eject_min_requests: u32,
    /// How long a target taken out for failures stays out.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(30))]
    pub eject_cooldown: Duration,
    /// Models without a route whose state is kept at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 100_000)))]
    #[default = 256]
    pub max_unrouted_models: usize,
}

/// What comes first after a throttle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Leave a throttled target at once for the next one.
    #[default]
    FallbackFirst,
    /// Use up the attempts on a target before the next one.
    RetryFirst,
}

/// What happens to a model that no route names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Unrouted {
    /// It goes through to the upstream as it is.
    #[default]
    Pass,
    /// It is refused.
    Reject,
}

/// What follows from the facts about models.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct CatalogueSettings {
    /// File that corrects and extends the facts that are built in. A relative path starts at the config file's
    /// directory.
    #[cfg_attr(test, schemars(example = "models.json"))]
    pub file: Option<PathBuf>,
    /// What happens to the requests for a model that AWS has retired.
    pub retired: Retired,
}

/// What happens to the requests for a model that AWS has retired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Retired {
    /// Its successor answers them.
    #[default]
    Replace,
    /// They are sent to it, and fail.
    Keep,
}

/// Attempts on one target.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Retry {
    /// Attempts on one target, the first included.
    #[cfg_attr(test, schemars(range(min = 1, max = 20)))]
    #[default = 3]
    pub attempts: u32,
    /// Wait before the second attempt; doubles with each further one.
    #[serde(with = "AnyDuration")]
    #[default(Duration::from_secs(1))]
    pub base_delay: Duration,
    /// Longest wait between two attempts.
    #[serde(with = "AnyDuration")]
    #[default(Duration::from_secs(4))]
    pub max_delay: Duration,
}

/// The queue for requests that find no free target.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Queue {
    /// Requests that wait at once. 0: none waits.
    #[cfg_attr(test, schemars(range(min = 0, max = 1_000_000)))]
    #[default = 1000]
    pub max_waiting: usize,
    /// Bytes of the bodies of all waiting requests.
    #[serde(with = "Size")]
    #[default = 256_000_000]
    pub max_waiting_bytes: usize,
    /// Longest wait of one request. Keep it below the read time-out of your clients.
    #[serde(with = "AnyDuration")]
    #[default(Duration::from_secs(45))]
    pub max_wait: Duration,
    /// Highest priority that a client may ask for with `x-sluice-priority`. Requests without the
    /// header are `normal`, or this if it is lower.
    #[default(Priority::High)]
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
    /// Before all others: a person waits for the answer.
    High,
}

/// What one client may use. A limit that is `None` does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Limits {
    /// What distinguishes clients: `access_key`, `ip` or `header:NAME`.
    #[serde(with = "LimitKey")]
    #[cfg_attr(test, schemars(example = "header:x-team"))]
    pub key: LimitKey,
    /// Requests in a second.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub requests_per_second: Option<u32>,
    /// Requests at once after a pause. Default: `requests_per_second`.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub burst: Option<u32>,
    /// Tokens in a minute, input and output.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_i64)))]
    pub tokens_per_minute: Option<u64>,
    /// Requests open at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub max_concurrent: Option<u32>,
    /// Clients whose use is kept at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    #[default = 10_000]
    pub max_tracked_clients: usize,
}

/// How the gateway learns what a target takes: a throttle lowers the limit it keeps to, time
/// without one raises it.
#[derive(Clone, Debug, PartialEq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Learning {
    /// Whether limits are learned.
    #[default = true]
    pub enabled: bool,
    /// What a throttle leaves of a limit, as a share.
    #[cfg_attr(test, schemars(range(min = 0.1, max = 0.95)))]
    #[default = 0.7]
    pub decrease: f64,
    /// Share that each minute without a throttle adds to a limit in use.
    #[cfg_attr(test, schemars(range(min = 0.001, max = 1.0)))]
    #[default = 0.02]
    pub increase: f64,
    /// Lowest learned limit of requests in a minute.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    #[default = 1]
    pub floor_rpm: u32,
    /// Lowest learned limit of tokens in a minute.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_i64)))]
    #[default = 1_000]
    pub floor_tpm: u64,
}

/// Second attempts that are sent, to another target, before the first is answered.
#[derive(Clone, Debug, PartialEq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Hedge {
    /// Whether there are any.
    pub enabled: bool,
    /// Largest share of requests that get one.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 0.5)))]
    #[default = 0.05]
    pub max_share: f64,
    /// Largest request that gets one, in input tokens.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    #[default = 2000]
    pub max_input_tokens: u64,
}

/// The gateway's own log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Log {
    /// Form of a line. Default: text on a terminal, else JSON.
    pub format: Option<LogFormat>,
    /// Level, or filter directives such as `info,sluice=debug`.
    #[cfg_attr(test, schemars(example = &"info", extend("format" = "log-filter")))]
    #[default = "info"]
    pub level: String,
    /// Whether each request gets an access-log line.
    #[default = true]
    pub access: bool,
}

impl Log {
    /// The form of a line on a stream, which may be a terminal.
    pub fn format_on(&self, is_terminal: bool) -> LogFormat {
        self.format.unwrap_or(if is_terminal { LogFormat::Text } else { LogFormat::Json })
    }
}

/// Records of what each request has used, as JSON lines in a file that is put aside when it is full.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct UsageLog {
    /// Whether there are records.
    pub enabled: bool,
    /// The file. A relative path starts at the config file's directory. Full ones get a number at
    /// the end of their name.
    #[default = "usage.jsonl"]
    pub path: PathBuf,
    /// Largest size of a file.
    #[serde(with = "Size")]
    #[default = 100_000_000]
    pub max_size: usize,
    /// Files that are kept, the one that is written included.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000)))]
    #[default = 30]
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
