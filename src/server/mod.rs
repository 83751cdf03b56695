//! Listeners, client connections, and how the gateway starts and stops.
//!
//! Every listener speaks HTTP/1.1 and HTTP/2: in cleartext, or over TLS on that of the Bedrock API.
//! Requests go to the pipeline, to the legacy endpoints or to the admin port's paths. One listener may
//! serve them all, since their paths differ.

mod certificates;
mod connection;
mod deadline;
mod detect;
mod final_response;
mod h2_executor;
mod handler;
mod lengths;
mod listener;
mod shutdown;
mod slots;
mod socket;
mod timeouts;
mod tls;
mod tracked_body;
mod workers;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::admin::{Admin, Readiness, ReloadRequests};
use crate::auth::Peer;
use crate::bedrock::{ErrorKind, WireError};
use crate::config::Config;
use crate::legacy::LegacyService;
use crate::pipeline::drain::drain_in_background;
use crate::pipeline::{InboundRequest, SharedGateway, repeats_length, stack};
use crate::system::keepalive;
use crate::system::time::{sleep, timeout};
use certificates::Certificates;
use handler::full;
use listener::{Accept, accept};
use shutdown::Shutdown;

pub use certificates::TlsError;
pub use tls::UnusableTls;
pub use workers::Workers;

/// Connections that may wait to be accepted, up to the bound of the system (`net.core.somaxconn`). After
/// a restart all clients connect at once and would fill a short backlog.
const BACKLOG: u32 = 4096;

/// The end of the drain that is left for responses to requests that still wait in the queue: a quarter of
/// the drain, and no more than this.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// A gateway whose listeners are bound.
#[derive(Debug)]
pub struct Server {
    shared_gateway: Arc<SharedGateway>,
    admin: Arc<Admin>,
    legacy: Arc<LegacyService>,
    readiness: Arc<Readiness>,
    api_listener: TcpListener,
    /// `None` when one listener serves both.
    admin_listener: Option<TcpListener>,
    /// `None` when the legacy endpoints are on the API listener.
    legacy_listener: Option<TcpListener>,
    /// `None` without TLS.
    certificates: Option<Certificates>,
    recheck: Arc<Notify>,
    /// `None` once they were taken.
    reload_requests: Option<ReloadRequests>,
}

