//! The configuration as the file says it: the source of the schema, the defaults and the keys.
//!
//! Doc comments here become the descriptions of the JSON Schema. Only `check` reads these types;
//! all else works with the checked ones. Keys without a default are `Option`s. Required keys may be
//! missing here: the schema check reports them, and the rest of the file is still looked at.

mod clients;
mod jobs;
mod legacy;
mod network;
mod policy;
mod state;
mod traces;

use std::collections::BTreeMap;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use clients::{RawAuth, RawBearerToken, RawIssuer, RawKeyPair, RawTokenIdentity};
pub(super) use jobs::{RawJobs, RawJobsBackend};
pub(super) use legacy::{RawLegacy, RawPrompts};
pub(super) use network::{RawTls, RawTrust, RawUpstream};
pub(super) use policy::{RawPolicy, RawPrice};
pub(super) use state::RawState;
pub(super) use traces::RawTraces;

use super::bearer_key::KeyRef;
use super::model::{Balance, Feature, LogFormat, Priority, Reserve, Strategy, Unrouted};
use super::secret::SecretRef;
use super::units::{DurationText, SizeText};

/// The configuration of Sluice, a gateway in front of Amazon Bedrock.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(title = "Sluice configuration"))]
pub(super) struct RawConfig {
    /// Listeners and the limits of client connections.
    pub(super) server: RawServer,
    /// The default upstream, and the limits of upstream connections.
    pub(super) upstream: RawUpstream,
    /// The places that can answer, each a table with a name of its own.
    pub(super) targets: BTreeMap<String, RawTarget>,
    /// Bedrock quotas that several targets draw on, each a table with a name of its own.
    pub(super) quotas: BTreeMap<String, RawQuota>,
    /// Which requested models go to which targets. The first route that matches wins.
    pub(super) routes: Vec<RawRoute>,
    /// How the gateway moves from one target to the next.
    pub(super) fallback: RawFallback,
    /// Attempts on one target.
    pub(super) retry: RawRetry,
    /// The queue for requests that find no free target.
    pub(super) queue: RawQueue,
    /// What one client may use.
    pub(super) limits: RawLimits,
    /// Who may call. None: everyone.
    #[cfg_attr(test, schemars(length(max = 100_000)))]
    pub(super) clients: Vec<RawClient>,
    /// Whose tokens clients may present.
    #[cfg_attr(test, schemars(length(max = 16)))]
    pub(super) issuers: Vec<RawIssuer>,
    /// How signatures of clients are judged.
    pub(super) auth: RawAuth,
    /// What models cost, for budgets and metrics, each a table named by an exact id or a glob.
    pub(super) prices: BTreeMap<String, RawPrice>,
    /// What replicas share, and where it is kept what clients have spent.
    pub(super) state: RawState,
    /// How the gateway learns what a target takes.
    pub(super) learning: RawLearning,
    /// Second attempts that are sent before the first is answered.
    pub(super) hedge: RawHedge,
    /// The endpoints of the legacy application.
    pub(super) legacy: RawLegacy,
    /// The job queue behind the legacy endpoints.
    pub(super) jobs: RawJobs,
    /// The gateway's own log.
    pub(super) log: RawLog,
    /// Records of what requests have used.
    pub(super) usage_log: RawUsageLog,
    /// Traces of requests, sent to an OpenTelemetry collector.
    pub(super) traces: RawTraces,
}

