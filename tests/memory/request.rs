//! One random request: what it is made of, and how it is sent and read.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{ADMIN_KEY, KEY};

/// Where a gateway listens.
#[derive(Clone, Copy)]
pub(crate) struct Servers {
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
}

const LEGACY: [(&str, &str); 9] = [
    ("GET", "/health"),
    ("POST", "/analyze_section"),
    ("POST", "/chat"),
    ("GET", "/test_claude_connection"),
    ("GET", "/task_status/5f0f5f8e-3f5c-4a6e-9c39-0123456789ab"),
    ("GET", "/queue_stats"),
    ("POST", "/cancel_task/1"),
    ("GET", "/model_stats"),
    ("POST", "/reset_model_cooldowns"),
];
const ADMIN: [(&str, &str); 6] = [
    ("GET", "/healthz"),
    ("GET", "/metrics"),
    ("GET", "/admin/targets"),
    ("GET", "/admin/status"),
    ("GET", "/admin/config"),
    ("POST", "/admin/targets/a/reset"),
];
const OPERATIONS: [&str; 5] =
    ["converse", "converse-stream", "invoke", "invoke-with-response-stream", "count-tokens"];
const MODELS: [&str; 2] = ["anthropic.claude-3-haiku-20240307-v1:0", "amazon.nova-lite-v1:0"];

/// What a body is made of.
const UNITS: [&str; 8] = ["{},", "[],", "0,", "\"a\",", "{\"a\":0},", "\\u0061", " ", "["];

#[derive(Clone, Debug)]
pub(crate) struct Request {
    is_admin: bool,
    method: &'static str,
    path: String,
    key: Option<&'static str>,
    /// Bytes of header fields that say nothing.
    head: usize,
    body: Body,
    is_http2: bool,
    /// Streams of an HTTP/2 connection.
    streams: usize,
    /// How long it waits before the end of its body, and before it reads its answer.
    pause: Duration,
    /// Whether the body comes to its end, and the answer is read.
    ends: bool,
    reads: bool,
}

#[derive(Clone, Debug)]
struct Body {
    start: String,
    unit: &'static str,
    size: usize,
    end: &'static str,
    is_chunked: bool,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request { method, path, head, body, streams, ends, reads, .. } = self;
        let protocol = if self.is_http2 { "HTTP/2" } else { "HTTP/1.1" };
        write!(
            f,
            "{protocol} x {streams} {method} {path} head {head} body {} of {:?} chunked {} key {} \
             ends {ends} reads {reads}",
            body.size,
            body.unit,
            body.is_chunked,
            self.key.is_some()
        )
    }
}

impl Request {
    pub(crate) fn random(rng: &mut Rng) -> Request {
        let kind = rng.u32(..10);
        let (is_admin, (method, path)) = match kind {
            0..=3 => (false, LEGACY[rng.usize(..LEGACY.len())]),
            4 => (true, ADMIN[rng.usize(..ADMIN.len())]),
            _ => (false, ("POST", "")),
        };
        let path = if path.is_empty() {
            let operation = OPERATIONS[rng.usize(..OPERATIONS.len())];
            format!("/model/{}/{operation}", MODELS[rng.usize(..MODELS.len())])
        } else {
            path.to_owned()
        };
        let key = match rng.u32(..4) {
            0 => None,
            _ if is_admin => Some(ADMIN_KEY),
            _ => Some(KEY),
        };
        let head = match rng.u32(..6) {
            0 => rng.usize(..60_000),
            _ => 0,
        };
        Request {
            is_admin,
            method,
            path,
            key,
            head,
            body: Body::random(rng),
            is_http2: rng.u32(..3) == 0,
            streams: 1 + rng.usize(..20),
            pause: Duration::from_millis(rng.u64(..800)),
            ends: rng.u32(..4) != 0,
            reads: rng.u32(..4) != 0,
        }
    }

    fn fields(&self) -> Vec<(String, String)> {
        let mut fields = vec![("content-type".to_owned(), "application/json".to_owned())];
        if let Some(key) = self.key {
            fields.push(("authorization".to_owned(), format!("Bearer {key}")));
        }
        for number in 0..self.head / 1000 {
            fields.push((format!("x-filler-{number}"), "y".repeat(1000)));
        }
        fields
    }

    fn address(&self, servers: Servers) -> SocketAddr {
        if self.is_admin { servers.admin } else { servers.api }
    }

    pub(crate) async fn send(&self, servers: Servers, rng: &mut Rng) {
        if self.is_http2 {
            self.send_by_http2(servers, rng).await;
        } else {
            self.send_by_http1(servers, rng).await;
        }
    }

