//! Requests that may use more tokens than a target's quota has in a minute, and use few: they are served
//! one after the other, in the same way whether the quota is this gateway's alone or shared.

use std::time::Duration;

use sluice::simulator::ModelSettings;
use tokio::time::Instant;

use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, PRIMARY, Redis, Simulator};

const TARGET: &str = "sonnet-35";

/// Tokens per minute of the target.
const TPM: i64 = 3000;

fn config(simulator: &Simulator) -> Config {
    Config::models(simulator, 1)
        .set(&format!("targets.{TARGET}.tpm"), TPM)
        .set(&format!("targets.{TARGET}.rpm"), 300)
        .set("queue.max_wait", "60s")
}

fn shared(simulator: &Simulator, redis: &Redis) -> Config {
    config(simulator).set("state.backend", "redis").set("state.redis_url", redis.reference())
}

/// May use more than the quota has, and uses five tokens of output.
fn large(gateway: &Gateway) -> Ask {
    Ask::new(gateway, "hello sim:tokens=5").max_tokens(TPM as u64 * 4 / 3)
}

/// Has three rounds of requests, one at each gateway after the other and then two at once, and gives how
/// long the longest took. All are answered.
async fn longest(gateways: &[Gateway]) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..3 {
        for gateway in gateways {
            let began = Instant::now();
            let answer = large(gateway).send().await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            longest = longest.max(began.elapsed());
        }
        let began = Instant::now();
        let both =
            [gateways.first().unwrap(), gateways.last().unwrap()].map(|it| large(it).start());
        for answer in both {
            assert_eq!(answer.await.unwrap().status, 200);
        }
        longest = longest.max(began.elapsed());
    }
    longest
}

/// Far from what was booked for the most that a request may use (from 18 s on), and from what flows in
/// for the little that it does use (half a second each).
const SOON: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn requests_larger_than_the_quota_follow_each_other_alike_alone_and_shared() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let alone = longest(&[Gateway::start(&config(&simulator)).await]).await;
    let one = longest(&[Gateway::start(&shared(&simulator, &redis)).await]).await;
    println!("the longest took {alone:?} alone, {one:?} shared");
    assert!(alone < SOON && one < SOON, "{alone:?}, {one:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_larger_than_the_quota_follow_each_other_at_two_replicas() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let config = shared(&simulator, &redis);
    let gateways = [Gateway::start(&config).await, Gateway::start(&config).await];
    for gateway in &gateways {
        let count = async || gateway.metrics().await.sum("sluice_fleet_replicas", &[]);
        eventually("all know of each other", count, |it| *it == 2.0).await;
    }
    let two = longest(&gateways).await;
    println!("the longest took {two:?} at two replicas");
    assert!(two < SOON, "{two:?}");
}

/// While the first is under way nothing is left, and what flows in until then would take the second a
/// minute; but what the first does not use is there when it ends, also at the other replica.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_request_waits_for_another_as_long_as_that_takes() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let config = shared(&simulator, &redis);
    let gateways = [Gateway::start(&config).await, Gateway::start(&config).await];
    let [first, second] = &gateways;
    for gateway in &gateways {
        let count = async || gateway.metrics().await.sum("sluice_fleet_replicas", &[]);
        eventually("all know of each other", count, |it| *it == 2.0).await;
    }
    // Of more than the quota has, which the upstream takes here, and of almost as much, where it keeps to
    // the same quota.
    for (number, most) in [TPM * 4 / 3, TPM * 9 / 10].into_iter().enumerate() {
        let tpm = (most < TPM).then_some(TPM as u64);
        simulator.limits(PRIMARY, ModelSettings { tpm, ..ModelSettings::default() });
        for (one, other) in [(first, second), (first, first)] {
            let before = simulator.log().len();
            let slow = Ask::new(one, "hello sim:tokens=5 sim:head_ms=2000").max_tokens(most as u64);
            let slow = slow.start();
            simulator.sees("the slow one", |entry| entry.seq as usize > before).await;
            let began = Instant::now();
            let answer = Ask::new(other, "hello sim:tokens=5").max_tokens(most as u64).send().await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let took = began.elapsed();
            println!("{number}: after {took:?}");
            assert!((Duration::from_millis(1000)..SOON).contains(&took), "{most}: {took:?}");
            assert_eq!(slow.await.unwrap().status, 200);
        }
    }
    assert_eq!(simulator.accounts().get(PRIMARY).unwrap().throttled, 0);
}

/// What `/admin/targets`, and the metric, have of the requests that are left.
async fn left(gateway: &Gateway) -> (Option<f64>, Option<f64>, f64, f64) {
    let quota = gateway.target(TARGET).await["quota"].clone();
    let metrics = gateway.metrics().await;
    let labels = [("target", TARGET), ("kind", "requests")];
    let number = |name| metrics.sum(name, &labels);
    (
        quota["requests_available"].as_f64(),
        quota["requests_held"].as_f64(),
        number("sluice_quota_available"),
        number("sluice_quota_held"),
    )
}

/// Three hundred a minute, less what is left unfilled.
const FULL: f64 = 291.0;

#[tokio::test(flavor = "multi_thread")]
async fn quota_left_in_the_fleet_and_held_by_a_replica_are_two_numbers() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    // Nothing flows in that would be seen here.
    let shared = shared(&simulator, &redis).set("state.lease_idle", "60s");
    let gateways = [Gateway::start(&shared).await, Gateway::start(&shared).await];
    for gateway in &gateways {
        // Nobody has asked for anything: all of it is there, and none of it is held.
        let idle = async || left(gateway).await;
        eventually("it is idle", idle, |it| *it == (Some(FULL), Some(0.0), FULL, 0.0)).await;
    }
    let small = || async {
        let answer = Ask::new(&gateways[0], "hello sim:tokens=5").max_tokens(5).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    for _ in 0..30 {
        small().await;
    }
    // The one holds some for its next request, and the other none; both know what is left.
    let busy = async || {
        small().await;
        left(&gateways[0]).await
    };
    let holds = |it: &(Option<f64>, Option<f64>, f64, f64)| {
        it.1.is_some_and(|held| held >= 1.0) && it.0.is_some_and(|left| left < FULL)
    };
    eventually("it holds some", busy, holds).await;
    let other = async || {
        small().await;
        left(&gateways[1]).await
    };
    let sees = |it: &(Option<f64>, Option<f64>, f64, f64)| {
        it.1 == Some(0.0) && it.3 == 0.0 && it.0.is_some_and(|left| left > 0.0 && left < FULL)
    };
    eventually("the other sees what is left", other, sees).await;
    // A gateway by itself holds nothing apart.
    let alone = Gateway::start(&config(&simulator)).await;
    let quota = alone.target(TARGET).await["quota"].clone();
    assert_eq!(quota["requests_available"].as_f64(), Some(FULL));
    assert!(quota.get("requests_held").is_none(), "{quota}");
    assert!(!alone.metrics().await.has("sluice_quota_held"));
}
