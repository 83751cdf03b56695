//! OTLP, the protocol of collectors, by gRPC and by HTTP.
//!
//! Connections are a tower service, which the caller brings. Of an error that a collector answers
//! only the code is kept: its text may quote the key that it was sent.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::{Code, Extensions, Status};
use tower::{Service, ServiceExt};

use super::export::{Collector, ExportError};
use crate::config::{self, TraceProtocol};
use crate::telemetry::with_causes;

/// Largest answer that is read, in bytes; a regular one is almost empty.
const MAX_ANSWER: usize = 64 * 1024;

type BoxError = Box<dyn StdError + Send + Sync>;

/// A collector that speaks OTLP, reached over the connections `S`.
pub struct Otlp<S> {
    endpoint: Uri,
    headers: HeaderMap,
    timeout: Duration,
    protocol: TraceProtocol,
    connections: S,
}

impl<S> Otlp<S> {
    /// The collector of a config. `connections` takes a request by gRPC as HTTP/2, one by HTTP as
    /// HTTP/1.1.
    pub fn new(config: &config::Traces, connections: S) -> Otlp<S> {
        let mut headers = HeaderMap::with_capacity(config.headers.len() + 1);
        for (name, value) in &config.headers {
            // The config accepts only values that fit in a header.
            if let Ok(mut value) = HeaderValue::from_str(value.expose()) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        if config.protocol == TraceProtocol::Http {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        }
        let (endpoint, timeout) = (config.endpoint.clone(), config.timeout);
        Otlp { endpoint, headers, timeout, protocol: config.protocol, connections }
    }
}

impl<S> fmt::Debug for Otlp<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the headers, which hold keys.
        f.debug_struct("Otlp").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl<S, B> Collector for Otlp<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
{
    async fn send(&self, spans: &ExportTraceServiceRequest) -> Result<u64, ExportError> {
        let answer = match self.protocol {
            TraceProtocol::Grpc => self.send_by_grpc(spans).await,
            TraceProtocol::Http => self.send_by_http(spans).await,
        };
        let rejected = answer?.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or(0))
    }
}

impl<S, B> Otlp<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
{
    async fn send_by_grpc(
        &self,
        spans: &ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, ExportError> {
        let client =
            TraceServiceClient::with_origin(self.connections.clone(), self.endpoint.clone());
        let mut client = client.max_decoding_message_size(MAX_ANSWER);
        let metadata = MetadataMap::from_headers(self.headers.clone());
        let mut request =
            tonic::Request::from_parts(metadata, Extensions::default(), spans.clone());
        request.set_timeout(self.timeout);
        let answer = client.export(request).await.map_err(|status| grpc_error(&status))?;
        Ok(answer.into_inner())
    }

    async fn send_by_http(
        &self,
        spans: &ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, ExportError> {
        let mut request = Request::new(Body::new(Full::new(Bytes::from(spans.encode_to_vec()))));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        *request.headers_mut() = self.headers.clone();
        let answer = self.connections.clone().oneshot(request).await.map_err(|error| {
            ExportError::Retryable(with_causes("can't be reached".to_owned(), &*error.into()))
        })?;
        let status = answer.status();
        if status != StatusCode::OK {
            return Err(http_error(status));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|_| {
            ExportError::Permanent("its answer is incomplete or too long".to_owned())
        })?;
        // The collector has accepted the spans, even if its answer is not valid.
        Ok(ExportTraceServiceResponse::decode(body.to_bytes()).unwrap_or_default())
    }
}

/// Classifies a gRPC error: <https://opentelemetry.io/docs/specs/otlp/#failures>.
fn grpc_error(status: &Status) -> ExportError {
    let text = match status.source() {
        // There was no answer.
        Some(_) => with_causes("can't be reached".to_owned(), status),
        None => format!("answered {:?}", status.code()),
    };
    let is_retryable = matches!(
        status.code(),
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    );
    if is_retryable || status.source().is_some() {
        ExportError::Retryable(text)
    } else {
        ExportError::Permanent(text)
    }
}

/// Classifies an HTTP error: <https://opentelemetry.io/docs/specs/otlp/#failures-1>.
fn http_error(status: StatusCode) -> ExportError {
    let text = format!("answered status {}", status.as_u16());
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => ExportError::Retryable(text),
        _ => ExportError::Permanent(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_collectors_error_is_not_kept() {
        let error = grpc_error(&Status::unauthenticated("the key hunter2 is not known"));
        assert_eq!(error, ExportError::Permanent("answered Unauthenticated".to_owned()));
        let error = grpc_error(&Status::unavailable("hunter2"));
        assert_eq!(error, ExportError::Retryable("answered Unavailable".to_owned()));
        for (status, is_retryable) in
            [(400, false), (401, false), (429, true), (500, false), (503, true)]
        {
            let error = http_error(StatusCode::from_u16(status).unwrap());
            assert_eq!(matches!(error, ExportError::Retryable(_)), is_retryable, "{status}");
        }
    }
}