/// Listeners and the limits of client connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(super) struct RawServer {
    /// Address and port of the Bedrock API.
    #[cfg_attr(test, schemars(example = "127.0.0.1:8080"))]
    pub(super) listen: String,
    /// Address and port of health, metrics and status. The same as `listen`: both share one port.
    #[cfg_attr(test, schemars(example = "127.0.0.1:9090"))]
    pub(super) admin_listen: String,
    /// What a caller presents for what is left to administrators, by reference. Needed if
    /// `admin_listen` is not on loopback.
    pub(super) admin_key: Option<SecretRef>,
    /// Whether metrics are open to those without the admin key.
    pub(super) open_metrics: bool,
    /// Names of the gateway that callers may use in its URL where there are no `clients`, beside its
    /// addresses and `localhost`. `"*"`: any name.
    #[cfg_attr(test, schemars(length(max = 1000), example = ["sluice.internal"]))]
    pub(super) allowed_hosts: Vec<String>,
    /// Largest request body. A larger one is answered with 413.
    pub(super) max_body: SizeText,
    /// Time for a whole request, queueing and all attempts included.
    pub(super) request_timeout: DurationText,
    /// Time for a whole bidirectional stream, in place of `request_timeout`.
    pub(super) bidirectional_timeout: DurationText,
    /// Time for a client to send its request head.
    pub(super) header_read_timeout: DurationText,
    /// Time for a client to send its request body.
    pub(super) body_read_timeout: DurationText,
    /// How long a connection is kept that has no request.
    pub(super) keep_alive_timeout: DurationText,
    /// Time between "not ready" and closing the listener when the gateway stops.
    pub(super) drain_delay: DurationText,
    /// Time that open requests get to finish when the gateway stops.
    pub(super) drain_timeout: DurationText,
    /// Time between two looks at the config's files, which are loaded again when they have
    /// changed. 0s: nobody looks.
    pub(super) config_poll_interval: DurationText,
    /// Client connections open at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(super) max_connections: usize,
    /// Requests in hand at once, streams and waiting ones included; one more is turned away.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub(super) max_in_flight: usize,
    /// Bytes of the bodies of all requests in hand.
    pub(super) max_in_flight_bytes: SizeText,
    /// Largest request head, from 8KiB to 16MiB.
    pub(super) max_header_bytes: SizeText,
    /// Header fields in one request.
    #[cfg_attr(test, schemars(range(min = 16, max = 4096)))]
    pub(super) max_headers: usize,
    /// Streams open at once on one HTTP/2 connection.
    #[cfg_attr(test, schemars(range(min = 1, max = 100_000)))]
    pub(super) max_concurrent_streams: u32,
    /// Requests in a row that a client may reset on one HTTP/2 connection.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(super) max_resets: u32,
    /// Threads that serve connections. Default: one per core.
    #[cfg_attr(test, schemars(range(min = 1, max = 1024)))]
    pub(super) worker_threads: Option<usize>,
    /// TLS on the listener of the Bedrock API.
    pub(super) tls: Option<RawTls>,
}

impl Default for RawServer {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            admin_listen: "127.0.0.1:9090".into(),
            admin_key: None,
            open_metrics: false,
            allowed_hosts: Vec::new(),
            max_body: "25MB".into(),
            request_timeout: "300s".into(),
            bidirectional_timeout: "10m".into(),
            header_read_timeout: "10s".into(),
            body_read_timeout: "60s".into(),
            keep_alive_timeout: "75s".into(),
            drain_delay: "0s".into(),
            drain_timeout: "60s".into(),
            config_poll_interval: "5s".into(),
            max_in_flight: 5000,
            max_in_flight_bytes: "1GB".into(),
            max_connections: 10_000,
            max_header_bytes: "64KiB".into(),
            max_headers: 100,
            max_concurrent_streams: 200,
            max_resets: 100,
            worker_threads: None,
            tls: None,
        }
    }
}

/// Whose credentials are used: a profile, a role, an access key or a bearer token.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(super) struct RawCredentials {
    /// Profile of the AWS config files. With `role_arn`: the profile that assumes the role.
    #[cfg_attr(test, schemars(example = &"bedrock"))]
    pub(super) profile: Option<String>,
    /// ARN of a role to assume.
    #[cfg_attr(test, schemars(example = "arn:aws:iam::123456789012:role/bedrock"))]
    pub(super) role_arn: Option<String>,
    /// External id that the role's trust policy asks for.
    #[cfg_attr(test, schemars(example = &"sluice"))]
    pub(super) external_id: Option<String>,
    /// Access key id, as it is or by reference.
    #[cfg_attr(test, schemars(example = "env:BEDROCK_KEY_ID"))]
    pub(super) access_key_id: Option<String>,
    /// Secret access key, by reference.
    pub(super) secret_access_key: Option<SecretRef>,
    /// Session token of temporary credentials, by reference.
    pub(super) session_token: Option<SecretRef>,
    /// Bedrock API key, by reference; sent as a bearer token instead of a signature.
    pub(super) bearer_token: Option<SecretRef>,
}

