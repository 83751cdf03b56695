//! A connection that sends any bytes, and reads HTTP/1.1 responses.

use std::fmt::Debug;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::patience::{LONG, within};

/// A stream of bytes.
trait Stream: AsyncRead + AsyncWrite + Debug + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Debug + Send + Unpin> Stream for S {}

/// One TCP connection, or a stream over one, such as TLS.
#[derive(Debug)]
pub struct Connection {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

/// A received response.
#[derive(Debug)]
pub struct RawResponse {
    /// The status.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body, of the length that `content-length` gives.
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

    /// Uses an existing stream.
    pub fn over(
        stream: impl AsyncRead + AsyncWrite + Debug + Send + Unpin + 'static,
    ) -> Connection {
        Connection { stream: Box::new(stream), unread: Vec::new() }
    }

    /// Connects with a receive buffer of a few kilobytes.
    pub async fn open_narrow(address: SocketAddr) -> Connection {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Connection::over(socket.connect(address).await.unwrap())
    }

    /// Sends bytes. Ignores a peer that has closed the connection.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Reads one response; `None` if the peer closes the connection.
    pub async fn response(&mut self) -> Option<RawResponse> {
        within(LONG, "a response or the end", self.read()).await
    }

    /// Waits for the end of the connection. False if the peer sends more.
    pub async fn closes(&mut self) -> bool {
        let mut byte = [0; 1];
        let read = within(LONG, "the end of the connection", self.stream.read(&mut byte)).await;
        self.unread.is_empty() && read.unwrap_or(0) == 0
    }

    /// Reads at most so many bytes; empty at the end of the connection.
    pub async fn some(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most];
        let read = within(LONG, "some bytes", self.stream.read(&mut bytes)).await;
        bytes.truncate(read.unwrap_or(0));
        bytes
    }

    /// Reads until the peer closes the connection.
    pub async fn ends(&mut self) {
        while !self.some(4096).await.is_empty() {}
    }

    /// The bytes that still arrive until the peer closes or resets the connection.
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
