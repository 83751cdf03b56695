//! A certificate authority for the tests, and its certificates as files.

use std::path::{Path, PathBuf};

use super::leaks;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

/// The names that every server certificate is for.
const NAMES: [&str; 2] = ["localhost", "bedrock.test"];

/// The addresses that every server certificate is for. The last one reaches this machine, too, but is not
/// a loopback address.
const ADDRESSES: [[u8; 4]; 2] = [[127, 0, 0, 1], [0, 0, 0, 0]];

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: TempDir,
}

/// A certificate and its key, in a folder that exists as long as the authority.
#[derive(Debug)]
pub struct Issued {
    folder: PathBuf,
}

impl Authority {
    /// A new authority.
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Tests");
        // The SDKs' clients want it spelled out.
        params.key_usages =
            vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("ca.crt"), issuer.pem()).unwrap();
        Authority { issuer, files }
    }

    /// The authority's own certificate.
    pub fn file(&self) -> PathBuf {
        self.files.path().join("ca.crt")
    }

    /// The same as text, for configs.
    pub fn path(&self) -> String {
        self.file().display().to_string()
    }

    /// A store that trusts this authority alone.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    /// A server's certificate.
    pub fn server(&self) -> Issued {
        let mut params = CertificateParams::new(NAMES.map(str::to_owned)).unwrap();
        let addresses = ADDRESSES.map(|address| SanType::IpAddress(address.into()));
        params.subject_alt_names.extend(addresses);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// A server's certificate that expired in 2020.
    pub fn expired_server(&self) -> Issued {
        let mut params = CertificateParams::new(NAMES.map(str::to_owned)).unwrap();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        self.sign(params)
    }

    /// A certificate of an authority, which signs itself and which a server shows as its own.
    pub fn self_signed(&self) -> Issued {
        let mut params = CertificateParams::new(NAMES.map(str::to_owned)).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        self.keep(&certificate.pem(), &key)
    }

    /// A client's certificate for this common name.
    pub fn client(&self, name: &str) -> Issued {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Issued {
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.keep(&certificate.pem(), &key)
    }

    fn keep(&self, certificate: &str, key: &KeyPair) -> Issued {
        let folder = tempfile::tempdir_in(self.files.path()).unwrap().keep();
        std::fs::write(folder.join("tls.crt"), certificate).unwrap();
        std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
        Issued { folder }
    }
}

impl Issued {
    /// The folder with `tls.crt` and `tls.key`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of the certificate.
    pub fn cert(&self) -> String {
        self.folder().join("tls.crt").display().to_string()
    }

    /// The file of its key.
    pub fn key(&self) -> String {
        let file = self.folder().join("tls.key");
        leaks::key_file(&std::fs::read_to_string(&file).unwrap());
        file.display().to_string()
    }

    /// The certificate itself.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.cert()).unwrap()
    }

    /// The key itself.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(self.key()).unwrap()
    }

    /// Copies both files into a folder, and replaces existing ones.
    pub fn copy_to(&self, folder: &Path) {
        for file in ["tls.crt", "tls.key"] {
            std::fs::copy(self.folder().join(file), folder.join(file)).unwrap();
        }
    }
}
