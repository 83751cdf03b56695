//! Requests that take more of a quota than it has in a minute, as one without a maximum can: their
//! throttle says nothing of the target, and they learn what would fit.

use serde_json::{Value, json};
use sluice::simulator::{Fault, FaultRule, Latency, ModelSettings};

use crate::support::gateway::run_sluice;
use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, PRIMARY, Redis, SECOND, Simulator, http};

const TARGET: &str = "sonnet-35";

/// A quota below the 4,096 or 8,192 output tokens that the models have.
const TPM: i64 = 3000;

/// The simulator's first model and its target have that quota.
fn small(simulator: &Simulator, config: Config) -> Config {
    let tpm = Some(TPM as u64);
    simulator.limits(PRIMARY, ModelSettings { tpm, ..ModelSettings::default() });
    config
        .set(&format!("targets.{TARGET}.tpm"), TPM)
        .every_target("cooldown", "60s")
        .set("retry.attempts", 1)
}

fn without_maximum(gateway: &Gateway) -> Ask {
    let body = json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]});
    Ask::new(gateway, "").converse(body.to_string())
}

fn with_maximum(gateway: &Gateway, max: u64) -> Ask {
    let body = json!({
        "messages": [{"role": "user", "content": [{"text": "hello"}]}],
        "inferenceConfig": {"maxTokens": max},
    });
    Ask::new(gateway, "").converse(body.to_string())
}

/// Nothing is held against the target.
async fn is_untouched(gateway: &Gateway) {
    let target = gateway.target(TARGET).await;
    assert_eq!(target["state"], "available", "{target}");
    assert_eq!(target["consecutive_throttles"], 0, "{target}");
    assert_eq!(target["last_throttle"], Value::Null, "{target}");
    assert_eq!(target["quota"]["learned_tpm"], Value::Null, "{target}");
    assert_eq!(target["quota"]["learned_rpm"], Value::Null, "{target}");
}

