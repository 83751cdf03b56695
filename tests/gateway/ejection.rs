//! Targets that fail or stall without being throttled: out for a while, then tried again.

use sluice::simulator::{Fault, FaultRule};

use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, PRIMARY, SECOND, Simulator, http};

const TARGET: &str = "sonnet-35";

/// Two models, of which the first is out for long once it is.
fn two_models(simulator: &Simulator) -> Config {
    Config::models(simulator, 2).set("retry.attempts", 1).set("fallback.eject_cooldown", "700ms")
}

/// Whether a stream ended with what the gateway says of one that falls silent.
fn has_stalled(answer: &http::Response) -> bool {
    assert!(!answer.broken);
    answer.text().contains("modelStreamErrorException")
}

async fn state(gateway: &Gateway) -> String {
    gateway.target(TARGET).await["state"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poor_success_rate_takes_a_target_out_until_a_probe_succeeds() {
    let simulator = Simulator::start().await;
    let config = two_models(&simulator)
        .set("fallback.eject_after", 1_000)
        .set("fallback.eject_min_requests", 10);
    let gateway = Gateway::start(&config).await;
    // Four are answered, the others fail: with the tenth, less than half were answered.
    simulator.add(FaultRule::always(Fault::Internal).on(PRIMARY).after(4));
    for number in 0..14 {
        let answer = Ask::new(&gateway, "hello").send().await;
        let by = if number < 4 { PRIMARY } else { SECOND };
        assert_eq!(answer.header("x-sluice-model"), Some(by), "{number}: {}", answer.text());
    }
    assert_eq!(simulator.calls_to(PRIMARY).len(), 10);
    assert_eq!(state(&gateway).await, "cooling");

    // After the cooldown the next request is the probe. It fails, and another target answers.
    eventually("the cooldown ends", async || state(&gateway).await, |state| state == "probing")
        .await;
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    assert_eq!(simulator.calls_to(PRIMARY).len(), 11);
    assert_ne!(state(&gateway).await, "available");
    simulator.recovers();
    let model = async || {
        let answer = Ask::new(&gateway, "hello").send().await;
        answer.header("x-sluice-model").unwrap().to_owned()
    };
    eventually("the target is back", model, |model| model == PRIMARY).await;
    assert_eq!(state(&gateway).await, "available");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_stall_take_a_target_out() {
    let simulator = Simulator::start().await;
    let config =
        two_models(&simulator).set("fallback.eject_after", 3).set("upstream.idle_timeout", "150ms");
    let gateway = Gateway::start(&config).await;
    simulator.add(FaultRule::always(Fault::StallAfterFrames { frames: 3 }).on(PRIMARY));
    for number in 0..3 {
        let answer = Ask::new(&gateway, "hello").stream().send().await;
        assert_eq!(answer.header("x-sluice-model"), Some(PRIMARY), "{number}");
        assert!(has_stalled(&answer), "{number}");
    }
    assert_eq!(state(&gateway).await, "cooling");
    let answer = Ask::new(&gateway, "hello").stream().send().await;
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    assert!(!has_stalled(&answer));

    simulator.recovers();
    let model = async || {
        let answer = Ask::new(&gateway, "hello").stream().send().await;
        answer.header("x-sluice-model").unwrap().to_owned()
    };
    eventually("the target is back", model, |model| model == PRIMARY).await;
    assert_eq!(state(&gateway).await, "available");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stalls_now_and_then_leaves_its_target_in() {
    let simulator = Simulator::start().await;
    let config =
        two_models(&simulator).set("fallback.eject_after", 3).set("upstream.idle_timeout", "150ms");
    let gateway = Gateway::start(&config).await;
    for number in 0..5 {
        simulator.strikes(PRIMARY, 1, Fault::StallAfterFrames { frames: 3 });
        let answer = Ask::new(&gateway, "hello").stream().send().await;
        assert!(has_stalled(&answer), "{number}");
        let answer = Ask::new(&gateway, "hello").stream().send().await;
        assert_eq!(answer.header("x-sluice-model"), Some(PRIMARY), "{number}");
        assert!(!has_stalled(&answer), "{number}");
    }
}
