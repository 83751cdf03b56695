//! Fetches small documents for the gateway itself, such as an issuer's keys, each on a connection of
//! its own. Proxies and trusted certificates are those of requests to targets.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, HOST, HeaderValue};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};

use super::reply::encoding;
use super::{Origin, Upstream, send_on};
use crate::system::time::timeout;
use crate::telemetry::in_words;

/// Why a document could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The server was not reached, or its response ended early or can't be read.
    #[error("{0}")]
    Unreachable(String),
    /// The status is not 200. Redirections are not followed.
    #[error("it was answered with status {}", .0.as_u16())]
    Status(StatusCode),
    /// The document is too long.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// The document did not come in time.
    #[error("it did not come within {}", humantime::format_duration(*.0))]
    TooSlow(Duration),
}

impl Upstream {
    /// Fetches a document of at most `limit` bytes, within `time`.
    ///
    /// # Errors
    /// The server was not reached in time, or did not respond with such a document.
    pub async fn fetch(
        &self,
        uri: &Uri,
        limit: usize,
        time: Duration,
    ) -> Result<Bytes, FetchError> {
        let fetched = timeout(time, self.get(uri, limit)).await;
        fetched.unwrap_or(Err(FetchError::TooSlow(time)))
    }

    async fn get(&self, uri: &Uri, limit: usize) -> Result<Bytes, FetchError> {
        let unreachable =
            |error: &(dyn std::error::Error + 'static)| FetchError::Unreachable(in_words(error));
        let nowhere = || FetchError::Unreachable("the URI names no host".to_owned());
        let origin = Origin::of(uri).ok_or_else(nowhere)?;
        let make = || {
            let mut request = Request::new(Bytes::new());
            *request.uri_mut() = uri.clone();
            request.headers_mut().insert(HOST, origin.host());
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
            request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            Ok(request)
        };
        let host = self.pool.host(&origin);
        let checkout = self.pool.open_new(&host).await;
        let checkout = checkout.map_err(|error| unreachable(&error))?;
        let answer = send_on(checkout, &host, make).await.map_err(|error| unreachable(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        if let Some(encoding) = encoding(answer.headers()) {
            let what = format!("the answer is encoded ({encoding}), which was not asked for");
            return Err(FetchError::Unreachable(what));
        }
        match Limited::new(answer.into_body(), limit).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(FetchError::TooLong(limit))
            }
            Err(error) => Err(unreachable(&*error)),
        }
    }
}
