//! What a client may spend: refusals, what counts and what does not.

use serde_json::json;
use sluice::simulator::{Ending, Fault};

use crate::support::clients::Job;
use crate::support::patience::eventually;
use crate::support::raw::Connection;
use crate::support::{
    Answer, Ask, Call, Client, Config, Gateway, MODELS, PRIMARY, SECOND, Simulator, bodies, http,
};

pub(crate) const KEY: &str = "team-a-bearer-key-0123456789";

/// Four models behind one; a client with this daily budget; a tenth of a cent for a token of output
/// and nothing for input.
pub(crate) fn with_budget(simulator: &Simulator, usd: f64) -> Config {
    Config::four_models(simulator)
        .set("prices.*claude*.input", 0)
        .set("prices.*claude*.output", 1000)
        .set("state.budget_flush", "50ms")
        .client("team-a", "env:TEAM_A_KEY")
        .of_client("daily_budget_usd", usd)
}

pub(crate) async fn start(config: &Config) -> Gateway {
    Gateway::start_with(config, &[("TEAM_A_KEY", KEY)]).await
}

/// A request that is answered with so many tokens, which is the most that it asks for.
pub(crate) fn ask(gateway: &Gateway, tokens: u64) -> Ask {
    Ask::new(gateway, &format!("hello sim:tokens={tokens}")).max_tokens(tokens).bearer(KEY)
}

/// The share of the budget that is spent.
pub(crate) async fn used(gateway: &Gateway) -> f64 {
    let labels = [("client", "team-a"), ("period", "daily")];
    gateway.metrics().await.sum("sluice_client_budget_used_ratio", &labels)
}

