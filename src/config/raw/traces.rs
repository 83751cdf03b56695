//! `[traces]` as the file says it.

use std::collections::BTreeMap;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::TraceProtocol;
use crate::config::secret::SecretRef;
use crate::config::units::DurationText;

/// Traces of requests, sent to an OpenTelemetry collector.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(in crate::config) struct RawTraces {
    /// URL of the collector. Without one there are no traces.
    #[cfg_attr(test, schemars(example = &"http://localhost:4317"))]
    pub(in crate::config) endpoint_url: Option<String>,
    /// How it is spoken to: OTLP by gRPC, or by HTTP with protobuf.
    pub(in crate::config) protocol: TraceProtocol,
    /// Share of the requests that are traced, of those whose client does not say.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    pub(in crate::config) sample_ratio: f64,
    /// The name of the service in traces.
    pub(in crate::config) service_name: String,
    /// Headers that the collector wants, such as a key: each a name and a value by reference.
    #[cfg_attr(test, schemars(extend("maxProperties" = 32)))]
    pub(in crate::config) headers: BTreeMap<String, SecretRef>,
    /// Time for one delivery.
    pub(in crate::config) timeout: DurationText,
    /// How long spans are collected before they are sent.
    pub(in crate::config) batch_delay: DurationText,
    /// Spans that wait to be sent. Those of further requests are dropped.
    #[cfg_attr(test, schemars(range(min = 128, max = 1_000_000)))]
    pub(in crate::config) max_queue: usize,
}

impl Default for RawTraces {
    fn default() -> Self {
        Self {
            endpoint_url: None,
            protocol: TraceProtocol::Grpc,
            sample_ratio: 1.0,
            service_name: "sluice".to_owned(),
            headers: BTreeMap::new(),
            timeout: "10s".into(),
            batch_delay: "1s".into(),
            max_queue: 8192,
        }
    }
}
