//! What replicas share.

use std::time::Duration;

use super::{config, env};
use crate::{BudgetStore, Config, RedisKind, needs_restart};

fn problems(text: &str) -> String {
    let env = env(&[("URL", "redis://u:hush@a:1,rediss://b:2"), ("ONE", "redis://:hush@a:1/3")]);
    Config::from_toml(text, "config.toml", &env)
        .map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn nothing_is_shared_unless_it_is_asked_for() {
    assert_eq!(config("").state.shared, None);
    assert_eq!(config("[state]\nredis_url = 'redis://h:1'").state.shared, None, "budgets alone");
}

#[test]
fn the_redis_of_the_jobs_is_that_of_the_state_too() {
    let jobs = "[jobs]\nbackend = 'redis'\nredis_url = 'redis://h:1/0'\nredis_prefix = 'p'\n";
    let shared = config(&format!("{jobs}[state]\nbackend = 'redis'")).state.shared.unwrap();
    assert_eq!((shared.redis.urls.expose(), shared.prefix.as_str()), ("redis://h:1/0", "p"));
    assert_eq!(shared.timeout, Duration::from_millis(250));
}

#[test]
fn several_addresses_are_those_of_sentinels_or_of_a_cluster() {
    let text = "[state]\nbackend = 'redis'\nredis_kind = 'cluster'\n\
                redis_url = 'redis://a:1,redis://b:2'";
    let state = config(text).state;
    let shared = state.shared.unwrap();
    assert_eq!(shared.redis.kind, RedisKind::Cluster);
    assert_eq!(shared.redis.urls.expose(), "redis://a:1,redis://b:2");
    assert_eq!(state.budgets, BudgetStore::Memory, "which budgets do not know");
    let sentinels = "[state]\nbackend = 'redis'\nredis_kind = 'sentinel'\n\
                     sentinel_master = 'mymaster'\nredis_url = 'env:URL'";
    assert_eq!(problems(sentinels), "");
}

#[test]
fn bad_values_are_refused_where_they_stand_and_not_repeated() {
    for (keys, expected) in [
        ("", "state.backend: \"redis\" needs 'redis_url' beside it"),
        ("redis_url = 'redis://u:hush@h:1'", "state.redis_url: takes no user name"),
        ("redis_url = 'env:URL'", "state.redis_url: names something that is not a URL"),
        (
            "redis_kind = 'cluster'\nredis_url = 'redis://a:1,http://:hush@b'",
            "state.redis_url: takes no user name",
        ),
        (
            "redis_kind = 'cluster'\nredis_url = 'redis://a:1,http://hush'",
            "state.redis_url: is not a URL such as",
        ),
        ("redis_kind = 'sentinel'\nredis_url = 'env:ONE'", "state.sentinel_master: goes with"),
        ("sentinel_master = 'm'\nredis_url = 'env:ONE'", "state.sentinel_master: goes with"),
        ("redis_url = 'env:ONE'\ntimeout = '11s'", "state.timeout: must not be longer than 10s"),
        ("redis_url = 'env:ONE'\nlease_ahead = '50ms'", "state.lease_ahead: must not be shorter"),
        ("redis_url = 'env:ONE'\nheartbeat = '0s'", "state.heartbeat: must not be zero"),
        ("redis_url = 'env:ONE'\nmax_lease = 2.0", "state.max_lease"),
        ("redis_url = 'env:ONE'\nreplicas = 0", "state.replicas"),
    ] {
        let problems = problems(&format!("[state]\nbackend = 'redis'\n{keys}"));
        assert!(problems.contains(expected), "{keys}: {problems}");
        assert!(!problems.contains("hush"), "{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
}

#[test]
fn it_counts_from_the_next_start_on() {
    let shared = config("[state]\nbackend = 'redis'\nredis_url = 'redis://h:1'");
    assert_eq!(needs_restart(&config(""), &shared), ["state"]);
}
