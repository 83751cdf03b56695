//! `Debug` of whatever has a secret does not show it, so logging such a value cannot leak it.

use std::time::Duration;

use http::{HeaderValue, Request};

use super::super::{observe, stage};
use super::*;
use crate::auth::Peer;
use crate::config::Source;
use crate::storage::redis::Redis;
use crate::storage::sums::Store;

const TEXT: &str = "
[server]
admin_key = 'env:ADMIN'
[upstream]
endpoint_url = 'http://127.0.0.1:1'
access_key_id = 'AKID'
secret_access_key = 'env:SECRET'
session_token = 'env:TOKEN'
proxy = 'env:PROXY'
[targets.t]
model = 'anthropic.claude-3-haiku-20240307-v1:0'
bearer_token = 'env:TARGET'
[[clients]]
name = 'a'
bearer_token = 'env:BEARER'
access_key_id = 'TEAMA'
secret_access_key = 'env:PAIR'
daily_budget_usd = 1
[jobs]
backend = 'redis'
redis_url = 'env:REDIS'
";

fn env() -> Env {
    let variables = [
        ("ADMIN", "hush-0123456789-admin"),
        ("SECRET", "hush-0123456789-secret"),
        ("TOKEN", "hush-0123456789-token"),
        ("PROXY", "http://u:hush-proxy@127.0.0.1:2"),
        ("TARGET", "hush-0123456789-target"),
        ("BEARER", "hush-0123456789-bearer"),
        ("PAIR", "hush-0123456789-pair"),
        ("REDIS", "redis://u:hush-redis@127.0.0.1:3/0"),
    ];
    variables.into_iter().collect()
}

#[track_caller]
fn assert_no_secret(shown: &str) {
    let at = shown.to_ascii_lowercase().find("hush");
    let near = at.map(|at| &shown[at.saturating_sub(300)..(at + 60).min(shown.len())]);
    assert_eq!(near, None);
}

#[tokio::test]
async fn no_debug_output_shows_a_secret() {
    let loaded = Config::from_toml(TEXT, "test.toml", &env()).unwrap();
    assert_no_secret(&format!("{loaded:?} {:?} {:?}", env(), Source::BuiltIn));
    assert_no_secret(&loaded.config.effective.to_json().unwrap().to_string());
    let config = loaded.config;
    let replaced = prometheus::IntCounter::new("replaced", "Replaced.").unwrap();
    assert_no_secret(&format!("{:?}", Store::new(&config.state.budgets, replaced).unwrap()));
    let redis = Redis::new("redis://u:hush-redis@127.0.0.1:3/0", Duration::from_secs(1));
    assert_no_secret(&format!("{redis:?}"));
    let metrics = Arc::new(Metrics::new());
    let log = AccessLog::start(false, LogFormat::Json, metrics.access_log_dropped.clone());
    let gateway = Gateway::new(
        config,
        None,
        metrics,
        Logs { access: log, usage: UsageLog::NONE, traces: None },
    )
    .unwrap();
    assert_no_secret(&format!("{gateway:?}"));
    for target in gateway.router.targets() {
        target.endpoint.credentials.settled().await;
        assert_no_secret(&format!(
            "{:?} {:?}",
            target.endpoint.credentials.auth(),
            target.endpoint.credentials
        ));
    }
    assert!(gateway.router.targets()[0].endpoint.credentials.auth().is_some());
}

#[derive(Clone, Debug)]
struct InspectDebug;

impl tower::Service<stage::ObservedRequest<()>> for InspectDebug {
    type Response = http::Response<super::super::ResponseBody>;
    type Error = super::super::error::RequestError;
    type Future = std::future::Pending<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, observed: stage::ObservedRequest<()>) -> Self::Future {
        assert_no_secret(&format!("{observed:?}"));
        std::future::pending()
    }
}

#[tokio::test]
async fn no_debug_output_of_a_request_shows_its_key() {
    use tower::{Layer, Service};
    let gateway = gateway("", "");
    let mut request = Request::new(());
    for _ in 0..2 {
        let value = HeaderValue::from_static("Bearer hush-0123456789");
        request.headers_mut().append("authorization", value);
    }
    let (head, body) = request.into_parts();
    let inbound = super::super::InboundRequest { head, body, peer: Peer::from(PEER) };
    // The look is taken in the call itself; a panic in it would be answered, and counted.
    let mut observing = observe::layer(&shared_gateway(&gateway)).layer(InspectDebug);
    drop(observing.call(inbound));
    assert_eq!(gateway.metrics.panics.get(), 0);
}