/// One place that can answer: a model in a region, called with one set of credentials.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[cfg_attr(test, schemars(extend("required" = ["model"])))]
pub(super) struct RawTarget {
    /// Model id, inference profile or ARN, not percent-encoded.
    #[serde(default)]
    #[cfg_attr(test, schemars(example = "anthropic.claude-3-5-sonnet-20240620-v1:0"))]
    pub(super) model: String,
    /// Model behind an opaque ARN; limits, price and family come from it.
    #[cfg_attr(test, schemars(example = "anthropic.claude-3-5-sonnet-20240620-v1:0"))]
    pub(super) base_model: Option<String>,
    /// Name for people. Default: the table's name.
    #[cfg_attr(test, schemars(example = "Claude 3.5 Sonnet"))]
    pub(super) name: Option<String>,
    /// AWS region. Default: the one of `upstream`.
    #[cfg_attr(test, schemars(example = "us-west-2"))]
    pub(super) region: Option<String>,
    /// URL of a VPC endpoint or simulator. Default: the one of `upstream`, else the public
    /// endpoint of the target's region.
    #[cfg_attr(test, schemars(example = "http://127.0.0.1:4599"))]
    pub(super) endpoint_url: Option<String>,
    /// Cooldown after a throttle, times the number of consecutive throttles.
    #[serde(default = "default_cooldown")]
    pub(super) cooldown: DurationText,
    /// Cap on the output tokens a request may ask for. Default: the model's own.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub(super) max_output_tokens: Option<u32>,
    /// Output tokens that a request without a maximum is counted with at its start, at most; less
    /// where the target's answers to such requests are shorter. Default: the one of `upstream`.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub(super) assumed_max_output_tokens: Option<u32>,
    /// What requests may use here. Default: what the model is known for.
    #[cfg_attr(test, schemars(example = ["images", "tools"]))]
    pub(super) features: Option<Vec<Feature>>,
    /// The target's quota of requests in a minute. Default: it is learned.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub(super) rpm: Option<u32>,
    /// The target's quota of tokens in a minute. Default: it is learned.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_i64)))]
    pub(super) tpm: Option<u64>,
    /// Name of the quota in `quotas` that the target shares with others; instead of `rpm` and
    /// `tpm`.
    #[cfg_attr(test, schemars(example = &"example"))]
    pub(super) quota: Option<String>,
    /// Quota tokens that one output token takes. Default: what is known of the model.
    #[cfg_attr(test, schemars(range(min = 1, max = 100)))]
    pub(super) output_burndown: Option<u32>,
    /// What a request takes of the quota of tokens at its start: its input as estimated, or the most
    /// that it can have.
    #[serde(default)]
    pub(super) reserve: Reserve,
    /// Time from the end of the request to the head of the answer. Default: the one of `upstream`.
    pub(super) first_byte_timeout: Option<DurationText>,
    /// Longest silence between two frames of a stream. Default: the one of `upstream`.
    pub(super) idle_timeout: Option<DurationText>,
    /// Whose credentials are used. Default: those of `upstream`.
    #[serde(flatten)]
    pub(super) credentials: RawCredentials,
}

fn default_cooldown() -> DurationText {
    "60s".into()
}

/// One Bedrock quota that several targets draw on: those of one model, region and account.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(super) struct RawQuota {
    /// Requests in a minute. Default: it is learned.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub(super) rpm: Option<u32>,
    /// Tokens in a minute. Default: it is learned.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_i64)))]
    pub(super) tpm: Option<u64>,
}

/// Sends requests for some models to an ordered list of targets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[cfg_attr(test, schemars(extend("required" = ["models", "targets"])))]
pub(super) struct RawRoute {
    /// Requested models: exact ids or globs.
    #[serde(default)]
    #[cfg_attr(test, schemars(example = ["anthropic.claude-3-5-sonnet-*"]))]
    pub(super) models: Vec<String>,
    /// Names of targets, best first.
    #[serde(default)]
    #[cfg_attr(test, schemars(example = ["sonnet-35", "haiku-3"]))]
    pub(super) targets: Vec<String>,
    /// The order among neighbouring targets of the same model: as listed, by the share of quota
    /// left, or by speed.
    #[serde(default)]
    pub(super) balance: Balance,
}

