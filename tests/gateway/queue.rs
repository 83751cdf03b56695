//! The queue of requests that wait for quota: their order, refusals, and clients that leave.

use std::time::{Duration, SystemTime};

use aws_smithy_types::date_time::{DateTime, Format};
use sluice::simulator::Entry;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::http::Response;
use crate::support::raw::Connection;
use crate::support::{Ask, Config, Gateway, PRIMARY, Simulator};

/// Two requests of 4,000 tokens are under way at once; each gives nearly all of them back.
fn two_at_once(simulator: &Simulator) -> Config {
    Config::models(simulator, 1).set("targets.sonnet-35.tpm", 9_000).set("queue.max_wait", "20s")
}

type Asked = Vec<JoinHandle<Response>>;

/// A request that half of the quota is taken for.
fn large(gateway: &Gateway, prompt: &str) -> Ask {
    Ask::new(gateway, &format!("{prompt} sim:head_ms=40")).max_tokens(4_000)
}

/// Two requests under way for so long that a line forms behind them.
async fn two_under_way(gateway: &Gateway, simulator: &Simulator) -> Asked {
    let slow = Ask::new(gateway, "slow sim:head_ms=1500").max_tokens(4_000);
    let both = vec![slow.clone().start(), slow.start()];
    simulator.sees("both", |entry| entry.seq == 2).await;
    both
}

async fn all_are_answered(asked: Asked) {
    for asked in asked {
        assert_eq!(asked.await.unwrap().status, 200);
    }
}

