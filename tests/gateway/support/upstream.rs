//! An upstream made of bare sockets, for what the simulator's HTTP library would never do.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::raw::header;

/// A whole answer to InvokeModel, with the connection kept open.
const ANSWER: &str =
    r#"{"content":[{"type":"text","text":"well"}],"usage":{"input_tokens":3,"output_tokens":2}}"#;

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is answered.
    Answer,
    /// The connection is closed without a byte.
    Close,
    /// The connection is reset without a byte.
    Reset,
    /// The connection is closed within the head of the answer.
    CloseInHead,
    /// Bytes that are not HTTP, then the connection is closed.
    Garbage,
    /// The connection is closed without a byte, this many milliseconds later.
    CloseAfter(u64),
    /// A stream of large frames without an end, as fast as it is taken.
    Endless,
    /// These bytes, with the connection kept open.
    Say(&'static str),
    /// These bytes, then the connection is closed.
    SayAndClose(&'static [u8]),
    /// These bytes, and then others without an end.
    Flood {
        /// What comes first.
        first: &'static str,
        /// What comes again and again.
        again: &'static str,
    },
    /// It refuses the signature, and quotes what was signed, as AWS does.
    RefuseSignature,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The connection's number, from 1.
    pub connection: usize,
    /// Request line and headers.
    pub head: String,
    /// The body.
    pub body: String,
}

/// An upstream that does with each request what its script says.
#[derive(Debug)]
pub struct BareUpstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    endless: Arc<Mutex<Vec<Endless>>>,
    serving: JoinHandle<()>,
}

/// One stream without an end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Endless {
    /// Bytes that were taken so far.
    pub taken: usize,
    /// Whether the other side let go.
    pub is_over: bool,
}

impl BareUpstream {
    /// Starts one; `script` is given the number of the connection and of the request on it, both
    /// from 1.
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

    /// The streams without an end.
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
