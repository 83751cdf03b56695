//! No secret leaves a gateway, and nothing that was asked or answered is kept by it.
//!
//! Every gateway of every test is searched at its end, and every answer; see `support::leaks`. Here it
//! is driven into errors of each kind, with all that is a secret planted, and at the level of log that
//! tells most.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::json;
use sluice::simulator::Fault;

use crate::support::clients::Job;
use crate::support::collector::DeliveryResponse;
use crate::support::gateway::{ADMIN_KEY, SESSION_TOKEN, run_sluice, sluice};
use crate::support::patience::eventually;
use crate::support::raw::Connection;
use crate::support::upstream::{BareUpstream, UpstreamAction};
use crate::support::{
    Ask, Authority, Call, Client, Collector, Config, Dialer, Gateway, PRIMARY, Redis, Simulator,
    bodies, http, leaks,
};

const ID: &str = "SLUICEKEYOFTEAMA";
const SECRET: &str = "the-secret/of+team-a=0123456789";
const BEARER: &str = "the-bearer-key-of-team-b-0123456789";
const PROXY_PASSWORD: &str = "the-password-of-the-proxy-0123";
const VARIABLES: [(&str, &str); 4] = [
    ("TEAM_A_SECRET", SECRET),
    ("TEAM_B_KEY", BEARER),
    ("OLD_KEY", "the-old-key-of-team-c-0123"),
    ("COLLECTOR_KEY", "the-key-of-the-collector-0123"),
];

/// All kinds of secrets in one config, and a log that tells all.
fn everything(simulator: &Simulator) -> Config {
    Config::four_models(simulator)
        .client_that_signs("team-a", ID, "TEAM_A_SECRET")
        .client("team-b", "env:TEAM_B_KEY")
        .client_with(
            "name = 'team-c'\nbearer_tokens = [{ token = 'env:OLD_KEY', \
             expires = '2020-01-01T00:00:00Z' }]",
        )
        .of_client("daily_budget_usd", 1)
        .set("queue.max_wait", "200ms")
        .set("upstream.first_byte_timeout", "300ms")
        .set("log.level", "trace")
        .set("usage_log.enabled", true)
}

