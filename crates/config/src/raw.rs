//! The file as a whole, and the keys whose value must be computed.
//!
//! Everything else is a type of `model`, which is read as it is. Doc comments here become the
//! descriptions of the JSON Schema, as theirs do. Only `check` reads these types. Keys without a
//! default are `Option`s. Required keys may be missing here: validation reports them, and the rest of
//! the file is still checked.

mod apis;
mod clients;
mod jobs;

use std::collections::BTreeMap;
use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;
use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;
use smart_default::SmartDefault;

pub(super) use apis::{
    RawApis, RawEmbeddings, RawMessages, RawModels, RawOpenAiApi, RawRemoteMedia, RawResponses,
};
pub(super) use clients::{RawClient, RawIssuer};
pub(super) use jobs::RawJobs;

use super::endpoint::Endpoint;
use super::model::{
    Auth, Balance, CatalogueSettings, Fallback, Hedge, Learning, Legacy, Limits, Log, Price, Queue,
    Quota, RedisKind, ResponseStore, Retry, Server, SharedState, StateBackend, StoreResponses,
    Target, Traces, Upstream, UsageLog,
};
#[cfg(test)]
use super::proxy::ProxyUrl;
#[cfg(test)]
use super::redis_url::RedisUrl;
use super::secret::Secret;
#[cfg(test)]
use super::tests::names::ModelPattern;
use super::units::{AnyDuration, NonZeroDuration, Optional, TextForm as _};

/// The configuration of Sluice, a gateway in front of Amazon Bedrock.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(title = "Sluice configuration"))]
pub(super) struct RawConfig {
    /// Listeners and the limits of client connections.
    pub(super) server: Server,
    /// The default upstream, and the limits of upstream connections.
    pub(super) upstream: RawUpstream,
    /// The models that can answer, each a table with a name of its own.
    pub(super) targets: BTreeMap<String, RawTarget>,
    /// Bedrock quotas that several targets draw on, each a table with a name of its own.
    pub(super) quotas: BTreeMap<String, Quota>,
    /// Which requested models go to which targets. The first route that matches wins.
    pub(super) routes: Vec<RawRoute>,
    /// How the gateway moves from one target to the next.
    pub(super) fallback: Fallback,
    /// What follows from the facts about models that are built in.
    pub(super) catalogue: CatalogueSettings,
    /// Attempts on one target.
    pub(super) retry: Retry,
    /// The queue for requests that find no free target.
    pub(super) queue: Queue,
    /// What one client may use.
    pub(super) limits: Limits,
    /// The clients that may call. None: everyone may.
    #[cfg_attr(test, schemars(length(max = 100_000)))]
    pub(super) clients: Vec<RawClient>,
    /// The APIs of OpenAI and Anthropic that are served beside Bedrock's own.
    pub(super) apis: RawApis,
    /// Issuers whose tokens clients may present.
    #[cfg_attr(test, schemars(length(max = 16)))]
    pub(super) issuers: Vec<RawIssuer>,
    /// How signatures of clients are verified.
    pub(super) auth: Auth,
    /// What models cost, for budgets and metrics, each a table named by an exact id or a glob.
    #[cfg_attr(test, schemars(extend("propertyNames" = { "format": "model-pattern" })))]
    #[cfg_attr(test, schemars(extend("maxProperties" = 1000)))]
    pub(super) prices: BTreeMap<String, Price>,
    /// What replicas share, and where the spending of clients is kept.
    pub(super) state: RawState,
    /// How the gateway learns what a target takes.
    pub(super) learning: Learning,
    /// Second attempts that are sent before the first is answered.
    pub(super) hedge: Hedge,
    /// The endpoints of the legacy application.
    pub(super) legacy: RawLegacy,
    /// The job queue behind the legacy endpoints.
    pub(super) jobs: RawJobs,
    /// The store of responses that the gateway keeps itself, for models whose upstream stores none.
    pub(super) response_store: ResponseStore,
    /// The gateway's own log.
    pub(super) log: Log,
    /// Records of what requests have used.
    pub(super) usage_log: UsageLog,
    /// Traces of requests, sent to an OpenTelemetry collector.
    pub(super) traces: RawTraces,
}

/// The default upstream, and the limits of upstream connections.
#[derive(Clone, Debug, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub(super) struct RawUpstream {
    /// URL of a VPC endpoint or simulator. Default: the region's public Bedrock endpoint.
    #[serde(with = "Optional::<Endpoint>")]
    pub(super) endpoint_url: Option<Endpoint>,
    /// Whether clients that have a name may list and describe inference profiles and foundation
    /// models. These are calls of Bedrock's control plane.
    pub(super) control_plane: bool,
    /// The authorities that vouch for an upstream's certificate: the built-in public ones, the
    /// system's, or the file's alone.
    pub(super) trust: RawTrust,
    /// PEM file of authorities that are trusted beside those of `trust`. A relative path starts at
    /// the config file's directory.
    #[cfg_attr(test, schemars(example = &"ca.crt"))]
    pub(super) ca_file: Option<String>,
    /// Proxy on the way to the upstream: `env` for HTTPS_PROXY, HTTP_PROXY and NO_PROXY, `off`, or
    /// a URL, as it is or by reference. By reference if it holds a password.
    #[cfg_attr(test, schemars(with = "ProxyUrl"))]
    #[default("env".into())]
    pub(super) proxy: Secret,
    /// Names of clients' headers that are sent to upstreams beside those that Bedrock knows. All
    /// others are left out.
    #[cfg_attr(test, schemars(length(max = 100), example = ["x-request-source"]))]
    pub(super) forward_headers: Vec<String>,
    #[serde(flatten)]
    pub(super) upstream: Upstream,
}

