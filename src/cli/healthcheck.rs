//! `sluice healthcheck`: asks a running gateway for its health, for images without curl.
//!
//! Where health shares a port with the API it may have to be asked by TLS. Whose certificate is
//! shown does not matter then: it is this machine that is asked, and nothing is told to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::time::timeout;

use super::{ConfigFile, runtime};
use crate::config::{self, Env, Listening};

const LIMIT: Duration = Duration::from_secs(3);

/// Arguments of `sluice healthcheck`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Ask whether it is ready for traffic, not just alive.
    #[arg(long)]
    ready: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), String> {
    let listening = Listening::load(&arguments.config.source(), &Env::of_process())
        .map_err(|error| error.to_string())?;
    let address = reachable(listening.admin_listen);
    let path = if arguments.ready { "readyz" } else { "healthz" };
    let scheme = if by_tls(&listening) { "https" } else { "http" };
    let uri: http::Uri = format!("{scheme}://{address}/{path}")
        .parse()
        .map_err(|error| format!("{address} makes no URL: {error}"))?;
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(trusting()?)
        .https_or_http()
        .enable_http1()
        .build();
    runtime(Some(1))?.block_on(async {
        let client: Client<_, Empty<Bytes>> =
            Client::builder(TokioExecutor::new()).build(connector);
        match timeout(LIMIT, client.get(uri)).await {
            Ok(Ok(response)) if response.status().is_success() => Ok(()),
            Ok(Ok(response)) => Err(format!("{address}/{path} says {}", response.status())),
            // It lives, and tells no more to who has no certificate.
            Ok(Err(error)) if wants_certificate(&error) && !arguments.ready => Ok(()),
            Ok(Err(error)) if wants_certificate(&error) => Err(format!(
                "{address} answers nobody without a certificate; give admin_listen a port of its \
                 own to ask whether it is ready"
            )),
            Ok(Err(error)) => Err(format!("{address} does not answer: {error}")),
            Err(_) => Err(format!("{address} does not answer within {LIMIT:?}")),
        }
    })
}

/// The listener of health speaks TLS only where it is that of the API.
fn by_tls(listening: &Listening) -> bool {
    listening.tls && listening.listen == listening.admin_listen
}

/// A listener on every address is asked on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Whether the other side broke off for want of a client's certificate.
fn wants_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // An I/O error hides the one it was made of from its own sources.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = match inner {
            Some(inner) if inner.is::<std::io::Error>() => return wants_certificate(inner),
            Some(inner) => inner.downcast_ref(),
            None => error.downcast_ref(),
        };
        if let Some(rustls::Error::AlertReceived(alert)) = tls {
            return *alert == AlertDescription::CertificateRequired;
        }
        cause = error.source();
    }
    false
}

fn trusting() -> Result<ClientConfig, String> {
    let crypto = config::crypto();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&crypto))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let verifier = Arc::new(Anybody { crypto });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Takes any certificate whose key the other side has.
#[derive(Debug)]
struct Anybody {
    crypto: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.crypto.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.crypto.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.crypto.signature_verification_algorithms.supported_schemes()
    }
}
