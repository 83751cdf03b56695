//! Tests that need a whole gateway, or a scripted body.

mod panics;
mod passed_over;
mod relay;
mod secrets;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{Gateway, SharedGateway};
use crate::config::{Config, Env, LogFormat};
use crate::routing::Target;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::usage_log::UsageLog;
use crate::telemetry::{Logs, Metrics};

const MODEL: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

/// A gateway with one target, `t`, that has these further keys; and these further sections.
fn gateway(target: &str, sections: &str) -> Arc<Gateway> {
    let text = format!(
        "[upstream]\nregion = 'us-east-1'\nendpoint_url = 'http://127.0.0.1:1'\n\
         access_key_id = 'AKID'\nsecret_access_key = 'env:SECRET'\nidle_timeout = '20s'\n\
         [targets.t]\nmodel = '{MODEL}'\n{target}\n\
         [[routes]]\nmodels = ['{MODEL}']\ntargets = ['t']\n{sections}"
    );
    let env: Env = [("SECRET", "none")].into_iter().collect();
    let config = Config::from_toml(&text, "test.toml", &env).unwrap().config;
    let metrics = Arc::new(Metrics::new());
    let log = AccessLog::start(false, LogFormat::Json, metrics.access_log_dropped.clone());
    Gateway::new(config, None, metrics, Logs { access: log, usage: UsageLog::NONE, traces: None })
        .unwrap()
}

fn shared_gateway(gateway: &Arc<Gateway>) -> Arc<SharedGateway> {
    Arc::new(SharedGateway::new(Arc::clone(gateway)))
}

fn target(gateway: &Gateway) -> Arc<Target> {
    Arc::clone(gateway.router.targets().first().unwrap())
}

/// How many requests came to this outcome.
fn outcomes(gateway: &Gateway, outcome: &str) -> f64 {
    use prometheus::core::Collector;
    let families = gateway.metrics.requests.collect();
    let samples = families.iter().flat_map(|family| family.get_metric());
    let has = |metric: &&prometheus::proto::Metric| {
        metric.get_label().iter().any(|label| label.value() == outcome)
    };
    samples.filter(has).map(|metric| metric.get_counter().get_value()).sum()
}

/// How a body of the tests ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All of it has come.
    Complete,
    /// Its connection breaks.
    Breaks,
    /// It does not; nothing more comes.
    Silent,
    /// It panics.
    Panics,
}

/// A body that gives its chunks one by one.
#[derive(Debug)]
struct Scripted {
    chunks: VecDeque<Bytes>,
    end: End,
    /// Whether it tells its length beforehand, and so its end with the last chunk.
    is_sized: bool,
    /// Whether it lets its reader wait before each chunk.
    is_slow: bool,
    waited: bool,
}

impl Scripted {
    fn new(chunks: impl IntoIterator<Item = Bytes>, end: End) -> Scripted {
        let chunks = chunks.into_iter().collect();
        Scripted { chunks, end, is_sized: false, is_slow: false, waited: false }
    }
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.is_slow && !std::mem::replace(&mut self.waited, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.waited = false;
        match (self.chunks.pop_front(), self.end) {
            (Some(chunk), _) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            (None, End::Complete) => Poll::Ready(None),
            (None, End::Breaks) => {
                Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
            }
            (None, End::Silent) => Poll::Pending,
            (None, End::Panics) => panic!("panic on purpose"),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_sized && self.chunks.is_empty() && self.end == End::Complete
    }

    fn size_hint(&self) -> SizeHint {
        if !self.is_sized {
            return SizeHint::default();
        }
        SizeHint::with_exact(self.chunks.iter().map(|chunk| chunk.len() as u64).sum())
    }
}
