//! Fifty users at once before quotas of a few requests a minute: everybody gets a real answer, with a
//! job queue and without. A minute lasts three seconds here, for the quotas as for whatever waits.

use std::time::Duration;

use serde_json::{Value, json};
use sluice::simulator::ModelSettings;
use tokio::time::sleep;

use super::setups::{Queue, queued, reachable};
use super::{FINDING, analyze, post, status};
use crate::support::patience::{LONG, within};
use crate::support::{Config, Gateway, MODELS, Redis, Simulator};

const USERS: usize = 50;
const MINUTE_MS: u64 = 3000;

/// What takes so many seconds, as long as it takes here.
fn scaled(seconds: u64) -> String {
    format!("{}ms", seconds * MINUTE_MS / 60)
}

/// The times of the defaults, at that scale, and about as many starts of jobs as the quotas have. Nothing is learned, since that counts by real minutes.
fn at_scale(config: Config) -> Config {
    config
        .set("learning.enabled", false)
        .set("server.request_timeout", scaled(300))
        .set("queue.max_wait", scaled(45))
        .set("jobs.rate_window", scaled(60))
        .set("jobs.analysis_per_minute", 12)
        .set("jobs.analysis_time_limit", scaled(300))
        .set("jobs.analysis_soft_time_limit", scaled(240))
        .set("jobs.chat_per_minute", 12)
        .set("jobs.chat_time_limit", scaled(120))
        .set("jobs.chat_soft_time_limit", scaled(90))
        .set("jobs.retry_base_delay", scaled(1))
        .set("jobs.retry_max_delay", scaled(60))
        .every_target("cooldown", scaled(60))
}

/// The result of a request, or of the task that it became.
async fn result(gateway: &Gateway, answer: Value) -> Value {
    if answer["async"] != true {
        return answer;
    }
    let ends = async {
        loop {
            let status = status(gateway, &answer).await;
            if status["ready"] == true {
                return status;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let status = within(LONG * 4, "the task ends", ends).await;
    assert_eq!(status["state"], "SUCCESS", "{status}");
    status["result"].clone()
}

/// One user: has a section analysed and asks about it. Both have real answers.
async fn visit(gateway: &Gateway, user: usize) {
    let session = format!("s{user}");
    let analysed = result(gateway, analyze(gateway, &session, "Summary").await.json()).await;
    assert_eq!(analysed["success"], true, "{analysed}");
    let inner = &analysed["result"]["feedback_items"];
    let items = if inner.is_array() { inner } else { &analysed["feedback_items"] };
    assert_eq!(items[0]["id"], "f1", "{analysed}");
    let chat = json!({ "session_id": session, "message": "Is it good?" });
    let said = result(gateway, post(gateway, "/chat", &chat).await.json()).await;
    assert_eq!((&said["success"], &said["response"]), (&json!(true), &json!(FINDING)), "{said}");
}

async fn all_are_answered(queue: Queue) {
    let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
    for model in MODELS {
        let settings =
            ModelSettings { rpm: Some(6), minute_ms: Some(MINUTE_MS), ..ModelSettings::default() };
        simulator.limits(model, settings);
        simulator.says(model, FINDING);
    }
    let gateway = Gateway::start(&at_scale(queued(&simulator, &queue, folder.path()))).await;
    if !matches!(queue, Queue::None) {
        reachable(&gateway).await;
    }
    let visits = (0..USERS).map(|user| visit(&gateway, user));
    futures_util::future::join_all(visits).await;
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_once() {
    all_are_answered(Queue::None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_queue_in_a_file() {
    all_are_answered(Queue::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_queue_in_redis() {
    all_are_answered(Queue::Redis(Redis::start().await)).await;
}
