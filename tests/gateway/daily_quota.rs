//! Tokens a day: what is used of them, what is kept over a restart and shared by replicas, and what a request meets
//! when they are used up. The simulator enforces the same figures.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sluice::simulator::{ACCOUNT, ModelSettings};
use tokio::time::{Instant, sleep};

use crate::support::gateway::ADMIN_KEY;
use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, MODELS, PRIMARY, Redis, SECOND, Simulator, http};

/// The name of the first target.
const TARGET: &str = "sonnet-35";

/// Tokens of a day; about 800 requests.
const TPD: u64 = 100_000;

/// Output tokens of each answer, of which a request names four times as many as its maximum.
const OUTPUT: u64 = 90;

/// Waits for the next day if this one ends during a test. Gives the time that is left of the day.
pub(crate) async fn day_that_lasts() -> Duration {
    const DAY: u64 = 24 * 60 * 60;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let left = DAY - now % DAY;
    if left < 120 {
        sleep(Duration::from_secs(left + 1)).await;
        return Duration::from_secs(DAY);
    }
    Duration::from_secs(left)
}

fn limit_account(simulator: &Simulator, tpd: u64) {
    simulator.limits(ACCOUNT, ModelSettings { tpd: Some(tpd), ..ModelSettings::default() });
}

/// Two models that share the tokens of a day.
fn two_models(simulator: &Simulator) -> Config {
    Config::models(simulator, 2)
        .set("quotas.account.tpd", TPD as i64)
        .every_target("daily_quota", "account")
        .every_target("output_burndown", 1)
        .set("queue.max_wait", "2s")
}

fn ask(gateway: &Gateway, number: usize) -> Ask {
    let prompt = format!("number {number} {} sim:tokens={OUTPUT}", "word ".repeat(20));
    Ask::new(gateway, &prompt).max_tokens(4 * OUTPUT)
}

/// Asks with some requests at a time, at all gateways in turn, until each of a row is refused. Gives the number of
/// answers, and the last refusal.
async fn use_up(gateways: &[&Gateway], at_most: usize) -> (usize, Option<http::Response>) {
    let (mut answered, mut number) = (0, 0);
    loop {
        let mut under_way = Vec::new();
        for _ in 0..6 {
            under_way.push(ask(gateways[number % gateways.len()], number).start());
            number += 1;
        }
        let (mut refused, mut last) = (0, None);
        for answer in under_way {
            let answer = answer.await.unwrap();
            match answer.status {
                200 => answered += 1,
                // A busy replica that has not got its next share of the day in time says when to come again.
                429 if answer.text().contains("try again in 1 s") => {}
                429 => {
                    refused += 1;
                    last = Some(answer);
                }
                status => panic!("{status}: {}", answer.text()),
            }
        }
        if refused == 6 || answered >= at_most {
            return (answered, last);
        }
    }
}

fn throttled(simulator: &Simulator) -> u64 {
    simulator.accounts().values().map(|account| account.throttled).sum()
}

/// Tokens that the simulator has charged.
fn charged(simulator: &Simulator) -> u64 {
    let accounts = simulator.accounts();
    accounts.values().map(|account| account.input_tokens + account.output_tokens).sum()
}

#[track_caller]
fn is_used_up_and_nothing_was_throttled(simulator: &Simulator) {
    let share = charged(simulator) as f64 / TPD as f64;
    assert_eq!(throttled(simulator), 0);
    assert!((0.97..=1.0).contains(&share), "{share}");
}

