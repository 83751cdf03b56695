//! Where it is kept what clients have spent: what survives, and what replicas share.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};

use crate::budgets::{ask, is_about, start, used, with_budget};
use crate::support::patience::eventually;
use crate::support::{Config, Gateway, Redis, Simulator, bodies};

fn in_file(simulator: &Simulator, folder: &tempfile::TempDir) -> Config {
    let path = folder.path().join("budgets.db");
    with_budget(simulator, 1.0).set("state.budget_path", path.to_str().unwrap())
}

fn in_redis(simulator: &Simulator, redis: &Redis) -> Config {
    with_budget(simulator, 1.0).set("state.redis_url", redis.reference())
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
async fn a_stop_saves_the_last_spending_and_a_restart_continues_from_it() {
    let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
    let config = in_file(&simulator, &folder);
    let mut first = start(&config).await;
    spend(&first, 300).await;
    // Spent while it drains, as the last it does.
    let last = ask(&first, 50).body(bodies::messages("x sim:tokens=50 sim:head_ms=1000", 50));
    let last = last.start();
    simulator.sees("the last", |entry| entry.seq == 2).await;
    first.terminate().await;
    assert_eq!(last.await.unwrap().status, 200);
    assert!(first.ended().await.success(), "{}", first.output());
    let second = start(&config).await;
    is_about(used(&second).await, 0.35);
    let mode = std::fs::metadata(folder.path().join("budgets.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    spend(&second, 650).await;
    second.access_log(1).await;
    assert_eq!(ask(&second, 1).send().await.status, 403);
    is_up(&second, 1.0).await;
}

/// Crashes again and again, each time with a request under way, and between requests.
async fn crashes(simulator: &Simulator, config: &Config, stored: impl AsyncFn() -> u64) {
    // So that nothing is told but what was spent.
    let config = config.clone().set("state.budget_flush", "1h");
    let mut spent = 0;
    for _ in 0..3 {
        let gateway = start(&config).await;
        is_about(used(&gateway).await, spent as f64 / 1000.0);
        spend(&gateway, 70).await;
        spend(&gateway, 30).await;
        spent += 100;
        let wanted = spent * 1_000_000;
        eventually("the store has it", &stored, |stored| *stored == wanted).await;
        let before = simulator.log().len();
        let open = ask(&gateway, 100).body(bodies::messages("x sim:head_ms=60000", 100)).start();
        simulator.sees("the open one", |entry| entry.seq as usize == before + 1).await;
        gateway.kill().await;
        open.abort();
        assert_eq!(stored().await, wanted, "what was under way is all that is lost");
    }
    // As soon as there is an answer.
    for _ in 0..5 {
        let gateway = start(&config).await;
        let before = used(&gateway).await;
        assert!(before >= spent as f64 / 1000.0 - 1e-9);
        spend(&gateway, 10).await;
        gateway.kill().await;
    }
    let gateway = start(&config).await;
    let (all, used) = ((spent + 50) as f64 / 1000.0, used(&gateway).await);
    assert!(used >= spent as f64 / 1000.0 - 1e-9 && used <= all + 1e-9, "{used} of {all}");
    println!(
        "{} of 5 that ended just before a crash were kept",
        ((used - all) * 100.0 + 5.0).round()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_no_more_than_was_under_way_in_a_file() {
    let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
    let options = SqliteConnectOptions::new().filename(folder.path().join("budgets.db"));
    let stored = async || -> u64 {
        let Ok(mut file) = SqliteConnection::connect_with(&options).await else { return 0 };
        let sum = "SELECT nano_usd FROM sluice_budgets WHERE kind = 'monthly'";
        sqlx::query_scalar::<_, i64>(sum).fetch_one(&mut file).await.unwrap_or(0) as u64
    };
    crashes(&simulator, &in_file(&simulator, &folder), stored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_no_more_than_was_under_way_in_redis() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let client = redis::Client::open(redis.url()).unwrap();
    let stored = async || -> u64 {
        let mut redis = client.get_multiplexed_async_connection().await.unwrap();
        let keys: Vec<String> =
            redis::cmd("KEYS").arg("*:budget:monthly:*").query_async(&mut redis).await.unwrap();
        let Some(key) = keys.first() else { return 0 };
        let sums: Vec<u64> = redis::cmd("HVALS").arg(key).query_async(&mut redis).await.unwrap();
        sums.iter().sum()
    };
    crashes(&simulator, &in_redis(&simulator, &redis), stored).await;
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
    assert_eq!(log_lines(&gateway, "the budget store is not reachable"), 1);
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
async fn a_store_is_a_dependency_only_while_a_client_has_a_budget() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let folder = tempfile::tempdir().unwrap();
    let labels = [("dependency", "budgets")];
    let state =
        async |gateway: &Gateway| gateway.metrics().await.get("sluice_dependency_up", &labels);
    for config in [in_redis(&simulator, &redis), in_file(&simulator, &folder)] {
        let without = config.clone().without_of_client("daily_budget_usd");
        let gateway = start(&without).await;
        assert_eq!(state(&gateway).await, None);
        gateway.reload(&config.to_toml()).await;
        let look = async || state(&gateway).await;
        eventually("the store is up", look, |up| *up == Some(1.0)).await;
    }
    // Redis tells when the last budget has gone.
    let config = in_redis(&simulator, &redis);
    let gateway = start(&config).await;
    assert_eq!(state(&gateway).await, Some(1.0));
    gateway.reload(&config.without_of_client("daily_budget_usd").to_toml()).await;
    let look = async || state(&gateway).await;
    eventually("the store is no dependency", look, |up| up.is_none()).await;
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
async fn a_budget_that_is_removed_and_returns_has_its_sums() {
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
        log_lines(&a, "the budget store is not reachable"),
        log_lines(&a, "the budget store is reachable")
    );
}
