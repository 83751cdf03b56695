//! The simulator over real sockets. Here is what all these tests use: a running simulator, a
//! client for it, and what the client was answered.

mod answers;
mod apis;
mod embeddings;
mod faults;
mod parts;
mod translated;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use sluice_bedrock::event_stream::{Frame, Kind};
use sluice_bedrock::{Usage, error};

const HAIKU: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const LIMIT: Duration = Duration::from_secs(10);

struct Running {
    url: String,
    addr: SocketAddr,
    controls: Controls,
    serving: JoinHandle<io::Result<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn start() -> Running {
    start_with(Settings::default()).await
}

async fn start_with(settings: Settings) -> Running {
    let simulator = Simulator::bind(settings).await.unwrap();
    Running {
        url: simulator.url(),
        addr: simulator.addr(),
        controls: simulator.controls(),
        serving: tokio::spawn(simulator.serve(std::future::pending())),
    }
}

impl Running {
    fn fault(&self, fault: Fault) {
        self.controls.faults.add(FaultRule::next(1, fault)).unwrap();
    }

    fn request(&self, model: &str, suffix: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        Request::post(format!("{}/model/{model}/{suffix}", self.url))
            .header("authorization", format!("Bearer {DEFAULT_BEARER_TOKEN}"))
            .header("content-type", "application/json")
            .body(Full::new(body.into()))
            .unwrap()
    }

    async fn post(&self, model: &str, suffix: &str, body: impl Into<Bytes>) -> Answered {
        answered(send(self.request(model, suffix, body), false).await).await
    }

    async fn converse(&self, text: &str) -> Answered {
        self.post(HAIKU, "converse", converse(text)).await
    }

    async fn stream(&self, text: &str) -> Answered {
        self.post(HAIKU, "converse-stream", converse(text)).await
    }

    async fn control(&self, method: &str, resource: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/_sim/{resource}", self.url))
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let answered = answered(send(request, false).await).await;
        (answered.status, serde_json::from_slice(&answered.body).unwrap())
    }

    /// What comes back on a bare socket, and how it ends.
    async fn raw(&self) -> (Vec<u8>, io::Result<usize>) {
        let mut socket = TcpStream::connect(self.addr).await.unwrap();
        let body = converse("hello");
        let request = format!(
            "POST /model/{HAIKU}/converse HTTP/1.1\r\nhost: x\r\n\
             authorization: Bearer {DEFAULT_BEARER_TOKEN}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut got = Vec::new();
        let end = tokio::time::timeout(LIMIT, socket.read_to_end(&mut got)).await.unwrap();
        (got, end)
    }

    async fn last(&self) -> Entry {
        let log = &self.controls.log;
        let ended = log.wait_for(|entry| entry.ending != Ending::Open);
        tokio::time::timeout(LIMIT, ended).await.unwrap();
        log.entries().pop().unwrap()
    }
}

struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    broken: bool,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn error(&self) -> String {
        error::read(&self.headers, &self.body).name.unwrap_or_default()
    }

    /// The frames that are whole, and whether bytes were left over.
    fn frames(&self) -> (Vec<String>, bool) {
        let (mut names, mut rest) = (Vec::new(), self.body.as_slice());
        while let Ok(Some(frame)) = Frame::read(rest) {
            names.push(match frame.kind() {
                Kind::Event(name) | Kind::Exception(name) | Kind::Error(name) => name.to_owned(),
                Kind::Other => "?".to_owned(),
            });
            rest = &rest[frame.len..];
        }
        (names, !rest.is_empty())
    }
}

fn converse(text: &str) -> String {
    json!({
        "messages": [{"role": "user", "content": [{"text": text}]}],
        "inferenceConfig": {"maxTokens": 100},
    })
    .to_string()
}

async fn send(request: Request<Full<Bytes>>, h2: bool) -> http::Response<Incoming> {
    let client = Client::builder(TokioExecutor::new()).http2_only(h2).build_http();
    tokio::time::timeout(LIMIT, client.request(request)).await.unwrap().unwrap()
}

async fn answered(response: http::Response<Incoming>) -> Answered {
    let (head, mut body) = response.into_parts();
    let (mut bytes, mut broken) = (Vec::new(), false);
    while let Some(frame) = tokio::time::timeout(LIMIT, body.frame()).await.unwrap() {
        match frame {
            Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => {
                broken = true;
                break;
            }
        }
    }
    Answered { status: head.status, headers: head.headers, body: bytes, broken }
}
