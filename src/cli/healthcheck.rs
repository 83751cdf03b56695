//! `sluice healthcheck`: checks a running gateway, for images without curl.
//!
//! Health may share a port with the API and its TLS. The certificate is not verified then: the
//! connection stays on this machine, and the request carries no secret.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::HOST;
use http_body_util::Full;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ask::{BoxError, Stream, ask};
use super::{ConfigFile, reachable, runtime};
use crate::config::{self, Env, Listening};
use crate::system::time::timeout;

const LIMIT: Duration = Duration::from_secs(3);

/// Arguments of `sluice healthcheck`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Check whether it is ready for traffic, not only whether it is alive.
    #[arg(long)]
    ready: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), String> {
    let listening = Listening::load(&arguments.config.source(), &Env::of_process())
        .map_err(|error| error.to_string())?;
    let address = reachable(listening.admin_listen);
    let path = if arguments.ready { "/readyz" } else { "/healthz" };
    let tls = by_tls(&listening).then(trusting).transpose()?;
    if tls.is_some() && listening.wants_certificates && arguments.ready {
        return Err(format!(
            "{address} requires a client certificate; set admin_listen to a separate port to check \
             for readiness"
        ));
    }
    runtime(Some(1))?.block_on(async {
        let asked = async {
            let socket = TcpStream::connect(address).await?;
            let Some(tls) = tls else { return get(Stream::Left(socket), address, path).await };
            let connector = TlsConnector::from(Arc::new(tls));
            let stream = connector.connect(address.ip().into(), socket).await?;
            // The gateway is alive, but requires a client certificate for a request.
            if listening.wants_certificates {
                return Ok(());
            }
            get(Stream::Right(Box::new(stream)), address, path).await
        };
        match timeout(LIMIT, asked).await {
            Ok(asked) => asked.map_err(|error| format!("{address} does not answer: {error}")),
            Err(_) => Err(format!("{address} does not answer within {LIMIT:?}")),
        }
    })
}

/// Asks for a path on a connection; an answer that is no success is an error too.
async fn get(stream: Stream, address: SocketAddr, path: &str) -> Result<(), BoxError> {
    let request = Request::get(path).header(HOST, address.to_string());
    let status = ask(stream, request.body(Full::<Bytes>::default())?).await?.status();
    if status.is_success() { Ok(()) } else { Err(format!("{path} answered {status}").into()) }
}

/// The listener of health speaks TLS only where it is that of the API.
fn by_tls(listening: &Listening) -> bool {
    listening.tls && listening.listen == listening.admin_listen
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
