//! A Redis behind an address that leads to another server after a failover: jobs, budgets, shared
//! quotas and resets go on there, without a restart.

use std::time::Duration;

use tokio::time::Instant;

use crate::budgets::{ask, start, used, with_budget};
use crate::stores::{NO_FINDING, analyze, ask_api, has_ended, is_done, is_up};
use crate::support::patience::eventually;
use crate::support::{Address, Ask, Config, Gateway, PRIMARY, Redis, SECOND, Simulator, http};

/// The name of the first target.
const TARGET: &str = "sonnet-35";

/// Everything that Redis is used for.
fn config(simulator: &Simulator, reference: &str) -> Config {
    simulator.says(PRIMARY, NO_FINDING);
    with_budget(simulator, 10.0)
        .set("state.backend", "redis")
        .set("state.redis_url", reference)
        .set("jobs.backend", "redis")
        .set("jobs.redis_url", reference)
        .set("jobs.poll_interval", "200ms")
        .set("jobs.heartbeat", "1s")
        .set("jobs.analysis_per_minute", 100_000)
        .set(&format!("targets.{TARGET}.rpm"), 100_000)
}

/// A master with a replica that has what the master has.
pub(crate) async fn pair() -> (Redis, Redis) {
    let master = Redis::start().await;
    let replica =
        Redis::start_with(&["--replicaof", "127.0.0.1", &master.port().to_string()]).await;
    is_replica_of(&replica, &master).await;
    (master, replica)
}

pub(crate) async fn is_replica_of(replica: &Redis, master: &Redis) {
    let port = master.port().to_string();
    let role = async || replica.ask(&["ROLE"]).await;
    let is_one = |role: &String| role.contains(&port) && role.contains("connected");
    eventually("it replicates", role, is_one).await;
}

/// How many bytes of what is written a server has.
async fn offset(redis: &Redis) -> u64 {
    let info = redis.ask(&["INFO", "replication"]).await;
    let line = info.lines().find_map(|line| line.strip_prefix("master_repl_offset:"));
    line.unwrap().trim().parse().unwrap()
}

/// The replica has all that is written by now.
pub(crate) async fn has_caught_up(replica: &Redis, master: &Redis) {
    let written = offset(master).await;
    eventually("it has all", async || offset(replica).await, |has| *has >= written).await;
}

/// The replica takes over, the address leads to it, and the master becomes its replica.
pub(crate) async fn fail_over(address: &Address, master: &Redis, replica: &Redis) {
    assert_eq!(replica.ask(&["REPLICAOF", "NO", "ONE"]).await.trim(), "OK");
    address.leads_to(replica);
    let port = replica.port().to_string();
    assert_eq!(master.ask(&["REPLICAOF", "127.0.0.1", &port]).await.trim(), "OK");
}

async fn all_is_up(gateway: &Gateway) {
    for dependency in ["job_queue", "budgets", "redis"] {
        is_up(gateway, dependency, 1.0).await;
    }
}

/// The sum of what is spent, by the server: in the field of each process.
async fn stored(redis: &Redis) -> u64 {
    let key = redis.ask(&["KEYS", "*:budget:daily:*"]).await;
    let sums = redis.ask(&["HVALS", key.trim()]).await;
    sums.lines().map(|sum| sum.parse::<u64>().unwrap_or(0)).sum()
}

/// Spends something, which the server is told: it has all that the gateway knows of.
async fn spends(gateway: &Gateway, redis: &Redis) {
    let before = used(gateway).await;
    let answer = ask(gateway, 100).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let both = async || (used(gateway).await, stored(redis).await);
    let are_same =
        |(used, stored): &(f64, u64)| *used > before && (used * 1e10).round() as u64 == *stored;
    eventually("it is told", both, are_same).await;
}

