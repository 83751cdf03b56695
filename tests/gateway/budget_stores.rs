//! Where it is kept what clients have spent: what survives, and what replicas share.

use std::time::Duration;

use crate::budgets::{ask, is_about, start, used, with_budget};
use crate::support::patience::eventually;
use crate::support::{Config, Gateway, Redis, Simulator};

fn in_file(simulator: &Simulator, folder: &tempfile::TempDir) -> Config {
    let path = folder.path().join("budgets.db");
    with_budget(simulator, 1.0).set("state.budget_path", path.to_str().unwrap())
}

fn in_redis(simulator: &Simulator, redis: &Redis) -> Config {
    with_budget(simulator, 1.0).set("state.redis_url", redis.url())
}

async fn spend(gateway: &Gateway, tokens: u64) {
    let answer = ask(gateway, tokens).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

async fn has_used(gateway: &Gateway, wanted: f64) {
    let what = format!("{wanted} of the budget are used");
    let look = async || used(gateway).await;
    eventually(&what, look, |used| (used - wanted).abs() < 1e-9).await;
}

async fn is_up(gateway: &Gateway, wanted: f64) {
    let labels = [("dependency", "budgets")];
    let look = async || {
        let metrics = gateway.metrics().await;
        metrics.has("sluice_dependency_up").then(|| metrics.sum("sluice_dependency_up", &labels))
    };
    eventually("the store", look, |up| *up == Some(wanted)).await;
}

fn log_lines(gateway: &Gateway, part: &str) -> usize {
    gateway.output().matches(part).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_tells_the_last_of_it_and_a_restart_goes_on_from_there() {
    let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
    // So that only the stop can have told it.
    let config = in_file(&simulator, &folder).set("state.budget_flush", "1h");
    let mut first = start(&config).await;
    spend(&first, 300).await;
    spend(&first, 50).await;
    first.access_log(2).await;
    first.terminate().await;
    assert!(first.ended().await.success(), "{}", first.output());
    let second = start(&config).await;
    is_about(used(&second).await, 0.35);
    spend(&second, 650).await;
    second.access_log(1).await;
    assert_eq!(ask(&second, 1).send().await.status, 403);
    is_up(&second, 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_no_more_than_was_spent_since_the_last_flush() {
    let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
    let config = in_file(&simulator, &folder);
    let mut wanted = 0.0;
    for _ in 0..3 {
        let gateway = start(&config).await;
        is_about(used(&gateway).await, wanted);
        spend(&gateway, 200).await;
        gateway.access_log(1).await;
        wanted += 0.2;
        // Several flushes later all of it is there.
        tokio::time::sleep(Duration::from_millis(500)).await;
        // Under way when it ends: lost.
        let open =
            ask(&gateway, 100).body(crate::support::bodies::messages("x sim:head_ms=3000", 100));
        let open = open.start();
        simulator
            .sees("the open one", |entry| {
                entry.body.contains("head_ms=3000") && entry.ended_ms.is_none()
            })
            .await;
        gateway.kill().await;
        open.abort();
    }
    let gateway = start(&config).await;
    is_about(used(&gateway).await, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_costs_no_request() {
    let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
    // A folder in its place.
    std::fs::create_dir(folder.path().join("budgets.db")).unwrap();
    let gateway = start(&in_file(&simulator, &folder)).await;
    is_up(&gateway, 0.0).await;
    spend(&gateway, 900).await;
    gateway.access_log(1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    is_about(used(&gateway).await, 0.9);
    assert_eq!(log_lines(&gateway, "the store of budgets is not reachable"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_budgets_start_anew_and_it_is_said_so() {
    let simulator = Simulator::start().await;
    let config = with_budget(&simulator, 1.0);
    let gateway = start(&config).await;
    assert_eq!(log_lines(&gateway, "budgets start anew with the process"), 1);
    spend(&gateway, 900).await;
    drop(gateway);
    let gateway = start(&config).await;
    is_about(used(&gateway).await, 0.0);
    let up = gateway.metrics().await;
    assert!(!up.label_values().contains(&"budgets"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_on_one_redis_share_a_budget() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let config = in_redis(&simulator, &redis);
    let (a, b) = (start(&config).await, start(&config).await);
    spend(&a, 300).await;
    spend(&b, 400).await;
    has_used(&a, 0.7).await;
    has_used(&b, 0.7).await;
    spend(&a, 300).await;
    has_used(&b, 1.0).await;
    let refused = ask(&b, 1).send().await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    // A crash of both changes nothing.
    a.kill().await;
    b.kill().await;
    let c = start(&config).await;
    is_about(used(&c).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_taken_away_and_comes_back_has_its_sums() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let config = in_redis(&simulator, &redis);
    let (a, b) = (start(&config).await, start(&config).await);
    spend(&a, 300).await;
    has_used(&b, 0.3).await;
    a.reload(&config.clone().without_of_client("daily_budget_usd").to_toml()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    a.reload(&config.to_toml()).await;
    is_about(used(&a).await, 0.3);
    spend(&a, 100).await;
    has_used(&a, 0.4).await;
    has_used(&b, 0.4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_go_and_come_back_and_nothing_is_counted_twice() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let config = in_redis(&simulator, &redis);
    let (a, b) = (start(&config).await, start(&config).await);
    spend(&a, 100).await;
    has_used(&b, 0.1).await;
    redis.stop();
    is_up(&a, 0.0).await;
    spend(&a, 200).await;
    spend(&b, 300).await;
    a.access_log(2).await;
    b.access_log(1).await;
    is_about(used(&a).await, 0.3);
    is_about(used(&b).await, 0.4);
    redis.resume().await;
    is_up(&a, 1.0).await;
    is_up(&b, 1.0).await;
    has_used(&a, 0.6).await;
    has_used(&b, 0.6).await;
    // A Redis that hangs does not make requests wait.
    let hung = redis.hang(Duration::from_secs(3));
    let asked = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let began = tokio::time::Instant::now();
        spend(&a, 100).await;
        assert!(began.elapsed() < Duration::from_secs(2));
    };
    tokio::join!(hung, asked);
    has_used(&a, 0.7).await;
    has_used(&b, 0.7).await;
    assert_eq!(
        log_lines(&a, "the store of budgets is not reachable"),
        log_lines(&a, "the store of budgets is reachable")
    );
}