/// The places in the upstream's log of the requests with this word.
fn places(log: &[Entry], word: &str) -> Vec<usize> {
    let all = log.iter().enumerate();
    all.filter(|(_, entry)| entry.body.contains(word)).map(|(place, _)| place).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_clients_flood_does_not_hold_up_another() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&two_at_once(&simulator)).await;
    let mut asked = two_under_way(&gateway, &simulator).await;
    asked.extend((0..40).map(|_| large(&gateway, "flood").key("AKIDFLOOD").start()));
    gateway.has_waiting(40).await;
    asked.extend((0..3).map(|_| large(&gateway, "few").key("AKIDFEW").start()));
    gateway.has_waiting(43).await;
    all_are_answered(asked).await;
    // In turn with the flood's, though they came behind all of them.
    let places = places(&simulator.log(), "few");
    assert!(places.iter().all(|place| *place < 12), "{places:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn urgent_requests_go_before_others_and_low_ones_behind() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&two_at_once(&simulator)).await;
    let mut asked = two_under_way(&gateway, &simulator).await;
    for (behind, priority) in ["low", "normal", "high"].into_iter().enumerate() {
        let ask = large(&gateway, priority).header("x-sluice-priority", priority);
        asked.extend((0..8).map(|_| ask.clone().start()));
        gateway.has_waiting(8 * (behind + 1)).await;
    }
    all_are_answered(asked).await;
    let log = simulator.log();
    let [high, normal, low] = ["high", "normal", "low"].map(|word| places(&log, word));
    let all = format!("high at {high:?}, normal at {normal:?}, low at {low:?}");
    assert!(high[7] < normal[3] && normal[7] < low[4], "{all}");
    assert!(low[0] < normal[4], "low ones are slow, not starved: {all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_is_more_urgent_than_the_config_allows() {
    let simulator = Simulator::start().await;
    let config = two_at_once(&simulator).set("queue.max_priority", "normal");
    let gateway = Gateway::start(&config).await;
    let mut asked = two_under_way(&gateway, &simulator).await;
    asked.extend((0..8).map(|_| large(&gateway, "usual").start()));
    gateway.has_waiting(8).await;
    let urgent = large(&gateway, "urgent").header("x-sluice-priority", "high");
    asked.extend((0..4).map(|_| urgent.clone().start()));
    gateway.has_waiting(12).await;
    all_are_answered(asked).await;
    let log = simulator.log();
    let (usual, urgent) = (places(&log, "usual"), places(&log, "urgent"));
    // Two are under way at once, so neighbours may change places.
    assert!(urgent[0] + 1 >= usual[7], "{urgent:?} and {usual:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn small_requests_do_not_starve_a_large_one() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("targets.sonnet-35.tpm", 5_000)
        .set("queue.max_wait", "10s");
    let gateway = Gateway::start(&config).await;
    let end = Instant::now() + Duration::from_secs(3);
    let small = Ask::new(&gateway, "small sim:head_ms=150").max_tokens(1_000);
    let crowd: Vec<_> = (0..12)
        .map(|number| {
            let small = small.clone().key(&format!("AKIDSMALL{number}"));
            tokio::spawn(async move {
                while Instant::now() < end {
                    assert_eq!(small.clone().send().await.status, 200);
                }
            })
        })
        .collect();
    gateway.has_waiting(8).await;
    let began = simulator.log().len();
    // It needs all of the quota but a little, so nobody else may be under way.
    let answer = Ask::new(&gateway, "large").max_tokens(4_000).key("AKIDLARGE").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let place = places(&simulator.log(), "large")[0];
    assert!(place < began + 30, "{} went before it", place - began);
    for asking in crowd {
        asking.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_the_queue_lets_the_next_go() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("targets.sonnet-35.tpm", 5_000)
        .set("queue.max_wait", "20s");
    let gateway = Gateway::start(&config).await;
    let slow = Ask::new(&gateway, "slow sim:head_ms=4000").max_tokens(2_000).start();
    simulator.sees("the slow one", |_| true).await;
    let mut leaving = Connection::open(gateway.address()).await;
    let large = Ask::new(&gateway, "large").max_tokens(4_000);
    leaving.send(large.into_http1().as_bytes()).await;
    gateway.has_waiting(1).await;
    // There is room for it, but the large one holds the quota.
    let small = Ask::new(&gateway, "small").max_tokens(100).start();
    gateway.has_waiting(2).await;
    drop(leaving);
    let answer = small.await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(!slow.is_finished(), "it did not wait for the slow one");
    assert_eq!(slow.await.unwrap().status, 200);
    assert_eq!(simulator.log().len(), 2, "the one that left was never sent");
    assert_eq!(gateway.target("sonnet-35").await["waiters"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_finds_the_queue_full_gets_retry_after() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("targets.sonnet-35.rpm", 60)
        .set("queue.max_waiting", 2)
        .set("queue.max_wait", "20s");
    let gateway = Gateway::start(&config).await;
    let first: Vec<_> = (0..60).map(|_| Ask::new(&gateway, "first").start()).collect();
    for asked in first {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    let waiting: Vec<_> = (0..2).map(|_| Ask::new(&gateway, "waits").start()).collect();
    gateway.has_waiting(2).await;
    let refused = Ask::new(&gateway, "refused").send().await;
    assert_eq!(refused.status, 429);
    assert!(refused.text().contains("queue is full: 2 requests"), "{}", refused.text());
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((2..=5).contains(&after), "two wait, and one goes each second: {after}");
    tokio::time::sleep(Duration::from_secs(after)).await;
    let again = Ask::new(&gateway, "again").send().await;
    assert_eq!(again.status, 200);
    let queued: u64 = again.header("x-sluice-queued-ms").unwrap().parse().unwrap();
    assert!(queued < 1_000, "it was told too early a time: {queued} ms");
    for asked in waiting {
        assert_eq!(asked.await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_that_wait_are_bounded() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("targets.sonnet-35.rpm", 1)
        .set("queue.max_waiting_bytes", "100KB")
        .set("queue.max_wait", "3s");
    let gateway = Gateway::start(&config).await;
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
    let bulky = Ask::new(&gateway, &"many words ".repeat(6_000));
    let waits = bulky.clone().start();
    gateway.has_waiting(1).await;
    let refused = bulky.send().await;
    assert_eq!(refused.status, 429);
    assert!(refused.text().contains("bytes already"), "{}", refused.text());
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(after > 30, "{after}");
    assert_eq!(waits.await.unwrap().status, 429, "a minute is more than it may wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_no_longer_than_its_client() {
    let simulator = Simulator::start().await;
    let config =
        Config::models(&simulator, 1).set("targets.sonnet-35.rpm", 1).set("queue.max_wait", "20s");
    let gateway = Gateway::start(&config).await;
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
    let in_two_seconds = ttl(SystemTime::now() + Duration::from_secs(2));
    for (name, value, longest) in [
        ("x-sluice-max-wait", "300ms".to_owned(), 1_500),
        ("amz-sdk-request", format!("ttl={in_two_seconds}; attempt=1; max=3"), 3_000),
    ] {
        let began = Instant::now();
        let answer = Ask::new(&gateway, "waits").header(name, value).send().await;
        let took = began.elapsed().as_millis();
        assert_eq!(answer.status, 429, "{name}");
        assert!(took < longest, "{name}: {took} ms");
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((50..=61).contains(&after), "{name}: {after}");
    }
    assert_eq!(simulator.calls_to(PRIMARY).len(), 1);
}

/// A time as SDKs write it: `20261123T120000Z`.
fn ttl(time: SystemTime) -> String {
    let text = DateTime::from(time).fmt(Format::DateTime).unwrap();
    let whole = text.split(['.', 'Z']).next().unwrap();
    format!("{}Z", whole.replace(['-', ':'], ""))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waited_long_is_told_not_to_retry() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("targets.sonnet-35.rpm", 1)
        .set("queue.max_wait", "1500ms");
    let gateway = Gateway::start(&config).await;
    assert_eq!(Ask::new(&gateway, "the first").send().await.status, 200);
    for (max_wait, should_retry) in [("0s", None), ("20s", Some("false"))] {
        let refused = Ask::new(&gateway, "more").header("x-sluice-max-wait", max_wait).send().await;
        assert_eq!(refused.status, 429, "{}", refused.text());
        assert_eq!(refused.header("x-should-retry"), should_retry, "after {max_wait}");
        let number = |name| refused.header(name).unwrap().parse::<u64>().unwrap();
        let (seconds, millis) = (number("retry-after"), number("x-amz-retry-after"));
        assert_eq!(seconds, millis.div_ceil(1000), "{seconds} s, {millis} ms");
    }
}
