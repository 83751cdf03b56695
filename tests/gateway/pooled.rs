//! Upstream connections that are kept for the next request, and are dead when it comes.

use std::time::Duration;

use crate::support::upstream::{BareUpstream, UpstreamAction};
use crate::support::{Ask, Config, Gateway, Simulator};

const RETRIED: &str = "sluice_upstream_resent_total";

/// A gateway with one target, without retries of its own, in front of a scripted upstream.
async fn start(
    script: impl Fn(usize, usize) -> UpstreamAction + Copy + Send + Sync + 'static,
) -> (BareUpstream, Gateway) {
    let upstream = BareUpstream::start(script).await;
    let simulator = Simulator::start().await;
    // Each thread keeps its own connections.
    let config = Config::models(&simulator, 1)
        .set("server.worker_threads", 1)
        .set("upstream.endpoint_url", upstream.url())
        .set("upstream.connect_timeout", "300ms")
        .set("fallback.eject_after", 1)
        .set("retry.attempts", 1);
    (upstream, Gateway::start(&config).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_dies_at_its_reuse_is_replaced_unnoticed() {
    for how in [UpstreamAction::Close, UpstreamAction::Reset] {
        let (upstream, gateway) = start(move |connection, request| match (connection, request) {
            (1, 2) => how,
            _ => UpstreamAction::Answer,
        })
        .await;
        for number in 1..=3 {
            let answer = Ask::new(&gateway, &format!("ask {number}")).send().await;
            assert_eq!(answer.status, 200, "{how:?}: {}", answer.text());
            assert_eq!(answer.header("x-sluice-attempts"), Some("1"), "{how:?}");
        }
        let seen = upstream.seen();
        let connections: Vec<usize> = seen.iter().map(|seen| seen.connection).collect();
        assert_eq!(connections[..3], [1, 1, 2], "{how:?}: sent again on a connection of its own");
        assert_eq!(seen.len(), 4);
        assert_eq!((&seen[1].head, &seen[1].body), (&seen[2].head, &seen[2].body), "{how:?}");
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.sum(RETRIED, &[]), 1.0);
        assert_eq!(metrics.sum("sluice_attempts_total", &[("outcome", "success")]), 3.0);
        assert_eq!(metrics.sum("sluice_attempts_total", &[]), 3.0);
        assert_eq!(
            gateway.target("sonnet-35").await["state"],
            "available",
            "{how:?}: no failure of it"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_sent_again_once_and_never_twice() {
    let (upstream, gateway) = start(|connection, request| match (connection, request) {
        (1, 1) => UpstreamAction::Answer,
        _ => UpstreamAction::Close,
    })
    .await;
    assert_eq!(Ask::new(&gateway, "first").send().await.status, 200);
    let answer = Ask::new(&gateway, "second").send().await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.header("x-sluice-attempts"), Some("1"));
    let seen = upstream.seen();
    let sent: Vec<&str> = seen.iter().map(|seen| seen.body.as_str()).collect();
    assert_eq!(sent.iter().filter(|body| body.contains("second")).count(), 2, "{seen:#?}");
    assert_eq!(gateway.metrics().await.sum(RETRIED, &[]), 1.0);
    assert_eq!(gateway.target("sonnet-35").await["state"], "cooling", "that one was a failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_fails_on_a_new_connection_is_not_resent() {
    let (upstream, gateway) = start(|_, _| UpstreamAction::Close).await;
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!(answer.status, 503);
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(gateway.metrics().await.sum(RETRIED, &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_fails_after_a_byte_or_a_long_time_is_not_resent() {
    for how in
        [UpstreamAction::CloseInHead, UpstreamAction::Garbage, UpstreamAction::CloseAfter(600)]
    {
        let (upstream, gateway) = start(move |connection, request| match (connection, request) {
            (1, 2) => how,
            _ => UpstreamAction::Answer,
        })
        .await;
        assert_eq!(Ask::new(&gateway, "first").send().await.status, 200);
        assert_eq!(Ask::new(&gateway, "second").send().await.status, 503, "{how:?}");
        assert_eq!(upstream.seen().len(), 2, "{how:?}");
        assert_eq!(gateway.metrics().await.sum(RETRIED, &[]), 0.0, "{how:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_full_of_dead_connections_costs_each_request_one_more_sending() {
    // The first request of each connection of the pool is answered, what follows there is not.
    let (upstream, gateway) = start(|connection, request| {
        if connection <= 5 && request > 1 { UpstreamAction::Close } else { UpstreamAction::Answer }
    })
    .await;
    let all = |number| {
        let asks = (0..number).map(|_| Ask::new(&gateway, "hello").start());
        let asks: Vec<_> = asks.collect();
        async move {
            for ask in asks {
                let answer = ask.await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert_eq!(answer.header("x-sluice-attempts"), Some("1"));
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), async {
        for _ in 0..5 {
            all(5).await;
        }
    })
    .await
    .unwrap();
    let resent = gateway.metrics().await.sum(RETRIED, &[]);
    assert_eq!(resent as usize, upstream.seen().len() - 25);
    assert!((1..=5).contains(&(resent as usize)), "{resent}");
}
