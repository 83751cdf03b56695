//! Processes and Redis that go away: no accepted job is lost, none ends twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sluice::simulator::{Latency, ModelSettings};
use tokio::time::sleep;

use super::setups::{Queue, queued, reachable};
use super::{FINDING, analyze, ended, get, post, status};
use crate::support::patience::eventually;
use crate::support::{Config, Gateway, PRIMARY, Redis, Simulator};

const JOBS: usize = 500;

async fn slow_simulator() -> Simulator {
    let simulator = Simulator::start().await;
    simulator.says(PRIMARY, FINDING);
    let latency = Latency { head_ms: 300, token_ms: 0, jitter: 0.5 };
    let settings = ModelSettings { latency: Some(latency), ..ModelSettings::default() };
    simulator.limits(PRIMARY, settings);
    simulator
}

fn busy(simulator: &Simulator, queue: &Queue, folder: &Path) -> Config {
    queued(simulator, queue, folder)
        .set("jobs.analysis_workers", 24)
        .set("jobs.max_waiting", 2000)
        .set("limits.key", "ip")
}

/// Submits jobs and gives what was accepted.
async fn submit(gateway: &Gateway, count: usize) -> Vec<Value> {
    let mut accepted = Vec::new();
    for number in 0..count {
        let answer = analyze(gateway, "s", &format!("Section {number}")).await.json();
        assert_eq!(answer["async"], true, "{answer}");
        accepted.push(answer);
    }
    accepted
}

/// Waits until at least so many jobs have ended.
async fn have_ended(gateway: &Gateway, jobs: &[Value], count: usize) {
    let look = async || {
        let mut ready = 0;
        for job in jobs {
            ready += usize::from(status(gateway, job).await["ready"] == true);
        }
        ready
    };
    eventually("so many have ended", look, |ready| *ready >= count).await;
}

/// Sees that every job is done, and that what is stored as its result stays what it is.
async fn each_is_done_once(gateway: &Gateway, jobs: &[Value], seen: &mut BTreeMap<String, Value>) {
    for job in jobs {
        let ended = ended(gateway, job).await;
        assert_eq!(ended["state"], "SUCCESS", "{ended}");
        let id = ended["task_id"].as_str().unwrap().to_owned();
        let first = seen.entry(id).or_insert_with(|| ended.clone());
        assert_eq!(*first, ended, "a result is stored once");
    }
}

