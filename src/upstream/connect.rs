//! Opens connections to upstreams: TCP, directly or through a proxy, and TLS with ALPN, all within one
//! time limit. Metrics count the connections.
//!
//! A TLS server may choose HTTP/2; cleartext endpoints get HTTP/1.1. To a TLS endpoint a proxy opens a
//! tunnel, and so sees no request; requests to a cleartext endpoint it forwards itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::dns::{GaiAddrs, GaiResolver, Name};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::TokioIo;
use prometheus::{IntCounter, IntCounterVec, IntGauge};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::{Service, ServiceExt};

use super::proxy::Proxies;
use crate::config;
use crate::system::descriptors::{
    Exhausted, LogLimit, Shares, can_open_files, is_caused_by_exhaustion,
};
use crate::system::keepalive;
use crate::system::time::timeout;
use crate::telemetry::{Metrics, in_words};

/// A connection to the endpoint or to a proxy, which may use TLS itself.
type Hop = MaybeHttpsStream<TokioIo<TcpStream>>;
pub(super) type Stream = MaybeHttpsStream<Hop>;
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting<S> = Pin<Box<dyn Future<Output = Result<S, BoxError>> + Send>>;

/// Gauges of connections by state, and counts of connections that failed.
#[derive(Clone, Debug)]
pub struct ConnectionGauges {
    /// Being opened.
    pub connecting: IntGauge,
    /// Open, in use or idle.
    pub open: IntGauge,
    /// Not opened, since the gateway had no resources left.
    pub exhausted: IntCounter,
    /// Closed because the upstream sent more than any response needs, by what it sent.
    pub floods: IntCounterVec,
}

impl ConnectionGauges {
    /// The gauges among the metrics.
    pub fn of(metrics: &Metrics) -> ConnectionGauges {
        let gauge = |state| metrics.upstream_connections.with_label_values(&[state]);
        ConnectionGauges {
            connecting: gauge("connecting"),
            open: gauge("open"),
            exhausted: metrics.exhausted.with_label_values(&["connect"]),
            floods: metrics.upstream_floods.clone(),
        }
    }
}

/// A connection was not opened in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it took too long")]
pub(super) struct ConnectTimeout;

/// Opens connections for the pool.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    https: HttpsConnector<ProxyConnector>,
    proxies: Arc<Proxies>,
    limit: Duration,
    gauges: ConnectionGauges,
}

impl Connector {
    pub(super) fn new(
        config: &config::Upstream,
        proxies: Arc<Proxies>,
        gauges: ConnectionGauges,
    ) -> Connector {
        let limit = config.connect_timeout;
        let tcp = Tcp::new(limit, gauges.exhausted.clone());
        let tls = tls_config(&config.trust);
        let to_proxy = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp.clone());
        let first = ProxyConnector { tcp, to_proxy, proxies: Arc::clone(&proxies) };
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(first);
        Connector { https, proxies, limit, gauges }
    }

    /// Counts the connections that an upstream has flooded.
    pub(super) fn floods(&self) -> &IntCounterVec {
        &self.gauges.floods
    }

    /// Opens a connection to the host of a URI.
    pub(super) fn open(
        &self,
        uri: Uri,
    ) -> impl Future<Output = Result<NewConnection, BoxError>> + Send {
        self.clone().oneshot(uri)
    }
}

/// TLS with the trusted certificate authorities of the config.
pub(crate) fn tls_config(trust: &config::Trust) -> ClientConfig {
    // Only the first call counts; all install the same provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    if trust.webpki {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    // The config has checked those of a file; some of the system's may be unusable.
    roots.add_parsable_certificates(trust.authorities.iter().cloned());
    ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

impl Service<Uri> for Connector {
    type Response = NewConnection;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = GaugeGuard::new(&self.gauges.connecting);
        let open = self.gauges.open.clone();
        let limit = self.limit;
        let plain = uri.scheme() == Some(&Scheme::HTTP);
        let absolute_form = plain && self.proxies.proxy_for(&uri).is_some();
        let connect = self.https.call(uri);
        Box::pin(async move {
            let stream = timeout(limit, connect).await.map_err(|_| ConnectTimeout)??;
            drop(connecting);
            Ok(NewConnection { stream, absolute_form, open: GaugeGuard::new(&open) })
        })
    }
}

/// Opens TCP connections to endpoints and proxies, and resolves their names. Marks the failures for
/// which the gateway's own limits are the cause.
#[derive(Clone, Debug)]
struct Tcp {
    http: HttpConnector<Resolver>,
    shares: Shares,
    exhausted: IntCounter,
    log_limit: Arc<LogLimit>,
}

