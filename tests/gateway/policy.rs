//! What a client may ask for: each policy, by the error that boto3 raises and by what reaches the
//! upstream.

use serde_json::{Value, json};

use crate::support::clients::{Job, Raised};
use crate::support::patience::eventually;
use crate::support::{
    Answer, Ask, Call, Client, Config, Gateway, MODELS, PRIMARY, Simulator, bodies, http,
};

const KEY: &str = "team-a-bearer-key-0123456789";
const HAIKU: &str = MODELS[3];

/// Four models behind the first, and one client.
fn team_a(simulator: &Simulator) -> Config {
    Config::four_models(simulator).client("team-a", "env:TEAM_A_KEY")
}

async fn start(config: &Config) -> Gateway {
    Gateway::start_with(config, &[("TEAM_A_KEY", KEY)]).await
}

fn ask(gateway: &Gateway) -> Ask {
    Ask::new(gateway, "hello").bearer(KEY)
}

/// One call by boto3 with the client's key.
async fn call(gateway: &Gateway, call: Call) -> Answer {
    let job = Job::new(&gateway.url(), vec![call]).bearer(KEY);
    Client::Boto3.run(job).await.remove(0)
}

async fn raised(gateway: &Gateway, of: Call, status: u16) -> Raised {
    let answer = call(gateway, of).await;
    assert_eq!(answer.status, Some(status), "{answer:?}");
    answer.raised().clone()
}

async fn denied(gateway: &Gateway, policy: &str) -> f64 {
    let labels = [("client", "team-a"), ("policy", policy)];
    gateway.metrics().await.sum("sluice_client_denied_total", &labels)
}

