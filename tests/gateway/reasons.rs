//! Why an attempt failed and why a target is out: what an operator reads of each cause in the access
//! log, the process log, `/admin/targets`, `sluice tail` and traces.

use serde_json::Value;
use sluice::simulator::{Fault, FaultRule};

use crate::support::gateway::run_sluice;
use crate::support::patience::eventually;
use crate::support::{
    Ask, Authority, Collector, Config, Gateway, PRIMARY, Proxy, SECOND, Simulator, Terminator, http,
};

const FIRST: &str = "sonnet-35";
const OTHER: &str = "sonnet-35-v2";

/// One target, which a single failure ejects, and no time to wait for it.
fn ejected_at_once(simulator: &Simulator, endpoint: &str) -> Config {
    Config::models(simulator, 1)
        .set("upstream.endpoint_url", endpoint)
        .set("retry.attempts", 1)
        .set("fallback.eject_after", 1)
        .set("queue.max_wait", "0s")
}

/// Sends one request, which fails, and returns the reason as the access log has it. The process log,
/// `/admin/targets` and `/admin/status` must have the same reason and the request's id.
async fn reason(gateway: &Gateway) -> String {
    let answer = Ask::new(gateway, "hello").send().await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    let log = gateway.access_log(1).await;
    let reason = log[0]["attempts"][0]["error"].as_str().unwrap().to_owned();
    let told = answer.json()["message"].as_str().unwrap().to_owned();
    let message = log[0]["message"].as_str().unwrap().trim_end_matches('\u{2026}');
    assert!(!message.is_empty() && told.starts_with(message), "{log:?}");
    let request_id = answer.header("x-sluice-request-id").unwrap();
    let ejected = gateway.log_lines("target ejected").await;
    assert_eq!(ejected[0]["reason"], reason, "{ejected:?}");
    assert_eq!(ejected[0]["request_id"], request_id, "{ejected:?}");
    let status = http::get(&format!("{}/admin/status", gateway.admin_url())).await.json();
    for target in [gateway.target(FIRST).await, status["targets"][0].clone()] {
        let out = &target["out"];
        assert_eq!((&out["reason"], &out["message"]), (&"failed".into(), &reason.as_str().into()));
        assert_eq!(out["request_id"], request_id, "{target}");
        let time = |name: &str| out[name].as_str().unwrap().to_owned();
        assert!(time("since") < time("until"), "{target}");
    }
    reason
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_named() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&ejected_at_once(&simulator, "http://127.0.0.1:1")).await;
    assert_eq!(reason(&gateway).await, "connection refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_an_address_is_named() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&ejected_at_once(&simulator, "http://nowhere.invalid")).await;
    let reason = reason(&gateway).await;
    // Without a resolver it is not known whether there is such a host.
    let is_named = reason == "no such host: nowhere.invalid"
        || reason.starts_with("cannot resolve nowhere.invalid: ");
    assert!(is_named, "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_taken_is_described() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let simulator = Simulator::start().await;
    for (issued, trusted, host, wanted) in [
        (authority.server(), &authority, "127.0.0.2", "TLS: certificate is for localhost"),
        (
            authority.server(),
            &stranger,
            "localhost",
            "TLS: certificate is from an unknown authority",
        ),
        (authority.expired_server(), &authority, "localhost", "TLS: certificate has expired"),
    ] {
        let before = Terminator::start(&issued, &["h2"], simulator.address()).await;
        let endpoint = format!("https://{host}:{}", before.port());
        let config = ejected_at_once(&simulator, &endpoint);
        let gateway = Gateway::start(&config.set("upstream.ca_file", trusted.path())).await;
        let reason = reason(&gateway).await;
        assert!(reason.starts_with(wanted), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_server_in_place_of_tls_is_told() {
    let simulator = Simulator::start().await;
    let endpoint = simulator.url().replace("http://", "https://");
    let gateway = Gateway::start(&ejected_at_once(&simulator, &endpoint)).await;
    let reason = reason(&gateway).await;
    assert_eq!(reason, "TLS: the port does not speak TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_as_a_server_is_described_in_words_to_operator_and_client() {
    let authority = Authority::new();
    let issued = authority.self_signed();
    let simulator = Simulator::start().await;
    let before = Terminator::start(&issued, &["h2"], simulator.address()).await;
    let endpoint = format!("https://localhost:{}", before.port());
    let config = ejected_at_once(&simulator, &endpoint).set("upstream.ca_file", issued.cert());
    let gateway = Gateway::start(&config).await;
    let wanted = "certificate is that of an authority (CA), which can't be a server's own";
    assert_eq!(reason(&gateway).await, format!("TLS: {wanted}"));
    let log = gateway.access_log(1).await;
    let told = log[0]["message"].as_str().unwrap();
    assert!(told.contains(wanted) && !told.contains("OtherError"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_or_is_down_is_told_from_the_upstream() {
    let simulator = Simulator::start().await;
    let config = ejected_at_once(&simulator, "https://bedrock.test");
    let proxy = Proxy::start(simulator.address(), Some("Basic dXNlcjpwQHNz")).await;
    let url = format!("http://user:a-wrong-password@{}", proxy.address());
    let gateway = Gateway::start_with(&config, &[("HTTPS_PROXY", &url)]).await;
    assert_eq!(reason(&gateway).await, "proxy answered 407");
    let gateway = Gateway::start_with(&config, &[("HTTPS_PROXY", "http://127.0.0.1:1")]).await;
    assert_eq!(reason(&gateway).await, "proxy 127.0.0.1:1: connection refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_hangs_up_or_says_nothing_is_told_so() {
    let simulator = Simulator::start().await;
    let config = ejected_at_once(&simulator, simulator.url());
    simulator.strikes(PRIMARY, 1, Fault::CloseBeforeHead);
    let gateway = Gateway::start(&config).await;
    let closed = reason(&gateway).await;
    assert!(closed.starts_with("the upstream closed the connection"), "{closed}");
    simulator.strikes(PRIMARY, 1, Fault::HangBeforeHead);
    let gateway = Gateway::start(&config.set("upstream.first_byte_timeout", "1s")).await;
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!(answer.status, 408, "{}", answer.text());
    let log = gateway.access_log(1).await;
    let silent = "the upstream did not begin its answer within 1s";
    assert_eq!(log[0]["attempts"][0]["error"], silent, "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_says_what_was_throttled_until_when_and_for_which_request() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2).every_target("cooldown", "1s");
    let gateway = Gateway::start(&config).await;
    simulator.strikes(PRIMARY, 1, Fault::ThrottleTokens);
    let answer = Ask::new(&gateway, "hello").send().await;
    assert_eq!(answer.header("x-sluice-model"), Some(SECOND));
    let out = gateway.target(FIRST).await["out"].clone();
    assert_eq!(out["reason"], "throttled", "{out}");
    let message = out["message"].as_str().unwrap();
    assert!(message.starts_with("ThrottlingException: Too many tokens"), "{out}");
    assert_eq!(out["request_id"], answer.header("x-sluice-request-id").unwrap());
    let log = gateway.access_log(1).await;
    assert_eq!(log[0]["attempts"][0]["error"], message, "{log:?}");
    assert_eq!(log[0]["attempts"][1].get("error"), None, "{log:?}");
    assert_eq!(log[0].get("message"), None, "{log:?}");
    let cooled = gateway.log_lines("target cools down").await;
    assert_eq!((&cooled[0]["cause"], &cooled[0]["reason"]), (&out["reason"], &out["message"]));

    // Once it answers again, the outage is the last one.
    let model = async || {
        let answer = Ask::new(&gateway, "hello").send().await;
        answer.header("x-sluice-model").unwrap().to_owned()
    };
    eventually("the target is back", model, |model| model == PRIMARY).await;
    let target = gateway.target(FIRST).await;
    assert_eq!(target.get("out"), None, "{target}");
    assert_eq!(target["last_out"]["message"], message, "{target}");
    assert_eq!(target["last_out"]["since"], out["since"], "{target}");
    assert!(target["last_out"]["until"].as_str() > out["since"].as_str(), "{target}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fallback_denies_or_can_not_do_is_told() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 2).set("queue.max_wait", "0s");
    let gateway = Gateway::start(&config).await;
    simulator.throttles(PRIMARY, 1);
    simulator.strikes(SECOND, 1, Fault::Validation);
    Ask::new(&gateway, "hello").send().await;
    let log = gateway.access_log(1).await;
    let misfit = log[0]["attempts"][1]["error"].as_str().unwrap();
    assert!(misfit.starts_with("ValidationException: "), "{log:?}");

    simulator.add(FaultRule::always(Fault::AccessDenied).on(SECOND));
    let answer = Ask::new(&gateway, "hello").send().await;
    let log = gateway.access_log(2).await;
    let attempt = log[1]["attempts"][0].clone();
    assert_eq!(attempt["target"], OTHER, "{log:?}");
    let denied = attempt["error"].as_str().unwrap();
    assert!(denied.starts_with("AccessDeniedException: "), "{log:?}");
    let target = gateway.target(OTHER).await;
    assert_eq!(target["out"]["reason"], "denied", "{target}");
    assert_eq!(target["out"]["message"], format!("InvokeModel: {denied}"), "{target}");
    let request_id = answer.header("x-sluice-request-id").unwrap();
    assert_eq!(target["out"]["request_id"], request_id, "{target}");
    assert_eq!(target["denied"][0]["request_id"], request_id, "{target}");
    let logged = gateway.log_lines("target is misconfigured").await;
    assert_eq!(logged[0]["request_id"], request_id, "{logged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_target_says_so_and_since_when() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::models(&simulator, 2).without_admin_key()).await;
    let act = async |action: &str| {
        let url = format!("{}/admin/targets/{FIRST}/{action}", gateway.admin_url());
        assert_eq!(http::post(&url, &[], String::new()).await.status, 200);
    };
    act("drain").await;
    let out = gateway.target(FIRST).await["out"].clone();
    assert_eq!(out["reason"], "drained", "{out}");
    assert!(out["since"].is_string(), "{out}");
    assert_eq!((&out["until"], &out["request_id"]), (&Value::Null, &Value::Null), "{out}");
    act("resume").await;
    let target = gateway.target(FIRST).await;
    assert_eq!(target.get("out"), None, "{target}");
    assert_eq!(target["last_out"]["reason"], "drained", "{target}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_stall_are_the_reason_of_an_ejection() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("fallback.eject_after", 1)
        .set("upstream.idle_timeout", "150ms");
    let gateway = Gateway::start(&config).await;
    simulator.strikes(PRIMARY, 1, Fault::StallAfterFrames { frames: 3 });
    let answer = Ask::new(&gateway, "hello").stream().send().await;
    let log = gateway.access_log(1).await;
    assert!(log[0]["message"].as_str().unwrap().contains("stalled"), "{log:?}");
    let out = gateway.target(FIRST).await["out"].clone();
    assert_eq!(out["reason"], "stalled", "{out}");
    assert_eq!(out["request_id"], answer.header("x-sluice-request-id").unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_quotes_credentials_is_named_without_its_text() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::models(&simulator, 1)).await;
    let message = "got authorization: AWS4-HMAC-SHA256 Credential=AKIDQUOTED".to_owned();
    let name = "ValidationException".to_owned();
    simulator.strikes(PRIMARY, 1, Fault::Error { name, status: 400, message });
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 400);
    let log = gateway.access_log(1).await;
    assert_eq!(log[0]["attempts"][0]["error"], "ValidationException", "{log:?}");
    assert!(!gateway.output().contains("AKIDQUOTED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_and_traces_show_the_reasons() {
    let (simulator, collector) = (Simulator::start().await, Collector::start().await);
    let config = ejected_at_once(&simulator, "http://127.0.0.1:1")
        .set("traces.endpoint_url", collector.url())
        .set("traces.batch_delay", "20ms");
    let gateway = Gateway::start(&config).await;
    let answer = Ask::new(&gateway, "hello").send().await;
    let told = answer.json()["message"].as_str().unwrap().to_owned();
    let spans = collector.has(2).await;
    let messages: Vec<&str> = spans.iter().map(|span| span.get("error.message")).collect();
    assert!(messages.contains(&"connection refused"), "{spans:#?}");
    assert!(messages.contains(&&*told), "{spans:#?}");
    let file = gateway.folder().join("access.log");
    std::fs::write(&file, format!("{}\n", gateway.access_log(1).await[0])).unwrap();
    let (_, shown, _) = run_sluice(&["tail", file.to_str().unwrap()]).await;
    let end = format!("{told} ({FIRST} transient) {FIRST}: connection refused");
    assert!(shown.trim_end().ends_with(&end), "{shown}");
}
