//! Many users with bursts against quotas that are just enough: with the quotas configured, the
//! upstream has nothing to throttle, and everybody is answered.

use std::time::Duration;

use sluice::simulator::ModelSettings;
use tokio::time::Instant;

use crate::support::clients::Job;
use crate::support::{Call, Client, Config, Gateway, MODELS, PRIMARY, Simulator};

/// Calls of each user, one after the other.
const CALLS: usize = 3;

/// About 100 tokens of input, so that the text weighs more than the JSON around it.
fn prompt(number: usize) -> String {
    format!("user {number} {}", "asks and asks ".repeat(28))
}

fn call(number: usize) -> Call {
    let prompt = prompt(number);
    match number % 4 {
        0 => Call::invoke(PRIMARY, &prompt),
        1 => Call::invoke_stream(PRIMARY, &prompt),
        2 => Call::converse(PRIMARY, &prompt),
        _ => Call::converse_stream(PRIMARY, &prompt),
    }
}

/// Has so many boto3 users make their calls, asserts that all are answered and none is throttled,
/// and gives how long the longest of them waited.
async fn all_are_answered(config: &Config, simulator: &Simulator, users: usize) -> Duration {
    let gateway = Gateway::start(config).await;
    let calls = (0..users * CALLS).map(call).collect();
    let began = Instant::now();
    let job = Job { concurrency: users, ..Job::new(&gateway.url(), calls) };
    let answers = Client::Boto3.run(job).await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let mut longest = 0;
    for (number, answer) in answers.iter().enumerate() {
        let text = answer.text();
        assert!(text.contains(&format!("user {number} ")), "{number}: {text}");
        longest = longest.max(answer.header("x-sluice-queued-ms").unwrap().parse().unwrap());
    }
    let books = simulator.accounts();
    let throttled: u64 = books.values().map(|account| account.throttled).sum();
    let calls: u64 = books.values().map(|account| account.calls).sum();
    assert_eq!((throttled, calls), (0, (users * CALLS) as u64), "{books:#?}");
    Duration::from_millis(longest)
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_users_within_one_models_requests_per_minute() {
    let simulator = Simulator::start().await;
    // The last of sixty calls must wait for the refill of about one request a second.
    simulator.limits(PRIMARY, ModelSettings { rpm: Some(55), ..ModelSettings::default() });
    let config =
        Config::models(&simulator, 1).set("targets.sonnet-35.rpm", 55).set("queue.max_wait", "30s");
    let longest = all_are_answered(&config, &simulator, 20).await;
    assert!(longest >= Duration::from_secs(2), "nobody had to wait: {longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_users_within_one_models_tokens_per_minute() {
    let simulator = Simulator::start().await;
    // A call uses about 165 tokens, so that all of them use a little more than a minute's.
    simulator.limits(PRIMARY, ModelSettings { tpm: Some(24_000), ..ModelSettings::default() });
    let config = Config::models(&simulator, 1)
        .set("targets.sonnet-35.tpm", 24_000)
        .set("queue.max_wait", "30s");
    let longest = all_are_answered(&config, &simulator, 50).await;
    assert!(longest >= Duration::from_millis(500), "nobody had to wait: {longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_users_over_four_models_with_quotas_of_their_own() {
    let simulator = Simulator::start().await;
    let mut config = Config::four_models(&simulator).set("queue.max_wait", "30s");
    for (target, rpm) in crate::support::config::TARGETS.iter().zip([20, 30, 40, 50]) {
        config = config
            .set(&format!("targets.{target}.rpm"), rpm)
            .set(&format!("targets.{target}.tpm"), 40_000);
    }
    for (model, rpm) in MODELS.iter().zip([20, 30, 40, 50]) {
        let settings =
            ModelSettings { rpm: Some(rpm), tpm: Some(40_000), ..ModelSettings::default() };
        simulator.limits(model, settings);
    }
    let longest = all_are_answered(&config, &simulator, 50).await;
    assert!(longest >= Duration::from_secs(1), "nobody had to wait: {longest:?}");
    assert_eq!(simulator.accounts().len(), MODELS.len(), "every model did its share");
}
