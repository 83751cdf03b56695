//! A connection that sends whatever bytes it is told to, and reads HTTP/1.1 responses.

use std::fmt::Debug;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::patience::{LONG, within};

/// What bytes go over.
trait Stream: AsyncRead + AsyncWrite + Debug + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Debug + Send + Unpin> Stream for S {}

/// One TCP connection, or what is spoken over one.
#[derive(Debug)]
pub struct Connection {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

/// A response as its bytes said it.
#[derive(Debug)]
pub struct RawResponse {
    /// The status.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body, as long as `content-length` says.
    pub body: String,
}

impl RawResponse {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Connection {
        Connection::over(TcpStream::connect(address).await.unwrap())
    }

    /// Goes over a stream that is there already.
    pub fn over(
        stream: impl AsyncRead + AsyncWrite + Debug + Send + Unpin + 'static,
    ) -> Connection {
        Connection { stream: Box::new(stream), unread: Vec::new() }
    }

    /// Connects with a narrow door: the kernel takes in only a few kilobytes that are not read.
    pub async fn open_narrow(address: SocketAddr) -> Connection {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Connection::over(socket.connect(address).await.unwrap())
    }

    /// Sends bytes. A peer that has closed already is no failure here.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Reads one response; `None` when the peer closed instead.
    pub async fn response(&mut self) -> Option<RawResponse> {
        within(LONG, "a response or the end", self.read()).await
    }

    /// Whether the peer has closed, or does so now.
    pub async fn closes(&mut self) -> bool {
        let mut byte = [0; 1];
        let read = within(LONG, "the end of the connection", self.stream.read(&mut byte)).await;
        self.unread.is_empty() && read.unwrap_or(0) == 0
    }

    /// Reads at most so many bytes of whatever comes; none at the end of the connection.
    pub async fn some(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most];
        let read = within(LONG, "some bytes", self.stream.read(&mut bytes)).await;
        bytes.truncate(read.unwrap_or(0));
        bytes
    }

    /// Reads whatever comes until the peer closes.
    pub async fn ends(&mut self) {
        while !self.some(4096).await.is_empty() {}
    }

    /// All that still comes, until the peer closes or breaks off.
    pub async fn rest(&mut self) -> Vec<u8> {
        let all = async { while self.more().await.is_some() {} };
        within(LONG, "the end of the connection", all).await;
        std::mem::take(&mut self.unread)
    }

    async fn read(&mut self) -> Option<RawResponse> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let head = String::from_utf8(head).unwrap();
        let length = header(&head, "content-length").map_or(0, |l| l.parse().unwrap());
        while self.unread.len() < length {
            self.more().await?;
        }
        let body: Vec<u8> = self.unread.drain(..length).collect();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(RawResponse { status, head, body: String::from_utf8_lossy(&body).into_owned() })
    }

    async fn more(&mut self) -> Option<()> {
        let mut some = [0; 4096];
        match self.stream.read(&mut some).await {
            Ok(0) | Err(_) => None,
            Ok(count) => {
                self.unread.extend_from_slice(&some[..count]);
                Some(())
            }
        }
    }
}

/// A header's value in a head's text.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
