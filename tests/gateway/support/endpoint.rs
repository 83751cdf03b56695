//! An HTTP endpoint with scripted responses, which records its requests. It stands for an endpoint of AWS,
//! a proxy, or an upstream whose responses a test writes byte by byte.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One response, after which the connection is closed.
#[derive(Clone, Debug)]
pub struct Scripted {
    /// The status.
    pub status: u16,
    /// Names and values of headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Scripted {
    /// A success with this body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Scripted {
        Scripted { status: 200, headers: Vec::new(), body: body.into() }
    }

    /// The same with a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Scripted {
        self.headers.push((name, value.into()));
        self
    }
}

/// The endpoint.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Endpoint {
    /// Starts an endpoint. `answer` gets each complete request.
    pub async fn start(answer: impl Fn(&str) -> Scripted + Send + Sync + 'static) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let (into, answer) = (Arc::clone(&seen), Arc::new(answer));
        let serving = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (into, answer) = (Arc::clone(&into), Arc::clone(&answer));
                tokio::spawn(async move {
                    let Some(request) = request(&mut socket).await else { return };
                    let Scripted { status, headers, body } = answer(&request);
                    into.lock().push(request);
                    let mut head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
                    for (name, value) in headers {
                        head += &format!("{name}: {value}\r\n");
                    }
                    head += &format!("content-length: {}\r\n\r\n", body.len());
                    let _ = socket.write_all(&[head.as_bytes(), &body].concat()).await;
                });
            }
        });
        Endpoint { address, seen, serving }
    }

    /// Its URL, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().clone()
    }

    /// Clears the recorded requests.
    pub fn forget(&self) {
        self.seen.lock().clear();
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn request(socket: &mut TcpStream) -> Option<String> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let count = socket.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
        });
        if body.len() >= length.unwrap_or(0) {
            return Some(text);
        }
    }
}
