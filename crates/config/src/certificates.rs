//! The contents of certificate files, and whether they fit together.
//!
//! Owns the reading of PEM files: when the config is loaded, and each time the files of the
//! listener are checked again. The results are valid: chains are not empty, and a key belongs to its
//! certificate. No message repeats the content of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use secrecy::{ExposeSecret, SecretSlice};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files;
use super::model::Tls;
use super::tls_error::in_words;

/// Largest certificate file, in bytes. The public authorities together are about 250 KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What is wrong with a certificate file.
#[derive(Debug, thiserror::Error)]
#[error("the file '{}' {why}", file.display())]
pub struct CertificateError {
    file: PathBuf,
    why: String,
}

impl CertificateError {
    /// The file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

/// A certificate file that was read and not parsed.
#[derive(Debug)]
pub(super) struct PemFile {
    path: PathBuf,
    content: SecretSlice<u8>,
}

impl PemFile {
    /// Reads a file. Blocks.
    pub(super) fn read(path: &Path) -> Result<PemFile, CertificateError> {
        match files::read_bytes(path, MAX_FILE_BYTES) {
            Ok(content) => Ok(PemFile { path: path.to_owned(), content: content.into() }),
            Err(why) => Err(CertificateError {
                file: path.to_owned(),
                why: format!("can't be read: {why}"),
            }),
        }
    }

    /// The certificates in it, in their order; at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
        let content = self.content.expose_secret();
        let found = CertificateDer::pem_slice_iter(content).collect::<Result<Vec<_>, _>>();
        let found = found.map_err(|error| self.wrong(format!("is not right PEM: {error}")))?;
        if found.is_empty() {
            return Err(self.wrong("holds no certificate in PEM form"));
        }
        Ok(found)
    }

    /// The first certificate in it.
    pub(super) fn leaf(&self) -> Result<CertificateDer<'static>, CertificateError> {
        let first = self.certificates()?.into_iter().next();
        first.ok_or_else(|| self.wrong("holds no certificate in PEM form"))
    }

    /// Those of its certificates that are right PEM; there may be none.
    pub(super) fn readable(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.content.expose_secret())
            .filter_map(Result::ok)
            .collect()
    }

    /// The first private key in it.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, CertificateError> {
        PrivateKeyDer::from_pem_slice(self.content.expose_secret()).map_err(|_| {
            self.wrong("holds no private key in PEM form; one that is encrypted can't be used")
        })
    }

    /// Its certificates, as authorities that others are checked against.
    pub(super) fn roots(&self) -> Result<RootCertStore, CertificateError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| {
                self.wrong(format!("holds a bad authority: {}", in_words(&error)))
            })?;
        }
        Ok(roots)
    }

    fn wrong(&self, why: impl Into<String>) -> CertificateError {
        CertificateError { file: self.path.clone(), why: why.into() }
    }
}

/// A certificate with the key that belongs to it.
#[derive(Clone, Debug)]
pub struct Certified {
    /// Chain and key.
    pub key: Arc<CertifiedKey>,
    /// From when on the certificate is valid.
    pub not_before: SystemTime,
    /// Until when it is.
    pub not_after: SystemTime,
}

impl Certified {
    /// Puts a chain and a key together.
    pub(super) fn new(cert: &PemFile, key: &PemFile) -> Result<Certified, CertificateError> {
        let chain = cert.certificates()?;
        let leaf = chain.first().map(|leaf| X509Certificate::from_der(leaf));
        let Some(Ok((_, leaf))) = leaf else {
            return Err(cert.wrong("holds a certificate that can't be read"));
        };
        let validity = leaf.validity();
        let (not_before, not_after) = (validity.not_before, validity.not_after);
        let at = |time: x509_parser::time::ASN1Time| {
            let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        let certified = CertifiedKey::from_der(chain, key.key()?, &aws_lc_rs::default_provider());
        let certified = certified.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                key.wrong(format!("is not the key of the certificate in '{}'", cert.path.display()))
            }
            other => key.wrong(format!("holds a key that can't be used: {}", in_words(&other))),
        })?;
        Ok(Certified {
            key: Arc::new(certified),
            not_before: at(not_before),
            not_after: at(not_after),
        })
    }
}

/// The files of the listener's TLS, as they are at one time.
#[derive(Debug)]
pub struct TlsFiles {
    cert: PemFile,
    key: PemFile,
    client_ca: Option<PemFile>,
}

/// The certificate and the authorities in the files of the listener's TLS.
#[derive(Clone, Debug)]
pub struct TlsMaterial {
    /// The gateway's certificate.
    pub certified: Certified,
    /// The authorities that sign clients' certificates; `Some` exactly if the config has `clients`.
    pub client_roots: Option<RootCertStore>,
}

impl TlsFiles {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// When one of them can't be read, or is too large.
    pub fn read(tls: &Tls) -> Result<TlsFiles, CertificateError> {
        Ok(TlsFiles {
            cert: PemFile::read(&tls.cert)?,
            key: PemFile::read(&tls.key)?,
            client_ca: tls
                .clients
                .as_ref()
                .map(|clients| PemFile::read(&clients.ca))
                .transpose()?,
        })
    }

    /// A digest of their contents, to detect a change.
    pub fn fingerprint(&self) -> [u8; SHA256_OUTPUT_LEN] {
        let mut digest = Context::new(&SHA256);
        for file in [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()] {
            let content = file.map_or(&[][..], |file| file.content.expose_secret());
            digest.update(&(content.len() as u64).to_be_bytes());
            digest.update(content);
        }
        let mut fingerprint = [0; SHA256_OUTPUT_LEN];
        for (byte, digested) in fingerprint.iter_mut().zip(digest.finish().as_ref()) {
            *byte = *digested;
        }
        fingerprint
    }

    /// Parses them.
    ///
    /// # Errors
    /// When one of them does not hold what it should, or the key is not the certificate's.
    pub fn material(&self) -> Result<TlsMaterial, CertificateError> {
        Ok(TlsMaterial {
            certified: Certified::new(&self.cert, &self.key)?,
            client_roots: self.client_ca.as_ref().map(PemFile::roots).transpose()?,
        })
    }
}

/// The certificate authorities that the system has installed, or that `SSL_CERT_FILE` or `SSL_CERT_DIR`
/// of this process name, as far as they can be read. Blocks.
pub fn system_authorities() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// The one cryptography of the gateway.
pub fn crypto() -> Arc<CryptoProvider> {
    static CRYPTO: std::sync::LazyLock<Arc<CryptoProvider>> =
        std::sync::LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&CRYPTO)
}
