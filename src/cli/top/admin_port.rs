//! The admin port of a gateway, asked over HTTP/1.1.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::uri::Scheme;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::net::TcpStream;

use super::super::ask::{Stream, ask};
use super::model::{Act, Status};
use crate::system::time::timeout;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The largest answer that is read, in bytes: some thousands of targets.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// Why an answer is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The key can't be sent.
    #[error("the admin key has a character that is not allowed in a header")]
    Key,
    /// Nobody is there, or the connection broke.
    #[error("{url} does not answer: {problem}")]
    Unreachable { url: String, problem: String },
    /// It refuses, with a reason.
    #[error("{status}: {message}")]
    Refused { status: StatusCode, message: String },
    /// Not an answer of a gateway of this version.
    #[error("unexpected answer from {url}: {problem}")]
    Strange { url: String, problem: String },
}

/// Checks the URL of an admin port: its scheme and authority, and no path.
pub(super) fn base(text: &str) -> Result<String, String> {
    let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
    if uri.scheme() != Some(&Scheme::HTTP) || uri.authority().is_none() {
        return Err("an http URL is wanted, such as http://127.0.0.1:9090".to_owned());
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err("the URL ends with the port; the paths are known".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[derive(Clone, Debug)]
pub(super) struct AdminPort {
    url: String,
    key: Option<HeaderValue>,
}

impl AdminPort {
    /// # Errors
    /// When the key can't be a header's value.
    pub(super) fn new(url: String, key: Option<String>) -> Result<AdminPort, AskError> {
        let header = |key: String| {
            let value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| AskError::Key);
            value.map(|mut value| {
                value.set_sensitive(true);
                value
            })
        };
        let key = key.map(header).transpose()?;
        Ok(AdminPort { url, key })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The state now.
    pub(super) async fn status(&self) -> Result<Status, AskError> {
        let body = self.ask(Method::GET, "/admin/status").await?;
        serde_json::from_slice(&body).map_err(|error| self.strange(&error))
    }

    /// Acts on a target; returns a sentence with the result.
    pub(super) async fn act(&self, act: Act, target: &str) -> Result<String, AskError> {
        let name = utf8_percent_encode(target, NON_ALPHANUMERIC);
        self.ask(Method::POST, &format!("/admin/targets/{name}/{}", act.path())).await?;
        Ok(format!("{target}: {}", act.done()))
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Bytes, AskError> {
        match timeout(LIMIT, self.answer(method, path)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unreachable(format!("not within {LIMIT:?}"))),
        }
    }

    async fn answer(&self, method: Method, path: &str) -> Result<Bytes, AskError> {
        let uri: Uri = self.url.parse().map_err(|error| self.strange(&error))?;
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(80);
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(HOST, format!("{host}:{port}"));
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key);
        }
        let request = request.body(Full::default()).map_err(|error| self.strange(&error))?;
        let asked = async {
            // An IPv6 address has brackets in a URL alone.
            let socket = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
            ask(Stream::Left(socket), request).await
        };
        let answer = asked.await.map_err(|error| {
            self.unreachable(crate::telemetry::with_causes(error.to_string(), &*error))
        })?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|error| self.unreachable(error.to_string()))?.to_bytes();
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    }

    fn unreachable(&self, problem: String) -> AskError {
        AskError::Unreachable { url: self.url.clone(), problem }
    }

    fn strange(&self, problem: &dyn std::error::Error) -> AskError {
        AskError::Strange { url: self.url.clone(), problem: problem.to_string() }
    }
}

fn refused(status: StatusCode, body: &[u8]) -> AskError {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    let said = serde_json::from_slice::<Refusal>(body).map(|refusal| refusal.message);
    let mut message = said.unwrap_or_else(|_| "no reason given".to_owned());
    if status == StatusCode::UNAUTHORIZED {
        message.push_str("; set SLUICE_ADMIN_KEY");
    }
    AskError::Refused { status, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_that_of_a_port() {
        assert_eq!(base("http://127.0.0.1:9090/").unwrap(), "http://127.0.0.1:9090");
        assert_eq!(base("http://[::1]:9090").unwrap(), "http://[::1]:9090");
        for wrong in ["127.0.0.1:9090", "https://a:1", "http://a/status", "http://a/?x", "", "/"] {
            assert!(base(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_key_is_not_shown() {
        let port = AdminPort::new("http://a".to_owned(), Some("hush-hush".to_owned())).unwrap();
        assert!(!format!("{port:?}").contains("hush"));
        assert!(AdminPort::new("http://a".to_owned(), Some("a\nb".to_owned())).is_err());
    }
}
