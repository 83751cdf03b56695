//! Connections to the collector of traces: those of upstreams, with their trust and their proxies,
//! as a tower service.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::HOST;
use http::{Request, Response, Version};
use http_body_util::BodyExt;
use prometheus::IntCounter;
use tokio::time::Instant;
use tower::Service;

use super::connect::ConnectionGauges;
use super::{Body, Origin, RequestError, SendError, Upstream, with_causes};
use crate::config::{self, TraceProtocol};
use crate::telemetry::traces::{Collector, Undelivered};

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);

/// The connections to a collector. A request of HTTP/2 is sent as such; any other is sent over
/// HTTP/1.1 or what TLS has agreed on, and again if its connection was stale.
#[derive(Clone, Debug)]
pub struct CollectorConnections(Upstream);

impl CollectorConnections {
    /// Connections as `config` says. `gauges` count them, and `resent` requests that met a stale
    /// one.
    pub fn new(
        config: &config::Upstream,
        gauges: ConnectionGauges,
        resent: IntCounter,
    ) -> CollectorConnections {
        let config = config::Upstream { pool_idle_timeout: IDLE, ..config.clone() };
        CollectorConnections(Upstream::new(&config, gauges, resent))
    }

    async fn send(self, request: Request<tonic::body::Body>) -> Result<Response<Body>, BoxError> {
        let CollectorConnections(upstream) = self;
        let no_host = || SendError::Unusable("the URL names no host".to_owned());
        let origin = Origin::of(request.uri()).ok_or_else(no_host)?;
        let mut unanswered = Unanswered(Some(&upstream));
        let answer = if request.version() == Version::HTTP_2 {
            upstream.begin(&origin, request).await
        } else {
            let (mut head, body) = request.into_parts();
            head.headers.insert(HOST, origin.host());
            let body = body.collect().await?.to_bytes();
            let make = || Ok(Request::from_parts(head.clone(), body.clone()));
            upstream.exchange(&origin, make, Instant::now()).await
        };
        unanswered.0 = None;
        Ok(answer?)
    }
}

impl Service<Request<tonic::body::Body>> for CollectorConnections {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let Channel(upstream) = self.clone();
        Box::pin(async move {
            let nowhere = || SendError::from(RequestError::NoHost);
            let origin = Origin::of(request.uri()).ok_or_else(nowhere)?;
            upstream.send_streaming(&origin, request).await
        })
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

impl Collector for OtlpCollector {
    async fn deliver(&self, spans: &ExportTraceServiceRequest) -> Result<u64, Undelivered> {
        let mut unanswered = Unanswered(Some(&self.upstream));
        let answer = match self.protocol {
            TraceProtocol::Grpc => self.by_grpc(spans).await,
            TraceProtocol::Http => self.by_http(spans).await,
        };
        unanswered.0 = None;
        let refused = answer?.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(refused).unwrap_or(0))
    }
}

impl OtlpCollector {
    async fn by_grpc(
        &self,
        spans: &ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, Undelivered> {
        let client =
            TraceServiceClient::with_origin(Channel(self.upstream.clone()), self.endpoint.clone());
        let mut client = client.max_decoding_message_size(MAX_ANSWER);
        let metadata = MetadataMap::from_headers(self.headers.clone());
        let mut request =
            tonic::Request::from_parts(metadata, Extensions::default(), spans.clone());
        request.set_timeout(self.timeout);
        let answer = client.export(request).await.map_err(|status| refused_by_grpc(&status))?;
        Ok(answer.into_inner())
    }

    async fn by_http(
        &self,
        spans: &ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, Undelivered> {
        let nowhere = || Undelivered::ForGood("its URL names no host".to_owned());
        let origin = Origin::of(&self.endpoint).ok_or_else(nowhere)?;
        let body = Bytes::from(spans.encode_to_vec());
        let make = || {
            let mut request = Request::new(body.clone());
            *request.method_mut() = Method::POST;
            *request.uri_mut() = self.endpoint.clone();
            *request.headers_mut() = self.headers.clone();
            request.headers_mut().insert(HOST, origin.host());
            Ok(request)
        };
        let answer = self.upstream.round_trip(&origin, make, Instant::now()).await;
        let answer = answer.map_err(|error| {
            Undelivered::InPassing(with_causes("it can't be reached".to_owned(), &error))
        })?;
        let status = answer.status();
        if status != StatusCode::OK {
            return Err(refused_by_http(status));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body
            .map_err(|_| Undelivered::ForGood("its answer broke off, or is too long".to_owned()))?;
        // It has taken them, whatever else it says.
        Ok(ExportTraceServiceResponse::decode(body.to_bytes()).unwrap_or_default())
    }
}

/// What the protocol says of errors by gRPC: <https://opentelemetry.io/docs/specs/otlp/#failures>.
fn refused_by_grpc(status: &Status) -> Undelivered {
    let what = match status.source() {
        // It did not come to an answer.
        Some(_) => with_causes("it can't be reached".to_owned(), status),
        None => format!("it answered with {:?}", status.code()),
    };
    let in_passing = matches!(
        status.code(),
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    );
    if in_passing || status.source().is_some() {
        Undelivered::InPassing(what)
    } else {
        Undelivered::ForGood(what)
    }
}

/// And by HTTP.
fn refused_by_http(status: StatusCode) -> Undelivered {
    let what = format!("it answered with status {}", status.as_u16());
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Undelivered::InPassing(what),
        _ => Undelivered::ForGood(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_collector_says_of_an_error_is_not_passed_on() {
        let status = Status::unauthenticated("the key hunter2 is not known");
        let why = refused_by_grpc(&status);
        assert_eq!(why, Undelivered::ForGood("it answered with Unauthenticated".to_owned()));
        let why = refused_by_grpc(&Status::unavailable("hunter2"));
        assert_eq!(why, Undelivered::InPassing("it answered with Unavailable".to_owned()));
        for (status, in_passing) in
            [(400, false), (401, false), (429, true), (500, false), (503, true)]
        {
            let why = refused_by_http(StatusCode::from_u16(status).unwrap());
            assert_eq!(matches!(why, Undelivered::InPassing(_)), in_passing, "{status}");
        }
    }
}
