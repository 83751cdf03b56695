//! Where traces go.

use std::time::Duration;

use http::{HeaderName, Uri};
#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secret::Secret;

/// Traces of requests, sent to an OpenTelemetry collector.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// Where spans are sent: for gRPC scheme and authority, for HTTP the whole URL.
    pub endpoint: Uri,
    /// How the collector is spoken to.
    pub protocol: TraceProtocol,
    /// Share of the requests that are traced, of those whose client does not say; 0.0 to 1.0.
    pub sample_ratio: f64,
    /// The name of the service in traces.
    pub service_name: String,
    /// What the collector is sent with each delivery. The values are known to fit in a header.
    pub headers: Vec<(HeaderName, Secret)>,
    /// Time for one delivery.
    pub timeout: Duration,
    /// How long spans are collected before they are sent. May be zero.
    pub batch_delay: Duration,
    /// Spans that wait to be sent; at least 128.
    pub max_queue: usize,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TraceProtocol {
    /// OTLP by gRPC.
    Grpc,
    /// OTLP by HTTP, as protobuf.
    Http,
}
