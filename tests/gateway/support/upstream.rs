//! An upstream on bare sockets, for behaviour that the simulator's HTTP library can't produce.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::raw::header;

/// The body of a complete response to InvokeModel.
const ANSWER: &str =
    r#"{"content":[{"type":"text","text":"well"}],"usage":{"input_tokens":3,"output_tokens":2}}"#;

/// What the upstream does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Sends a complete response, and keeps the connection open.
    Answer,
    /// Closes the connection without a byte.
    Close,
    /// Resets the connection without a byte.
    Reset,
    /// Closes the connection within the head of a response.
    CloseInHead,
    /// Sends bytes that are not HTTP, then closes the connection.
    Garbage,
    /// Closes the connection without a byte after so many milliseconds.
    CloseAfter(u64),
    /// Sends an endless stream of large frames, as fast as the gateway reads.
    Endless,
    /// Sends these bytes, and keeps the connection open.
    Say(&'static str),
    /// Sends these bytes, then closes the connection.
    SayAndClose(&'static [u8]),
    /// Sends `first`, then `again` without end.
    Flood {
        /// The first bytes.
        first: &'static str,
        /// The bytes that are repeated.
        again: &'static str,
    },
    /// Refuses the signature, and quotes the canonical request, as AWS does.
    RefuseSignature,
}

/// A received request.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The connection's number, from 1.
    pub connection: usize,
    /// Request line and headers.
    pub head: String,
    /// The body.
    pub body: String,
}

/// An upstream whose script decides about each request.
#[derive(Debug)]
pub struct BareUpstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    endless: Arc<Mutex<Vec<Endless>>>,
    serving: JoinHandle<()>,
}

/// One endless stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Endless {
    /// Bytes that were sent so far.
    pub taken: usize,
    /// Whether the gateway has closed the stream.
    pub is_over: bool,
}

impl BareUpstream {
    /// Starts the upstream. `script` gets the number of the connection and that of the request on it,
    /// both from 1.
    pub async fn start(
        script: impl Fn(usize, usize) -> Act + Copy + Send + Sync + 'static,
    ) -> BareUpstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, endless) = <(Arc<Mutex<Vec<Seen>>>, Arc<Mutex<Vec<Endless>>>)>::default();
        let (into, streams) = (Arc::clone(&seen), Arc::clone(&endless));
        let serving = tokio::spawn(async move {
            for number in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (into, streams) = (Arc::clone(&into), Arc::clone(&streams));
                tokio::spawn(serve(stream, number, script, into, streams));
            }
        });
        BareUpstream { address, seen, endless, serving }
    }

    /// Its endpoint URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The endless streams so far.
    pub fn endless(&self) -> Vec<Endless> {
        self.endless.lock().clone()
    }

    /// All requests so far, in their order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

impl Drop for BareUpstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    script: impl Fn(usize, usize) -> Act,
    seen: Arc<Mutex<Vec<Seen>>>,
    streams: Arc<Mutex<Vec<Endless>>>,
) {
    for request in 1.. {
        let Some((head, body)) = read_request(&mut stream).await else { return };
        seen.lock().push(Seen { connection, head: head.clone(), body });
        match script(connection, request) {
            Act::Answer => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
                let answer = format!("{head}content-length: {}\r\n\r\n{ANSWER}", ANSWER.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            Act::RefuseSignature => {
                let message = format!(
                    "The request signature we calculated does not match the signature you provided. \
                     The Canonical String for this request should have been\n'{head}'"
                );
                let body = serde_json::json!({ "message": message }).to_string();
                let answer = format!(
                    "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\n\
                     x-amzn-errortype: InvalidSignatureException\r\nx-amzn-requestid: r-1\r\n\
                     content-length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            Act::Say(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Act::SayAndClose(bytes) => {
                stream.write_all(bytes).await.unwrap();
                return;
            }
            Act::Flood { first, again } => {
                let again = again.repeat(1 + 16_384 / again.len());
                let mut wrote = stream.write_all(first.as_bytes()).await;
                while wrote.is_ok() {
                    wrote = stream.write_all(again.as_bytes()).await;
                }
                return;
            }
            Act::Endless => return stream_without_end(stream, streams).await,
            Act::Close => return,
            Act::Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Act::CloseInHead => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-ty").await.unwrap();
                return;
            }
            Act::Garbage => {
                stream.write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n").await.unwrap();
                return;
            }
            Act::CloseAfter(ms) => {
                tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
                return;
            }
        }
    }
}

async fn stream_without_end(mut stream: TcpStream, streams: Arc<Mutex<Vec<Endless>>>) {
    let number = {
        let mut streams = streams.lock();
        streams.push(Endless::default());
        streams.len() - 1
    };
    let content_type = sluice::bedrock::event_stream::CONTENT_TYPE;
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    let text = format!("{{\"delta\":{{\"text\":\"{}\"}}}}", "x".repeat(60_000));
    let frame = sluice::bedrock::event_stream::event("contentBlockDelta", text);
    let mut chunk = format!("{:x}\r\n", frame.len()).into_bytes();
    chunk.extend_from_slice(&frame);
    chunk.extend_from_slice(b"\r\n");
    while stream.write_all(&bytes).await.is_ok() {
        streams.lock()[number].taken += bytes.len();
        bytes.clone_from(&chunk);
    }
    streams.lock()[number].is_over = true;
}

/// The head and the body of the next request; `None` at the end of the connection.
pub async fn read_request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..at].to_vec()).unwrap();
            let length: usize = header(&head, "content-length").map_or(0, |l| l.parse().unwrap());
            if bytes.len() >= at + 4 + length {
                let body = String::from_utf8(bytes[at + 4..at + 4 + length].to_vec()).unwrap();
                return Some((head, body));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