/// The authorities that vouch for an upstream's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(super) enum RawTrust {
    /// The public authorities that are built in, and those of `ca_file`.
    #[default]
    Webpki,
    /// The authorities that the system has installed, and those of `ca_file`.
    Platform,
    /// Those of `ca_file` alone.
    File,
}

/// One model that can answer, in a region, called with one set of credentials.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub(super) struct RawTarget {
    /// AWS region. Default: the one of `upstream`.
    #[cfg_attr(test, schemars(example = "us-west-2", extend("format" = "region")))]
    pub(super) region: Option<String>,
    /// URL of a VPC endpoint or simulator. Default: the one of `upstream`, else the public
    /// endpoint of the target's region. A target at the mantle endpoint does not take over one of
    /// `upstream` that is AWS's own.
    #[serde(with = "Optional::<Endpoint>")]
    pub(super) endpoint_url: Option<Endpoint>,
    /// Name of the quota in `quotas` that the target shares with others; instead of `rpm`, `tpm`,
    /// `input_tpm`, `output_tpm` and `tpd`.
    #[cfg_attr(test, schemars(example = &"example"))]
    pub(super) quota: Option<String>,
    /// Name of a quota in `quotas` with `tpd` alone that the target draws on besides, such as the one of
    /// an account and region over all models.
    #[cfg_attr(test, schemars(example = &"account"))]
    pub(super) daily_quota: Option<String>,
    /// Time from the end of the request to the head of the answer. Default: the one of `upstream`.
    #[serde(with = "Optional::<NonZeroDuration>")]
    pub(super) first_byte_timeout: Option<Duration>,
    /// Longest silence between two frames of a stream. Default: the one of `upstream`.
    #[serde(with = "Optional::<NonZeroDuration>")]
    pub(super) idle_timeout: Option<Duration>,
    #[serde(flatten)]
    pub(super) target: Target,
}

/// Sends requests for some models to an ordered list of targets.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["models", "targets"])))]
pub(super) struct RawRoute {
    /// Requested models: exact ids or globs.
    #[cfg_attr(test, schemars(with = "Vec<ModelPattern>", length(min = 1)))]
    #[cfg_attr(test, schemars(example = ["us.anthropic.claude-sonnet-*"]))]
    pub(super) models: Vec<String>,
    /// Names of targets, best first.
    #[cfg_attr(test, schemars(length(min = 1), example = ["sonnet", "haiku"]))]
    pub(super) targets: Vec<String>,
    /// The order among neighbouring targets of the same model: as listed, by the share of quota
    /// left, or by speed.
    pub(super) balance: Balance,
    /// How long a request waits for the model that it asks for before another model answers. 0s: the
    /// best target with room answers at once.
    #[serde(with = "AnyDuration")]
    pub(super) wait_before_fallback: Duration,
    /// Whether upstreams may store responses. Default: the setting of `apis.responses`.
    pub(super) store: Option<StoreResponses>,
    /// Whether requests are translated for targets that do not take them as they are. Default: those of
    /// OpenAI's and Anthropic's APIs. true: Converse and InvokeModel requests that fall to a target of
    /// another model family, too. false: none.
    pub(super) translate: Option<bool>,
}

/// What replicas share, and where the spending of clients is kept.
#[derive(Clone, Debug, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub(super) struct RawState {
    /// Where quotas, limits of clients and cooldowns are kept: in each process, or in Redis, so that
    /// all replicas keep to them together.
    pub(super) backend: StateBackend,
    /// Database file for the spending of clients. A relative path starts at the config file's
    /// directory.
    #[cfg_attr(test, schemars(example = &"sluice-budgets.db", extend("format" = "non-blank")))]
    pub(super) budget_path: Option<String>,
    /// How often spending is written to the store.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(1))]
    pub(super) budget_flush: Duration,
    /// URL of the Redis that all replicas share, as it is or by reference. Several, with commas
    /// between them, are the nodes of a cluster or the sentinels. Default: the one of `jobs`.
    #[cfg_attr(test, schemars(with = "Option<RedisUrl>"))]
    pub(super) redis_url: Option<Secret>,
    /// What the names of keys in Redis start with.
    #[default = "sluice"]
    #[cfg_attr(test, schemars(extend("format" = "redis-prefix")))]
    pub(super) redis_prefix: String,
    /// What `redis_url` names: one server, sentinels, or nodes of a cluster.
    pub(super) redis_kind: RedisKind,
    /// The name of the server at the sentinels.
    #[cfg_attr(test, schemars(example = &"mymaster"))]
    pub(super) sentinel_master: Option<String>,
    #[serde(flatten)]
    pub(super) shared: SharedState,
}

/// The endpoints of the legacy application.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub(super) struct RawLegacy {
    /// Names of targets that answer, the primary first: Claude by InvokeModel, all other models by Converse.
    /// Default: those of the first route that can answer, or of all targets where there are no routes.
    #[cfg_attr(test, schemars(length(min = 1), example = ["sonnet", "haiku"]))]
    pub(super) models: Option<Vec<String>>,
    #[serde(flatten)]
    pub(super) legacy: Legacy,
}

/// Traces of requests, sent to an OpenTelemetry collector.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub(super) struct RawTraces {
    /// URL of the collector. Without one there are no traces.
    #[cfg_attr(test, schemars(example = &"http://localhost:4317"))]
    pub(super) endpoint_url: Option<String>,
    /// Headers that the collector wants, such as a key: each a name and a value by reference.
    #[cfg_attr(test, schemars(extend("maxProperties" = 32)))]
    #[cfg_attr(test, schemars(extend("propertyNames" = { "format": "header-name" })))]
    pub(super) headers: BTreeMap<String, Secret>,
    #[serde(flatten)]
    pub(super) traces: Traces,
}
