//! Requests that wait for the requested model before another one answers: which model answers, when,
//! and that no wait costs a request its answer.

use std::time::Duration;

use sluice::simulator::{Fault, FaultRule};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::http::{self, Response};
use crate::support::{Ask, Config, Gateway, PRIMARY, SECOND, Simulator};

const HEADER: &str = "x-sluice-wait-before-fallback";
const FIRST_KEY: &str = "key-of-the-first-client";
const SECOND_KEY: &str = "key-of-the-second-client";

/// Two models. Of the first, two requests of 4,000 tokens are under way at once.
fn two_models(simulator: &Simulator) -> Config {
    Config::models(simulator, 2).set("targets.sonnet-35.tpm", 9_000).set("queue.max_wait", "20s")
}

fn large(gateway: &Gateway, prompt: &str) -> Ask {
    Ask::new(gateway, prompt).max_tokens(4_000)
}

/// Takes the quota of the first model for so long.
async fn fill(gateway: &Gateway, simulator: &Simulator, millis: u64) -> Vec<JoinHandle<Response>> {
    let slow = large(gateway, &format!("slow sim:head_ms={millis}"));
    let both = vec![slow.clone().start(), slow.start()];
    simulator.sees("both", |entry| entry.seq == 2).await;
    both
}

#[track_caller]
fn model(answer: &Response) -> &str {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-sluice-model").unwrap()
}

fn queued(answer: &Response) -> u64 {
    answer.header("x-sluice-queued-ms").map_or(0, |millis| millis.parse().unwrap())
}

