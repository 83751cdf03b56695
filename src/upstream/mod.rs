//! Sends one signed request to one upstream and decides its outcome.
//!
//! [`Upstream::send`] puts a prepared request on a connection of the [`pool`] and reads just as much
//! of the response as decides the outcome: the head, the body of an error, or the first frame of a
//! stream. The attempt loop decides about retries; only a request that met a stale connection of the
//! pool is sent once more here. [`http1`] is an HTTP/1.1 client of our own, since every request goes
//! through it; hyper speaks HTTP/2.

mod body;
pub mod classify;
pub mod collector;
mod connect;
pub mod credentials;
mod credentials_error;
pub mod events;
mod fetch;
mod first_event;
mod foreign;
pub mod http1;
mod http2;
mod meter;
mod pool;
mod proxy;
mod reason;
mod reply;
mod resend;
mod service;
pub mod sign;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use prometheus::IntCounter;
use tokio::time::Instant;

pub use body::{Body, BodyError};
pub use classify::FailureClass;
pub use connect::ConnectionGauges;
pub(crate) use connect::tls_config;
pub use fetch::FetchError;
pub use pool::set_shard;
pub use reason::message_for_client;
pub use reply::{ExpectedAnswer, Failure, Reply, Success, TimeLimit};
pub use service::{ServiceError, ServiceRequest};

use crate::config;
use crate::system::time::{timeout, timeout_at};
use connect::{BoxError, Connector};
use events::Events;
use http2::Payload;
use pool::{Checkout, ConnectionPool, HostPool, Key};
use proxy::Proxies;

/// The connections to upstreams, shared by all targets.
#[derive(Clone, Debug)]
pub struct Upstream {
    pool: Arc<ConnectionPool>,
    connect_timeout: Duration,
    resent: IntCounter,
}

/// Why the gateway could not make a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildRequestError {
    /// The target has no credentials, for this reason.
    #[error("{0}")]
    NoCredentials(String),
    /// The path of the request is not a valid URI.
    #[error("the target's path is no URI")]
    InvalidPath,
    /// The request is not translated for the target.
    #[error("the request is not translated for the target")]
    NotTranslated,
    /// The URL to send it to has no host.
    #[error("the URL names no host")]
    NoHost,
    /// The request could not be signed.
    #[error(transparent)]
    Sign(#[from] sign::SignError),
}

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Request(#[from] BuildRequestError),
    #[error("no connection")]
    Connect(#[source] BoxError),
    #[error("HTTP/1.1 failed")]
    Http1 {
        #[source]
        error: http1::Error,
        /// Whether the connection was idle before the request.
        reused: bool,
        /// Whether any byte of a response came.
        has_received: bool,
    },
    #[error("HTTP/2 failed")]
    Http2 {
        #[source]
        error: hyper::Error,
        /// When the connection was opened.
        opened_at: Instant,
    },
}

impl Upstream {
    /// A pool without connections; requests open them. `resent` counts the requests that met a stale
    /// connection.
    pub fn new(
        config: &config::Upstream,
        gauges: ConnectionGauges,
        resent: IntCounter,
    ) -> Upstream {
        let proxies = Arc::new(Proxies::new(&config.proxies));
        let connector = Connector::new(config, Arc::clone(&proxies), gauges);
        let pool = ConnectionPool::new(
            connector,
            proxies,
            config.max_idle_per_host,
            config.pool_idle_timeout,
        );
        Upstream { pool: Arc::new(pool), connect_timeout: config.connect_timeout, resent }
    }

    /// Closes idle connections to free their file descriptors. Returns whether there were any.
    pub fn close_idle(&self) -> bool {
        self.pool.close_idle()
    }

    /// Sends a request to `origin` and decides its outcome. `make` prepares and signs the request once
    /// there is a connection to send it on. A success must have the form that is `expected`.
    /// Connecting, the head and the first frame must all come within `first_byte` from `now`. Dropping
    /// the future cancels the request.
    pub async fn send(
        &self,
        origin: &Origin,
        make: impl Fn() -> Result<Request<Bytes>, BuildRequestError>,
        expected: ExpectedAnswer,
        now: Instant,
        first_byte: Duration,
    ) -> Reply {
        let replied = async {
            match self.round_trip(origin, make, now).await {
                Ok(response) => reply::read(response, expected).await,
                Err(error) => Reply::from(reply::not_sent(error, self.connect_timeout)),
            }
        };
        let replied = timeout_at(now + first_byte, replied).await;
        replied.unwrap_or_else(|_| Reply::from(reply::too_slow(first_byte)))
    }

    /// Opens a bidirectional stream: sends a signed request whose events are still to come, and waits
    /// for the head of the response, at most for `first_byte`. It waits for no frame, since the model's
    /// first event may depend on a later event of the client.
    pub async fn open(
        &self,
        origin: &Origin,
        request: Request<Events>,
        first_byte: Duration,
    ) -> Reply {
        let outcome = timeout(first_byte, async {
            match self.send_streaming(origin, request).await {
                Ok(response) => reply::read(response, ExpectedAnswer::default()).await,
                Err(error) => Reply::from(reply::not_sent(error, self.connect_timeout)),
            }
        });
        outcome.await.unwrap_or_else(|_| Reply::from(reply::too_slow(first_byte)))
    }

    /// Sends a request with a streaming body over HTTP/2 and waits for the head of the response.
    async fn send_streaming<B>(
        &self,
        origin: &Origin,
        request: Request<B>,
    ) -> Result<Response<Body>, SendError>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let host = self.pool.host(origin);
        let mut request = request.map(Payload::streaming);
        host.authorize(request.headers_mut());
        let began = Instant::now();
        loop {
            let stream = self.pool.stream(&host).await?;
            let opened_at = stream.opened_at();
            match stream.try_send(request).await {
                Ok(response) => return Ok(response.map(|body| Body::http2(body, stream))),
                // The upstream may have closed a shared connection before it took the request.
                Err(mut unsent) => match unsent.take_message() {
                    Some(untouched) if opened_at < began => request = untouched,
                    _ => return Err(SendError::Http2 { error: unsent.into_error(), opened_at }),
                },
            }
        }
    }

    /// Sends what `make` prepares and waits for the head of the response. The request began at `began`;
    /// if it meets a stale connection it is sent once more, on a new one.
    async fn round_trip(
        &self,
        origin: &Origin,
        make: impl Fn() -> Result<Request<Bytes>, BuildRequestError>,
        began: Instant,
    ) -> Result<Response<Body>, SendError> {
        let host = self.pool.host(origin);
        let checkout = match host.check_out() {
            Some(checkout) => checkout,
            None => {
                // A request that can't be made opens no connection.
                make()?;
                Box::pin(self.pool.open(&host)).await?
            }
        };
        match send_on(checkout, &host, &make).await {
            Err(error) if resend::is_stale_connection(&error, began, self.connect_timeout) => {
                self.resent.inc();
                Box::pin(async {
                    let checkout = self.pool.open_new(&host).await?;
                    send_on(checkout, &host, &make).await
                })
                .await
            }
            outcome => outcome,
        }
    }
}

