//! Documents that the gateway fetches for itself, such as an issuer's keys: by the same way out as
//! requests, through its proxies and with its trust, but on a connection of their own, and small.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, HOST, HeaderValue};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};

use super::reply::encoding;
use super::{Origin, Upstream, put_on};
use crate::system::time::timeout;
use crate::telemetry::with_causes;

/// Why a document could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Nobody was reached, or the answer broke off or can't be read.
    #[error("{0}")]
    Unreachable(String),
    /// The answer is none that has the document. Redirections are not followed.
    #[error("it was answered with status {}", .0.as_u16())]
    Status(StatusCode),
    /// It is longer than it may be.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// It did not come in time.
    #[error("it did not come within {}", humantime::format_duration(*.0))]
    TooSlow(Duration),
}

impl Upstream {
    /// Fetches a document of at most `limit` bytes, within `time`.
    ///
    /// # Errors
    /// Why it could not be fetched.
    pub async fn document(
        &self,
        uri: &Uri,
        limit: usize,
        time: Duration,
    ) -> Result<Bytes, DocumentError> {
        let fetched = timeout(time, self.fetch(uri, limit)).await;
        fetched.unwrap_or(Err(DocumentError::TooSlow(time)))
    }

    async fn fetch(&self, uri: &Uri, limit: usize) -> Result<Bytes, DocumentError> {
        let unreachable = |error: &dyn std::error::Error| {
            DocumentError::Unreachable(with_causes(error.to_string(), error))
        };
        let nowhere = || DocumentError::Unreachable("the URI names no host".to_owned());
        let origin = Origin::of(uri).ok_or_else(nowhere)?;
        let make = || {
            let mut request = Request::new(Bytes::new());
            *request.uri_mut() = uri.clone();
            request.headers_mut().insert(HOST, origin.host());
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
            request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            Ok(request)
        };
        let place = self.pool.place(&origin);
        let way = self.pool.open_alone(&place).await;
        let way = way.map_err(|error| unreachable(&error))?;
        let answer = put_on(way, &place, make).await.map_err(|error| unreachable(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(DocumentError::Status(answer.status()));
        }
        if let Some(encoding) = encoding(answer.headers()) {
            let what = format!("the answer is encoded ({encoding}), which was not asked for");
            return Err(DocumentError::Unreachable(what));
        }
        match Limited::new(answer.into_body(), limit).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(DocumentError::TooLong(limit))
            }
            Err(error) => Err(unreachable(&*error)),
        }
    }
}
