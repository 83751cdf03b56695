//! One signed request to one place, and what came of it.
//!
//! [`Upstream::send`] puts a prepared request on a pooled connection and reads just as much of
//! the answer as decides its outcome: the head, the body of an error, or the first frame of a
//! stream. It never retries on its own; what a failure means for the request is decided above.

pub mod classify;
mod connect;
pub mod credentials;
pub mod events;
mod proxy;
mod reply;
pub mod sign;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::PROXY_AUTHORIZATION;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout, timeout_at};

pub use classify::Class;
pub use connect::ConnectionGauges;
pub use reply::{Failure, Reply, Success};

use crate::config;
use connect::Connector;
use events::Events;
use proxy::Proxies;

/// The pool of upstream connections, shared by all targets.
#[derive(Clone, Debug)]
pub struct Upstream {
    client: Client<Connector, Full<Bytes>>,
    /// For bodies that go on while they are answered, which HTTP/2 alone can carry.
    duplex: Client<Connector, Events>,
    proxies: Arc<Proxies>,
}

impl Upstream {
    /// A pool without connections; they are opened by the requests that need them.
    pub fn new(config: &config::Upstream, gauges: ConnectionGauges) -> Upstream {
        let proxies = Arc::new(Proxies::new(&config.proxies));
        let connector = Connector::new(config, Arc::clone(&proxies), gauges);
        let duplex = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(config.pool_idle_timeout)
            .http2_only(true)
            .build(connector.clone());
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(config.pool_idle_timeout)
            .pool_max_idle_per_host(config.max_idle_per_host)
            .set_host(false)
            .build(connector);
        Upstream { client, duplex, proxies }
    }

    /// Sends a signed request. `streams` says that a success must be an event stream. Nothing is
    /// waited for beyond `first_byte`, counted from now, which covers connecting, the head and
    /// the first frame. Dropping the future cancels the request.
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        streams: bool,
        first_byte: Duration,
    ) -> Reply {
        let deadline = Instant::now() + first_byte;
        if let Some(authorization) = self.proxies.authorization(request.uri()) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization);
        }
        let outcome = timeout_at(deadline, async {
            match self.client.request(request).await {
                Ok(response) => reply::read(response, streams).await,
                Err(error) => Reply::Failure(reply::not_sent(&error)),
            }
        });
        outcome.await.unwrap_or_else(|_| Reply::Failure(reply::too_slow(first_byte)))
    }

    /// Opens a bidirectional stream: sends a signed request whose events are still to come, and
    /// waits for the head of the answer, for `first_byte` at most. What the model says first may
    /// wait for what the client says next, so no frame is waited for.
    pub async fn open(&self, request: Request<Events>, first_byte: Duration) -> Reply {
        let outcome = timeout(first_byte, async {
            match self.duplex.request(request).await {
                Ok(response) => reply::read(response, false).await,
                Err(error) => Reply::Failure(reply::not_sent(&error)),
            }
        });
        outcome.await.unwrap_or_else(|_| Reply::Failure(reply::too_slow(first_byte)))
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
fn with_causes(what: String, error: &dyn std::error::Error) -> String {
    let mut text = what;
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
