//! The job queue: what a file says of it, and what is wrong with it.

use std::path::PathBuf;
use std::time::Duration;

use super::{config, env, file, only_problem};
use crate::{Config, Env, JobQueue, JobsBackend, Source};

const TARGETS: &str = "
targets.a.model = 'm'
[[routes]]
models = ['m']
targets = ['a']
";

fn queue(per_minute: u32, workers: usize, limit: u64, soft: u64, retries: u32) -> JobQueue {
    JobQueue {
        per_minute,
        workers,
        time_limit: Duration::from_secs(limit),
        soft_time_limit: Duration::from_secs(soft),
        retries,
    }
}

#[test]
fn the_defaults_are_those_of_the_legacy_application() {
    let jobs = config("").jobs;
    assert_eq!((jobs.backend, jobs.max_waiting), (JobsBackend::Off, 1000));
    let times = [
        (jobs.rate_window, 60),
        (jobs.result_ttl, 3600),
        (jobs.heartbeat, 10),
        (jobs.poll_interval, 1),
        (jobs.timeout, 1),
        (jobs.retry_base_delay, 1),
        (jobs.retry_max_delay, 60),
    ];
    for (time, seconds) in times {
        assert_eq!(time, Duration::from_secs(seconds));
    }
    assert_eq!(jobs.analysis, queue(5, 4, 300, 240, 3));
    assert_eq!(jobs.chat, queue(10, 8, 120, 90, 3));
    assert_eq!(jobs.test, queue(3, 2, 30, 20, 2));
}

#[test]
fn a_file_sets_every_key() {
    let loaded = file(&format!(
        "{TARGETS}[jobs]\nbackend = 'redis'\nredis_url = 'rediss://cache.example.com:6380/1'
redis_prefix = 'my_app-1'\nmax_waiting = 5000\nrate_window = '1s'\nresult_ttl = '2s'
heartbeat = '3s'\npoll_interval = '4ms'\ntimeout = '5s'\nretry_base_delay = '0s'
retry_max_delay = '0s'\nanalysis_per_minute = 1\nanalysis_workers = 2
analysis_time_limit = '4s'\nanalysis_soft_time_limit = '3s'\nanalysis_retries = 5
chat_per_minute = 11\nchat_workers = 12\nchat_time_limit = '14s'\nchat_soft_time_limit = '13s'
chat_retries = 15\ntest_per_minute = 21\ntest_workers = 22\ntest_time_limit = '24s'
test_soft_time_limit = '23s'\ntest_retries = 0"
    ));
    let loaded = loaded.unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let jobs = loaded.config.jobs;
    let url = "rediss://cache.example.com:6380/1".into();
    assert_eq!(jobs.backend, JobsBackend::Redis { url, prefix: "my_app-1".into() });
    assert_eq!(jobs.max_waiting, 5000);
    assert_eq!((jobs.rate_window.as_secs(), jobs.result_ttl.as_secs()), (1, 2));
    assert_eq!((jobs.heartbeat.as_secs(), jobs.poll_interval.as_millis()), (3, 4));
    assert_eq!(jobs.timeout.as_secs(), 5);
    assert_eq!((jobs.retry_base_delay, jobs.retry_max_delay), Default::default());
    assert_eq!(jobs.analysis, queue(1, 2, 4, 3, 5));
    assert_eq!(jobs.chat, queue(11, 12, 14, 13, 15));
    assert_eq!(jobs.test, queue(21, 22, 24, 23, 0));
}

#[test]
fn the_database_file_lies_beside_the_config_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let backend = |keys: &str| {
        std::fs::write(&path, format!("[jobs]\nbackend = 'sqlite'\n{keys}")).unwrap();
        Config::load(&Source::File(path.clone()), &Env::default()).unwrap().config.jobs.backend
    };
    let sqlite = |path: PathBuf| JobsBackend::Sqlite { path };
    assert_eq!(backend(""), sqlite(dir.path().join("sluice-jobs.db")));
    assert_eq!(backend("path = 'x/y.db'"), sqlite(dir.path().join("x/y.db")));
    assert_eq!(backend("path = '/var/y.db'"), sqlite("/var/y.db".into()));
}

