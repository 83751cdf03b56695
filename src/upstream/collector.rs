//! The collector that spans are sent to, by OTLP: over the same connections as upstreams, with their
//! trust and their proxies.
//!
//! Nothing that a collector says of an error is passed on but its number: it may quote the key that
//! it was sent.

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{CONTENT_TYPE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Code, Extensions, Status};

use super::connect::{ConnectionGauges, Connector};
use super::proxy::Proxies;
use super::with_causes;
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
    connector: Connector,
    way: Mutex<Way>,
}

/// Its connections.
#[derive(Clone, Debug)]
enum Way {
    Grpc(TraceServiceClient<HttpClient>),
    Http(HttpClient),
}

/// One type for both ways, so that it is built once.
type HttpClient = Client<Connector, tonic::body::Body>;

impl Way {
    fn new(protocol: TraceProtocol, endpoint: &Uri, connector: Connector) -> Way {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
        match protocol {
            TraceProtocol::Grpc => {
                let client = builder.http2_only(true).build(connector);
                let client = TraceServiceClient::with_origin(client, endpoint.clone());
                Way::Grpc(client.max_decoding_message_size(MAX_ANSWER))
            }
            TraceProtocol::Http => Way::Http(builder.build(connector)),
        }
    }
}

impl OtlpCollector {
    /// The collector of a config, reached as `upstream` says. `gauges` count its connections.
    pub fn new(
        config: &config::Traces,
        upstream: &config::Upstream,
        gauges: ConnectionGauges,
    ) -> OtlpCollector {
        let proxies = Arc::new(Proxies::new(&upstream.proxies));
        let endpoint = config.endpoint.clone();
        let mut headers = HeaderMap::with_capacity(config.headers.len() + 2);
        for (name, value) in &config.headers {
            // The config has checked that it is one.
            if let Ok(mut value) = HeaderValue::from_str(value.expose()) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        headers.extend(proxies.authorization(&endpoint).map(|it| (PROXY_AUTHORIZATION, it)));
        if config.protocol == TraceProtocol::Http {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        }
        let connector = Connector::new(upstream, proxies, gauges);
        let way = Mutex::new(Way::new(config.protocol, &endpoint, connector.clone()));
        let (timeout, protocol) = (config.timeout, config.protocol);
        OtlpCollector { endpoint, headers, timeout, protocol, connector, way }
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A delivery that waits for its answer. One that is given up leaves its connection behind, which may
/// be dead without anybody having noticed.
struct Unanswered<'a>(Option<&'a OtlpCollector>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(it) = self.0 {
            *it.way() = Way::new(it.protocol, &it.endpoint, it.connector.clone());
        }
    }
}

impl Collector for OtlpCollector {
    async fn deliver(&self, spans: &ExportTraceServiceRequest) -> Result<u64, Undelivered> {
        let way = self.way().clone();
        let mut unanswered = Unanswered(Some(self));
        let answer = match way {
            Way::Grpc(client) => self.by_grpc(client, spans).await,
            Way::Http(client) => self.by_http(&client, spans).await,
        };
        unanswered.0 = None;
        let refused = answer?.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(refused).unwrap_or(0))
    }
}

impl OtlpCollector {
    async fn by_grpc(
        &self,
        mut client: TraceServiceClient<HttpClient>,
        spans: &ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, Undelivered> {
        let metadata = MetadataMap::from_headers(self.headers.clone());
        let mut request =
            tonic::Request::from_parts(metadata, Extensions::default(), spans.clone());
        request.set_timeout(self.timeout);
        let answer = client.export(request).await.map_err(|status| refused_by_grpc(&status))?;
        Ok(answer.into_inner())
    }

    async fn by_http(
        &self,
        client: &HttpClient,
        spans: &ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, Undelivered> {
        let mut request = Request::new(tonic::body::Body::new(Full::from(spans.encode_to_vec())));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        *request.headers_mut() = self.headers.clone();
        let answer = client.request(request).await.map_err(|error| {
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