fn named(answer: &http::Response) -> (u16, Option<&str>) {
    (answer.status, answer.header("x-amzn-errortype"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_above_a_quota_falls_back_and_leaves_the_target_to_others() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&small(&simulator, Config::models(&simulator, 2))).await;
    for _ in 0..3 {
        let answer = without_maximum(&gateway).send().await;
        assert_eq!(answer.header("x-sluice-model"), Some(SECOND), "{}", answer.text());
        is_untouched(&gateway).await;
        let answer = with_maximum(&gateway, 100).send().await;
        assert_eq!(answer.header("x-sluice-model"), Some(PRIMARY), "{}", answer.text());
    }
    // A throttle of one that fits counts as ever.
    simulator.throttles(PRIMARY, 1);
    let answer = with_maximum(&gateway, 100).send().await;
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND), "{}", answer.text());
    assert_eq!(gateway.target(TARGET).await["state"], "cooling");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_of_the_target_does_not_hide_that_it_never_fits() {
    let simulator = Simulator::start().await;
    let config = small(&simulator, Config::models(&simulator, 2));
    let gateway =
        Gateway::start(&config.set(&format!("targets.{TARGET}.max_output_tokens"), 500)).await;
    let answer = without_maximum(&gateway).send().await;
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND), "{}", answer.text());
    is_untouched(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fallback_the_client_learns_the_size_that_fits() {
    let simulator = Simulator::start().await;
    let config = small(&simulator, Config::models(&simulator, 1));
    // A wait would not help, and there is none.
    let gateway = Gateway::start(&config.set("queue.max_wait", "60s")).await;
    for ask in [without_maximum(&gateway), with_maximum(&gateway, 3500)] {
        let refused = ask.send().await;
        assert_eq!(named(&refused), (400, Some("ValidationException")), "{}", refused.text());
        assert_eq!(refused.header("x-sluice-attempts"), Some("1"));
        let text = refused.text();
        assert!(text.contains("3000 tokens per minute"), "{text}");
        is_untouched(&gateway).await;
        let fits = text.rsplit("at most ").next().unwrap();
        let fits: u64 =
            fits.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
        let answer = with_maximum(&gateway, fits).send().await;
        assert_eq!(answer.status, 200, "{fits}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfit_fallback_does_not_hide_the_reason() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&small(&simulator, Config::models(&simulator, 2))).await;
    simulator.add(FaultRule::always(Fault::Validation).on(SECOND));
    let refused = without_maximum(&gateway).send().await;
    assert_eq!(named(&refused), (400, Some("ValidationException")), "{}", refused.text());
    assert!(refused.text().contains("Set a maximum"), "{}", refused.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_was_answered_before_fits_and_its_throttle_counts() {
    let simulator = Simulator::start().await;
    // The real quota is larger than the configured one.
    let config = Config::models(&simulator, 1)
        .set(&format!("targets.{TARGET}.tpm"), TPM)
        .set("queue.max_wait", "30s");
    let gateway = Gateway::start(&config).await;
    assert_eq!(without_maximum(&gateway).send().await.status, 200);
    simulator.throttles(PRIMARY, 1);
    // A pause, and it is asked again.
    let answer = without_maximum(&gateway).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-sluice-attempts"), Some("2"));
    assert_ne!(gateway.target(TARGET).await["last_throttle"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_do_not_share_it() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let config = small(&simulator, Config::models(&simulator, 2))
        .set("state.backend", "redis")
        .set("state.redis_url", redis.reference());
    let gateways = [Gateway::start(&config).await, Gateway::start(&config).await];
    for gateway in &gateways {
        let replicas = async || gateway.metrics().await.sum("sluice_fleet_replicas", &[]);
        eventually("both know of each other", replicas, |it| *it == 2.0).await;
    }
    // Whether the target is asked depends on what this replica has leased. The throttle is made certain.
    simulator.add(FaultRule::always(Fault::ThrottleTokens).on(PRIMARY));
    for _ in 0..3 {
        let answer = without_maximum(&gateways[0]).send().await;
        assert_eq!(answer.header("x-sluice-model"), Some(SECOND), "{}", answer.text());
    }
    is_untouched(&gateways[0]).await;
    is_untouched(&gateways[1]).await;
    let sent = [("direction", "sent")];
    assert_eq!(gateways[0].metrics().await.sum("sluice_fleet_notices_total", &sent), 0.0);
}

/// What a request holds of the target's quota while it is under way.
async fn held(gateway: &Gateway, ask: impl Fn() -> Ask) -> f64 {
    let full = gateway.quota(TARGET).await.tokens_available.unwrap();
    let under_way = ask().start();
    let quota = async || gateway.quota(TARGET).await;
    let quota = eventually("it is under way", quota, |quota| quota.in_flight == 1).await;
    assert_eq!(under_way.await.unwrap().status, 200);
    full - quota.tokens_available.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_assumed_maximum_is_capped_and_learned() {
    let simulator = Simulator::start().await;
    let slow = Some(Latency { head_ms: 300, ..Latency::default() });
    let quick = ModelSettings::default();
    // So much that what flows in meanwhile does not matter.
    let config = Config::models(&simulator, 1).set(&format!("targets.{TARGET}.tpm"), 50_000);
    let gateway = Gateway::start(&config).await;
    simulator.limits(PRIMARY, ModelSettings { latency: slow, ..quick });
    let own = held(&gateway, || without_maximum(&gateway)).await;
    assert!(own > 3500.0, "the model's own maximum: {own}");

    let config = config.set("upstream.assumed_max_output_tokens", 2000);
    let gateway = Gateway::start(&config).await;
    let assumed = held(&gateway, || without_maximum(&gateway)).await;
    assert!((1500.0..2200.0).contains(&assumed), "{assumed}");
    simulator.limits(PRIMARY, quick);
    for _ in 0..16 {
        assert_eq!(without_maximum(&gateway).send().await.status, 200);
    }
    simulator.limits(PRIMARY, ModelSettings { latency: slow, ..quick });
    let learned = held(&gateway, || without_maximum(&gateway)).await;
    assert!(learned < 500.0, "{learned}");
    let named = held(&gateway, || with_maximum(&gateway, 1500)).await;
    assert!(named > 1000.0, "a maximum that is named counts: {named}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_warns_of_quotas_that_no_request_without_a_maximum_fits() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2).set(&format!("targets.{TARGET}.tpm"), TPM);
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("config.toml");
    let check = async |config: Config| {
        std::fs::write(&path, config.to_toml()).unwrap();
        let arguments = ["check", "--offline", "--config", path.to_str().unwrap()];
        let (status, stdout, _) = run_sluice(&arguments).await;
        assert!(status.success(), "{stdout}");
        let warned = stdout.lines().filter(|line| line.contains("without a maximum"));
        warned.map(str::to_owned).collect::<Vec<_>>()
    };
    let said = check(config.clone()).await;
    assert!(said.len() == 1 && said[0].contains(TARGET) && said[0].contains("3000"), "{said:?}");
    assert!(check(config.clone().set("upstream.assumed_max_output_tokens", 2000)).await.is_empty());
    let large = config.set(&format!("targets.{TARGET}.tpm"), 1_000_000);
    assert!(check(large).await.is_empty());
}