/// What replicas share is in this server, and goes on to change.
async fn shares(gateway: &Gateway, redis: &Redis) {
    let heartbeat =
        async || redis.ask(&["ZRANGE", "{sluice}:fleet:members", "0", "-1", "WITHSCORES"]).await;
    let before = heartbeat().await;
    eventually("a heartbeat", heartbeat, |now| !now.trim().is_empty() && *now != before).await;
    assert_eq!(Ask::new(gateway, "hello").bearer(crate::budgets::KEY).send().await.status, 200);
    for (path, maximum) in [
        ("/openai/v1/chat/completions", "max_completion_tokens"),
        ("/anthropic/v1/messages", "max_tokens"),
    ] {
        assert_eq!(ask_api(gateway, path, maximum, 1).await.status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_by_address_is_followed_by_all_that_use_redis() {
    let simulator = Simulator::start().await;
    let (first, second) = pair().await;
    let address = Address::of(&first).await;
    let gateway = start(&config(&simulator, &address.reference())).await;
    all_is_up(&gateway).await;
    is_done(&gateway).await;
    spends(&gateway, &first).await;
    // There and back again.
    for (master, replica) in [(&first, &second), (&second, &first)] {
        is_replica_of(replica, master).await;
        let under_way = [analyze(&gateway).await, analyze(&gateway).await];
        has_caught_up(replica, master).await;
        fail_over(&address, master, replica).await;
        let failed = Instant::now();
        is_done(&gateway).await;
        let jobs = failed.elapsed();
        spends(&gateway, replica).await;
        let budgets = failed.elapsed();
        shares(&gateway, replica).await;
        for accepted in &under_way {
            has_ended(&gateway, accepted).await;
        }
        println!(
            "jobs after {jobs:?}, budgets after {budgets:?}, all after {:?}",
            failed.elapsed()
        );
        all_is_up(&gateway).await;
    }
}

/// Nobody is told: no connection is closed, and none is answered.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_lead_nowhere_are_given_up() {
    let simulator = Simulator::start().await;
    let (first, second) = pair().await;
    let address = Address::of(&first).await;
    let gateway = start(&config(&simulator, &address.reference())).await;
    all_is_up(&gateway).await;
    is_done(&gateway).await;
    spends(&gateway, &first).await;
    is_replica_of(&second, &first).await;
    address.cut();
    fail_over(&address, &first, &second).await;
    is_done(&gateway).await;
    spends(&gateway, &second).await;
    shares(&gateway, &second).await;
    all_is_up(&gateway).await;
}

/// What is only read would be read there for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_heard_of_after_a_failover_though_the_old_server_still_answers() {
    let simulator = Simulator::start().await;
    let (first, second) = pair().await;
    let address = Address::of(&first).await;
    let config = Config::models(&simulator, 2)
        .set("jobs.backend", "redis")
        .set("jobs.redis_url", address.reference())
        .set(&format!("targets.{TARGET}.cooldown"), "10m");
    let gateways = [Gateway::start(&config).await, Gateway::start(&config).await];
    for gateway in &gateways {
        is_up(gateway, "job_queue", 1.0).await;
    }
    // The old one is a replica of nobody who answers, and knows what it knew.
    assert_eq!(second.ask(&["REPLICAOF", "NO", "ONE"]).await.trim(), "OK");
    address.leads_to(&second);
    assert_eq!(first.ask(&["REPLICAOF", "127.0.0.1", "1"]).await.trim(), "OK");
    simulator.throttles(PRIMARY, 1);
    let answer = Ask::new(&gateways[1], "hello").send().await;
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    let state = async || gateways[1].target(TARGET).await["state"].clone();
    assert_eq!(state().await, "cooling");
    let path = format!("http://{}/reset_model_cooldowns", gateways[0].legacy_address());
    let reset = async || {
        assert_eq!(http::post(&path, &[], "{}").await.status, 200);
        state().await
    };
    eventually("the other hears of it", reset, |state| state == "available").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loads_its_data_is_waited_for() {
    let simulator = Simulator::start().await;
    let mut redis = Redis::start().await;
    let gateway = start(&config(&simulator, &redis.reference())).await;
    all_is_up(&gateway).await;
    let accepted = analyze(&gateway).await;
    has_ended(&gateway, &accepted).await;
    spends(&gateway, &redis).await;
    let ballast = "for i = 1, 5000 do redis.call('SET', 'ballast:' .. i, 'x') end";
    redis.ask(&["EVAL", ballast, "0"]).await;
    redis.kill();
    for dependency in ["job_queue", "budgets", "redis"] {
        is_up(&gateway, dependency, 0.0).await;
    }
    redis.resume_slowly(Duration::from_millis(1)).await;
    let says = redis.ask(&["GET", "ballast:1"]).await;
    assert!(says.starts_with("LOADING"), "{says}");
    all_is_up(&gateway).await;
    has_ended(&gateway, &accepted).await;
    is_done(&gateway).await;
    spends(&gateway, &redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_accepts_and_stays_silent_delays_no_request() {
    let simulator = Simulator::start().await;
    let address = Address::nowhere().await;
    let gateway = start(&config(&simulator, &address.reference())).await;
    for dependency in ["job_queue", "budgets", "redis"] {
        is_up(&gateway, dependency, 0.0).await;
    }
    for _ in 0..5 {
        let began = Instant::now();
        let answer = analyze(&gateway).await;
        assert_eq!(answer.get("task_id"), None, "{answer}");
        assert_eq!(ask(&gateway, 100).send().await.status, 200);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    let redis = Redis::start().await;
    address.leads_to(&redis);
    is_done(&gateway).await;
    spends(&gateway, &redis).await;
    all_is_up(&gateway).await;
}
