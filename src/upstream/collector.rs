//! The collector that spans are sent to, by OTLP: over the same connections as upstreams, with their
//! trust and their proxies.
//!
//! Nothing that a collector says of an error is passed on but its number: it may quote the key that
//! it was sent.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prometheus::IntCounter;
use prost::Message;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Code, Extensions, Status};
use tower::Service;

use super::connect::ConnectionGauges;
use super::{Body, Origin, RequestError, SendError, Upstream, with_causes};
use crate::config::{self, TraceProtocol};
use crate::telemetry::traces::{Collector, Undelivered};

/// Largest answer that is read, in bytes; a good one has next to nothing in it.
const MAX_ANSWER: usize = 64 * 1024;

/// How long a connection is kept between two deliveries.
const IDLE: Duration = Duration::from_secs(60);

/// A collector that speaks OTLP.
#[derive(Debug)]
pub struct OtlpCollector {
    endpoint: Uri,
    headers: HeaderMap,
    timeout: Duration,
    protocol: TraceProtocol,
    upstream: Upstream,
}

/// Connections as gRPC's library takes them.
#[derive(Clone, Debug)]
struct Channel(Upstream);

impl Service<Request<tonic::body::Body>> for Channel {
    type Response = Response<Body>;
    type Error = SendError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, SendError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
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

impl OtlpCollector {
    /// The collector of a config, reached as `upstream` says. `gauges` count its connections, and
    /// `resent` deliveries that met a dead one.
    pub fn new(
        config: &config::Traces,
        upstream: &config::Upstream,
        gauges: ConnectionGauges,
        resent: IntCounter,
    ) -> OtlpCollector {
        let endpoint = config.endpoint.clone();
        let mut headers = HeaderMap::with_capacity(config.headers.len() + 2);
        for (name, value) in &config.headers {
            // The config has checked that it is one.
            if let Ok(mut value) = HeaderValue::from_str(value.expose()) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        if config.protocol == TraceProtocol::Http {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        }
        let (timeout, protocol) = (config.timeout, config.protocol);
        let config = config::Upstream { pool_idle_timeout: IDLE, ..upstream.clone() };
        let upstream = Upstream::new(&config, gauges, resent);
        OtlpCollector { endpoint, headers, timeout, protocol, upstream }
    }
}

/// A delivery that waits for its answer. One that is given up leaves its connection behind, which may
/// be dead without anybody having noticed.
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
