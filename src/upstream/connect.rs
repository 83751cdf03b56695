//! How upstream connections are opened: TCP with a time limit, TLS with ALPN, and a count.
//!
//! Over TLS a server may choose HTTP/2; cleartext endpoints are spoken to in HTTP/1.1.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use prometheus::IntGauge;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::Service;

use super::resend::Trace;

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Gauges of the connections in each state.
#[derive(Clone, Debug)]
pub struct ConnectionGauges {
    /// Being opened.
    pub connecting: IntGauge,
    /// Open, in use or idle.
    pub open: IntGauge,
}

/// A connection was not opened in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it took too long")]
pub(super) struct ConnectTimeout;

/// Opens connections for the pool.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector>,
    limit: Duration,
    gauges: ConnectionGauges,
}

impl Connector {
    pub(super) fn new(limit: Duration, gauges: ConnectionGauges) -> Connector {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        tcp.set_connect_timeout(Some(limit));
        // Only the first of several installs counts, and all are the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let https = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(tcp);
        Connector { https, limit, gauges }
    }
}

impl Service<Uri> for Connector {
    type Response = Counted<Stream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = Held::take(&self.gauges.connecting);
        let open = self.gauges.open.clone();
        let limit = self.limit;
        let connect = self.https.call(uri);
        Box::pin(async move {
            let stream = timeout(limit, connect).await.map_err(|_| ConnectTimeout)??;
            drop(connecting);
            Ok(Counted { stream, trace: Trace::new(), _open: Held::take(&open) })
        })
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
pub(super) struct Counted<S> {
    stream: S,
    trace: Trace,
    _open: Held,
}

impl<S: Connection> Connection for Counted<S> {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.trace.clone())
    }
}

impl<S: Read + Unpin> Read for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = read {
            self.trace.was_read();
        }
        read
    }
}

impl<S: Write + Unpin> Write for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.trace.was_written();
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
        self.trace.was_written();
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