/// How the gateway moves from one target to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(super) struct RawFallback {
    /// What comes first after a throttle: the next target, or the attempts left on this one.
    pub(super) strategy: Strategy,
    /// What happens to a model that no route names.
    pub(super) unrouted: Unrouted,
    /// Cooldown of a model that no route names.
    pub(super) unrouted_cooldown: DurationText,
    /// Cooldown after a "tokens per day" throttle.
    pub(super) daily_cooldown: DurationText,
    /// How long requests keep away from an operation that a target is known to deny.
    pub(super) misconfigured_cooldown: DurationText,
    /// Consecutive throttles multiply a cooldown at most by this.
    #[cfg_attr(test, schemars(range(min = 1, max = 1000)))]
    pub(super) max_cooldown_multiplier: u32,
    /// Consecutive transient failures that take a target out.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(super) eject_after: u32,
    /// A target is taken out when a smaller share of its attempts in the last minute was answered.
    /// 0: never.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    pub(super) eject_below_success_rate: f64,
    /// Attempts in the last minute from which on `eject_below_success_rate` counts.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(super) eject_min_requests: u32,
    /// How long a target taken out for failures stays out.
    pub(super) eject_cooldown: DurationText,
    /// Models without a route whose state is kept at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 100_000)))]
    pub(super) max_unrouted_models: usize,
}

impl Default for RawFallback {
    fn default() -> Self {
        Self {
            strategy: Strategy::FallbackFirst,
            unrouted: Unrouted::Pass,
            unrouted_cooldown: "30s".into(),
            daily_cooldown: "4h".into(),
            misconfigured_cooldown: "10m".into(),
            max_cooldown_multiplier: 5,
            eject_after: 5,
            eject_below_success_rate: 0.5,
            eject_min_requests: 20,
            eject_cooldown: "30s".into(),
            max_unrouted_models: 256,
        }
    }
}

/// Attempts on one target.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(super) struct RawRetry {
    /// Attempts on one target, the first included.
    #[cfg_attr(test, schemars(range(min = 1, max = 20)))]
    pub(super) attempts: u32,
    /// Wait before the second attempt; doubles with each further one.
    pub(super) base_delay: DurationText,
    /// Longest wait between two attempts.
    pub(super) max_delay: DurationText,
}

impl Default for RawRetry {
    fn default() -> Self {
        Self { attempts: 3, base_delay: "1s".into(), max_delay: "4s".into() }
    }
}

/// The queue for requests that find no free target.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(super) struct RawQueue {
    /// Requests that wait at once. 0: none waits.
    #[cfg_attr(test, schemars(range(min = 0, max = 1_000_000)))]
    pub(super) max_waiting: usize,
    /// Bytes of the bodies of all waiting requests.
    pub(super) max_waiting_bytes: SizeText,
    /// Longest wait of one request. Keep it below the read time-out of your clients.
    pub(super) max_wait: DurationText,
    /// Highest priority that a client may ask for with `x-sluice-priority`. Requests without the
    /// header are `normal`, or this if it is lower.
    pub(super) max_priority: Priority,
}

impl Default for RawQueue {
    fn default() -> Self {
        Self {
            max_waiting: 1000,
            max_waiting_bytes: "256MB".into(),
            max_wait: "45s".into(),
            max_priority: Priority::High,
        }
    }
}

/// What one client may use. Limits that are not set do not exist.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(super) struct RawLimits {
    /// What tells one client from another: `access_key`, `ip` or `header:NAME`.
    #[cfg_attr(test, schemars(example = "header:x-team"))]
    pub(super) key: String,
    /// Requests in a second.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(super) requests_per_second: Option<u32>,
    /// Requests at once after a pause. Default: `requests_per_second`.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(super) burst: Option<u32>,
    /// Tokens in a minute, input and output.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_i64)))]
    pub(super) tokens_per_minute: Option<u64>,
    /// Requests open at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(super) max_concurrent: Option<u32>,
    /// Clients whose use is kept at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub(super) max_tracked_clients: usize,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            key: "access_key".into(),
            requests_per_second: None,
            burst: None,
            tokens_per_minute: None,
            max_concurrent: None,
            max_tracked_clients: 10_000,
        }
    }
}

