//! Fifty clients at once, four targets with tight quotas, no retries but the gateway's.

use std::collections::HashMap;

use sluice::simulator::{Entry, ModelSettings};

use crate::support::clients::Job;
use crate::support::{Answer, Call, Client, Gateway, MODELS, PRIMARY, Simulator};

const CLIENTS: usize = 50;
/// A call that was on its way when the throttle was answered; beyond that, the target cools.
const ON_THE_WAY_MS: u64 = 150;

async fn burst(client: Client, rpm: u64) -> (Vec<(String, Answer)>, Simulator) {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(
        &crate::support::Config::four_models(&simulator).set("queue.max_wait", "300ms"),
    )
    .await;
    for model in MODELS {
        simulator.limits(model, ModelSettings { rpm: Some(rpm), ..ModelSettings::default() });
    }
    let echo = |n: usize| format!("{client:?} asks for {n} and {}", n * 7919);
    let call = |n: usize| match n % 4 {
        0 => Call::invoke(PRIMARY, &echo(n)),
        1 => Call::invoke_stream(PRIMARY, &echo(n)),
        2 => Call::converse(PRIMARY, &echo(n)),
        _ => Call::converse_stream(PRIMARY, &echo(n)),
    };
    let job = Job::at_once(&gateway.url(), (0..CLIENTS).map(call).collect());
    let answers = client.run(job).await;
    gateway.is_healthy().await;
    ((0..CLIENTS).map(echo).zip(answers).collect(), simulator)
}

/// No model was called once its throttle was known, for as long as the test lasts.
#[track_caller]
fn no_call_to_a_cooling_target(log: &[Entry]) {
    let mut throttled_at: HashMap<&str, u64> = HashMap::new();
    for entry in log.iter().filter(|entry| entry.status == Some(429)) {
        let model = entry.model.as_deref().unwrap();
        let at = entry.ended_ms.unwrap();
        let first = throttled_at.entry(model).or_insert(at);
        *first = at.min(*first);
    }
    for entry in log {
        let Some(throttled) = throttled_at.get(entry.model.as_deref().unwrap()) else { continue };
        assert!(entry.at_ms <= throttled + ON_THE_WAY_MS, "throttled at {throttled}: {entry:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_throttled_while_a_target_has_room() {
    for client in Client::SDKS {
        // Room for 80, at most 20 on one target.
        let (answers, simulator) = burst(client, 20).await;
        for (echo, answer) in &answers {
            let text = answer.text();
            let model = answer.header("x-sluice-model").unwrap();
            assert_eq!(text, format!("[{model}] {echo}"), "{client:?}");
        }
        let log = simulator.log();
        let answered = log.iter().filter(|entry| entry.status == Some(200)).count();
        assert_eq!(answered, CLIENTS, "{client:?}: each was answered once");
        no_call_to_a_cooling_target(&log);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_beyond_all_quotas_are_throttled() {
    // Room for 20 in all.
    let (answers, simulator) = burst(Client::Rust, 5).await;
    let (answered, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|(_, answer)| answer.error.is_none());
    assert!((20..=21).contains(&answered.len()), "{} were answered", answered.len());
    for (echo, answer) in answered {
        assert!(answer.text().ends_with(echo));
    }
    for (_, answer) in refused {
        assert!(answer.raised().is("ThrottlingException"), "{answer:?}");
        assert!(answer.header("retry-after").is_some());
    }
    no_call_to_a_cooling_target(&simulator.log());
}
