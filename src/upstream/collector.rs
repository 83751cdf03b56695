//! Connections to the collector of traces: those of upstreams, with their trust and their proxies,
//! as a tower service.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, Version};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use prometheus::IntCounter;
use tokio::time::Instant;
use tower::Service;

use super::connect::{BoxError, ConnectionGauges};
use super::{Body, BodyError, BuildRequestError, Origin, SendError, Upstream};
use crate::config;

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);

/// The connections to a collector. A request of HTTP/2 is sent as such; any other is sent over
/// HTTP/1.1 or what TLS has agreed on, and again if its connection was stale.
#[derive(Clone, Debug)]
pub struct CollectorConnections(Upstream);

impl CollectorConnections {
    /// Connections as configured. `gauges` count them, and `resent` requests that met a stale
    /// one.
    pub fn new(
        config: &config::Upstream,
        gauges: ConnectionGauges,
        resent: IntCounter,
    ) -> CollectorConnections {
        let config = config::Upstream { pool_idle_timeout: IDLE, ..config.clone() };
        CollectorConnections(Upstream::new(&config, gauges, resent))
    }

    async fn send(
        self,
        request: Request<tonic::body::Body>,
    ) -> Result<Response<AnswerBody>, BoxError> {
        let CollectorConnections(upstream) = self;
        let no_host = || SendError::from(BuildRequestError::NoHost);
        let origin = Origin::of(request.uri()).ok_or_else(no_host)?;
        let mut unanswered = Unanswered(Some(&upstream));
        let answer = if request.version() == Version::HTTP_2 {
            upstream.send_streaming(&origin, request).await
        } else {
            let (mut head, body) = request.into_parts();
            head.headers.insert(HOST, origin.host());
            let body = body.collect().await?.to_bytes();
            let make = || Ok(Request::from_parts(head.clone(), body.clone()));
            upstream.round_trip(&origin, make, Instant::now()).await
        };
        unanswered.0 = None;
        drop(unanswered);
        let answer = answer?;
        Ok(answer.map(|body| AnswerBody { body, upstream, is_awaited: false }))
    }
}

impl Service<Request<tonic::body::Body>> for CollectorConnections {
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

/// A request without an answer yet. If it is given up, its connection may be dead without a sign of
/// that, so none is used again.
struct Unanswered<'a>(Option<&'a Upstream>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(upstream) = self.0 {
            upstream.pool.clear();
        }
    }
}

/// The body of a collector's answer. As with [`Unanswered`], no connection is used again if a reader
/// gives up while it waits for a part of the body.
#[derive(Debug)]
pub struct AnswerBody {
    body: Body,
    upstream: Upstream,
    is_awaited: bool,
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.is_awaited = polled.is_pending();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if self.is_awaited {
            self.upstream.pool.clear();
        }
    }
}
