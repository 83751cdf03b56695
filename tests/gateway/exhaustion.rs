//! All targets cooling: who waits, for how long, and who is told to come back when.

use std::time::Duration;

use sluice::simulator::{Ending, Latency, ModelSettings};
use tokio::time::Instant;

use crate::support::clients::Job;
use crate::support::patience::eventually;
use crate::support::raw::Connection;
use crate::support::{Call, Client, Config, Gateway, PRIMARY, SECOND, Simulator, bodies, http};

/// Targets that cool from the first throttle on, without a short pause for another try before.
fn models(simulator: &Simulator, count: usize) -> Config {
    Config::models(simulator, count).set("retry.attempts", 1)
}

async fn invoke(gateway: &Gateway) -> http::Response {
    let url = format!("{}/model/{PRIMARY}/invoke", gateway.url());
    http::post(&url, &[], bodies::messages("hello", 10)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_the_target_that_is_due_first() {
    let simulator = Simulator::start().await;
    let config = models(&simulator, 2)
        .set("targets.sonnet-35.cooldown", "20s")
        .set("targets.sonnet-35-v2.cooldown", "500ms");
    let gateway = Gateway::start(&config).await;
    simulator.throttles(PRIMARY, 1);
    simulator.throttles(SECOND, 1);
    let began = Instant::now();
    let answer = invoke(&gateway).await;
    let took = began.elapsed();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    assert_eq!(answer.header("x-sluice-attempts"), Some("3"));
    assert!((Duration::from_millis(450)..Duration::from_secs(3)).contains(&took), "{took:?}");
    let queued: u64 = answer.header("x-sluice-queued-ms").unwrap().parse().unwrap();
    assert!((400..3000).contains(&queued), "{queued} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_target_left_gets_a_few_more_tries_after_short_pauses() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("retry.attempts", 3)
        .set("retry.base_delay", "200ms")
        .set("retry.max_delay", "1s");
    let gateway = Gateway::start(&config).await;
    simulator.throttles(PRIMARY, 2);
    let answer = invoke(&gateway).await;
    assert_eq!(answer.status, 200, "long before the cooldown of 60 s is over");
    let log = simulator.log();
    let apart: Vec<u64> = log.windows(2).map(|two| two[1].at_ms - two[0].at_ms).collect();
    assert!(apart.len() == 2 && apart[0] >= 190 && apart[1] >= 390, "{apart:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn if_no_target_recovers_in_time_the_client_gets_retry_after() {
    let simulator = Simulator::start().await;
    let config = models(&simulator, 2)
        .set("targets.sonnet-35.cooldown", "40s")
        .set("targets.sonnet-35-v2.cooldown", "30s")
        .set("queue.max_wait", "200ms");
    let gateway = Gateway::start(&config).await;
    simulator.throttles(PRIMARY, 1);
    simulator.throttles(SECOND, 1);
    for client in Client::ALL {
        let began = Instant::now();
        let answer = gateway.call(client, Call::converse(PRIMARY, "hello")).await;
        let raised = answer.raised();
        assert!(raised.is("ThrottlingException"), "{client:?} {raised:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "{client:?}");
        if client != Client::Cli {
            assert_eq!(answer.status, Some(429), "{client:?}");
            let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((15..=31).contains(&after), "{client:?}: {after} s");
        }
    }
    // One call found each target out; the rest asked nobody.
    assert_eq!(simulator.models_called(), [PRIMARY, SECOND]);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_true() {
    let simulator = Simulator::start().await;
    let config = models(&simulator, 1).every_target("cooldown", "2s").set("queue.max_wait", "50ms");
    let gateway = Gateway::start(&config).await;
    simulator.throttles(PRIMARY, 1);
    let refused = invoke(&gateway).await;
    assert_eq!(refused.status, 429);
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&after), "{after}");
    tokio::time::sleep(Duration::from_secs(after)).await;
    assert_eq!(invoke(&gateway).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_cooldown_one_probe_goes_and_not_the_herd() {
    let simulator = Simulator::start().await;
    let config = models(&simulator, 1).every_target("cooldown", "400ms");
    let gateway = Gateway::start(&config).await;
    let latency = Some(Latency { head_ms: 300, ..Latency::default() });
    simulator.limits(PRIMARY, ModelSettings { latency, ..ModelSettings::default() });
    // The one that opens the cooldown, and the first probe.
    simulator.throttles(PRIMARY, 2);
    let calls = (0..20).map(|n| Call::invoke(PRIMARY, &format!("call {n}")));
    let first = gateway.call(Client::Rust, Call::invoke(PRIMARY, "first"));
    let rest = async {
        simulator.sees("the first throttle", |e| e.ending == Ending::Finished).await;
        Client::Rust.run(Job::at_once(&gateway.url(), calls.collect())).await
    };
    let (first, rest) = tokio::join!(first, rest);
    first.text();
    for (n, answer) in rest.iter().enumerate() {
        assert_eq!(answer.text(), format!("[{PRIMARY}] call {n}"));
    }
    let log = simulator.log();
    assert_eq!(log.len(), 2 + 21, "{log:#?}");
    // Throttled, a cooldown, throttled again, a longer one, then one probe: alone until it is
    // answered.
    assert!(log[1].at_ms >= log[0].ended_ms.unwrap() + 350, "{log:#?}");
    assert!(log[2].at_ms >= log[1].ended_ms.unwrap() + 750, "{log:#?}");
    let answered = log[2].at_ms + 290;
    assert!(log[3..].iter().all(|entry| entry.at_ms >= answered), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_the_queue_leaves_nothing_behind() {
    let simulator = Simulator::start().await;
    let config =
        models(&simulator, 1).every_target("cooldown", "1500ms").set("queue.max_wait", "20s");
    let gateway = Gateway::start(&config).await;
    simulator.throttles(PRIMARY, 1);
    let body = bodies::messages("hello", 10);
    let request = format!(
        "POST /model/{PRIMARY}/invoke HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut leaving = Connection::open(gateway.address()).await;
    leaving.send(request.as_bytes()).await;
    let waiting = async || gateway.metrics().await.sum("sluice_queue_waiting", &[]);
    eventually("one waits", waiting, |waiting| *waiting == 1.0).await;
    drop(leaving);
    eventually("none waits", waiting, |waiting| *waiting == 0.0).await;
    // The next one is the second call that the upstream sees, and gets its answer.
    assert_eq!(invoke(&gateway).await.status, 200);
    assert_eq!(simulator.log().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once() {
    let simulator = Simulator::start().await;
    let config = models(&simulator, 1)
        .every_target("cooldown", "3s")
        .set("queue.max_waiting", 3)
        .set("queue.max_wait", "20s");
    let gateway = Gateway::start(&config).await;
    simulator.always_throttles(PRIMARY);
    let calls = (0..10).map(|n| Call::invoke(PRIMARY, &format!("call {n}"))).collect();
    let queue_is_full = async {
        let waiting = async || gateway.metrics().await.sum("sluice_queue_waiting", &[]);
        eventually("three wait", waiting, |waiting| *waiting == 3.0).await;
        let refused = invoke(&gateway).await;
        assert_eq!(refused.status, 429, "{}", refused.text());
        assert!(refused.header("retry-after").is_some());
        simulator.recovers();
    };
    let run = Client::Rust.run(Job::at_once(&gateway.url(), calls));
    let (answers, ()) = tokio::join!(run, queue_is_full);
    let (answered, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.error.is_none());
    assert!(answered.len() >= 3 && refused.len() >= 3, "{answers:#?}");
    assert!(refused.iter().all(|answer| answer.raised().is("ThrottlingException")));
}