async fn waits(gateway: &Gateway, result: &str) -> f64 {
    gateway.metrics().await.sum("sluice_fallback_waits_total", &[("result", result)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_answered_by_the_requested_model_if_it_may_wait_for_that() {
    const BURST: usize = 30;
    let simulator = Simulator::start().await;
    let mut first_choices = Vec::new();
    for wait in ["0s", "300ms", "15s"] {
        let config = two_models(&simulator).of_route("wait_before_fallback", wait);
        let gateway = Gateway::start(&config).await;
        let ask = |number| large(&gateway, &format!("{number} sim:head_ms=40")).start();
        let asked: Vec<_> = (0..BURST).map(ask).collect();
        let (mut first, mut others) = (0, Vec::new());
        for asked in asked {
            let answer = asked.await.unwrap();
            match model(&answer) {
                PRIMARY => first += 1,
                _ => others.push(queued(&answer)),
            }
        }
        first_choices.push(first);
        let metrics = gateway.metrics().await;
        let results = ["first_choice", "other", "ended"];
        let [of_first, of_others, ended] = results.map(|result| {
            metrics.sum("sluice_fallback_waits_total", &[("result", result)]) as usize
        });
        assert_eq!(ended, 0);
        match wait {
            "0s" => assert_eq!((of_first, of_others), (0, 0), "none has waited"),
            "300ms" => {
                assert_eq!(of_others, others.len(), "all others have waited");
                assert!(others.iter().all(|queued| (250..5_000).contains(queued)), "{others:?}");
            }
            _ => {
                assert!((BURST - 2..BURST).contains(&of_first), "all but the first two: {of_first}")
            }
        }
        let observed = metrics.sum("sluice_queue_wait_seconds_count", &[]) as usize;
        assert!(observed >= of_first + of_others, "a wait in the queue: {observed}");
    }
    let [without, short, long] = first_choices[..] else { unreachable!() };
    assert_eq!(long, BURST);
    assert!(without <= short && short < long && without < 6, "{first_choices:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waited_in_vain_is_answered_by_the_other_model() {
    let simulator = Simulator::start().await;
    let config = two_models(&simulator).of_route("wait_before_fallback", "600ms");
    let gateway = Gateway::start(&config).await;
    let under_way = fill(&gateway, &simulator, 6_000).await;
    let answer = large(&gateway, "waits").send().await;
    assert_eq!(model(&answer), SECOND);
    assert!((550..4_000).contains(&queued(&answer)), "{}", queued(&answer));
    assert_eq!(waits(&gateway, "other").await, 1.0);
    let log = gateway.access_log(1).await;
    assert_eq!(log[0]["queued_ms"], queued(&answer));
    drop(under_way);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_counts_before_the_client_and_the_client_before_the_route() {
    let simulator = Simulator::start().await;
    let config = two_models(&simulator)
        .of_route("wait_before_fallback", "15s")
        .client("as-the-route", "env:FIRST_KEY")
        .client("at-once", "env:SECOND_KEY")
        .of_client("wait_before_fallback", "0s");
    let keys = [("FIRST_KEY", FIRST_KEY), ("SECOND_KEY", SECOND_KEY)];
    let gateway = Gateway::start_with(&config, &keys).await;
    let patient = |ask: Ask| ask.bearer(FIRST_KEY);
    let hasty = |ask: Ask| ask.bearer(SECOND_KEY);
    let slow = || patient(large(&gateway, "slow sim:head_ms=3000")).start();
    let _under_way = [slow(), slow()];
    simulator.sees("both", |entry| entry.seq == 2).await;
    let small = || large(&gateway, "hello");
    let in_vain = patient(small()).header(HEADER, "0s").send().await;
    assert_eq!(model(&in_vain), SECOND, "the header turns it off");
    assert_eq!(model(&hasty(small()).send().await), SECOND, "so does the client's entry");
    let waiting = [
        ("the route's", patient(small()).start()),
        ("the route's, for want of a duration", patient(small()).header(HEADER, "soon").start()),
        ("the header's", hasty(small()).header(HEADER, "15s").start()),
        ("the bound's", hasty(small()).header(HEADER, "1h").start()),
        ("the bound's again", hasty(small()).header(HEADER, "999999999999999999999s").start()),
    ];
    gateway.has_waiting(5).await;
    let past = hasty(small()).send().await;
    assert_eq!(model(&past), SECOND, "those that wait keep nobody from the other model");
    for (whose, asked) in waiting {
        assert_eq!(model(&asked.await.unwrap()), PRIMARY, "{whose}");
    }
    assert_eq!(waits(&gateway, "first_choice").await, 5.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_does_not_wait_for_a_drained_target() {
    let simulator = Simulator::start().await;
    let config = two_models(&simulator).of_route("wait_before_fallback", "15s");
    let gateway = Gateway::start(&config).await;
    let _under_way = fill(&gateway, &simulator, 8_000).await;
    let waiting = large(&gateway, "waits").start();
    gateway.has_waiting(1).await;
    let began = Instant::now();
    let url = format!("{}/admin/targets/sonnet-35/drain", gateway.admin_url());
    let key = ("x-sluice-admin-key", "the-admin-key-0123456789");
    assert_eq!(http::post(&url, &[key], String::new()).await.status, 200);
    let answer = large(&gateway, "comes later").send().await;
    assert_eq!(model(&answer), SECOND);
    assert!(queued(&answer) < 1_000, "{}", queued(&answer));
    assert_eq!(model(&waiting.await.unwrap()), SECOND, "the one that waited goes too");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_place_in_the_queue_goes_to_the_other_model() {
    let simulator = Simulator::start().await;
    let config =
        two_models(&simulator).of_route("wait_before_fallback", "15s").set("queue.max_waiting", 1);
    let gateway = Gateway::start(&config).await;
    let _under_way = fill(&gateway, &simulator, 3_000).await;
    let waiting = large(&gateway, "waits").start();
    gateway.has_waiting(1).await;
    let full = large(&gateway, "finds the queue full").send().await;
    assert_eq!((model(&full), queued(&full)), (SECOND, 0));
    let may_not_wait = large(&gateway, "hasty").header("x-sluice-max-wait", "0s").send().await;
    assert_eq!((model(&may_not_wait), queued(&may_not_wait)), (SECOND, 0));
    assert_eq!(model(&waiting.await.unwrap()), PRIMARY);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_ends_before_the_time_of_the_client_does() {
    let simulator = Simulator::start().await;
    let config = two_models(&simulator).of_route("wait_before_fallback", "15s");
    let gateway = Gateway::start(&config).await;
    let _under_way = fill(&gateway, &simulator, 8_000).await;
    let asked = large(&gateway, "waits").header("x-sluice-max-wait", "1500ms").send().await;
    assert_eq!(model(&asked), SECOND);
    assert!((1_000..1_500).contains(&queued(&asked)), "{}", queued(&asked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_request_waits_for_its_model_again() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2).of_route("wait_before_fallback", "4s");
    let gateway = Gateway::start(&config).await;
    simulator.throttles(PRIMARY, 2);
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!(model(&answer), PRIMARY);
    assert_eq!(simulator.models_called(), [PRIMARY; 3]);

    // A cooldown of a minute is no time to wait for.
    simulator.always_throttles(PRIMARY);
    let began = Instant::now();
    assert_eq!(model(&Ask::new(&gateway, "hello").send().await), SECOND);
    assert_eq!(model(&Ask::new(&gateway, "hello").send().await), SECOND);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_another_failure_the_other_model_answers_at_once() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2).of_route("wait_before_fallback", "4s");
    for fault in [Fault::Internal, Fault::ModelTimeout, Fault::NotFound] {
        let gateway = Gateway::start(&config).await;
        simulator.recovers();
        simulator.add(FaultRule::always(fault.clone()).on(PRIMARY));
        let began = Instant::now();
        assert_eq!(model(&Ask::new(&gateway, "hello").send().await), SECOND, "{fault:?}");
        assert!(began.elapsed() < Duration::from_secs(3), "{fault:?}: {:?}", began.elapsed());
        assert_eq!(waits(&gateway, "other").await, 0.0, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_is_answered_before_the_process_ends() {
    let simulator = Simulator::start().await;
    let config = two_models(&simulator)
        .of_route("wait_before_fallback", "20s")
        .set("server.drain_timeout", "3s");
    let mut gateway = Gateway::start(&config).await;
    let _under_way = fill(&gateway, &simulator, 15_000).await;
    let waiting = large(&gateway, "waits").start();
    gateway.has_waiting(1).await;
    gateway.terminate().await;
    let answer = waiting.await.unwrap();
    assert_eq!(model(&answer), SECOND);
    gateway.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_wait() {
    let simulator = Simulator::start().await;
    let config = two_models(&simulator).of_route("wait_before_fallback", "15s");
    let gateway = Gateway::start(&config).await;
    let _under_way = fill(&gateway, &simulator, 6_000).await;
    let waiting = large(&gateway, "leaves").start();
    gateway.has_waiting(1).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    waiting.abort();
    let ended = async || waits(&gateway, "ended").await;
    crate::support::patience::eventually("the wait ends", ended, |count| *count == 1.0).await;
    let log = gateway.access_log(1).await;
    assert_eq!(
        (log[0]["outcome"].as_str(), log[0]["status"].as_u64()),
        (Some("client_gone"), Some(0))
    );
    let waited = log[0]["queued_ms"].as_u64().unwrap();
    assert!((350..=log[0]["duration_ms"].as_u64().unwrap()).contains(&waited), "{}", log[0]);
    assert_eq!(log[0].get("first_byte_ms"), None, "it got no answer");
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("sluice_queue_wait_seconds_count", &[]), 1.0);
    assert!(metrics.sum("sluice_queue_wait_seconds_sum", &[]) > 0.35);
}
