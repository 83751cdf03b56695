//! One signed request to one place, and what came of it.
//!
//! [`Upstream::send`] puts a prepared request on a connection of the [`pool`] and reads just as much
//! of the answer as decides its outcome: the head, the body of an error, or the first frame of a
//! stream. A failure is not retried here; what it means for the request is decided above. Only
//! what met a dead connection of the pool is sent once more. HTTP/1.1 is spoken by [`http1`], since
//! every request goes through it; HTTP/2 by a library.

mod body;
pub mod classify;
pub mod collector;
mod connect;
pub mod credentials;
mod document;
pub mod events;
mod foreign;
pub mod http1;
mod http2;
mod meter;
mod pool;
mod proxy;
mod reply;
mod resend;
pub mod sign;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use prometheus::IntCounter;
use tokio::time::Instant;

pub use body::{Body, BodyError};
pub use classify::Class;
pub use connect::ConnectionGauges;
pub use document::DocumentError;
pub use pool::keep_apart;
pub use reply::{Failure, Reply, Success, TimeLimit};

use crate::config;
use crate::system::time::{timeout, timeout_at};
use connect::{BoxError, Connector};
use events::Events;
use http2::Payload;
use pool::{Key, Place, Pool, Way};
use proxy::Proxies;

/// The connections to upstreams, shared by all targets.
#[derive(Clone, Debug)]
pub struct Upstream {
    pool: Arc<Pool>,
    connect_timeout: Duration,
    resent: IntCounter,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("{0}")]
    Unusable(String),
    #[error("no connection")]
    Connect(#[source] BoxError),
    #[error("HTTP/1.1 failed")]
    Http1 {
        #[source]
        error: http1::Error,
        /// Whether the connection was there before the request.
        was_kept: bool,
        /// Whether any byte of an answer came.
        was_answered: bool,
    },
    #[error("HTTP/2 failed")]
    Http2 {
        #[source]
        error: hyper::Error,
        /// When the connection was opened.
        opened: Instant,
    },
}

impl Upstream {
    /// A pool without connections; they are opened by the requests that need them. `resent` counts
    /// requests that met a dead connection.
    pub fn new(
        config: &config::Upstream,
        gauges: ConnectionGauges,
        resent: IntCounter,
    ) -> Upstream {
        let proxies = Arc::new(Proxies::new(&config.proxies));
        let connector = Connector::new(config, Arc::clone(&proxies), gauges);
        let pool =
            Pool::new(connector, proxies, config.max_idle_per_host, config.pool_idle_timeout);
        Upstream { pool: Arc::new(pool), connect_timeout: config.connect_timeout, resent }
    }

    /// Closes the connections that wait for a request, for the sake of others that need their file
    /// descriptors; whether there were any.
    pub fn let_idle_go(&self) -> bool {
        self.pool.let_idle_go()
    }

    /// Sends a request to `origin` that `make` prepares and signs, or says why it can't. `streams` says that a success must be an
    /// event stream. Nothing is waited for beyond `first_byte`, counted from `now`, which covers
    /// connecting, the head and the first frame. Dropping the future cancels the request.
    pub async fn send(
        &self,
        origin: &Origin,
        make: impl Fn() -> Result<Request<Bytes>, String>,
        streams: bool,
        now: Instant,
        first_byte: Duration,
    ) -> Reply {
        let replied = async {
            match self.exchange(origin, make, now).await {
                Ok(response) => reply::read(response, streams).await,
                Err(error) => Reply::Failure(reply::not_sent(error, self.connect_timeout)),
            }
        };
        let replied = timeout_at(now + first_byte, replied).await;
        replied.unwrap_or_else(|_| Reply::Failure(reply::too_slow(first_byte)))
    }

    /// Opens a bidirectional stream: sends a signed request whose events are still to come, and
    /// waits for the head of the answer, for `first_byte` at most. What the model says first may
    /// wait for what the client says next, so no frame is waited for.
    pub async fn open(
        &self,
        origin: &Origin,
        request: Request<Events>,
        first_byte: Duration,
    ) -> Reply {
        let outcome = timeout(first_byte, async {
            match self.begin(origin, request).await {
                Ok(response) => reply::read(response, false).await,
                Err(error) => Reply::Failure(reply::not_sent(error, self.connect_timeout)),
            }
        });
        outcome.await.unwrap_or_else(|_| Reply::Failure(reply::too_slow(first_byte)))
    }

