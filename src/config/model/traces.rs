//! Where traces go.

use std::time::Duration;

use http::{HeaderName, Uri};
#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secret::Secret;
use crate::config::units::{AnyDuration, NonZeroDuration, TextForm as _};

/// Traces of requests, sent to an OpenTelemetry collector.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Traces {
    /// Where spans are sent: for gRPC scheme and authority, for HTTP the whole URL.
    #[serde(skip)]
    pub endpoint: Uri,
    /// The protocol: OTLP by gRPC, or by HTTP with protobuf.
    pub protocol: TraceProtocol,
    /// Share of the requests that are traced, of those whose client does not decide it.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    pub sample_ratio: f64,
    /// The name of the service in traces.
    pub service_name: String,
    /// Headers of each delivery. The values are known to fit in a header.
    #[serde(skip)]
    pub headers: Vec<(HeaderName, Secret)>,
    /// Time for one delivery.
    #[serde(with = "NonZeroDuration")]
    pub timeout: Duration,
    /// How long spans are collected before they are sent.
    #[serde(with = "AnyDuration")]
    pub batch_delay: Duration,
    /// Spans that wait to be sent. Those of further requests are dropped.
    #[cfg_attr(test, schemars(range(min = 128, max = 1_000_000)))]
    pub max_queue: usize,
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            endpoint: Uri::default(),
            protocol: TraceProtocol::Grpc,
            sample_ratio: 1.0,
            service_name: "sluice".to_owned(),
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            batch_delay: Duration::from_secs(1),
            max_queue: 8192,
        }
    }
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