/// Notes the results that are there already.
async fn note_ended(gateway: &Gateway, jobs: &[Value], seen: &mut BTreeMap<String, Value>) {
    for job in jobs {
        let status = status(gateway, job).await;
        if status["ready"] == true {
            seen.insert(status["task_id"].as_str().unwrap().to_owned(), status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_jobs_survive_three_kills_of_the_gateway() {
    let (simulator, folder) = (slow_simulator().await, tempfile::tempdir().unwrap());
    let config = busy(&simulator, &Queue::Sqlite, folder.path());
    let mut gateway = Gateway::start(&config).await;
    reachable(&gateway).await;
    let jobs = submit(&gateway, JOBS).await;
    let mut seen = BTreeMap::new();
    for kill in 1..=3 {
        have_ended(&gateway, &jobs, kill * 60).await;
        note_ended(&gateway, &jobs, &mut seen).await;
        gateway.kill().await;
        gateway = Gateway::start(&config).await;
        reachable(&gateway).await;
    }
    each_is_done_once(&gateway, &jobs, &mut seen).await;
    assert_eq!(seen.len(), JOBS);
    let calls = simulator.calls_to(PRIMARY).len();
    println!("{JOBS} jobs, 3 kills: {calls} calls upstream");
    assert!(calls >= JOBS);
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_jobs_survive_three_kills_of_two_gateways_on_redis() {
    let simulator = slow_simulator().await;
    let queue = Queue::Redis(Redis::start().await);
    let config = busy(&simulator, &queue, Path::new(""));
    let mut gateways = [Gateway::start(&config).await, Gateway::start(&config).await];
    for gateway in &gateways {
        reachable(gateway).await;
    }
    let mut jobs = submit(&gateways[0], JOBS / 2).await;
    jobs.extend(submit(&gateways[1], JOBS / 2).await);
    let mut seen = BTreeMap::new();
    for kill in 1..=3 {
        let [mut doomed, witness] = gateways;
        have_ended(&witness, &jobs, kill * 80).await;
        note_ended(&witness, &jobs, &mut seen).await;
        doomed.kill().await;
        doomed = Gateway::start(&config).await;
        reachable(&doomed).await;
        // The other one is next.
        gateways = [witness, doomed];
    }
    let [one, other] = &gateways;
    each_is_done_once(one, &jobs, &mut seen).await;
    each_is_done_once(other, &jobs, &mut seen).await;
    assert_eq!(seen.len(), JOBS);
    println!("{JOBS} jobs, 3 kills: {} calls upstream", simulator.calls_to(PRIMARY).len());
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_be_gone_for_ten_seconds_in_the_middle() {
    let simulator = slow_simulator().await;
    let queue = Queue::Redis(Redis::start().await);
    let Queue::Redis(redis) = &queue else { unreachable!() };
    let config = busy(&simulator, &queue, Path::new("")).set("jobs.analysis_workers", 8);
    let gateway = Gateway::start(&config).await;
    reachable(&gateway).await;
    let jobs = submit(&gateway, 120).await;
    have_ended(&gateway, &jobs, 20).await;
    let mut seen = BTreeMap::new();
    note_ended(&gateway, &jobs, &mut seen).await;

    redis.stop();
    let stats = async || get(&gateway, "/queue_stats").await.json();
    eventually("the loss is noticed", stats, |stats| stats["available"] == false).await;
    assert_eq!(
        gateway.metrics().await.sum("sluice_dependency_up", &[("dependency", "job_queue")]),
        0.0
    );
    // Meanwhile requests are answered at once.
    let answer = analyze(&gateway, "s", "Meanwhile").await.json();
    assert_eq!(answer["feedback_items"][0]["id"], "f1", "{answer}");
    sleep(Duration::from_secs(10)).await;
    redis.resume().await;
    reachable(&gateway).await;
    // And the queue is used again.
    let again = analyze(&gateway, "s", "Again").await.json();
    assert_eq!(again["async"], true, "{again}");
    each_is_done_once(&gateway, &jobs, &mut seen).await;
    assert_eq!(ended(&gateway, &again).await["state"], "SUCCESS");
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_is_as_good_as_gone() {
    let simulator = slow_simulator().await;
    let queue = Queue::Redis(Redis::start().await);
    let Queue::Redis(redis) = &queue else { unreachable!() };
    let config = busy(&simulator, &queue, Path::new(""));
    let gateway = Gateway::start(&config).await;
    reachable(&gateway).await;
    let jobs = submit(&gateway, 10).await;
    let during = async {
        sleep(Duration::from_millis(100)).await;
        // The first to notice waits for the time limit of a call; whoever comes later does not.
        let first = analyze(&gateway, "s", "While it hangs").await.json();
        assert_eq!(first["feedback_items"][0]["id"], "f1", "{first}");
        let began = tokio::time::Instant::now();
        let second = analyze(&gateway, "s", "While it hangs").await.json();
        assert_eq!(second["feedback_items"][0]["id"], "f1", "{second}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    };
    tokio::join!(redis.hang(Duration::from_secs(4)), during);
    reachable(&gateway).await;
    each_is_done_once(&gateway, &jobs, &mut BTreeMap::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_store_that_starts_later_is_used() {
    let simulator = slow_simulator().await;
    let queue = Queue::Redis(Redis::absent());
    let Queue::Redis(redis) = &queue else { unreachable!() };
    let gateway = Gateway::start(&busy(&simulator, &queue, Path::new(""))).await;
    let answer = analyze(&gateway, "s", "Early").await.json();
    assert_eq!(answer["feedback_items"][0]["id"], "f1", "{answer}");
    let stats = get(&gateway, "/queue_stats").await.json();
    assert_eq!(stats["available"], false);
    assert!(stats["error"].as_str().unwrap().contains("not reachable"), "{stats}");
    redis.resume().await;
    reachable(&gateway).await;
    assert_eq!(analyze(&gateway, "s", "Late").await.json()["async"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_gateway_ends_running_jobs_and_leaves_the_rest_to_the_next() {
    let (simulator, folder) = (slow_simulator().await, tempfile::tempdir().unwrap());
    let config = busy(&simulator, &Queue::Sqlite, folder.path()).set("jobs.analysis_workers", 4);
    let mut gateway = Gateway::start(&config).await;
    reachable(&gateway).await;
    let jobs = submit(&gateway, 12).await;
    have_ended(&gateway, &jobs, 1).await;
    gateway.terminate().await;
    assert!(gateway.ended().await.success());
    let after_stop = simulator.calls_to(PRIMARY).len();
    assert!(after_stop < 12, "{after_stop}");
    let next = Gateway::start(&config).await;
    reachable(&next).await;
    each_is_done_once(&next, &jobs, &mut BTreeMap::new()).await;
    assert_eq!(simulator.calls_to(PRIMARY).len(), 12, "no work was done twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_the_answers_of_other_replicas() {
    let simulator = Simulator::start().await;
    simulator.says(PRIMARY, "The reply.");
    let queue = Queue::Redis(Redis::start().await);
    let config = queued(&simulator, &queue, Path::new(""));
    // One takes the questions, and the other alone has the time to answer them.
    let taking = Gateway::start(&config.clone().set("jobs.chat_workers", 1)).await;
    let working = Gateway::start(&config.set("jobs.chat_workers", 50)).await;
    reachable(&taking).await;
    reachable(&working).await;
    let blank = json!({ "session_id": "s", "section_name": "S", "content": "" });
    assert_eq!(post(&taking, "/analyze_section", &blank).await.status, 200);
    for number in 0..12 {
        let chat = json!({ "session_id": "s", "message": format!("question {number}") });
        let accepted = post(&taking, "/chat", &chat).await.json();
        assert_eq!(ended(&taking, &accepted).await["state"], "SUCCESS");
    }
    let asked = simulator.log().pop().unwrap().body;
    for number in 0..12 {
        assert!(asked.contains(&format!("question {number}")), "{number} is not in {asked}");
    }
}
