//! `/admin/status`: what the page and `sluice top` show beside the targets.

use serde_json::Value;
use sluice::simulator::Fault;

use crate::budgets::{KEY, ask, start, with_budget};
use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, MODELS, PRIMARY, Simulator, http};

async fn status(gateway: &Gateway) -> Value {
    http::get(&format!("{}/admin/status", gateway.admin_url())).await.json()
}

/// The entry of a client; null if there is none.
fn client(status: &Value, name: &str) -> Value {
    let clients = status["clients"].as_array().unwrap();
    clients.iter().find(|client| client["name"] == name).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_shown_with_its_use_now_and_its_budget() {
    let simulator = Simulator::start().await;
    let gateway = start(&with_budget(&simulator, 0.1)).await;
    assert_eq!(ask(&gateway, 90).send().await.status, 200);
    gateway.access_log(1).await;
    let slow = Ask::new(&gateway, "slow sim:head_ms=60000").max_tokens(1).bearer(KEY).start();
    simulator.sees("the slow request", |entry| entry.body.contains("slow")).await;
    let status = status(&gateway).await;
    let team = client(&status, "team-a");
    assert_eq!((&team["in_flight"], &team["requests"]), (&1.into(), &1.into()), "{team}");
    assert_eq!((&team["failed"], &team["client_errors"]), (&0.into(), &0.into()), "{team}");
    let budget = &team["budgets"][0];
    assert_eq!((&budget["period"], &budget["limit_usd"]), (&"daily".into(), &0.1.into()));
    assert!((budget["used"].as_f64().unwrap() - 0.9).abs() < 1e-9, "{budget}");
    // Beyond 80 % it is among those that need attention.
    assert_eq!(status["budgets"][0]["client"], "team-a", "{status}");
    let model = &status["model_usage"][0];
    assert_eq!((&model["model"], &model["answers"]), (&PRIMARY.into(), &1.into()), "{model}");
    assert!((model["cost_usd"].as_f64().unwrap() - 0.09).abs() < 1e-9, "{model}");
    // A client that has gone has nothing in flight.
    slow.abort();
    let in_flight = async || client(&self::status(&gateway).await, "team-a")["in_flight"].clone();
    eventually("nothing in flight", in_flight, |count| *count == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_wait_and_who_waits_are_shown() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("targets.sonnet-35.tpm", 9_000)
        .set("queue.max_wait", "60s")
        .client("team-a", "env:TEAM_A_KEY");
    let gateway = start(&config).await;
    assert_eq!(status(&gateway).await["queue"]["oldest_wait_ms"], Value::Null);
    let large = Ask::new(&gateway, "large sim:head_ms=60000").max_tokens(4_000).bearer(KEY);
    let asked = [large.clone().start(), large.clone().start(), large.start()];
    gateway.has_waiting(1).await;
    let seen = async || status(&gateway).await;
    let has_waited =
        |status: &Value| status["queue"]["oldest_wait_ms"].as_u64().is_some_and(|ms| ms > 0);
    let status = eventually("a wait", seen, has_waited).await;
    let team = client(&status, "team-a");
    assert_eq!((&team["waiting"], &team["in_flight"]), (&1.into(), &3.into()), "{status}");
    asked.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_targets_share_names_the_first_of_them() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::with_four_models(&simulator).await;
    let targets = status(&gateway).await["targets"].clone();
    assert_eq!(targets[0]["shares_queue_of"], Value::Null, "{targets}");
    assert_eq!(targets[1]["shares_queue_of"], targets[0]["name"], "{targets}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_and_a_clients_own_mistakes_are_told_apart() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::models(&simulator, 1).set("queue.max_wait", "0s")).await;
    simulator.strikes(PRIMARY, 1, Fault::Validation);
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 400);
    simulator.throttles(PRIMARY, 1);
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 429);
    gateway.access_log(2).await;
    let status = status(&gateway).await;
    let totals = &status["totals"];
    assert_eq!(
        (&totals["requests"], &totals["failed"], &totals["client_errors"]),
        (&2.into(), &1.into(), &1.into()),
        "{totals}"
    );
    let failed = status["failed_outcomes"].as_array().unwrap();
    let is_failed = |number: usize| failed.contains(&status["failures"][number]["outcome"]);
    assert!(is_failed(0) && !is_failed(1), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_reload_is_shown_until_a_reload_succeeds() {
    let simulator = Simulator::start().await;
    let good = Config::models(&simulator, 1).set("server.config_poll_interval", "50ms");
    let gateway = Gateway::start(&good).await;
    assert_eq!(status(&gateway).await["config"]["refused"], Value::Null);
    gateway.write(&good.clone().set("queue.max_weight", 1).to_toml());
    let refused = async || status(&gateway).await["config"]["refused"].clone();
    let seen = eventually("a refusal", refused, |refused| !refused.is_null()).await;
    assert!(seen["message"].as_str().unwrap().contains("max_weight"), "{seen}");
    gateway.write(&good.set("queue.max_wait", "7s").to_toml());
    eventually("no refusal", refused, Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dependency_that_is_down_is_named() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, MODELS.len())
        .set("state.backend", "redis")
        .set("state.redis_url", "redis://127.0.0.1:1");
    let gateway = Gateway::start(&config).await;
    let dependencies = async || status(&gateway).await["dependencies"].clone();
    let is_up = |all: &Value, name: &str| {
        let found = all.as_array()?.iter().find(|it| it["name"] == name)?;
        found["up"].as_bool()
    };
    let seen = eventually("redis", dependencies, |all| is_up(all, "redis") == Some(false)).await;
    assert_eq!(is_up(&seen, "credentials"), Some(true), "{seen}");
    // Where it is, and why it is down.
    let redis = seen.as_array().unwrap().iter().find(|it| it["name"] == "redis").unwrap();
    let message = redis["message"].as_str().unwrap();
    assert!(message.starts_with("127.0.0.1:1: ") && message.contains("refused"), "{message}");
}
