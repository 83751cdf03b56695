//! What is known of models: shown with its source, corrected by a file of the operator's, kept current.

use std::path::Path;

use serde_json::{Value, json};
use sluice::simulator::ModelSettings;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::gateway::run_sluice;
use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, MODELS, Simulator, http};

const RETIRED: &str = "anthropic.claude-3-5-sonnet-20240620-v1:0";
const SUCCESSOR: &str = "us.anthropic.claude-sonnet-4-6";

fn file(date: &str, rows: &Value) -> String {
    json!({ "format": 1, "date": date, "runtime": rows }).to_string()
}

/// A config whose one target has a retired model, and whose catalogue is `models.json` in this folder.
fn config(simulator: &Simulator, folder: &TempDir) -> Config {
    Config::without_routes(simulator)
        .set("catalogue.retired", "replace")
        .set("catalogue.file", at(folder, "models.json"))
        .set("server.config_poll_interval", "50ms")
        .set("targets.old.model", RETIRED)
        .route(RETIRED, &["old"])
}

fn at(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

async fn models(gateway: &Gateway, query: &str) -> Vec<Value> {
    let answer = http::get(&format!("{}/admin/models?{query}", gateway.admin_url())).await.json();
    answer["models"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_corrects_a_fact_at_once_and_its_reload_under_load_loses_no_request() {
    let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("models.json");
    let not_retired = file("2026-11-28", &json!({ RETIRED: { "retires": null } }));
    let retired = file("2026-11-28", &json!({}));
    std::fs::write(&path, &retired).unwrap();
    let gateway = Gateway::start(&config(&simulator, &folder)).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let load = async {
        let mut answered = 0;
        while !stop.is_cancelled() {
            let answer = Ask::new(&gateway, "hello").of(RETIRED).send().await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            answered += 1;
        }
        answered
    };
    let reloads = async {
        for number in 0..8 {
            let (text, wanted) =
                if number % 2 == 0 { (&not_retired, RETIRED) } else { (&retired, SUCCESSOR) };
            std::fs::write(&path, text).unwrap();
            let model = async || gateway.target("old").await["model"].clone();
            eventually("the file is read", model, |model| model == wanted).await;
            let answer = Ask::new(&gateway, "hello").of(RETIRED).send().await;
            assert_eq!(answer.header("x-sluice-model"), Some(wanted));
        }
        stop.cancel();
    };
    let (answered, ()) = tokio::join!(load, reloads);
    println!("{answered} requests during 8 reloads, all answered");
    assert!(answered > 20, "{answered}");
    // A broken file changes nothing, and says what is wrong.
    let before = gateway.reloads("refused").await;
    std::fs::write(&path, file("2026-11-28", &json!({ RETIRED: { "retired": null } }))).unwrap();
    eventually("it is refused", async || gateway.reloads("refused").await, |it| *it > before).await;
    let is_told = |output: &String| {
        output.contains("unknown field `retired`") && output.contains(&format!("'{RETIRED}'"))
    };
    eventually("the row and the field are named", async || gateway.output(), is_told).await;
    assert_eq!(gateway.target("old").await["model"], SUCCESSOR);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_value_is_shown_with_its_source() {
    let (simulator, folder) = (Simulator::start().await, tempfile::tempdir().unwrap());
    let rows = json!({
        "anthropic.claude-sonnet-4-6": { "max_output_tokens": 1234 },
        "acme.new-model": { "mode": "chat", "surfaces": ["converse"], "features": { "tools": true } },
    });
    std::fs::write(folder.path().join("models.json"), file("2026-11-28", &rows)).unwrap();
    let config = config(&simulator, &folder)
        .set("targets.own.model", "us.anthropic.claude-sonnet-4-6")
        .set("targets.own.output_burndown", 3);
    let gateway = Gateway::start(&config).await;
    let own = models(&gateway, "name=own").await.remove(0);
    assert_eq!((&own["target"], &own["region"]), (&json!("own"), &json!("us-east-1")), "{own}");
    let facts = &own["facts"];
    assert_eq!(facts["burndown"], json!({ "value": 3, "from": { "target": "own" } }));
    assert_eq!(facts["max_output_tokens"]["value"], 1234);
    assert_eq!(facts["max_output_tokens"]["from"]["layer"], "models.json");
    assert_eq!(facts["max_input_tokens"]["from"]["layer"], "shipped");
    assert_eq!(facts["bytes_per_token"]["from"]["learned_by"], "own");
    let new = models(&gateway, "surface=converse&feature=tools&name=acme").await;
    assert_eq!(new.len(), 1, "{new:?}");
    let config_file = at(&folder, "config.toml");
    std::fs::write(&config_file, config.set("catalogue.file", "models.json").to_toml()).unwrap();
    let shown = async |arguments: &[&str]| {
        let (status, stdout, stderr) =
            run_sluice(&[&["models", "--config", &config_file], arguments].concat()).await;
        assert!(status.success(), "{stdout}{stderr}");
        stdout
    };
    let table = shown(&[]).await;
    assert!(table.starts_with("MODEL") && table.contains("acme.new-model"), "{table}");
    let one = shown(&["acme"]).await;
    assert!(one.contains("(models.json of 2026-11-28, row 'acme.new-model')"), "{one}");
    let json: Value =
        serde_json::from_str(&shown(&["--json", "--feature", "video"]).await).unwrap();
    assert!(!json.as_array().unwrap().is_empty());
    let url = gateway.admin_url();
    let running =
        shown(&["own", "--running", "--url", &url, "--admin-key", "env:PLANTED_ADMIN_KEY"]).await;
    assert!(running.contains("learned_by"), "{running}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_checked_compared_and_put_in_place_in_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let (new, current) = (at(&folder, "new.json"), at(&folder, "models.json"));
    let row = |tokens: u32| json!({ "acme.model": { "max_output_tokens": tokens } });
    let update = async |source: &str, more: &[&str]| {
        let arguments = [&["models", "update", source, "--to", &current], more].concat();
        let (status, stdout, stderr) = run_sluice(&arguments).await;
        (status.success(), stdout + &stderr)
    };
    let in_place = || std::fs::read_to_string(Path::new(&current)).unwrap_or_default();
    let first = file("2026-12-01", &row(1));
    std::fs::write(&new, &first).unwrap();
    let (good, said) = update(&new, &["--dry-run"]).await;
    assert!(good && said.contains("sha256 ") && in_place().is_empty(), "{said}");
    assert!(update(&new, &[]).await.0);
    assert_eq!(in_place(), first);
    let (good, said) = update(&new, &["--sha256", &"0".repeat(64)]).await;
    assert!(!good && said.contains("sha256 is not"), "{said}");
    for (text, why) in [
        (file("2026-11-30", &row(2)), "older"),
        (file("2026-12-02", &json!({ "acme.model": { "tokens": 2 } })), "unknown field `tokens`"),
        ("<html>".to_owned(), "not a catalogue"),
    ] {
        std::fs::write(&new, text).unwrap();
        let (good, said) = update(&new, &[]).await;
        assert!(!good && said.contains(why), "{said}");
        assert_eq!(in_place(), first);
    }
    let second = file("2026-12-02", &row(2));
    let url = serve_once(second.clone()).await;
    let (good, said) = update(&url, &[]).await;
    assert!(good && said.contains("max_output_tokens: 1 -> 2"), "{said}");
    assert_eq!(in_place(), second);
    let (good, said) = update("http://example.com/models.json", &[]).await;
    assert!(!good && said.contains("by https only"), "{said}");
    std::fs::write(&new, &first).unwrap();
    let (_, stdout, _) = run_sluice(&["models", "diff", &current, &new, "--json"]).await;
    let differences: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(differences[0]["after"], 1, "{stdout}");
    let (status, stdout, stderr) = run_sluice(&["models", "diff", "shipped", "shipped"]).await;
    assert!(status.success() && stdout.contains("no difference"), "{stdout}{stderr}");
}

/// The URL of a server that answers one request with this text.
async fn serve_once(text: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/models.json", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await.unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_bedrock_names_is_learned_where_no_layer_has_one() {
    const OWN: &str = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc";
    let simulator = Simulator::start().await;
    let config = Config::without_routes(&simulator)
        .set("targets.first.model", MODELS[0])
        .set("targets.own.model", OWN)
        .route(MODELS[0], &["first", "own"]);
    let gateway = Gateway::start(&config).await;
    simulator.limits(OWN, ModelSettings { max_output_tokens: Some(77), ..Default::default() });
    simulator.throttles(MODELS[0], 1);
    let ask = || {
        let body = r#"{"messages":[{"role":"user","content":[{"text":"hello sim:tokens=200"}]}],
            "inferenceConfig":{"maxTokens":500}}"#;
        Ask::new(&gateway, "").of(MODELS[0]).converse(body.to_owned()).send()
    };
    let refused = ask().await;
    assert_ne!(refused.status, 200, "{}", refused.text());
    let own = models(&gateway, "name=own").await.remove(0);
    let learned = json!({ "value": 77, "from": { "learned_by": "own" } });
    assert_eq!(own["facts"]["max_output_tokens"], learned, "{own}");
    // The next fallback asks for no more than that.
    let answer = ask().await;
    assert_eq!(answer.header("x-sluice-model"), Some(OWN), "{}", answer.text());
    assert_eq!(answer.json()["usage"]["outputTokens"], 77);
}