#[track_caller]
pub(crate) fn is_about(used: f64, wanted: f64) {
    assert!((used - wanted).abs() < 1e-9, "{used}, not {wanted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_used_up_is_said_so_until_it_resets() {
    let simulator = Simulator::start().await;
    let gateway = start(&with_budget(&simulator, 0.1).of_client("monthly_budget_usd", 100)).await;
    let first = ask(&gateway, 70).send().await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(first.header("x-sluice-budget-remaining-usd"), None);
    gateway.access_log(1).await;
    assert_eq!(ask(&gateway, 20).send().await.header("x-sluice-budget-remaining-usd"), None);
    gateway.access_log(2).await;
    is_about(used(&gateway).await, 0.9);
    // Beyond the soft limit of 80 %.
    let third = ask(&gateway, 10).send().await;
    assert_eq!(third.header("x-sluice-budget-remaining-usd"), Some("0.01"));
    gateway.access_log(3).await;

    let job = Job::new(&gateway.url(), vec![Call::converse(PRIMARY, "hello")]).bearer(KEY);
    let answer = Client::Boto3.run(job).await.remove(0);
    let raised = answer.raised();
    assert!(raised.is("AccessDeniedException"), "{raised:?}");
    let parts =
        ["daily budget of this client is used up: 0.1 of 0.1 USD", "resets at 20", "T00:00"];
    assert!(parts.iter().all(|part| raised.message.contains(part)), "{raised:?}");
    assert_eq!(answer.status, Some(403));
    assert_eq!(answer.header("x-sluice-budget-remaining-usd"), Some("0"));
    assert_eq!(simulator.log().len(), 3);
    // What costs nothing is not refused.
    let count = Job::new(&gateway.url(), vec![Call::count_tokens(PRIMARY, "hello")]).bearer(KEY);
    assert!(Client::Boto3.run(count).await[0].error.is_none());
    let metrics = gateway.metrics().await;
    let labels = [("client", "team-a"), ("policy", "daily_budget_usd")];
    assert_eq!(metrics.sum("sluice_client_denied_total", &labels), 1.0);
    let monthly = [("client", "team-a"), ("period", "monthly")];
    is_about(metrics.sum("sluice_client_budget_used_ratio", &monthly), 0.001);
    is_about(metrics.sum("sluice_cost_usd_total", &[("client", "team-a")]), 0.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_at_once_do_not_go_beyond_a_budget() {
    let simulator = Simulator::start().await;
    let gateway = start(&with_budget(&simulator, 1.0)).await;
    let calls = (0..100).map(|_| {
        let prompt = "hello sim:tokens=100 sim:head_ms=50";
        Call::invoke(PRIMARY, prompt).body(bodies::messages(prompt, 100))
    });
    let job = Job::at_once(&gateway.url(), calls.collect()).bearer(KEY);
    let answers = Client::Boto3.run(job).await;
    let (answered, refused): (Vec<&Answer>, Vec<&Answer>) =
        answers.iter().partition(|answer| answer.error.is_none());
    assert_eq!(answered.len(), 10, "each holds a tenth of the budget");
    for answer in &refused {
        let raised = answer.raised();
        let held = raised.is("ThrottlingException") && raised.message.contains("daily budget");
        assert!(held || raised.is("AccessDeniedException"), "{raised:?}");
    }
    assert_eq!(simulator.log().len(), 10);
    gateway.access_log(100).await;
    is_about(used(&gateway).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_that_failed_cost_nothing() {
    let simulator = Simulator::start().await;
    let gateway = start(&with_budget(&simulator, 1.0)).await;
    // A retry on the same target, then a fallback in front of a retry.
    simulator.strikes(PRIMARY, 2, Fault::Internal);
    assert_eq!(ask(&gateway, 50).send().await.status, 200);
    simulator.throttles(PRIMARY, 1);
    simulator.strikes(SECOND, 1, Fault::ServiceUnavailable);
    let answer = ask(&gateway, 50).send().await;
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND), "{}", answer.text());
    assert_eq!(answer.header("x-sluice-attempts"), Some("3"));
    gateway.access_log(2).await;
    is_about(used(&gateway).await, 0.1);
    // Nor does a mistake.
    simulator.strikes(SECOND, 1, Fault::Validation);
    assert_eq!(ask(&gateway, 50).of(SECOND).send().await.status, 400);
    gateway.access_log(3).await;
    is_about(used(&gateway).await, 0.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_client_leaves_costs_what_was_relayed() {
    let simulator = Simulator::start().await;
    let gateway = start(&with_budget(&simulator, 10.0)).await;
    let endless =
        ask(&gateway, 4000).body(bodies::messages("hi sim:tokens=4000 sim:token_ms=20", 4000));
    let request = endless.stream().into_http1();
    let request =
        request.replace("host: x\r\n", &format!("host: x\r\nauthorization: Bearer {KEY}\r\n"));
    let mut leaving = Connection::open(gateway.address()).await;
    leaving.send(request.as_bytes()).await;
    simulator.sees("some frames", |entry| entry.frames >= 10).await;
    drop(leaving);
    let left = simulator.sees("the end", |entry| entry.ending == Ending::Disconnected).await;
    let spent = async || used(&gateway).await * 10.0;
    let spent = eventually("the charge", spent, |spent| *spent > 0.0).await;
    // A tenth of a cent for each frame, which has about a token.
    let frames = left.frames as f64;
    assert!((0.005..=(frames + 3.0) / 1000.0).contains(&spent), "{spent} USD, {frames} frames");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_given_up_costs_its_input() {
    let simulator = Simulator::start().await;
    let config = with_budget(&simulator, 1.0)
        .set("prices.*claude*.input", 1000)
        .set("server.request_timeout", "400ms");
    let gateway = start(&config).await;
    let slow = Ask::new(&gateway, "hello sim:head_ms=5000").max_tokens(16).bearer(KEY);
    assert_eq!(slow.send().await.status, 408);
    gateway.access_log(1).await;
    let spent = used(&gateway).await;
    assert!((0.005..0.2).contains(&spent), "{spent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_input_has_its_own_price_and_the_catalogue_knows_the_rest() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator)
        .client("team-a", "env:TEAM_A_KEY")
        .of_client("daily_budget_usd", 1);
    let gateway = start(&config).await;
    let answer = ask(&gateway, 100).send().await;
    let usage = &answer.json()["usage"];
    let (input, output) =
        (usage["input_tokens"].as_f64().unwrap(), usage["output_tokens"].as_f64().unwrap());
    gateway.access_log(1).await;
    // 3 and 15 USD for a million tokens.
    is_about(used(&gateway).await, (input * 3.0 + output * 15.0) / 1e6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_a_price_is_refused_under_a_budget() {
    let simulator = Simulator::start().await;
    let unknown = "acme.model-of-ones-own-v1:0";
    let config = with_budget(&simulator, 1.0)
        .set("targets.own.model", unknown)
        .route("mixed", &["own", "haiku-3"])
        .route("own", &["own"]);
    let raised = async |gateway: &Gateway, call: Call| {
        let job = Job::new(&gateway.url(), vec![call]).bearer(KEY);
        Client::Boto3.run(job).await.remove(0)
    };
    let gateway = start(&config).await;
    for model in ["own", unknown] {
        let refused = raised(&gateway, Call::converse(model, "hello")).await;
        assert!(refused.raised().is("AccessDeniedException"), "{refused:?}");
        assert!(refused.raised().message.contains("needs a price"), "{refused:?}");
    }
    let answer = raised(&gateway, Call::converse("mixed", "hello")).await;
    assert_eq!(answer.header("x-sluice-model"), Some(MODELS[3]), "{answer:?}");
    let refused = raised(&gateway, Call::start_async_invoke("amazon.nova-reel-v1:0")).await;
    assert!(refused.raised().is("AccessDeniedException"), "{refused:?}");
    assert!(refused.raised().message.contains("allowed_operations"), "{refused:?}");
    assert_eq!(simulator.log().len(), 1);
    assert_eq!(gateway.log_lines("the model has no price").await.len(), 1);

    // A price for the rest, and a policy that names the operation.
    let config = config
        .set("prices.*.input", 1)
        .set("prices.*.output", 1)
        .of_client("allowed_operations", vec!["Converse", "StartAsyncInvoke"]);
    let gateway = start(&config).await;
    let asked = raised(&gateway, Call::converse("own", "hello")).await;
    assert!(!asked.raised().message.contains("price"), "{asked:?}");
    let started = raised(&gateway, Call::start_async_invoke("amazon.nova-reel-v1:0")).await;
    assert!(started.error.is_none(), "{started:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_the_budget_and_keeps_the_spending() {
    let simulator = Simulator::start().await;
    let config = with_budget(&simulator, 1.0);
    let gateway = start(&config).await;
    assert_eq!(ask(&gateway, 100).send().await.status, 200);
    gateway.access_log(1).await;
    is_about(used(&gateway).await, 0.1);
    gateway.reload(&config.clone().of_client("daily_budget_usd", 0.1).to_toml()).await;
    is_about(used(&gateway).await, 1.0);
    assert_eq!(ask(&gateway, 100).send().await.status, 403);
    gateway.reload(&config.of_client("daily_budget_usd", 10).to_toml()).await;
    is_about(used(&gateway).await, 0.01);
    assert_eq!(ask(&gateway, 100).send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legacy_endpoints_spend_their_callers_budget() {
    let simulator = Simulator::start().await;
    let gateway = start(&with_budget(&simulator, 0.000_001)).await;
    let bearer = format!("Bearer {KEY}");
    let analyze = async || {
        let body = json!({ "session_id": "s", "section_name": "S", "content": "text" });
        let url = format!("{}/analyze_section", gateway.url());
        http::post(&url, &[("authorization", &bearer)], body.to_string()).await
    };
    assert_eq!(analyze().await.status, 200);
    let spent = async || used(&gateway).await;
    eventually("the charge", spent, |used| *used >= 1.0).await;
    let refused = analyze().await;
    assert!(refused.status >= 400 && refused.text().contains("budget"), "{}", refused.text());
    assert_eq!(simulator.log().len(), 1);
}