    async fn send_by_http1(&self, servers: Servers, rng: &mut Rng) {
        let Ok(mut socket) = TcpStream::connect(self.address(servers)).await else { return };
        let mut head = format!("{} {} HTTP/1.1\r\nhost: localhost\r\n", self.method, self.path);
        for (name, value) in self.fields() {
            head += &format!("{name}: {value}\r\n");
        }
        head += &match self.body.is_chunked {
            true => "transfer-encoding: chunked\r\n\r\n".to_owned(),
            false => format!("content-length: {}\r\n\r\n", self.body.len()),
        };
        if socket.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        let pieces = self.body.pieces();
        let last = if self.ends { pieces.len() } else { rng.usize(..=pieces.len()) };
        let (mut reader, mut writer) = socket.split();
        let sending = async {
            for piece in &pieces[..last] {
                let sent = match self.body.is_chunked {
                    true => {
                        let size = format!("{:x}\r\n", piece.len());
                        let chunk = [size.as_bytes(), piece, b"\r\n"].concat();
                        writer.write_all(&chunk).await
                    }
                    false => writer.write_all(piece).await,
                };
                if sent.is_err() {
                    return;
                }
            }
            sleep(self.pause).await;
            if self.ends && self.body.is_chunked {
                let _ = writer.write_all(b"0\r\n\r\n").await;
            }
        };
        let reading = async {
            if !self.reads {
                sleep(self.pause * 2).await;
                return;
            }
            let mut bytes = vec![0; 64 * 1024];
            let mut all = 0;
            while all < 40_000_000 {
                match reader.read(&mut bytes).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => all += count,
                }
            }
        };
        if self.ends && self.reads {
            // Whether the answer or the connection's end comes first is up to the gateway.
            let all = async { tokio::join!(sending, reading) };
            let _ = tokio::time::timeout(self.pause * 4, all).await;
        } else {
            tokio::join!(sending, tokio::time::timeout(self.pause * 2, reading)).1.unwrap_or(());
        }
    }

    async fn send_by_http2(&self, servers: Servers, rng: &mut Rng) {
        let Ok(socket) = TcpStream::connect(self.address(servers)).await else { return };
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let Ok((mut sender, connection)) = builder.handshake(TokioIo::new(socket)).await else {
            return;
        };
        let connection = tokio::spawn(connection);
        let uri = format!("http://localhost{}", self.path);
        let mut answers = Vec::new();
        for _ in 0..self.streams {
            let pieces = self.body.pieces();
            let last = if self.ends { pieces.len() } else { rng.usize(..=pieces.len()) };
            let pieces = pieces.into_iter().take(last);
            let pieces = stream::iter(pieces).map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
            let pieces = match self.ends {
                true => pieces.boxed(),
                false => pieces.chain(stream::pending()).boxed(),
            };
            let mut request = hyper::Request::builder().method(self.method).uri(&uri);
            for (name, value) in self.fields() {
                request = request.header(name, value);
            }
            let request = request.body(StreamBody::new(pieces)).unwrap();
            if sender.ready().await.is_err() {
                break;
            }
            let answer = sender.send_request(request);
            let (reads, pause) = (self.reads, self.pause);
            answers.push(tokio::spawn(async move {
                let Ok(answer) = answer.await else { return };
                let mut body = answer.into_body();
                sleep(pause).await;
                while reads && let Some(Ok(_)) = body.frame().await {}
            }));
        }
        sleep(self.pause * 2).await;
        for answer in answers {
            answer.abort();
        }
        connection.abort();
    }
}

impl Body {
    fn random(rng: &mut Rng) -> Body {
        // As many of each order of magnitude.
        let size = 10f64.powf(rng.f64() * 7.4) as usize;
        let unit = UNITS[rng.usize(..UNITS.len())];
        let start = match rng.u32(..4) {
            0 => "{\"a\":[".to_owned(),
            1 => "{\"session_id\":\"s\",\"section_name\":\"S\",\"content\":\"".to_owned(),
            _ => format!(
                "{{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":9,\"messages\":\
                 [{{\"role\":\"user\",\"content\":[{{\"text\":\"upstream:{}",
                rng.u32(..super::upstream::KINDS)
            ),
        };
        let end = if start.ends_with('[') { "0]}" } else { "\"}]}]}" };
        Body { start, unit, size, end, is_chunked: rng.bool() }
    }

    fn len(&self) -> usize {
        self.pieces().iter().map(Bytes::len).sum()
    }

    /// The body in pieces of at most 64 KiB. Those in the middle share their memory.
    fn pieces(&self) -> Vec<Bytes> {
        let middle = Bytes::from(self.unit.repeat(64 * 1024 / self.unit.len()));
        let mut pieces = vec![Bytes::from(self.start.clone())];
        let mut left = self.size;
        while left > 0 {
            let length = left.min(middle.len());
            pieces.push(middle.slice(..length));
            left -= length;
        }
        pieces.push(Bytes::from_static(self.end.as_bytes()));
        pieces
    }
}
