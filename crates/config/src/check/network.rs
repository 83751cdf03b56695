//! TLS of the listener, and whom and what the way to the upstream goes through.

use std::path::Path;
use std::time::SystemTime;

use http::HeaderName;
use rustls::pki_types::CertificateDer;

use super::Checker;
use crate::certificates::{CertificateError, Certified, PemFile};
use crate::document::KeyPath;
use crate::endpoint::Endpoint;
use crate::model::{ClientCertificates, Proxies, Tls, Trust, Upstream};
use crate::raw::{RawTrust, RawUpstream};
use crate::reference::{Scope, is_reference};
use crate::{files, proxy};

impl Checker<'_> {
    /// TLS of the listener. What the files hold is looked at, and forgotten again.
    pub(super) fn tls(&mut self, at: &KeyPath, raw: &Tls) -> Tls {
        let tls = Tls {
            cert: files::resolve(self.base, &raw.cert),
            key: files::resolve(self.base, &raw.key),
            clients: raw.clients.as_ref().map(|clients| ClientCertificates {
                ca: files::resolve(self.base, &clients.ca),
                auth: clients.auth,
            }),
            ..raw.clone()
        };
        self.needs_beside(at, "client_auth", "client_ca");
        if self.scope == Scope::Syntax {
            return tls;
        }
        let is_given = [&raw.cert, &raw.key].iter().all(|path| !path.as_os_str().is_empty());
        if is_given {
            self.pair(at, &tls);
        }
        if let Some(clients) = &tls.clients {
            let roots = PemFile::read(&clients.ca).and_then(|file| file.roots().map(drop));
            self.right(&at.key("client_ca"), roots);
        }
        tls
    }

    fn pair(&mut self, at: &KeyPath, tls: &Tls) {
        let cert = self.right(&at.key("cert"), PemFile::read(&tls.cert));
        let key = self.right(&at.key("key"), PemFile::read(&tls.key));
        let (Some(cert), Some(key)) = (cert, key) else { return };
        match Certified::new(&cert, &key) {
            Ok(certified) => self.validity(&certified, &tls.cert),
            Err(error) => {
                // One file may hold both.
                let of = if error.file() == tls.key { "key" } else { "cert" };
                self.problem(&at.key(of), error);
            }
        }
    }

    fn validity(&mut self, certified: &Certified, file: &Path) {
        let now = SystemTime::now();
        let day = |time: SystemTime| humantime::format_rfc3339_seconds(time);
        let file = file.display();
        if certified.not_after <= now {
            let day = day(certified.not_after);
            self.warnings.push(format!("the certificate in '{file}' has expired on {day}"));
        } else if certified.not_before > now {
            let day = day(certified.not_before);
            self.warnings.push(format!("the certificate in '{file}' is not valid before {day}"));
        }
    }

    /// Whom the upstream's certificates are checked against.
    pub(super) fn trust(&mut self, at: &KeyPath, raw: &RawUpstream) -> Trust {
        let mut authorities = Vec::new();
        let reads = self.scope == Scope::Whole;
        if let Some(path) = raw.ca_file.as_ref().filter(|_| reads) {
            let file = PemFile::read(&files::resolve(self.base, path));
            let file = file.and_then(|file| file.roots().and_then(|_| file.certificates()));
            authorities = self.right(&at.key("ca_file"), file).unwrap_or_default();
        }
        match raw.trust {
            RawTrust::Webpki => {}
            RawTrust::Platform if !reads => {}
            RawTrust::Platform => {
                let (found, unread) = self.platform();
                if found.is_empty() {
                    let hint = unread.map_or_else(
                        || "SSL_CERT_FILE names a file of them".to_owned(),
                        |error| format!("SSL_CERT_FILE: {error}"),
                    );
                    let what = "the system has no certificate authorities installed";
                    self.problem(&at.key("trust"), format!("{what}; {hint}"));
                }
                authorities.extend(found);
            }
            RawTrust::File => self.needs_beside(at, "trust", "ca_file"),
        }
        Trust { webpki: raw.trust == RawTrust::Webpki, authorities }
    }

    /// The authorities that the system has installed. `SSL_CERT_FILE` and `SSL_CERT_DIR` name where
    /// they are, if not in the usual places. Single files that can't be read are usual there, and no
    /// reason to stop; that of `SSL_CERT_FILE` is reported.
    fn platform(&self) -> (Vec<CertificateDer<'static>>, Option<CertificateError>) {
        let (file, dir) = (self.env.get("SSL_CERT_FILE"), self.env.get("SSL_CERT_DIR"));
        if file.is_none() && dir.is_none() {
            return (rustls_native_certs::load_native_certs().certs, None);
        }
        let file = file.map(|file| PemFile::read(Path::new(file))).transpose();
        let (file, unread) = file.map_or_else(|error| (None, Some(error)), |file| (file, None));
        let entries = dir.and_then(|dir| std::fs::read_dir(dir).ok()).into_iter().flatten();
        let in_dir = entries.filter_map(|entry| PemFile::read(&entry.ok()?.path()).ok());
        let mut found: Vec<_> =
            file.into_iter().chain(in_dir).flat_map(|it| it.readable()).collect();
        // A folder of them has each by several names.
        found.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
        found.dedup();
        (found, unread)
    }

    /// The proxies on the way to the upstream.
    pub(super) fn proxies(&mut self, at: &KeyPath, raw: &RawUpstream) -> Proxies {
        let at = at.key("proxy");
        if self.scope == Scope::Syntax && is_reference(raw.proxy.expose()) {
            return Proxies::default();
        }
        let own = |message: &str| self.document.problem(&at, message);
        proxy::read(raw.proxy.expose(), self.env, self.base, own).unwrap_or_else(|problems| {
            self.problems.extend(problems);
            Proxies::default()
        })
    }

    /// Where calls of the control plane go, if they are relayed. Where the runtime has an endpoint of its
    /// own, such as a simulator, the public one of the control plane is hardly what is meant.
    pub(super) fn control_plane(&mut self, at: &KeyPath, raw: &RawUpstream) -> Option<Endpoint> {
        if !raw.control_plane {
            return None;
        }
        if raw.endpoint_url.is_some() && !self.document.mentions(at) {
            let message = "is needed where 'control_plane' is on and 'endpoint_url' is given";
            self.problem(at, message);
        }
        let Upstream { region, use_fips, control_plane_endpoint_url, .. } = &raw.upstream;
        let public = || Endpoint::of_control_plane(region, *use_fips).ok();
        control_plane_endpoint_url.clone().or_else(public)
    }

    /// The clients' headers that upstreams get beside those that Bedrock knows.
    pub(super) fn forward_headers(&mut self, at: &KeyPath, names: &[String]) -> Vec<HeaderName> {
        let names = names.iter().enumerate().filter_map(|(index, text)| {
            let name = text.parse::<HeaderName>().ok();
            if name.is_none() {
                let message = format!("'{text}' is not the name of a header");
                self.problem(&at.index(index), message);
            }
            name.filter(|name| {
                let is_kept = is_never_forwarded(name.as_str());
                if is_kept {
                    let message = format!(
                        "'{name}' is never sent to upstreams: it is about the connection, the way \
                         or the proof of a client, or the gateway writes it itself"
                    );
                    self.problem(&at.index(index), message);
                }
                !is_kept
            })
        });
        names.collect()
    }

    fn right<T>(&mut self, at: &KeyPath, found: Result<T, CertificateError>) -> Option<T> {
        found.map_err(|error| self.problem(at, error)).ok()
    }
}

/// Whether a header of clients never reaches an upstream, also if configured: it concerns the client's
/// connection, its proxies or its credentials, or the gateway writes it.
fn is_never_forwarded(name: &str) -> bool {
    match name {
        "connection" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade" => true,
        "authorization" | "x-api-key" | "api-key" | "cookie" => true,
        "host" | "content-length" | "expect" => true,
        "accept-encoding" | "content-encoding" => true,
        "x-amz-date" | "x-amz-security-token" | "x-amz-content-sha256" => true,
        "forwarded" | "via" | "x-real-ip" => true,
        _ => ["proxy-", "x-forwarded-", "x-sluice-"].iter().any(|start| name.starts_with(start)),
    }
}