#[track_caller]
fn says(raised: &Raised, name: &str, part: &str) {
    assert!(raised.is(name), "{raised:?}");
    assert!(raised.message.contains(part), "{raised:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_not_allowed_is_refused_before_its_body_is_read() {
    let simulator = Simulator::start().await;
    let config = team_a(&simulator).of_client("allowed_models", vec!["anthropic.claude-3-haiku-*"]);
    let gateway = start(&config).await;
    let refused = raised(&gateway, Call::converse(PRIMARY, "hello"), 403).await;
    says(&refused, "AccessDeniedException", PRIMARY);
    says(&refused, "AccessDeniedException", "allowed_models");
    assert_eq!(ask(&gateway).body("nonsense".to_owned()).send().await.status, 403);
    assert!(simulator.log().is_empty(), "{:#?}", simulator.log());
    assert!(!call(&gateway, Call::converse(HAIKU, "hello")).await.text().is_empty());
    assert_eq!(denied(&gateway, "allowed_models").await, 2.0);
    let log = gateway.access_log(3).await;
    assert_eq!(log[0]["outcome"], "client_denied", "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_that_is_not_allowed_is_no_candidate() {
    let simulator = Simulator::start().await;
    let config = team_a(&simulator).of_client("allowed_models", vec![PRIMARY, HAIKU]);
    let gateway = start(&config).await;
    simulator.always_throttles(PRIMARY);
    let answer = call(&gateway, Call::converse(PRIMARY, "hello")).await;
    assert!(!answer.text().is_empty());
    assert_eq!(answer.header("x-sluice-model"), Some(HAIKU));
    assert_eq!(simulator.models_called(), [PRIMARY, HAIKU]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_that_is_called_counts_whatever_was_asked_for() {
    let simulator = Simulator::start().await;
    // An alias: its route leads to other models alone.
    let config = Config::four_models(&simulator)
        .route("alias", &["sonnet-35-v2", "sonnet-3"])
        .client("team-a", "env:TEAM_A_KEY")
        .of_client("allowed_models", vec!["alias", HAIKU]);
    let gateway = start(&config).await;
    let refused = raised(&gateway, Call::converse("alias", "hello"), 403).await;
    says(&refused, "AccessDeniedException", "no target of its route is among the allowed_models");
    assert!(simulator.log().is_empty());
    let config = config.of_client("allowed_models", vec!["alias", MODELS[2]]);
    let gateway = start(&config).await;
    let answer = call(&gateway, Call::converse("alias", "hello")).await;
    assert_eq!(answer.header("x-sluice-model"), Some(MODELS[2]), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_of_an_async_invocation_counts_too() {
    let simulator = Simulator::start().await;
    let config = team_a(&simulator).of_client("allowed_models", vec!["amazon.nova-reel-*"]);
    let gateway = start(&config).await;
    let refused = raised(&gateway, Call::start_async_invoke(PRIMARY), 403).await;
    says(&refused, "AccessDeniedException", "allowed_models");
    assert!(simulator.log().is_empty());
    let answer = call(&gateway, Call::start_async_invoke("amazon.nova-reel-v1:0")).await;
    assert!(answer.error.is_none(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_that_are_not_allowed_are_refused() {
    let simulator = Simulator::start().await;
    let allowed = vec!["Converse", "CountTokens"];
    let gateway = start(&team_a(&simulator).of_client("allowed_operations", allowed)).await;
    for refused in [
        Call::invoke(PRIMARY, "hello"),
        Call::converse_stream(PRIMARY, "hello"),
        Call::apply_guardrail("hello"),
    ] {
        let operation = refused.operation;
        let refused = raised(&gateway, refused, 403).await;
        says(&refused, "AccessDeniedException", "allowed_operations");
        says(&refused, "AccessDeniedException", operation);
    }
    assert!(simulator.log().is_empty());
    assert!(call(&gateway, Call::converse(PRIMARY, "hello")).await.error.is_none());
    assert_eq!(denied(&gateway, "allowed_operations").await, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_own_rates_count_instead_of_the_common_ones() {
    let simulator = Simulator::start().await;
    let config = team_a(&simulator)
        .of_client("rpm", 3)
        .client("team-b", "env:TEAM_B_KEY")
        .set("limits.requests_per_second", 1)
        .set("limits.burst", 1);
    let other = "team-b-bearer-key-0123456789";
    let gateway = Gateway::start_with(&config, &[("TEAM_A_KEY", KEY), ("TEAM_B_KEY", other)]).await;
    for _ in 0..3 {
        assert_eq!(ask(&gateway).send().await.status, 200);
    }
    let refused = raised(&gateway, Call::converse(PRIMARY, "hello"), 429).await;
    says(&refused, "ThrottlingException", "rpm");
    let by_other = || Ask::new(&gateway, "hello").bearer(other).send();
    assert_eq!(by_other().await.status, 200);
    assert!(by_other().await.text().contains("requests_per_second"));
    let labels = [("client", "team-a"), ("limit", "rpm")];
    assert_eq!(gateway.metrics().await.sum("sluice_client_limited_total", &labels), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_own_tokens_and_requests_at_once_count() {
    let simulator = Simulator::start().await;
    let config = team_a(&simulator)
        .of_client("tpm", 2_000)
        .of_client("max_concurrent", 2)
        .set("limits.tokens_per_minute", 100);
    let gateway = start(&config).await;
    let slow = Ask::new(&gateway, "slow sim:head_ms=6000").bearer(KEY).max_tokens(1_500).start();
    simulator.sees("the first", |_| true).await;
    let refused = raised(&gateway, Call::invoke(PRIMARY, &"x".repeat(4_000)), 429).await;
    says(&refused, "ThrottlingException", "tpm");
    let small = Ask::new(&gateway, "small sim:head_ms=5000").bearer(KEY).start();
    simulator.sees("the second", |entry| entry.seq == 2).await;
    let refused = raised(&gateway, Call::converse(PRIMARY, "hello"), 429).await;
    says(&refused, "ThrottlingException", "max_concurrent");
    assert_eq!((slow.await.unwrap().status, small.await.unwrap().status), (200, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_a_policy_at_once_and_keeps_usage() {
    let simulator = Simulator::start().await;
    let config = team_a(&simulator)
        .of_client("rpm", 3)
        .of_client("tpm", 1_000)
        .of_client("max_concurrent", 1)
        .of_client("allowed_models", vec![PRIMARY, HAIKU]);
    let gateway = start(&config).await;
    // Most of its tokens.
    let large = || Ask::new(&gateway, &"word ".repeat(600)).of(HAIKU).bearer(KEY);
    assert_eq!(large().send().await.status, 200);
    // Under way, by a model that is allowed no more when it is answered.
    let slow = ask(&gateway).body(bodies::messages("slow sim:head_ms=4000", 16)).start();
    simulator.sees("the slow one", |entry| entry.seq == 2).await;
    let changed = config.clone().of_client("allowed_models", vec![HAIKU]);
    gateway.reload(&changed.clone().of_client("max_concurrent", 2).to_toml()).await;
    let refused = ask(&gateway).send().await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(slow.await.unwrap().status, 200);
    let refused = ask(&gateway).of(HAIKU).send().await;
    assert!(refused.text().contains("rpm"), "{}", refused.text());
    // Another rate begins anew, the tokens stay spent.
    gateway.reload(&changed.of_client("rpm", 100).to_toml()).await;
    let refused = large().send().await;
    assert_eq!(refused.status, 429);
    assert!(refused.text().contains("tpm"), "{}", refused.text());
    // A policy with a mistake changes nothing.
    gateway.reload(&config.of_client("allowed_operations", vec!["Convers"]).to_toml()).await;
    assert_eq!(ask(&gateway).send().await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_body_than_the_client_may_send_is_refused() {
    let simulator = Simulator::start().await;
    let gateway = start(&team_a(&simulator).of_client("max_body", "2KB")).await;
    assert_eq!(ask(&gateway).send().await.status, 200);
    let refused = raised(&gateway, Call::converse(PRIMARY, &"x".repeat(3_000)), 413).await;
    says(&refused, "RequestEntityTooLargeException", "max_body of this client, 2000 bytes");
    assert_eq!(simulator.log().len(), 1);
    assert_eq!(denied(&gateway, "max_body").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_no_more_urgent_than_its_policy_allows() {
    let simulator = Simulator::start().await;
    let other = "team-b-bearer-key-0123456789";
    let config = Config::models(&simulator, 1)
        .set("targets.sonnet-35.tpm", 9_000)
        .set("queue.max_wait", "20s")
        .client("team-a", "env:TEAM_A_KEY")
        .of_client("max_priority", "normal")
        .client("team-b", "env:TEAM_B_KEY");
    let gateway = Gateway::start_with(&config, &[("TEAM_A_KEY", KEY), ("TEAM_B_KEY", other)]).await;
    let ask = |prompt, key| Ask::new(&gateway, prompt).max_tokens(4_000).bearer(key);
    // Two are under way at once, and a line forms behind them.
    let slow = ask("slow sim:head_ms=1500", KEY);
    let mut asked = vec![slow.clone().start(), slow.start()];
    simulator.sees("both", |entry| entry.seq == 2).await;
    let usual = ask("usual sim:head_ms=40", KEY);
    asked.extend((0..8).map(|_| usual.clone().start()));
    gateway.has_waiting(8).await;
    for (prompt, key) in [("urgent sim:head_ms=40", KEY), ("allowed sim:head_ms=40", other)] {
        let urgent = ask(prompt, key).header("x-sluice-priority", "high");
        asked.extend((0..4).map(|_| urgent.clone().start()));
    }
    gateway.has_waiting(16).await;
    for asked in asked {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    let log = simulator.log();
    let places = |word: &str| -> Vec<usize> {
        let all = log.iter().enumerate().filter(|(_, entry)| entry.body.contains(word));
        all.map(|(place, _)| place).collect()
    };
    let (usual, urgent, allowed) = (places("usual"), places("urgent"), places("allowed"));
    // Neighbours may change places.
    assert!(urgent[0] + 1 >= usual[7], "{urgent:?} and {usual:?}");
    assert!(allowed[3] < usual[7], "{allowed:?} and {usual:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_clients_policy_applies_once_its_body_is_verified() {
    let simulator = Simulator::start().await;
    let (id, secret) = ("SLUICEKEYOFTEAMA", "the-secret-of-team-a-0123456789");
    let mut guardrail = toml::Table::new();
    guardrail.insert("identifier".to_owned(), "grforced".into());
    guardrail.insert("version".to_owned(), "7".into());
    let config = Config::four_models(&simulator)
        .client_that_signs("team-a", id, "TEAM_A_SECRET")
        .of_client("allowed_models", vec![HAIKU])
        .of_client("allowed_operations", vec!["Converse", "InvokeModel"])
        .of_client("guardrail", guardrail)
        .of_client("max_body", "2KB")
        .of_client("max_priority", "low")
        .of_client("daily_budget_usd", 0.000_001);
    let secrets = [("TEAM_A_SECRET", secret)];
    let gateway = Gateway::start_with(&config, &secrets).await;
    let ask = async |call: Call| {
        let job = Job::new(&gateway.url(), vec![call]).signed_by(id, secret);
        Client::Boto3.run(job).await.remove(0)
    };
    let other = json!({ "guardrailIdentifier": "grother", "guardrailVersion": "7" });
    for (call, error, part) in [
        (Call::converse(PRIMARY, "hello"), "AccessDeniedException", "allowed_models"),
        (Call::converse_stream(HAIKU, "hello"), "AccessDeniedException", "allowed_operations"),
        (Call::invoke(HAIKU, "hello").options(other), "ValidationException", "grforced"),
        (
            Call::converse(HAIKU, &"x".repeat(3_000)),
            "RequestEntityTooLargeException",
            "max_body of this client, 2000 bytes",
        ),
    ] {
        let refused = ask(call).await;
        says(refused.raised(), error, part);
    }
    assert!(simulator.log().is_empty());
    // One without its guardrail gets it, and so is signed as another body.
    let answer = ask(Call::converse(HAIKU, "hello")).await;
    assert!(answer.error.is_none(), "{answer:?}");
    let body: Value = serde_json::from_str(&simulator.only_call().body).unwrap();
    assert_eq!(body["guardrailConfig"]["guardrailIdentifier"], "grforced");
    assert_eq!(simulator.only_call().signature, Some("valid"));
    gateway.access_log(5).await;
    says(ask(Call::converse(HAIKU, "hello")).await.raised(), "AccessDeniedException", "budget");
    assert!(ask(Call::invoke(PRIMARY, "hello")).await.error.is_some());
    let denied = async |policy: &str| denied(&gateway, policy).await;
    assert_eq!(denied("allowed_models").await, 2.0);
    assert_eq!(denied("max_body").await, 1.0);

    // Whoever does not have the secret uses up nothing and hears nothing of the policy.
    let forged = Job::new(&gateway.url(), vec![Call::converse(PRIMARY, "hello")])
        .signed_by(id, "not-the-secret-0123456789");
    says(
        Client::Boto3.run(forged).await[0].raised(),
        "InvalidSignatureException",
        "does not match",
    );
    assert_eq!(denied("allowed_models").await, 2.0);

    let gateway = Gateway::start_with(&config.of_client("rpm", 1), &secrets).await;
    let twice = vec![Call::converse(PRIMARY, "hello"); 2];
    let answers = Client::Boto3.run(Job::new(&gateway.url(), twice).signed_by(id, secret)).await;
    says(answers[0].raised(), "AccessDeniedException", "allowed_models");
    says(answers[1].raised(), "ThrottlingException", "rpm");
}

/// A guardrail of both kinds of operation, and a body that the simulator kept.
fn guarded(simulator: &Simulator) -> Config {
    let mut guardrail = toml::Table::new();
    guardrail.insert("identifier".to_owned(), "grforced".into());
    guardrail.insert("version".to_owned(), "7".into());
    team_a(simulator).of_client("guardrail", guardrail)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_guardrail_is_on_every_request_that_runs_a_model() {
    let simulator = Simulator::start().await;
    let gateway = start(&guarded(&simulator)).await;
    for run in [
        Call::invoke(PRIMARY, "hello"),
        Call::invoke_stream(PRIMARY, "hello"),
        Call::converse(PRIMARY, "hello"),
        Call::converse_stream(PRIMARY, "hello"),
    ] {
        let answer = call(&gateway, run).await;
        assert!(answer.error.is_none(), "{answer:?}");
    }
    let log = simulator.log();
    for entry in &log[..2] {
        assert_eq!(entry.headers["x-amzn-bedrock-guardrailidentifier"], ["grforced"]);
        assert_eq!(entry.headers["x-amzn-bedrock-guardrailversion"], ["7"]);
    }
    for entry in &log[2..] {
        let body: Value = serde_json::from_str(&entry.body).unwrap();
        let wanted = json!({ "guardrailIdentifier": "grforced", "guardrailVersion": "7" });
        assert_eq!(body["guardrailConfig"], wanted);
        assert_eq!(body["messages"][0]["content"][0]["text"], "hello");
        assert!(!entry.headers.contains_key("x-amzn-bedrock-guardrailidentifier"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_guardrail_than_the_forced_one_is_refused_and_the_same_passes_untouched() {
    let simulator = Simulator::start().await;
    let gateway = start(&guarded(&simulator)).await;
    let named = |identifier: &str, version: &str| {
        let mut body = bodies::conversation("hello", 16);
        body["guardrailConfig"] =
            json!({ "guardrailIdentifier": identifier, "guardrailVersion": version });
        body.to_string()
    };
    let options =
        |identifier: &str| json!({ "guardrailIdentifier": identifier, "guardrailVersion": "7" });
    for other in [
        Call::converse(PRIMARY, "").body(named("grother", "7")),
        Call::converse(PRIMARY, "").body(named("grforced", "1")),
        Call::invoke(PRIMARY, "hello").options(options("grother")),
        Call::apply_guardrail("hello"),
    ] {
        let refused = raised(&gateway, other, 400).await;
        says(&refused, "ValidationException", "guardrail of this client's requests is grforced");
    }
    // It has no place for a guardrail.
    let refused = raised(&gateway, Call::start_async_invoke(PRIMARY), 403).await;
    says(&refused, "AccessDeniedException", "StartAsyncInvoke");
    for body in [
        r#"{"messages":[],"guardrailConfig":null}"#,
        r#"{"messages":[],"guardrail\u0043onfig":{"guardrailIdentifier":"grother","guardrailVersion":"7"}}"#,
        "[]",
        "{\"messages\":[]",
    ] {
        let answer = ask(&gateway).converse(body.to_owned()).send().await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    assert!(simulator.log().is_empty());
    let same = named("grforced", "7");
    assert_eq!(ask(&gateway).converse(same.clone()).send().await.status, 200);
    assert_eq!(simulator.only_call().body, same);
    assert_eq!(denied(&gateway, "guardrail").await, 7.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_have_the_forced_guardrail_left_out() {
    let simulator = Simulator::start().await;
    let gateway = start(&guarded(&simulator)).await;
    // A header that `connection` names goes no further.
    let listed = "x-amzn-bedrock-guardrailidentifier, x-amzn-bedrock-guardrailversion";
    let answer = ask(&gateway)
        .header("connection", listed)
        .header("x-amzn-bedrock-guardrailidentifier", "grforced")
        .send()
        .await;
    assert_eq!(answer.status, 200);
    let headers = simulator.only_call().headers;
    assert_eq!(headers["x-amzn-bedrock-guardrailidentifier"], ["grforced"]);
    assert_eq!(headers["x-amzn-bedrock-guardrailversion"], ["7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_guardrails_of_the_list_may_be_named() {
    let simulator = Simulator::start().await;
    let config = team_a(&simulator).of_client("allowed_guardrails", vec!["gr1", "gr2"]);
    let gateway = start(&config).await;
    let with = |identifier: &str| {
        let options = json!({ "guardrailIdentifier": identifier, "guardrailVersion": "1" });
        Call::invoke(PRIMARY, "hello").options(options)
    };
    assert!(call(&gateway, with("gr2")).await.error.is_none());
    assert!(call(&gateway, Call::converse(PRIMARY, "hello")).await.error.is_none());
    let refused = raised(&gateway, with("gr3"), 400).await;
    says(&refused, "ValidationException", "allowed_guardrails");
    assert_eq!(simulator.log().len(), 2);
    assert_eq!(denied(&gateway, "allowed_guardrails").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legacy_endpoints_keep_to_the_policy_of_their_caller() {
    let simulator = Simulator::start().await;
    let config = guarded(&simulator).of_client("allowed_models", vec![HAIKU]);
    let gateway = start(&config).await;
    let bearer = format!("Bearer {KEY}");
    let body = json!({ "session_id": "s", "section_name": "S", "content": "text" });
    let url = format!("{}/analyze_section", gateway.url());
    let answer = http::post(&url, &[("authorization", &bearer)], body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let entry = simulator.only_call();
    assert_eq!(entry.model.as_deref(), Some(HAIKU));
    assert_eq!(entry.headers["x-amzn-bedrock-guardrailidentifier"], ["grforced"]);

    // By way of a job as well.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let config = config
        .of_client("max_body", "1KB")
        .set("jobs.backend", "sqlite")
        .set("jobs.path", path.to_str().unwrap());
    let gateway = start(&config).await;
    let url = format!("{}/analyze_section", gateway.url());
    let authorization = [("authorization", bearer.as_str())];
    let labels = [("dependency", "job_queue")];
    let up = async || gateway.metrics().await.sum("sluice_dependency_up", &labels);
    eventually("the queue", up, |up| *up == 1.0).await;
    let task = http::post(&url, &authorization, body.to_string()).await.json();
    let status = format!("{}/task_status/{}", gateway.url(), task["task_id"].as_str().unwrap());
    let ready = async || http::request("GET", &status, &authorization, "").await.json();
    let ended = eventually("the job's end", ready, |status| status["ready"] == true).await;
    assert_eq!(ended["state"], "SUCCESS", "{ended}");
    let entry = simulator.log().pop().unwrap();
    assert_eq!(entry.model.as_deref(), Some(HAIKU));
    assert_eq!(entry.headers["x-amzn-bedrock-guardrailidentifier"], ["grforced"]);
    let long = json!({ "session_id": "s", "section_name": "S", "content": "x".repeat(2_000) });
    assert_eq!(http::post(&url, &authorization, long.to_string()).await.status, 413);

    let config = team_a(&simulator).of_client("allowed_operations", vec!["Converse"]);
    let gateway = start(&config).await;
    let url = format!("{}/analyze_section", gateway.url());
    let answer = http::post(&url, &[("authorization", &bearer)], body.to_string()).await;
    assert!(answer.status >= 400, "{}", answer.text());
    assert_eq!(simulator.log().len(), 2);
}
