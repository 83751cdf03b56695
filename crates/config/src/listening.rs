//! What commands must know of a config to call its gateway from outside: addresses, and the admin key.
//!
//! The gateway runs on when the rest of the config has become invalid, and the secrets of the gateway
//! are not in the shell of its operator. So nothing else is checked here.

use std::net::SocketAddr;
use std::path::PathBuf;

use rustls::pki_types::CertificateDer;
use serde::Deserialize;

use super::certificates::{CertificateError, PemFile};
use super::document::KeyPath;
use super::error::{ConfigError, Problem};
use super::model::{ClientAuth, Server, Tls};
use super::reference::read_reference;
use super::secret::Secret;
use super::{Draft, Env, Source, files, in_order};

/// Where a running gateway listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Address of the Bedrock API.
    pub listen: SocketAddr,
    /// Address of health, metrics and status.
    pub admin_listen: SocketAddr,
    /// Whether the listener of the Bedrock API speaks TLS.
    pub tls: bool,
    /// Whether it accepts only clients with a certificate.
    pub wants_certificates: bool,
}

/// The admin listener of a running gateway, for commands that call it.
#[derive(Clone, Debug)]
pub struct AdminListener {
    /// Its address.
    pub address: SocketAddr,
    /// Its TLS, if it speaks it, because it is that of the Bedrock API.
    pub tls: Option<AdminTls>,
    /// The admin key, if the config has one.
    pub key: Option<Secret>,
    /// The file that the gateway keeps a generated admin key in, if the config names one.
    pub key_file: Option<PathBuf>,
}

/// The TLS of an admin listener.
#[derive(Clone, Debug)]
pub struct AdminTls {
    /// The file of its certificate.
    pub cert: PathBuf,
    /// Whether it accepts only clients with a certificate.
    pub wants_certificates: bool,
}

impl AdminTls {
    /// The certificate. Blocks.
    ///
    /// # Errors
    /// When the file can't be read, or holds no certificate.
    pub fn certificate(&self) -> Result<CertificateDer<'static>, CertificateError> {
        PemFile::read(&self.cert)?.leaf()
    }
}

impl Listening {
    /// Reads the addresses and nothing else.
    ///
    /// # Errors
    /// When the file cannot be read, or one of the addresses is wrong.
    pub fn load(source: &Source, env: &Env) -> Result<Listening, ConfigError> {
        let server = server(&mut source.draft(env)?)?;
        Ok(Listening::of(&server))
    }

    fn of(server: &Server) -> Listening {
        Listening {
            listen: server.listen,
            admin_listen: server.admin_listen,
            tls: server.tls.is_some(),
            wants_certificates: server.tls.as_ref().is_some_and(wants_certificates),
        }
    }
}

fn wants_certificates(tls: &Tls) -> bool {
    tls.clients.as_ref().is_some_and(|clients| clients.auth == ClientAuth::Required)
}

impl AdminListener {
    /// Reads the address and, if `wants_key`, the admin key, and nothing else.
    ///
    /// # Errors
    /// When the file cannot be read, one of the addresses is wrong, or the admin key can't be read.
    pub fn load(source: &Source, env: &Env, wants_key: bool) -> Result<AdminListener, ConfigError> {
        let mut draft = source.draft(env)?;
        let server = server(&mut draft)?;
        let at = KeyPath::from(["server", "admin_key"]);
        let reference = draft.document.get(&at).and_then(toml::Value::as_str);
        let key = match reference.filter(|_| wants_key) {
            Some(reference) => Some(
                read_reference(reference, env, draft.base)
                    .unwrap_or_else(|| Err(super::reference::LITERAL.to_owned()))
                    .map_err(|why| in_order(vec![draft.document.problem(&at, why)]))?,
            ),
            None => None,
        };
        Ok(AdminListener {
            address: server.admin_listen,
            tls: server.tls.filter(|_| server.listen == server.admin_listen).map(|tls| AdminTls {
                cert: files::resolve(draft.base, &tls.cert),
                wants_certificates: wants_certificates(&tls),
            }),
            key: key.map(Secret::from),
            key_file: server.admin_key_file.map(|file| files::resolve(draft.base, &file)),
        })
    }
}

/// The section of the listeners, without its secrets.
fn server(draft: &mut Draft<'_>) -> Result<Server, ConfigError> {
    let addresses = ["server.listen", "server.admin_listen"];
    let is_of_address = |problem: &Problem| addresses.contains(&problem.path.as_str());
    let problems: Vec<Problem> = draft.problems.drain(..).filter(is_of_address).collect();
    if !problems.is_empty() {
        return Err(in_order(problems));
    }
    let at = KeyPath::from(["server"]);
    match draft.document.get(&at) {
        Some(server) => Server::deserialize(server.clone())
            .map_err(|error| in_order(vec![draft.document.problem(&at, error.message())])),
        None => Ok(Server::default()),
    }
}
