//! An OpenTelemetry collector that keeps what it is sent, by gRPC and by HTTP on one port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::Status;
use tower::Service;

use super::patience::eventually;

type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// How a collector responds to a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveryResponse {
    /// Accepts the delivery.
    #[default]
    Accept,
    /// Refuses the delivery permanently, and quotes the request's headers.
    Refuse,
    /// Never responds.
    Hang,
    /// Responds with a head, and never with a body.
    Stall,
}

/// A collector, ended when dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    serving: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    response: DeliveryResponse,
    deliveries: Vec<Delivery>,
}

/// One delivery.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The number of its connection, from 1.
    pub connection: usize,
    /// The path.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The attributes of the resource.
    pub resource: BTreeMap<String, String>,
    /// The spans.
    pub spans: Vec<Recorded>,
}

/// A received span, in a form to compare.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Ids in hex; `parent` is empty for a root.
    pub trace_id: String,
    pub span_id: String,
    pub parent: String,
    pub state: String,
    pub name: String,
    pub kind: SpanKind,
    /// Unix time in nanoseconds.
    pub start: u64,
    pub end: u64,
    pub attributes: BTreeMap<String, String>,
    /// The message of its status, if that is an error.
    pub error: Option<String>,
}

impl Recorded {
    /// An attribute as text. Empty if the span lacks the attribute.
    pub fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// The `traceparent` of the span.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace_id, self.span_id)
    }

    /// Whether the span lies within another span.
    pub fn is_within(&self, other: &Recorded) -> bool {
        other.start <= self.start && self.start <= self.end && self.end <= other.end
    }
}

impl Collector {
    /// Starts a collector that accepts every delivery.
    pub async fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            for connection in 1.. {
                let (socket, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let answer =
                        service_fn(move |request| answer(request, connection, Arc::clone(&shared)));
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(socket), answer).await;
                });
            }
        });
        Collector { address, state, serving }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the response to further deliveries.
    pub fn respond_with(&self, response: DeliveryResponse) {
        self.state.lock().response = response;
    }

    /// All deliveries so far.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.state.lock().deliveries.clone()
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Recorded> {
        self.deliveries().into_iter().flat_map(|it| it.spans).collect()
    }

    /// All spans, once there are at least so many.
    pub async fn has(&self, count: usize) -> Vec<Recorded> {
        eventually("spans", async || self.spans(), |spans| spans.len() >= count).await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    connection: usize,
    state: Arc<Mutex<State>>,
) -> Result<Response<Body>, std::convert::Infallible> {
    let path = request.uri().path().to_owned();
    let headers = request.headers().clone();
    let receiver = Receiver { connection, path: path.clone(), headers, state };
    if receiver.response() == DeliveryResponse::Stall {
        let kind = receiver.headers["content-type"].clone();
        let body = StreamBody::new(futures_util::stream::pending()).boxed_unsync();
        return Ok(Response::builder().header("content-type", kind).body(body).unwrap());
    }
    if path.starts_with("/opentelemetry.") {
        let mut server = TraceServiceServer::new(receiver);
        let response = server.call(request).await?;
        return Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()));
    }
    assert_eq!(receiver.headers["content-type"], "application/x-protobuf");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let message = ExportTraceServiceRequest::decode(body).unwrap();
    let (status, body) = match receiver.take(message).await {
        Ok(answer) => (200, Bytes::from(answer.encode_to_vec())),
        Err(why) => (401, Bytes::from(why)),
    };
    let body = Full::from(body).map_err(|never| match never {}).boxed_unsync();
    Ok(Response::builder().status(status).body(body).unwrap())
}

struct Receiver {
    connection: usize,
    path: String,
    headers: HeaderMap,
    state: Arc<Mutex<State>>,
}

impl Receiver {
    fn response(&self) -> DeliveryResponse {
        self.state.lock().response
    }

    async fn take(
        &self,
        request: ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, String> {
        match self.response() {
            DeliveryResponse::Hang | DeliveryResponse::Stall => std::future::pending::<()>().await,
            DeliveryResponse::Refuse => return Err(format!("you said {:?}", self.headers)),
            DeliveryResponse::Accept => {}
        }
        // A probe sends no span.
        let Some(all) = request.resource_spans.first() else {
            return Ok(ExportTraceServiceResponse::default());
        };
        let spans = request.resource_spans.iter().flat_map(|it| &it.scope_spans);
        let delivery = Delivery {
            connection: self.connection,
            path: self.path.clone(),
            headers: self.headers.clone(),
            resource: attributes(&all.resource.as_ref().unwrap().attributes),
            spans: spans.flat_map(|it| &it.spans).map(recorded).collect(),
        };
        self.state.lock().deliveries.push(delivery);
        Ok(ExportTraceServiceResponse::default())
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let taken = self.take(request.into_inner()).await;
        taken.map(tonic::Response::new).map_err(Status::unauthenticated)
    }
}

fn recorded(span: &Span) -> Recorded {
    let is_error = |code| code == StatusCode::Error as i32;
    let status = span.status.as_ref().filter(|status| is_error(status.code));
    Recorded {
        trace_id: hex::encode(&span.trace_id),
        span_id: hex::encode(&span.span_id),
        parent: hex::encode(&span.parent_span_id),
        state: span.trace_state.clone(),
        name: span.name.clone(),
        kind: span.kind(),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: attributes(&span.attributes),
        error: status.map(|status| status.message.clone()),
    }
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |it: &KeyValue| match it.value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => panic!("{other:?}"),
    };
    let map: BTreeMap<_, _> = all.iter().map(|it| (it.key.clone(), text(it))).collect();
    assert_eq!(map.len(), all.len(), "each name comes once: {all:?}");
    map
}