impl Tcp {
    fn new(limit: Duration, exhausted: IntCounter) -> Tcp {
        let shares = Shares::now();
        let mut http = HttpConnector::new_with_resolver(Resolver(GaiResolver::new(), shares));
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(keepalive::IDLE));
        http.set_keepalive_interval(Some(keepalive::INTERVAL));
        http.set_keepalive_retries(Some(keepalive::PROBES));
        http.set_connect_timeout(Some(limit));
        Tcp { http, shares, exhausted, log_limit: Arc::default() }
    }

    fn check(
        &self,
        opened: Result<TokioIo<TcpStream>, BoxError>,
    ) -> Result<TokioIo<TcpStream>, BoxError> {
        let error = match opened {
            Ok(stream) if self.shares.has_room_for_upstream(stream.inner()) => return Ok(stream),
            Ok(_) => RESERVED.into(),
            Err(error) if is_caused_by_exhaustion(&*error) => error,
            Err(error) => return Err(error),
        };
        self.exhausted.inc();
        if self.log_limit.is_due() {
            let problem = in_words(&*error);
            tracing::warn!(%problem, limit = self.shares.limit(), "no connections to upstreams");
        }
        Err(if error.is::<Exhausted>() { error } else { Exhausted(error).into() })
    }
}

impl Service<Uri> for Tcp {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Connecting<TokioIo<TcpStream>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (tcp, connect) = (self.clone(), self.http.call(uri));
        Box::pin(async move {
            if !tcp.shares.can_open_for_upstream() {
                return tcp.check(Err(Exhausted(RESERVED.into()).into()));
            }
            tcp.check(connect.await.map_err(Into::into))
        })
    }
}

/// The system's resolver. It does not report that it had no file descriptors, so this checks for them.
#[derive(Clone, Debug)]
struct Resolver(GaiResolver, Shares);

/// A host has no address.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve {host}")]
pub(super) struct ResolveError {
    pub(super) host: String,
    pub(super) source: BoxError,
}

/// Why there is no connection although there are file descriptors.
const RESERVED: &str = "the last file descriptors are kept for the gateway itself";

impl Service<Name> for Resolver {
    type Response = GaiAddrs;
    type Error = BoxError;
    type Future = Connecting<GaiAddrs>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let host = name.as_str().to_owned();
        let (resolving, shares) = (self.0.call(name), self.1);
        Box::pin(async move {
            match resolving.await {
                // Other requests may have taken the descriptors in the meantime.
                Ok(_) if !shares.can_open_for_upstream() => Err(Exhausted(RESERVED.into()).into()),
                Ok(addresses) => Ok(addresses),
                Err(error) if can_open_files() => {
                    Err(ResolveError { host, source: error.into() }.into())
                }
                Err(error) => Err(Exhausted(error.into()).into()),
            }
        })
    }
}

/// Connects to the endpoint, directly or through a proxy.
#[derive(Clone, Debug)]
struct ProxyConnector {
    tcp: Tcp,
    to_proxy: HttpsConnector<Tcp>,
    proxies: Arc<Proxies>,
}

/// A proxy refused or failed to connect.
#[derive(Debug, thiserror::Error)]
#[error("no connection through the proxy {proxy}")]
pub(super) struct ProxyConnectError {
    /// Its host and port.
    pub(super) proxy: String,
    pub(super) source: BoxError,
}

impl Service<Uri> for ProxyConnector {
    type Response = Hop;
    type Error = BoxError;
    type Future = Connecting<Hop>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.proxy_for(&uri) else {
            let connect = self.tcp.call(uri);
            return Box::pin(async move { Ok(MaybeHttpsStream::Http(connect.await?)) });
        };
        let to_proxy = self.to_proxy.clone();
        Box::pin(async move {
            let opened = match uri.scheme() == Some(&Scheme::HTTP) {
                true => to_proxy.oneshot(proxy.uri().clone()).await,
                false => tunnel(&proxy, to_proxy).oneshot(uri).await.map_err(Into::into),
            };
            // The authority has no password in it: the matcher has removed it.
            let name = |uri: &Uri| uri.authority().map(ToString::to_string).unwrap_or_default();
            opened.map_err(|source| ProxyConnectError { proxy: name(proxy.uri()), source }.into())
        })
    }
}

fn tunnel(proxy: &Intercept, to_proxy: HttpsConnector<Tcp>) -> Tunnel<HttpsConnector<Tcp>> {
    let tunnel = Tunnel::new(proxy.uri().clone(), to_proxy);
    match proxy.basic_auth() {
        Some(authorization) => tunnel.with_auth(authorization.clone()),
        None => tunnel,
    }
}

/// Keeps a gauge one higher until it is dropped.
#[derive(Debug)]
pub(super) struct GaugeGuard(IntGauge);

impl GaugeGuard {
    fn new(gauge: &IntGauge) -> GaugeGuard {
        gauge.inc();
        GaugeGuard(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A connection that was just opened.
#[derive(Debug)]
pub(super) struct NewConnection {
    pub(super) stream: Stream,
    /// Whether a proxy forwards the requests, and so needs absolute URIs in them.
    pub(super) absolute_form: bool,
    /// Counts the connection while it is open.
    pub(super) open: GaugeGuard,
}

impl NewConnection {
    /// Whether the server chose HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.stream.connected().is_negotiated_h2()
    }
}
