//! Responses that the gateway keeps itself, for models whose upstream stores none.

mod conversations;
mod stores;

use serde_json::{Value, json};

use crate::support::http::{Response, request};
use crate::support::{Config, Gateway, Simulator};

const CLAUDE: &str = "us.anthropic.claude-sonnet-5-5";
const NOVA: &str = "us.amazon.nova-pro-v1:0";
const GPT: &str = "us.openai.gpt-5.6-sol";

/// The bearer keys of two clients.
const KEYS: [&str; 2] = ["a-long-enough-key-of-one", "a-long-enough-key-of-two"];

/// The variable with the key that encrypts.
const VARIABLE: &str = "RESPONSE_KEY";
const ENCRYPTS: &str = "what-encrypts-responses-in-tests";

fn digest(key: &str) -> String {
    format!("sha256:{}", sluice::simulator::sha256_hex(key.as_bytes()))
}

/// Three families, two clients, and a store.
fn config(simulator: &Simulator, backend: &str) -> Config {
    let mut config = Config::without_routes(simulator)
        .client("one", &digest(KEYS[0]))
        .client("two", &digest(KEYS[1]))
        .set("response_store.backend", backend)
        .set("response_store.keys", vec![format!("env:{VARIABLE}")])
        // The machine may be busy.
        .set("response_store.timeout", "10s");
    for (name, model) in [("claude", CLAUDE), ("nova", NOVA), ("gpt", GPT)] {
        config = config.set(&format!("targets.{name}.model"), model).route(name, &[name]);
    }
    config
}

async fn start(config: &Config) -> Gateway {
    Gateway::start_with(config, &[(VARIABLE, ENCRYPTS)]).await
}

async fn send(gateway: &Gateway, key: &str, method: &str, path: &str, body: &str) -> Response {
    let url = format!("{}/v1/responses{path}", gateway.url());
    let bearer = format!("Bearer {key}");
    request(method, &url, &[("authorization", bearer.as_str())], body.to_owned()).await
}

/// Creates a response, which must succeed.
async fn create(gateway: &Gateway, model: &str, input: &str, more: Value) -> Value {
    let answer = try_to_create(gateway, KEYS[0], model, input, more).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn try_to_create(
    gateway: &Gateway,
    key: &str,
    model: &str,
    input: &str,
    more: Value,
) -> Response {
    let mut body = json!({"model": model, "input": input});
    let members = body.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    send(gateway, key, "POST", "", &body.to_string()).await
}

/// Goes on after a response.
async fn go_on(gateway: &Gateway, key: &str, after: &Value) -> Response {
    let previous = json!({"previous_response_id": after});
    try_to_create(gateway, key, "claude", "And then?", previous).await
}

fn path_of(id: &Value) -> String {
    format!("/{}", id.as_str().unwrap())
}

/// The data of a stream's events.
fn events(stream: &Response) -> Vec<Value> {
    let text = stream.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

async fn counted(gateway: &Gateway, result: &str) -> f64 {
    gateway.metrics().await.sum("sluice_kept_responses_total", &[("result", result)])
}
