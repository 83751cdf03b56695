//! A throttled model: who answers instead, for how long, and in which order.

use std::time::Duration;

use sluice::simulator::{Fault, FaultRule};
use tokio::time::Instant;

use crate::daily_quota::day_that_lasts;
use crate::support::patience::eventually;
use crate::support::{
    Call, Client, Config, Gateway, MODELS, PRIMARY, SECOND, Simulator, bodies, http,
};

async fn invoke(gateway: &Gateway) -> http::Response {
    let url = format!("{}/model/{PRIMARY}/invoke", gateway.url());
    http::post(&url, &[], bodies::messages("hello", 10)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_primary_is_answered_by_the_next_model_for_every_client() {
    for client in Client::ALL {
        for call in Call::routed(PRIMARY, "hello") {
            if client == Client::Cli && call.is_stream() || call.operation == "CountTokens" {
                continue;
            }
            let simulator = Simulator::start().await;
            let gateway = Gateway::with_four_models(&simulator).await;
            simulator.throttles(PRIMARY, 1);
            let answer = gateway.call(client, call.clone()).await;
            let what = format!("{client:?} {}", call.operation);
            assert_eq!(answer.text(), format!("[{SECOND}] hello"), "{what}");
            if client != Client::Cli {
                assert_eq!(answer.header("x-sluice-model"), Some(SECOND), "{what}");
                assert_eq!(answer.header("x-sluice-attempts"), Some("2"), "{what}");
            }
            assert_eq!(simulator.models_called(), [PRIMARY, SECOND], "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cooling_target_gets_no_calls() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    simulator.throttles(PRIMARY, 1);
    for _ in 0..10 {
        let answer = invoke(&gateway).await;
        assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    }
    assert_eq!(simulator.calls_to(PRIMARY).len(), 1);
    assert_eq!(simulator.calls_to(SECOND).len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_cooldown_the_primary_answers_again() {
    let cooldown = Duration::from_millis(600);
    let simulator = Simulator::start().await;
    let gateway =
        Gateway::start(&Config::four_models(&simulator).every_target("cooldown", "600ms")).await;
    simulator.throttles(PRIMARY, 1);
    invoke(&gateway).await;
    let model = async || invoke(&gateway).await.header("x-sluice-model").unwrap().to_owned();
    eventually("the primary answers", model, |model| model == PRIMARY).await;
    let calls = simulator.calls_to(PRIMARY);
    assert_eq!(calls.len(), 2);
    let apart = calls[1].at_ms - calls[0].at_ms;
    assert!(apart >= cooldown.as_millis() as u64 - 50, "{apart} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn consecutive_throttles_lengthen_the_cooldown() {
    let simulator = Simulator::start().await;
    let gateway =
        Gateway::start(&Config::four_models(&simulator).every_target("cooldown", "300ms")).await;
    simulator.throttles(PRIMARY, 3);
    let model = async || invoke(&gateway).await.header("x-sluice-model").unwrap().to_owned();
    eventually("the primary answers", model, |model| model == PRIMARY).await;
    let calls = simulator.calls_to(PRIMARY);
    let apart: Vec<u64> = calls.windows(2).map(|two| two[1].at_ms - two[0].at_ms).collect();
    assert_eq!(apart.len(), 3);
    for (apart, at_least) in apart.iter().zip([300, 600, 900]) {
        assert!(*apart >= at_least - 50, "{apart} ms, wanted {at_least}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_per_day_cools_for_the_daily_cooldown_or_until_the_day_ends() {
    let left = day_that_lasts().await.as_secs_f64();
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator)
        .every_target("cooldown", "10ms")
        .set("fallback.daily_cooldown", "1h");
    let gateway = Gateway::start(&config).await;
    simulator.strikes(PRIMARY, 1, Fault::ThrottleDaily);
    let answer = invoke(&gateway).await;
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    let cooldown =
        gateway.metrics().await.sum("sluice_target_cooldown_seconds", &[("target", "sonnet-35")]);
    let wanted = left.min(3600.0);
    assert!((wanted - 100.0..=wanted + 1.0).contains(&cooldown), "{cooldown}, not {wanted}");
    // Long after the usual cooldown it still gets nothing.
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        assert_eq!(invoke(&gateway).await.header("x-sluice-model"), Some(SECOND));
    }
    assert_eq!(simulator.calls_to(PRIMARY).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_four_are_tried_in_their_order() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    for model in &MODELS[..3] {
        simulator.throttles(model, 1);
    }
    let answer = invoke(&gateway).await;
    assert_eq!(answer.header("x-sluice-model"), Some(MODELS[3]));
    assert_eq!(answer.header("x-sluice-attempts"), Some("4"));
    assert_eq!(simulator.models_called(), MODELS);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_first_uses_up_the_attempts_on_a_target() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator)
        .set("fallback.strategy", "retry_first")
        .set("retry.attempts", 3);
    let gateway = Gateway::start(&config).await;
    simulator.always_throttles(PRIMARY);
    let answer = invoke(&gateway).await;
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    assert_eq!(simulator.models_called(), [PRIMARY, PRIMARY, PRIMARY, SECOND]);
    // The cooldown began when the attempts were used up.
    invoke(&gateway).await;
    assert_eq!(simulator.calls_to(PRIMARY).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_first_stays_with_a_target_that_recovers() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).set("fallback.strategy", "retry_first");
    let gateway = Gateway::start(&config).await;
    simulator.throttles(PRIMARY, 2);
    let answer = invoke(&gateway).await;
    assert_eq!(answer.header("x-sluice-model"), Some(PRIMARY));
    assert_eq!(simulator.models_called(), [PRIMARY, PRIMARY, PRIMARY]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misconfigured_fallback_is_left_out_and_hides_nothing() {
    for fault in [Fault::AccessDenied, Fault::NotFound] {
        let simulator = Simulator::start().await;
        let gateway =
            Gateway::start(&Config::models(&simulator, 2).set("queue.max_wait", "100ms")).await;
        simulator.always_throttles(PRIMARY);
        simulator.add(FaultRule::always(fault.clone()).on(SECOND));
        let answer = gateway.call(Client::Boto3, Call::converse(PRIMARY, "hello")).await;
        // What the client hears is the throttle of its own model, not the operator's mistake.
        assert!(answer.raised().is("ThrottlingException"), "{fault:?}: {answer:?}");
        assert_eq!(answer.status, Some(429));
        assert_eq!(simulator.calls_to(SECOND).len(), 1);
        gateway.call(Client::Boto3, Call::converse(PRIMARY, "hello")).await;
        assert_eq!(simulator.calls_to(SECOND).len(), 1, "it stays out");
        let logged = gateway.log_lines("target is misconfigured").await;
        assert_eq!(logged.len(), 1, "{fault:?}: {logged:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misconfigured_fallback_is_passed_over_for_the_next() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::models(&simulator, 3)).await;
    simulator.throttles(PRIMARY, 1);
    simulator.add(FaultRule::always(Fault::AccessDenied).on(SECOND));
    let answer = invoke(&gateway).await;
    assert_eq!(answer.header("x-sluice-model"), Some(MODELS[2]));
    assert_eq!(simulator.models_called(), [PRIMARY, SECOND, MODELS[2]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_changes_no_state() {
    for fault in [Fault::Validation, Fault::AccessDenied, Fault::ModelError] {
        let simulator = Simulator::start().await;
        let gateway = Gateway::with_four_models(&simulator).await;
        simulator.strikes(PRIMARY, 1, fault.clone());
        let refused = invoke(&gateway).await;
        assert!((400..500).contains(&refused.status), "{fault:?}");
        let answer = invoke(&gateway).await;
        assert_eq!(answer.header("x-sluice-model"), Some(PRIMARY), "{fault:?}");
        assert_eq!(simulator.models_called(), [PRIMARY, PRIMARY], "{fault:?}");
    }
}
