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
pub mod http1;
mod http2;
mod pool;
mod proxy;
mod reply;
mod resend;
pub mod sign;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::PROXY_AUTHORIZATION;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prometheus::IntCounter;
use tokio::time::{Instant, sleep_until, timeout};

pub use body::{Body, BodyError};
pub use classify::Class;
pub use connect::ConnectionGauges;
pub use document::DocumentError;
pub use pool::keep_apart;
pub use reply::{Failure, Reply, Success, TimeLimit};

use crate::config;
use connect::{BoxError, Connector};
use events::Events;
use pool::{Key, Place, Pool, Way};
use proxy::Proxies;

/// The connections to upstreams, shared by all targets.
#[derive(Clone, Debug)]
pub struct Upstream {
    pool: Arc<Pool>,
    /// For bodies that go on while they are answered, which HTTP/2 alone can carry.
    duplex: Client<Connector, Events>,
    proxies: Arc<Proxies>,
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
        let duplex = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(config.pool_idle_timeout)
            .http2_only(true)
            .build(connector.clone());
        let pool = Pool::new(
            connector,
            Arc::clone(&proxies),
            config.max_idle_per_host,
            config.pool_idle_timeout,
        );
        let connect_timeout = config.connect_timeout;
        Upstream { pool: Arc::new(pool), duplex, proxies, connect_timeout, resent }
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
            match self.request(origin, make, now).await {
                Ok(response) => reply::read(response, streams).await,
                Err(error) => Reply::Failure(reply::not_sent(error, self.connect_timeout)),
            }
        };
        tokio::select! {
            biased;
            reply = replied => reply,
            () = sleep_until(now + first_byte) => Reply::Failure(reply::too_slow(first_byte)),
        }
    }

    /// Opens a bidirectional stream: sends a signed request whose events are still to come, and
    /// waits for the head of the answer, for `first_byte` at most. What the model says first may
    /// wait for what the client says next, so no frame is waited for.
    pub async fn open(&self, mut request: Request<Events>, first_byte: Duration) -> Reply {
        self.authorize_at_proxy(&mut request);
        let outcome = timeout(first_byte, async {
            match self.duplex.request(request).await {
                Ok(response) => {
                    reply::read(response.map(|body| Body::http2(body, None)), false).await
                }
                Err(error) => Reply::Failure(reply::not_opened(&error, self.connect_timeout)),
            }
        });
        outcome.await.unwrap_or_else(|_| Reply::Failure(reply::too_slow(first_byte)))
    }

    async fn request(
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

    fn authorize_at_proxy<B>(&self, request: &mut Request<B>) {
        if let Some(authorization) = self.proxies.authorization(request.uri()) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization);
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

/// What went wrong, with the texts of all its causes.
pub(crate) fn with_causes(what: String, error: &dyn std::error::Error) -> String {
    let mut text = what;
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
