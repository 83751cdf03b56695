//! TLS of a client's connection: the handshake within its time, and the client's certificate.
//!
//! A handshake uses the certificate that is current when it begins. One that fails or takes too
//! long costs its connection and nothing else.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::IntCounterVec;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::auth::{ClientCertificate, UnreadableCertificate};
use crate::config::{self, ClientAuth, TlsMaterial, TlsVersion};
use crate::system::time::timeout;
use crate::telemetry::in_words;

/// What is offered, best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How handshakes are made, and what a new one is made with.
#[derive(Clone, Debug)]
pub(super) struct Acceptor {
    current: Arc<ArcSwap<ServerConfig>>,
    limit: Duration,
    failures: IntCounterVec,
}

/// Why files that are right in themselves make no TLS.
#[derive(Debug, thiserror::Error)]
pub enum UnusableTls {
    /// The versions or the key do not go with the cryptography.
    #[error("{}", config::tls_in_words(.0))]
    Rustls(#[from] rustls::Error),
    /// Clients can't be checked against the authorities.
    #[error("the client authorities can't be used: {0}")]
    Verifier(#[from] VerifierBuilderError),
}

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("no TLS handshake within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    #[error("TLS handshake: {}", in_words(.0))]
    Refused(#[from] std::io::Error),
    #[error(transparent)]
    Unreadable(#[from] UnreadableCertificate),
}

impl Acceptor {
    /// Makes handshakes with what `current` holds at their time.
    pub(super) fn new(
        current: Arc<ArcSwap<ServerConfig>>,
        limit: Duration,
        failures: IntCounterVec,
    ) -> Acceptor {
        Acceptor { current, limit, failures }
    }

    /// Makes the handshake of one connection, and returns the client's certificate.
    pub(super) async fn accept(
        &self,
        socket: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Option<Arc<ClientCertificate>>), HandshakeError> {
        let handshake = TlsAcceptor::from(self.current.load_full()).accept(socket);
        let made = match timeout(self.limit, handshake).await {
            Ok(made) => made.map_err(HandshakeError::from).and_then(|stream| {
                let (_, session) = stream.get_ref();
                let shown = session.peer_certificates().and_then(<[_]>::first);
                let certificate = shown.map(|der| ClientCertificate::read(der)).transpose()?;
                Ok((stream, certificate.map(Arc::new)))
            }),
            Err(_) => Err(HandshakeError::Timeout(self.limit)),
        };
        if let Err(error) = &made {
            let reason = match error {
                HandshakeError::Timeout(_) => "timeout",
                HandshakeError::Refused(_) | HandshakeError::Unreadable(_) => "refused",
            };
            self.failures.with_label_values(&[reason]).inc();
        }
        made
    }
}

/// What handshakes are made with, from a config and what its files hold.
pub(super) fn server_config(
    tls: &config::Tls,
    material: TlsMaterial,
) -> Result<ServerConfig, UnusableTls> {
    let versions = match tls.min_version {
        TlsVersion::V1_2 => &[&TLS13, &TLS12][..],
        TlsVersion::V1_3 => &[&TLS13][..],
    };
    let builder =
        ServerConfig::builder_with_provider(config::crypto()).with_protocol_versions(versions)?;
    let builder = match &tls.clients {
        Some(clients) => {
            // Without authorities no client could connect, so the verifier can't be built.
            let roots = material.client_roots.unwrap_or_else(RootCertStore::empty);
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots.into(), config::crypto());
            builder.with_client_cert_verifier(match clients.auth {
                ClientAuth::Required => verifier.build()?,
                ClientAuth::Optional => verifier.allow_unauthenticated().build()?,
            })
        }
        None => builder.with_no_client_auth(),
    };
    let resolver = rustls::sign::SingleCertAndKey::from(material.certified.key);
    let mut made = builder.with_cert_resolver(Arc::new(resolver));
    made.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(made)
}
