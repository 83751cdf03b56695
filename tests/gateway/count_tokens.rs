//! CountTokens is no inference: what it meets at a target says nothing of inference there, nor the other
//! way round, in one process and among replicas.

use serde_json::Value;
use sluice::simulator::{Fault, FaultRule};

use crate::support::gateway::ADMIN_KEY;
use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, PRIMARY, Redis, SECOND, Simulator, http};

const TARGET: &str = "sonnet-35";

const COUNTED: &str =
    r#"{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"hello"}]}]}}}"#;

fn count_tokens(gateway: &Gateway) -> Ask {
    Ask::new(gateway, "hello").operation("count-tokens", COUNTED.to_owned())
}

/// Throttles each call of an operation on the first model.
fn throttles(simulator: &Simulator, operation: &str) {
    let rule = FaultRule::always(Fault::Throttle).on(PRIMARY);
    simulator.add(FaultRule { operation: Some(operation.to_owned()), ..rule });
}

async fn state(gateway: &Gateway) -> (Value, Value) {
    let target = gateway.target(TARGET).await;
    (target["state"].clone(), target["count_tokens"]["state"].clone())
}

async fn reset(gateway: &Gateway) {
    let url = format!("{}/admin/targets/{TARGET}/reset", gateway.admin_url());
    let done = http::post(&url, &[("x-sluice-admin-key", ADMIN_KEY)], "").await;
    assert_eq!(done.status, 200, "{}", done.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_of_inference_leaves_count_tokens_alone_and_the_other_way_round() {
    let simulator = Simulator::start().await;
    let gateway =
        Gateway::start(&Config::models(&simulator, 2).every_target("cooldown", "60s")).await;
    throttles(&simulator, "InvokeModel");
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    assert_eq!(state(&gateway).await, ("cooling".into(), Value::Null));
    // Counted where it was asked for, and that opens nothing.
    for _ in 0..3 {
        let counted = count_tokens(&gateway).send().await;
        assert_eq!(counted.header("x-sluice-model"), Some(PRIMARY), "{}", counted.text());
        let answer = Ask::new(&gateway, "hello").send().await;
        assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    }
    assert_eq!(state(&gateway).await, ("cooling".into(), Value::Null));

    reset(&gateway).await;
    simulator.recovers();
    throttles(&simulator, "CountTokens");
    let counted = count_tokens(&gateway).send().await;
    assert_eq!(counted.header("x-sluice-model"), Some(SECOND), "{}", counted.text());
    assert_eq!(state(&gateway).await, ("available".into(), "cooling".into()));
    let shown = gateway.metrics().await;
    assert_eq!(shown.sum("sluice_target_count_tokens_state", &[("target", TARGET)]), 2.0);
    assert_eq!(shown.sum("sluice_target_state", &[("target", TARGET)]), 0.0);
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!(answer.header("x-sluice-model"), Some(PRIMARY));
    // Its throttle teaches no limit of inference, and inference opens nothing for it.
    assert_eq!(gateway.quota(TARGET).await.learned_rpm, None);
    assert_eq!(state(&gateway).await, ("available".into(), "cooling".into()));

    simulator.recovers();
    reset(&gateway).await;
    assert_eq!(state(&gateway).await, ("available".into(), Value::Null));
    let counted = count_tokens(&gateway).send().await;
    assert_eq!(counted.header("x-sluice-model"), Some(PRIMARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_between_them_do_not_make_throttles_fewer_in_a_row() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .every_target("cooldown", "50ms")
        .set("retry.attempts", 1)
        .set("queue.max_wait", "0s");
    let gateway = Gateway::start(&config).await;
    throttles(&simulator, "InvokeModel");
    for number in 1..=3 {
        assert_eq!(count_tokens(&gateway).send().await.status, 200);
        let refused = async || {
            Ask::new(&gateway, "hello").send().await;
            gateway.target(TARGET).await["consecutive_throttles"].clone()
        };
        eventually("it is throttled once more", refused, |it| *it == number).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_count_tokens_take_inference_out_of_no_target() {
    let simulator = Simulator::start().await;
    let config =
        Config::models(&simulator, 2).set("retry.attempts", 1).set("fallback.eject_after", 3);
    let gateway = Gateway::start(&config).await;
    let rule = FaultRule::always(Fault::Internal).on(PRIMARY);
    simulator.add(FaultRule { operation: Some("CountTokens".to_owned()), ..rule });
    for _ in 0..5 {
        let counted = count_tokens(&gateway).send().await;
        assert_eq!(counted.header("x-sluice-model"), Some(SECOND));
    }
    assert_eq!(state(&gateway).await, ("available".into(), "cooling".into()));
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!(answer.header("x-sluice-model"), Some(PRIMARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn count_tokens_does_not_wait_behind_requests_for_quota() {
    let simulator = Simulator::start().await;
    let config =
        Config::models(&simulator, 1).set("targets.sonnet-35.rpm", 1).set("queue.max_wait", "20s");
    let gateway = Gateway::start(&config).await;
    assert_eq!(Ask::new(&gateway, "first").send().await.status, 200);
    let waiting = Ask::new(&gateway, "second").start();
    gateway.has_waiting(1).await;
    let counted = count_tokens(&gateway).send().await;
    assert_eq!(counted.status, 200, "{}", counted.text());
    assert_eq!(counted.header("x-sluice-queued-ms"), Some("0"));
    gateway.has_waiting(1).await;
    waiting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_do_not_change_latency_estimates() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::models(&simulator, 1)).await;
    for _ in 0..5 {
        assert_eq!(count_tokens(&gateway).send().await.status, 200);
    }
    assert_eq!(gateway.target(TARGET).await["latency_ms"], 0.0);
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
    assert_ne!(gateway.target(TARGET).await["latency_ms"], 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_which_of_the_two_is_throttled() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let config = Config::models(&simulator, 2)
        .every_target("cooldown", "60s")
        .set("state.backend", "redis")
        .set("state.redis_url", redis.reference());
    let gateways = [Gateway::start(&config).await, Gateway::start(&config).await];
    for gateway in &gateways {
        let replicas = async || gateway.metrics().await.sum("sluice_fleet_replicas", &[]);
        eventually("both know of each other", replicas, |it| *it == 2.0).await;
    }
    throttles(&simulator, "CountTokens");
    let counted = count_tokens(&gateways[0]).send().await;
    assert_eq!(counted.header("x-sluice-model"), Some(SECOND));
    let other = async || state(&gateways[1]).await;
    eventually("the other knows", other, |it| *it == ("available".into(), "cooling".into())).await;
    let answer = Ask::new(&gateways[1], "hello").send().await;
    assert_eq!(answer.header("x-sluice-model"), Some(PRIMARY), "{}", answer.text());
    reset(&gateways[1]).await;
    for gateway in &gateways {
        let both = async || state(gateway).await;
        eventually("all is open", both, |it| *it == ("available".into(), Value::Null)).await;
    }
    // Who comes later finds nothing, either.
    let late = Gateway::start(&config).await;
    let replicas = async || late.metrics().await.sum("sluice_fleet_replicas", &[]);
    eventually("it has met the others", replicas, |it| *it == 3.0).await;
    assert_eq!(state(&late).await, ("available".into(), Value::Null));
}
