//! More than the gateway may have in hand: the rest is turned away at once, what was admitted is
//! answered, and nothing is left of it afterwards.

use std::time::Duration;

use sluice::simulator::{Latency, ModelSettings};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, PRIMARY, Simulator};

const LATENCY: Duration = Duration::from_secs(1);

async fn slow() -> Simulator {
    let simulator = Simulator::start().await;
    let head_ms = u64::try_from(LATENCY.as_millis()).unwrap();
    let latency = Latency { head_ms, token_ms: 0, jitter: 0.0 };
    simulator.limits(PRIMARY, ModelSettings { latency: Some(latency), ..ModelSettings::default() });
    simulator
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_turned_away_at_once_and_the_rest_is_answered_as_ever() {
    let simulator = slow().await;
    let config = Config::models(&simulator, 1).set("server.max_in_flight", 50);
    let gateway = Gateway::start(&config).await;
    let mut asked = JoinSet::new();
    for _ in 0..500 {
        let ask = Ask::new(&gateway, "hi");
        asked.spawn(async move {
            let began = Instant::now();
            (ask.send().await, began.elapsed())
        });
    }
    let (mut answered, mut refused) = (Vec::new(), Vec::new());
    while let Some(Ok((answer, took))) = asked.join_next().await {
        match answer.status {
            200 => answered.push(took),
            503 => {
                assert_eq!(answer.header("x-amzn-errortype"), Some("ServiceUnavailableException"));
                assert_eq!(answer.header("retry-after"), Some("1"));
                refused.push(took);
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    assert_eq!(answered.len() + refused.len(), 500);
    assert!(answered.len() >= 50 && !refused.is_empty(), "{} answered", answered.len());
    assert!(simulator.books()[PRIMARY].peak_in_flight <= 50);
    // In hand are never more than 50, so nobody waited for more than the model's own time.
    assert!(answered.iter().all(|took| *took < LATENCY * 3), "{answered:?}");
    let metrics = gateway.metrics().await;
    assert_eq!(
        metrics.sum("sluice_requests_total", &[("outcome", "overloaded")]),
        refused.len() as f64
    );
    // And when the load is gone, there is room at once.
    let in_hand = async || gateway.metrics().await.sum("sluice_in_flight_requests", &[]);
    eventually("nothing is in hand", in_hand, |count| *count == 0.0).await;
    assert_eq!(Ask::new(&gateway, "hi").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_together_are_bounded_too() {
    let simulator = slow().await;
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
