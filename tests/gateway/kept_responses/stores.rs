//! Where responses are kept: over restarts, at several gateways, within bounds, and while the store fails.

use super::*;
use crate::redis_failover::{fail_over, has_caught_up, is_replica_of, pair};
use crate::stores::is_up;
use crate::support::patience::eventually;
use crate::support::{Address, Redis, SmallDisk};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_outlives_the_process_and_shows_nothing() {
    let simulator = Simulator::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("responses.db");
    let config = config(&simulator, "sqlite").set("response_store.path", path.to_str().unwrap());
    let mut gateway = start(&config).await;
    let made = create(&gateway, "claude", "The password is swordfish.", json!({})).await;
    gateway.terminate().await;
    assert!(gateway.ended().await.success(), "{}", gateway.output());
    let id = made["id"].as_str().unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for text in ["swordfish", "password", "claude", "output_text", id, ENCRYPTS] {
            let is_there = memchr::memmem::find(&bytes, text.as_bytes()).is_some();
            assert!(!is_there, "{text} is in {}", path.display());
        }
    }
    let gateway = start(&config).await;
    assert_eq!(go_on(&gateway, KEYS[0], &made["id"]).await.status, 200);
    let body = simulator.calls_to(CLAUDE).pop().unwrap().body;
    assert!(body.contains("swordfish"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_reads_what_an_old_one_has_encrypted() {
    let simulator = Simulator::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("responses.db");
    let config = config(&simulator, "sqlite").set("response_store.path", path.to_str().unwrap());
    let mut gateway = start(&config).await;
    let made = create(&gateway, "claude", "Hello", json!({})).await;
    gateway.terminate().await;
    gateway.ended().await;
    let variables = [(VARIABLE, ENCRYPTS), ("NEW_KEY", "another-key-that-is-long-enough-32")];
    let both = config.clone().set("response_store.keys", vec!["env:NEW_KEY", "env:RESPONSE_KEY"]);
    let gateway = Gateway::start_with(&both, &variables).await;
    assert_eq!(go_on(&gateway, KEYS[0], &made["id"]).await.status, 200);
    // Without the old key it is not gone: it can't be read for now.
    let new = config.set("response_store.keys", vec!["env:NEW_KEY"]);
    gateway.reload(&new.to_toml()).await;
    let unreadable = go_on(&gateway, KEYS[0], &made["id"]).await;
    assert_eq!(unreadable.status, 503, "{}", unreadable.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_share_what_is_in_redis() {
    let simulator = Simulator::start().await;
    let redis = Redis::start().await;
    let config =
        config(&simulator, "redis").set("response_store.redis_url", redis.reference().as_str());
    let (one, other) = (start(&config).await, start(&config).await);
    let made = create(&one, "nova", "The password is swordfish.", json!({})).await;
    let read = send(&other, KEYS[0], "GET", &path_of(&made["id"]), "").await;
    assert_eq!((read.status, read.json()), (200, made.clone()));
    assert_eq!(go_on(&other, KEYS[0], &made["id"]).await.status, 200);
    assert_eq!(go_on(&other, KEYS[1], &made["id"]).await.status, 404);
    let record = redis.ask(&["KEYS", "{sluice}:response:*"]).await;
    assert_eq!(record.lines().count(), 2, "{record}");
    let left: u64 =
        redis.ask(&["PTTL", record.lines().next().unwrap()]).await.trim().parse().unwrap();
    assert!(left > 29 * 24 * 3600 * 1000, "{left}");
    let deleted = send(&other, KEYS[0], "DELETE", &path_of(&made["id"]), "").await;
    assert_eq!(deleted.status, 200);
    assert_eq!(go_on(&one, KEYS[0], &made["id"]).await.status, 404);
    let sums = redis.ask(&["HGETALL", "{sluice}:responses:bytes"]).await;
    let lines: Vec<&str> = sums.lines().collect();
    assert_eq!(lines.len(), 4, "one client and all: {sums}");
    assert_eq!(lines[1], lines[3], "{sums}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_hold_in_redis_and_what_expires_makes_room() {
    let simulator = Simulator::start().await;
    let redis = Redis::start().await;
    let config = config(&simulator, "redis")
        .set("response_store.redis_url", redis.reference().as_str())
        .set("response_store.ttl", "3s")
        .set("response_store.max_response_bytes", "3KB")
        .set("response_store.max_bytes_per_client", "3KB")
        .set("response_store.max_bytes", "4KB");
    let gateway = start(&config).await;
    let mut made = Vec::new();
    while counted(&gateway, "client_full").await == 0.0 {
        made.push(create(&gateway, "claude", "Hello", json!({})).await);
        assert!(made.len() < 20, "{made:?}");
    }
    assert_eq!(made.last().unwrap()["store"], false);
    let other = try_to_create(&gateway, KEYS[1], "claude", "Hello", json!({})).await.json();
    let more = try_to_create(&gateway, KEYS[1], "claude", "Hello", json!({})).await.json();
    assert_eq!(more["store"], false, "{other}");
    assert!(counted(&gateway, "store_full").await > 0.0);
    let gone = async || go_on(&gateway, KEYS[0], &made[0]["id"]).await.status;
    eventually("it expires", gone, |status| *status == 404).await;
    let stored = async || create(&gateway, "claude", "Hello", json!({})).await["store"].clone();
    eventually("there is room", stored, |stored| *stored == true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_beyond_a_bound_says_that_it_is_not_stored() {
    let simulator = Simulator::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = config(&simulator, "sqlite")
        .set("response_store.path", folder.path().join("r.db").to_str().unwrap())
        .set("response_store.max_response_bytes", "3KB");
    let gateway = start(&config).await;
    let long = "word ".repeat(600);
    for stream in [false, true] {
        let answer =
            try_to_create(&gateway, KEYS[0], "claude", &long, json!({"stream": stream})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let made = match stream {
            true => events(&answer).pop().unwrap()["response"].clone(),
            false => answer.json(),
        };
        assert_eq!((&made["store"], &made["status"]), (&json!(false), &json!("completed")));
        assert_eq!(go_on(&gateway, KEYS[0], &made["id"]).await.status, 404);
    }
    assert_eq!(counted(&gateway, "too_long").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_expires() {
    let simulator = Simulator::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = config(&simulator, "sqlite")
        .set("response_store.path", folder.path().join("r.db").to_str().unwrap())
        .set("response_store.ttl", "2s");
    let gateway = start(&config).await;
    let made = create(&gateway, "claude", "Hello", json!({})).await;
    let gone = async || send(&gateway, KEYS[0], "GET", &path_of(&made["id"]), "").await.status;
    eventually("it expires", gone, |status| *status == 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_gone_costs_no_answer_and_loses_no_response() {
    let simulator = Simulator::start().await;
    let redis = Redis::start().await;
    let config = config(&simulator, "redis")
        .set("response_store.redis_url", redis.reference().as_str())
        .set("response_store.timeout", "1s");
    let gateway = start(&config).await;
    is_up(&gateway, "response_store", 1.0).await;
    let made = create(&gateway, "claude", "Hello", json!({})).await;
    assert_eq!(made["store"], true);
    redis.kill();
    for stream in [false, true] {
        let answer =
            try_to_create(&gateway, KEYS[0], "claude", "Hello", json!({"stream": stream})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let unkept = match stream {
            true => events(&answer).pop().unwrap()["response"].clone(),
            false => answer.json(),
        };
        assert_eq!((&unkept["store"], &unkept["status"]), (&json!(false), &json!("completed")));
    }
    is_up(&gateway, "response_store", 0.0).await;
    let path = path_of(&made["id"]);
    for (method, path) in [("GET", path.clone()), ("DELETE", path.clone())] {
        let refused = send(&gateway, KEYS[0], method, &path, "").await;
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert!(refused.header("retry-after").is_some(), "{method}");
    }
    let refused = go_on(&gateway, KEYS[0], &made["id"]).await;
    assert_eq!((refused.status, &refused.json()["error"]["type"]), (503, &json!("server_error")));
    redis.resume().await;
    let back = async || go_on(&gateway, KEYS[0], &made["id"]).await.status;
    eventually("it goes on", back, |status| *status == 200).await;
    is_up(&gateway, "response_store", 1.0).await;
    assert_eq!(counted(&gateway, "unavailable").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_no_answer() {
    let Some(disk) = SmallDisk::new(2 << 20) else { return };
    let simulator = Simulator::start().await;
    let path = disk.path("responses.db");
    let config = config(&simulator, "sqlite").set("response_store.path", path.to_str().unwrap());
    let gateway = disk.start(&config, &[(VARIABLE, ENCRYPTS)]).await;
    let made = create(&gateway, "claude", "Hello", json!({})).await;
    assert_eq!(made["store"], true);
    disk.fill(&gateway);
    // The log beside the file may have space for some.
    let stored = async || {
        let long = "word ".repeat(2000);
        create(&gateway, "claude", &long, json!({})).await["store"].clone()
    };
    eventually("nothing more is kept", stored, |stored| *stored == false).await;
    is_up(&gateway, "response_store", 0.0).await;
    let read = send(&gateway, KEYS[0], "GET", &path_of(&made["id"]), "").await;
    assert!([200, 503].contains(&read.status), "never unknown: {}", read.text());
    disk.clear(&gateway);
    let stored = async || create(&gateway, "claude", "Hello", json!({})).await["store"].clone();
    eventually("it is kept again", stored, |stored| *stored == true).await;
    assert_eq!(go_on(&gateway, KEYS[0], &made["id"]).await.status, 200);
}

/// The old server keeps its connections, answers what is read, and knows nothing of what came since.
#[tokio::test(flavor = "multi_thread")]
async fn responses_are_found_after_a_failover() {
    let simulator = Simulator::start().await;
    let (first, second) = pair().await;
    let address = Address::of(&first).await;
    let config =
        config(&simulator, "redis").set("response_store.redis_url", address.reference().as_str());
    let (one, other) = (start(&config).await, start(&config).await);
    let before = create(&one, "claude", "Hello", json!({})).await;
    assert_eq!(go_on(&other, KEYS[0], &before["id"]).await.status, 200);
    has_caught_up(&second, &first).await;
    fail_over(&address, &first, &second).await;
    is_replica_of(&first, &second).await;
    let stored = async || {
        let made = create(&one, "claude", "Hello again", json!({})).await;
        made["store"].as_bool().unwrap().then(|| made["id"].clone())
    };
    let after = eventually("it is kept", stored, Option::is_some).await.unwrap();
    for id in [&before["id"], &after] {
        let next = go_on(&other, KEYS[0], id).await;
        assert_ne!(next.status, 404, "{}", next.text());
        let found = async || go_on(&other, KEYS[0], id).await.status;
        eventually("it is found", found, |status| *status == 200).await;
    }
}