    /// Sends a request whose body is still to come, by HTTP/2, and waits for the head of its answer.
    async fn begin<B>(
        &self,
        origin: &Origin,
        request: Request<B>,
    ) -> Result<Response<Body>, SendError>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let place = self.pool.place(origin);
        let mut request = request.map(Payload::coming);
        place.authorize(request.headers_mut());
        let began = Instant::now();
        loop {
            let stream = self.pool.stream(&place).await?;
            let opened = stream.opened();
            match stream.try_send(request).await {
                Ok(response) => return Ok(response.map(|body| Body::http2(body, Some(stream)))),
                // A connection that was kept may have ended before it took the request.
                Err(mut unsent) => match unsent.take_message() {
                    Some(untouched) if opened < began => request = untouched,
                    _ => return Err(SendError::Http2 { error: unsent.into_error(), opened }),
                },
            }
        }
    }

    /// Sends what `make` prepares, once more if its connection was dead, and waits for the head of
    /// its answer. It began at `began`.
    async fn exchange(
        &self,
        origin: &Origin,
        make: impl Fn() -> Result<Request<Bytes>, String>,
        began: Instant,
    ) -> Result<Response<Body>, SendError> {
        let place = self.pool.place(origin);
        let way = match place.kept() {
            Some(way) => way,
            None => {
                // For what can't be sent nothing is opened.
                make().map_err(SendError::Unusable)?;
                Box::pin(self.pool.open(&place)).await?
            }
        };
        match put_on(way, &place, &make).await {
            Err(error) if resend::was_dead(&error, began, self.connect_timeout) => {
                self.resent.inc();
                Box::pin(async {
                    let way = self.pool.open_alone(&place).await?;
                    put_on(way, &place, &make).await
                })
                .await
            }
            outcome => outcome,
        }
    }
}

/// Sends a request on a connection to `place` and waits for the head of its answer.
async fn put_on(
    way: Way,
    place: &Arc<Place>,
    make: impl Fn() -> Result<Request<Bytes>, String>,
) -> Result<Response<Body>, SendError> {
    let make = || {
        let (mut head, body) = make().map_err(SendError::Unusable)?.into_parts();
        place.authorize(&mut head.headers);
        Ok((head, body))
    };
    match way {
        Way::Http1 { mut connection, was_kept } => {
            let method = {
                let (head, body) = make()?;
                connection.begin(&head, body);
                head.method
            };
            let head = connection.head(&method).await.map_err(|error| {
                if matches!(error, http1::Error::Head(http1::BadHead::Interim)) {
                    place.flooded("interim");
                }
                let was_answered = connection.was_answered();
                SendError::Http1 { error, was_kept, was_answered }
            })?;
            let mut response = Response::new(Body::http1(connection, Arc::clone(place)));
            *response.status_mut() = head.status;
            *response.headers_mut() = head.headers;
            Ok(response)
        }
        Way::Http2(stream) => {
            let (head, body) = make()?;
            let opened = stream.opened();
            let sent = Box::pin(stream.send(Request::from_parts(head, body))).await;
            let response = sent.map_err(|error| SendError::Http2 { error, opened })?;
            Ok(response.map(|body| Body::http2(body, Some(stream))))
        }
    }
}

/// Where a target's requests go: scheme and authority of its endpoint, ready for use in each.
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
        // An authority is made of characters that a header value may have.
        let host = HeaderValue::from_str(authority.as_str())
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        let key = Key::new(scheme.clone(), authority.clone());
        Origin { scheme, authority, host, key }
    }

    /// The `host` header of requests to it.
    pub fn host(&self) -> HeaderValue {
        self.host.clone()
    }

    /// The URI of a path there.
    pub fn uri(&self, path: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        // All three parts are there and valid, so this is always a URI.
        Uri::from_parts(parts).unwrap_or_default()
    }
}
