//! Three gateways that share one Redis: together they keep to one quota, and what one of them meets
//! all know.

use std::time::Duration;

use sluice::simulator::ModelSettings;
use tokio::time::{Instant, sleep};

use crate::support::gateway::ADMIN_KEY;
use crate::support::load::{Load, Protocol};
use crate::support::metrics::Metrics;
use crate::support::patience::{LONG, eventually};
use crate::support::{Ask, Config, Gateway, PRIMARY, Redis, SECOND, Simulator};

/// The name of the first target.
const TARGET: &str = "sonnet-35";

/// That of the second.
const SECOND_TARGET: &str = "sonnet-35-v2";

/// Requests per minute of the shared quota.
const RPM: u32 = 600;

/// Gateways before one simulator and one Redis, with one target and its quota.
struct Fleet {
    simulator: Simulator,
    redis: Redis,
    gateways: Vec<Gateway>,
}

impl Fleet {
    async fn start(size: usize, change: impl Fn(Config) -> Config) -> Fleet {
        let (simulator, redis) = (Simulator::start().await, Redis::start().await);
        let config = change(shared(Config::models(&simulator, 1), &redis));
        let mut gateways = Vec::new();
        for _ in 0..size {
            gateways.push(Gateway::start(&config).await);
        }
        let fleet = Fleet { simulator, redis, gateways };
        fleet.has_members(size).await;
        fleet
    }

    /// Waits until each knows of so many.
    async fn has_members(&self, count: usize) {
        for gateway in &self.gateways {
            let replicas = async || replicas(&gateway.metrics().await);
            eventually("all know of each other", replicas, |it| *it == count as f64).await;
        }
    }

    /// Waits until Redis is up, or down, for all.
    async fn all_see_redis(&self, is_up: bool) {
        let wanted = f64::from(u8::from(is_up));
        for gateway in &self.gateways {
            let up = async || redis_is_up(&gateway.metrics().await);
            eventually("what they know of Redis", up, |it| *it == wanted).await;
        }
    }

    /// Load on each of the gateways, by so many workers.
    fn load(&self, workers: &[usize]) -> Vec<Load> {
        let each = self.gateways.iter().zip(workers);
        each.map(|(it, workers)| Load::start(&[it.url()], *workers, Protocol::Http1)).collect()
    }

    fn calls(&self) -> u64 {
        self.simulator.accounts().get(PRIMARY).map_or(0, |account| account.calls)
    }

    fn throttled(&self) -> u64 {
        self.simulator.accounts().get(PRIMARY).map_or(0, |account| account.throttled)
    }

    /// Waits until what a full bucket has is used: as much comes as flows in, no more and, since
    /// what a pause has saved is used after it, no less. A busy machine uses the burst slowly, so the
    /// wait is bounded by the calls that a burst can have, and not by time.
    async fn has_used_the_burst(&self) {
        let (began, most) = (Instant::now(), 2 * u64::from(RPM));
        loop {
            let share = self.share_used_in(Duration::from_secs(2)).await;
            if (0.85..1.15).contains(&share) {
                return;
            }
            let flowed = began.elapsed().as_secs_f64() * f64::from(RPM) / 60.0;
            let calls = self.calls();
            assert!((calls as f64) < most as f64 + flowed, "after {calls} calls still {share}");
            assert!(share > 0.0 || began.elapsed() < LONG, "no call gets through");
        }
    }

    /// The share of the quota's flow that is used in this time.
    async fn share_used_in(&self, time: Duration) -> f64 {
        let (began, before) = (Instant::now(), self.calls());
        sleep(time).await;
        share_of_flow(began, self.calls() - before)
    }
}

fn shared(config: Config, redis: &Redis) -> Config {
    config.set("state.backend", "redis").set("state.redis_url", redis.reference())
}

/// So many calls since then, as a share of what has flowed in.
fn share_of_flow(since: Instant, calls: u64) -> f64 {
    calls as f64 * 60.0 / f64::from(RPM) / since.elapsed().as_secs_f64()
}

fn replicas(metrics: &Metrics) -> f64 {
    metrics.sum("sluice_fleet_replicas", &[])
}

fn redis_is_up(metrics: &Metrics) -> f64 {
    metrics.sum("sluice_dependency_up", &[("dependency", "redis")])
}

