//! TLS of the listener, and the way from here to the upstream.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secret::Secret;

/// TLS on the listener of the Bedrock API. The files were right when the config was loaded; they
/// are read again while the gateway runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the certificate, followed by those that lead to its root.
    pub cert: PathBuf,
    /// PEM file of the certificate's private key.
    pub key: PathBuf,
    /// Whose certificates clients present. `None`: they are not asked for one.
    pub clients: Option<ClientCertificates>,
    /// Oldest version that is spoken.
    pub min_version: TlsVersion,
    /// How often the files are looked at for a change.
    pub reload_interval: Duration,
    /// Time for a client's part of the handshake.
    pub handshake_timeout: Duration,
}

/// Which certificates clients present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// PEM file of the authorities that sign them.
    pub ca: PathBuf,
    /// Whether a client without one is let in.
    pub auth: ClientAuth,
}

/// Whether clients must present a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// A client without one is refused.
    Required,
    /// A client may come without one. One that is presented must be right.
    Optional,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// Whose word is taken for it that an upstream is who it says it is.
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
