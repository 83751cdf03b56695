//! Budgets against requests that cost more than they look like: media by reference, dense text, several
//! answers, and answers that nobody waits for. The upstream tells the most tokens that the request
//! can have, and keeps all requests until no more come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::patience::eventually;
use crate::support::raw::Connection;
use crate::support::upstream::read_request;
use crate::support::{Ask, Config, Gateway, Simulator};

const HAIKU: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const WINDOW: u64 = 200_000;
/// USD for a million tokens, of input and of output.
const PRICE: f64 = 3.0;

/// What the upstream does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UpstreamAction {
    /// Answers after this time, and reports so many tokens of input and of output.
    Answer { after: Duration, input: u64, output: u64 },
    /// Sends the beginning of a stream, and no more.
    BeginStream,
    /// Never answers.
    NeverAnswer,
}

/// An upstream that reports the usage that the test sets.
struct UsageUpstream {
    address: SocketAddr,
    action: Arc<Mutex<UpstreamAction>>,
    seen: Arc<Mutex<usize>>,
}

impl UsageUpstream {
    async fn start(action: UpstreamAction) -> UsageUpstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstream =
            UsageUpstream { address, action: Arc::new(Mutex::new(action)), seen: Arc::default() };
        let (action, seen) = (Arc::clone(&upstream.action), Arc::clone(&upstream.seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(UsageUpstream::serve(stream, Arc::clone(&action), Arc::clone(&seen)));
            }
        });
        upstream
    }

    fn set_action(&self, action: UpstreamAction) {
        *self.action.lock() = action;
        *self.seen.lock() = 0;
    }

    fn seen(&self) -> usize {
        *self.seen.lock()
    }

    async fn serve(
        mut stream: TcpStream,
        action: Arc<Mutex<UpstreamAction>>,
        seen: Arc<Mutex<usize>>,
    ) {
        while let Some((_, _)) = read_request(&mut stream).await {
            let action = *action.lock();
            *seen.lock() += 1;
            let bytes = match action {
                UpstreamAction::Answer { after, input, output } => {
                    tokio::time::sleep(after).await;
                    let body = r#"{"output":{}}"#;
                    format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                         x-amzn-bedrock-input-token-count: {input}\r\n\
                         x-amzn-bedrock-output-token-count: {output}\r\n\r\n{body}",
                        body.len()
                    )
                    .into_bytes()
                }
                UpstreamAction::BeginStream => {
                    let frame = sluice::bedrock::event_stream::event(
                        "contentBlockDelta",
                        r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#,
                    );
                    let head = "HTTP/1.1 200 OK\r\n\
                                content-type: application/vnd.amazon.eventstream\r\n\
                                transfer-encoding: chunked\r\n\r\n";
                    let size = format!("{:x}\r\n", frame.len());
                    [head.as_bytes(), size.as_bytes(), &frame, b"\r\n"].concat()
                }
                UpstreamAction::NeverAnswer => std::future::pending().await,
            };
            if stream.write_all(&bytes).await.is_err() {
                return;
            }
        }
    }
}

fn key(client: usize) -> String {
    format!("key-of-client-number-{client:03}")
}

/// A gateway with so many clients, each with this daily budget.
async fn gateway(
    upstream: &UsageUpstream,
    clients: usize,
    usd: f64,
    more: fn(Config) -> Config,
) -> Gateway {
    let simulator = Simulator::start().await;
    let mut config = Config::without_routes(&simulator)
        .set("upstream.endpoint_url", format!("http://{}", upstream.address))
        .set("retry.attempts", 1)
        .set("learning.enabled", false);
    // An exact price counts before the list price.
    for price in ["prices.*.input", "prices.*.output", "prices.*a*.input", "prices.*a*.output"] {
        config = config.set(price, PRICE);
    }
    let mut environment = Vec::new();
    for client in 0..clients {
        let variable = format!("KEY_{client}");
        config = config
            .client(&format!("client-{client}"), &format!("env:{variable}"))
            .of_client("daily_budget_usd", usd);
        environment.push((variable, key(client)));
    }
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Gateway::start_with(&more(config), &environment).await
}

