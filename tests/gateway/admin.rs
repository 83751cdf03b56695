//! The admin surface: who may read it, who may change something by it, and what it tells of secrets.

use serde_json::{Value, json};

use crate::support::gateway::{ADMIN_KEY, run_sluice};
use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, MODELS, PRIMARY, Simulator, http};

const KEY: &str = ADMIN_KEY;
const PATHS: [&str; 3] = ["/metrics", "/admin/targets", "/admin/config"];
const RESET: &str = "/admin/targets/sonnet-35/reset";

async fn with_key(simulator: &Simulator) -> Gateway {
    Gateway::with_four_models(simulator).await
}

async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> http::Response {
    http::request("GET", &format!("{}{path}", gateway.admin_url()), headers, "").await
}

async fn post(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> http::Response {
    http::post(&format!("{}{path}", gateway.admin_url()), headers, "").await
}

/// The changes that are logged, once there are so many.
async fn audit(gateway: &Gateway, count: usize) -> Vec<Value> {
    let look = async || {
        let output = gateway.output();
        let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line.get("audit").is_some()).collect::<Vec<Value>>()
    };
    eventually("the changes are logged", look, |lines| lines.len() >= count).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_admin_key_only_health_is_open() {
    let simulator = Simulator::start().await;
    let gateway = with_key(&simulator).await;
    for path in ["/healthz", "/readyz"] {
        let open = async || get(&gateway, path, &[]).await.status;
        eventually(path, open, |status| *status == 200).await;
    }
    let (bearer, wrong) = (format!("Bearer {KEY}"), format!("Bearer {KEY}0"));
    for path in PATHS {
        for headers in [vec![], vec![("authorization", wrong.as_str())]] {
            let refused = get(&gateway, path, &headers).await;
            assert_eq!(refused.status, 401, "{path}");
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
            assert!(refused.json()["message"].as_str().unwrap().contains("admin key"));
        }
        assert_eq!(get(&gateway, path, &[("authorization", &bearer)]).await.status, 200, "{path}");
        assert_eq!(get(&gateway, path, &[("x-sluice-admin-key", KEY)]).await.status, 200);
    }
    let metrics = get(&gateway, "/metrics", &[("x-sluice-admin-key", KEY)]).await.text();
    assert!(metrics.contains("sluice_admin_refused_total 6\n"), "{metrics}");
}

/// Curl 7.88 loses an answer behind which its stream is reset.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_still_sends_when_it_has_its_answer_is_not_interrupted() {
    let simulator = Simulator::start().await;
    let gateway = with_key(&simulator).await;
    for (path, status) in [("/admin/targets", 401), ("/healthz", 405), ("/nowhere", 404)] {
        let url = format!("{}{path}", gateway.admin_url());
        let piece = vec![b' '; 100].into();
        let seen = http::status_of_a_slow_post(&url, "application/json", &piece).await;
        assert_eq!(seen, status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_need_the_admin_key_and_are_logged_with_their_author() {
    let simulator = Simulator::start().await;
    let gateway = with_key(&simulator).await;
    simulator.throttles(PRIMARY, 1);
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
    let key = [("x-sluice-admin-key", KEY)];
    let state = async || {
        let targets = get(&gateway, "/admin/targets", &key).await.json();
        targets["targets"][0]["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state().await, "cooling");
    for headers in [[].as_slice(), &[("authorization", "Bearer another-key-0123456789")]] {
        assert_eq!(post(&gateway, RESET, headers).await.status, 401);
    }
    assert_eq!(get(&gateway, RESET, &key).await.status, 405);
    assert_eq!(state().await, "cooling");
    assert_eq!(post(&gateway, "/admin/targets/nobody/reset", &key).await.status, 404);
    let done = post(&gateway, RESET, &key).await;
    assert_eq!((done.status, done.json()["done"].clone()), (200, json!("reset_cooldown")));
    assert_ne!(state().await, "cooling");

    let lines = audit(&gateway, 3).await;
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for line in &lines {
        assert_eq!((&line["audit"], &line["on"]), (&json!("reset_cooldown"), &json!("sonnet-35")));
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    }
    let last = &lines[2];
    assert_eq!(
        (&last["by"], &last["message"]),
        (&json!("admin_key"), &json!("changed on request"))
    );
    assert_eq!(lines[0]["message"], "change refused");
    assert!(!gateway.output().contains(KEY));

    // Without a key in the config this machine can, and no other site's page in its browser.
    let keyless = Config::four_models(&simulator).without_admin_key();
    let keyless = Gateway::start(&keyless).await;
    let refused = post(&keyless, RESET, &[("origin", "https://evil.example")]).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("other sites"), "{}", refused.text());
    assert_eq!(post(&keyless, RESET, &[]).await.status, 200);
    let lines = audit(&keyless, 2).await;
    assert_eq!(lines.last().unwrap()["by"], "anyone", "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_by_the_legacy_endpoints_are_logged_with_their_author() {
    let simulator = Simulator::start().await;
    let team_key = "team-a-bearer-key-0123456789";
    let config = Config::four_models(&simulator)
        .client("team-a", "env:TEAM_A_KEY")
        .set("server.admin_key", "env:ADMIN_KEY")
        .set("legacy.admin_only", vec!["reset_model_cooldowns"]);
    let variables = [("TEAM_A_KEY", team_key), ("ADMIN_KEY", KEY)];
    let gateway = Gateway::start_with(&config, &variables).await;
    let bearer = format!("Bearer {team_key}");
    let as_client = [("authorization", bearer.as_str())];
    let url = |path: &str| format!("{}{path}", gateway.url());
    http::post(&url("/reset_model_cooldowns"), &as_client, "").await;
    http::post(&url("/reset_model_cooldowns"), &[("x-sluice-admin-key", KEY)], "").await;
    http::post(&url("/cancel_task/abc"), &as_client, "").await;
    let told: Vec<_> = audit(&gateway, 3)
        .await
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
            [text("audit"), text("on"), text("by")]
        })
        .collect();
    let line = |parts: [&str; 3]| parts.map(str::to_owned);
    assert_eq!(
        told,
        [
            line(["reset_cooldowns", "all targets", "-"]),
            line(["reset_cooldowns", "all targets", "admin_key"]),
            line(["cancel_task", "abc", "team-a"]),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_of_another_origin_gets_anything() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::four_models(&simulator).without_admin_key()).await;
    let origin = ("origin", "https://evil.example");
    let preflight = [origin, ("access-control-request-method", "POST")];
    for path in PATHS.into_iter().chain(["/healthz", RESET]) {
        let url = format!("{}{path}", gateway.admin_url());
        for (method, headers) in [("GET", &preflight[..1]), ("OPTIONS", &preflight)] {
            let answer = http::request(method, &url, headers, "").await;
            let names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
            assert!(!names.iter().any(|name| name.starts_with("access-control")), "{names:?}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{method} {path}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            let policy = answer.header("content-security-policy").unwrap();
            assert!(policy.contains("default-src 'none'"), "{policy}");
        }
    }
    // Nor by a name of its own that leads to this machine.
    let rebound = [("host", "evil.example:9090")];
    for path in ["/admin/targets", "/admin/config"] {
        assert_eq!(get(&gateway, path, &rebound).await.status, 403, "{path}");
        assert_eq!(get(&gateway, path, &[("host", "localhost")]).await.status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_admin_port_needs_a_key_and_check_says_so() {
    let simulator = Simulator::start().await;
    let keyless = Config::four_models(&simulator).without_admin_key();
    let outside = keyless.clone().set("server.admin_listen", "0.0.0.0:0");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, outside.to_toml()).unwrap();
    let check = ["check", "--offline", "--config", file.to_str().unwrap()];
    let (status, _, said) = run_sluice(&check).await;
    assert!(!status.success());
    assert!(said.contains("server.admin_listen: 0.0.0.0:0 can be reached from other"), "{said}");
    assert!(said.contains("'admin_key'") && said.contains("'open_metrics'"), "{said}");

    // Metrics alone can be opened; what they are is the operator's to say.
    let opened = Gateway::start(&outside.clone().set("server.open_metrics", true)).await;
    for (path, status) in [("/healthz", 200), ("/metrics", 200), ("/admin/targets", 403)] {
        assert_eq!(get(&opened, path, &[]).await.status, status, "{path}");
    }
    assert_eq!(post(&opened, RESET, &[]).await.status, 403);

    let config = outside.set("server.admin_key", "env:ADMIN_KEY");
    let gateway = Gateway::start_with(&config, &[("ADMIN_KEY", KEY)]).await;
    assert_eq!(get(&gateway, "/metrics", &[]).await.status, 401);
    let key = [("x-sluice-admin-key", KEY)];
    assert_eq!(get(&gateway, "/metrics", &key).await.status, 200);
    // A reload that would take the key away, since the listener is to move, does not open it.
    gateway.write(&keyless.to_toml());
    gateway.hang_up().await;
    gateway.log_lines("config reloaded").await;
    for path in PATHS {
        assert_eq!(get(&gateway, path, &[]).await.status, 403, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_config_is_shown_with_environment_values_and_without_secrets() {
    let simulator = Simulator::start().await;
    let digest = "a".repeat(64);
    let config = Config::four_models(&simulator)
        .client("team-a", "env:TEAM_A_KEY")
        .client("team-b", &format!("sha256:{digest}"))
        .set("server.admin_key", "env:ADMIN_KEY")
        .set("server.open_metrics", true)
        .set("state.redis_url", "env:REDIS_URL");
    let url = "redis://:hush-hush-0123456789@127.0.0.1:1/0";
    let secrets = [
        ("TEAM_A_KEY", "team-a-bearer-key-0123456789"),
        ("ADMIN_KEY", KEY),
        ("REDIS_URL", url),
        ("SLUICE__QUEUE__MAX_WAITING", "77"),
    ];
    let gateway = Gateway::start_with(&config, &secrets).await;
    let shown = get(&gateway, "/admin/config", &[("x-sluice-admin-key", KEY)]).await;
    let (json, text) = (shown.json(), shown.text());
    assert_eq!(json["targets"]["sonnet-35"]["model"], MODELS[0]);
    assert_eq!(json["queue"]["max_waiting"], 77);
    assert_eq!(json["retry"]["attempts"], 3, "defaults too");
    assert_eq!(json["clients"][0]["bearer_token"], "env:TEAM_A_KEY");
    assert_eq!(json["clients"][1]["bearer_token"], "(hidden)");
    assert_eq!(json["upstream"]["secret_access_key"], "env:SIM_SECRET");
    for secret in [secrets[0].1, KEY, "hush-hush", Simulator::SECRET, &digest] {
        assert!(!text.contains(secret), "{secret}");
    }
    // It is the one in force.
    gateway.reload(&config.set("retry.attempts", 2).to_toml()).await;
    let shown = get(&gateway, "/admin/config", &[("x-sluice-admin-key", KEY)]).await.json();
    assert_eq!(shown["retry"]["attempts"], 2);
}

/// Whatever form a scraper prefers.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_prometheus_text() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::four_models(&simulator)).await;
    Ask::new(&gateway, "hello").send().await;
    let key = ("x-sluice-admin-key", KEY);
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    for headers in [&[key][..], &[key, ("accept", accept)]] {
        let text = get(&gateway, "/metrics", headers).await;
        assert_eq!(text.header("content-type"), Some("text/plain; version=0.0.4"));
        assert!(text.text().contains("# TYPE sluice_requests_total counter\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_the_expiry_of_aws_credentials() {
    let simulator = Simulator::start().await;
    let folder = tempfile::tempdir().unwrap();
    let [keys, profiles] = ["keys.json", "profiles"].map(|name| folder.path().join(name));
    let given = json!({
        "Version": 1,
        "AccessKeyId": simulator.access_key_id(),
        "SecretAccessKey": Simulator::SECRET,
        "SessionToken": "a-session-token",
        "Expiration": "2100-01-01T00:00:00Z",
    });
    std::fs::write(&keys, given.to_string()).unwrap();
    let process = format!("[profile p]\ncredential_process = cat {}\n", keys.display());
    std::fs::write(&profiles, process).unwrap();
    let config = Config::four_models(&simulator).without_credentials().set("upstream.profile", "p");
    let profiles = profiles.to_str().unwrap();
    let gateway = Gateway::start_with(&config, &[("AWS_CONFIG_FILE", profiles)]).await;
    let status = async || Ask::new(&gateway, "hello").send().await.status;
    eventually("the credentials are there", status, |status| *status == 200).await;
    let labels = [("credentials", "profile p")];
    let end = gateway.metrics().await.sum("sluice_credentials_expiry_seconds", &labels);
    assert_eq!(end, 4_102_444_800.0);
    let gateway = Gateway::start(&Config::four_models(&simulator)).await;
    assert!(!gateway.metrics().await.has("sluice_credentials_expiry_seconds"));
}
