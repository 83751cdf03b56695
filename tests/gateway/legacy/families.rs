//! Models of other families than Claude's, alone and as fallbacks, at once and by jobs.

use serde_json::{Value, json};

use super::setups::{Queue, queued, reachable};
use super::{FINDING, analyze, ended, get, post};
use crate::support::{Config, Gateway, Simulator};

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-6";
const NOVA: &str = "us.amazon.nova-pro-v1:0";
const GPT_OSS: &str = "openai.gpt-oss-120b-1:0";
const MISTRAL: &str = "mistral.mistral-7b-instruct-v0:2";

/// A config whose legacy models these are, each a target with the name beside it.
fn legacy_models(config: Config, targets: &[(&str, &str)]) -> Config {
    let names: Vec<&str> = targets.iter().map(|(name, _)| *name).collect();
    let config = targets
        .iter()
        .fold(config, |config, (name, model)| config.set(&format!("targets.{name}.model"), *model));
    config.set("legacy.models", names)
}

/// The operation and the body of the last request for a model.
fn last_call(simulator: &Simulator, model: &str) -> (&'static str, Value) {
    let last = simulator.calls_to(model).pop().unwrap();
    (last.operation.unwrap(), serde_json::from_str(&last.body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn models_of_other_families_are_asked_by_converse() {
    for model in [NOVA, GPT_OSS] {
        let simulator = Simulator::start().await;
        let config = legacy_models(Config::without_routes(&simulator), &[("other", model)]);
        let config =
            config.set("targets.other.name", "Another Model").set("targets.other.tpm", 90_000);
        let gateway = Gateway::start(&config).await;
        simulator.says(model, FINDING);
        let analysed = analyze(&gateway, "s", "Summary").await;
        assert_eq!(analysed.status, 200, "{}", analysed.text());
        assert_eq!(analysed.json()["feedback_items"][0]["id"], "f1");
        let (operation, body) = last_call(&simulator, model);
        assert_eq!(operation, "Converse");
        assert!(body["system"][0]["text"].as_str().unwrap().contains("feedback_items"), "{body}");
        assert_eq!(body["inferenceConfig"], json!({ "maxTokens": 8192, "temperature": 0.7 }));
        assert_eq!(body["messages"].as_array().unwrap().len(), 1);

        let chat = json!({ "session_id": "s", "message": "hi" });
        let answered = post(&gateway, "/chat", &chat).await.json();
        assert_eq!(answered["model_used"], "Another Model", "{answered}");
        assert!(answered["response"].as_str().is_some_and(|text| !text.is_empty()), "{answered}");
        let tested = get(&gateway, "/test_claude_connection").await.json();
        let status = &tested["claude_status"];
        assert_eq!((&status["connected"], &status["model_id"]), (&json!(true), &json!(model)));
        let quota = gateway.quota("other").await;
        assert!(quota.in_flight == 0, "what was reserved is settled");
        let calls = gateway.access_log(3).await;
        let calls = calls.iter().filter(|line| line["operation"] == "InvokeModel");
        for line in calls {
            assert_eq!(line["translated"], "converse", "{line}");
            assert!(line["usage"]["input"].as_u64() > Some(0), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_family_answers_while_claude_is_throttled() {
    let simulator = Simulator::start().await;
    let targets = [("claude", CLAUDE), ("nova", NOVA)];
    let gateway =
        Gateway::start(&legacy_models(Config::without_routes(&simulator), &targets)).await;
    simulator.says(CLAUDE, FINDING);
    simulator.says(NOVA, FINDING);
    assert_eq!(analyze(&gateway, "s", "Summary").await.status, 200);
    let (operation, as_alone) = last_call(&simulator, CLAUDE);
    assert_eq!(operation, "InvokeModel");
    assert_eq!(as_alone["anthropic_version"], "bedrock-2023-05-31");

    simulator.throttles(CLAUDE, 1);
    let analysed = analyze(&gateway, "s", "Summary").await.json();
    assert_eq!(analysed["feedback_items"][0]["id"], "f1", "{analysed}");
    assert_eq!(last_call(&simulator, NOVA).0, "Converse");
    assert_eq!(last_call(&simulator, CLAUDE).1, as_alone, "Claude is asked as ever");
    let stats = get(&gateway, "/model_stats").await.json()["stats"].clone();
    let status = |index: usize| (&stats["models"][index]["id"], &stats["models"][index]["status"]);
    assert_eq!(status(0), (&json!(CLAUDE), &json!("throttled")));
    assert_eq!(status(1), (&json!(NOVA), &json!("available")));
    // The chat can be had of it by name, and Claude stands in for it.
    let mut chat = json!({ "session_id": "s", "message": "hi", "ai_model": "nova" });
    assert_eq!(post(&gateway, "/chat", &chat).await.json()["model_used"], "nova");
    assert_eq!(post(&gateway, "/reset_model_cooldowns", &Value::Null).await.status, 200);
    simulator.throttles(NOVA, 1);
    chat["ai_model"] = NOVA.into();
    assert_eq!(post(&gateway, "/chat", &chat).await.json()["model_used"], "claude");
    assert_eq!(last_call(&simulator, CLAUDE).0, "InvokeModel");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_fall_back_to_another_family() {
    let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
    let config = queued(&simulator, &Queue::Sqlite, folder.path());
    let config = legacy_models(config, &[("claude", CLAUDE), ("gpt", GPT_OSS)]);
    let gateway = Gateway::start(&config).await;
    reachable(&gateway).await;
    simulator.always_throttles(CLAUDE);
    simulator.says(GPT_OSS, FINDING);
    let accepted = analyze(&gateway, "s", "Summary").await.json();
    let ended_task = ended(&gateway, &accepted).await;
    assert_eq!(ended_task["result"]["result"]["feedback_items"][0]["id"], "f1", "{ended_task}");
    simulator.says(GPT_OSS, "It is closed.");
    let chat = json!({ "session_id": "s", "message": "hi" });
    let accepted = post(&gateway, "/chat", &chat).await.json();
    let ended_task = ended(&gateway, &accepted).await;
    assert_eq!(ended_task["result"]["response"], "It is closed.", "{ended_task}");
    assert_eq!(last_call(&simulator, GPT_OSS).0, "Converse");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_model_of_another_family_is_busy_and_no_failure_of_the_request() {
    let simulator = Simulator::start().await;
    let config = legacy_models(Config::without_routes(&simulator), &[("nova", NOVA)]);
    let gateway = Gateway::start(&config.set("queue.max_wait", "0s")).await;
    simulator.always_throttles(NOVA);
    let analysed = analyze(&gateway, "s", "Summary").await;
    assert_eq!(analysed.status, 500, "{}", analysed.text());
    assert_eq!(analysed.json()["error_type"], "ThrottlingException", "{}", analysed.text());
    assert!(analysed.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_cut_is_read_as_far_as_it_goes() {
    for model in [CLAUDE, NOVA] {
        let simulator = Simulator::start().await;
        let config = legacy_models(Config::without_routes(&simulator), &[("one", model)]);
        let gateway = Gateway::start(&config.set("legacy.max_tokens", 3)).await;
        simulator.says(model, FINDING);
        let analysed = analyze(&gateway, "s", "Summary").await.json();
        let [only] = &analysed["feedback_items"].as_array().unwrap()[..] else { panic!() };
        assert_eq!(only["category"], "Analysis Status", "{model}: {only}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_system_prompts_has_it_before_the_message() {
    let simulator = Simulator::start().await;
    let config = legacy_models(Config::without_routes(&simulator), &[("mistral", MISTRAL)]);
    let gateway = Gateway::start(&config).await;
    simulator.says(MISTRAL, FINDING);
    let analysed = analyze(&gateway, "s", "Summary").await;
    assert_eq!(analysed.status, 200, "{}", analysed.text());
    let (operation, body) = last_call(&simulator, MISTRAL);
    assert_eq!(operation, "Converse");
    assert_eq!(body.get("system"), None);
    let text = body["messages"][0]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("feedback_items") && text.contains("We closed the case."), "{text}");
    assert_eq!(body["inferenceConfig"]["maxTokens"], 4096, "its own maximum");
}
