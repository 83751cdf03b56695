//! Connections: those of clients, with or without TLS, and those to upstreams.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;
use rustls::pki_types::CertificateDer;
#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

use crate::DEFAULT_REGION;
use crate::credentials::Credentials;
use crate::endpoint::Endpoint;
use crate::secret::Secret;
use crate::units::{Address, AnyDuration, NonZeroDuration, Optional, Size, TextForm as _};

/// Listeners and the limits of client connections.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Server {
    /// Address and port of the Bedrock API.
    #[serde(with = "Address")]
    #[cfg_attr(test, schemars(example = "127.0.0.1:8080"))]
    #[default(SocketAddr::from(([127, 0, 0, 1], 8080)))]
    pub listen: SocketAddr,
    /// Address and port of health, metrics and status. The same as `listen`: both share one port.
    #[serde(with = "Address")]
    #[cfg_attr(test, schemars(example = "127.0.0.1:9090"))]
    #[default(SocketAddr::from(([127, 0, 0, 1], 9090)))]
    pub admin_listen: SocketAddr,
    /// What a caller presents for what is left to administrators, by reference. Needed if
    /// `admin_listen` is not on loopback.
    pub admin_key: Option<Secret>,
    /// File of an admin key that the gateway generates at its first start. It is used where there
    /// is no `admin_key` and `admin_listen` is not on loopback. A relative path starts at the
    /// config file's directory.
    #[cfg_attr(test, schemars(example = "/var/lib/sluice/admin-key"))]
    pub admin_key_file: Option<PathBuf>,
    /// Whether metrics are open to those without the admin key.
    pub open_metrics: bool,
    /// Names of the gateway that callers may use in its URL where there are no `clients`, beside its
    /// addresses and `localhost`. `"*"`: any name.
    #[cfg_attr(test, schemars(length(max = 1000), example = ["sluice.internal"]))]
    pub allowed_hosts: Vec<String>,
    /// Largest request body. A larger one is answered with 413.
    #[serde(with = "Size")]
    #[default = 25_000_000]
    pub max_body: usize,
    /// Time for a whole request, queueing and all attempts included.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(300))]
    pub request_timeout: Duration,
    /// Time for a whole bidirectional stream, in place of `request_timeout`.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(600))]
    pub bidirectional_timeout: Duration,
    /// Time for a client to send its request head.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(10))]
    pub header_read_timeout: Duration,
    /// Time for a client to send its request body.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(60))]
    pub body_read_timeout: Duration,
    /// How long a connection without a request is kept open.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(75))]
    pub keep_alive_timeout: Duration,
    /// Time between "not ready" and closing the listener when the gateway stops.
    #[serde(with = "AnyDuration")]
    pub drain_delay: Duration,
    /// Time that open requests get to finish when the gateway stops.
    #[serde(with = "AnyDuration")]
    #[default(Duration::from_secs(60))]
    pub drain_timeout: Duration,
    /// How often the config's files are checked for changes, which are then loaded. 0s: never.
    #[serde(with = "AnyDuration")]
    #[default(Duration::from_secs(5))]
    pub config_poll_interval: Duration,
    /// Client connections open at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    #[default = 10_000]
    pub max_connections: usize,
    /// Requests in flight at once, streams and queued ones included. A further one is refused.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    #[default = 5000]
    pub max_in_flight: usize,
    /// Bytes of the bodies of all requests in flight.
    #[serde(with = "Size")]
    #[default = 1_000_000_000]
    pub max_in_flight_bytes: usize,
    /// Largest request head, from 8KiB to 16MiB.
    #[serde(with = "Size")]
    #[default(64 << 10)]
    pub max_header_bytes: usize,
    /// Header fields in one request.
    #[cfg_attr(test, schemars(range(min = 16, max = 4096)))]
    #[default = 100]
    pub max_headers: usize,
    /// Streams open at once on one HTTP/2 connection.
    #[cfg_attr(test, schemars(range(min = 1, max = 100_000)))]
    #[default = 200]
    pub max_concurrent_streams: u32,
    /// Requests in a row that a client may reset on one HTTP/2 connection.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    #[default = 100]
    pub max_resets: u32,
    /// Threads that serve connections. Default: one per core.
    #[cfg_attr(test, schemars(range(min = 1, max = 1024)))]
    pub worker_threads: Option<usize>,
    /// TLS on the listener of the Bedrock API.
    pub tls: Option<Tls>,
}

impl Server {
    /// The file for a generated admin key. `None` if the config has a key, the admin listener needs
    /// none, or the config names no file.
    pub fn missing_admin_key_file(&self) -> Option<&Path> {
        let needs_key = self.admin_key.is_none() && !self.admin_listen.ip().is_loopback();
        self.admin_key_file.as_deref().filter(|_| needs_key)
    }
}