#[test]
fn a_url_with_a_password_comes_by_reference_and_is_never_shown() {
    let text = "[jobs]\nbackend = 'redis'\nredis_url = 'env:URL'";
    let url = "redis://:hush@localhost:6379/0";
    let loaded = Config::from_toml(text, "config.toml", &env(&[("URL", url)])).unwrap();
    assert!(!format!("{loaded:?}").contains("hush"), "{loaded:?}");
    let JobsBackend::Redis { url: read, .. } = &loaded.config.jobs.backend else { panic!("redis") };
    assert_eq!(read.expose(), url);
    for backend in ["off", "redis"] {
        let text = format!("[jobs]\nbackend = '{backend}'\nredis_url = '{url}'");
        let error = file(&text).unwrap_err().to_string();
        assert!(error.starts_with("config.toml:3:1: jobs.redis_url: takes no user"), "{error}");
        assert!(error.contains("env:NAME") && !error.contains("hush"), "{error}");
    }
    // A reference that nobody follows need not lead anywhere.
    config("[jobs]\nredis_url = 'env:MISSING'");
}

#[test]
fn keys_of_another_backend_are_warned_about() {
    let warnings = |keys: &str| file(&format!("{TARGETS}[jobs]\n{keys}")).unwrap().warnings;
    for (keys, expected) in [
        ("path = 'x'", "jobs.path has no effect unless backend is \"sqlite\""),
        ("backend = 'redis'\npath = 'x'", "jobs.path has no effect unless backend is \"sqlite\""),
        ("redis_prefix = 'x'", "jobs.redis_prefix has no effect unless backend is \"redis\""),
        (
            "backend = 'sqlite'\nredis_url = 'redis://localhost'",
            "jobs.redis_url has no effect unless backend is \"redis\"",
        ),
    ] {
        assert_eq!(warnings(keys), [expected]);
    }
    for keys in ["backend = 'sqlite'\npath = 'x'", "backend = 'redis'\nredis_prefix = 'x'"] {
        assert_eq!(warnings(keys), Vec::<String>::new());
    }
    let off = warnings("backend = 'redis'\n[legacy]\nenabled = false");
    assert!(off[0].contains("the legacy endpoints are off"), "{off:?}");
}

#[test]
fn bad_values_are_refused_where_they_stand() {
    for (keys, expected) in [
        ("backnd = 'off'", "unknown key 'backnd' in [jobs]; did you mean 'backend'?"),
        ("backend = 'rdis'", "not \"rdis\"; did you mean 'redis'?"),
        ("path = ''", "jobs.path: must not be empty"),
        ("redis_url = 'localhost'", "jobs.redis_url: is not a URL such as"),
        ("redis_url = 5", "jobs.redis_url: must be a reference such as"),
        ("redis_prefix = ''", "jobs.redis_prefix: is 1 to 64 letters"),
        ("redis_prefix = 'a:b'", "jobs.redis_prefix: is 1 to 64 letters"),
        ("max_waiting = 0", "jobs.max_waiting: must be from 1 to 5000, not 0"),
        ("max_waiting = 5001", "jobs.max_waiting: must be from 1 to 5000, not 5001"),
        ("rate_window = '0s'", "jobs.rate_window: must not be zero"),
        ("result_ttl = '0s'", "jobs.result_ttl: must not be zero"),
        ("heartbeat = '0s'", "jobs.heartbeat: must not be zero"),
        ("heartbeat = '1500ms'", "jobs.heartbeat: must be whole seconds"),
        ("poll_interval = '0s'", "jobs.poll_interval: must not be zero"),
        ("timeout = '0s'", "jobs.timeout: must not be zero"),
        ("retry_base_delay = '61s'", "jobs.retry_max_delay: must not be shorter than retry_base"),
        ("analysis_per_minute = 0", "jobs.analysis_per_minute: must be from 1 to 1000000, not 0"),
        ("chat_workers = 1001", "jobs.chat_workers: must be from 1 to 1000, not 1001"),
        ("test_retries = 21", "jobs.test_retries: must be from 0 to 20, not 21"),
        ("chat_time_limit = '0s'", "jobs.chat_time_limit: must not be zero"),
        ("chat_time_limit = 'x'", "jobs.chat_time_limit: 'x' is not a duration"),
        ("chat_soft_time_limit = '0s'", "jobs.chat_soft_time_limit: must not be zero"),
        (
            "analysis_soft_time_limit = '300s'",
            "jobs.analysis_soft_time_limit: must be shorter than analysis_time_limit",
        ),
        (
            "test_time_limit = '20s'",
            "jobs.test_soft_time_limit: must be shorter than test_time_limit",
        ),
    ] {
        only_problem(&format!("[jobs]\n{keys}"), expected);
    }
}
