//! What a request takes of its target's quota at the start, and what is given back at its end,
//! whatever end that is.

use sluice::simulator::{Ending, Fault};

use crate::support::gateway::Quota;
use crate::support::patience::eventually;
use crate::support::raw::Connection;
use crate::support::{Ask, Call, Client, Config, Gateway, PRIMARY, SECOND, Simulator};

const TARGET: &str = "sonnet-35";
/// The least tokens per minute that let one request of 4,000 in and not two. Less than 100 flow
/// in a second.
const TPM: i64 = 5_000;
/// What a full bucket holds of them: 97 %.
const FULL: f64 = 4_850.0;

async fn one_target(simulator: &Simulator) -> Gateway {
    Gateway::start(&Config::models(simulator, 1).set("targets.sonnet-35.tpm", TPM)).await
}

/// Waits until nothing is under way and gives the tokens that are left.
async fn settled(gateway: &Gateway, target: &str) -> f64 {
    let quota = async || gateway.quota(target).await;
    let done = eventually("the settlement", quota, |quota: &Quota| quota.in_flight == 0).await;
    done.tokens_available.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_request_waits_until_the_first_returns_unused_quota() {
    let simulator = Simulator::start().await;
    let gateway = one_target(&simulator).await;
    let large = |prompt| Ask::new(&gateway, prompt).max_tokens(4_000);
    let first = large("first sim:head_ms=600").start();
    simulator.sees("the first", |_| true).await;
    let held = gateway.quota(TARGET).await;
    assert_eq!(held.in_flight, 1);
    assert!(held.tokens_available.unwrap() < 1_200.0, "{held:?}");
    let second = large("second").send().await;
    assert_eq!(second.status, 200, "{}", second.text());
    assert_eq!(first.await.unwrap().status, 200);
    let log = simulator.log();
    assert!(log[1].at_ms >= log[0].ended_ms.unwrap(), "{log:#?}");
    // Without the refund it would have waited for more than half a minute.
    let queued: u64 = second.header("x-sluice-queued-ms").unwrap().parse().unwrap();
    assert!((200..4_000).contains(&queued), "{queued} ms");
    assert!(settled(&gateway, TARGET).await > FULL - 100.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_stream_costs_what_was_relayed() {
    let simulator = Simulator::start().await;
    let gateway = one_target(&simulator).await;
    let endless = Ask::new(&gateway, "hello sim:tokens=4000 sim:token_ms=20");
    let mut leaving = Connection::open(gateway.address()).await;
    leaving.send(endless.max_tokens(4_000).stream().into_http1().as_bytes()).await;
    simulator.sees("some frames", |entry| entry.frames >= 5).await;
    assert_eq!(gateway.quota(TARGET).await.in_flight, 1);
    drop(leaving);
    simulator.sees("the cancellation", |entry| entry.ending == Ending::Disconnected).await;
    let left = settled(&gateway, TARGET).await;
    assert!(left > FULL - 400.0, "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_head_settles_too() {
    let simulator = Simulator::start().await;
    let gateway = one_target(&simulator).await;
    let slow = Ask::new(&gateway, "hello sim:head_ms=20000").max_tokens(4_000);
    let mut leaving = Connection::open(gateway.address()).await;
    leaving.send(slow.into_http1().as_bytes()).await;
    simulator.sees("the request", |_| true).await;
    drop(leaving);
    simulator.sees("the cancellation", |entry| entry.ending == Ending::Disconnected).await;
    // It was sent, so it counts with what such requests cost; nothing is known of them yet.
    let left = settled(&gateway, TARGET).await;
    assert!(left < FULL - 2_000.0, "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_upstream_breaks_settles_with_what_was_relayed() {
    let simulator = Simulator::start().await;
    let gateway = one_target(&simulator).await;
    let faults = [Fault::ResetAfterFrames { frames: 5 }, Fault::TruncatedFrame { frame: 4 }];
    for fault in faults {
        simulator.strikes(PRIMARY, 1, fault.clone());
        let ask = Ask::new(&gateway, "hello sim:tokens=100").max_tokens(4_000);
        let answer = ask.stream().send().await;
        let is_reported =
            String::from_utf8_lossy(&answer.body).contains("before its answer was complete");
        assert!(answer.broken || is_reported, "{fault:?}: {answer:?}");
        let left = settled(&gateway, TARGET).await;
        assert!(left > FULL - 250.0, "{fault:?}: {left}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_refused_or_never_read_costs_nothing() {
    let simulator = Simulator::start().await;
    let config =
        Config::models(&simulator, 1).set("targets.sonnet-35.tpm", TPM).set("retry.attempts", 1);
    let gateway = Gateway::start(&config).await;
    simulator.strikes(PRIMARY, 1, Fault::Validation);
    let answer = Ask::new(&gateway, "hello").max_tokens(4_000).send().await;
    assert_eq!(answer.status, 400);
    assert_eq!(settled(&gateway, TARGET).await, FULL);
    // Twice: the connection is one of the pool, and what meets a dead one is sent once more.
    simulator.strikes(PRIMARY, 2, Fault::CloseBeforeHead);
    let answer = Ask::new(&gateway, "hello").max_tokens(4_000).send().await;
    assert_eq!(answer.status, 503);
    assert!(settled(&gateway, TARGET).await > FULL - 100.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_maximum_counts_as_the_models_own() {
    let simulator = Simulator::start().await;
    let gateway = one_target(&simulator).await;
    let no_maximum = r#"{"messages":[{"role":"user","content":[{"text":"x sim:head_ms=500"}]}]}"#;
    let ask = Ask::new(&gateway, "").converse(no_maximum.to_owned()).start();
    simulator.sees("the request", |_| true).await;
    // The catalogue has 4,096 for this model.
    let held = gateway.quota(TARGET).await.tokens_available.unwrap();
    assert!((650.0..800.0).contains(&held), "{held}");
    assert_eq!(ask.await.unwrap().status, 200);
    assert!(settled(&gateway, TARGET).await > FULL - 100.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_token_costs_the_targets_burndown() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2)
        .every_target("tpm", TPM)
        .set("targets.sonnet-35-v2.output_burndown", 5)
        .route(SECOND, &["sonnet-35-v2"]);
    let gateway = Gateway::start(&config).await;
    for model in [PRIMARY, SECOND] {
        let ask = Ask::new(&gateway, "hello sim:tokens=400").of(model).max_tokens(500);
        assert_eq!(ask.send().await.status, 200);
    }
    let (once, five_times) =
        (settled(&gateway, TARGET).await, settled(&gateway, "sonnet-35-v2").await);
    assert!((4_350.0..4_700.0).contains(&once), "{once}");
    assert!((2_750.0..3_100.0).contains(&five_times), "{five_times}");
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_share_a_quota_draw_on_it_together() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2)
        .every_target("quota", "both")
        .set("quotas.both.tpm", TPM)
        .route(SECOND, &["sonnet-35-v2"]);
    let gateway = Gateway::start(&config).await;
    let first = Ask::new(&gateway, "first sim:head_ms=600").max_tokens(4_000).start();
    simulator.sees("the first", |_| true).await;
    for target in [TARGET, "sonnet-35-v2"] {
        let quota = gateway.quota(target).await;
        assert_eq!(quota.in_flight, 1, "{target}");
        let left = quota.tokens_available.unwrap();
        assert!((700.0..1_000.0).contains(&left), "{target}: {left}");
    }
    let second = Ask::new(&gateway, "second").of(SECOND).max_tokens(4_000).send().await;
    assert_eq!(second.status, 200);
    assert_eq!(first.await.unwrap().header("x-sluice-model"), Some(PRIMARY));
    let log = simulator.log();
    assert!(log[1].at_ms >= log[0].ended_ms.unwrap(), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_tokens_draws_nothing() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1).set("targets.sonnet-35.rpm", 1);
    let gateway = Gateway::start(&config).await;
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
    for _ in 0..3 {
        let answer = gateway.call(Client::Boto3, Call::count_tokens(PRIMARY, "hello")).await;
        assert!(answer.json()["inputTokens"].as_u64().unwrap() > 0);
        assert_eq!(answer.header("x-sluice-queued-ms"), Some("0"));
    }
    let refused = Ask::new(&gateway, "hello").header("x-sluice-max-wait", "50ms").send().await;
    assert_eq!(refused.status, 429, "the one request of the minute is used");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_may_reserve_the_most_that_a_request_can_have() {
    let simulator = Simulator::start().await;
    let held = async |reserve: &str| {
        let config = Config::models(&simulator, 1)
            .set("targets.sonnet-35.tpm", 400_000)
            .set("targets.sonnet-35.reserve", reserve);
        let gateway = Gateway::start(&config).await;
        let text = "1234567890".repeat(2_000);
        let asked = Ask::new(&gateway, &format!("{text} sim:head_ms=500")).max_tokens(100).start();
        simulator.sees("the request", |entry| entry.ended_ms.is_none()).await;
        let left = gateway.quota(TARGET).await.tokens_available.unwrap();
        assert_eq!(asked.await.unwrap().status, 200);
        400_000.0 * 0.97 - left
    };
    let expected = held("estimate").await;
    assert!((4_000.0..15_000.0).contains(&expected), "{expected}");
    // A token a byte.
    let most = held("maximum").await;
    assert!((20_000.0..25_000.0).contains(&most), "{most}");
}
