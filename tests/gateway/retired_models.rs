//! Models that AWS has retired: their successors answer, unless the config keeps them, and operators are
//! told.

use serde_json::{Value, json};

use crate::support::gateway::run_sluice;
use crate::support::{Ask, Config, Gateway, MODELS, PRIMARY, Simulator, http};

/// The successor of [`PRIMARY`] in the region of the tests.
const SUCCESSOR: &str = "us.anthropic.claude-sonnet-4-6";

/// A model that is retired for good, and that has no successor.
const WITHOUT_SUCCESSOR: &str = "meta.llama3-1-405b-instruct-v1:0";

/// A route from a retired model to itself.
fn config(simulator: &Simulator, retired: &str) -> Config {
    Config::models(simulator, 1).set("catalogue.retired", retired)
}

/// The model that answers a request for the retired model, as the answer tells it and as the upstream
/// sees it.
async fn answerer(gateway: &Gateway, simulator: &Simulator) -> String {
    let before = simulator.log().len();
    let answer = Ask::new(gateway, "hello").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.header("x-sluice-model").unwrap().to_owned();
    assert_eq!(
        simulator.log()[before..].iter().filter_map(|call| call.model.clone()).collect::<Vec<_>>(),
        [told.as_str()]
    );
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn the_successor_of_a_retired_model_answers_in_its_place() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&config(&simulator, "replace")).await;
    assert_eq!(answerer(&gateway, &simulator).await, SUCCESSOR);
    let target = gateway.target("sonnet-35").await;
    assert_eq!(target["model"], SUCCESSOR, "{target}");
    assert_eq!(target["configured_model"], PRIMARY, "{target}");
    assert_eq!(target["retires_on"], "2026-03-01", "{target}");
    assert_eq!((&target["retired"], &target["replaced_by"]), (&json!(true), &json!(SUCCESSOR)));
    let of_model = [("target", "sonnet-35"), ("model", PRIMARY)];
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("sluice_model_retirement_seconds", &of_model), 1_772_323_200.0);
    let status = http::get(&format!("{}/admin/status", gateway.admin_url())).await.json();
    assert_eq!(status["targets"][0]["replaced_by"], SUCCESSOR, "{status}");
    let said = gateway.log_lines("target 'sonnet-35': AWS retired").await;
    let said = said[0]["message"].as_str().unwrap().to_owned();
    assert!(said.contains(PRIMARY) && said.contains("2026-03-01"), "{said}");
    assert!(said.ends_with(&format!("'{SUCCESSOR}' answers in its place")), "{said}");
    let logged = &gateway.access_log(1).await[0];
    assert_eq!(logged["model"], SUCCESSOR, "{logged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_model_that_is_kept_is_called() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&config(&simulator, "keep")).await;
    assert_eq!(answerer(&gateway, &simulator).await, PRIMARY);
    let target = gateway.target("sonnet-35").await;
    assert_eq!((&target["model"], &target["retired"]), (&json!(PRIMARY), &json!(true)));
    assert_eq!((&target["replaced_by"], &target["configured_model"]), (&Value::Null, &Value::Null));
    gateway.log_lines("target 'sonnet-35': AWS retired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_switches_between_a_retired_model_and_its_successor() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&config(&simulator, "replace")).await;
    for (retired, wanted) in [("keep", PRIMARY), ("replace", SUCCESSOR)] {
        gateway.reload(&config(&simulator, retired).to_toml()).await;
        assert_eq!(answerer(&gateway, &simulator).await, wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_successor_answers_for_a_retired_model_without_a_route_too() {
    let simulator = Simulator::start().await;
    for (retired, wanted) in [("replace", SUCCESSOR), ("keep", PRIMARY)] {
        let config = Config::without_routes(&simulator).set("catalogue.retired", retired);
        let gateway = Gateway::start(&config).await;
        assert_eq!(answerer(&gateway, &simulator).await, wanted);
        assert_eq!(answerer(&gateway, &simulator).await, wanted, "and the next time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_model_without_route_and_successor_is_logged_once() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::without_routes(&simulator)).await;
    for _ in 0..3 {
        Ask::new(&gateway, "hi").of(WITHOUT_SUCCESSOR).send().await;
    }
    gateway.access_log(3).await;
    let lines = gateway.log_lines("no route names this model").await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    let said = lines[0]["message"].as_str().unwrap();
    assert!(said.ends_with("AWS has retired, and no successor answers"), "{said}");
    assert_eq!(lines[0]["model"], WITHOUT_SUCCESSOR);
    assert_eq!(lines[0]["retires_on"], "2026-07-07");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_model_is_replaced_by_default() {
    let simulator = Simulator::start().await;
    let file = config(&simulator, "replace").to_toml().replace("retired = \"replace\"", "");
    let gateway = Gateway::start_from(|folder| {
        std::fs::write(folder.join("config.toml"), file).unwrap();
        folder.join("config.toml")
    })
    .await;
    assert_eq!(answerer(&gateway, &simulator).await, SUCCESSOR);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_of_retired_models() {
    let simulator = Simulator::start().await;
    let config = config(&simulator, "replace").set("targets.llama.model", WITHOUT_SUCCESSOR);
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("config.toml");
    std::fs::write(&path, config.route("llama", &["llama"]).to_toml()).unwrap();
    let arguments = ["check", "--syntax", "--config", path.to_str().unwrap()];
    let (status, said, _) = run_sluice(&arguments).await;
    assert!(status.success(), "{said}");
    let replaced = format!(
        "warning: target 'sonnet-35': AWS retired '{PRIMARY}' on 2026-03-01; '{SUCCESSOR}'"
    );
    assert!(said.contains(&replaced), "{said}");
    let lost = format!("'{WITHOUT_SUCCESSOR}' on 2026-07-07, and nothing answers in its place");
    assert!(said.contains(&lost), "{said}");
    let (_, said, _) = run_sluice(&[&arguments[..], &["--json"]].concat()).await;
    let document: Value = serde_json::from_str(&said).unwrap();
    let models = document["models"].as_array().unwrap();
    let of = |target: &str| models.iter().find(|it| it["target"] == target).unwrap().clone();
    let sonnet = of("sonnet-35");
    assert_eq!((&sonnet["model"], &sonnet["replaced_by"]), (&json!(PRIMARY), &json!(SUCCESSOR)));
    assert_eq!((&sonnet["retires_on"], &sonnet["retired"]), (&json!("2026-03-01"), &json!(true)));
    assert!(sonnet["days_left"].as_i64().unwrap() < 0, "{sonnet}");
    assert_eq!(of("llama")["replaced_by"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legacy_endpoints_keep_the_names_of_their_retired_models() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start_by_environment(&[
        ("SLUICE__SERVER__LISTEN", "127.0.0.1:0"),
        ("SLUICE__SERVER__ADMIN_LISTEN", "127.0.0.1:0"),
        ("SLUICE__UPSTREAM__ENDPOINT_URL", simulator.url()),
        ("AWS_ACCESS_KEY_ID", simulator.access_key_id()),
        ("AWS_SECRET_ACCESS_KEY", Simulator::SECRET),
        ("AWS_REGION", "us-east-1"),
    ])
    .await;
    let get = async |path: &str| http::get(&format!("{}{path}", gateway.url())).await.json();
    let status = get("/test_claude_connection").await["claude_status"].clone();
    assert_eq!(status["connected"], true, "{status}");
    assert_eq!(status["model"], "Claude 3.5 Sonnet (Primary)", "{status}");
    assert_eq!(status["model_id"], PRIMARY, "{status}");
    assert_eq!(status["fallback_models"], json!(MODELS[1..]), "{status}");
    assert_eq!(simulator.models_called(), [SUCCESSOR]);
    // The log names the model that answered.
    assert_eq!(gateway.access_log(1).await[0]["model"], SUCCESSOR);
    let models = get("/model_stats").await["stats"]["models"].clone();
    let ids: Vec<_> = models.as_array().unwrap().iter().map(|model| model["id"].clone()).collect();
    assert_eq!(ids, MODELS);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legacy_endpoints_send_no_temperature_to_a_model_that_takes_none() {
    let simulator = Simulator::start().await;
    for (model, wanted) in
        [("us.anthropic.claude-sonnet-5-5", Value::Null), (SUCCESSOR, json!(0.7))]
    {
        let config = Config::without_routes(&simulator).set("targets.a.model", model);
        let gateway = Gateway::start(&config.route(model, &["a"])).await;
        let url = format!("{}/test_claude_connection", gateway.url());
        let answer = http::get(&url).await.json();
        assert_eq!(answer["claude_status"]["connected"], true, "{answer}");
        let called = simulator.calls_to(model);
        let body: Value = serde_json::from_str(&called[0].body).unwrap();
        assert_eq!(body["temperature"], wanted, "{body}");
    }
}