/// USD that a client has spent, of a budget of this size.
async fn spent(gateway: &Gateway, client: usize, usd: f64) -> f64 {
    let name = format!("client-{client}");
    let labels = [("client", name.as_str()), ("period", "daily")];
    gateway.metrics().await.sum("sluice_client_budget_used_ratio", &labels) * usd
}

fn usd(input: u64, output: u64) -> f64 {
    (input + output) as f64 * PRICE / 1e6
}

fn converse(content: &Value) -> Value {
    json!({
        "messages": [{ "role": "user", "content": [{ "text": "hi" }, content] }],
        "inferenceConfig": { "maxTokens": 10 },
    })
}

fn messages(content: &Value) -> Value {
    json!({
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 10,
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": "hi" }, content] }],
    })
}

/// Requests whose input may fill the window: operation, model, window, body.
fn open_requests() -> Vec<(&'static str, &'static str, u64, Value)> {
    let s3 = json!({ "s3Location": { "uri": "s3://b/k" } });
    let document = json!({ "document": { "format": "pdf", "name": "d", "source": s3 } });
    let video = json!({ "video": { "format": "mp4", "source": s3 } });
    let url = json!({ "type": "url", "url": "https://x.example/f" });
    let (converse, invoke) = ("converse", "invoke");
    let nova = "amazon.nova-lite-v1:0";
    let pixtral = "mistral.pixtral-large-2502-v1:0";
    let part = json!({ "type": "image_url", "image_url": { "url": "https://x.example/i.png" } });
    vec![
        (converse, HAIKU, WINDOW, self::converse(&document)),
        (converse, HAIKU, WINDOW, self::converse(&video)),
        (converse, HAIKU, WINDOW, self::converse(&json!({ "audio": { "source": s3 } }))),
        (
            converse,
            HAIKU,
            WINDOW,
            self::converse(&json!({ "image": { "format": "png", "source": s3 } })),
        ),
        (
            converse,
            HAIKU,
            WINDOW,
            self::converse(&json!({ "toolResult": { "toolUseId": "t", "content": [document] } })),
        ),
        (
            converse,
            HAIKU,
            WINDOW,
            self::converse(&json!({ "document": { "source": { "bytes": "AAAA" } } })),
        ),
        (
            converse,
            HAIKU,
            WINDOW,
            json!({ "promptVariables": { "all": { "text": "x" } },
                    "inferenceConfig": { "maxTokens": 10 } }),
        ),
        (invoke, HAIKU, WINDOW, messages(&json!({ "type": "image", "source": url }))),
        (
            invoke,
            HAIKU,
            WINDOW,
            messages(&json!({ "type": "document", "source": { "type": "file", "file_id": "f" } })),
        ),
        (
            invoke,
            HAIKU,
            WINDOW,
            messages(&json!({ "type": "tool_result", "tool_use_id": "t",
                "content": [{ "type": "document", "source": url }] })),
        ),
        (invoke, nova, 300_000, self::converse(&video)),
        (
            invoke,
            pixtral,
            128_000,
            json!({ "messages": [{ "role": "user", "content": [part] }], "max_tokens": 10 }),
        ),
        (
            invoke,
            "meta.llama3-2-11b-instruct-v1:0",
            128_000,
            json!({ "prompt": "<|image|>", "images": ["AAAA"], "max_gen_len": 10 }),
        ),
        // Neither its window nor its answer is known: one at a time.
        (
            invoke,
            "twelvelabs.pegasus-1-2-v1:0",
            4_000_000,
            json!({ "inputPrompt": "hi", "mediaSource": s3 }),
        ),
        (invoke, "acme.unknown-v1:0", 9_000_000, json!({ "prompt": "hi", "max_tokens": 10 })),
    ]
}

/// Sends so many at once and gives how many were answered.
async fn burst(gateway: &Gateway, client: usize, model: &str, ask: &Ask, count: usize) -> usize {
    let asks = (0..count).map(|_| ask.clone().of(model).bearer(&key(client)).send());
    let answers = join_all(asks).await;
    let odd = answers.iter().find(|answer| ![200, 403, 429].contains(&answer.status));
    assert!(odd.is_none(), "{odd:?}");
    let _ = gateway;
    answers.iter().filter(|answer| answer.status == 200).count()
}

