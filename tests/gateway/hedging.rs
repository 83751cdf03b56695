//! A second target for an answer that takes longer than usual: who wins, what the loser costs,
//! and how often it may be.

use sluice::simulator::{Ending, Fault};

use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, PRIMARY, SECOND, Simulator};

/// As many answers as tell what is usual.
const ENOUGH: usize = 20;

async fn hedging(simulator: &Simulator, max_share: f64) -> Gateway {
    let config = Config::models(simulator, 2)
        .every_target("tpm", 100_000)
        .set("hedge.enabled", true)
        .set("hedge.max_share", max_share);
    let gateway = Gateway::start(&config).await;
    for _ in 0..ENOUGH {
        let answer = Ask::new(&gateway, "usual sim:head_ms=20").send().await;
        assert_eq!(answer.header("x-sluice-model"), Some(PRIMARY));
    }
    gateway
}

async fn lost(gateway: &Gateway) -> f64 {
    gateway.metrics().await.sum("sluice_attempts_total", &[("outcome", "hedge_lost")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_target_is_overtaken_and_its_request_cancelled_and_settled() {
    let simulator = Simulator::start().await;
    let gateway = hedging(&simulator, 0.1).await;
    simulator.strikes(PRIMARY, 1, Fault::SlowHead { ms: 20_000 });
    let answer = Ask::new(&gateway, "slow").max_tokens(4_000).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    let loser =
        simulator.sees("the cancellation", |entry| entry.ending == Ending::Disconnected).await;
    assert_eq!(loser.model.as_deref(), Some(PRIMARY));
    for target in ["sonnet-35", "sonnet-35-v2"] {
        let in_flight = async || gateway.quota(target).await.in_flight;
        eventually("the settlement", in_flight, |in_flight| *in_flight == 0).await;
    }
    assert_eq!(lost(&gateway).await, 1.0);
    let log = gateway.access_log(ENOUGH + 1).await;
    let attempts = log[ENOUGH]["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{attempts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_the_share_is_hedged_and_no_stream() {
    let simulator = Simulator::start().await;
    // Two are saved up by the usual ones, and ten more requests earn one.
    let gateway = hedging(&simulator, 0.1).await;
    let streamed = Ask::new(&gateway, "slow sim:head_ms=400").stream().send().await;
    assert_eq!(streamed.header("x-sluice-model"), Some(PRIMARY));
    let slow: Vec<_> =
        (0..10).map(|_| Ask::new(&gateway, "slow sim:head_ms=400").start()).collect();
    for asked in slow {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    let hedged = simulator.calls_to(SECOND).len();
    assert!((1..=3).contains(&hedged), "{hedged} of ten were hedged");
    assert_eq!(lost(&gateway).await, hedged as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_nothing_is_hedged() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::models(&simulator, 2)).await;
    for prompt in std::iter::repeat_n("usual", ENOUGH).chain(["slow sim:head_ms=300"; 3]) {
        assert_eq!(Ask::new(&gateway, prompt).send().await.status, 200);
    }
    assert!(simulator.calls_to(SECOND).is_empty());
}
