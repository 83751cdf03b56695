//! `sluice check`: what it asks, what it needs for that, and how it tells people and programs of it.

use serde_json::{Value, json};

use crate::support::certificates::Authority;
use crate::support::collector::Collector;
use crate::support::gateway::run_sluice;
use crate::support::issuer::{Issuer, TokenKey};
use crate::support::redis::Redis;
use crate::support::{Config, Simulator};

struct Checked {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Checked {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("{}", self.stdout))
    }
}

async fn check(config: &str, more: &[&str]) -> Checked {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("config.toml");
    std::fs::write(&path, config).unwrap();
    let arguments = [&["check", "--config", path.to_str().unwrap()], more].concat();
    let (status, stdout, stderr) = run_sluice(&arguments).await;
    let name = path.display().to_string();
    let [stdout, stderr] = [stdout, stderr].map(|text| text.replace(&name, "config.toml"));
    Checked { code: status.code().unwrap(), stdout, stderr }
}

/// A config whose secrets and files are elsewhere.
const ELSEWHERE: &str = "
[server]
admin_listen = '0.0.0.0:9090'
admin_key = 'file:/nowhere/admin-key'
[server.tls]
cert = '/nowhere/tls.crt'
key = '/nowhere/tls.key'
client_ca = '/nowhere/clients.crt'
[upstream]
access_key_id = 'env:NOT_HERE_ID'
secret_access_key = 'env:NOT_HERE'
ca_file = '/nowhere/ca.crt'
trust = 'file'
proxy = 'env:NOT_HERE'
[targets.a]
model = 'amazon.nova-lite-v1:0'
bearer_token = 'env:NOT_HERE'
[targets.b]
model = 'amazon.nova-pro-v1:0'
[[routes]]
models = ['amazon.nova-*']
targets = ['a', 'b']
[[clients]]
name = 'one'
bearer_token = 'env:NOT_HERE'
[[clients]]
name = 'two'
keys = [{ access_key_id = 'TWO', secret_access_key = 'file:/nowhere/two' }]
[state]
backend = 'redis'
redis_url = 'env:NOT_HERE'
[traces]
endpoint_url = 'http://localhost:4317'
headers = { authorization = 'env:NOT_HERE' }
[legacy.prompts]
analysis = 'file:/nowhere/analysis.jinja'
";