/// Every fault of the simulator that is an answer, and some that are none.
fn faults() -> Vec<Fault> {
    let error = |name: &str, status| Fault::Error {
        name: name.to_owned(),
        status,
        message: "no".to_owned(),
    };
    vec![
        Fault::Throttle,
        Fault::ThrottleTokens,
        Fault::ThrottleDaily,
        Fault::ServiceQuotaExceeded,
        Fault::ModelNotReady,
        Fault::ServiceUnavailable,
        Fault::Internal,
        Fault::ModelTimeout,
        Fault::ModelError,
        Fault::Validation,
        Fault::AccessDenied,
        Fault::NotFound,
        Fault::ExpiredToken,
        Fault::InvalidSignature,
        error("UnrecognizedClientException", 403),
        error("MissingAuthenticationTokenException", 403),
        error("SomethingElse", 418),
        Fault::Html502,
        Fault::HangBeforeHead,
        Fault::ResetBeforeHead,
        Fault::CloseBeforeHead,
        Fault::GarbageHead,
        Fault::ShortBody,
        Fault::ResetMidBody,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_error_log_metric_or_admin_output() {
    let (simulator, redis) = (Simulator::start().await, Redis::start().await);
    leaks::secret(PROXY_PASSWORD);
    // It quotes what it is sent.
    let collector = Collector::start().await;
    collector.respond_with(DeliveryResponse::Refuse);
    let config = everything(&simulator)
        .set("traces.endpoint_url", collector.url())
        .set("traces.headers.authorization", "env:COLLECTOR_KEY")
        .set("jobs.backend", "redis")
        .set("jobs.redis_url", redis.reference())
        .set("state.redis_url", redis.reference());
    let gateway = Gateway::start_with(&config, &VARIABLES).await;

    // Answered and refused upstream, for a client that signs and one that does not.
    let calls: Vec<Call> = Call::routed(PRIMARY, "hello").into();
    for client in [Client::Boto3, Client::JavaScript] {
        client.run(Job::new(&gateway.url(), calls.clone()).signed_by(ID, SECRET)).await;
        let wrong = Job::new(&gateway.url(), calls.clone());
        client.run(wrong.signed_by(ID, "not-the-secret-0123456789")).await;
    }
    for fault in faults() {
        for ask in [Ask::new(&gateway, "hello"), Ask::new(&gateway, "hello").stream()] {
            simulator.strikes(PRIMARY, 1, fault.clone());
            ask.bearer(BEARER).send().await;
        }
        let key = [("x-sluice-admin-key", ADMIN_KEY)];
        let reset = format!("{}/admin/targets/sonnet-35/reset", gateway.admin_url());
        http::post(&reset, &key, "").await;
    }
    // Presented where it does not belong, or in a form that is not known.
    let base64 = "dGVhbS1iOnRoZS1iZWFyZXIta2V5LW9mLXRlYW0tYi0wMTIzNDU2Nzg5";
    for authorization in [
        format!("Bearer {ADMIN_KEY}"),
        format!("Bearer {}", VARIABLES[2].1),
        format!("Bearer  {BEARER} {BEARER}"),
        format!("Basic {base64}"),
        format!("Token {BEARER}"),
        BEARER.to_owned(),
        format!("AWS4-HMAC-SHA256 Credential={ID}/20261124/us-east-1/bedrock/aws4_request"),
        format!("AWS4-HMAC-SHA256 Credential={ID}/x/{SECRET}, SignedHeaders=host, Signature=00"),
    ] {
        let ask = Ask::new(&gateway, "hello").header("authorization", authorization.as_str());
        ask.send().await;
        let headers = [("authorization", authorization.as_str())];
        for path in ["/analyze_section", "/queue_stats", "/reset_model_cooldowns", "/nowhere"] {
            http::post(&format!("{}{path}", gateway.url()), &headers, "{}").await;
            http::request("GET", &format!("{}{path}", gateway.url()), &headers, "").await;
        }
        for path in ["/metrics", "/admin/targets", "/admin/config", "/admin/targets/x/reset"] {
            http::post(&format!("{}{path}", gateway.admin_url()), &headers, "").await;
            http::request("GET", &format!("{}{path}", gateway.admin_url()), &headers, "").await;
        }
    }
    // Requests that are none, with a key in them.
    for bad in [
        format!("POST /model/x/invoke HTTP/1.1\r\nauthorization: Bearer {BEARER}\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nhost: x\r\nauthorization Bearer {BEARER}\r\n\r\n"),
        format!("POST / HTTP/9.9\r\nauthorization: Bearer {BEARER}\r\n\r\n"),
        format!(
            "POST /model/{PRIMARY}/invoke HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {BEARER}\r\n\
             content-length: 5\r\ntransfer-encoding: chunked\r\n\r\nhello"
        ),
        format!(
            "POST /model/{PRIMARY}/invoke HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {BEARER}\r\n\
             content-length: 8\r\n\r\nnonsense"
        ),
    ] {
        let mut connection = Connection::open(gateway.address()).await;
        connection.send(bad.as_bytes()).await;
        if let Some(response) = connection.response().await {
            leaks::none_in("an answer", &format!("{response:?}"));
        }
    }
    // What a job came to, and a store that goes.
    let bearer = format!("Bearer {BEARER}");
    let submit = async || {
        let body = json!({ "session_id": "s", "section_name": "S", "content": "text" });
        let url = format!("{}/analyze_section", gateway.url());
        http::post(&url, &[("authorization", &bearer)], body.to_string()).await.json()
    };
    let id = submit().await["task_id"].as_str().unwrap().to_owned();
    let headers = [("authorization", bearer.as_str())];
    let status = format!("{}/task_status/{id}", gateway.url());
    let ready = async || http::request("GET", &status, &headers, "").await.json()["ready"] == true;
    eventually("the job's end", ready, |ready| *ready).await;
    redis.stop();
    submit().await;
    let down = async || {
        let labels = [("dependency", "budgets")];
        gateway.metrics().await.sum("sluice_dependency_up", &labels)
    };
    eventually("the store is gone", down, |up| *up == 0.0).await;
    // A config in which secrets stand where references belong.
    for wrong in [
        config.clone().set("server.admin_key", ADMIN_KEY),
        config.clone().set("upstream.session_token", SESSION_TOKEN),
        config.clone().set("jobs.redis_url", redis.url()),
        config.clone().set("upstream.proxy", format!("http://u:{PROXY_PASSWORD}@127.0.0.1:1")),
        config.clone().client("team-d", BEARER),
        config.clone().set("traces.headers.authorization", VARIABLES[3].1),
        config.clone().set("traces.endpoint_url", format!("http://u:{PROXY_PASSWORD}@127.0.0.1:1")),
    ] {
        gateway.reload(&wrong.to_toml()).await;
    }
    for broken in [
        format!("[server]\nadmin_key = '{ADMIN_KEY}\n"),
        format!("[server]\nadmin_key = {ADMIN_KEY}\n"),
        format!("[server]\nadmin_kee = '{ADMIN_KEY}'\n"),
        format!("[server]\n'{ADMIN_KEY}' = 1\n[server]\n"),
        format!("[[clients]]\nname = '{BEARER} {BEARER}'\nbearer_token = ['{BEARER}']\n"),
    ] {
        gateway.reload(&broken).await;
    }
    assert!(gateway.reloads("refused").await >= 12.0);
    gateway.log_lines("trace collector unavailable").await;
    let mut gateway = gateway;
    gateway.terminate().await;
    gateway.ended().await;
    let output = gateway.output();
    assert!(output.contains("TRACE") && output.len() > 100_000, "{} bytes", output.len());
    println!("{} bytes of log were searched", output.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_error_that_quotes_the_signed_request_is_not_relayed() {
    let simulator = Simulator::start().await;
    let upstream = BareUpstream::start(|_, _| UpstreamAction::RefuseSignature).await;
    let config = Config::models(&simulator, 1).set("upstream.endpoint_url", upstream.url());
    let gateway = Gateway::start(&config.set("log.level", "debug")).await;
    for _ in 0..3 {
        let ask = Ask::new(&gateway, "hello");
        let answer = ask.header("x-amz-security-token", "of-the-client").send().await;
        assert_eq!(answer.status, 403);
        assert_eq!(answer.header("x-amzn-errortype"), Some("InvalidSignatureException"));
        assert_eq!(answer.header("x-amzn-requestid"), Some("r-1"));
        assert!(answer.text().contains("refused the credentials of this gateway"));
    }
    let head = &upstream.seen()[0].head;
    assert!(head.contains(SESSION_TOKEN) && !head.contains("of-the-client"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_proxy_is_reported_without_its_password() {
    let simulator = Simulator::start().await;
    let proxy = format!("http://user:{PROXY_PASSWORD}@127.0.0.1:1");
    let config = Config::models(&simulator, 1)
        .set("upstream.proxy", "env:PROXY_URL")
        .set("log.level", "debug");
    let gateway = Gateway::start_with(&config, &[("PROXY_URL", &proxy)]).await;
    let answer = Ask::new(&gateway, "hello").send().await;
    assert!(answer.status >= 500, "{}", answer.text());
    let output = run_sluice_with(&config, &[("PROXY_URL", &proxy)]).await;
    leaks::none_in("the check", &output);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_key_never_appears_in_any_output() {
    let (simulator, authority) = (Simulator::start().await, Authority::new());
    let issued = authority.server();
    let config = Config::models(&simulator, 1).tls(&issued).set("log.level", "trace");
    let gateway = Gateway::start(&config).await;
    let dialed = Dialer::trusting(&authority).dial(gateway.address()).await;
    let mut connection: Connection = dialed.unwrap().connection;
    connection.send(Ask::new(&gateway, "hello").into_http1().as_bytes()).await;
    assert_eq!(connection.response().await.unwrap().status, 200);
    // Half a key, and a key in the place of the certificate.
    let key = std::fs::read_to_string(issued.key()).unwrap();
    let refused = async || {
        let result = [("result", "refused")];
        gateway.metrics().await.sum("sluice_tls_reloads_total", &result)
    };
    std::fs::write(issued.key(), &key[..key.len() / 2]).unwrap();
    gateway.hang_up().await;
    eventually("the refusal", refused, |count| *count >= 1.0).await;
    std::fs::write(issued.cert(), &key).unwrap();
    gateway.hang_up().await;
    eventually("the refusal", refused, |count| *count >= 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_and_answers_are_not_logged() {
    let simulator = Simulator::start().await;
    let marker = "words-of-a-user-8f2c1d";
    let config =
        Config::four_models(&simulator).set("log.level", "trace").set("usage_log.enabled", true);
    let gateway = Gateway::start(&config).await;
    // The simulator says the prompt again, so that the answers have it too.
    let mut calls: Vec<Call> = Call::routed(PRIMARY, marker).into();
    calls.push(Call::apply_guardrail(marker));
    for client in [Client::Boto3, Client::JavaScript] {
        let answers = client.run(Job::new(&gateway.url(), calls.clone())).await;
        assert!(format!("{answers:?}").contains(marker));
    }
    for fault in faults() {
        simulator.strikes(PRIMARY, 1, fault);
        Ask::new(&gateway, marker).send().await;
    }
    let bad = format!("{{\"messages\": [\"{marker}\"");
    assert_eq!(Ask::new(&gateway, "").body(bad).send().await.status, 400);
    for path in ["/analyze_section", "/chat"] {
        let body = json!({
            "session_id": marker, "section_name": marker, "content": marker,
            "query": marker, "message": marker, "current_section": marker,
        });
        http::post(&format!("{}{path}", gateway.url()), &[], body.to_string()).await;
    }
    http::post(&format!("{}/chat", gateway.url()), &[], bodies::messages(marker, 1)).await;
    gateway.access_log(10).await;
    for (path, answer) in leaks::admin_output(gateway.admin_address()) {
        assert!(!leaks::holds(&answer, marker), "{path}: {answer}");
    }
    let recorded = async || gateway.usage_records();
    let records = eventually("records of use", recorded, |records| records.lines().count() >= 10);
    assert!(!leaks::holds(&records.await, marker));
    let file = std::fs::metadata(gateway.folder().join("usage.jsonl")).unwrap();
    assert_eq!(file.permissions().mode() & 0o137, 0, "nobody else reads it");
    let output = gateway.output();
    assert!(output.contains("TRACE"));
    let told: Vec<&str> = output.lines().filter(|line| leaks::holds(line, marker)).collect();
    assert!(told.is_empty(), "{told:#?}");
}

/// The search itself: what is there, it finds.
#[tokio::test(flavor = "multi_thread")]
async fn the_leak_search_finds_what_is_printed() {
    let simulator = Simulator::start().await;
    let told = "a-name-that-everybody-sees";
    let config = Config::four_models(&simulator)
        .client(told, "env:TEAM_B_KEY")
        .of_client("allowed_models", vec![PRIMARY]);
    let gateway = Gateway::start_with(&config, &VARIABLES).await;
    assert_eq!(Ask::new(&gateway, "hello").bearer(BEARER).send().await.status, 200);
    let answer = Ask::new(&gateway, "hello").of(told).bearer(BEARER).send().await;
    assert!(leaks::holds(&answer.text(), told), "{}", answer.text());
    gateway.access_log(2).await;
    assert!(leaks::holds(&gateway.output(), told));
    let admin = leaks::admin_output(gateway.admin_address());
    let holding: Vec<_> =
        admin.iter().filter(|it| leaks::holds(&it.1, told)).map(|it| it.0).collect();
    assert!(["/metrics", "/admin/config"].iter().all(|path| holding.contains(path)), "{holding:?}");
    for (text, secret) in [
        ("x the-secret/of+team x", "the-secret/of+team"),
        ("x the-secret%2Fof%2Bteam x", "the-secret/of+team"),
        (r#"{"x":"a\"quoted\"secret"}"#, "a\"quoted\"secret"),
        ("Basic dGhlLXNlY3JldC9vZit0ZWFt", "the-secret/of+team"),
    ] {
        assert!(leaks::holds(text, secret), "{text}");
    }
    assert!(!leaks::holds("the-secret of team", "the-secret/of+team"));
}

async fn run_sluice_with(config: &Config, variables: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, config.to_toml()).unwrap();
    let output = sluice()
        .args(["check", "--config", file.to_str().unwrap()])
        .envs(variables.iter().copied())
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), output).await.unwrap().unwrap();
    let offline = run_sluice(&["check", "--offline", "--config", file.to_str().unwrap()]).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{} {} {} {}", text(&output.stdout), text(&output.stderr), offline.1, offline.2)
}
