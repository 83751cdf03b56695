//! Targets that an operator takes out of traffic, through the admin API.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::ask::Ask;
use crate::support::{Config, Gateway, PRIMARY, SECOND, Simulator, http};

const KEY: &str = "an-admin-key-of-some-length";

async fn act(gateway: &Gateway, target: &str, act: &str, key: Option<&str>) -> http::Response {
    let url = format!("{}/admin/targets/{target}/{act}", gateway.admin_url());
    let key = key.map(|key| format!("Bearer {key}"));
    let headers: Vec<(&str, &str)> =
        key.iter().map(|key| ("authorization", key.as_str())).collect();
    http::post(&url, &headers, String::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_target_gets_nothing_until_it_is_resumed_and_a_reload_leaves_it_so() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2).without_admin_key();
    let gateway = Gateway::start(&config).await;
    let name = gateway.targets().await[0]["name"].as_str().unwrap().to_owned();
    assert_eq!(act(&gateway, &name, "drain", None).await.status, 200);
    assert_eq!(gateway.target(&name).await["state"], "drained");
    let answered_by = async || {
        let answer = Ask::new(&gateway, "hi").send().await;
        answer.header("x-sluice-model").unwrap().to_owned()
    };
    assert_eq!(answered_by().await, SECOND);
    // Also where the reload makes the target anew.
    gateway
        .reload(&config.set("retry.attempts", 5).set("targets.sonnet-35.cooldown", "5s").to_toml())
        .await;
    assert_eq!(answered_by().await, SECOND);
    assert_eq!(act(&gateway, &name, "reset", None).await.status, 200);
    assert_eq!(answered_by().await, SECOND);
    assert_eq!(act(&gateway, &name, "resume", None).await.status, 200);
    assert_eq!(answered_by().await, PRIMARY);
    let said = gateway.log_lines("changed on request").await;
    assert_eq!(said[0]["audit"], "drain_target", "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_drained_a_request_is_refused_at_once() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::models(&simulator, 2).without_admin_key()).await;
    for target in gateway.targets().await {
        let name = target["name"].as_str().unwrap();
        assert_eq!(act(&gateway, name, "drain", None).await.status, 200);
    }
    let answer = Ask::new(&gateway, "hi").send().await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("drained"), "{}", answer.text());
    assert_eq!(answer.header("x-sluice-queued-ms"), Some("0"));
    assert!(simulator.log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_the_queue_is_refused_when_the_last_of_its_targets_is_drained() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2)
        .set("targets.sonnet-35.tpm", 9_000)
        .set("targets.sonnet-35-v2.tpm", 9_000)
        .set("queue.max_wait", "40s")
        .without_admin_key();
    let gateway = Gateway::start(&config).await;
    let large = |prompt: &str| Ask::new(&gateway, prompt).max_tokens(4_000);
    let _under_way: Vec<_> = (0..4).map(|_| large("slow sim:head_ms=20000").start()).collect();
    simulator.sees("all four", |entry| entry.seq == 4).await;
    let waiting = [
        large("waits for any").start(),
        large("waits for its model").header("x-sluice-wait-before-fallback", "30s").start(),
    ];
    gateway.has_waiting(2).await;
    let began = Instant::now();
    for target in gateway.targets().await {
        let name = target["name"].as_str().unwrap();
        assert_eq!(act(&gateway, name, "drain", None).await.status, 200);
    }
    for refused in waiting {
        let answer = refused.await.unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains("drained"), "{}", answer.text());
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let all = json!([{ "target": "sonnet-35", "reason": "drained" },
        { "target": "sonnet-35-v2", "reason": "drained" }]);
    for line in gateway.access_log(2).await {
        assert_eq!((&line["status"], &line["passed_over"]), (&json!(503), &all), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_need_the_admin_key_if_there_is_one() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1).set("server.admin_key", "env:ADMIN_KEY");
    let gateway = Gateway::start_with(&config, &[("ADMIN_KEY", KEY)]).await;
    let name = "sonnet-35";
    for key in [None, Some("another-key-of-some-length")] {
        let refused = act(&gateway, name, "drain", key).await;
        assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
    }
    assert_eq!(Ask::new(&gateway, "hi").send().await.status, 200);
    assert_eq!(act(&gateway, name, "drain", Some(KEY)).await.status, 200);
    assert_eq!(Ask::new(&gateway, "hi").send().await.status, 503);
    assert_eq!(act(&gateway, "nobody", "drain", Some(KEY)).await.status, 404);
    assert_eq!(act(&gateway, name, "remove", Some(KEY)).await.status, 404);
    let url = format!("{}/admin/targets/{name}/drain", gateway.admin_url());
    assert_eq!(http::get(&url).await.status, 401);
    assert!(!gateway.output().contains(KEY));
}
