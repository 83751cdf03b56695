//! A config that changes under a running gateway: seen without a signal, taken over whole or not at
//! all, and without a loss to what is under way or was learned.

use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use sluice::simulator::Fault;
use tokio::time::{Instant, sleep};

use crate::support::gateway::run_sluice;
use crate::support::load::{Load, Protocol};
use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, PRIMARY, SECOND, Simulator};

/// One route, and files that are looked at often.
fn watched(simulator: &Simulator) -> Config {
    Config::models(simulator, 1).set("server.config_poll_interval", "50ms")
}

/// The same with another model behind the route, and connections of its own to it.
fn rerouted(simulator: &Simulator) -> Config {
    watched(simulator).set("targets.sonnet-35.model", SECOND).set("upstream.connect_timeout", "2s")
}

async fn is_loaded(gateway: &Gateway, result: &str, times: f64) {
    let reloads = async || gateway.reloads(result).await;
    eventually(&format!("{result} {times}"), reloads, |seen| *seen >= times).await;
    assert_eq!(reloads().await, times);
}

async fn answerer(gateway: &Gateway) -> String {
    let answer = Ask::new(gateway, "hello").send().await;
    answer.header("x-sluice-model").unwrap().to_owned()
}

fn unix_time() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

async fn last_success(gateway: &Gateway) -> f64 {
    let name = "sluice_config_last_reload_success_timestamp_seconds";
    gateway.metrics().await.sum(name, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_taken_over_without_a_signal() {
    let simulator = Simulator::start().await;
    let began = unix_time();
    let gateway = Gateway::start(&watched(&simulator)).await;
    assert_eq!(answerer(&gateway).await, PRIMARY);
    let at_start = last_success(&gateway).await;
    assert!((began..unix_time()).contains(&at_start), "{at_start}");
    gateway.write(&rerouted(&simulator).to_toml());
    is_loaded(&gateway, "ok", 1.0).await;
    assert_eq!(answerer(&gateway).await, SECOND);
    assert!(last_success(&gateway).await > at_start);
    // And once is enough.
    sleep(Duration::from_millis(300)).await;
    is_loaded(&gateway, "ok", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interval_of_zero_disables_the_check() {
    let simulator = Simulator::start().await;
    let config = watched(&simulator).set("server.config_poll_interval", "0s");
    let gateway = Gateway::start(&config).await;
    gateway.write(&rerouted(&simulator).to_toml());
    sleep(Duration::from_millis(500)).await;
    assert_eq!(gateway.reloads("ok").await, 0.0);
    // A signal has it read, and from then on the new interval counts.
    gateway.reload(&rerouted(&simulator).to_toml()).await;
    gateway.write(&watched(&simulator).to_toml());
    is_loaded(&gateway, "ok", 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_volume_changes_by_a_swapped_link() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start_from(|folder| {
        let versions = [("..one", watched(&simulator)), ("..two", rerouted(&simulator))];
        for (version, config) in versions {
            std::fs::create_dir(folder.join(version)).unwrap();
            std::fs::write(folder.join(version).join("config.toml"), config.to_toml()).unwrap();
        }
        symlink("..one", folder.join("..data")).unwrap();
        symlink("..data/config.toml", folder.join("config.toml")).unwrap();
        folder.join("config.toml")
    })
    .await;
    assert_eq!(answerer(&gateway).await, PRIMARY);
    symlink("..two", gateway.folder().join("..new")).unwrap();
    std::fs::rename(gateway.folder().join("..new"), gateway.folder().join("..data")).unwrap();
    is_loaded(&gateway, "ok", 1.0).await;
    assert_eq!(answerer(&gateway).await, SECOND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_config_names_counts_too() {
    let simulator = Simulator::start().await;
    let mut keys = None;
    let gateway = Gateway::start_from(|folder| {
        let secret = folder.join("secret");
        std::fs::write(&secret, "not the simulator's").unwrap();
        let config = watched(&simulator).set("upstream.secret_access_key", "file:secret");
        std::fs::write(folder.join("config.toml"), config.to_toml()).unwrap();
        keys = Some(secret);
        folder.join("config.toml")
    })
    .await;
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 403);
    std::fs::write(keys.unwrap(), Simulator::SECRET).unwrap();
    is_loaded(&gateway, "ok", 1.0).await;
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_changes_nothing_and_is_complained_of_once_as_the_check_does() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&watched(&simulator)).await;
    let wrong = rerouted(&simulator).set("server.lisen", 1).set("queue.max_wait", "soon");
    gateway.write(&wrong.to_toml());
    is_loaded(&gateway, "refused", 1.0).await;
    assert_eq!(answerer(&gateway).await, PRIMARY);
    let file = gateway.folder().join("config.toml");
    let (status, _, said) =
        run_sluice(&["check", "--offline", "--config", file.to_str().unwrap()]).await;
    assert!(!status.success());
    let logged = gateway.log_lines("config not reloaded").await;
    assert_eq!(logged.len(), 1);
    assert_eq!(format!("sluice: {}\n", logged[0]["error"].as_str().unwrap()), said);
    assert!(said.contains("unknown key 'lisen'") && said.contains("queue.max_wait"), "{said}");
    // A file that is not there is wrong too.
    std::fs::remove_file(&file).unwrap();
    is_loaded(&gateway, "refused", 2.0).await;
    sleep(Duration::from_millis(300)).await;
    is_loaded(&gateway, "refused", 2.0).await;
    gateway.write(&rerouted(&simulator).to_toml());
    is_loaded(&gateway, "ok", 1.0).await;
    assert_eq!(answerer(&gateway).await, SECOND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_being_written_is_left_alone() {
    let simulator = Simulator::start().await;
    let config = watched(&simulator).set("server.config_poll_interval", "500ms");
    let gateway = Gateway::start(&config).await;
    // The part that is there is a config of its own, but not the one that is meant.
    let whole = rerouted(&simulator).set("server.config_poll_interval", "500ms").to_toml();
    let began = Instant::now();
    for count in 1.. {
        gateway.write(&format!("# {count}\n[upstream]\n"));
        sleep(Duration::from_millis(10)).await;
        if began.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
    gateway.write(&whole);
    is_loaded(&gateway, "ok", 1.0).await;
    assert_eq!(gateway.reloads("refused").await, 0.0);
    assert_eq!(answerer(&gateway).await, SECOND);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_need_a_restart_are_named() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&watched(&simulator)).await;
    let config = rerouted(&simulator).set("server.max_headers", 50).set("log.level", "debug");
    gateway.reload(&config.to_toml()).await;
    let told = gateway.log_lines("these keys have changed and take effect after a restart").await;
    assert_eq!(told[0]["keys"], "server.max_headers, log");
    // What can be followed is followed all the same.
    assert_eq!(answerer(&gateway).await, SECOND);
    // Taken back, there is nothing to tell.
    gateway.reload(&watched(&simulator).to_toml()).await;
    assert_eq!(gateway.log_lines("these keys have changed").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_reloads_under_load_fail_no_request() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let simulator = Simulator::start().await;
        let configs = [Config::models(&simulator, 1), rerouted(&simulator)];
        let gateway = Gateway::start(&configs[0]).await;
        let load = Load::start(&[gateway.url()], 8, protocol);
        for config in configs.iter().cycle().skip(1).take(20) {
            load.goes_on(20).await;
            gateway.reload(&config.to_toml()).await;
        }
        let tally = load.stop().await;
        assert!(tally.failures.is_empty(), "{protocol:?}: {tally:?}");
        assert_eq!(simulator.log().len(), tally.answered);
        let by = |model| simulator.calls_to(model).len();
        assert!(by(PRIMARY) > 0 && by(SECOND) > 0, "each config had its share");
        println!("{protocol:?}: {} answered", tally.answered);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cooling_target_keeps_cooling_after_a_reload() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("fallback.daily_cooldown", "5m")
        .set("queue.max_wait", "0s");
    let gateway = Gateway::start(&config).await;
    for model in [PRIMARY, SECOND] {
        simulator.strikes(model, 1, Fault::ThrottleDaily);
        assert_eq!(Ask::new(&gateway, "hello").of(model).send().await.status, 429);
    }
    for times in 1..=2 {
        gateway.reload(&config.clone().set("queue.max_waiting", times).to_toml()).await;
        for model in [PRIMARY, SECOND] {
            let answer = Ask::new(&gateway, "hello").of(model).send().await;
            assert_eq!(answer.status, 429, "{model} after reload {times}: {}", answer.text());
            let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((200..=300).contains(&after), "{after}");
        }
    }
    assert_eq!(simulator.log().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_settle_with_the_quota_of_the_newer_config() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("targets.sonnet-35.tpm", 9_000)
        .set("queue.max_wait", "20s");
    let gateway = Gateway::start(&config).await;
    let large = |prompt: &str| Ask::new(&gateway, prompt).max_tokens(4_000).start();
    let slow = [large("slow sim:head_ms=3000"), large("slow sim:head_ms=3000")];
    simulator.sees("both", |entry| entry.seq == 2).await;
    let before = large("hello");
    gateway.has_waiting(1).await;
    gateway
        .reload(&config.clone().set("retry.attempts", 3).set("queue.max_waiting", 9).to_toml())
        .await;
    let after = large("hello");
    gateway.has_waiting(2).await;
    assert_eq!(simulator.log().len(), 2, "there is one quota, and nothing left of it");
    assert_eq!(gateway.quota("sonnet-35").await.in_flight, 2);
    for asked in slow.into_iter().chain([before, after]) {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    let quota = gateway.quota("sonnet-35").await;
    assert!(quota.tokens_available.unwrap() > 8_500.0, "{quota:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_of_clients_survives_a_reload() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("limits.tokens_per_minute", 1_000)
        .set("limits.max_concurrent", 1);
    let gateway = Gateway::start(&config).await;
    let slow = Ask::new(&gateway, "slow sim:head_ms=60000").key("AKIDSLOW").start();
    simulator.sees("it", |entry| entry.seq == 1).await;
    let spent = Ask::new(&gateway, &"word ".repeat(1_500)).key("AKIDSPENT");
    assert_eq!(spent.clone().send().await.status, 200);
    gateway.reload(&config.clone().set("queue.max_waiting", 1).to_toml()).await;
    for (key, limit) in [("AKIDSLOW", "max_concurrent"), ("AKIDSPENT", "tokens_per_minute")] {
        let answer = Ask::new(&gateway, "hello").key(key).send().await;
        assert_eq!(answer.status, 429, "{key}");
        assert!(answer.text().contains(limit), "{}", answer.text());
    }
    slow.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_requests_count_under_the_newer_config() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("fallback.daily_cooldown", "20s")
        .set("queue.max_wait", "60s")
        .set("queue.max_waiting", 1);
    let gateway = Gateway::start(&config).await;
    simulator.strikes(PRIMARY, 1, Fault::ThrottleDaily);
    let waiting = Ask::new(&gateway, "hello").start();
    gateway.has_waiting(1).await;
    gateway.reload(&config.clone().set("retry.attempts", 2).to_toml()).await;
    gateway.has_waiting(1).await;
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert!(answer.text().contains("queue is full"), "{}", answer.text());
    waiting.abort();
}
