//! Who may call which endpoint, and where they are served.

use serde_json::{Value, json};
use sluice::simulator::{Latency, ModelSettings};

use super::setups::{Queue, queued};
use super::{analyze, get, post, task_path};
use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, PRIMARY, Redis, Simulator, http};

const KEY: &str = "team-a-bearer-key-0123456789";
const ADMIN: &str = "the-admin-key-0123456789";

async fn send(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> http::Response {
    let body = json!({ "session_id": "s", "section_name": "S", "content": "text" });
    http::post(&format!("{}{path}", gateway.url()), headers, body.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_clients_a_bearer_key_is_asked_for() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).client("team-a", "env:TEAM_A_KEY");
    let gateway = Gateway::start_with(&config, &[("TEAM_A_KEY", KEY)]).await;
    let missing = send(&gateway, "/analyze_section", &[]).await;
    assert_eq!(missing.status, 401);
    assert_eq!(missing.header("www-authenticate"), Some("Bearer"));
    assert_eq!(missing.json(), json!({ "success": false, "error": "A bearer key is required" }));
    let wrong = [("authorization", "Bearer team-b-bearer-key-0123456789")];
    let refused = send(&gateway, "/analyze_section", &wrong).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.json()["error"], "The bearer key is not valid");
    assert_eq!(get(&gateway, "/queue_stats").await.status, 401);
    assert!(simulator.log().is_empty());
    // Load balancers ask for health without a key.
    assert_eq!(get(&gateway, "/health").await.status, 200);

    let bearer = format!("Bearer {KEY}");
    let right = [("authorization", bearer.as_str())];
    assert_eq!(send(&gateway, "/analyze_section", &right).await.status, 200);
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("sluice_requests_total", &[("client", "team-a")]), 1.0);
    assert!(!gateway.output().contains(KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bedrock_api_asks_for_the_same_key() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).client("team-a", "env:TEAM_A_KEY");
    let gateway = Gateway::start_with(&config, &[("TEAM_A_KEY", KEY)]).await;
    let with = async |authorization: Option<&str>| {
        let ask = Ask::new(&gateway, "hi");
        match authorization {
            Some(text) => ask.header("authorization", text).send().await,
            None => ask.send().await,
        }
    };
    let cases = [
        (None, "MissingAuthenticationTokenException"),
        (Some("Bearer team-b-bearer-key-0123456789"), "AccessDeniedException"),
        (
            Some("AWS4-HMAC-SHA256 Credential=AKID/20261123/us-east-1/bedrock/aws4_request"),
            "IncompleteSignatureException",
        ),
    ];
    for (authorization, error) in cases {
        let answer = with(authorization).await;
        assert_eq!(answer.status, 403, "{error}");
        assert_eq!(answer.header("x-amzn-errortype"), Some(error));
    }
    assert!(simulator.log().is_empty());
    assert_eq!(with(Some(&format!("Bearer {KEY}"))).await.status, 200);
    assert_eq!(simulator.log().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_affect_others_can_require_the_admin_key() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator)
        .client("team-a", "env:TEAM_A_KEY")
        .set("server.admin_key", "env:ADMIN_KEY")
        .set("legacy.admin_only", vec!["cancel_task", "reset_model_cooldowns"])
        .set("jobs.backend", "sqlite");
    let folder = tempfile::tempdir().unwrap();
    let config = config.set("jobs.path", folder.path().join("jobs.db").to_str().unwrap());
    let variables = [("TEAM_A_KEY", KEY), ("ADMIN_KEY", ADMIN)];
    let gateway = Gateway::start_with(&config, &variables).await;
    let (client, admin) = (format!("Bearer {KEY}"), format!("Bearer {ADMIN}"));
    for path in ["/reset_model_cooldowns", "/cancel_task/abc"] {
        for headers in [vec![], vec![("authorization", client.as_str())]] {
            let refused = send(&gateway, path, &headers).await;
            assert_eq!(refused.status, 403, "{path}");
            assert_eq!(refused.json()["error"], "This call needs the admin key");
        }
    }
    assert_eq!(
        send(&gateway, "/reset_model_cooldowns", &[("authorization", &admin)]).await.status,
        200
    );
    let own_header = [("authorization", client.as_str()), ("x-sluice-admin-key", ADMIN)];
    assert_eq!(send(&gateway, "/reset_model_cooldowns", &own_header).await.status, 200);
    // The admin key is no client's.
    let as_client = send(&gateway, "/analyze_section", &[("authorization", &admin)]).await;
    assert_eq!(as_client.status, 401);
    assert!(!gateway.output().contains(ADMIN));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_its_clients_alone() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator)
        .client("team-a", "env:TEAM_A_KEY")
        .client("team-b", "env:TEAM_B_KEY");
    let other = "team-b-bearer-key-0123456789";
    let gateway = Gateway::start_with(&config, &[("TEAM_A_KEY", KEY), ("TEAM_B_KEY", other)]).await;
    let ask = async |path: &str, key: &str, body: Value| {
        let bearer = format!("Bearer {key}");
        let url = format!("{}{path}", gateway.url());
        http::post(&url, &[("authorization", &bearer)], body.to_string()).await
    };
    let chat = |message: &str| json!({ "session_id": "s", "message": message });
    let analysis = json!({ "session_id": "s", "section_name": "S", "content": "text" });
    assert_eq!(ask("/analyze_section", KEY, analysis.clone()).await.status, 200);
    assert_eq!(ask("/chat", KEY, chat("of team a")).await.status, 200);
    // By the same name it is not there for another one, nor when that begins one of this name.
    let refused = ask("/chat", other, chat("what was said?")).await;
    assert_eq!((refused.status, refused.json()["error"].clone()), (400, json!("Invalid session")));
    assert_eq!(ask("/analyze_section", other, analysis).await.status, 200);
    assert_eq!(ask("/chat", other, chat("what was said?")).await.status, 200);
    assert!(!simulator.log().last().unwrap().body.contains("of team a"));
    assert_eq!(ask("/chat", KEY, chat("again")).await.status, 200);
    assert!(simulator.log().last().unwrap().body.contains("of team a"));
    let forged = json!({ "session_id": "team-a\ns", "message": "what was said?" });
    assert_eq!(ask("/chat", other, forged).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_can_be_switched_off_and_all_have_an_address_of_their_own() {
    let simulator = Simulator::start().await;
    let config =
        Config::four_models(&simulator).set("legacy.endpoints", vec!["health", "analysis"]);
    let gateway = Gateway::start(&config).await;
    assert_eq!(get(&gateway, "/health").await.status, 200);
    assert_eq!(analyze(&gateway, "s", "S").await.status, 200);
    for path in ["/queue_stats", "/model_stats", "/test_claude_connection"] {
        let answer = get(&gateway, path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.header("x-amzn-errortype"), Some("UnknownOperationException"));
    }

    let off = Gateway::start(&Config::four_models(&simulator).set("legacy.enabled", false)).await;
    assert_eq!(get(&off, "/health").await.status, 404);

    let apart = Config::four_models(&simulator).set("legacy.listen", "127.0.0.1:0");
    let apart = Gateway::start(&apart).await;
    assert_eq!(get(&apart, "/health").await.status, 404);
    let url = format!("http://{}", apart.legacy_address());
    assert_eq!(http::get(&format!("{url}/health")).await.status, 200);
    // The Bedrock API is not there.
    let path = format!("/model/{}/invoke", crate::support::PRIMARY);
    assert_eq!(http::post(&format!("{url}{path}"), &[], "{}").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_the_bound_is_refused() {
    let simulator = Simulator::start().await;
    let gateway =
        Gateway::start(&Config::four_models(&simulator).set("server.max_body", "1KB")).await;
    let body = json!({ "session_id": "s", "section_name": "S", "content": "x".repeat(2000) });
    let answer = post(&gateway, "/analyze_section", &body).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["success"], Value::Bool(false));
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_its_clients_alone() {
    let other = "team-b-bearer-key-0123456789";
    for queue in [Queue::Sqlite, Queue::Redis(Redis::start().await)] {
        let simulator = Simulator::start().await;
        let folder = tempfile::tempdir().unwrap();
        let config = queued(&simulator, &queue, folder.path())
            .client("team-a", "env:TEAM_A_KEY")
            .client("team-b", "env:TEAM_B_KEY")
            .set("server.admin_key", "env:ADMIN_KEY");
        let variables = [("TEAM_A_KEY", KEY), ("TEAM_B_KEY", other), ("ADMIN_KEY", ADMIN)];
        let ask = async |gateway: &Gateway, method: &str, path: &str, key: &str| {
            let bearer = format!("Bearer {key}");
            let body = json!({ "session_id": "s", "section_name": "S", "content": "a secret" });
            let url = format!("{}{path}", gateway.url());
            let headers = [("authorization", bearer.as_str())];
            http::request(method, &url, &headers, body.to_string()).await.json()
        };
        let gateway = Gateway::start_with(&config, &variables).await;
        let up = async || ask(&gateway, "GET", "/queue_stats", KEY).await;
        eventually("the queue is reachable", up, |stats| stats["available"] == true).await;

        let accepted = ask(&gateway, "POST", "/analyze_section", KEY).await;
        let status = task_path("task_status", &accepted);
        let own = async || ask(&gateway, "GET", &status, KEY).await;
        let ended = eventually("it ends", own, |status| status["ready"] == true).await;
        assert_eq!(ended["state"], "SUCCESS", "{queue:?}");
        // Another reads it as one that nobody knows.
        let unknown = "/task_status/5f0f5f8e-3f5c-4a6e-9c39-0123456789ab";
        let mut unknown = ask(&gateway, "GET", unknown, other).await;
        unknown["task_id"] = accepted["task_id"].clone();
        assert_eq!(ask(&gateway, "GET", &status, other).await, unknown, "{queue:?}");

        // Nor can it cancel one, though it is told no more than of any id.
        let latency = Some(Latency { head_ms: 1000, token_ms: 0, jitter: 0.0 });
        simulator.limits(PRIMARY, ModelSettings { latency, ..ModelSettings::default() });
        let accepted = ask(&gateway, "POST", "/analyze_section", KEY).await;
        let cancel = task_path("cancel_task", &accepted);
        let told = ask(&gateway, "POST", &cancel, other).await;
        assert_eq!(told["success"], true);
        let status = task_path("task_status", &accepted);
        let own = async || ask(&gateway, "GET", &status, KEY).await;
        let ended = eventually("it ends", own, |status| status["ready"] == true).await;
        assert_eq!(ended["state"], "SUCCESS", "{queue:?}");

        // Its owner can.
        let accepted = ask(&gateway, "POST", "/analyze_section", KEY).await;
        ask(&gateway, "POST", &task_path("cancel_task", &accepted), KEY).await;
        let ended = ask(&gateway, "GET", &task_path("task_status", &accepted), KEY).await;
        assert_eq!(ended["state"], "REVOKED", "{queue:?}");
    }
}