async fn used(gateway: &Gateway) -> f64 {
    let labels = [("quota", "account")];
    gateway.metrics().await.sum("sluice_daily_quota_used_tokens", &labels)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_used_up_over_a_restart_and_never_throttled() {
    day_that_lasts().await;
    let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
    limit_account(&simulator, TPD);
    let path = folder.path().join("sums.db");
    let config = two_models(&simulator).set("state.budget_path", path.to_str().unwrap());
    let mut first = Gateway::start(&config).await;
    let (answered, _) = use_up(&[&first], 200).await;
    assert!(answered >= 200);
    first.terminate().await;
    assert!(first.ended().await.success(), "{}", first.output());
    let before = charged(&simulator) as f64;
    let second = Gateway::start(&config).await;
    assert_eq!(used(&second).await, before);
    let (_, refusal) = use_up(&[&second], usize::MAX).await;
    is_used_up_and_nothing_was_throttled(&simulator);

    let refusal = refusal.unwrap();
    let text = refusal.text();
    assert!(text.contains("no tokens of their daily quotas left"), "{text}");
    let retry_after: u64 = refusal.header("retry-after").unwrap().parse().unwrap();
    assert!(retry_after > 60, "{retry_after}");
    let began = Instant::now();
    assert_eq!(ask(&second, 0).send().await.status, 429);
    assert!(began.elapsed() < Duration::from_secs(1), "it does not wait for the next day");
    let target = second.target("sonnet-35").await;
    let daily = &target["daily_quotas"][0];
    assert_eq!(daily["name"], "account");
    assert_eq!(daily["tpd"], TPD);
    assert!(daily["available"].as_u64().unwrap() < 3 * TPD / 100, "{daily}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_use_up_one_day_together_and_are_never_throttled() {
    day_that_lasts().await;
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    limit_account(&simulator, TPD);
    let config = two_models(&simulator)
        .set("state.backend", "redis")
        .set("state.redis_url", redis.reference());
    let mut gateways = Vec::new();
    for _ in 0..3 {
        gateways.push(Gateway::start(&config).await);
    }
    for gateway in &gateways {
        let replicas = async || gateway.metrics().await.sum("sluice_fleet_replicas", &[]);
        eventually("all know of each other", replicas, |it| *it == 3.0).await;
    }
    let all: Vec<&Gateway> = gateways.iter().collect();
    use_up(&all, usize::MAX).await;
    is_used_up_and_nothing_was_throttled(&simulator);
    // A replica that comes later knows what the others have used.
    let late = Gateway::start(&config).await;
    let wanted = charged(&simulator) as f64;
    let look = async || used(&late).await;
    eventually("what all have used", look, |used| *used == wanted).await;
    // The others have given back what they had claimed ahead, which is little.
    use_up(&[&late], usize::MAX).await;
    is_used_up_and_nothing_was_throttled(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_tokens_of_the_day_is_passed_over() {
    day_that_lasts().await;
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2).set("targets.sonnet-35.tpd", 600);
    let gateway = Gateway::start(&config).await;
    assert_eq!(ask(&gateway, 0).send().await.status, 200);
    gateway.access_log(1).await;
    let answer = ask(&gateway, 1).max_tokens(1000).send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-sluice-fallback-reason"), Some("no_daily_quota"));
    let log = gateway.access_log(2).await;
    assert_eq!(log[1]["passed_over"][0]["reason"], "no_daily_quota");
    let models: Vec<String> = simulator.log().into_iter().filter_map(|it| it.model).collect();
    assert_eq!(models, [PRIMARY, SECOND]);
}

#[tokio::test(flavor = "multi_thread")]
async fn throttles_of_two_targets_confirm_that_their_common_day_is_used_up() {
    day_that_lasts().await;
    let simulator = Simulator::start().await;
    // Somebody else has used the account's tokens.
    limit_account(&simulator, 100);
    let mut config = Config::four_models(&simulator).set("quotas.account.tpd", TPD as i64);
    for target in ["sonnet-35", "sonnet-35-v2", "sonnet-3"] {
        config = config.set(&format!("targets.{target}.daily_quota"), "account");
    }
    let gateway = Gateway::start(&config).await;
    let _refused = ask(&gateway, 0).send().await;
    let models: Vec<String> = simulator.log().into_iter().filter_map(|it| it.model).collect();
    assert_eq!(models, [MODELS[0], MODELS[1], MODELS[3]], "the third is not asked");
    let third = gateway.target("sonnet-3").await;
    assert_eq!(third["daily_quotas"][0]["is_confirmed"], true);
    assert_eq!(third["daily_quotas"][0]["available"], 0);
    assert_eq!(third["state"], "available");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_learns_of_a_day_all_know() {
    day_that_lasts().await;
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    limit_account(&simulator, 100);
    let config = two_models(&simulator)
        .set("state.backend", "redis")
        .set("state.redis_url", redis.reference());
    let one = Gateway::start(&config).await;
    let other = Gateway::start(&config).await;
    for gateway in [&one, &other] {
        let replicas = async || gateway.metrics().await.sum("sluice_fleet_replicas", &[]);
        eventually("both know of each other", replicas, |it| *it == 2.0).await;
    }
    assert_eq!(ask(&one, 0).send().await.status, 429);
    let is_confirmed =
        async || other.target(TARGET).await["daily_quotas"][0]["is_confirmed"].clone();
    eventually("the other replica knows", is_confirmed, |it| it == true).await;
    // An operator who knows better has both forget it.
    let reset = format!("{}/admin/targets/{}/reset", one.admin_url(), TARGET);
    let key = [("x-sluice-admin-key", ADMIN_KEY)];
    assert_eq!(http::post(&reset, &key, "{}").await.status, 200);
    eventually("the other replica has forgotten it", is_confirmed, |it| it == false).await;
}