#[tokio::test(flavor = "multi_thread")]
async fn the_syntax_is_checked_without_what_the_config_names() {
    let checked = check(ELSEWHERE, &["--syntax"]).await;
    assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);
    let ok = "config: config.toml: ok, 2 targets, 1 route, 2 clients\n";
    assert!(checked.stdout.ends_with(ok), "{}", checked.stdout);
    assert_eq!(check(ELSEWHERE, &["--offline"]).await.code, 1);
    // What is wrong in the file itself is still found.
    for (good, bad, wanted) in [
        ("'env:NOT_HERE_ID'", "5", "upstream.access_key_id: must be"),
        ("'file:/nowhere/two'", "'a-literal-secret'", "takes a reference, not the secret itself"),
        ("['a', 'b']", "['a', 'c']", "no target is named 'c'"),
        ("name = 'two'", "name = 'one'", "'one' is the name of clients[0]"),
        ("trust = 'file'", "trust = 'flie'", "did you mean 'file'?"),
    ] {
        let checked = check(&ELSEWHERE.replacen(good, bad, 1), &["--syntax"]).await;
        assert_eq!(checked.code, 1, "{bad}: {}", checked.stdout);
        assert!(checked.stderr.contains(wanted), "{bad}: {}", checked.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn problems_have_file_line_column_path_and_message_as_json() {
    let config = "[server]\nlisen = 'x'\n[fallback]\nunrouted = 'deny'\n";
    let checked = check(config, &["--json", "--syntax"]).await;
    assert_eq!(checked.code, 1);
    assert_eq!(
        checked.json(),
        json!({
            "ok": false,
            "config": "config.toml",
            "problems": [
                {
                    "file": "config.toml", "line": 2, "column": 1, "path": "server.lisen",
                    "message": "unknown key 'lisen' in [server]; did you mean 'listen'?",
                },
                {
                    "file": "config.toml", "line": 4, "column": 1, "path": "fallback.unrouted",
                    "message": "fallback.unrouted: must be one of \"pass\", \"reject\", not \"deny\"",
                },
            ],
            "warnings": [],
            "models": [],
            "checks": [],
        })
    );
    let simulator = Simulator::start().await;
    let good = Config::four_models(&simulator).to_toml();
    let checked = check(&good, &["--json", "--probe"]).await;
    let document = checked.json();
    assert_eq!((checked.code, &document["ok"]), (0, &json!(true)), "{document}");
    assert_eq!(document["summary"], json!({ "targets": 4, "routes": 1, "clients": 0 }));
    let called = &document["targets"].as_array().unwrap()[0];
    assert_eq!((&called["target"], &called["endpoint"]), (&json!("sonnet-35"), &json!("runtime")));
    assert_eq!(called["surfaces"], json!(["invoke_model", "converse"]));
    let kinds = document["checks"].as_array().unwrap().iter().map(|check| &check["kind"]);
    let targets = kinds.filter(|kind| **kind == json!("target")).count();
    assert_eq!(targets, 4, "{document}");
    let missing = run_sluice(&["check", "--json", "--config", "/nowhere/config.toml"]).await;
    let document: Value = serde_json::from_str(&missing.1).unwrap();
    assert_eq!(document["problems"][0]["file"], "/nowhere/config.toml", "{document}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_line_is_shown_with_a_caret_and_a_duplicate_with_both_lines() {
    for (config, wanted) in [
        ("[server]\nmax_body == '25MB'\n", "\n2 | max_body == '25MB'\n  |           ^\n"),
        (
            "[targets.a]\nmodel = 'm'\n\n[targets.a]\n",
            "sluice: config.toml:4:10: [targets.a] is defined twice; the first definition is in line 1\n",
        ),
        (
            "[retry]\nattempts = 2\nattempts = 3\n",
            "sluice: config.toml:3:1: retry.attempts is set twice; the first value is in line 2\n",
        ),
        (
            "[server]\nlisen = 1\nunrouted = 'deny'\n",
            "sluice: config.toml has 2 problems:\nconfig.toml:2:1: unknown key 'lisen'",
        ),
    ] {
        let checked = check(config, &["--syntax"]).await;
        assert!(checked.stderr.contains(wanted), "{config}: {}", checked.stderr);
    }
    let secret = check("[upstream]\nbearer_token = = 'hush'\n", &["--syntax"]).await;
    assert!(secret.code == 1 && !secret.stderr.contains("hush"), "{}", secret.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_asks_each_target_by_a_surface_that_it_has() {
    let simulator = Simulator::start().await;
    let (claude, gpt) = ("us.anthropic.claude-sonnet-5-5", "us.openai.gpt-5.6-sol");
    let config = Config::without_routes(&simulator)
        .set("targets.native.model", claude)
        .set("targets.messages.model", claude)
        .set("targets.messages.surfaces", vec!["messages"])
        .set("targets.responses.model", gpt)
        .set("targets.responses.surfaces", vec!["responses"])
        .set("targets.mantle.model", "openai.gpt-5.6-sol")
        .set("targets.mantle.endpoint", "mantle")
        .set("targets.embed.model", "amazon.titan-embed-text-v2:0")
        .route(claude, &["native", "messages"]);
    let checked = check(&config.to_toml(), &["--probe"]).await;
    assert_eq!(checked.code, 0, "{} {}", checked.stdout, checked.stderr);
    for (target, verdict) in [
        ("native", "ok"),
        ("messages", "ok, by CreateMessage"),
        ("responses", "ok, by CreateResponse"),
        ("mantle", "ok, by CreateChatCompletion"),
        ("embed", "ok, by InvokeModel"),
    ] {
        let of_target = format!("target {target} (");
        let line = checked.stdout.lines().find(|line| line.starts_with(&of_target));
        assert!(line.unwrap().ends_with(&format!("): {verdict}")), "{line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_asks_redis_issuers_collector_and_databases() {
    let simulator = Simulator::start().await;
    let (redis, collector) = (Redis::start().await, Collector::start().await);
    let (authority, key) = (Authority::new(), TokenKey::ec("one"));
    let issuer = Issuer::start(&authority, &[&key]).await;
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("jobs.db");
    let response_key = folder.path().join("response-key");
    std::fs::write(&response_key, "what-encrypts-responses-in-tests").unwrap();
    let config = |redis: &Redis, collector: &str, database: &std::path::Path| {
        Config::models(&simulator, 1)
            .set("upstream.ca_file", authority.path())
            .set("state.backend", "redis")
            .set("state.redis_url", redis.reference())
            .set("jobs.backend", "sqlite")
            .set("jobs.path", database.to_str().unwrap())
            .set("response_store.backend", "redis")
            .set("response_store.redis_url", redis.reference())
            .set("response_store.keys", vec![format!("file:{}", response_key.display())])
            .set("traces.endpoint_url", collector)
            .issuer(&issuer.url(), "")
            .client_with("name = 'a'\nidentities = [{ issuer = 'corp', value = 'a' }]")
            .to_toml()
    };
    let checked = check(&config(&redis, &collector.url(), &database), &["--probe"]).await;
    let said = format!("{}{}", checked.stdout, checked.stderr);
    assert_eq!(checked.code, 0, "{said}");
    for line in [
        "\nredis: state: ok\n",
        "\nredis: budgets: ok\n",
        "\nredis: responses: ok\n",
        "\nissuer: corp: ok, 1 key\n",
        "\ncollector: http://",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(said.contains("database: jobs: ok") && said.contains("creates it"), "{said}");
    assert!(!database.exists());

    issuer.breaks(true);
    let absent = Redis::absent();
    let nowhere = std::path::Path::new("/nowhere/jobs.db");
    let bad = config(&absent, "http://127.0.0.1:1", nowhere);
    let checked = check(&bad, &["--probe", "--json"]).await;
    let document = checked.json();
    let checks = document["checks"].as_array().unwrap();
    let failed: Vec<&str> = checks
        .iter()
        .filter(|check| check["ok"] == json!(false))
        .map(|check| check["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        failed,
        ["redis", "redis", "database", "redis", "issuer", "collector"],
        "{document}"
    );
    assert_eq!(checked.stderr, "sluice: 6 checks failed\n");
}
