//! The store of responses that the gateway keeps itself.

use super::{config, env, file, only_problem};
use crate::{Config, Env, ResponseStoreBackend, Source, needs_restart};

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn store(keys: &str) -> String {
    format!("[response_store]\n{keys}")
}

fn with_keys(keys: &str) -> Result<Config, String> {
    let env = env(&[("KEY", KEY), ("NEW", &KEY[..32]), ("SHORT", "short")]);
    let loaded = Config::from_toml(&store(keys), "config.toml", &env);
    loaded.map(|loaded| loaded.config).map_err(|error| error.to_string())
}

#[test]
fn no_response_is_kept_unless_it_is_asked_for() {
    let store = config("").response_store;
    assert_eq!((store.backend, store.keys.len()), (ResponseStoreBackend::Off, 0));
    assert_eq!(store.ttl.as_secs(), 30 * 24 * 3600);
    let bounds = (store.max_response_bytes, store.max_bytes_per_client, store.max_bytes);
    assert_eq!(bounds, (8_000_000, 256_000_000, 4_000_000_000));
}

#[test]
fn what_is_kept_is_encrypted_by_a_long_key() {
    let read = with_keys("backend = 'sqlite'\nkeys = ['env:NEW', 'env:KEY']").unwrap();
    assert_eq!(read.response_store.keys.len(), 2);
    assert!(!format!("{read:?}").contains(KEY));
    let error = with_keys("backend = 'sqlite'").unwrap_err();
    assert!(error.contains("response_store.backend: needs 'keys' beside it"), "{error}");
    let error = with_keys("backend = 'redis'\nkeys = ['env:KEY', 'env:SHORT']").unwrap_err();
    assert!(error.contains("response_store.keys[1]: names a key shorter than 32"), "{error}");
}

#[test]
fn a_file_of_responses_is_beside_the_config() {
    let dir = tempfile::tempdir().unwrap();
    let (path, key) = (dir.path().join("config.toml"), dir.path().join("key"));
    std::fs::write(&key, KEY).unwrap();
    std::fs::write(&path, store("backend = 'sqlite'\nkeys = ['file:key']")).unwrap();
    let loaded = Config::load(&Source::File(path), &Env::default()).unwrap();
    let file = dir.path().join("sluice-responses.db");
    let backend = &loaded.config.response_store.backend;
    assert_eq!(*backend, ResponseStoreBackend::Sqlite { path: file });
}

#[test]
fn a_new_key_counts_at_once_and_a_new_place_at_the_next_start() {
    let running = with_keys("backend = 'sqlite'\nkeys = ['env:KEY']").unwrap();
    let newer = with_keys("backend = 'sqlite'\nkeys = ['env:NEW', 'env:KEY']\nttl = '1h'").unwrap();
    assert_eq!(needs_restart(&running, &newer), [""; 0]);
    let elsewhere = with_keys("backend = 'redis'\nkeys = ['env:KEY']\ntimeout = '2s'").unwrap();
    let keys = ["response_store.backend", "response_store.timeout"];
    assert_eq!(needs_restart(&running, &elsewhere), keys);
}

#[test]
fn a_key_of_another_backend_has_no_effect() {
    for (keys, warning) in [
        ("path = 'x'", "response_store.path has no effect unless backend is \"sqlite\""),
        ("redis_url = 'redis://h'", "response_store.redis_url has no effect unless"),
        ("redis_prefix = 'x'", "response_store.redis_prefix has no effect unless"),
    ] {
        let warnings = file(&store(keys)).unwrap().warnings;
        assert!(warnings.iter().any(|it| it.contains(warning)), "{keys}: {warnings:?}");
    }
}

#[test]
fn mistakes_are_named() {
    for (keys, expected) in [
        ("backnd = 'off'", "unknown key 'backnd' in [response_store]; did you mean 'backend'?"),
        ("ttl = '0s'", "response_store.ttl: must not be zero"),
        ("timeout = '0s'", "response_store.timeout: must not be zero"),
        ("redis_prefix = 'a:b'", "response_store.redis_prefix: is 1 to 64 letters"),
        ("keys = ['secret']", "response_store.keys[0]: takes a reference, not the secret itself"),
        (
            "max_bytes_per_client = '1MB'",
            "response_store.max_bytes_per_client: must not be less than max_response_bytes",
        ),
        (
            "max_bytes = '100MB'",
            "response_store.max_bytes: must not be less than max_bytes_per_client",
        ),
    ] {
        only_problem(&store(keys), expected);
    }
}
