//! Where traces go.

use std::time::Duration;

use http::{HeaderName, Uri};
#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

use crate::secret::Secret;
use crate::units::{AnyDuration, NonZeroDuration, TextForm as _};

/// Traces of requests, sent to an OpenTelemetry collector.
#[derive(Clone, Debug, PartialEq, Deserialize, SmartDefault)]
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
    #[default = 1.0]
    pub sample_ratio: f64,
    /// The name of the service in traces.
    #[cfg_attr(test, schemars(extend("format" = "non-blank")))]
    #[default = "sluice"]
    pub service_name: String,
    /// Headers of each delivery. The values are known to fit in a header.
    #[serde(skip)]
    pub headers: Vec<(HeaderName, Secret)>,
    /// Time for one delivery.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(10))]
    pub timeout: Duration,
    /// How long spans are collected before they are sent.
    #[serde(with = "AnyDuration")]
    #[default(Duration::from_secs(1))]
    pub batch_delay: Duration,
    /// Spans that wait to be sent. Those of further requests are dropped.
    #[cfg_attr(test, schemars(range(min = 128, max = 1_000_000)))]
    #[default = 8192]
    pub max_queue: usize,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TraceProtocol {
    /// OTLP by gRPC.
    #[default]
    Grpc,
    /// OTLP by HTTP, as protobuf.
    Http,
}
