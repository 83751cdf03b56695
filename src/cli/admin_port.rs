//! An HTTP/1.1 client of a gateway's admin port, for the commands of an operator.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::uri::Scheme;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ask::{Stream, ask};
use super::tls::{self, Accepted};
use super::{ConfigFile, reachable};
use crate::config::{AdminListener, AdminTls, Env, Secret, is_plain_port, secret_named};
use crate::system::time::timeout;
use crate::telemetry::in_words;

/// Longest time of one request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time of a reload, which reads files and checks a whole config.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// The variable with the admin key. A command line is visible to other users of the machine.
const KEY_VARIABLE: &str = "SLUICE_ADMIN_KEY";

/// The largest response body that is read, in bytes. Some thousands of targets fit.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// Why a request to the admin port failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminPortError {
    /// The key can't be sent.
    #[error("the admin key has a character that is not allowed in a header")]
    Key,
    /// No connection, or the connection broke.
    #[error("{url} does not answer: {problem}")]
    Unreachable { url: String, problem: String },
    /// The gateway refused the request, for this reason.
    #[error("{status}: {message}")]
    Refused { status: StatusCode, message: String },
    /// The response is not that of a gateway of this version.
    #[error("unexpected response from {url}: {problem}")]
    UnexpectedResponse { url: String, problem: String },
}

/// Checks the URL of an admin port: its scheme and authority, and no path.
fn base(text: &str) -> Result<String, String> {
    let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
    let is_known = [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&uri.scheme());
    if !is_known || uri.authority().is_none() {
        return Err("not an http or https URL, such as http://127.0.0.1:9090".to_owned());
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err("the URL must end with the port, without a path or a query".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Where the admin port is, and the key for it.
#[derive(Debug, clap::Args)]
pub(super) struct AdminPortArguments {
    #[command(flatten)]
    config: ConfigFile,
    /// URL of the admin port, such as http://127.0.0.1:9090. Default: the one in the config. For
    /// https, SSL_CERT_FILE may name the authority of its certificate. The admin key comes from --admin-key, SLUICE_ADMIN_KEY or the config.
    #[arg(long, value_parser = base)]
    url: Option<String>,
    /// Where the admin key is: env:NAME or file:PATH.
    #[arg(long, value_name = "REFERENCE")]
    admin_key: Option<String>,
}

impl AdminPortArguments {
    /// The config that names the admin port.
    pub(super) fn into_config(self) -> ConfigFile {
        self.config
    }

    /// The client of the admin port. Of the config only the address and the admin key are read, and
    /// only if the arguments and the environment do not name them.
    ///
    /// # Errors
    /// When the config can't be read, or the key can't be read or sent.
    pub(super) fn connect(self) -> Result<AdminPort, String> {
        let env = Env::of_process();
        let key = match &self.admin_key {
            Some(reference) => {
                let key = secret_named(reference, &env);
                Some(key.map_err(|why| format!("--admin-key {why}"))?)
            }
            None => env.get(KEY_VARIABLE).map(Secret::from),
        };
        let (url, accepted, key) = match self.url {
            Some(url) => {
                let is_tls = url.starts_with("https:");
                (url, is_tls.then_some(Accepted::Trusted), key)
            }
            None => {
                let listener = AdminListener::load(&self.config.source(), &env, key.is_none());
                let listener = listener.map_err(|error| error.to_string())?;
                let accepted = listener.tls.as_ref().map(accepted).transpose()?;
                let scheme = if accepted.is_some() { "https" } else { "http" };
                let url = format!("{scheme}://{}", reachable(listener.address));
                (url, accepted, key.or(listener.key))
            }
        };
        let tls = accepted.map(tls::client).transpose()?;
        let key = key.as_ref().map(Secret::expose);
        AdminPort::new(url, key, tls).map_err(|error| error.to_string())
    }
}

/// The certificate of the config. The port is on this machine, whatever name its certificate is for.
fn accepted(tls: &AdminTls) -> Result<Accepted, String> {
    if tls.wants_certificates {
        return Err(
            "the admin port of this config requires a client certificate, which this command \
                    does not have; give admin_listen a port of its own"
                .to_owned(),
        );
    }
    tls.certificate().map(Accepted::Only).map_err(|error| error.to_string())
}

/// An operator's action on a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetAction {
    Reset,
    Drain,
    Resume,
}

impl TargetAction {
    /// The action's name in the admin API.
    fn path(self) -> &'static str {
        match self {
            TargetAction::Reset => "reset",
            TargetAction::Drain => "drain",
            TargetAction::Resume => "resume",
        }
    }

    fn done(self) -> &'static str {
        match self {
            TargetAction::Reset => "cooldown reset",
            TargetAction::Drain => "drained",
            TargetAction::Resume => "back in traffic",
        }
    }
}