/// The default upstream, and the limits of upstream connections.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Upstream {
    /// AWS region. Default: AWS_REGION, AWS_DEFAULT_REGION, then us-east-1.
    #[cfg_attr(test, schemars(example = "us-east-1", extend("format" = "region")))]
    #[default(DEFAULT_REGION.to_owned())]
    pub region: String,
    /// Where requests are sent.
    #[serde(skip)]
    #[default(Endpoint::stand_in())]
    pub endpoint: Endpoint,
    /// Whether the public endpoints are those of FIPS. Default: AWS_USE_FIPS_ENDPOINT, then false.
    pub use_fips: bool,
    /// Where calls of the control plane are sent; `None` if they are not relayed.
    #[serde(skip)]
    pub control_plane: Option<Endpoint>,
    /// URL that calls of the control plane go to, those of `sluice check --account` among them.
    /// Default: the region's public endpoint of the control plane. Needed where `control_plane` is on
    /// and `endpoint_url` is given.
    #[serde(with = "Optional::<Endpoint>")]
    pub control_plane_endpoint_url: Option<Endpoint>,
    /// URL that calls of Service Quotas go to, which only `sluice check --account` makes. Default: the
    /// region's public endpoint of Service Quotas.
    #[serde(with = "Optional::<Endpoint>")]
    pub service_quotas_endpoint_url: Option<Endpoint>,
    /// The authorities that upstreams' certificates are checked against.
    #[serde(skip)]
    #[default(Trust { webpki: true, authorities: Vec::new() })]
    pub trust: Trust,
    /// The proxies that connections go through.
    #[serde(skip)]
    pub proxies: Proxies,
    /// Time to open a connection, proxy and TLS included.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(3))]
    pub connect_timeout: Duration,
    /// Time from the end of the request to the head of the answer.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(120))]
    pub first_byte_timeout: Duration,
    /// Longest silence between two frames of a stream.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(180))]
    pub idle_timeout: Duration,
    /// How long an unused connection is kept.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(60))]
    pub pool_idle_timeout: Duration,
    /// Unused connections that each worker thread keeps for one host.
    #[cfg_attr(test, schemars(range(min = 0, max = 100_000)))]
    #[default = 256]
    pub max_idle_per_host: usize,
    /// Output tokens that a request without a maximum is counted with at its start, at most; less
    /// where the target's answers to such requests are shorter. Default: the
    /// model's own maximum, which is what Bedrock takes.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub assumed_max_output_tokens: Option<u32>,
    /// Clients' headers that are sent to upstreams beside those that Bedrock knows.
    #[serde(skip)]
    pub forward_headers: Vec<HeaderName>,
    /// Whose credentials are used. Default: the AWS default chain.
    #[serde(flatten)]
    pub credentials: Credentials,
}

impl Upstream {
    /// Whether connections that were opened with `other` suit these settings.
    pub fn connects_like(&self, other: &Upstream) -> bool {
        (&self.trust, &self.proxies) == (&other.trust, &other.proxies)
            && self.connect_timeout == other.connect_timeout
            && self.pool_idle_timeout == other.pool_idle_timeout
            && self.max_idle_per_host == other.max_idle_per_host
    }
}

/// TLS on the listener of the Bedrock API. The files were valid when the config was loaded; they
/// are read again while the gateway runs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["cert", "key"])))]
pub struct Tls {
    /// PEM file of the certificate, followed by the intermediate ones. A relative path starts at
    /// the config file's directory.
    #[cfg_attr(test, schemars(example = &"tls.crt", extend("format" = "non-blank")))]
    pub cert: PathBuf,
    /// PEM file of the certificate's private key, not encrypted.
    #[cfg_attr(test, schemars(example = &"tls.key", extend("format" = "non-blank")))]
    pub key: PathBuf,
    /// The certificates that clients present.
    #[serde(flatten)]
    pub clients: Option<ClientCertificates>,
    /// Oldest version of TLS that is accepted.
    pub min_version: TlsVersion,
    /// How often the files are checked for a change.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(30))]
    pub reload_interval: Duration,
    /// Time for a client's part of the handshake.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(10))]
    pub handshake_timeout: Duration,
}

/// Which certificates clients present.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
pub struct ClientCertificates {
    /// PEM file of the authorities that sign clients' certificates. Without it clients are not
    /// asked for one.
    #[serde(rename = "client_ca")]
    #[cfg_attr(test, schemars(example = &"clients-ca.crt"))]
    pub ca: PathBuf,
    /// Whether a client must present a certificate. Default: required, where `client_ca` is set.
    #[serde(rename = "client_auth", default)]
    #[cfg_attr(test, schemars(extend("default" = null)))]
    pub auth: ClientAuth,
}

/// Whether clients must present a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// A client without one is refused.
    #[default]
    Required,
    /// A client may come without one. One that is presented must be right.
    Optional,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    #[default]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// The authorities that vouch for upstreams.
#[derive(Clone, PartialEq, Eq)]
pub struct Trust {
    /// The public authorities that are built in.
    pub webpki: bool,
    /// Further authorities: the system's, or those of a file. At least one if `webpki` is not set.
    pub authorities: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authorities = self.authorities.len();
        f.debug_struct("Trust")
            .field("webpki", &self.webpki)
            .field("authorities", &authorities)
            .finish()
    }
}

/// The proxies on the way to the upstream. None of them: connections are direct.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// URL of the proxy to `http` endpoints; its scheme may be missing and is `http` then.
    pub http: Option<Secret>,
    /// URL of the proxy to `https` endpoints.
    pub https: Option<Secret>,
    /// What goes past the proxies, in the form of `NO_PROXY`.
    pub bypass: String,
    /// Whether endpoints on this machine are reached through the proxies too.
    pub loopback: bool,
}
