//! Why another target than the best one answered: what an operator reads of each reason in the access
//! log, the metrics, the header of the answer, `/admin/status`, `sluice tail` and traces.

use serde_json::{Value, json};
use sluice::simulator::{Fault, FaultRule};

use crate::support::ask::Ask;
use crate::support::gateway::run_sluice;
use crate::support::metrics::Metrics;
use crate::support::patience::eventually;
use crate::support::{
    Collector, Config, Gateway, MODELS, PRIMARY, SECOND, Simulator, bodies, http,
};

const BEST: &str = "sonnet-35";
const NEXT: &str = "sonnet-35-v2";
const KEY_OF_A: &str = "a-key-of-team-a-1";
const KEY_OF_B: &str = "a-key-of-team-b-1";
const HEADER: &str = "x-sluice-fallback-reason";

/// A body with tools.
fn with_tools() -> String {
    let mut body: Value = serde_json::from_str(&bodies::messages("hello", 16)).unwrap();
    body["tools"] = json!([{ "name": "t", "input_schema": { "type": "object" } }]);
    body.to_string()
}

async fn start_with_keys(config: &Config) -> Gateway {
    let keys = [("TEAM_A_KEY", KEY_OF_A), ("TEAM_B_KEY", KEY_OF_B)];
    Gateway::start_with(config, &keys).await
}

async fn drain(gateway: &Gateway, target: &str) {
    let url = format!("{}/admin/targets/{target}/drain", gateway.admin_url());
    assert_eq!(http::post(&url, &[], String::new()).await.status, 200);
}

async fn status(gateway: &Gateway) -> Value {
    http::get(&format!("{}/admin/status", gateway.admin_url())).await.json()
}

fn moves(metrics: &Metrics, to: &str, reason: &str) -> f64 {
    let labels = [("from", BEST), ("to", to), ("reason", reason)];
    metrics.sum("sluice_fallbacks_total", &labels)
}

fn answers(metrics: &Metrics, choice: &str) -> f64 {
    metrics.sum("sluice_answers_total", &[("choice", choice)])
}

/// What the access log lists as passed over, for comparison.
fn passed_over(targets: &[(&str, &str)]) -> Value {
    let list = targets.iter().map(|(target, reason)| json!({ "target": target, "reason": reason }));
    list.collect()
}

