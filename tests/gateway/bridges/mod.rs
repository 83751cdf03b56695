//! Requests that are translated for a target which does not take the client's API, and their answers.

mod breaks;
mod caching;
mod fallback;
mod families;
mod limits;
mod remote_media;
mod simulated;
mod streams;
mod whole;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sluice::bedrock::event_stream;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::support::http::{Response, request};
use crate::support::upstream::read_request;
use crate::support::{Config, Gateway, Simulator};

const CLAUDE: &str = "us.anthropic.claude-sonnet-5-5";
const NOVA: &str = "us.amazon.nova-pro-v1:0";

const CHAT: &str = "/openai/v1/chat/completions";
const MESSAGES: &str = "/anthropic/v1/messages";

/// A request as an upstream got it.
#[derive(Clone, Debug)]
struct Seen {
    head: String,
    path: String,
    body: Value,
}

/// Stands in the bytes of a response where the upstream waits until the test lets it go on.
const PAUSE: &[u8] = b"<pause>";

/// The bytes of the response to each request, by its number, from 1, and what was asked.
type Script = dyn Fn(usize, &Seen) -> Vec<u8> + Send + Sync;

/// An upstream that answers with the bytes of a script and then closes the connection.
struct Bedrock {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    goes_on: Arc<Notify>,
    serving: JoinHandle<()>,
}

impl Bedrock {
    async fn start(script: impl Fn(usize, &Seen) -> Vec<u8> + Send + Sync + 'static) -> Bedrock {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (into, script): (_, Arc<Script>) = (Arc::clone(&seen), Arc::new(script));
        let goes_on = Arc::<Notify>::default();
        let pauses = Arc::clone(&goes_on);
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (into, script) = (Arc::clone(&into), Arc::clone(&script));
                let pauses = Arc::clone(&pauses);
                tokio::spawn(async move {
                    let Some((head, body)) = read_request(&mut stream).await else { return };
                    let path = head.split(' ').nth(1).unwrap().replace("%3A", ":");
                    let body = serde_json::from_str(&body).unwrap_or_default();
                    let one = Seen { head, path, body };
                    let number = {
                        let mut all = into.lock();
                        all.push(one.clone());
                        all.len()
                    };
                    let answer = script(number, &one);
                    let pause = answer.windows(PAUSE.len()).position(|it| it == PAUSE);
                    let (first, rest) = answer.split_at(pause.unwrap_or(answer.len()));
                    let _ = stream.write_all(first).await;
                    if pause.is_some() {
                        pauses.notified().await;
                        let _ = stream.write_all(&rest[PAUSE.len()..]).await;
                    }
                });
            }
        });
        Bedrock { address, seen, goes_on, serving }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends the pause of a response.
    fn go_on(&self) {
        self.goes_on.notify_one();
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

impl Drop for Bedrock {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A gateway with a route `m` to these targets, each named by its model's maker, in front of this upstream.
async fn gateway(
    upstream: &Bedrock,
    targets: &[(&str, &str)],
    change: impl Fn(Config) -> Config,
) -> Gateway {
    let simulator = Simulator::start().await;
    let mut config =
        Config::without_routes(&simulator).set("upstream.endpoint_url", upstream.url());
    for (target, model) in targets {
        config = config.set(&format!("targets.{target}.model"), *model);
    }
    let names: Vec<&str> = targets.iter().map(|(name, _)| *name).collect();
    Gateway::start(&change(config.route("m", &names))).await
}

async fn post(gateway: &Gateway, path: &str, body: &Value) -> Response {
    post_with(gateway, path, &[], body).await
}

async fn post_with(
    gateway: &Gateway,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Response {
    let url = format!("{}{path}", gateway.url());
    request("POST", &url, headers, Bytes::from(body.to_string())).await
}

/// A response with this content type.
fn say(status: u16, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\nx-amzn-requestid: up-1\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// An answer of Converse with this content.
fn converse(content: &Value, stop: &str) -> Vec<u8> {
    let body = json!({
        "metrics": { "latencyMs": 5 },
        "output": { "message": { "role": "assistant", "content": content } },
        "stopReason": stop,
        "usage": { "inputTokens": 11, "outputTokens": 7, "totalTokens": 18 },
    });
    say(200, "application/json", body.to_string().as_bytes())
}

fn converse_text(text: &str) -> Vec<u8> {
    converse(&json!([{ "text": text }]), "end_turn")
}

fn throttle() -> Vec<u8> {
    error(429, "ThrottlingException", "slow down")
}

fn error(status: u16, name: &str, message: &str) -> Vec<u8> {
    let body = json!({ "message": message }).to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nx-amzn-errortype: {name}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    head.into_bytes()
}

/// The frames of a stream of Converse that says these pieces.
fn frames(pieces: &[&str]) -> Vec<Bytes> {
    let frame = |kind: &str, payload: Value| event_stream::event(kind, payload.to_string());
    let mut all = vec![frame("messageStart", json!({ "role": "assistant" }))];
    for piece in pieces {
        let delta = json!({ "contentBlockIndex": 0, "delta": { "text": piece } });
        all.push(frame("contentBlockDelta", delta));
    }
    all.push(frame("contentBlockStop", json!({ "contentBlockIndex": 0 })));
    all.push(frame("messageStop", json!({ "stopReason": "end_turn" })));
    let usage = json!({ "inputTokens": 11, "outputTokens": 7, "totalTokens": 18 });
    all.push(frame("metadata", json!({ "usage": usage, "metrics": { "latencyMs": 5 } })));
    all
}

/// A stream of these frames.
fn stream(frames: &[Bytes]) -> Vec<u8> {
    say(200, event_stream::CONTENT_TYPE, &frames.concat())
}

fn exception(name: &str) -> Bytes {
    event_stream::exception(name, json!({ "message": "it failed" }).to_string())
}

/// A chat that says hi.
fn chat() -> Value {
    json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] })
}

/// The same by Messages.
fn message() -> Value {
    json!({ "model": "m", "max_tokens": 50, "messages": [{ "role": "user", "content": "hi" }] })
}

fn with(mut body: Value, member: &str, value: impl Into<Value>) -> Value {
    body[member] = value.into();
    body
}

/// The data of each event of a stream of server-sent events.
fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str(data).ok()).collect()
}
