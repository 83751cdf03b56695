//! `[server.tls]` and `[upstream]` as the file says them.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RawCredentials;
use crate::config::model::{ClientAuth, TlsVersion};
use crate::config::proxy::ProxyText;
use crate::config::units::DurationText;

/// TLS on the listener of the Bedrock API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["cert", "key"])))]
pub(in crate::config) struct RawTls {
    /// PEM file of the certificate, followed by the intermediate ones. A relative path starts at
    /// the config file's directory.
    #[cfg_attr(test, schemars(example = &"tls.crt"))]
    pub(in crate::config) cert: String,
    /// PEM file of the certificate's private key, not encrypted.
    #[cfg_attr(test, schemars(example = &"tls.key"))]
    pub(in crate::config) key: String,
    /// PEM file of the authorities that sign clients' certificates. Without it clients are not
    /// asked for one.
    #[cfg_attr(test, schemars(example = &"clients-ca.crt"))]
    pub(in crate::config) client_ca: Option<String>,
    /// Whether a client must present a certificate. Default: required, where `client_ca` is set.
    pub(in crate::config) client_auth: Option<ClientAuth>,
    /// Oldest version of TLS that is spoken.
    pub(in crate::config) min_version: TlsVersion,
    /// How often the files are looked at for a change.
    pub(in crate::config) reload_interval: DurationText,
    /// Time for a client's part of the handshake.
    pub(in crate::config) handshake_timeout: DurationText,
}

impl Default for RawTls {
    fn default() -> Self {
        Self {
            cert: String::new(),
            key: String::new(),
            client_ca: None,
            client_auth: None,
            min_version: TlsVersion::V1_2,
            reload_interval: "30s".into(),
            handshake_timeout: "10s".into(),
        }
    }
}

/// The default upstream, and the limits of upstream connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(in crate::config) struct RawUpstream {
    /// AWS region. Default: AWS_REGION, AWS_DEFAULT_REGION, then us-east-1.
    #[cfg_attr(test, schemars(example = "us-east-1"))]
    pub(in crate::config) region: Option<String>,
    /// URL of a VPC endpoint or simulator. Default: the region's public Bedrock endpoint.
    #[cfg_attr(test, schemars(example = "http://127.0.0.1:4599"))]
    pub(in crate::config) endpoint_url: Option<String>,
    /// Whether the public endpoints are those of FIPS. Default: AWS_USE_FIPS_ENDPOINT, then false.
    pub(in crate::config) use_fips: bool,
    /// Whether clients that have a name may list and describe inference profiles and foundation
    /// models. These are calls of Bedrock's control plane.
    pub(in crate::config) control_plane: bool,
    /// URL that these calls go to. Default: the region's public endpoint of the control plane. Needed
    /// where `endpoint_url` is given.
    #[cfg_attr(test, schemars(example = "http://127.0.0.1:4599"))]
    pub(in crate::config) control_plane_endpoint_url: Option<String>,
    /// Whose word is taken for an upstream's certificate: the built-in public authorities, the
    /// system's, or the file's alone.
    pub(in crate::config) trust: RawTrust,
    /// PEM file of authorities that are trusted beside those of `trust`. A relative path starts at
    /// the config file's directory.
    #[cfg_attr(test, schemars(example = &"ca.crt"))]
    pub(in crate::config) ca_file: Option<String>,
    /// Proxy on the way to the upstream: `env` for HTTPS_PROXY, HTTP_PROXY and NO_PROXY, `off`, or
    /// a URL, as it is or by reference. By reference if it holds a password.
    pub(in crate::config) proxy: ProxyText,
    /// Time to open a connection, proxy and TLS included.
    pub(in crate::config) connect_timeout: DurationText,
    /// Time from the end of the request to the head of the answer.
    pub(in crate::config) first_byte_timeout: DurationText,
    /// Longest silence between two frames of a stream.
    pub(in crate::config) idle_timeout: DurationText,
    /// How long an unused connection is kept.
    pub(in crate::config) pool_idle_timeout: DurationText,
    /// Unused connections that each worker thread keeps for one host.
    #[cfg_attr(test, schemars(range(min = 0, max = 100_000)))]
    pub(in crate::config) max_idle_per_host: usize,
    /// Output tokens that a request without a maximum is counted with at its start, at most; less
    /// where the target's answers to such requests are shorter. Default: the
    /// model's own maximum, which is what Bedrock takes.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub(in crate::config) assumed_max_output_tokens: Option<u32>,
    /// Names of clients' headers that are sent to upstreams beside those that Bedrock knows. All
    /// others are left out.
    #[cfg_attr(test, schemars(length(max = 100), example = ["x-request-source"]))]
    pub(in crate::config) forward_headers: Vec<String>,
    /// Whose credentials are used. Default: the AWS default chain.
    #[serde(flatten)]
    pub(in crate::config) credentials: RawCredentials,
}

impl Default for RawUpstream {
    fn default() -> Self {
        Self {
            region: None,
            endpoint_url: None,
            use_fips: false,
            control_plane: false,
            control_plane_endpoint_url: None,
            trust: RawTrust::Webpki,
            ca_file: None,
            proxy: "env".into(),
            connect_timeout: "3s".into(),
            first_byte_timeout: "120s".into(),
            idle_timeout: "180s".into(),
            pool_idle_timeout: "60s".into(),
            max_idle_per_host: 256,
            assumed_max_output_tokens: None,
            forward_headers: Vec::new(),
            credentials: RawCredentials::default(),
        }
    }
}

/// Whose word is taken for an upstream's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum RawTrust {
    /// The public authorities that are built in, and those of `ca_file`.
    Webpki,
    /// The authorities that the system has installed, and those of `ca_file`.
    Platform,
    /// Those of `ca_file` alone.
    File,
}
