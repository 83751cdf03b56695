//! OpenAI's and Anthropic's APIs: what goes through as it is, what is changed, and how failures look.

mod cancels;
mod counts;
mod endpoints;
mod errors;
mod held;
mod keys;
mod models;
mod passing;
mod places;
mod streams;

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;

use crate::support::http::{Response, request};
use crate::support::{Config, Gateway, Scripted, Simulator};

/// The three APIs that run a model, each with its path, its model at the test's targets, and a body.
const APIS: [Api; 3] = [
    Api {
        name: "chat_completions",
        path: "/openai/v1/chat/completions",
        input: r#""messages":[{"role":"user","content":"hi"}]"#,
    },
    Api { name: "responses", path: "/openai/v1/responses", input: r#""store":false,"input":"hi""# },
    Api {
        name: "messages",
        path: "/anthropic/v1/messages",
        input: r#""max_tokens":9,"messages":[{"role":"user","content":"hi"}]"#,
    },
];

#[derive(Clone, Copy, Debug)]
struct Api {
    name: &'static str,
    path: &'static str,
    input: &'static str,
}

impl Api {
    /// A body for the model `m`.
    fn body(&self, stream: bool) -> String {
        let stream = if stream { r#","stream":true"# } else { "" };
        format!(r#"{{"model":"m",{}{stream}}}"#, self.input)
    }

    /// A whole stream of this API.
    fn stream(&self) -> String {
        self.events().concat()
    }

    /// The events of a stream of this API.
    fn events(&self) -> Vec<&'static str> {
        match self.name {
            "chat_completions" => vec![
                "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
                "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"yes\"}}]}\n\n",
                "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
                "data: [DONE]\n\n",
            ],
            "responses" => vec![
                "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"in_progress\"}}\n\n",
                "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"delta\":\"yes\"}\n\n",
                "event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":2,\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"completed\",\"usage\":{\"input_tokens\":4,\"output_tokens\":1,\"total_tokens\":5}}}\n\n",
            ],
            _ => vec![
                "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"usage\":{\"input_tokens\":4,\"output_tokens\":1}}}\n\n",
                "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"yes\"}}\n\n",
                "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":1}}\n\n",
                "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
            ],
        }
    }

    /// An answer of this API.
    fn answer(&self) -> String {
        match self.name {
            "chat_completions" => r#"{"id":"c","object":"chat.completion","choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}"#,
            "responses" => r#"{"id":"resp_1","object":"response","status":"completed","usage":{"input_tokens":4,"output_tokens":2}}"#,
            _ => r#"{"id":"msg_1","type":"message","content":[],"usage":{"input_tokens":4,"output_tokens":2}}"#,
        }
        .to_owned()
    }

    /// The message of an error in this API's dialect.
    fn error(&self, answer: &Response) -> Value {
        let body = answer.json();
        assert_eq!(body.get("type").is_some(), self.name == "messages", "{body}");
        body["error"].clone()
    }
}

/// A request as an upstream got it.
#[derive(Clone, Debug)]
struct Seen {
    head: String,
    path: String,
    body: String,
}

/// An upstream that notes what it gets.
struct Upstream {
    scripted: Scripted,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Upstream {
    /// `script` gets the number of the request, its path and its body.
    async fn start(
        script: impl Fn(usize, &str, &str) -> String + Send + Sync + 'static,
    ) -> Upstream {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let into = Arc::clone(&seen);
        let scripted = Scripted::start_with_heads(move |head, path, body| {
            let number = {
                let mut seen = into.lock();
                let (head, path, body) = (head.to_owned(), path.to_owned(), body.to_owned());
                seen.push(Seen { head, path, body });
                seen.len()
            };
            script(number, path, body)
        })
        .await;
        Upstream { scripted, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

/// Two targets in front of this upstream, one in each of two regions, that serve all three APIs as the model `m`.
async fn gateway(upstream: &Upstream, change: impl Fn(Config) -> Config) -> Gateway {
    let simulator = Simulator::start().await;
    let mut config =
        Config::without_routes(&simulator).set("upstream.endpoint_url", upstream.scripted.url());
    for (target, model, region) in
        [("first", "maker.one", "us-east-1"), ("second", "maker.two", "us-west-2")]
    {
        let surfaces = vec!["chat_completions", "responses", "messages", "count_tokens"];
        config = config
            .set(&format!("targets.{target}.model"), model)
            .set(&format!("targets.{target}.region"), region)
            .set(&format!("targets.{target}.endpoint_url"), upstream.scripted.url())
            .set(&format!("targets.{target}.surfaces"), surfaces);
    }
    Gateway::start(&change(config.route("m", &["first", "second"]))).await
}

/// A POST to the gateway.
async fn post(
    gateway: &Gateway,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Response {
    request("POST", &format!("{}{path}", gateway.url()), headers, body).await
}

/// The whole answer to a stream.
fn streamed(events: &str) -> String {
    crate::support::scripted::say(200, "content-type: text/event-stream\r\n", events)
}

/// An answer of JSON.
fn json(status: u16, body: &str) -> String {
    crate::support::scripted::say(status, "content-type: application/json\r\n", body)
}

/// A key as the config has it.
fn digest(key: &str) -> String {
    format!("sha256:{}", sluice::simulator::sha256_hex(key.as_bytes()))
}