/// Gateways before a target with a quota that they know.
async fn with_a_quota(size: usize) -> Fleet {
    let fleet = Fleet::start(size, |config| {
        config
            .set(&format!("targets.{TARGET}.rpm"), i64::from(RPM))
            .set("queue.max_wait", "60s")
            .set("limits.max_concurrent", 1000)
    })
    .await;
    let rpm = Some(u64::from(RPM));
    fleet.simulator.limits(PRIMARY, ModelSettings { rpm, ..ModelSettings::default() });
    fleet
}

async fn answered(load: Vec<Load>) -> usize {
    let mut answered = 0;
    for load in load {
        let tally = load.stop().await;
        assert!(tally.failures.is_empty(), "{:?}", tally.failures);
        answered += tally.answered;
    }
    answered
}

/// The fleet under load by these numbers of workers keeps to one quota, and uses it.
async fn keeps_to_one_quota(workers: [usize; 3]) {
    let fleet = with_a_quota(workers.len()).await;
    let (began, load) = (Instant::now(), fleet.load(&workers));
    fleet.has_used_the_burst().await;
    let share = fleet.share_used_in(Duration::from_secs(10)).await;
    let (calls, took) = (fleet.calls(), began.elapsed().as_secs_f64());
    println!("{workers:?}: {calls} calls in {took:.1} s, {:.1} % of the flow", share * 100.0);
    assert_eq!(fleet.throttled(), 0);
    assert!((0.95..=1.05).contains(&share), "{share}");
    answered(load).await;
    assert_eq!(fleet.throttled(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_keep_to_one_quota() {
    keeps_to_one_quota([12, 12, 12]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_keep_to_one_quota_under_uneven_load() {
    keeps_to_one_quota([30, 2, 1]).await;
    keeps_to_one_quota([30, 0, 0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_of_one_is_known_to_all_at_once() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let config = shared(Config::models(&simulator, 2), &redis);
    let mut gateways = Vec::new();
    for _ in 0..3 {
        gateways.push(Gateway::start(&config).await);
    }
    let fleet = Fleet { simulator, redis, gateways };
    fleet.has_members(3).await;
    fleet.simulator.throttles(PRIMARY, 1);
    let answer = Ask::new(&fleet.gateways[0], "hello").send().await;
    let met = Instant::now();
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    for gateway in &fleet.gateways[1..] {
        let state = async || gateway.target(TARGET).await["state"].clone();
        eventually("it cools", state, |state| state == "cooling").await;
    }
    let took = met.elapsed();
    println!("a throttle was known to all after {took:?}, as seen over HTTP");
    assert!(took < Duration::from_millis(100), "{took:?}");
    // Nobody asks it, and who comes later knows too.
    for gateway in &fleet.gateways {
        let answer = Ask::new(gateway, "hello").send().await;
        assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    }
    let late = Gateway::start(&config).await;
    let state = async || late.target(TARGET).await["state"].clone();
    eventually("it knows", state, |state| state == "cooling").await;
    assert_eq!(fleet.simulator.calls_to(PRIMARY).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_pause_the_requested_model_answers_as_long_as_the_fleet_has_quota_for_it() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let config = shared(Config::models(&simulator, 2), &redis)
        .set(&format!("targets.{TARGET}.rpm"), 60)
        .set("state.lease_idle", "500ms")
        // The ledger stays reachable while the machine is busy.
        .set("state.timeout", "10s");
    let gateways = [Gateway::start(&config).await, Gateway::start(&config).await];
    for gateway in &gateways {
        let replicas = async || replicas(&gateway.metrics().await);
        eventually("both know of each other", replicas, |it| *it == 2.0).await;
    }
    for _ in 0..3 {
        for gateway in &gateways {
            let held = async || gateway.target(TARGET).await["quota"]["requests_held"].clone();
            eventually("it has returned its lease", held, |held| *held == 0.0).await;
            for number in 0..3 {
                let answer = Ask::new(gateway, "hello").send().await;
                let model = answer.header("x-sluice-model");
                assert_eq!(model, Some(PRIMARY), "request {number}: {}", gateway.output());
            }
        }
    }
    // Once the fleet's quota is used up, a request waits no longer than a grant can take.
    let (mut fallbacks, mut waits) = (0, Vec::new());
    for number in 0..80 {
        let answer = Ask::new(&gateways[number % 2], "hello").send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let queued = answer.header("x-sluice-queued-ms").map_or(0, |it| it.parse().unwrap());
        waits.push(queued);
        fallbacks += usize::from(answer.header("x-sluice-model") == Some(SECOND));
    }
    waits.sort_unstable();
    let median = waits[waits.len() / 2];
    println!("{fallbacks} of 80 by another model, waits of {median} ms in the middle");
    assert!(fallbacks >= 10, "{fallbacks}: {waits:?}");
    assert!(median < 1_000u64, "{waits:?}");
    for gateway in &gateways {
        let waits = gateway.metrics().await.sum("sluice_fallback_waits_total", &[]);
        assert_eq!(waits, 0.0, "no wait was configured");
    }
}

/// What befalls Redis under load, and what the fleet makes of it: no request fails, and the quota
/// is used, by whatever share, and not above it by more than a little.
async fn goes_on(what: &str, befall: impl AsyncFnOnce(&Fleet)) {
    let fleet = with_a_quota(3).await;
    let load = fleet.load(&[12, 12, 12]);
    fleet.has_used_the_burst().await;
    let (before, at) = (fleet.calls(), Instant::now());
    befall(&fleet).await;
    let meanwhile = share_of_flow(at, fleet.calls() - before);
    let took = at.elapsed();
    let afterwards = fleet.share_used_in(Duration::from_secs(5)).await;
    let [meanwhile_percent, afterwards_percent] = [meanwhile, afterwards].map(|it| it * 100.0);
    println!(
        "{what}: {meanwhile_percent:.1} % of the flow in these {took:.1?}, {afterwards_percent:.1} % \
         in the 5 s after, {} throttled",
        fleet.throttled()
    );
    answered(load).await;
    // What was not used meanwhile is there afterwards.
    let time = took.as_secs_f64();
    let whole = (meanwhile * time + afterwards * 5.0) / (time + 5.0);
    assert!(meanwhile >= 0.8 && afterwards >= 0.8, "{what}: {meanwhile}, {afterwards}");
    // Whenever the ledger is lost, what the gateways have of it may be granted again.
    assert!(whole <= 1.08, "{what}: {whole}");
    assert_eq!(fleet.throttled(), 0);
    for gateway in &fleet.gateways {
        assert_eq!(redis_is_up(&gateway.metrics().await), 1.0);
        gateway.is_healthy().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_killed_and_started_again() {
    goes_on("killed", async |fleet| {
        fleet.redis.kill();
        fleet.all_see_redis(false).await;
        sleep(Duration::from_secs(8)).await;
        fleet.redis.resume().await;
        let back = Instant::now();
        fleet.all_see_redis(true).await;
        assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
        for gateway in &fleet.gateways {
            let output = gateway.output();
            assert_eq!(output.matches("Redis is not reachable").count(), 1, "{output}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_hangs() {
    goes_on("hung", async |fleet| {
        fleet.redis.hang(Duration::from_secs(8)).await;
        let back = Instant::now();
        fleet.all_see_redis(true).await;
        assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_is_flushed_and_has_lost_its_scripts() {
    goes_on("flushed", async |fleet| {
        for _ in 0..3 {
            fleet.redis.ask(&["FLUSHALL"]).await;
            fleet.redis.ask(&["SCRIPT", "FLUSH"]).await;
            sleep(Duration::from_secs(2)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_returns_empty() {
    goes_on("killed and emptied", async |fleet| {
        fleet.redis.kill();
        sleep(Duration::from_secs(6)).await;
        fleet.redis.resume_empty().await;
        fleet.all_see_redis(true).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_rate_is_that_of_all_replicas() {
    let fleet = Fleet::start(3, |config| {
        config.set("limits.key", "ip").set("limits.requests_per_second", 10).set("limits.burst", 20)
    })
    .await;
    let (began, mut answered, mut refused) = (Instant::now(), 0, 0);
    while began.elapsed() < Duration::from_secs(6) {
        for gateway in &fleet.gateways {
            match Ask::new(gateway, "hello").send().await.status {
                200 => answered += 1,
                429 => refused += 1,
                other => panic!("{other}"),
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
    let allowed = 20.0 + 10.0 * began.elapsed().as_secs_f64();
    println!("{answered} answered of {allowed:.0} allowed, {refused} refused");
    assert!(refused > 0, "more was asked for than is allowed");
    let share = f64::from(answered) / allowed;
    assert!((0.85..=1.1).contains(&share), "{share}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_at_one_replica_is_one_at_all() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let gateways = share(&simulator, &shared(Config::models(&simulator, 2), &redis)).await;
    let state = async |gateway: &Gateway| gateway.target(TARGET).await["state"].clone();
    let path = format!("http://{}/reset_model_cooldowns", gateways[1].legacy_address());
    assert_eq!(crate::support::http::post(&path, &[], "{}").await.status, 200);
    for gateway in &gateways {
        eventually("it is open", async || state(gateway).await, |state| state == "available").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_forgets_the_learned_limits_of_all_replicas() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    let config = shared(Config::models(&simulator, 2), &redis)
        .set("learning.decrease", 0.1)
        .set("targets.sonnet-35.rpm", 1000)
        .set("targets.sonnet-35.cooldown", "60s");
    let gateways = vec![Gateway::start(&config).await, Gateway::start(&config).await];
    for gateway in &gateways {
        let count = async || replicas(&gateway.metrics().await);
        eventually("all know of each other", count, |it| *it == 2.0).await;
    }
    let by_admin = format!("{}/admin/targets/{TARGET}/reset", gateways[0].admin_url());
    let by_legacy = format!("http://{}/reset_model_cooldowns", gateways[0].legacy_address());
    for reset in [by_admin, by_legacy] {
        simulator.throttles(PRIMARY, 1);
        // The first requests may find nothing leased yet. The other replica would hear of it with its
        // next request for that target.
        let learned = async || {
            Ask::new(&gateways[1], "hello").send().await;
            gateways[1].quota(TARGET).await.learned_rpm
        };
        eventually("it is learned", learned, Option::is_some).await;
        let key = [("x-sluice-admin-key", ADMIN_KEY)];
        let done = crate::support::http::post(&reset, &key, "{}").await;
        assert_eq!(done.status, 200, "{reset}: {}", done.text());
        for gateway in &gateways {
            let learned = async || gateway.quota(TARGET).await.learned_rpm;
            eventually("it is forgotten by all", learned, Option::is_none).await;
        }
        for gateway in &gateways {
            let model = async || {
                let answer = Ask::new(gateway, "hello").send().await;
                answer.header("x-sluice-model").map(str::to_owned)
            };
            let is_primary = |model: &Option<String>| model.as_deref() == Some(PRIMARY);
            eventually("the primary is asked", model, is_primary).await;
        }
    }
}

/// Each of the gateways of this config sees Redis and the others, and a throttle of one is known to
/// the other.
async fn share(simulator: &Simulator, config: &Config) -> Vec<Gateway> {
    let gateways = vec![Gateway::start(config).await, Gateway::start(config).await];
    for gateway in &gateways {
        let count = async || replicas(&gateway.metrics().await);
        eventually("all know of each other", count, |it| *it == 2.0).await;
    }
    simulator.throttles(PRIMARY, 1);
    let answer = Ask::new(&gateways[0], "hello").send().await;
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    let state = async || gateways[1].target(TARGET).await["state"].clone();
    eventually("it cools", state, |state| state == "cooling").await;
    gateways
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_one_node_will_do() {
    let simulator = Simulator::start().await;
    let redis = Redis::start_with(&["--cluster-enabled", "yes"]).await;
    redis.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    let state = async || redis.ask(&["CLUSTER", "INFO"]).await;
    eventually("a cluster", state, |it| it.contains("cluster_state:ok")).await;
    let config = shared(Config::models(&simulator, 2), &redis)
        .set("state.redis_kind", "cluster")
        .set(&format!("targets.{SECOND_TARGET}.rpm"), 600);
    share(&simulator, &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_an_access_list_is_enough_and_its_password_is_not_shown() {
    let simulator = Simulator::start().await;
    let redis = Redis::start().await;
    let rules = ["ACL", "SETUSER", "sluice", "on", ">hush-hush", "~{sluice}:*", "&{sluice}:*"];
    let rights = ["+eval", "+evalsha", "+script|load", "+time", "+hgetall", "+subscribe"];
    let more = [
        "+zadd",
        "+zremrangebyscore",
        "+pexpire",
        "+zcard",
        "+hget",
        "+hmget",
        "+hset",
        "+hdel",
        "+hrandfield",
        "+hincrby",
        "+del",
        "+publish",
        "+ping",
        "+client",
    ];
    let words = [&rules[..], &rights[..], &more[..]].concat();
    assert_eq!(redis.ask(&words).await.trim(), "OK");
    let url = format!("redis://sluice:hush-hush@127.0.0.1:{}/0", redis.port());
    let config = Config::models(&simulator, 2)
        .set("state.backend", "redis")
        .set("state.redis_url", "env:SHARED_REDIS")
        .set(&format!("targets.{SECOND_TARGET}.rpm"), 600);
    let variables = [("SHARED_REDIS", url.as_str())];
    let gateway = Gateway::start_with(&config, &variables).await;
    let other = Gateway::start_with(&config, &variables).await;
    for gateway in [&gateway, &other] {
        let count = async || replicas(&gateway.metrics().await);
        eventually("all know of each other", count, |it| *it == 2.0).await;
    }
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
    redis.ask(&["ACL", "SETUSER", "sluice", "off"]).await;
    redis.ask(&["CLIENT", "KILL", "USER", "sluice"]).await;
    let up = async || redis_is_up(&gateway.metrics().await);
    eventually("it is locked out", up, |it| *it == 0.0).await;
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
    assert!(!gateway.output().contains("hush-hush"), "{}", gateway.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_by_sentinels_is_followed() {
    let simulator = Simulator::start().await;
    let master = Redis::start().await;
    let port = master.port().to_string();
    let replica = Redis::start_with(&["--replicaof", "127.0.0.1", &port]).await;
    let sentinel = master.watched().await;
    let knows = async || sentinel.ask(&["SENTINEL", "REPLICAS", "mymaster"]).await;
    let replica_port = replica.port().to_string();
    eventually("the sentinel knows of the replica", knows, |it| it.contains(&replica_port)).await;
    let config = shared(Config::models(&simulator, 2), &sentinel)
        .set("state.redis_kind", "sentinel")
        .set("state.sentinel_master", "mymaster");
    let gateways = share(&simulator, &config).await;
    master.kill();
    for gateway in &gateways {
        let up = async || redis_is_up(&gateway.metrics().await);
        eventually("the master is gone", up, |it| *it == 0.0).await;
        assert_eq!(Ask::new(gateway, "hello").send().await.status, 200);
    }
    for gateway in &gateways {
        let up = async || redis_is_up(&gateway.metrics().await);
        eventually("the replica is the master", up, |it| *it == 1.0).await;
    }
    let role = replica.ask(&["ROLE"]).await;
    assert!(role.starts_with("master"), "{role}");
}

/// One that starts without Redis has its part by the config, and shares when Redis is there.
#[tokio::test(flavor = "multi_thread")]
async fn redis_that_starts_after_the_gateways() {
    let (simulator, redis) = (Simulator::start().await, Redis::absent());
    let config = shared(Config::models(&simulator, 1), &redis)
        .set("state.replicas", 2)
        .set("queue.max_wait", "0s")
        .set(&format!("targets.{TARGET}.rpm"), 40);
    let gateways = vec![Gateway::start(&config).await, Gateway::start(&config).await];
    for gateway in &gateways {
        let mut answered = 0;
        for _ in 0..30 {
            answered += u32::from(Ask::new(gateway, "hello").send().await.status == 200);
        }
        // Half of 40, less what is left unfilled, and what flows in meanwhile.
        assert!((19..=22).contains(&answered), "{answered}");
        assert_eq!(redis_is_up(&gateway.metrics().await), 0.0);
    }
    let fleet = Fleet { simulator, redis, gateways };
    fleet.redis.resume().await;
    fleet.all_see_redis(true).await;
    fleet.has_members(2).await;
    let says = fleet.gateways[0].log_lines("Redis is reachable").await;
    assert_eq!(says.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_one_replica_learns_counts_for_all() {
    let fleet = Fleet::start(2, |config| {
        config
            .set("retry.attempts", 1)
            .set(&format!("targets.{TARGET}.cooldown"), "300ms")
            .set("queue.max_wait", "100ms")
    })
    .await;
    fleet.simulator.limits(PRIMARY, ModelSettings { rpm: Some(100), ..ModelSettings::default() });
    let mut refused = 0;
    for _ in 0..150 {
        refused += u32::from(Ask::new(&fleet.gateways[0], "hello").send().await.status == 429);
        if refused == 5 {
            break;
        }
    }
    assert_eq!(refused, 5);
    // The other has met no throttle itself; it hears when it next has something to say.
    let other = &fleet.gateways[1];
    // No throttle from here on: what the other learned by one of its own, the first, which is idle,
    // would not hear of.
    fleet.simulator.limits(PRIMARY, ModelSettings::default());
    let learned = async || {
        Ask::new(other, "hello").send().await;
        (fleet.gateways[0].quota(TARGET).await.learned_rpm, other.quota(TARGET).await.learned_rpm)
    };
    let both = |learned: &(Option<f64>, Option<f64>)| learned.0.is_some() && learned.0 == learned.1;
    let learned = eventually("both know of it", learned, both).await;
    println!("learned {learned:?}");
    assert!((45.0..=105.0).contains(&learned.0.unwrap()), "{learned:?}");
}
