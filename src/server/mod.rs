//! Listeners, connections, and the way a gateway starts and stops.
//!
//! HTTP/1.1 and HTTP/2 are spoken on every listener: in the clear, or by TLS on that of the Bedrock
//! API. What arrives goes to the pipeline or to the admin surface; both may share a listener, since
//! their paths differ.

mod certificates;
mod connection;
mod listener;
mod opening;
mod tls;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::admin::{Admin, Readiness};
use crate::clients::Peer;
use crate::pipeline::{Arrival, Live, ResponseBody, stack};
use certificates::Certificates;
use listener::{Accept, accept};

pub use certificates::TlsError;
pub use tls::UnusableTls;

/// A body of any listener's answers.
type AnyBody = Either<ResponseBody, Full<Bytes>>;

/// A gateway whose listeners are bound.
#[derive(Debug)]
pub struct Server {
    live: Arc<Live>,
    admin: Arc<Admin>,
    readiness: Arc<Readiness>,
    data: TcpListener,
    /// `None` when one listener serves both.
    admin_listener: Option<TcpListener>,
    /// `None` without TLS.
    certificates: Option<Certificates>,
    recheck: Arc<Notify>,
}

/// Why there are no listeners.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address can't be listened on.
    #[error("can't listen on {address}: {source}")]
    Address {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The files of `[server.tls]` are not as they were when the config was loaded.
    #[error("can't speak TLS: {0}")]
    Tls(#[from] TlsError),
}

impl Server {
    /// Binds the listeners of the gateway's config, and reads the certificate if it has one.
    pub async fn bind(live: Arc<Live>) -> Result<Server, BindError> {
        let gateway = live.load_full();
        let server = &gateway.config.server;
        let (listen, admin_listen) = (server.listen, server.admin_listen);
        let certificates = match &server.tls {
            Some(tls) => Some(Certificates::load(tls, Arc::clone(&gateway.metrics)).await?),
            None => None,
        };
        let bind = |address| async move {
            let bound = TcpListener::bind(address).await;
            bound.map_err(|source| BindError::Address { address, source })
        };
        let data = bind(listen).await?;
        let shared = listen == admin_listen && listen.port() != 0;
        let admin_listener = if shared { None } else { Some(bind(admin_listen).await?) };
        let readiness = Arc::new(Readiness::default());
        let admin = Arc::new(Admin::new(Arc::clone(&live), Arc::clone(&readiness)));
        let recheck = Arc::default();
        Ok(Server { live, admin, readiness, data, admin_listener, certificates, recheck })
    }

    /// Makes it look at its certificate files at once when it is notified.
    pub fn recheck(&self) -> &Arc<Notify> {
        &self.recheck
    }

    /// The gateway that is served; another may be put in its place while it is.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The address of the Bedrock API.
    pub fn address(&self) -> io::Result<std::net::SocketAddr> {
        self.data.local_addr()
    }

    /// The address of health and metrics.
    pub fn admin_address(&self) -> io::Result<std::net::SocketAddr> {
        self.admin_listener.as_ref().unwrap_or(&self.data).local_addr()
    }

    /// Serves until `stop` is cancelled, then drains: not ready at once, listeners closed after
    /// `drain_delay`, open requests given `drain_timeout` to end. `hurry` ends the drain at once.
    /// Returns whether every request ended by itself.
    pub async fn serve(self, stop: CancellationToken, hurry: CancellationToken) -> bool {
        let Server { live, admin, readiness, data, admin_listener, certificates, recheck } = self;
        let gateway = live.load_full();
        let config = gateway.config.server.clone();
        let (closing, connections) = (CancellationToken::new(), TaskTracker::new());
        let mut listeners = JoinSet::new();
        let common = Accept::new(&gateway, &config);
        let shares = admin_listener.is_none();
        let pipeline = stack::<Incoming>(&live);
        let on_data = {
            let admin = Arc::clone(&admin);
            move |request: Request<Incoming>, peer: Peer| {
                let mut pipeline = pipeline.clone();
                let admin = shares.then(|| Arc::clone(&admin));
                async move {
                    let own = admin
                        .and_then(|admin| admin.answer(request.method(), request.uri().path()));
                    match own {
                        Some(answer) => answer.map(|body| Either::Right(Full::new(body))),
                        None => {
                            let (head, body) = request.into_parts();
                            let Ok(response) = pipeline.call(Arrival { head, body, peer }).await;
                            response.map(Either::Left)
                        }
                    }
                }
            }
        };
        let tls = certificates.as_ref().map(Certificates::acceptor);
        let tracked = connections.clone();
        listeners.spawn(accept(data, tls, common.clone(), on_data, tracked, closing.clone()));
        if let Some(certificates) = certificates {
            listeners.spawn(certificates.keep_fresh(live, recheck));
        }
        if let Some(listener) = admin_listener {
            let on_admin = move |request: Request<Incoming>, _: Peer| {
                let answer = admin.answer(request.method(), request.uri().path());
                let answer = answer.unwrap_or_else(Admin::not_found);
                std::future::ready(answer.map(|body| -> AnyBody { Either::Right(Full::new(body)) }))
            };
            // Apart from the drain: probes and scrapes go on until the last request has ended.
            let (apart, never) = (TaskTracker::new(), CancellationToken::new());
            listeners.spawn(accept(listener, None, common.clone(), on_admin, apart, never));
        }
        readiness.serving();
        stop.cancelled().await;

        readiness.draining();
        tracing::info!(open = common.open(), "draining");
        wait(config.drain_delay, &hurry).await;
        closing.cancel();
        connections.close();
        let clean = tokio::select! {
            ended = timeout(config.drain_timeout, connections.wait()) => ended.is_ok(),
            () = hurry.cancelled() => false,
        };
        listeners.shutdown().await;
        clean
    }
}

async fn wait(delay: Duration, hurry: &CancellationToken) {
    tokio::select! {
        () = sleep(delay) => {}
        () = hurry.cancelled() => {}
    }
}

/// What a listener does with a request.
trait Answer: Fn(Request<Incoming>, Peer) -> Self::Future + Clone + Send + 'static {
    type Future: Future<Output = Response<AnyBody>> + Send + 'static;
}

impl<A, F> Answer for A
where
    A: Fn(Request<Incoming>, Peer) -> F + Clone + Send + 'static,
    F: Future<Output = Response<AnyBody>> + Send + 'static,
{
    type Future = F;
}