/// Sends a request on a connection to `host` and waits for the head of the response.
async fn send_on(
    checkout: Checkout,
    host: &Arc<HostPool>,
    make: impl Fn() -> Result<Request<Bytes>, BuildRequestError>,
) -> Result<Response<Body>, SendError> {
    let make = || {
        let (mut head, body) = make()?.into_parts();
        host.authorize(&mut head.headers);
        Ok::<_, BuildRequestError>((head, body))
    };
    match checkout {
        Checkout::Http1 { mut connection, reused } => {
            let method = {
                let (head, body) = make()?;
                connection.http.start(&head, body);
                head.method
            };
            let head = connection.http.head(&method).await.map_err(|error| {
                if matches!(error, http1::Error::Head(http1::HeadError::Interim)) {
                    host.count_flood("interim");
                }
                let has_received = connection.http.has_received();
                SendError::Http1 { error, reused, has_received }
            })?;
            let mut response = Response::new(Body::http1(connection, Arc::clone(host)));
            *response.status_mut() = head.status;
            *response.headers_mut() = head.headers;
            Ok(response)
        }
        Checkout::Http2(stream) => {
            let (head, body) = make()?;
            let opened_at = stream.opened_at();
            let sent = Box::pin(stream.send(Request::from_parts(head, body))).await;
            let response = sent.map_err(|error| SendError::Http2 { error, opened_at })?;
            Ok(response.map(|body| Body::http2(body, stream)))
        }
    }
}

/// Where a target's requests go: scheme and authority of its endpoint.
#[derive(Clone, Debug)]
pub struct Origin {
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    key: Key,
}

impl Origin {
    /// The origin of a configured endpoint.
    pub fn new(endpoint: &config::Endpoint) -> Origin {
        Origin::at(endpoint.scheme().clone(), endpoint.authority().clone())
    }

    /// The origin of a URI, if that names one.
    fn of(uri: &Uri) -> Option<Origin> {
        let (scheme, authority) = uri.scheme().zip(uri.authority())?;
        Some(Origin::at(scheme.clone(), authority.clone()))
    }

    fn at(scheme: Scheme, authority: Authority) -> Origin {
        #[expect(
            clippy::expect_used,
            reason = "a header value may have all characters of an authority"
        )]
        let host =
            HeaderValue::from_str(authority.as_str()).expect("an authority is a header value");
        let key = Key::new(scheme.clone(), authority.clone());
        Origin { scheme, authority, host, key }
    }

    /// The `host` header of requests to this origin.
    pub fn host(&self) -> HeaderValue {
        self.host.clone()
    }

    /// The URI of a path at this origin.
    pub fn uri(&self, path: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        #[expect(clippy::expect_used, reason = "a URI fails only for want of one of these parts")]
        Uri::from_parts(parts).expect("scheme, authority and path make a URI")
    }
}
