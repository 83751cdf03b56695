//! More than the gateway may have in hand: the rest is turned away at once, what was admitted is
//! answered, and nothing is left of it afterwards.

use std::sync::Arc;
use std::time::Duration;

use sluice::simulator::{Latency, ModelSettings};
use tokio::task::JoinSet;

use crate::support::patience::eventually;
use crate::support::raw::Connection;
use crate::support::{Ask, Call, Client, Config, Gateway, PRIMARY, Simulator, bodies};

const LATENCY: Duration = Duration::from_secs(1);

/// A simulator whose model thinks for this long.
async fn slow(latency: Duration) -> Simulator {
    let simulator = Simulator::start().await;
    let head_ms = u64::try_from(latency.as_millis()).unwrap();
    let latency = Latency { head_ms, token_ms: 0, jitter: 0.0 };
    simulator.limits(PRIMARY, ModelSettings { latency: Some(latency), ..ModelSettings::default() });
    simulator
}

#[tokio::test(flavor = "multi_thread")]
async fn excess_requests_are_shed_at_once_and_the_others_are_answered() {
    // Long enough for all refusals on a busy machine: they come while no admitted request is answered.
    let simulator = slow(LATENCY * 10).await;
    let config = Config::models(&simulator, 1).set("server.max_in_flight", 50);
    let gateway = Gateway::start(&config).await;
    let send = |asked: &mut JoinSet<_>, count| {
        for _ in 0..count {
            let ask = Ask::new(&gateway, "hi");
            asked.spawn(async move { ask.send().await });
        }
    };
    let in_flight = async || gateway.metrics().await.sum("sluice_in_flight_requests", &[]);
    let mut admitted = JoinSet::new();
    send(&mut admitted, 50);
    eventually("all are in flight", in_flight, |count| *count == 50.0).await;
    let mut excess = JoinSet::new();
    send(&mut excess, 450);
    while let Some(Ok(answer)) = excess.join_next().await {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.header("x-amzn-errortype"), Some("ServiceUnavailableException"));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(in_flight().await, 50.0, "no refusal waited for an answer");
    assert!(admitted.try_join_next().is_none());
    while let Some(Ok(answer)) = admitted.join_next().await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(simulator.accounts()[PRIMARY].peak_in_flight, 50);
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("sluice_requests_total", &[("outcome", "overloaded")]), 450.0);
    // And when the load is gone, there is room at once.
    eventually("nothing is in flight", in_flight, |count| *count == 0.0).await;
    assert_eq!(Ask::new(&gateway, "hi").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_together_are_bounded_too() {
    let simulator = slow(LATENCY).await;
    let config = Config::models(&simulator, 1).set("server.max_in_flight_bytes", "1MB");
    let gateway = Gateway::start(&config).await;
    let mut asked = JoinSet::new();
    for _ in 0..8 {
        let ask = Ask::new(&gateway, &"x".repeat(400_000));
        asked.spawn(async move { ask.send().await.status });
    }
    let statuses = asked.join_all().await;
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(200), count(503)), (2, 6), "{statuses:?}");
    let bytes = async || gateway.metrics().await.sum("sluice_in_flight_bytes", &[]);
    eventually("nothing is in hand", bytes, |count| *count == 0.0).await;
    // One alone may be as large as a body may be.
    assert_eq!(Ask::new(&gateway, &"x".repeat(2_000_000)).send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shed_client_with_a_large_body_can_read_the_refusal() {
    let simulator = slow(LATENCY).await;
    let config = Config::models(&simulator, 1).set("server.max_in_flight", 1);
    let gateway = Gateway::start(&config).await;
    let mut in_hand = Connection::open(gateway.address()).await;
    let request = Ask::new(&gateway, "hi sim:head_ms=600000").into_http1();
    in_hand.send(request.as_bytes()).await;
    simulator.sees("it", |entry| entry.seq == 1).await;
    let large = "x".repeat(4_000_000);
    let mut asked = JoinSet::new();
    for _ in 0..4 {
        asked.spawn(Ask::new(&gateway, &large).send());
    }
    for answer in asked.join_all().await {
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    for client in Client::SDKS {
        let call = Call::invoke(PRIMARY, "").body(bodies::messages(&large, 16));
        let answer = gateway.call(client, call).await;
        let raised = answer.raised();
        assert!(raised.is("ServiceUnavailableException"), "{client:?}: {raised:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_counts_until_its_answer_begins() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1).set("server.max_in_flight_bytes", "1MB");
    let gateway = Gateway::start(&config).await;
    let long = format!("sim:tokens=3000 sim:token_ms=20 {}", "x".repeat(800_000));
    let streaming = Ask::new(&gateway, &long).max_tokens(4_000).stream().start();
    simulator.sees("the stream", |entry| entry.frames >= 3).await;
    let held = async || gateway.metrics().await.sum("sluice_in_flight_bytes", &[]);
    eventually("nothing is held for it", held, |bytes| *bytes == 0.0).await;
    assert_eq!(Ask::new(&gateway, &"x".repeat(800_000)).send().await.status, 200);
    assert_eq!(gateway.metrics().await.sum("sluice_in_flight_requests", &[]), 1.0);
    streaming.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_does_not_fill_the_memory() {
    let simulator = slow(LATENCY).await;
    let config = Config::models(&simulator, 1)
        .set("server.max_in_flight", 10)
        .set("server.max_in_flight_bytes", "10MB");
    let gateway = Gateway::start(&config).await;
    let request: Arc<str> = Ask::new(&gateway, &"x".repeat(1_000_000)).into_http1().into();
    let before = gateway.resident_bytes();
    let mut most = before;
    for _ in 0..2 {
        let mut asked = JoinSet::new();
        for _ in 0..150 {
            let (request, address) = (Arc::clone(&request), gateway.address());
            asked.spawn(async move {
                let mut connection = Connection::open(address).await;
                connection.send(request.as_bytes()).await;
                connection.response().await.map(|response| response.status)
            });
        }
        while let Some(status) = asked.join_next().await {
            assert!(matches!(status.unwrap(), Some(200 | 503)));
            most = most.max(gateway.resident_bytes());
        }
    }
    // 150 MB came at a time. What is held is the bound, and what each connection reads at a go.
    let grown = (most - before) / 1_000_000;
    println!("{grown} MB more at the most");
    assert!(grown < 100, "{grown} MB");
    assert_eq!(Ask::new(&gateway, "hi").send().await.status, 200);
}
