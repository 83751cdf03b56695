//! `[server.tls]` as the file says it, and the sets of authorities that the upstream may name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::settings::{ClientAuth, TlsVersion};
use crate::config::units::DurationText;

/// TLS on the listener of the Bedrock API.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["cert", "key"]))]
pub(in crate::config) struct RawTls {
    /// PEM file of the certificate, followed by the intermediate ones. A relative path starts at
    /// the config file's directory.
    #[schemars(example = &"tls.crt")]
    pub(in crate::config) cert: String,
    /// PEM file of the certificate's private key, not encrypted.
    #[schemars(example = &"tls.key")]
    pub(in crate::config) key: String,
    /// PEM file of the authorities that sign clients' certificates. Without it clients are not
    /// asked for one.
    #[schemars(example = &"clients-ca.crt")]
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

/// Whose word is taken for an upstream's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum RawTrust {
    /// The public authorities that are built in, and those of `ca_file`.
    Webpki,
    /// The authorities that the system has installed, and those of `ca_file`.
    Platform,
    /// Those of `ca_file` alone.
    File,
}
