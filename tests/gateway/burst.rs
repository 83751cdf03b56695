//! Fifty clients at once, four targets with tight quotas, no retries but the gateway's.

use std::collections::BTreeSet;

use sluice::simulator::ModelSettings;

use crate::support::ask::Ask;
use crate::support::clients::Job;
use crate::support::{Answer, Call, Client, Gateway, MODELS, PRIMARY, Simulator};

const CLIENTS: usize = 50;

async fn burst(
    simulator: &Simulator,
    client: Client,
    rpm: u64,
) -> (Vec<(String, Answer)>, Gateway) {
    let gateway = Gateway::start(
        &crate::support::Config::four_models(simulator).set("queue.max_wait", "300ms"),
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
    ((0..CLIENTS).map(echo).zip(answers).collect(), gateway)
}

/// No model is called once its throttle is known: after the burst, what is asked for next goes
/// to the others, or nowhere.
async fn no_call_to_a_cooling_target(simulator: &Simulator, gateway: &Gateway) {
    let log = simulator.log();
    let throttled: BTreeSet<String> = log
        .iter()
        .filter(|entry| entry.status == Some(429))
        .map(|entry| entry.model.clone().unwrap())
        .collect();
    for number in 0..10 {
        let answer = Ask::new(gateway, &format!("after the burst {number}")).send().await;
        assert_eq!(answer.status == 429, throttled.len() == MODELS.len(), "{throttled:?}");
    }
    for entry in &simulator.log()[log.len()..] {
        assert!(!throttled.contains(entry.model.as_deref().unwrap()), "{entry:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_throttled_while_a_target_has_quota() {
    for client in Client::SDKS {
        let simulator = Simulator::start().await;
        // Room for 80, at most 20 on one target.
        let (answers, gateway) = burst(&simulator, client, 20).await;
        for (echo, answer) in &answers {
            let text = answer.text();
            let model = answer.header("x-sluice-model").unwrap();
            assert_eq!(text, format!("[{model}] {echo}"), "{client:?}");
        }
        let log = simulator.log();
        let answered = log.iter().filter(|entry| entry.status == Some(200)).count();
        assert_eq!(answered, CLIENTS, "{client:?}: each was answered once");
        no_call_to_a_cooling_target(&simulator, &gateway).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_requests_beyond_all_quotas_are_throttled() {
    let simulator = Simulator::start().await;
    // Room for 20 in all.
    let (answers, gateway) = burst(&simulator, Client::Rust, 5).await;
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
    no_call_to_a_cooling_target(&simulator, &gateway).await;
}
