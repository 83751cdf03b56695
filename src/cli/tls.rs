//! TLS of the commands that ask a gateway: which certificates they accept.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::config;

/// The certificates that a command accepts.
#[derive(Clone, Debug)]
pub(super) enum Accepted {
    /// Any. For a request that carries no secret and does not leave the machine.
    Any,
    /// This one, for whatever name: that of a gateway whose config is at hand.
    Only(CertificateDer<'static>),
    /// Those of the public authorities and of the authorities that the system has installed, or that
    /// `SSL_CERT_FILE` or `SSL_CERT_DIR` name, for the host in the URL.
    Trusted,
}

/// A TLS client that accepts these certificates.
///
/// # Errors
/// When the cryptography of this build is not usable.
pub(super) fn client(accepted: Accepted) -> Result<ClientConfig, String> {
    let crypto = config::crypto();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&crypto))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let wanted = match accepted {
        Accepted::Trusted => {
            let mut roots = RootCertStore::empty();
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            // Some of the system's may be unusable.
            roots.add_parsable_certificates(config::system_authorities());
            return Ok(builder.with_root_certificates(roots).with_no_client_auth());
        }
        Accepted::Only(certificate) => Some(certificate),
        Accepted::Any => None,
    };
    let verifier = Arc::new(Verifier { crypto, wanted });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Takes the certificate that is wanted, or any, if the other side has its key.
#[derive(Debug)]
struct Verifier {
    crypto: Arc<CryptoProvider>,
    wanted: Option<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.wanted.as_ref().is_some_and(|wanted| wanted != shown) {
            let problem = "this is not the certificate that the config names";
            return Err(rustls::Error::General(problem.to_owned()));
        }
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