fn ask(gateway: &Gateway, operation: &str, body: &Value) -> Ask {
    let ask = Ask::new(gateway, "");
    if operation == "converse" {
        ask.converse(body.to_string())
    } else {
        ask.body(body.to_string())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reference_gets_a_client_beyond_its_budget_by_more_than_a_request() {
    const BUDGET: f64 = 5.0;
    let after = Duration::from_millis(300);
    let upstream = UsageUpstream::start(UpstreamAction::NeverAnswer).await;
    let requests = open_requests();
    let gateway = gateway(&upstream, requests.len(), BUDGET, |config| config).await;
    for (client, (operation, model, window, body)) in requests.iter().enumerate() {
        upstream.set_action(UpstreamAction::Answer { after, input: *window, output: 10 });
        let ask = ask(&gateway, operation, body);
        let answered = burst(&gateway, client, model, &ask, 40).await;
        let one = usd(*window, 10);
        let cost = answered as f64 * one;
        assert!(answered >= 1, "{model} {body}");
        assert!(cost < BUDGET + one, "{answered} answers cost {cost} USD: {model} {body}");
        assert_eq!(upstream.seen(), answered, "{model} {body}");
        let spent = async || spent(&gateway, client, BUDGET).await;
        let is_all = |spent: &f64| (spent - cost).abs() < 1e-6;
        eventually("the charge", spent, is_all).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_dense_text_several_answers_or_a_dear_tier() {
    const BUDGET: f64 = 0.2;
    let after = Duration::from_millis(300);
    let text = "7".repeat(3000);
    let body = |more: Value| {
        let mut body = converse(&json!({ "text": text }));
        body["inferenceConfig"]["maxTokens"] = 1000.into();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let cases = [
        (HAIKU, "converse", body(json!({})), 1000, 1.0),
        (HAIKU, "converse", body(json!({ "serviceTier": { "type": "priority" } })), 1000, 1.75),
        (
            "ai21.jamba-1-5-large-v1:0",
            "invoke",
            json!({ "messages": [{ "role": "user", "content": text }], "max_tokens": 1000, "n": 8 }),
            8000,
            1.0,
        ),
        (
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "converse",
            body(json!({ "additionalModelRequestFields": { "max_tokens": 4000 } })),
            4000,
            1.0,
        ),
    ];
    let upstream = UsageUpstream::start(UpstreamAction::NeverAnswer).await;
    let gateway = gateway(&upstream, cases.len(), BUDGET, |config| config).await;
    for (client, (model, operation, body, output, factor)) in cases.iter().enumerate() {
        let input = body.to_string().len() as u64;
        upstream.set_action(UpstreamAction::Answer { after, input, output: *output });
        let answered = burst(&gateway, client, model, &ask(&gateway, operation, body), 40).await;
        let one = usd(input, *output) * factor;
        let cost = answered as f64 * one;
        assert!(answered >= 1, "{body}");
        assert!(cost < BUDGET + one, "{answered} answers cost {cost} USD: {body}");
        let spent = async || spent(&gateway, client, BUDGET).await;
        eventually("the charge", spent, |spent| (spent - cost).abs() < 1e-6).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_unknown_size_runs_alone_until_it_ends() {
    let after = Duration::from_millis(50);
    let upstream = UsageUpstream::start(UpstreamAction::NeverAnswer).await;
    let gateway = gateway(&upstream, 1, 20.0, |config| config).await;
    let unknown = || {
        let body = r#"{"mediaSource":{"s3Location":{"uri":"s3://b/k"}}}"#;
        Ask::new(&gateway, "").body(body.to_owned()).of("acme.unknown-v1:0").bearer(&key(0))
    };
    let kept = unknown().into_http1();
    let authorized = format!("host: x\r\nauthorization: Bearer {}\r\n", key(0));
    let kept = kept.replace("host: x\r\n", &authorized);
    let mut first = Connection::open(gateway.address()).await;
    first.send(kept.as_bytes()).await;
    eventually("the first", async || upstream.seen(), |seen| *seen == 1).await;
    for _ in 0..3 {
        let refused = unknown().send().await;
        assert_eq!(refused.status, 429, "{}", refused.text());
        assert!(refused.text().contains("daily budget is held"), "{}", refused.text());
    }
    drop(first);
    // What it left is charged as a large window.
    let charged = async || spent(&gateway, 0, 20.0).await;
    eventually("the charge", charged, |spent| *spent >= 3.0).await;
    upstream.set_action(UpstreamAction::Answer { after, input: 1000, output: 10 });
    for _ in 0..3 {
        assert_eq!(unknown().send().await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_healthy_budget_all_go_at_once() {
    let upstream = UsageUpstream::start(UpstreamAction::NeverAnswer).await;
    let gateway = gateway(&upstream, 2, 100.0, |config| config).await;
    let after = Duration::from_millis(400);
    upstream.set_action(UpstreamAction::Answer { after, input: 1000, output: 100 });
    let text = converse(&json!({ "text": "word ".repeat(1000) }));
    let answered = burst(&gateway, 0, HAIKU, &ask(&gateway, "converse", &text), 100).await;
    assert_eq!(answered, 100);
    // A window is 1.2 USD at the dearest.
    let document = open_requests().remove(0).3;
    let answered = burst(&gateway, 1, HAIKU, &ask(&gateway, "converse", &document), 80).await;
    assert_eq!(answered, 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_disconnects_early_pays_the_maximum() {
    const BUDGET: f64 = 100.0;
    let upstream = UsageUpstream::start(UpstreamAction::BeginStream).await;
    let gateway = gateway(&upstream, 3, BUDGET, |config| config).await;
    let document = open_requests().remove(0).3.to_string();
    let request = |client: usize, operation: &str| {
        let ask = Ask::new(&gateway, "").converse(document.clone()).of(HAIKU);
        ask.into_http1().replace("/converse ", &format!("/{operation} ")).replace(
            "host: x\r\n",
            &format!("host: x\r\nauthorization: Bearer {}\r\n", key(client)),
        )
    };
    let leave = async |client: usize, operation: &str| {
        let mut leaving = Connection::open(gateway.address()).await;
        leaving.send(request(client, operation).as_bytes()).await;
        eventually("the request", async || upstream.seen(), |seen| *seen >= 1).await;
        if operation == "converse-stream" {
            leaving.some(4096).await;
        }
        drop(leaving);
        let charged = async || spent(&gateway, client, BUDGET).await;
        eventually("the charge", charged, |spent| *spent > 0.0).await
    };
    let window = usd(WINDOW, 0);
    let stream = leave(0, "converse-stream").await;
    assert!((window..window + 0.001).contains(&stream), "{stream}");
    upstream.set_action(UpstreamAction::NeverAnswer);
    // The target goes on with an answer that is no stream.
    let whole = leave(1, "converse").await;
    assert!((whole - usd(WINDOW, 10)).abs() < 1e-6, "{whole}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_in_time_is_paid_for() {
    const BUDGET: f64 = 100.0;
    let upstream = UsageUpstream::start(UpstreamAction::NeverAnswer).await;
    let config = |config: Config| config.set("upstream.first_byte_timeout", "200ms");
    let gateway = gateway(&upstream, 1, BUDGET, config).await;
    let document = open_requests().remove(0).3.to_string();
    let ask = Ask::new(&gateway, "").converse(document).of(HAIKU).bearer(&key(0));
    let answer = ask.send().await;
    assert!(answer.status >= 400, "{answer:?}");
    let charged = async || spent(&gateway, 0, BUDGET).await;
    let charged = eventually("the charge", charged, |spent| *spent > 0.0).await;
    let each = usd(WINDOW, 10);
    let attempts = upstream.seen() as f64;
    assert!((charged - attempts * each).abs() < 1e-6, "{charged} USD for {attempts} attempts");
}