/// The result of a reload.
#[derive(Debug, Deserialize)]
pub(super) struct Reloaded {
    pub(super) warnings: Vec<String>,
    /// The keys that have changed and take effect after a restart.
    pub(super) restart_needed: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct AdminPort {
    url: String,
    key: Option<HeaderValue>,
    /// For https.
    tls: Option<Arc<ClientConfig>>,
}

impl AdminPort {
    /// # Errors
    /// If the key can't be sent in a header.
    fn new(
        url: String,
        key: Option<&str>,
        tls: Option<ClientConfig>,
    ) -> Result<AdminPort, AdminPortError> {
        let header = |key: &str| {
            let value =
                HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| AdminPortError::Key);
            value.map(|mut value| {
                value.set_sensitive(true);
                value
            })
        };
        let key = key.map(header).transpose()?;
        Ok(AdminPort { url, key, tls: tls.map(Arc::new) })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The JSON document at a path.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AdminPortError> {
        let body = self.request(Method::GET, path, TIMEOUT).await?;
        serde_json::from_slice(&body).map_err(|error| self.unexpected(&error))
    }

    /// Makes the gateway load its config again, as SIGHUP does.
    pub(super) async fn reload(&self) -> Result<Reloaded, AdminPortError> {
        let body = self.request(Method::POST, "/admin/reload", RELOAD_TIMEOUT).await?;
        serde_json::from_slice(&body).map_err(|error| self.unexpected(&error))
    }

    /// Applies an action to a target, and returns a sentence with the result.
    pub(super) async fn act(
        &self,
        action: TargetAction,
        target: &str,
    ) -> Result<String, AdminPortError> {
        let name = utf8_percent_encode(target, NON_ALPHANUMERIC);
        let path = format!("/admin/targets/{name}/{}", action.path());
        self.request(Method::POST, &path, TIMEOUT).await?;
        Ok(format!("{target}: {}", action.done()))
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        limit: Duration,
    ) -> Result<Bytes, AdminPortError> {
        match timeout(limit, self.send(method, path)).await {
            Ok(response) => response,
            Err(_) => Err(self.unreachable(format!("no response within {limit:?}"))),
        }
    }

    async fn send(&self, method: Method, path: &str) -> Result<Bytes, AdminPortError> {
        let uri: Uri = self.url.parse().map_err(|error| self.unexpected(&error))?;
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(HOST, format!("{host}:{port}"));
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key);
        }
        let request = request.body(Full::default()).map_err(|error| self.unexpected(&error))?;
        let response = async {
            // Only a URL has brackets around an IPv6 address.
            let name = host.trim_matches(['[', ']']);
            let socket = TcpStream::connect((name, port)).await?;
            let stream = match &self.tls {
                Some(tls) => {
                    let name = ServerName::try_from(name.to_owned())?;
                    let connector = TlsConnector::from(Arc::clone(tls));
                    Stream::Right(Box::new(connector.connect(name, socket).await?))
                }
                None => Stream::Left(socket),
            };
            ask(stream, request).await
        };
        let response = response.await.map_err(|error| {
            let hint = if is_plain_port(&*error) { "; use http://" } else { "" };
            self.unreachable(format!("{}{hint}", in_words(&*error)))
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|error| self.unreachable(error.to_string()))?.to_bytes();
        if status.is_success() { Ok(body) } else { Err(refused(status, &body, self.key.is_some())) }
    }

    fn unreachable(&self, problem: String) -> AdminPortError {
        AdminPortError::Unreachable { url: self.url.clone(), problem }
    }

    fn unexpected(&self, problem: &dyn std::error::Error) -> AdminPortError {
        AdminPortError::UnexpectedResponse { url: self.url.clone(), problem: problem.to_string() }
    }
}

fn refused(status: StatusCode, body: &[u8], has_key: bool) -> AdminPortError {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    let reason = serde_json::from_slice::<Refusal>(body).map(|refusal| refusal.message);
    let mut message = reason.unwrap_or_else(|_| "no reason given".to_owned());
    if status == StatusCode::UNAUTHORIZED && !has_key {
        message.push_str("; set SLUICE_ADMIN_KEY or --admin-key");
    }
    AdminPortError::Refused { status, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_port_and_no_path() {
        assert_eq!(base("http://127.0.0.1:9090/").unwrap(), "http://127.0.0.1:9090");
        assert_eq!(base("http://[::1]:9090").unwrap(), "http://[::1]:9090");
        assert_eq!(base("https://a:1").unwrap(), "https://a:1");
        for wrong in ["127.0.0.1:9090", "ftp://a:1", "http://a/status", "http://a/?x", "", "/"] {
            assert!(base(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn debug_output_does_not_contain_the_key() {
        let port = AdminPort::new("http://a".to_owned(), Some("hush-hush"), None).unwrap();
        assert!(!format!("{port:?}").contains("hush"));
        assert!(AdminPort::new("http://a".to_owned(), Some("a\nb"), None).is_err());
    }
}
