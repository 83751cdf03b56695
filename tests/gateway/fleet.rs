//! Three gateways that share one Redis: together they keep to one quota, and what one of them meets
//! all know.

use std::time::Duration;

use sluice::simulator::ModelSettings;
use tokio::time::{Instant, sleep};

use crate::support::load::{Load, Protocol};
use crate::support::metrics::Metrics;
use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, PRIMARY, Redis, SECOND, Simulator};

/// The name of the first target.
const TARGET: &str = "sonnet-35";

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
        self.simulator.books().get(PRIMARY).map_or(0, |account| account.calls)
    }

    fn throttled(&self) -> u64 {
        self.simulator.books().get(PRIMARY).map_or(0, |account| account.throttled)
    }

    /// Waits until what a full bucket has is used: no more comes than flows in.
    async fn has_used_the_burst(&self) {
        let slows = async || self.share_used_in(Duration::from_secs(1)).await;
        eventually("the burst is over", slows, |share| *share < 1.2).await;
    }

    /// The share of the quota's flow that is used in this time.
    async fn share_used_in(&self, time: Duration) -> f64 {
        let (began, before) = (Instant::now(), self.calls());
        sleep(time).await;
        share(began, self.calls() - before)
    }
}

fn shared(config: Config, redis: &Redis) -> Config {
    config.set("state.backend", "redis").set("state.redis_url", redis.url())
}

/// So many calls since then, as a share of what has flowed in.
fn share(since: Instant, calls: u64) -> f64 {
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

/// What befalls Redis under load, and what the fleet makes of it: no request fails, and the quota
/// is used, by whatever share, and not above it by more than a little.
async fn goes_on(what: &str, befall: impl AsyncFnOnce(&Fleet)) {
    let fleet = with_a_quota(3).await;
    let load = fleet.load(&[12, 12, 12]);
    fleet.has_used_the_burst().await;
    let (before, at) = (fleet.calls(), Instant::now());
    befall(&fleet).await;
    let meanwhile = share(at, fleet.calls() - before);
    let took = at.elapsed();
    let afterwards = fleet.share_used_in(Duration::from_secs(5)).await;
    let [meanwhile_percent, afterwards_percent] = [meanwhile, afterwards].map(|it| it * 100.0);
    println!(
        "{what}: {meanwhile_percent:.1} % of the flow in these {took:.1?}, {afterwards_percent:.1} % \
         in the 5 s after, {} throttled",
        fleet.throttled()
    );
    answered(load).await;
    assert!((0.8..=1.05).contains(&meanwhile), "{what}: {meanwhile}");
    assert!((0.8..=1.05).contains(&afterwards), "{what}: {afterwards}");
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
            fleet.redis.ask(&["FLUSHALL"]);
            fleet.redis.ask(&["SCRIPT", "FLUSH"]);
            sleep(Duration::from_secs(2)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_comes_back_empty() {
    goes_on("killed and emptied", async |fleet| {
        fleet.redis.kill();
        sleep(Duration::from_secs(6)).await;
        fleet.redis.resume_empty().await;
        fleet.all_see_redis(true).await;
    })
    .await;
}
