//! One signed request to one place, and what came of it.
//!
//! [`Upstream::send`] puts a prepared request on a pooled connection and reads just as much of
//! the answer as decides its outcome: the head, the body of an error, or the first frame of a
//! stream. A failure is not retried here; what it means for the request is decided above. Only
//! what met a dead connection of the pool is sent once more.

pub mod classify;
pub mod collector;
mod connect;
pub mod credentials;
mod document;
pub mod events;
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
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prometheus::IntCounter;
use tokio::time::{Instant, timeout, timeout_at};

pub use classify::Class;
pub use connect::ConnectionGauges;
pub use document::DocumentError;
pub use reply::{Failure, Reply, Success, TimeLimit};

use crate::config;
use connect::Connector;
use events::Events;
use proxy::Proxies;

/// The pool of upstream connections, shared by all targets.
#[derive(Clone, Debug)]
pub struct Upstream {
    pooled: Client<Connector, Full<Bytes>>,
    /// Opens a connection for each request.
    fresh: Client<Connector, Full<Bytes>>,
    /// For bodies that go on while they are answered, which HTTP/2 alone can carry.
    duplex: Client<Connector, Events>,
    proxies: Arc<Proxies>,
    connect_timeout: Duration,
    resent: IntCounter,
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
        let client = |max_idle| {
            Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(config.pool_idle_timeout)
                .pool_max_idle_per_host(max_idle)
                .set_host(false)
                // The library's own would go on for as long as it finds dead connections.
                .retry_canceled_requests(false)
                .build(connector.clone())
        };
        Upstream {
            pooled: client(config.max_idle_per_host),
            fresh: client(0),
            duplex,
            proxies,
            connect_timeout: config.connect_timeout,
            resent,
        }
    }

    /// Sends a request that `make` prepares and signs, or says why it can't. `streams` says that a success must be an
    /// event stream. Nothing is waited for beyond `first_byte`, counted from `now`, which covers
    /// connecting, the head and the first frame. Dropping the future cancels the request.
    pub async fn send(
        &self,
        make: impl Fn() -> Result<Request<Full<Bytes>>, String>,
        streams: bool,
        now: Instant,
        first_byte: Duration,
    ) -> Reply {
        let outcome = timeout_at(now + first_byte, async {
            match self.request(make, now).await {
                Ok(response) => reply::read(response, streams).await,
                Err(failure) => Reply::Failure(failure),
            }
        });
        outcome.await.unwrap_or_else(|_| Reply::Failure(reply::too_slow(first_byte)))
    }

    /// Opens a bidirectional stream: sends a signed request whose events are still to come, and
    /// waits for the head of the answer, for `first_byte` at most. What the model says first may
    /// wait for what the client says next, so no frame is waited for.
    pub async fn open(&self, mut request: Request<Events>, first_byte: Duration) -> Reply {
        self.authorize_at_proxy(&mut request);
        let outcome = timeout(first_byte, async {
            match self.duplex.request(request).await {
                Ok(response) => reply::read(response, false).await,
                Err(error) => Reply::Failure(reply::not_sent(&error, self.connect_timeout)),
            }
        });
        outcome.await.unwrap_or_else(|_| Reply::Failure(reply::too_slow(first_byte)))
    }

    async fn request(
        &self,
        make: impl Fn() -> Result<Request<Full<Bytes>>, String>,
        began: Instant,
    ) -> Result<Response<Incoming>, Failure> {
        let made = || {
            let mut request = make()?;
            self.authorize_at_proxy(&mut request);
            Ok(request)
        };
        let unusable = |problem: String| Failure::unusable(&problem);
        match self.pooled.request(made().map_err(unusable)?).await {
            Err(error) if resend::was_dead(&error, began, self.connect_timeout) => {
                self.resent.inc();
                self.fresh.request(made().map_err(unusable)?).await
            }
            outcome => outcome,
        }
        .map_err(|error| reply::not_sent(&error, self.connect_timeout))
    }

    fn authorize_at_proxy<B>(&self, request: &mut Request<B>) {
        if let Some(authorization) = self.proxies.authorization(request.uri()) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization);
        }
    }
}

/// Where a target's requests go: scheme and authority of its endpoint, ready for use in each.
#[derive(Clone, Debug)]
pub struct Origin {
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
}

impl Origin {
    /// The origin of a configured endpoint.
    pub fn new(endpoint: &config::Endpoint) -> Origin {
        let authority = endpoint.authority().clone();
        // An authority is made of characters that a header value may have.
        let host = HeaderValue::from_str(authority.as_str())
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        Origin { scheme: endpoint.scheme().clone(), authority, host }
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