/// Why the listeners could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address can't be listened on.
    #[error("can't listen on {address}: {source}")]
    Address {
        /// The address.
        address: std::net::SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The files of `[server.tls]` are not as they were when the config was loaded.
    #[error("can't speak TLS: {0}")]
    Tls(#[from] TlsError),
}

impl Server {
    /// Binds the listeners of the gateway's config, and reads the certificate if it has one.
    pub async fn bind(
        shared_gateway: Arc<SharedGateway>,
        legacy: Arc<LegacyService>,
    ) -> Result<Server, BindError> {
        let gateway = shared_gateway.load_full();
        let Config { server, legacy: endpoints, .. } = &gateway.config;
        let legacy_listen = endpoints.listen.filter(|_| endpoints.enabled);
        let (listen, admin_listen) = (server.listen, server.admin_listen);
        let certificates = match &server.tls {
            Some(tls) => Some(Certificates::load(tls, Arc::clone(&gateway.metrics)).await?),
            None => None,
        };
        let bind = |address| {
            let bound = bind(address);
            bound.map_err(|source| BindError::Address { address, source })
        };
        let api_listener = bind(listen)?;
        let shared = listen == admin_listen && listen.port() != 0;
        let admin_listener = if shared { None } else { Some(bind(admin_listen)?) };
        let legacy_listener = match legacy_listen {
            Some(address) => Some(bind(address)?),
            None => None,
        };
        let readiness = Arc::new(Readiness::default());
        let is_local = admin_listen.ip().is_loopback();
        let (admin, reload_requests) =
            Admin::new(Arc::clone(&shared_gateway), Arc::clone(&readiness), is_local);
        Ok(Server {
            shared_gateway,
            admin: Arc::new(admin),
            legacy,
            readiness,
            api_listener,
            admin_listener,
            legacy_listener,
            certificates,
            recheck: Arc::default(),
            reload_requests: Some(reload_requests),
        })
    }

    /// Notify it to check the certificate files at once.
    pub fn recheck(&self) -> &Arc<Notify> {
        &self.recheck
    }

    /// The operator's requests for a reload, for the one task that reloads. Without such a task they
    /// are refused.
    pub fn take_reload_requests(&mut self) -> Option<ReloadRequests> {
        self.reload_requests.take()
    }

    /// The gateway in use, which a reload replaces.
    pub fn shared_gateway(&self) -> &Arc<SharedGateway> {
        &self.shared_gateway
    }

    /// The address of the Bedrock API.
    pub fn address(&self) -> io::Result<std::net::SocketAddr> {
        self.api_listener.local_addr()
    }

    /// The address of health and metrics.
    pub fn admin_address(&self) -> io::Result<std::net::SocketAddr> {
        self.admin_listener.as_ref().unwrap_or(&self.api_listener).local_addr()
    }

    /// The legacy endpoints.
    pub fn legacy(&self) -> &Arc<LegacyService> {
        &self.legacy
    }

    /// The address of the legacy endpoints.
    pub fn legacy_address(&self) -> io::Result<std::net::SocketAddr> {
        self.legacy_listener.as_ref().unwrap_or(&self.api_listener).local_addr()
    }

    /// Serves until `stop` is cancelled, then drains: it is not ready from then on, closes the listeners
    /// after `drain_delay`, and gives open requests `drain_timeout` to end. Requests in the queue are
    /// served or refused before that. `force_stop` ends the drain at once. Returns whether every request
    /// has ended. `workers` serve the connections of clients.
    pub async fn serve(
        self,
        workers: Workers,
        stop: CancellationToken,
        force_stop: CancellationToken,
    ) -> bool {
        let Server { shared_gateway, admin, legacy, readiness, api_listener, .. } = self;
        let Server {
            admin_listener, legacy_listener, certificates, recheck, reload_requests, ..
        } = self;
        // Those that nobody has taken are refused.
        drop(reload_requests);
        let shutdown = Shutdown::within(shared_gateway.load().config.server.drain_timeout);
        let common = Accept::new(&shared_gateway, workers);
        let for_admin = Accept::for_admin(&shared_gateway);
        let connections = TaskTracker::new();
        let mut listeners = JoinSet::new();
        let pipeline = stack::<Incoming>(&shared_gateway);
        // One type for all listeners, so that the code that speaks HTTP is compiled once.
        let answers = |api: bool, admin: Option<Arc<Admin>>, legacy: Option<Arc<LegacyService>>| {
            let pipeline = pipeline.clone();
            move |request: Request<Incoming>, peer: Peer| {
                // The pipeline refuses a request with two lengths, since it logs it.
                let is_clear = !repeats_length(request.headers());
                let (mut pipeline, admin) = (pipeline.clone(), admin.clone().filter(|_| is_clear));
                let legacy = legacy.clone().filter(|_| is_clear);
                let legacy = legacy.filter(|legacy| legacy.serves(request.uri().path()));
                async move {
                    let (head, body) = request.into_parts();
                    // Boxed, as the next one: what the API's requests do not need would be moved with each.
                    if let Some(admin) = admin
                        && let Some(answer) = Box::pin(admin.answer(&head, &peer)).await
                    {
                        drain_in_background(&head, body);
                        return answer.map(Either::Right);
                    }
                    if let Some(legacy) = legacy {
                        let request = Request::from_parts(head, body);
                        return Box::pin(legacy.answer(request, peer)).await.map(full);
                    }
                    if !api && !is_clear {
                        return two_lengths().map(full);
                    }
                    if !api {
                        drain_in_background(&head, body);
                        return Admin::not_found().map(Either::Right);
                    }
                    let Ok(response) = pipeline.call(InboundRequest { head, body, peer }).await;
                    response.map(Either::Left)
                }
            }
        };
        let on_api = answers(
            true,
            admin_listener.is_none().then(|| Arc::clone(&admin)),
            legacy_listener.is_none().then(|| Arc::clone(&legacy)),
        );
        let tls = certificates.as_ref().map(Certificates::acceptor);
        let tracked = connections.clone();
        listeners.spawn(accept(
            api_listener,
            tls,
            common.clone(),
            on_api,
            tracked,
            shutdown.clone(),
        ));
        if let Some(certificates) = certificates {
            listeners.spawn(certificates.keep_fresh(Arc::clone(&shared_gateway), recheck));
        }
        if let Some(listener) = legacy_listener {
            let on_legacy = answers(false, None, Some(Arc::clone(&legacy)));
            let (common, tracked) = (common.clone(), connections.clone());
            listeners.spawn(accept(listener, None, common, on_legacy, tracked, shutdown.clone()));
        }
        if let Some(listener) = admin_listener {
            let on_admin = answers(false, Some(Arc::clone(&admin)), None);
            // Not part of the drain: probes and scrapes go on until the last request has ended.
            let (apart, never) = (TaskTracker::new(), Shutdown::never());
            listeners.spawn(accept(listener, None, for_admin, on_admin, apart, never));
        }
        listeners.spawn(async move { admin.follow().await });
        readiness.serving();
        stop.cancelled().await;

        readiness.draining();
        shutdown.begin();
        let gateway = shared_gateway.load_full();
        let (delay, limit) = {
            let config = &gateway.config.server;
            (config.drain_delay, config.drain_timeout)
        };
        let end = Instant::now() + delay + limit;
        gateway.shutdown_deadline.set(end - LAST_ANSWERS.min(limit / 4));
        tracing::info!(open = common.open(), "draining");
        wait(delay, &force_stop).await;
        shutdown.close();
        connections.close();
        let drained = async {
            tokio::join!(
                timeout(limit, connections.wait()),
                // Another worker repeats a job that does not end in time.
                timeout(limit, legacy.stop()),
            )
        };
        let clean = tokio::select! {
            (requests, _jobs) = drained => requests.is_ok(),
            () = force_stop.cancelled() => false,
        };
        listeners.shutdown().await;
        clean
    }
}

/// Listens on an address, even if connections of an earlier process still use it.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // So that a client that vanished frees its request.
    keepalive::turn_on(&socket)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The response to a request with two lengths, of a listener without the pipeline.
fn two_lengths() -> Response<Bytes> {
    let error =
        WireError::new(ErrorKind::Validation, "the request has more than one Content-Length");
    let mut response = error.into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn wait(delay: Duration, force_stop: &CancellationToken) {
    tokio::select! {
        () = sleep(delay) => {}
        () = force_stop.cancelled() => {}
    }
}
