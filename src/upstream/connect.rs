//! How upstream connections are opened: TCP, directly or through a proxy, TLS with ALPN, all
//! within one time limit, and a count.
//!
//! Over TLS a server may choose HTTP/2; cleartext endpoints are spoken to in HTTP/1.1. A proxy is
//! asked for a tunnel to an endpoint that speaks TLS, and so sees none of what is said; requests to
//! one that does not are passed on by the proxy itself.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::dns::{GaiAddrs, GaiResolver, Name};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::TokioIo;
use prometheus::{IntCounter, IntCounterVec, IntGauge};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::{Service, ServiceExt};

use super::proxy::Proxies;
use crate::config;
use crate::system::descriptors::{
    Exhausted, Seldom, Shares, can_open_files, is_caused_by_exhaustion,
};
use crate::system::keepalive;
use crate::system::time::timeout;
use crate::telemetry::{Metrics, with_causes};

/// To the endpoint, or to a proxy, which may speak TLS itself.
type Hop = MaybeHttpsStream<TokioIo<TcpStream>>;
type Stream = MaybeHttpsStream<Hop>;
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting<S> = Pin<Box<dyn Future<Output = Result<S, BoxError>> + Send>>;

/// Gauges of the connections in each state, and counts of what kept them from their use.
#[derive(Clone, Debug)]
pub struct ConnectionGauges {
    /// Being opened.
    pub connecting: IntGauge,
    /// Open, in use or idle.
    pub open: IntGauge,
    /// Not opened, since the gateway itself had nothing left for it.
    pub exhausted: IntCounter,
    /// Ended, since the upstream sent more than any answer needs, by what it sent.
    pub floods: IntCounterVec,
}

impl ConnectionGauges {
    /// Those of the metrics.
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
    https: HttpsConnector<FirstHop>,
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
        let tls = client_config(&config.trust);
        let to_proxy = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp.clone());
        let first = FirstHop { tcp, to_proxy, proxies: Arc::clone(&proxies) };
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

    /// Opens a connection to a URI's place.
    pub(super) fn open(&self, uri: Uri) -> impl Future<Output = Result<Opened, BoxError>> + Send {
        self.clone().oneshot(uri)
    }
}

/// TLS towards upstreams, whose certificates must lead to somebody trusted.
fn client_config(trust: &config::Trust) -> ClientConfig {
    // Only the first of several installs counts, and all are the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    if trust.webpki {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    // The config has checked those of a file; of the system's some may not be usable.
    roots.add_parsable_certificates(trust.authorities.iter().cloned());
    ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

impl Service<Uri> for Connector {
    type Response = Opened;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = Held::take(&self.gauges.connecting);
        let open = self.gauges.open.clone();
        let limit = self.limit;
        let plain = uri.scheme() == Some(&Scheme::HTTP);
        let is_passed_on = plain && self.proxies.on_the_way(&uri).is_some();
        let connect = self.https.call(uri);
        Box::pin(async move {
            let stream = timeout(limit, connect).await.map_err(|_| ConnectTimeout)??;
            drop(connecting);
            Ok(Opened { stream, is_passed_on, _open: Held::take(&open) })
        })
    }
}

/// Opens TCP connections. What fails for want of something of the gateway's own is told apart, here
/// for all: the endpoint's connections, those to proxies, and the names of both.
#[derive(Clone, Debug)]
struct Tcp {
    http: HttpConnector<Resolver>,
    shares: Shares,
    exhausted: IntCounter,
    seldom: Arc<Seldom>,
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
        Tcp { http, shares, exhausted, seldom: Arc::default() }
    }

    fn check(
        &self,
        opened: Result<TokioIo<TcpStream>, BoxError>,
    ) -> Result<TokioIo<TcpStream>, BoxError> {
        let error = match opened {
            Ok(stream) if self.shares.has_room_for_upstream(stream.inner()) => return Ok(stream),
            Ok(_) => KEPT.into(),
            Err(error) if is_caused_by_exhaustion(&*error) => error,
            Err(error) => return Err(error),
        };
        self.exhausted.inc();
        if self.seldom.is_due() {
            let problem = with_causes(error.to_string(), &*error);
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
                return tcp.check(Err(Exhausted(KEPT.into()).into()));
            }
            tcp.check(connect.await.map_err(Into::into))
        })
    }
}

/// The system's resolver of names, which does not tell that it had no descriptors.
#[derive(Clone, Debug)]
struct Resolver(GaiResolver, Shares);

/// Why there is no connection although there are descriptors.
const KEPT: &str = "the last file descriptors are kept for the gateway itself";

impl Service<Name> for Resolver {
    type Response = GaiAddrs;
    type Error = BoxError;
    type Future = Connecting<GaiAddrs>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (resolving, shares) = (self.0.call(name), self.1);
        Box::pin(async move {
            match resolving.await {
                // Meanwhile others may have taken what there was.
                Ok(_) if !shares.can_open_for_upstream() => Err(Exhausted(KEPT.into()).into()),
                Ok(addresses) => Ok(addresses),
                Err(error) if can_open_files() => Err(error.into()),
                Err(error) => Err(Exhausted(error.into()).into()),
            }
        })
    }
}

/// Opens the first hop: to the endpoint itself, or through a proxy on the way to it.
#[derive(Clone, Debug)]
struct FirstHop {
    tcp: Tcp,
    to_proxy: HttpsConnector<Tcp>,
    proxies: Arc<Proxies>,
}

/// A proxy did not let a connection through.
#[derive(Debug, thiserror::Error)]
#[error("no way through the proxy {proxy}")]
struct NoWay {
    proxy: String,
    source: BoxError,
}

impl Service<Uri> for FirstHop {
    type Response = Hop;
    type Error = BoxError;
    type Future = Connecting<Hop>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.on_the_way(&uri) else {
            let connect = self.tcp.call(uri);
            return Box::pin(async move { Ok(MaybeHttpsStream::Http(connect.await?)) });
        };
        let to_proxy = self.to_proxy.clone();
        Box::pin(async move {
            let opened = match uri.scheme() == Some(&Scheme::HTTP) {
                true => to_proxy.oneshot(proxy.uri().clone()).await,
                false => tunnel(&proxy, to_proxy).oneshot(uri).await.map_err(Into::into),
            };
            // The authority has no password in it: the matcher has taken it out.
            let name = |uri: &Uri| uri.authority().map(ToString::to_string).unwrap_or_default();
            opened.map_err(|source| NoWay { proxy: name(proxy.uri()), source }.into())
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

/// A gauge that is one higher while this lives.
#[derive(Debug)]
struct Held(IntGauge);

impl Held {
    fn take(gauge: &IntGauge) -> Held {
        gauge.inc();
        Held(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A connection that is counted while it is open.
#[derive(Debug)]
pub(super) struct Opened {
    stream: Stream,
    /// Whether a proxy reads the requests, and so needs whole URIs in them.
    is_passed_on: bool,
    _open: Held,
}

impl Opened {
    /// Whether HTTP/2 was chosen on it.
    pub(super) fn is_http2(&self) -> bool {
        self.stream.connected().is_negotiated_h2()
    }

    pub(super) fn is_passed_on(&self) -> bool {
        self.is_passed_on
    }
}

impl Connection for Opened {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.is_passed_on)
    }
}

impl Read for Opened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Opened {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