/// Somebody who may call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[cfg_attr(test, schemars(extend("required" = ["name"])))]
pub(super) struct RawClient {
    /// Its name in logs and metrics.
    #[serde(default)]
    #[cfg_attr(test, schemars(example = &"team-a"))]
    pub(super) name: String,
    /// The key it presents as a bearer token, by reference, or the key's SHA-256 digest.
    pub(super) bearer_token: Option<KeyRef>,
    /// More such keys, each with the time at which it expires, if it does.
    #[serde(default)]
    pub(super) bearer_tokens: Vec<RawBearerToken>,
    /// Id of the key pair it signs with, as it is.
    #[cfg_attr(test, schemars(example = &"SLUICEKEYOFTEAMA"))]
    pub(super) access_key_id: Option<String>,
    /// Secret of that key pair, by reference.
    pub(super) secret_access_key: Option<SecretRef>,
    /// More such key pairs, each with the time at which it expires, if it does.
    #[serde(default)]
    pub(super) keys: Vec<RawKeyPair>,
    /// The certificates it shows, each by its subject, or by `CN:`, `DNS:`, `URI:`, `IP:` or `email:`
    /// and a name.
    #[serde(default)]
    #[cfg_attr(test, schemars(example = ["CN=team-a,O=Example"]))]
    pub(super) certificates: Vec<String>,
    /// Who it is to issuers of tokens.
    #[serde(default)]
    pub(super) identities: Vec<RawTokenIdentity>,
    /// What it may do and spend.
    #[serde(flatten)]
    pub(super) policy: RawPolicy,
}

/// How the gateway learns what a target takes: a throttle lowers the limit it keeps to, time
/// without one raises it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(super) struct RawLearning {
    /// Whether limits are learned.
    pub(super) enabled: bool,
    /// What a throttle leaves of a limit, as a share.
    #[cfg_attr(test, schemars(range(min = 0.1, max = 0.95)))]
    pub(super) decrease: f64,
    /// Share that each minute without a throttle adds to a limit in use.
    #[cfg_attr(test, schemars(range(min = 0.001, max = 1.0)))]
    pub(super) increase: f64,
    /// Lowest learned limit of requests in a minute.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub(super) floor_rpm: u32,
    /// Lowest learned limit of tokens in a minute.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000_000_i64)))]
    pub(super) floor_tpm: u64,
}

impl Default for RawLearning {
    fn default() -> Self {
        Self { enabled: true, decrease: 0.7, increase: 0.02, floor_rpm: 1, floor_tpm: 1_000 }
    }
}

/// Second attempts that are sent, to another target, before the first is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(super) struct RawHedge {
    /// Whether there are any.
    pub(super) enabled: bool,
    /// Largest share of requests that get one.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 0.5)))]
    pub(super) max_share: f64,
    /// Largest request that gets one, in input tokens.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub(super) max_input_tokens: u64,
}

impl Default for RawHedge {
    fn default() -> Self {
        Self { enabled: false, max_share: 0.05, max_input_tokens: 2000 }
    }
}

/// The gateway's own log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(super) struct RawLog {
    /// Form of a line.
    pub(super) format: LogFormat,
    /// Level, or filter directives such as `info,sluice=debug`.
    #[cfg_attr(test, schemars(example = &"info"))]
    pub(super) level: String,
    /// Whether each request gets an access-log line.
    pub(super) access: bool,
}

impl Default for RawLog {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: "info".into(), access: true }
    }
}

/// Records of what each request has used, as JSON lines in a file that is put aside when it is full.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(super) struct RawUsageLog {
    /// Whether there are records.
    pub(super) enabled: bool,
    /// The file. A relative path starts at the config file's directory. Full ones get a number at
    /// the end of their name.
    pub(super) path: String,
    /// Largest size of a file.
    pub(super) max_size: SizeText,
    /// Files that are kept, the one that is written included.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000)))]
    pub(super) max_files: usize,
}

impl Default for RawUsageLog {
    fn default() -> Self {
        Self { enabled: false, path: "usage.jsonl".into(), max_size: "100MB".into(), max_files: 30 }
    }
}
