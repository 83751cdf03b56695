//! Quotas that count input and output apart, and capacity that is reserved for a service tier.

use serde_json::json;
use sluice::simulator::ModelSettings;

use crate::support::{Ask, Config, Gateway, PRIMARY, Simulator};

/// A request of about 100 tokens of input that is answered with 40.
fn ask(gateway: &Gateway, number: usize) -> Ask {
    let prompt = format!("number {number} {} sim:tokens=40", "asks and asks ".repeat(28));
    Ask::new(gateway, &prompt).max_tokens(100)
}

/// The same with Converse, at a service tier.
fn at_tier(gateway: &Gateway, tier: &str) -> Ask {
    let body = json!({
        "messages": [{ "role": "user", "content": [{ "text": "hello sim:tokens=10" }] }],
        "inferenceConfig": { "maxTokens": 100 },
        "serviceTier": { "type": tier },
    });
    Ask::new(gateway, "").converse(body.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn input_and_output_tokens_are_counted_apart() {
    let simulator = Simulator::start().await;
    // Enough for the input of all, and for the output of most of them.
    let limits = ModelSettings {
        input_tpm: Some(20_000),
        output_tpm: Some(900),
        ..ModelSettings::default()
    };
    simulator.limits(PRIMARY, limits);
    let config = Config::models(&simulator, 1)
        .set("targets.sonnet-35.input_tpm", 20_000)
        .set("targets.sonnet-35.output_tpm", 900)
        .set("queue.max_wait", "15s");
    let gateway = Gateway::start(&config).await;
    let under_way: Vec<_> = (0..24).map(|number| ask(&gateway, number).start()).collect();
    let (mut answered, mut longest) = (0, 0);
    for answer in under_way {
        let answer = answer.await.unwrap();
        if answer.status == 200 {
            answered += 1;
            longest = longest.max(answer.header("x-sluice-queued-ms").unwrap().parse().unwrap());
        }
    }
    let account = simulator.accounts()[PRIMARY];
    assert_eq!(account.throttled, 0);
    assert!(account.output_tokens > 900 && answered == 24, "{answered}: {account:?}");
    assert!(longest > 1000, "the output of a minute is used up: {longest}");
    let quota = gateway.target("sonnet-35").await["quota"].clone();
    assert!(quota["tpm"].is_null() && quota["tokens_available"].is_null(), "{quota}");
    assert_eq!((&quota["input"]["tpm"], &quota["output"]["tpm"]), (&json!(20e3), &json!(900.0)));
    let metrics = gateway.metrics().await;
    let labels = [("target", "sonnet-35"), ("kind", "output_tokens")];
    assert_eq!(metrics.sum("sluice_quota_limit", &labels), 900.0);
}

/// What is left of the target's requests a minute.
async fn requests_left(gateway: &Gateway) -> Option<f64> {
    gateway.target("sonnet-35").await["quota"]["requests_available"].as_f64()
}

/// A target whose quota takes one request, with reserved capacity for two more.
async fn with_reserved_capacity(simulator: &Simulator) -> Gateway {
    let config = Config::models(simulator, 1)
        .set("targets.sonnet-35.rpm", 1)
        .set("targets.sonnet-35.reserved_input_tpm", 300)
        .set("targets.sonnet-35.reserved_output_tpm", 10_000)
        .set("queue.max_wait", "0s");
    Gateway::start(&config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reserved_tier_draws_on_its_own_capacity_and_overflows_to_the_standard_quota() {
    let simulator = Simulator::start().await;
    let gateway = with_reserved_capacity(&simulator).await;
    for tier in ["reserved", "reserved"] {
        assert_eq!(at_tier(&gateway, tier).send().await.status, 200, "reserved capacity");
    }
    gateway.access_log(2).await;
    assert_eq!(requests_left(&gateway).await, Some(1.0));
    // Too large for the reserved capacity that is left.
    let large = ask(&gateway, 0).max_tokens(1000);
    let large = large.header("x-amzn-bedrock-service-tier", "reserved").send().await;
    assert_eq!(large.status, 200, "it overflows");
    gateway.access_log(3).await;
    assert!(requests_left(&gateway).await < Some(1.0));
    assert_eq!(at_tier(&gateway, "default").send().await.status, 429, "the standard quota is used");
    let by_header = Ask::new(&gateway, "hello").header("x-amzn-bedrock-service-tier", "reserved");
    assert_eq!(by_header.send().await.status, 200, "reserved capacity is not");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_tiers_share_the_standard_quota() {
    let simulator = Simulator::start().await;
    for tier in ["priority", "flex", "default"] {
        let gateway = with_reserved_capacity(&simulator).await;
        assert_eq!(at_tier(&gateway, tier).send().await.status, 200);
        gateway.access_log(1).await;
        assert_eq!(at_tier(&gateway, "flex").send().await.status, 429, "after {tier}");
        assert_eq!(at_tier(&gateway, "reserved").send().await.status, 200);
    }
}