/// The last request of the gateway's log, which another model answered after the best target was
/// passed over for this reason. Everything that shows the reason must agree.
async fn told(gateway: &Gateway, answer: &http::Response, requests: usize, reason: &str) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header(HEADER), Some(reason));
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    let mut log = gateway.access_log(requests).await;
    let last = log.pop().unwrap();
    assert_eq!(last["passed_over"], passed_over(&[(BEST, reason)]), "{last}");
    assert_eq!(last["attempts"].as_array().unwrap().len(), 1, "{last}");
    assert_eq!((&last["fallback_reason"], &last["choice"]), (&reason.into(), &"other".into()));
    let metrics = gateway.metrics().await;
    assert_eq!(moves(&metrics, NEXT, reason), 1.0);
    let of = |choice: &str| log.iter().filter(|it| it["choice"] == choice).count() as f64;
    let (first, other) = (of("first"), of("other") + 1.0);
    assert_eq!((answers(&metrics, "first"), answers(&metrics, "other")), (first, other));
    let totals = status(gateway).await["totals"].clone();
    assert_eq!((totals["answered"].as_f64(), totals["first_choice"].as_f64()), {
        (Some(first + other), Some(first))
    });
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_quota_is_named() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2).without_admin_key();
    let gateway = Gateway::start(&config.set(&format!("targets.{BEST}.rpm"), 1)).await;
    let first = Ask::new(&gateway, "hello").send().await;
    assert_eq!((first.header("x-sluice-model"), first.header(HEADER)), (Some(PRIMARY), None));
    let log = gateway.access_log(1).await;
    assert_eq!((log[0].get("passed_over"), &log[0]["choice"]), (None, &"first".into()), "{log:?}");
    let answer = Ask::new(&gateway, "hello").send().await;
    told(&gateway, &answer, 2, "no_quota").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_larger_than_the_quota_is_told_apart() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2).without_admin_key();
    let gateway = Gateway::start(&config.set(&format!("targets.{BEST}.tpm"), 2000)).await;
    Ask::new(&gateway, "hello").send().await;
    let answer = Ask::new(&gateway, "hello").max_tokens(4000).send().await;
    told(&gateway, &answer, 2, "oversized").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_attempt_and_the_cooldown_after_it_are_named() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::models(&simulator, 2).without_admin_key()).await;
    simulator.throttles(PRIMARY, 1);
    let failed = Ask::new(&gateway, "hello").send().await;
    assert_eq!(failed.header(HEADER), Some("throttled"));
    let log = gateway.access_log(1).await;
    assert_eq!(log[0].get("passed_over"), None, "it was attempted: {log:?}");
    let answer = Ask::new(&gateway, "hello").send().await;
    told(&gateway, &answer, 2, "cooling").await;
    assert_eq!(moves(&gateway.metrics().await, NEXT, "throttled"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_is_out_is_named() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2).without_admin_key();
    let gateway = Gateway::start(&config.every_target("cooldown", "50ms")).await;
    simulator.throttles(PRIMARY, 1);
    Ask::new(&gateway, "hello").send().await;
    let state = async || gateway.target(BEST).await["state"].clone();
    eventually("the cooldown is over", state, |state| state == "probing").await;
    simulator.strikes(PRIMARY, 1, Fault::SlowHead { ms: 2_000 });
    let probe = Ask::new(&gateway, "hello").start();
    let calls = async || simulator.calls_to(PRIMARY).len();
    eventually("the probe is out", calls, |calls| *calls == 2).await;
    let answer = Ask::new(&gateway, "hello").send().await;
    told(&gateway, &answer, 2, "probing").await;
    assert_eq!(probe.await.unwrap().header(HEADER), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_target_is_named() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::models(&simulator, 2).without_admin_key()).await;
    drain(&gateway, BEST).await;
    let answer = Ask::new(&gateway, "hello").send().await;
    told(&gateway, &answer, 1, "drained").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_denies_the_operation_is_named() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::models(&simulator, 2).without_admin_key()).await;
    simulator.strikes(PRIMARY, 1, Fault::NotFound);
    let denied = Ask::new(&gateway, "hello").send().await;
    assert_eq!(denied.header(HEADER), Some("denied"));
    let answer = Ask::new(&gateway, "hello").send().await;
    // A move after an attempt that was denied has the same reason.
    let log = gateway.access_log(2).await;
    assert_eq!(log[0].get("passed_over"), None, "{log:?}");
    assert_eq!(log[1]["passed_over"], passed_over(&[(BEST, "denied")]), "{log:?}");
    assert_eq!(answer.header(HEADER), Some("denied"));
    assert_eq!(moves(&gateway.metrics().await, NEXT, "denied"), 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_target_can_not_do_is_named() {
    let simulator = Simulator::start().await;
    let config = Config::without_routes(&simulator)
        .without_admin_key()
        .set(&format!("targets.{BEST}.model"), PRIMARY)
        .set("targets.nova.model", "amazon.nova-lite-v1:0")
        .set(&format!("targets.{NEXT}.model"), SECOND)
        .set(&format!("targets.{NEXT}.features"), Vec::<String>::new())
        .set("targets.haiku-3.model", MODELS[3])
        .route(PRIMARY, &[BEST, "nova", NEXT, "haiku-3"]);
    let gateway = Gateway::start(&config).await;
    drain(&gateway, BEST).await;
    let answer = Ask::new(&gateway, "hello").body(with_tools()).send().await;
    assert_eq!(answer.header("x-sluice-model"), Some(MODELS[3]), "{}", answer.text());
    assert_eq!(answer.header(HEADER), Some("drained"));
    let log = gateway.access_log(1).await;
    let all = [(BEST, "drained"), ("nova", "schema"), (NEXT, "feature:tools")];
    assert_eq!(log[0]["passed_over"], passed_over(&all), "{log:?}");
    assert_eq!(moves(&gateway.metrics().await, "haiku-3", "drained"), 1.0);
    // What ranks below the target that answers is not passed over.
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    let log = gateway.access_log(2).await;
    let all = [(BEST, "drained"), ("nova", "schema")];
    assert_eq!(log[1]["passed_over"], passed_over(&all), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_policy_of_the_client_forbids_is_named() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2)
        .without_admin_key()
        .route("alias", &[BEST, NEXT])
        .client("team-a", "env:TEAM_A_KEY")
        .of_client("allowed_models", vec!["alias", SECOND])
        .client("team-b", "env:TEAM_B_KEY")
        .of_client("allowed_models", vec!["alias"]);
    let gateway = start_with_keys(&config).await;
    let ask = |key: &str| {
        let body = bodies::conversation("hello", 16).to_string();
        Ask::new(&gateway, "").of("alias").converse(body).bearer(key).send()
    };
    let answer = ask(KEY_OF_A).await;
    told(&gateway, &answer, 1, "policy").await;
    assert_eq!(ask(KEY_OF_B).await.status, 403);
    let log = gateway.access_log(2).await;
    let all = [(BEST, "policy"), (NEXT, "policy")];
    assert_eq!(log[1]["passed_over"], passed_over(&all), "{log:?}");
    assert_eq!(log[1].get("choice"), None, "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_a_price_is_named_for_a_client_with_a_budget() {
    let simulator = Simulator::start().await;
    let config = Config::without_routes(&simulator)
        .without_admin_key()
        .set(&format!("targets.{BEST}.model"), "nobody.knows-this-v1:0")
        .set(&format!("targets.{NEXT}.model"), SECOND)
        .route("alias", &[BEST, NEXT])
        .client("team-a", "env:TEAM_A_KEY")
        .of_client("daily_budget_usd", 10);
    let gateway = start_with_keys(&config).await;
    let body = bodies::conversation("hello", 16).to_string();
    let ask = Ask::new(&gateway, "").of("alias").converse(body).bearer(KEY_OF_A);
    told(&gateway, &ask.send().await, 1, "unpriced").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_ahead_are_named() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2)
        .without_admin_key()
        .set("queue.max_wait", "3s")
        .set(&format!("targets.{BEST}.rpm"), 1)
        .set(&format!("targets.{NEXT}.features"), Vec::<String>::new());
    let gateway = Gateway::start(&config).await;
    Ask::new(&gateway, "hello").send().await;
    // Only the best target can answer it.
    let ahead = Ask::new(&gateway, "").body(with_tools()).start();
    gateway.has_waiting(1).await;
    let answer = Ask::new(&gateway, "hello").send().await;
    told(&gateway, &answer, 2, "queue").await;
    assert_eq!(ahead.await.unwrap().status, 429);
    let log = gateway.access_log(3).await;
    let all = [(BEST, "no_quota"), (NEXT, "feature:tools")];
    assert_eq!(log[2]["passed_over"], passed_over(&all), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_an_answer_lists_all_targets_that_were_not_attempted() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).without_admin_key().set("queue.max_wait", "0s");
    let gateway = Gateway::start(&config).await;
    for target in [BEST, "sonnet-3", "haiku-3"] {
        drain(&gateway, target).await;
    }
    simulator.strikes(SECOND, 1, Fault::Throttle);
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!((answer.status, answer.header(HEADER)), (429, None), "{}", answer.text());
    let log = gateway.access_log(1).await;
    let all = [(BEST, "drained"), ("sonnet-3", "drained"), ("haiku-3", "drained")];
    assert_eq!(log[0]["passed_over"], passed_over(&all), "{log:?}");
    assert_eq!(log[0].get("choice"), None, "{log:?}");
    // The status page has the entries of the access log.
    let failure = status(&gateway).await["failures"][0].clone();
    assert_eq!(failure["passed_over"], log[0]["passed_over"], "{failure}");
    let metrics = gateway.metrics().await;
    assert_eq!((answers(&metrics, "first"), answers(&metrics, "other")), (0.0, 0.0));
    assert_eq!(moves(&metrics, NEXT, "drained"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_region_is_no_other_model() {
    let simulator = Simulator::start().await;
    let config = Config::without_routes(&simulator)
        .without_admin_key()
        .set(&format!("targets.{BEST}.model"), PRIMARY)
        .set("targets.elsewhere.model", PRIMARY)
        .set("targets.elsewhere.region", "us-west-2")
        .route(PRIMARY, &[BEST, "elsewhere"]);
    let gateway = Gateway::start(&config).await;
    drain(&gateway, BEST).await;
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!(answer.header("x-sluice-region"), Some("us-west-2"), "{}", answer.text());
    assert_eq!(answer.header(HEADER), Some("drained"));
    let log = gateway.access_log(1).await;
    assert_eq!(log[0]["choice"], "first", "{log:?}");
    let metrics = gateway.metrics().await;
    assert_eq!((answers(&metrics, "first"), answers(&metrics, "other")), (1.0, 0.0));
    assert_eq!(moves(&metrics, "elsewhere", "drained"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_models_are_not_passed_over_while_a_request_waits_for_its_own() {
    let simulator = Simulator::start().await;
    let config = Config::without_routes(&simulator)
        .without_admin_key()
        .set(&format!("targets.{BEST}.model"), PRIMARY)
        .set(&format!("targets.{NEXT}.model"), SECOND)
        .set("targets.elsewhere.model", PRIMARY)
        .set("targets.elsewhere.region", "us-west-2")
        .route(PRIMARY, &[BEST, NEXT, "elsewhere"]);
    let gateway = Gateway::start(&config).await;
    drain(&gateway, BEST).await;
    let waits = Ask::new(&gateway, "hello").header("x-sluice-wait-before-fallback", "2s");
    let answer = waits.send().await;
    assert_eq!(answer.header("x-sluice-region"), Some("us-west-2"), "{}", answer.text());
    assert_eq!(answer.header(HEADER), Some("drained"));
    let log = gateway.access_log(1).await;
    assert_eq!(log[0]["passed_over"], passed_over(&[(BEST, "drained")]), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_answers_after_all_was_not_passed_over() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2)
        .without_admin_key()
        .every_target("cooldown", "100ms")
        .set("retry.attempts", 1);
    let gateway = Gateway::start(&config).await;
    simulator.throttles(PRIMARY, 1);
    Ask::new(&gateway, "hello").send().await;
    // The best target cools down; the other one throttles until it is back.
    simulator.add(FaultRule::always(Fault::Throttle).on(SECOND));
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!(answer.header("x-sluice-model"), Some(PRIMARY), "{}", answer.text());
    assert_eq!(answer.header(HEADER), None);
    let log = gateway.access_log(2).await;
    assert_eq!(log[1].get("passed_over"), None, "{log:?}");
    assert_eq!(log[1]["choice"], "first", "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_has_a_failure_with_too_many_attempts_to_show() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 4)
        .without_admin_key()
        .set("retry.attempts", 20)
        .set("retry.base_delay", "1ms")
        .set("retry.max_delay", "1ms")
        .set("fallback.eject_after", 1000)
        .set("fallback.eject_below_success_rate", 0.0);
    let gateway = Gateway::start(&config).await;
    let name = "ServiceUnavailableException".to_owned();
    let error = Fault::Error { name, status: 503, message: "out of order, ".repeat(14) };
    simulator.add(FaultRule::always(error));
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!(answer.header("x-sluice-attempts"), Some("80"), "{}", answer.text());
    let log = gateway.access_log(1).await;
    assert_eq!(log[0]["attempts"].as_array().unwrap().len(), 80);
    let failure = status(&gateway).await["failures"][0].clone();
    assert_eq!(failure["request_id"], answer.header("x-sluice-request-id").unwrap());
    let kept = failure["attempts"].as_array().unwrap().len() as u64;
    assert!(kept > 0 && kept + failure["attempts_left_out"].as_u64().unwrap() == 80, "{failure}");
    let last = |entry: &Value| entry["attempts"].as_array().unwrap().last().cloned();
    assert_eq!(last(&failure), last(&log[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_and_traces_show_what_was_passed_over() {
    let (simulator, collector) = (Simulator::start().await, Collector::start().await);
    let config = Config::models(&simulator, 2)
        .without_admin_key()
        .set("traces.endpoint_url", collector.url())
        .set("traces.batch_delay", "20ms");
    let gateway = Gateway::start(&config).await;
    Ask::new(&gateway, "hello").send().await;
    drain(&gateway, BEST).await;
    Ask::new(&gateway, "hello").send().await;
    let told = format!("{BEST} drained");
    let spans = collector.has(4).await;
    let diverted = spans.iter().find(|span| span.get("sluice.passed_over") == told);
    let diverted = diverted.unwrap_or_else(|| panic!("{spans:#?}"));
    assert_eq!(diverted.get("sluice.fallback_reason"), "drained");
    assert_eq!(diverted.get("sluice.choice"), "other");
    let file = gateway.folder().join("access.log");
    let log = gateway.access_log(2).await;
    std::fs::write(&file, format!("{}\n{}\n", log[0], log[1])).unwrap();
    let (_, shown, _) = run_sluice(&["tail", file.to_str().unwrap(), "--fallback"]).await;
    assert_eq!(shown.lines().count(), 1, "{shown}");
    assert!(shown.trim_end().ends_with(&format!("(passed over {told})")), "{shown}");
}
