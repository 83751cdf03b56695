//! Throttled models, resets of their cooldowns, and mock answers as the last resort.

use std::path::Path;

use serde_json::{Value, json};

use super::setups::{Queue, Setup, queued, reachable};
use super::{FINDING, analyze, ended, fields, get, post};
use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, MODELS, PRIMARY, Redis, SECOND, Simulator};

#[tokio::test(flavor = "multi_thread")]
async fn model_stats_show_throttles_and_a_reset_ends_them() {
    for setup in Setup::all().await {
        let Setup { gateway, simulator, .. } = &setup;
        if !setup.fallback {
            let expected = json!({
                "success": false, "multi_model_enabled": false,
                "message": "Multi-model fallback not configured",
            });
            assert_eq!(get(gateway, "/model_stats").await.json(), expected);
            let reset = post(gateway, "/reset_model_cooldowns", &Value::Null).await;
            let expected =
                json!({ "success": false, "error": "Multi-model fallback not configured" });
            assert_eq!((reset.status, reset.json()), (503, expected));
            continue;
        }
        let names = [
            "Claude 3.5 Sonnet (Primary)",
            "Claude Fallback 1",
            "Claude Fallback 2",
            "Claude Fallback 3",
        ];
        let stats = get(gateway, "/model_stats").await.json();
        let model = |index: usize| {
            json!({
                "id": MODELS[index], "name": names[index], "priority": index + 1,
                "status": "available", "throttle_count": 0, "last_throttle": null,
            })
        };
        let expected = json!({
            "success": true, "multi_model_enabled": true,
            "stats": {
                "total_models": 4, "available_models": 4, "throttled_models": 0,
                "models": [model(0), model(1), model(2), model(3)],
            },
        });
        assert_eq!(stats, expected);

        simulator.throttles(PRIMARY, 1);
        simulator.says(SECOND, FINDING);
        let answer = analyze(gateway, "s", "Summary").await.json();
        let items = if setup.has_queue() {
            ended(gateway, &answer).await["result"]["result"]["feedback_items"].clone()
        } else {
            answer["feedback_items"].clone()
        };
        assert_eq!(items[0]["id"], "f1", "the second model has answered");

        let stats = get(gateway, "/model_stats").await.json()["stats"].clone();
        assert_eq!(
            (&stats["available_models"], &stats["throttled_models"]),
            (&json!(3), &json!(1))
        );
        let primary = &stats["models"][0];
        let expected = [
            "cooldown_remaining",
            "id",
            "last_throttle",
            "name",
            "priority",
            "status",
            "throttle_count",
        ];
        assert_eq!(fields(primary), expected);
        assert_eq!(
            (&primary["status"], &primary["throttle_count"]),
            (&json!("throttled"), &json!(1))
        );
        assert!((50..=60).contains(&primary["cooldown_remaining"].as_u64().unwrap()), "{primary}");
        assert!(primary["last_throttle"].as_str().unwrap().contains('T'), "{primary}");

        let reset = post(gateway, "/reset_model_cooldowns", &Value::Null).await;
        let expected = json!({ "success": true, "message": "All model cooldowns have been reset" });
        assert_eq!((reset.status, reset.json()), (200, expected));
        let stats = get(gateway, "/model_stats").await.json()["stats"].clone();
        assert_eq!(stats["available_models"], 4);
        assert_eq!(stats["models"][0]["throttle_count"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_reaches_all_replicas() {
    let (simulator, redis) = (Simulator::start().await, Queue::Redis(Redis::start().await));
    let config = queued(&simulator, &redis, Path::new(""));
    let (one, other) = (Gateway::start(&config).await, Gateway::start(&config).await);
    reachable(&one).await;
    reachable(&other).await;
    simulator.throttles(PRIMARY, 1);
    let invoked = crate::support::Ask::new(&other, "hi").send().await;
    assert_eq!(invoked.status, 200);
    let throttled = async || {
        get(&other, "/model_stats").await.json()["stats"]["throttled_models"].as_u64().unwrap()
    };
    assert_eq!(throttled().await, 1);
    assert_eq!(post(&one, "/reset_model_cooldowns", &Value::Null).await.status, 200);
    eventually("the other replica has heard of it", throttled, |count| *count == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_that_a_chat_names_is_asked_first() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::four_models(&simulator)).await;
    let blank = json!({ "session_id": "s", "section_name": "S", "content": "" });
    post(&gateway, "/analyze_section", &blank).await;
    let mut chat = json!({ "session_id": "s", "message": "hi", "ai_model": MODELS[3] });
    for (named, answers) in [(MODELS[3], MODELS[3]), ("sonnet-3", MODELS[2]), ("gpt", PRIMARY)] {
        chat["ai_model"] = named.into();
        assert_eq!(post(&gateway, "/chat", &chat).await.status, 200);
        assert_eq!(simulator.models_called().last().map(String::as_str), Some(answers), "{named}");
    }
    // The others stand in for it.
    simulator.throttles(MODELS[3], 1);
    chat["ai_model"] = MODELS[3].into();
    assert_eq!(post(&gateway, "/chat", &chat).await.json()["model_used"], "sonnet-35");
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_keeps_to_the_primary_if_asked_to() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).set("queue.max_wait", "0s");
    let gateway = Gateway::start_with(&config, &[("CHAT_ENABLE_MULTI_MODEL", "false")]).await;
    let blank = json!({ "session_id": "s", "section_name": "S", "content": "" });
    post(&gateway, "/analyze_section", &blank).await;
    simulator.always_throttles(PRIMARY);
    let chat = json!({ "session_id": "s", "message": "hi", "ai_model": MODELS[3] });
    let answer = post(&gateway, "/chat", &chat).await;
    assert_eq!(answer.status, 500);
    assert!(simulator.models_called().iter().all(|model| model == PRIMARY));
    // Analyses still fall back.
    simulator.says(SECOND, FINDING);
    let analysed = analyze(&gateway, "s", "S").await.json();
    assert_eq!(analysed["feedback_items"][0]["id"], "f1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_waits_for_its_model_for_as_long_as_the_config_says() {
    for (wait, model) in [("0s", "sonnet-35-v2"), ("15s", "sonnet-35")] {
        let simulator = Simulator::start().await;
        let config = Config::four_models(&simulator)
            .set("targets.sonnet-35.tpm", 9_000)
            .set("queue.max_wait", "20s")
            .set("legacy.wait_before_fallback", wait);
        let gateway = Gateway::start(&config).await;
        let blank = json!({ "session_id": "s", "section_name": "S", "content": "" });
        post(&gateway, "/analyze_section", &blank).await;
        // These take nearly all of the first model's quota while they are under way.
        let slow = Ask::new(&gateway, "slow sim:head_ms=2000").max_tokens(4_000);
        let _under_way = [slow.clone().start(), slow.start()];
        simulator.sees("both", |entry| entry.seq == 2).await;
        let chat = json!({ "session_id": "s", "message": "hi" });
        let answer = post(&gateway, "/chat", &chat).await.json();
        assert_eq!(answer["model_used"], model, "{wait}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mocks_answer_where_configured_and_are_marked_and_counted() {
    for queue in [Queue::None, Queue::Sqlite] {
        let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
        let config = queued(&simulator, &queue, folder.path())
            .set("queue.max_wait", "0s")
            .set("legacy.mock", "when_exhausted");
        let gateway = Gateway::start(&config).await;
        if matches!(queue, Queue::Sqlite) {
            reachable(&gateway).await;
        }
        for model in MODELS {
            simulator.always_throttles(model);
        }
        let mut answers = Vec::new();
        for _ in 0..2 {
            let response = analyze(&gateway, "s", "Summary").await;
            let (is_marked, items) = if matches!(queue, Queue::Sqlite) {
                let accepted = response.json();
                let ended = ended(&gateway, &accepted).await;
                assert_eq!(ended["result"]["mock"], true, "{ended}");
                let path = super::task_path("task_status", &accepted);
                let mark = get(&gateway, &path).await.header("x-sluice-mock").map(str::to_owned);
                (mark, ended["result"]["result"]["feedback_items"].clone())
            } else {
                let body = response.json();
                assert_eq!(body["mock"], true, "{body}");
                let mark = response.header("x-sluice-mock").map(str::to_owned);
                (mark, body["feedback_items"].clone())
            };
            assert_eq!(is_marked.as_deref(), Some("true"));
            for item in items.as_array().unwrap() {
                let expected = [
                    "category",
                    "confidence",
                    "description",
                    "example",
                    "hawkeye_refs",
                    "id",
                    "questions",
                    "risk_level",
                    "suggestion",
                    "type",
                ];
                assert_eq!(fields(item), expected);
            }
            answers.push(items);
        }
        assert_eq!(answers[0], answers[1], "the same section gets the same mock");
        let metrics = gateway.metrics().await;
        let label = [("endpoint", "analyze_section")];
        assert_eq!(metrics.sum("sluice_mock_answers_total", &label), 2.0);
    }
}
