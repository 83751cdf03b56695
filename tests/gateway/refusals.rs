//! What a client is told when no target answers: what became of each, whether waiting for quota helps,
//! and when to try again.

use sluice::simulator::{Fault, FaultRule, Latency, ModelSettings};

use crate::support::gateway::ADMIN_KEY;
use crate::support::{Ask, Config, Gateway, MODELS, PRIMARY, Redis, SECOND, Simulator, http};

fn named(answer: &http::Response) -> (u16, Option<&str>) {
    (answer.status, answer.header("x-amzn-errortype"))
}

/// It says when to try again, in both forms.
fn says_when(answer: &http::Response) -> u64 {
    let header = |name| answer.header(name).unwrap_or_else(|| panic!("{name}: {}", answer.text()));
    let seconds: u64 = header("retry-after").parse().unwrap();
    let millis: u64 = header("x-amz-retry-after").parse().unwrap();
    assert!(seconds >= 1 && millis >= 1 && millis <= seconds * 1000, "{seconds} {millis}");
    seconds
}

/// Neither waits nor pauses.
fn at_once(config: Config) -> Config {
    config.set("queue.max_wait", "0s").set("retry.attempts", 1).every_target("cooldown", "60s")
}

/// An address that refuses connections: its listener is gone.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_throttled_and_three_denied() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&at_once(Config::four_models(&simulator))).await;
    simulator.always_throttles(PRIMARY);
    for model in &MODELS[1..] {
        simulator.add(FaultRule::always(Fault::AccessDenied).on(model));
    }
    // What was met, and then what is known.
    for _ in 0..2 {
        let refused = Ask::new(&gateway, "hello").send().await;
        let text = refused.text();
        assert_eq!(named(&refused), (429, Some("ThrottlingException")), "{text}");
        assert!(text.contains("Of 4 targets 1 is throttled and 3 deny access"), "{text}");
        assert!(text.contains("sonnet-35 should be available first"), "{text}");
        assert!((30..=60).contains(&says_when(&refused)), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_throttled_is_said_when_all_are() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&at_once(Config::models(&simulator, 2))).await;
    simulator.always_throttles(PRIMARY);
    simulator.always_throttles(SECOND);
    for _ in 0..2 {
        let refused = Ask::new(&gateway, "hello").send().await;
        assert_eq!(named(&refused), (429, Some("ThrottlingException")), "{}", refused.text());
        assert!(refused.text().contains("All targets are throttled"), "{}", refused.text());
        says_when(&refused);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_refuses_connections_is_no_lack_of_quota_with_or_without_redis() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let config = at_once(Config::models(&simulator, 2))
        .set("upstream.endpoint_url", nobody().await)
        .every_target("rpm", 100)
        .every_target("tpm", 100_000)
        .set("queue.max_wait", "5s");
    let shared =
        config.clone().set("state.backend", "redis").set("state.redis_url", redis.reference());
    for config in [config, shared] {
        let gateway = Gateway::start(&config).await;
        for number in 0..3 {
            // One that is larger than the whole quota is tried as well.
            let max_tokens = if number == 1 { 150_000 } else { 16 };
            let refused = Ask::new(&gateway, "hello").max_tokens(max_tokens).send().await;
            let text = refused.text();
            assert_eq!(named(&refused), (503, Some("ServiceUnavailableException")), "{text}");
            assert!(text.contains("could not connect"), "{text}");
            assert_eq!(refused.header("x-sluice-attempts"), Some("2"), "each was tried");
            says_when(&refused);
        }
        // After more of them both targets are out, which is said as it is.
        for _ in 0..5 {
            let refused =
                Ask::new(&gateway, "hello").header("x-sluice-max-wait", "0s").send().await;
            assert_eq!(refused.status, 503, "{}", refused.text());
            says_when(&refused);
        }
        let refused = Ask::new(&gateway, "hello").header("x-sluice-max-wait", "0s").send().await;
        let text = refused.text();
        assert!(text.contains("All targets are ejected after failures"), "{text}");
        assert!((10..=30).contains(&says_when(&refused)), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_a_route_is_named_as_its_client_names_it() {
    let simulator = Simulator::start().await;
    let config =
        Config::without_routes(&simulator).set("queue.max_wait", "0s").set("retry.attempts", 1);
    let gateway = Gateway::start(&config).await;
    simulator.always_throttles(PRIMARY);
    let refused = Ask::new(&gateway, "hello").send().await;
    let text = refused.text();
    assert_eq!(named(&refused), (429, Some("ThrottlingException")), "{text}");
    assert!(text.contains(&format!("The model {PRIMARY} is throttled")), "{text}");
    assert!(!text.contains("other") && !text.contains("target"), "{text}");
    says_when(&refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_for_other_reasons_than_quota_have_retry_after_too() {
    let simulator = Simulator::start().await;
    let config = at_once(Config::models(&simulator, 1)).set("upstream.first_byte_timeout", "100ms");
    let gateway = Gateway::start(&config).await;
    simulator.add(FaultRule::next(1, Fault::ServiceUnavailable));
    let refused = Ask::new(&gateway, "hello").send().await;
    assert_eq!(refused.status, 503);
    says_when(&refused);

    let latency = Some(Latency { head_ms: 5_000, ..Latency::default() });
    simulator.limits(PRIMARY, ModelSettings { latency, ..ModelSettings::default() });
    let refused = Ask::new(&gateway, "hello").send().await;
    assert_eq!(named(&refused), (408, Some("ModelTimeoutException")), "{}", refused.text());
    says_when(&refused);

    let url = format!("{}/admin/targets/sonnet-35/drain", gateway.admin_url());
    assert_eq!(http::post(&url, &[("x-sluice-admin-key", ADMIN_KEY)], "").await.status, 200);
    let refused = Ask::new(&gateway, "hello").send().await;
    assert_eq!(named(&refused), (503, Some("ServiceUnavailableException")), "{}", refused.text());
    assert!(refused.text().contains("is drained"), "{}", refused.text());
    says_when(&refused);
}
